//! Tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use queenright_bench::client::wire::{
    AcceptTask, AcceptedTask, AddTasks, AddedTask, AddedTasks, ChangeQueue, ClaimTasks, ClaimedTask, ClaimedTasks,
    Code, ControlTask, FinishTask, FinishedTask, HandOffTask, Loss, Problem, QueueList, QueueSet, TaskList, TaskNow,
    UpdateTask, WireQueue, WireReservationId, WireSessionId, WireTask, WireTaskId, WireWant, from_bytes, sorted,
    to_bytes, waits_for,
};
use queenright_protocol::colony::{
    Accept, Act, Added, Body, Caller as Owner, Claim, Claimed, Control, Fence, Finish, NewSession, NewTask, Outcome,
    Project, QUEUE_DEFAULT, SESSION_TTL_MS, SessionId, State as TaskState, StateName, Task, TaskCommand, TaskId,
    TokenHash, Update, Wait, WaitId, Wants, Which,
};

use super::Door;
use super::call::{Call, Caller};
use super::memory::consistency;
use super::problem::{Refused, invalid, lost, misfit};
use super::sessions::token_of;
use super::waiting::Waiter;

/// How many tasks a list has at most, and unless the caller says otherwise.
pub(super) const LIST_TASKS: (u64, u64) = (1_000, 100);
/// How many tasks a list looks at: those that the filter leaves out cost time too.
const LOOKED_AT_MAX: usize = 100_000;
/// What can be done with a task.
const VERBS: [&str; 11] = [
    ":accept", ":update", ":finish", ":cancel", ":pause", ":resume", ":approve", ":reject", ":requeue", ":drop",
    ":handoff",
];

/// `POST /v1/tasks`
pub(super) async fn add(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let request: AddTasks = call.json(door.limits.body_bytes, caller.deadline).await?;
    let tasks = request.tasks.into_iter().map(NewTask::from).collect();
    match door.submit(&caller, Body::Task(TaskCommand::Add(tasks))).await? {
        Outcome::Added { seq, tasks } => {
            let any_new = tasks.iter().any(|added| !added.existing);
            let tasks = tasks.into_iter().map(added_task);
            let answer = AddedTasks {
                seq,
                tasks: tasks.collect(),
            };
            let status = if any_new { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, Json(answer)).into_response())
        }
        other => Err(misfit(&other)),
    }
}

/// `POST /v1/tasks:claim`
pub(super) async fn claim(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let at_work = door.at_work()?;
    door.takes_work()?;
    let caller = call.caller()?;
    let request: ClaimTasks = call.json(door.limits.body_bytes, caller.deadline).await?;
    let (token, owner) = claimant(&caller, &request)?;
    let wait_ms = request.wait_ms.filter(|wait_ms| *wait_ms > 0);
    let place = wait_ms.map(|_| door.place_to_follow()).transpose()?;
    let queue = match request.ids {
        Some(_) => None,
        None => Some(request.queue.clone().unwrap_or_else(|| QUEUE_DEFAULT.into())),
    };
    let claim = Claim {
        wants: Wants {
            queue: request.queue.clone(),
            capabilities: sorted(request.capabilities.clone()),
            steal: request.steal,
            wait_ms,
        },
        which: which(request)?,
        caller: owner,
    };
    match door.submit(&caller, Body::Task(TaskCommand::Claim(claim))).await? {
        Outcome::Claimed {
            seq,
            tasks,
            until_ms,
            session,
        } => {
            let answer = ClaimedTasks {
                seq,
                session: session.map(WireSessionId),
                // Nobody has use for the token of a session that was not opened.
                token: session.map(|_| token),
                until_ms,
                waits_for: door.waits_for(&caller, &tasks, queue.as_deref()),
                tasks: door.described(&caller, &tasks),
                accept_within_ms: None,
            };
            Ok(Json(answer).into_response())
        }
        Outcome::Waiting { seq, session, .. } => {
            let waiter = Waiter::new(&door, &caller, TokenHash::of(&token), WaitId(seq));
            // It needs its place among those who wait only.
            drop(at_work);
            let offer = waiter.offer(Duration::from_millis(wait_ms.unwrap_or_default())).await;
            drop(place);
            let mut answer = door.offered(&caller, offer.as_deref(), (seq, session, token));
            if answer.tasks.is_empty() {
                answer.waits_for = door.waits_for(&caller, &[], queue.as_deref());
            }
            Ok(Json(answer).into_response())
        }
        other => Err(misfit(&other)),
    }
}

/// Who claims, with its token: the session that the caller names by it, or one that is opened.
fn claimant(caller: &Caller, request: &ClaimTasks) -> Result<(String, Owner), Refused> {
    let ClaimTasks { token, ttl_ms, .. } = request;
    if token.is_some() && ttl_ms.is_some() {
        return Err(invalid(
            "ttl_ms",
            "is for a session that is opened; that of the token has its own",
        ));
    }
    let opens = token.is_none();
    let token = token_of(caller, token.clone())?;
    let hash = TokenHash::of(&token);
    let owner = match opens {
        false => Owner::Session(hash),
        true => Owner::Opens(Box::new(NewSession {
            ttl_ms: ttl_ms.unwrap_or(SESSION_TTL_MS),
            passing: true,
            ..NewSession::new(caller.author.clone(), hash)
        })),
    };
    Ok((token, owner))
}

fn which(request: ClaimTasks) -> Result<Which, Refused> {
    let ClaimTasks {
        ids,
        kinds,
        limit,
        queue,
        steal,
        ..
    } = request;
    match ids {
        Some(_) if !kinds.is_empty() => Err(invalid("kinds", "a claim names ids or kinds, not both")),
        Some(_) if queue.is_some() => Err(invalid("queue", "a claim names ids or a queue, not both")),
        None if steal => Err(invalid("steal", "is for a claim of ids")),
        Some(_) if limit.is_some() => Err(invalid("limit", "a claim of ids takes all of them or none")),
        Some(ids) => Ok(Which::Ids(ids.into_iter().map(|id| id.0).collect())),
        None => Ok(Which::Ready {
            kinds,
            limit: limit.unwrap_or(1),
        }),
    }
}

impl Door {
    /// The answer to a claim that waited.
    fn offered(
        &self,
        caller: &Caller,
        offer: Option<&Wait>,
        (seq, session, token): (u64, Option<SessionId>, String),
    ) -> ClaimedTasks {
        let Some(offer) = offer else {
            return ClaimedTasks {
                seq,
                session: None,
                token: None,
                until_ms: None,
                tasks: Vec::new(),
                accept_within_ms: None,
                waits_for: None,
            };
        };
        let now_ms = self.backend.snapshot().colony.cluster_ms();
        ClaimedTasks {
            // Where it was offered.
            seq: offer.offered.first().map_or(seq, |claimed| claimed.fence.0),
            session: session.map(WireSessionId),
            token: session.map(|_| token),
            until_ms: None,
            tasks: self.described(caller, &offer.offered),
            accept_within_ms: Some(offer.until_ms.saturating_sub(now_ms)),
            waits_for: None,
        }
    }

    /// Why a claim of any ready task of this queue got none, if a budget keeps them.
    fn waits_for(&self, caller: &Caller, claimed: &[Claimed], queue: Option<&str>) -> Option<String> {
        let queue = queue.filter(|_| claimed.is_empty())?;
        waits_for(self.backend.snapshot().colony.project(&caller.project)?, queue)
    }

    /// The tasks of a claim with what they say. This node has applied the claim: it had its outcome.
    fn described(&self, caller: &Caller, claimed: &[Claimed]) -> Vec<ClaimedTask> {
        let snapshot = self.backend.snapshot();
        let tasks = snapshot.colony.project(&caller.project).map(|project| project.tasks());
        let described = claimed.iter().map(|claimed| {
            let task = tasks.and_then(|tasks| tasks.get(claimed.task));
            let lease = task.and_then(|task| match &task.state {
                TaskState::Leased(lease) if lease.fence == claimed.fence => Some(lease),
                _ => None,
            });
            let resources = task.map(|task| task.terms.resources.iter().map(WireWant::from).collect());
            ClaimedTask {
                task: WireTaskId(claimed.task),
                attempt: claimed.attempt,
                fence: claimed.fence.0,
                title: task.map(|task| task.title.clone()).unwrap_or_default(),
                kind: task.and_then(|task| task.kind.clone()),
                payload: task.map(|task| from_bytes(&task.payload)).unwrap_or_default(),
                checkpoint: task.map(|task| from_bytes(&task.checkpoint)).unwrap_or_default(),
                checks: task.map(|task| task.terms.checks.clone()).unwrap_or_default(),
                until_ms: lease.and_then(|lease| lease.until_ms),
                resources: resources.unwrap_or_default(),
                reservation: lease.and_then(|lease| lease.reservation).map(WireReservationId),
            }
        });
        described.collect()
    }
}

/// `POST /v1/tasks/{task}:accept` and the other verbs
pub(super) async fn act(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let (task, verb) = call.thing_and_verb("task")?;
    let (task, verb) = (id(task), verb.to_owned());
    let caller = call.caller()?;
    let task = task?;
    match verb.as_str() {
        "accept" => accept(&door, &caller, task, call).await,
        "update" => update(&door, &caller, task, call).await,
        "finish" => finish(&door, &caller, task, call).await,
        verb => control(&door, &caller, task, verb, call).await,
    }
}

async fn accept(door: &Door, caller: &Caller, task: TaskId, call: Call) -> Result<Response, Refused> {
    let AcceptTask { fence, token } = call.json(door.limits.body_bytes, caller.deadline).await?;
    let accept = Accept {
        task,
        fence: Fence(fence),
        caller: Owner::Session(TokenHash::of(&token)),
    };
    let outcome = door.submit(caller, Body::Task(TaskCommand::Accept(accept))).await?;
    accepted(&outcome)
}

async fn update(door: &Door, caller: &Caller, task: TaskId, call: Call) -> Result<Response, Refused> {
    let request: UpdateTask = call.json(door.limits.body_bytes, caller.deadline).await?;
    let update = Update {
        task,
        fence: Fence(request.fence),
        caller: Owner::Session(TokenHash::of(&request.token)),
        progress: request.progress,
        note: request.note,
        checkpoint: Some(to_bytes(&request.checkpoint)).filter(|checkpoint| !checkpoint.is_empty()),
        stealable: request.stealable,
        usage: request.usage,
    };
    let outcome = door.submit(caller, Body::Task(TaskCommand::Update(update))).await?;
    accepted(&outcome)
}

fn accepted(outcome: &Outcome) -> Result<Response, Refused> {
    match *outcome {
        Outcome::Accepted {
            seq,
            attempt,
            until_ms,
            cancel,
        } => Ok(Json(AcceptedTask {
            seq,
            attempt,
            until_ms,
            cancel,
        })
        .into_response()),
        _ => Err(misfit(outcome)),
    }
}

async fn finish(door: &Door, caller: &Caller, task: TaskId, call: Call) -> Result<Response, Refused> {
    let request: FinishTask = call.json(door.limits.body_bytes, caller.deadline).await?;
    let with = request.with();
    let proposal = request.proposal.map(|proposal| proposal.into_proposal()).transpose()?;
    let finish = Finish {
        task,
        fence: Fence(request.fence),
        caller: Owner::Session(TokenHash::of(&request.token)),
        ending: request.outcome.into(),
        result: to_bytes(&request.result),
        proposal,
        with,
    };
    match door.submit(caller, Body::Task(TaskCommand::Finish(finish))).await? {
        Outcome::Finished {
            seq,
            revisions,
            added,
            merged,
        } => {
            let answer = FinishedTask {
                seq,
                revisions,
                added: added.into_iter().map(added_task).collect(),
                merged,
            };
            Ok(Json(answer).into_response())
        }
        Outcome::Lost {
            seq,
            conflicts,
            total,
            held_until_ms,
        } => Err(lost(&Loss::of(seq, &conflicts, total).held_until(held_until_ms))),
        other => Err(misfit(&other)),
    }
}

fn added_task(added: Added) -> AddedTask {
    AddedTask {
        task: WireTaskId(added.task),
        existing: added.existing,
    }
}

/// What need not come from the owner of a task, and the hand-off, which must.
async fn control(door: &Door, caller: &Caller, task: TaskId, verb: &str, call: Call) -> Result<Response, Refused> {
    let act = if verb == "handoff" {
        let HandOffTask { fence, token, to } = call.json(door.limits.body_bytes, caller.deadline).await?;
        Act::HandOff {
            fence: Fence(fence),
            caller: Owner::Session(TokenHash::of(&token)),
            to,
        }
    } else {
        let ControlTask { force, reason } = call.json_or_nothing(door.limits.body_bytes, caller.deadline).await?;
        match verb {
            "cancel" => Act::Cancel { force, reason },
            _ if force => return Err(invalid("force", "is for cancel")),
            "reject" => Act::Reject { reason },
            _ if reason.is_some() => return Err(invalid("reason", "is for cancel and reject")),
            "pause" => Act::Pause,
            "resume" => Act::Resume,
            "approve" => Act::Approve,
            "requeue" => Act::Requeue,
            "drop" => Act::Drop,
            _ => {
                let detail = format!("a task has no {verb:?}; it has {}", VERBS.join(", "));
                return Err(Problem::new(Code::NotFound, detail).into());
            }
        }
    };
    let control = Control { task, act };
    match door.submit(caller, Body::Task(TaskCommand::Control(control))).await? {
        Outcome::TaskSet { seq, task, state } => {
            let task = WireTaskId(task);
            Ok(Json(TaskNow { seq, task, state }).into_response())
        }
        other => Err(misfit(&other)),
    }
}

/// `GET /v1/queues`
pub(super) async fn queues(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let snapshot = door.read(read, &caller).await?;
    let project = snapshot.colony.project(&caller.project);
    let queues = project.into_iter().flat_map(|project| {
        let queues = project.tasks().queues();
        queues.map(move |(name, queue)| WireQueue::new(name, queue, project))
    });
    let queues = queues.collect();
    Ok(Json(QueueList { queues }).into_response())
}

/// `POST /v1/queues/{queue}`
pub(super) async fn change_queue(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let queue = call.path("queue").to_owned();
    let change: ChangeQueue = call.json(door.limits.body_bytes, caller.deadline).await?;
    match door
        .submit(&caller, Body::Task(TaskCommand::Queue(change.of(&queue))))
        .await?
    {
        Outcome::QueueSet { seq } => Ok(Json(QueueSet { seq }).into_response()),
        other => Err(misfit(&other)),
    }
}

fn id(text: &str) -> Result<TaskId, Refused> {
    text.parse().map_err(|error| invalid("task", error))
}

/// `GET /v1/tasks/{task}`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let task = id(call.thing::<TaskId>("task", &VERBS)?);
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let task = task?;
    let snapshot = door.read(read, &caller).await?;
    let project = snapshot.colony.project(&caller.project);
    match project.and_then(|project| Some((project.tasks().get(task)?, project))) {
        Some((task, project)) => Ok(Json(WireTask::whole(task, project)).into_response()),
        None => Err(Problem::new(Code::NotFound, format!("no task has the id {task}")).into()),
    }
}

/// `GET /v1/tasks`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let after: Option<WireTaskId> = call.parse("after")?;
    let filter = Filter {
        state: call.take("state").map(|state| state_of(&state)).transpose()?,
        queue: call.take("queue"),
        label: call.take("label"),
        ready: call.flag("ready")?,
        kind: call.take("kind"),
        name: call.take("name"),
        limit: call.number("limit", 1..=LIST_TASKS.0)?.unwrap_or(LIST_TASKS.1) as usize,
        whole: call.flag("whole")?,
        bytes: door.limits.body_bytes as u64,
    };
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let snapshot = door.read(read, &caller).await?;
    let mut list = TaskList {
        tasks: Vec::new(),
        next: None,
        pending: 0,
        leased: 0,
        finished: 0,
        states: BTreeMap::new(),
    };
    if let Some(project) = snapshot.colony.project(&caller.project) {
        let tasks = project.tasks();
        let states = StateName::ALL
            .into_iter()
            .map(|state| (state, tasks.count(state) as u64));
        list.states = states.filter(|(_, count)| *count > 0).collect();
        list.pending = tasks.count(StateName::Pending) as u64;
        list.leased = tasks.count(StateName::Leased) as u64;
        list.finished = (tasks.len() - tasks.open()) as u64;
        let named = filter.name.as_deref().map(|name| tasks.named(name));
        match named {
            Some(named) => {
                let named = named.and_then(|id| tasks.get(id)).filter(|task| filter.wants(task));
                list.tasks.extend(named.map(|task| filter.shown(task, project)));
            }
            None => {
                let (mut last, mut bytes) = (None, 0);
                for (looked_at, task) in tasks.after(after.map(|after| after.0)).enumerate() {
                    if list.tasks.len() == filter.limit || bytes > filter.bytes || looked_at == LOOKED_AT_MAX {
                        list.next = last;
                        break;
                    }
                    last = Some(WireTaskId(task.id));
                    if filter.wants(task) {
                        bytes += if filter.whole { task.bytes() } else { 0 };
                        list.tasks.push(filter.shown(task, project));
                    }
                }
            }
        }
    }
    Ok(Json(list).into_response())
}

fn state_of(text: &str) -> Result<StateName, Refused> {
    let named = StateName::ALL.into_iter().find(|state| state.to_string() == text);
    named.ok_or_else(|| {
        let all = StateName::ALL.map(|state| state.to_string()).join(", ");
        invalid("state", format_args!("{text:?} is none of {all}"))
    })
}

/// Which tasks a list has, and how many.
struct Filter {
    state: Option<StateName>,
    queue: Option<String>,
    label: Option<String>,
    ready: bool,
    kind: Option<String>,
    name: Option<String>,
    limit: usize,
    /// With payloads, results and histories.
    whole: bool,
    /// How many bytes of tasks a list has.
    bytes: u64,
}

impl Filter {
    fn shown(&self, task: &Task, project: &Project) -> WireTask {
        match self.whole {
            true => WireTask::whole(task, project),
            false => WireTask::line(task, project),
        }
    }

    fn wants(&self, task: &Task) -> bool {
        let label = |label: &String| task.terms.labels.iter().any(|found| **found == **label);
        self.state.is_none_or(|state| task.state.name() == state)
            && (!self.ready || task.is_ready())
            && self.queue.as_deref().is_none_or(|queue| *task.terms.queue == *queue)
            && self.label.as_ref().is_none_or(label)
            && self.kind.as_ref().is_none_or(|kind| task.kind.as_deref() == Some(kind))
    }
}
