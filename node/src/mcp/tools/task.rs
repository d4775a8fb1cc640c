//! Work: add it, take it, end it, look at it.

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{
    AcceptTask, AddTasks, ClaimTasks, Code, FinishTask, UpdateTask, WireTask, WireTaskId,
};
use queenright_bench::client::{FinishOutcome, TaskQuery};
use queenright_protocol::colony::{SESSION_TTL_MS, StateName};
use serde::Deserialize;
use serde_json::{Value, json};

use super::propose::lost;
use super::session::keep;
use super::{Call, Hint, Kind, check_wait, data};
use crate::mcp::answer::Answer;
use crate::mcp::arguments::Arguments;
use crate::mcp::schema::{any, fields, flag, int, list, object, one_of, text, texts, wants};
use crate::mcp::{Failure, Toolset};

/// How many tasks one call gets by their ids.
const GET_IDS_MAX: usize = 50;
/// How many tasks a list has unless it says otherwise: each costs context.
const LIST_DEFAULT: u64 = 20;

pub(super) static TOOLS: &[Kind] = &[
    Kind {
        name: "task_add",
        toolset: Toolset::Default,
        description: "Adds up to 1000 tasks in one step.",
        hint: Hint::Adds,
        common: &["project", "agent", "idempotency_key"],
        input: || object(&["tasks"], json!({ "tasks": list(&new_task(), "") })),
        output: || data("seq:i tasks:a"),
        run: |call, arguments| Box::pin(add(call, arguments)),
    },
    Kind {
        name: "task_claim",
        toolset: Toolset::Default,
        description: "Takes ready tasks, or those of ids; nobody else has them then. Each has a fence for later calls. \
                      Resources of a task are reserved with it.",
        hint: Hint::Adds,
        common: &["project", "agent", "token", "idempotency_key"],
        input: || {
            object(
                &[],
                json!({
                    "queue": text(""),
                    "kinds": texts(""),
                    "limit": int("1 by default"),
                    "wait_ms": int("wait for work, up to 50000"),
                    "capabilities": texts(""),
                    "ids": texts(""),
                    "steal": flag("ids may be taken from owners who are silent or let go"),
                }),
            )
        },
        output: || data("session:t token:t tasks:a"),
        run: |call, arguments| Box::pin(claim(call, arguments)),
    },
    Kind {
        name: "task_update",
        toolset: Toolset::Default,
        description: "Says how work goes on. cancel in the answer means stop.",
        hint: Hint::AddsOnce,
        common: &["project", "agent", "token"],
        input: || {
            object(
                &["task", "fence", "token"],
                json!({
                    "task": text("id"),
                    "fence": int(""),
                    "progress": int("percent"),
                    "note": text(""),
                    "checkpoint": any("for whoever goes on from here"),
                    "stealable": flag("others may take it"),
                    "usage": usage(),
                }),
            )
        },
        output: || data("seq:i attempt:i until_ms cancel:b"),
        run: |call, arguments| Box::pin(update(call, arguments)),
    },
    Kind {
        name: "task_finish",
        toolset: Toolset::Default,
        description: "Ends your hold on a task; its result counts exactly once.",
        hint: Hint::Changes,
        common: &["project", "agent", "token", "idempotency_key"],
        input: || {
            object(
                &["task", "fence", "token", "outcome"],
                json!({
                    "task": text("id"),
                    "fence": int(""),
                    "outcome": one_of(&["done", "failed", "released", "blocked", "cancelled"], ""),
                    "result": any(""),
                    "failure": object(
                        &["message"],
                        json!({ "message": text(""), "class": text(""), "retryable": flag("") }),
                    ),
                    "needs": texts("what a blocked one waits for"),
                    "checks": list(&int(""), "exit codes of its checks"),
                    "follow_ups": list(&fields("as in task_add"), ""),
                    "proposal": fields("as in propose: done only if it commits"),
                    "usage": usage(),
                }),
            )
        },
        output: || data("seq:i revisions:a added:a merged:a"),
        run: |call, arguments| Box::pin(finish(call, arguments)),
    },
    Kind {
        name: "task_get",
        toolset: Toolset::Default,
        description: "Shows tasks of ids whole, or lists some: holder, what blocks them, how they ended.",
        hint: Hint::Reads,
        common: &["project"],
        input: || {
            object(
                &[],
                json!({
                    "ids": texts(""),
                    "state": one_of(&STATES, ""),
                    "ready": flag("claimable now"),
                    "queue": text(""),
                    "kind": text(""),
                    "label": text(""),
                    "name": text(""),
                    "after": text("next of the page before"),
                    "limit": int("20 by default"),
                    "whole": flag("with payload, result, history"),
                }),
            )
        },
        output: || data("tasks:a next:t states:o"),
        run: |call, arguments| Box::pin(get(call, arguments)),
    },
];

const STATES: [&str; 9] = [
    "pending",
    "blocked",
    "leased",
    "paused",
    "awaiting_approval",
    "done",
    "failed",
    "cancelled",
    "dead",
];

fn usage() -> Value {
    object(&[], super::outputs(&int(""), "tokens_in tokens_out cost_micros"))
}

fn new_task() -> Value {
    object(
        &["title"],
        json!({
            "title": text(""),
            "payload": any("what the worker needs"),
            "name": text("unique: adding it again adds nothing"),
            "kind": text(""),
            "queue": text(""),
            "priority": one_of(&["critical", "high", "normal", "low"], ""),
            "needs": texts("ids or names of tasks to be done before"),
            "requires": texts("capabilities"),
            "resources": wants(),
            "labels": texts(""),
            "checks": texts("commands that must exit 0 before done"),
            "approval": flag("a person must approve"),
            "not_before_ms": int("unix time"),
            "run_ms": int("limit of an attempt"),
            "retry": fields("attempts_max, base_ms, max_ms …"),
        }),
    )
}

async fn add(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let AddTasks { tasks } = arguments.rest()?;
    let added = call.client.add_tasks(tasks, call.key()).await?;
    Ok(Answer::of(&added).next("task_claim takes one, task_get shows how they are"))
}

async fn claim(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let mut claim: ClaimTasks = arguments.rest()?;
    claim.token = call.token.clone();
    if claim.token.is_none() && claim.ttl_ms.is_none() {
        claim.ttl_ms = Some(call.session_ttl_ms);
    }
    if let Some(wait_ms) = claim.wait_ms {
        check_wait(wait_ms)?;
    }
    let ttl_ms = claim.ttl_ms.unwrap_or(SESSION_TTL_MS);
    let mut claimed = call.client.claim_tasks(&claim, call.key()).await?;
    let (Some(session), Some(token)) = (claimed.session, claimed.token.clone()) else {
        let empty = match &claimed.waits_for {
            Some(budget) => format!("nothing was claimed: {budget}"),
            None => "nothing is ready: call again with wait_ms, or task_get shows what blocks tasks".to_owned(),
        };
        return Ok(Answer::of(&claimed).next(empty));
    };
    if call.token.is_none() {
        keep(call, session, &token, ttl_ms);
    }
    let mut warnings = Vec::new();
    // What a claim that waited is offered has to be accepted within some seconds, which are no time for a model.
    if claimed.accept_within_ms.take().is_some() {
        let mut kept = Vec::new();
        for task in std::mem::take(&mut claimed.tasks) {
            let accept = AcceptTask {
                fence: task.fence,
                token: token.clone(),
            };
            match call.client.accept_task(task.task.0, &accept).await {
                Ok(_) => kept.push(task),
                Err(error) => warnings.push(format!("{} was offered, and not accepted in time: {error}", task.task)),
            }
        }
        claimed.tasks = kept;
    }
    let answer = warnings.into_iter().fold(Answer::of(&claimed), Answer::warn);
    Ok(answer.next("work, say so by task_update, end by task_finish with the fence and the token"))
}

async fn update(call: &Call, mut arguments: Arguments) -> Result<Answer, Failure> {
    let task = id(&mut arguments)?;
    arguments.put_default("token", call.needed_token()?);
    let update: UpdateTask = arguments.rest()?;
    let accepted = call.client.update_task(task.0, &update).await?;
    let answer = Answer::of(&accepted);
    Ok(match accepted.cancel {
        true => answer.next("stop, and call task_finish with outcome cancelled"),
        false => answer,
    })
}

async fn finish(call: &Call, mut arguments: Arguments) -> Result<Answer, Failure> {
    let task = id(&mut arguments)?;
    arguments.put_default("token", call.needed_token()?);
    let finish: FinishTask = arguments.rest()?;
    match call.client.finish_task(task.0, &finish, call.key()).await? {
        FinishOutcome::Finished(finished) => Ok(Answer::of(&finished).next("task_claim takes the next task")),
        FinishOutcome::Lost(loss) => Err(lost(
            &call.client,
            loss,
            "the proposal lost, and the task is still yours: read again what details name, then task_finish anew",
        )
        .await),
    }
}

/// The id of the task that a call is about.
pub(super) fn id(arguments: &mut Arguments) -> Result<WireTaskId, Failure> {
    let text = arguments.needed("task")?;
    text.parse().map_err(|error| Failure::invalid("task", error))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Get {
    ids: Option<Vec<WireTaskId>>,
    state: Option<StateName>,
    ready: bool,
    queue: Option<String>,
    kind: Option<String>,
    label: Option<String>,
    name: Option<String>,
    after: Option<WireTaskId>,
    limit: Option<u64>,
    whole: bool,
}

async fn get(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    let get: Get = arguments.rest()?;
    if let Some(ids) = get.ids {
        return by_ids(call, &ids).await;
    }
    let query = TaskQuery {
        state: get.state,
        kind: get.kind,
        name: get.name,
        queue: get.queue,
        label: get.label,
        ready: get.ready,
        after: get.after,
        limit: Some(get.limit.unwrap_or(LIST_DEFAULT)),
        whole: get.whole,
        consistency: Consistency::Linearizable,
    };
    let list = call.client.tasks(&query).await?;
    let answer = Answer::of(&list);
    Ok(match list.next {
        Some(next) => answer.next(format!("task_get with after {next} shows more")),
        None => answer,
    })
}

async fn by_ids(call: &Call, ids: &[WireTaskId]) -> Result<Answer, Failure> {
    if ids.len() > GET_IDS_MAX {
        let problem = format_args!("{} are over the limit of {GET_IDS_MAX}", ids.len());
        return Err(Failure::invalid("ids", problem));
    }
    let (mut tasks, mut missing): (Vec<WireTask>, Vec<String>) = (Vec::new(), Vec::new());
    for id in ids {
        match call.client.task(id.0, Consistency::Linearizable).await {
            Ok(task) => tasks.push(task),
            Err(error) if error.code() == Some(Code::NotFound) => missing.push(id.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    if tasks.is_empty() && !missing.is_empty() {
        let known = format!("there is no task {}", missing.join(", "));
        return Err(Failure::new(Code::NotFound, known));
    }
    let answer = Answer::of(&json!({ "tasks": tasks }));
    Ok(match missing.is_empty() {
        true => answer,
        false => answer.warn(format!("there is no task {}", missing.join(", "))),
    })
}
