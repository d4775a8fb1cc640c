//! `queenright task`: work, and who does it.

use std::path::Path;

use queenright_bench::client::FinishOutcome;
use queenright_bench::client::TaskQuery;
use queenright_bench::client::wire::{
    AcceptTask, AddTask, AddedTasks, ClaimTasks, ClaimedTasks, Code, FinishTask, ProposalRequest, TaskList, WireEnding,
    WireTask,
};
use queenright_protocol::colony::StateName;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::door::{client_of_project, of_read};
use super::input::{name_of, read};
use super::propose::loss_text;
use super::table::{Table, or_dash, shown};
use super::{CliError, Context, import, watch};
use crate::cli::{Ending, StateArg, TaskCommand};
use crate::exit::Exit;

/// The largest file of tasks or with a proposal that is read: as large as a door's largest body may be configured to be.
const FILE_BYTES_MAX: usize = 256 << 20;

/// Carries out `queenright task`.
///
/// # Errors
/// [`CliError`], such as a task that somebody else holds.
pub async fn run(command: TaskCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        TaskCommand::Add {
            title,
            kind,
            payload,
            name,
            file,
            idempotency_key,
            target,
        } => {
            let tasks = match (file, title) {
                (Some(file), _) => json_file(&file).await?,
                (None, title) => vec![AddTask {
                    title: title.unwrap_or_default().into(),
                    kind: kind.map(Into::into),
                    payload: payload.map(|text| json_or_text(&text)).unwrap_or_default(),
                    name: name.map(Into::into),
                }],
            };
            let client = client_of_project(&target)?;
            let added = client.add_tasks(tasks, idempotency_key.as_deref()).await?;
            context.answer(&added, added_text(&added))?;
            Ok(Exit::Ok)
        }
        TaskCommand::Claim {
            ids,
            kinds,
            limit,
            lease,
            token,
            idempotency_key,
            target,
        } => {
            let by_id = !ids.is_empty();
            let claim = ClaimTasks {
                ids: by_id.then_some(ids),
                kinds: kinds.into_iter().map(Into::into).collect(),
                limit: (!by_id).then_some(limit),
                token,
                ttl_ms: lease.map(|lease| lease.as_millis() as u64),
            };
            let client = client_of_project(&target)?;
            let claimed = client.claim_tasks(&claim, idempotency_key.as_deref()).await?;
            context.answer(&claimed, claimed_text(&claimed))?;
            Ok(match claimed.tasks.is_empty() {
                true => Exit::Nothing,
                false => Exit::Ok,
            })
        }
        TaskCommand::Accept { held, target } => {
            let accept = AcceptTask {
                fence: held.fence,
                token: held.token,
            };
            let accepted = client_of_project(&target)?.accept_task(held.task.0, &accept).await?;
            let attempt = accepted.attempt;
            context.answer(&accepted, format!("{}: yours, attempt {attempt}", held.task))?;
            Ok(Exit::Ok)
        }
        TaskCommand::Finish {
            held,
            outcome,
            result,
            proposal,
            idempotency_key,
            target,
        } => {
            let proposal: Option<ProposalRequest> = match proposal {
                Some(file) => Some(json_file(&file).await?),
                None => None,
            };
            let finish = FinishTask {
                fence: held.fence,
                token: held.token,
                outcome: outcome.into(),
                result: result.map(|text| json_or_text(&text)).unwrap_or_default(),
                proposal,
            };
            let client = client_of_project(&target)?;
            let finished = client
                .finish_task(held.task.0, &finish, idempotency_key.as_deref())
                .await?;
            match &finished {
                FinishOutcome::Finished(done) => {
                    let word = match outcome {
                        Ending::Done => "done",
                        Ending::Failed => "failed",
                        Ending::Released => "given back",
                    };
                    context.answer(&finished, format!("{}: {word} at seq {}", held.task, done.seq))?;
                    Ok(Exit::Ok)
                }
                FinishOutcome::Lost(loss) => {
                    context.answer(
                        &finished,
                        format!("{}: still yours; its proposal {}", held.task, loss_text(loss)),
                    )?;
                    Ok(Exit::Conflict)
                }
            }
        }
        TaskCommand::List {
            state,
            kind,
            name,
            limit,
            after,
            consistency,
            target,
        } => {
            let query = TaskQuery {
                state: state.map(StateName::from),
                kind,
                name,
                after,
                limit: Some(limit),
                whole: false,
                consistency: consistency.into(),
            };
            let list = client_of_project(&target)?.tasks(&query).await.map_err(of_read)?;
            context.answer(&list, list_text(&list))?;
            Ok(Exit::Ok)
        }
        TaskCommand::Show {
            task,
            consistency,
            target,
        } => {
            let client = client_of_project(&target)?;
            let task = client.task(task.0, consistency.into()).await.map_err(of_read)?;
            context.answer(&task, task_text(&task))?;
            Ok(Exit::Ok)
        }
        TaskCommand::Import(args) => import::run(args, context).await,
        TaskCommand::Watch(args) => watch::run(args, context).await,
    }
}

async fn json_file<T: DeserializeOwned>(path: &Path) -> Result<T, CliError> {
    let bytes = read(path, FILE_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| CliError::Refused {
        exit: Exit::Error,
        code: Code::Invalid.to_string(),
        message: format!("{}: {error}", name_of(path)),
    })
}

/// JSON, or else the text itself.
fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

fn added_text(added: &AddedTasks) -> String {
    let lines: Vec<String> = added
        .tasks
        .iter()
        .map(|added| match added.existing {
            true => format!("{} (was there already)", added.task),
            false => added.task.to_string(),
        })
        .collect();
    lines.join("\n")
}

fn claimed_text(claimed: &ClaimedTasks) -> String {
    if claimed.tasks.is_empty() {
        return "no task is ready".to_owned();
    }
    let mut table = Table::new(["TASK", "ATTEMPT", "FENCE", "KIND", "TITLE", "PAYLOAD"]);
    for task in &claimed.tasks {
        table.row([
            task.task.to_string(),
            task.attempt.to_string(),
            task.fence.to_string(),
            or_dash(task.kind.as_deref().map(shown)),
            shown(&task.title),
            json_text(&task.payload),
        ]);
    }
    let session = or_dash(claimed.session.map(|session| session.to_string()));
    let token = or_dash(claimed.token.clone());
    format!("session {session}\ntoken {token}\n\n{table}")
}

fn json_text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        value => shown(&value.to_string()),
    }
}

fn list_text(list: &TaskList) -> String {
    let mut table = Table::new(["TASK", "STATE", "ATTEMPTS", "KIND", "HOLDER", "TITLE"]);
    for task in &list.tasks {
        let lease = task.lease.as_ref().map(|lease| lease.holder.to_string());
        let holder = lease.or(task.finished.as_ref().map(|finished| finished.holder.to_string()));
        table.row([
            task.task.to_string(),
            task.state.to_string(),
            task.attempts.to_string(),
            or_dash(task.kind.as_deref().map(shown)),
            or_dash(holder),
            shown(&task.title),
        ]);
    }
    let TaskList {
        pending,
        leased,
        finished,
        ..
    } = list;
    let more = list.next.map(|next| format!("\nmore after {next}")).unwrap_or_default();
    format!("{pending} pending, {leased} leased, {finished} finished\n\n{table}{more}")
}

fn task_text(task: &WireTask) -> String {
    let mut lines = vec![format!("task {}: {}", task.task, shown(&task.title))];
    let mut line = |name: &str, value: String| lines.push(format!("{name:<9} {value}"));
    line("state", task.state.to_string());
    if let Some(kind) = &task.kind {
        line("kind", shown(kind));
    }
    if let Some(name) = &task.name {
        line("name", shown(name));
    }
    if !task.payload.is_null() {
        line("payload", json_text(&task.payload));
    }
    line("added by", shown(&task.author));
    line("attempts", task.attempts.to_string());
    if let Some(lease) = &task.lease {
        let until = lease
            .until_ms
            .map(|until| format!(", until {until} ms of cluster time"));
        let accepted = if lease.accepted { ", accepted" } else { "" };
        line(
            "held by",
            format!(
                "{}, fence {}{}{accepted}",
                lease.holder,
                lease.fence,
                until.unwrap_or_default()
            ),
        );
    }
    if let Some(finished) = &task.finished {
        line(
            "finished",
            format!("by {}, fence {}, seq {}", finished.holder, finished.fence, finished.seq),
        );
        if !finished.result.is_null() {
            line("result", json_text(&finished.result));
        }
    }
    for attempt in &task.history {
        line(
            "returned",
            format!(
                "attempt {} by {}: {}",
                attempt.attempt,
                attempt.holder,
                shown(&attempt.reason)
            ),
        );
    }
    lines.join("\n")
}

impl From<Ending> for WireEnding {
    fn from(ending: Ending) -> WireEnding {
        match ending {
            Ending::Done => WireEnding::Done,
            Ending::Failed => WireEnding::Failed,
            Ending::Released => WireEnding::Released,
        }
    }
}

impl From<StateArg> for StateName {
    fn from(state: StateArg) -> StateName {
        match state {
            StateArg::Pending => StateName::Pending,
            StateArg::Leased => StateName::Leased,
            StateArg::Done => StateName::Done,
            StateArg::Failed => StateName::Failed,
        }
    }
}
