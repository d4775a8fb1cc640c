//! The operations on tasks over a door: names and owners of a history in the door's terms.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, PoisonError};

use queenright_actors::node::Consistency;
use queenright_protocol::colony::{StateName, TaskId, TokenHash};

use super::client::Recorded;
use super::operation::{Answer, End, Operation, Refusal, TaskStage};
use crate::client::wire::{
    AcceptTask, AddTask, ClaimTasks, ClaimedTask, ClaimedTasks, FinishTask, WireEnding, WireHolder, WireTask,
    WireTaskId,
};
use crate::client::{Client, ClientError, FinishOutcome};

/// The secret by which an owner shows that it holds a task.
fn token_of(by: &str) -> String {
    format!("the token of {by}")
}

/// The owner whom the cluster names; nothing when it is nobody of the history.
pub(super) fn owner_of(holder: &WireHolder) -> Option<String> {
    match holder {
        WireHolder::Token { hash, author } if *hash == TokenHash::of(&token_of(author)).to_string() => {
            Some(author.to_string())
        }
        _ => None,
    }
}

/// The ids that the cluster gave to the tasks of a history, by their names. All clients of a run share them, behind a
/// mutex that is held for a look-up.
#[derive(Default)]
pub(super) struct TaskIds(Mutex<BTreeMap<String, TaskId>>);

impl TaskIds {
    pub(super) fn get(&self, name: &str) -> Option<TaskId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Notes what a task is called; a name belongs to one task for ever.
    fn note(&self, door: &Client, name: &str, id: TaskId) -> Result<(), ClientError> {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match ids.entry(name.to_owned()) {
            Entry::Occupied(known) if *known.get() != id => {
                Err(door.bad_response(format!("{name} is task {id}, and was {} before", known.get())))
            }
            Entry::Occupied(_) => Ok(()),
            Entry::Vacant(free) => {
                free.insert(id);
                Ok(())
            }
        }
    }

    fn known(&self, name: &str) -> TaskId {
        self.get(name)
            .expect("a client asks for tasks of which it knows that they were added")
    }
}

/// Asks one door once.
///
/// # Panics
/// When the operation is none on tasks, or on one that no client knows to be there.
pub(super) async fn attempt(
    door: &Client,
    ids: &TaskIds,
    operation: &Operation,
    key: Option<&str>,
) -> Result<Recorded, ClientError> {
    match operation {
        Operation::AddTask { task, kind } => add(door, ids, task, kind, key).await,
        Operation::Claim { task, by, lease_ms } => {
            let these = Some(vec![WireTaskId(ids.known(task))]);
            let (seq, given) = claim(door, these, Vec::new(), by, *lease_ms, key).await?;
            let given = given.ok_or_else(|| door.bad_response("a claim by id that gives nothing"))?;
            let (attempt, fence) = (given.attempt.into(), given.fence);
            Ok(Answer::Claimed { attempt, fence }.told(Some(seq)))
        }
        Operation::ClaimReady { kind, by, lease_ms, .. } => {
            let (seq, given) = claim(door, None, vec![kind.as_str().into()], by, *lease_ms, key).await?;
            let Some(given) = given else {
                return Ok(Answer::NoneReady.told(Some(seq)));
            };
            // Who added it may not have been told.
            ids.note(door, &given.title, given.task.0)?;
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
            let accepted = door.as_agent(by).accept_task(ids.known(task), &accept).await?;
            Ok(Answer::Accepted.told(Some(accepted.seq)))
        }
        Operation::Finish { task, by, fence, end } => finish(door, ids.known(task), by, *fence, *end, key).await,
        Operation::Look { task } => {
            let found = door.task(ids.known(task), Consistency::Linearizable).await?;
            let attempts = found.attempts.into();
            let stage = stage(door, &found)?;
            Ok(Answer::Task { attempts, stage }.told(None))
        }
        _ => unreachable!("the caller asks for operations on tasks"),
    }
}

async fn add(door: &Client, ids: &TaskIds, task: &str, kind: &str, key: Option<&str>) -> Result<Recorded, ClientError> {
    let new = AddTask {
        title: task.into(),
        kind: Some(kind.into()),
        name: Some(task.into()),
        ..AddTask::default()
    };
    let answer = door.add_tasks(vec![new], key).await?;
    let [added] = &answer.tasks[..] else {
        return Err(door.bad_response(format!("{} tasks were added in place of one", answer.tasks.len())));
    };
    ids.note(door, task, added.task.0)?;
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
    lease_ms: u64,
    key: Option<&str>,
) -> Result<(u64, Option<ClaimedTask>), ClientError> {
    let claim = ClaimTasks {
        ids,
        kinds,
        limit: None,
        lease_ms: Some(lease_ms),
        token: Some(token_of(by)),
    };
    let ClaimedTasks { seq, mut tasks, .. } = door.as_agent(by).claim_tasks(&claim, key).await?;
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
        result: serde_json::Value::Null,
        proposal: None,
    };
    match door.as_agent(by).finish_task(task, &finish, key).await? {
        FinishOutcome::Finished(finished) => Ok(Answer::Finished.told(Some(finished.seq))),
        FinishOutcome::Lost(_) => Err(door.bad_response("a finish without a proposal has lost")),
    }
}

fn stage(door: &Client, task: &WireTask) -> Result<TaskStage, ClientError> {
    let stage = match (task.state, &task.lease, &task.finished) {
        (StateName::Pending, None, None) => Some(TaskStage::Waiting),
        (StateName::Leased, Some(lease), None) => {
            owner_of(&lease.holder).map(|by| TaskStage::Leased { by, fence: lease.fence })
        }
        (StateName::Done | StateName::Failed, None, Some(finished)) => Some(TaskStage::Over {
            done: task.state == StateName::Done,
            fence: finished.fence,
        }),
        _ => None,
    };
    stage.ok_or_else(|| door.bad_response(format!("task {} is like no task of the history", task.task)))
}
