//! `queenright task`: work, and who does it.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use queenright_bench::client::wire::{
    AcceptTask, AddTask, ClaimTasks, ClaimedTasks, Code, ControlTask, FinishTask, HandOffTask, ProposalRequest,
    UpdateTask, WireEnding, WireFailure, WireTask, WireTaskId, WireWant,
};
use queenright_bench::client::{Client, FinishOutcome, TaskQuery};
use queenright_protocol::colony::{Mode, Priority, StateName, Tier, Unmet};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::door::{client_of_project, of_read};
use super::input::{name_of, read};
use super::propose::loss_text;
use super::reserve::resource_of;
use super::task_text::{added_text, claimed_text, graph_text, list_text, task_text};
use super::{CliError, Context, dry, import, watch};
use crate::cli::{
    ControlArgs, DlqCommand, Ending, HeldArgs, PriorityArg, ReadMode, StateArg, TargetArgs, TaskCommand, TermsArgs,
    TierArg,
};
use crate::exit::Exit;

/// The largest file of tasks or with a proposal that is read: as large as a door's largest body may be configured to be.
const FILE_BYTES_MAX: usize = 256 << 20;
/// How many tasks a page of a list has that is read to its end.
const PAGE_TASKS: u64 = 1_000;
/// How many tasks a graph is made of at most: more than anybody reads.
const GRAPH_TASKS_MAX: usize = 100_000;

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
            terms,
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
                    ..terms.into()
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
            wait,
            token,
            queue,
            capabilities,
            idempotency_key,
            target,
        } => {
            let by_id = !ids.is_empty();
            let claim = ClaimTasks {
                queue: queue.map(Into::into),
                capabilities: capabilities.into_iter().map(Into::into).collect(),
                steal: false,
                ids: by_id.then_some(ids),
                kinds: kinds.into_iter().map(Into::into).collect(),
                limit: (!by_id).then_some(limit),
                token,
                ttl_ms: lease.map(|lease| lease.as_millis() as u64),
                wait_ms: wait.map(|wait| wait.as_millis() as u64),
            };
            let client = client_of_project(&target)?;
            let mut claimed = client.claim_tasks(&claim, idempotency_key.as_deref()).await?;
            take_offer(&client, &mut claimed).await?;
            context.answer(&claimed, claimed_text(&claimed))?;
            Ok(match claimed.tasks.is_empty() {
                true => Exit::Nothing,
                false => Exit::Ok,
            })
        }
        TaskCommand::Steal {
            ids,
            lease,
            token,
            dry_run,
            target,
        } => {
            if dry_run {
                return dry::work::steal(&client_of_project(&target)?, &ids, context).await;
            }
            let claim = ClaimTasks {
                ids: Some(ids),
                ttl_ms: lease.map(|lease| lease.as_millis() as u64),
                token,
                steal: true,
                ..ClaimTasks::default()
            };
            let claimed = client_of_project(&target)?.claim_tasks(&claim, None).await?;
            context.answer(&claimed, claimed_text(&claimed))?;
            Ok(Exit::Ok)
        }
        TaskCommand::Accept { held, target } => {
            let accept = AcceptTask {
                fence: held.fence,
                token: held.token.clone(),
            };
            let accepted = client_of_project(&target)?.accept_task(held.task.0, &accept).await?;
            context.answer(&accepted, accepted_text(&held, accepted.attempt, accepted.cancel))?;
            Ok(Exit::Ok)
        }
        TaskCommand::Update {
            held,
            progress,
            note,
            checkpoint,
            stealable,
            used,
            target,
        } => {
            let update = UpdateTask {
                fence: held.fence,
                token: held.token.clone(),
                progress,
                note: note.map(Into::into),
                checkpoint: checkpoint.map(|text| json_or_text(&text)).unwrap_or_default(),
                stealable,
                usage: used.spent(),
            };
            let accepted = client_of_project(&target)?.update_task(held.task.0, &update).await?;
            context.answer(&accepted, accepted_text(&held, accepted.attempt, accepted.cancel))?;
            Ok(Exit::Ok)
        }
        TaskCommand::Release { held, target } => {
            let finish = FinishTask {
                fence: held.fence,
                token: held.token,
                outcome: WireEnding::Released,
                ..FinishTask::default()
            };
            let finished = client_of_project(&target)?
                .finish_task(held.task.0, &finish, None)
                .await?;
            context.answer(&finished, format!("{}: given back", held.task))?;
            Ok(Exit::Ok)
        }
        TaskCommand::Handoff { held, to, target } => {
            let hand_off = HandOffTask {
                fence: held.fence,
                token: held.token,
                to: to.map(Into::into),
            };
            let now = client_of_project(&target)?
                .hand_off_task(held.task.0, &hand_off)
                .await?;
            let text = match &hand_off.to {
                Some(to) => format!("{}: yours until {to} claims it", held.task),
                None => format!("{}: yours", held.task),
            };
            context.answer(&now, text)?;
            Ok(Exit::Ok)
        }
        TaskCommand::Cancel { control, reason, force } => {
            let reason = reason.map(Into::into);
            act(context, &control, "cancel", ControlTask { force, reason }).await
        }
        TaskCommand::Reject { control, reason } => {
            let reason = reason.map(Into::into);
            act(context, &control, "reject", ControlTask { force: false, reason }).await
        }
        TaskCommand::Pause(control) => act(context, &control, "pause", ControlTask::default()).await,
        TaskCommand::Resume(control) => act(context, &control, "resume", ControlTask::default()).await,
        TaskCommand::Approve(control) => act(context, &control, "approve", ControlTask::default()).await,
        TaskCommand::Requeue(control) => act(context, &control, "requeue", ControlTask::default()).await,
        TaskCommand::Drop(control) => act(context, &control, "drop", ControlTask::default()).await,
        TaskCommand::Ready { queue, target } => {
            let query = TaskQuery {
                queue,
                ready: true,
                limit: Some(PAGE_TASKS),
                consistency: ReadMode::Linearizable.into(),
                ..TaskQuery::default()
            };
            let list = client_of_project(&target)?.tasks(&query).await.map_err(of_read)?;
            context.answer(&list, list_text(&list))?;
            Ok(match list.tasks.is_empty() {
                true => Exit::Nothing,
                false => Exit::Ok,
            })
        }
        TaskCommand::Graph { target } => {
            let tasks = all_tasks(&target).await?;
            let open: Vec<WireTask> = tasks.into_iter().filter(|task| task.state.is_open()).collect();
            context.answer(&open, graph_text(&open))?;
            Ok(Exit::Ok)
        }
        TaskCommand::Finish {
            held,
            outcome,
            result,
            proposal,
            retry,
            class,
            message,
            needs,
            follow_ups,
            checks,
            used,
            idempotency_key,
            target,
        } => {
            let follow_ups = match follow_ups {
                Some(file) => json_file(&file).await?,
                None => Vec::new(),
            };
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
                failure: message.map(|message| WireFailure {
                    retryable: retry,
                    class: class.map(Into::into),
                    message: message.into(),
                }),
                needs,
                follow_ups,
                checks,
                usage: used.spent(),
            };
            let client = client_of_project(&target)?;
            let mut finished = client
                .finish_task(held.task.0, &finish, idempotency_key.as_deref())
                .await?;
            if let FinishOutcome::Lost(loss) = &mut finished {
                client.name_winners(loss).await;
            }
            match &finished {
                FinishOutcome::Finished(done) => {
                    let word = match outcome {
                        Ending::Done => "done",
                        Ending::Failed => "failed",
                        Ending::Released => "given back",
                        Ending::Blocked => "blocked",
                        Ending::Cancelled => "cancelled",
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
            queue,
            label,
            limit,
            after,
            consistency,
            target,
        } => {
            let query = TaskQuery {
                queue,
                label,
                ready: false,
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

/// Accepts what was offered to a claim that waited, and leaves out what it is too late for.
async fn take_offer(client: &Client, claimed: &mut ClaimedTasks) -> Result<(), CliError> {
    if claimed.accept_within_ms.take().is_none() {
        return Ok(());
    }
    let token = claimed.token.clone().unwrap_or_default();
    let mut taken = Vec::with_capacity(claimed.tasks.len());
    for mut task in claimed.tasks.drain(..) {
        let accept = AcceptTask {
            fence: task.fence,
            token: token.clone(),
        };
        match client.accept_task(task.task.0, &accept).await {
            Ok(accepted) => {
                task.until_ms = accepted.until_ms;
                taken.push(task);
            }
            Err(error) if error.code() == Some(Code::Fenced) => {}
            Err(error) => return Err(error.into()),
        }
    }
    claimed.tasks = taken;
    Ok(())
}

/// Carries out `queenright dlq`.
///
/// # Errors
/// [`CliError`].
pub async fn dlq(command: DlqCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        DlqCommand::List { target } => {
            let query = TaskQuery {
                state: Some(StateName::Dead),
                limit: Some(PAGE_TASKS),
                consistency: ReadMode::Linearizable.into(),
                ..TaskQuery::default()
            };
            let list = client_of_project(&target)?.tasks(&query).await.map_err(of_read)?;
            context.answer(&list, list_text(&list))?;
            Ok(match list.tasks.is_empty() {
                true => Exit::Nothing,
                false => Exit::Ok,
            })
        }
        DlqCommand::Show { task, target } => {
            let task = dead(task, &target).await?;
            context.answer(&task, task_text(&task))?;
            Ok(Exit::Ok)
        }
        DlqCommand::Requeue(control) => {
            dead(control.task, &control.target).await?;
            act(context, &control, "requeue", ControlTask::default()).await
        }
        DlqCommand::Drop(control) => {
            dead(control.task, &control.target).await?;
            act(context, &control, "drop", ControlTask::default()).await
        }
    }
}

/// A task that is dead.
async fn dead(id: WireTaskId, target: &TargetArgs) -> Result<WireTask, CliError> {
    let client = client_of_project(target)?;
    let task = client
        .task(id.0, ReadMode::Linearizable.into())
        .await
        .map_err(of_read)?;
    match task.state {
        StateName::Dead => Ok(task),
        state => Err(CliError::Refused {
            exit: Exit::Conflict,
            code: Code::Conflict.to_string(),
            message: format!("task {id} is {state}, and not on the dead-letter list"),
        }),
    }
}

async fn act(context: &Context, control: &ControlArgs, verb: &str, body: ControlTask) -> Result<Exit, CliError> {
    let client = client_of_project(&control.target)?;
    if control.dry_run {
        return dry::work::control(&client, control.task, verb, body.force, context).await;
    }
    let key = control.idempotency_key.as_deref();
    let now = client.control_task(control.task.0, verb, &body, key).await?;
    let text = match (verb, now.state) {
        ("drop", _) => format!("{}: dropped", control.task),
        ("cancel", StateName::Leased) => format!("{}: its owner is told to cancel it", control.task),
        (_, state) => format!("{}: {state}", control.task),
    };
    context.answer(&now, text)?;
    Ok(Exit::Ok)
}

/// All tasks of a project, up to a bound.
async fn all_tasks(target: &TargetArgs) -> Result<Vec<WireTask>, CliError> {
    let client = client_of_project(target)?;
    let mut query = TaskQuery {
        limit: Some(PAGE_TASKS),
        consistency: ReadMode::Linearizable.into(),
        ..TaskQuery::default()
    };
    let mut tasks = Vec::new();
    loop {
        let page = client.tasks(&query).await.map_err(of_read)?;
        tasks.extend(page.tasks);
        match page.next {
            Some(next) if tasks.len() < GRAPH_TASKS_MAX => query.after = Some(next),
            _ => return Ok(tasks),
        }
    }
}

fn accepted_text(held: &HeldArgs, attempt: u32, cancel: bool) -> String {
    let cancel = if cancel { ", and to be cancelled" } else { "" };
    format!("{}: yours, attempt {attempt}{cancel}", held.task)
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

impl From<Ending> for WireEnding {
    fn from(ending: Ending) -> WireEnding {
        match ending {
            Ending::Done => WireEnding::Done,
            Ending::Failed => WireEnding::Failed,
            Ending::Released => WireEnding::Released,
            Ending::Blocked => WireEnding::Blocked,
            Ending::Cancelled => WireEnding::Cancelled,
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
            StateArg::Blocked => StateName::Blocked,
            StateArg::AwaitingApproval => StateName::AwaitingApproval,
            StateArg::Paused => StateName::Paused,
            StateArg::Cancelled => StateName::Cancelled,
            StateArg::Dead => StateName::Dead,
        }
    }
}

impl From<TermsArgs> for AddTask {
    fn from(terms: TermsArgs) -> AddTask {
        let names = |names: Vec<String>| names.into_iter().map(Into::into).collect();
        let ms = |span: Duration| span.as_millis() as u64;
        let want = |mode| {
            move |text: &String| WireWant {
                resource: resource_of(text).into(),
                mode,
            }
        };
        let exclusive = terms.resources.iter().map(want(Mode::Exclusive));
        let shared = terms.shared_resources.iter().map(want(Mode::Shared));
        let mut task = AddTask {
            queue: terms.queue.map(Into::into),
            labels: names(terms.labels),
            requires: names(terms.requires),
            priority: terms.priority.map_or(Priority::default(), Priority::from),
            tier: terms.tier.map_or(Tier::default(), Tier::from),
            cost: terms.cost.unwrap_or_default(),
            needs: terms.needs,
            on_failed_need: match terms.cancel_on_failed_need {
                true => Unmet::Cancel,
                false => Unmet::Block,
            },
            not_before_ms: terms.delay.map(|delay| {
                let since = (SystemTime::now() + delay).duration_since(UNIX_EPOCH);
                since.map_or(0, ms)
            }),
            start_ms: terms.start_timeout.map(ms),
            run_ms: terms.max_runtime.map(ms),
            approval: terms.approval,
            checks: names(terms.checks),
            resources: exclusive.chain(shared).collect(),
            ..AddTask::default()
        };
        if let Some(retries) = terms.retries {
            task.retry.attempts_max = retries;
        }
        task
    }
}

impl From<PriorityArg> for Priority {
    fn from(priority: PriorityArg) -> Priority {
        match priority {
            PriorityArg::Critical => Priority::Critical,
            PriorityArg::High => Priority::High,
            PriorityArg::Normal => Priority::Normal,
            PriorityArg::Low => Priority::Low,
        }
    }
}

impl From<TierArg> for Tier {
    fn from(tier: TierArg) -> Tier {
        match tier {
            TierArg::Interactive => Tier::Interactive,
            TierArg::Standard => Tier::Standard,
            TierArg::Batch => Tier::Batch,
        }
    }
}
