//! The dead-letter list: on request.

use queenright_actors::node::Consistency;
use queenright_bench::client::TaskQuery;
use queenright_bench::client::wire::{ControlTask, WireTaskId};
use queenright_protocol::colony::StateName;
use serde::Deserialize;
use serde_json::json;

use super::cluster::Nothing;
use super::{Call, Hint, Kind, data, task};
use crate::mcp::answer::Answer;
use crate::mcp::arguments::Arguments;
use crate::mcp::schema::{int, object, text};
use crate::mcp::{Failure, Toolset};

/// How many tasks a list has unless it says otherwise.
const LIST_DEFAULT: u64 = 20;

pub(super) static TOOLS: &[Kind] = &[
    Kind {
        name: "dlq_list",
        toolset: Toolset::Dlq,
        description: "Tasks that used up what their terms allow, each with its attempts.",
        hint: Hint::Reads,
        common: &["project"],
        input: || {
            object(
                &[],
                json!({
                    "queue": text(""),
                    "after": text("next of the page before"),
                    "limit": int("20 by default"),
                }),
            )
        },
        output: || data("tasks:a next:t states:o"),
        run: |call, arguments| Box::pin(list(call, arguments)),
    },
    Kind {
        name: "dlq_requeue",
        toolset: Toolset::Dlq,
        description: "Lets a dead task be tried again, with all of its attempts.",
        hint: Hint::Changes,
        common: &["project", "agent", "idempotency_key"],
        input: || object(&["task"], json!({ "task": text("id") })),
        output: || data("seq:i task:t state:t"),
        run: |call, arguments| Box::pin(control(call, arguments, "requeue")),
    },
    Kind {
        name: "dlq_drop",
        toolset: Toolset::Dlq,
        description: "Forgets a dead task.",
        hint: Hint::Changes,
        common: &["project", "agent", "idempotency_key"],
        input: || object(&["task"], json!({ "task": text("id") })),
        output: || data("seq:i task:t state:t"),
        run: |call, arguments| Box::pin(control(call, arguments, "drop")),
    },
];

async fn list(call: &Call, arguments: Arguments) -> Result<Answer, Failure> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct List {
        queue: Option<String>,
        after: Option<WireTaskId>,
        limit: Option<u64>,
    }
    let List { queue, after, limit } = arguments.rest()?;
    let query = TaskQuery {
        state: Some(StateName::Dead),
        queue,
        after,
        limit: Some(limit.unwrap_or(LIST_DEFAULT)),
        whole: true,
        consistency: Consistency::Linearizable,
        ..TaskQuery::default()
    };
    let answer = Answer::of(&call.client.tasks(&query).await?);
    Ok(answer.next("dlq_requeue tries one again, dlq_drop forgets it"))
}

async fn control(call: &Call, mut arguments: Arguments, verb: &str) -> Result<Answer, Failure> {
    let task = task::id(&mut arguments)?;
    let Nothing {} = arguments.rest()?;
    let control = ControlTask::default();
    Ok(Answer::of(
        &call.client.control_task(task.0, verb, &control, call.key()).await?,
    ))
}
