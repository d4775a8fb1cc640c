//! Tasks.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use queenright_bench::client::wire::{
    AcceptTask, AcceptedTask, AddTasks, AddedTask, AddedTasks, ClaimTasks, ClaimedTask, ClaimedTasks, Code, FinishTask,
    FinishedTask, Loss, Problem, TaskList, WireSessionId, WireTask, WireTaskId, from_bytes, to_bytes,
};
use queenright_protocol::colony::{
    Accept, Body, Caller as Owner, Claim, Claimed, Fence, Finish, NewSession, NewTask, Outcome, SESSION_TTL_MS,
    StateName, Task, TaskCommand, TaskId, TokenHash, Which,
};

use super::Door;
use super::call::{Call, Caller};
use super::memory::consistency;
use super::problem::{Refused, invalid, lost, misfit};
use super::sessions::token_of;

/// How many tasks a list has at most, and unless the caller says otherwise.
const LIST_TASKS: (u64, u64) = (1_000, 100);
/// How many tasks a list looks at: those that the filter leaves out cost time too.
const LOOKED_AT_MAX: usize = 100_000;

/// `POST /v1/tasks`
pub(super) async fn add(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let request: AddTasks = call.json(door.limits.body_bytes, caller.deadline).await?;
    let tasks = request.tasks.into_iter().map(NewTask::from).collect();
    match door.submit(&caller, Body::Task(TaskCommand::Add(tasks))).await? {
        Outcome::Added { seq, tasks } => {
            let any_new = tasks.iter().any(|added| !added.existing);
            let tasks = tasks.into_iter().map(|added| AddedTask {
                task: WireTaskId(added.task),
                existing: added.existing,
            });
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
    let caller = call.caller()?;
    let request: ClaimTasks = call.json(door.limits.body_bytes, caller.deadline).await?;
    let (token, owner) = claimant(&caller, &request)?;
    let claim = Claim {
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
                tasks: door.described(&caller, &tasks),
            };
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
    let ClaimTasks { ids, kinds, limit, .. } = request;
    match ids {
        Some(_) if !kinds.is_empty() => Err(invalid("kinds", "a claim names ids or kinds, not both")),
        Some(_) if limit.is_some() => Err(invalid("limit", "a claim of ids takes all of them or none")),
        Some(ids) => Ok(Which::Ids(ids.into_iter().map(|id| id.0).collect())),
        None => Ok(Which::Ready {
            kinds,
            limit: limit.unwrap_or(1),
        }),
    }
}

impl Door {
    /// The tasks of a claim with what they say. This node has applied the claim: it had its outcome.
    fn described(&self, caller: &Caller, claimed: &[Claimed]) -> Vec<ClaimedTask> {
        let snapshot = self.backend.snapshot();
        let tasks = snapshot.colony.project(&caller.project).map(|project| project.tasks());
        let described = claimed.iter().map(|claimed| {
            let task = tasks.and_then(|tasks| tasks.get(claimed.task));
            ClaimedTask {
                task: WireTaskId(claimed.task),
                attempt: claimed.attempt,
                fence: claimed.fence.0,
                title: task.map(|task| task.title.clone()).unwrap_or_default(),
                kind: task.and_then(|task| task.kind.clone()),
                payload: task.map(|task| from_bytes(&task.payload)).unwrap_or_default(),
            }
        });
        described.collect()
    }
}

/// `POST /v1/tasks/{task}:accept`, `POST /v1/tasks/{task}:finish`
pub(super) async fn act(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let caller = call.caller()?;
    let (task, verb) = call.path("task").rsplit_once(':').unwrap_or((call.path("task"), ""));
    let (task, verb) = (id(task)?, verb.to_owned());
    match verb.as_str() {
        "accept" => accept(&door, &caller, task, call).await,
        "finish" => finish(&door, &caller, task, call).await,
        _ => Err(Problem::new(
            Code::NotFound,
            format!("a task has no {verb:?}; it has :accept and :finish"),
        )
        .into()),
    }
}

async fn accept(door: &Door, caller: &Caller, task: TaskId, call: Call) -> Result<Response, Refused> {
    let AcceptTask { fence, token } = call.json(door.limits.body_bytes, caller.deadline).await?;
    let accept = Accept {
        task,
        fence: Fence(fence),
        caller: Owner::Session(TokenHash::of(&token)),
    };
    match door.submit(caller, Body::Task(TaskCommand::Accept(accept))).await? {
        Outcome::Accepted { seq, attempt, until_ms } => {
            Ok(Json(AcceptedTask { seq, attempt, until_ms }).into_response())
        }
        other => Err(misfit(&other)),
    }
}

async fn finish(door: &Door, caller: &Caller, task: TaskId, call: Call) -> Result<Response, Refused> {
    let request: FinishTask = call.json(door.limits.body_bytes, caller.deadline).await?;
    let proposal = request.proposal.map(|proposal| proposal.into_proposal()).transpose()?;
    let finish = Finish {
        task,
        fence: Fence(request.fence),
        caller: Owner::Session(TokenHash::of(&request.token)),
        ending: request.outcome.into(),
        result: to_bytes(&request.result),
        proposal,
    };
    match door.submit(caller, Body::Task(TaskCommand::Finish(finish))).await? {
        Outcome::Finished { seq, revisions } => Ok(Json(FinishedTask { seq, revisions }).into_response()),
        Outcome::Lost {
            seq,
            conflicts,
            total,
            held_until_ms,
        } => Err(lost(&Loss::of(seq, &conflicts, total).held_until(held_until_ms))),
        other => Err(misfit(&other)),
    }
}

fn id(text: &str) -> Result<TaskId, Refused> {
    text.parse().map_err(|error| invalid("task", error))
}

/// `GET /v1/tasks/{task}`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let task = id(call.path("task"))?;
    let snapshot = door.backend.read(read, caller.left()).await?;
    let project = snapshot.colony.project(&caller.project);
    match project.and_then(|project| project.tasks().get(task)) {
        Some(task) => Ok(Json(WireTask::whole(task)).into_response()),
        None => Err(Problem::new(Code::NotFound, format!("no task has the id {task}")).into()),
    }
}

/// `GET /v1/tasks`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let after: Option<WireTaskId> = call.parse("after")?;
    let filter = Filter {
        state: match call.take("state").as_deref() {
            None => None,
            Some("pending") => Some(StateName::Pending),
            Some("leased") => Some(StateName::Leased),
            Some("done") => Some(StateName::Done),
            Some("failed") => Some(StateName::Failed),
            Some(other) => {
                return Err(invalid(
                    "state",
                    format_args!("{other:?} is none of pending, leased, done, failed"),
                ));
            }
        },
        kind: call.take("kind"),
        name: call.take("name"),
        limit: call.number("limit", 1..=LIST_TASKS.0)?.unwrap_or(LIST_TASKS.1) as usize,
        whole: call.flag("whole")?,
        bytes: door.limits.body_bytes as u64,
    };
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let snapshot = door.backend.read(read, caller.left()).await?;
    let mut list = TaskList {
        tasks: Vec::new(),
        next: None,
        pending: 0,
        leased: 0,
        finished: 0,
    };
    if let Some(project) = snapshot.colony.project(&caller.project) {
        let tasks = project.tasks();
        list.pending = tasks.ready() as u64;
        list.leased = (tasks.open() - tasks.ready()) as u64;
        list.finished = (tasks.len() - tasks.open()) as u64;
        let named = filter.name.as_deref().map(|name| tasks.named(name));
        match named {
            Some(named) => {
                let named = named.and_then(|id| tasks.get(id)).filter(|task| filter.wants(task));
                list.tasks.extend(named.map(|task| filter.shown(task)));
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
                        list.tasks.push(filter.shown(task));
                    }
                }
            }
        }
    }
    Ok(Json(list).into_response())
}

/// Which tasks a list has, and how many.
struct Filter {
    state: Option<StateName>,
    kind: Option<String>,
    name: Option<String>,
    limit: usize,
    /// With payloads, results and histories.
    whole: bool,
    /// How many bytes of tasks a list has.
    bytes: u64,
}

impl Filter {
    fn shown(&self, task: &Task) -> WireTask {
        match self.whole {
            true => WireTask::whole(task),
            false => WireTask::line(task),
        }
    }

    fn wants(&self, task: &Task) -> bool {
        self.state.is_none_or(|state| task.state.name() == state)
            && self.kind.as_ref().is_none_or(|kind| task.kind.as_deref() == Some(kind))
    }
}
