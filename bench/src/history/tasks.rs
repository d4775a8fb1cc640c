//! The operations on tasks and sessions over a door: the names of a history in the door's terms.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use queenright_actors::node::Consistency;
use queenright_protocol::colony::{SESSION_TTL_MS_MAX, SessionId, StateName, TaskId};

use super::client::Recorded;
use super::operation::{Answer, End, Operation, Refusal, TaskStage};
use crate::client::wire::{
    AcceptTask, AddTask, ClaimTasks, ClaimedTask, ClaimedTasks, FinishTask, OpenSession, WireEnding, WireHolder,
    WireTask, WireTaskId,
};
use crate::client::{Client, ClientError, FinishOutcome};

/// The ids that the cluster gave to the tasks and sessions of a history. All clients of a run share them.
#[derive(Default)]
pub(super) struct Ids {
    pub(super) tasks: Named<TaskId>,
    pub(super) sessions: Named<SessionId>,
}

impl Ids {
    /// The session that the cluster names; nothing when it is none of the history.
    pub(super) fn holder(&self, holder: &WireHolder) -> Option<String> {
        match holder {
            WireHolder::Session { session, name, .. } if self.sessions.get(name) == Some(session.0) => {
                Some(name.to_string())
            }
            _ => None,
        }
    }
}

/// Ids by names, behind a mutex that is held for a look-up.
pub(super) struct Named<T>(Mutex<BTreeMap<String, T>>);

impl<T> Default for Named<T> {
    fn default() -> Named<T> {
        Named(Mutex::default())
    }
}

impl<T: Copy + Eq + fmt::Display> Named<T> {
    pub(super) fn get(&self, name: &str) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Notes what has this name, which belongs to one thing for ever.
    fn note(&self, door: &Client, name: &str, id: T) -> Result<(), ClientError> {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match ids.entry(name.to_owned()) {
            Entry::Occupied(known) if *known.get() != id => {
                Err(door.bad_response(format!("{name} is {id}, and was {} before", known.get())))
            }
            Entry::Occupied(_) => Ok(()),
            Entry::Vacant(free) => {
                free.insert(id);
                Ok(())
            }
        }
    }

    fn known(&self, name: &str) -> T {
        self.get(name)
            .expect("a client asks for what it knows to have been added or opened")
    }
}

/// The secret by which a session is known.
fn token_of(session: &str) -> String {
    format!("the token of {session}")
}

/// Asks one door once.
///
/// # Panics
/// When the operation is none on tasks or sessions, or on one that no client knows to be there.
pub(super) async fn attempt(
    door: &Client,
    ids: &Ids,
    operation: &Operation,
    key: Option<&str>,
) -> Result<Recorded, ClientError> {
    match operation {
        Operation::AddTask { task, kind } => add(door, ids, task, kind, key).await,
        Operation::Open { session } => {
            let open = OpenSession {
                name: Some(session.as_str().into()),
                // Nobody sends signs of life in a history, so none is missed.
                ttl_ms: Some(SESSION_TTL_MS_MAX),
                token: Some(token_of(session)),
                ..OpenSession::default()
            };
            let opened = door.open_session(&open, key).await?;
            ids.sessions.note(door, session, opened.session.0)?;
            Ok(Answer::Opened.told(Some(opened.seq)))
        }
        Operation::Close { session, .. } => {
            let closed = door
                .close_session(ids.sessions.known(session), &token_of(session))
                .await?;
            Ok(Answer::Closed.told(Some(closed.seq)))
        }
        Operation::Claim { task, by } => {
            let these = Some(vec![WireTaskId(ids.tasks.known(task))]);
            let (seq, given) = claim(door, these, Vec::new(), by, key).await?;
            let given = given.ok_or_else(|| door.bad_response("a claim by id that gives nothing"))?;
            let (attempt, fence) = (given.attempt.into(), given.fence);
            Ok(Answer::Claimed { attempt, fence }.told(Some(seq)))
        }
        Operation::ClaimReady { kind, by, .. } => {
            let (seq, given) = claim(door, None, vec![kind.as_str().into()], by, key).await?;
            let Some(given) = given else {
                return Ok(Answer::NoneReady.told(Some(seq)));
            };
            // Who added it may not have been told.
            ids.tasks.note(door, &given.title, given.task.0)?;
            let answer = Answer::Given {
                task: given.title.to_string(),
                attempt: given.attempt.into(),
                fence: given.fence,
            };
            Ok(answer.told(Some(seq)))
        }
        Operation::Accept { task, by, fence } => {
            let accept = AcceptTask {
                fence: *fence,
                token: token_of(by),
            };
            let accepted = door.accept_task(ids.tasks.known(task), &accept).await?;
            Ok(Answer::Accepted.told(Some(accepted.seq)))
        }
        Operation::Finish { task, by, fence, end } => finish(door, ids.tasks.known(task), by, *fence, *end, key).await,
        Operation::Look { task } => {
            let found = door.task(ids.tasks.known(task), Consistency::Linearizable).await?;
            let attempts = found.attempts.into();
            let stage = stage(door, ids, &found)?;
            Ok(Answer::Task { attempts, stage }.told(None))
        }
        _ => unreachable!("the caller asks for operations on tasks"),
    }
}

async fn add(door: &Client, ids: &Ids, task: &str, kind: &str, key: Option<&str>) -> Result<Recorded, ClientError> {
    let new = AddTask {
        title: task.into(),
        kind: Some(kind.into()),
        // A queue has few kinds at a time, and those of a run become many.
        queue: Some(kind.into()),
        name: Some(task.into()),
        ..AddTask::default()
    };
    let answer = door.add_tasks(vec![new], key).await?;
    let [added] = &answer.tasks[..] else {
        return Err(door.bad_response(format!("{} tasks were added in place of one", answer.tasks.len())));
    };
    ids.tasks.note(door, task, added.task.0)?;
    Ok(match added.existing {
        true => Refusal::Exists.told(),
        false => Answer::Added.told(Some(answer.seq)),
    })
}

async fn claim(
    door: &Client,
    ids: Option<Vec<WireTaskId>>,
    kinds: Vec<std::sync::Arc<str>>,
    by: &str,
    key: Option<&str>,
) -> Result<(u64, Option<ClaimedTask>), ClientError> {
    let claim = ClaimTasks {
        ids,
        queue: kinds.first().cloned(),
        kinds,
        token: Some(token_of(by)),
        ..ClaimTasks::default()
    };
    let ClaimedTasks { seq, mut tasks, .. } = door.claim_tasks(&claim, key).await?;
    if tasks.len() > 1 {
        return Err(door.bad_response(format!("{} tasks were given in place of one", tasks.len())));
    }
    Ok((seq, tasks.pop()))
}

async fn finish(
    door: &Client,
    task: TaskId,
    by: &str,
    fence: u64,
    end: End,
    key: Option<&str>,
) -> Result<Recorded, ClientError> {
    let finish = FinishTask {
        fence,
        token: token_of(by),
        outcome: match end {
            End::Done => WireEnding::Done,
            End::Failed => WireEnding::Failed,
            End::Released => WireEnding::Released,
        },
        ..FinishTask::default()
    };
    match door.finish_task(task, &finish, key).await? {
        FinishOutcome::Finished(finished) => Ok(Answer::Finished.told(Some(finished.seq))),
        FinishOutcome::Lost(_) => Err(door.bad_response("a finish without a proposal has lost")),
    }
}

fn stage(door: &Client, ids: &Ids, task: &WireTask) -> Result<TaskStage, ClientError> {
    let stage = match (task.state, &task.lease, &task.finished) {
        (StateName::Pending, None, None) => Some(TaskStage::Waiting),
        (StateName::Leased, Some(lease), None) => {
            let fence = lease.fence;
            ids.holder(&lease.holder).map(|by| TaskStage::Leased { by, fence })
        }
        (StateName::Done | StateName::Failed, None, Some(finished)) => Some(TaskStage::Over {
            done: task.state == StateName::Done,
            fence: finished.fence,
        }),
        _ => None,
    };
    stage.ok_or_else(|| door.bad_response(format!("task {} is like no task of the history", task.task)))
}
