//! A task as a door shows it, whole or as a line of a list.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_protocol::colony::{Attempt, Closed, Failure, Finished, Lease, Project, State, StateName, Task, Usage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{WireHolder, WireTaskId, from_bytes};
use crate::client::wire::terms::WireTerms;
use crate::client::wire::{WireReservationId, is_false, waits_for};

/// A task as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireTask {
    /// Its id.
    pub task: WireTaskId,
    /// How it is.
    pub state: StateName,
    /// What is to be done, for people.
    pub title: Arc<str>,
    /// What sort of work it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Arc<str>>,
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// What the owner needs to know. Lists leave it out.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub payload: Value,
    /// Who added it.
    pub author: Arc<str>,
    /// Cluster time at which it was added, in milliseconds.
    pub added_ms: u64,
    /// How often it was claimed.
    pub attempts: u32,
    /// Who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<WireLease>,
    /// How it was finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<WireFinished>,
    /// The last attempts that ended without a finish, oldest first. Lists leave it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<WireAttempt>,
    /// Where it queues, what it asks of a worker, what it waits for, and what happens when it fails.
    pub terms: WireTerms,
    /// What of its needs is not known to be done, and how each of those is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<WireNeed>,
    /// Cluster time in milliseconds before which it is not ready, while it is pending and waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wakes_ms: Option<u64>,
    /// How often attempts failed, leases ended by themselves, and workers died, since it was added or requeued.
    pub failures: u32,
    /// See `failures`.
    pub expiries: u32,
    /// See `failures`.
    pub deaths: u32,
    /// Who approved of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Arc<str>>,
    /// Who paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<Arc<str>>,
    /// What an owner left for the next attempt. Lists leave it out.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub checkpoint: Value,
    /// How it ended, if it was cancelled or is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<WireClosed>,
    /// Why nobody gets it although it is ready, if a budget keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// What all its attempts have used.
    #[serde(default, skip_serializing_if = "Usage::is_nothing")]
    pub usage: Usage,
}

/// A task that another one needs, and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireNeed {
    /// Its id.
    pub task: WireTaskId,
    /// How it is.
    pub state: StateName,
}

/// How a task ended that nobody finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireClosed {
    /// Who caused it.
    pub by: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
    /// The position of the command.
    pub seq: u64,
    /// Cluster time of that command, in milliseconds.
    pub at_ms: u64,
}

/// A hold on a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireLease {
    /// Who holds it.
    pub holder: WireHolder,
    /// Its fence.
    pub fence: u64,
    /// Cluster time of the claim, in milliseconds.
    pub since_ms: u64,
    /// Cluster time at which it ends although its owner lives, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Whether the holder has said that it is at work.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accepted: bool,
    /// How much it has done, in hundredths, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// What it said last about its work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
    /// Whether others may take the task away.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stealable: bool,
    /// Why it is to be cancelled, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Arc<str>>,
    /// To whom the holder wants to give it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_off: Option<Arc<str>>,
    /// What the claim reserved, which may have ended before the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<WireReservationId>,
    /// Whether it is an offer to a claim that waited, which has not taken it yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub offered: bool,
    /// What the attempt has used, its time up to when its owner last said something of its work.
    #[serde(default, skip_serializing_if = "Usage::is_nothing")]
    pub usage: Usage,
}

/// How a task was finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireFinished {
    /// Who finished it.
    pub holder: WireHolder,
    /// The fence of the lease under which it was finished.
    pub fence: u64,
    /// The position of the command that finished it.
    pub seq: u64,
    /// Cluster time of that command, in milliseconds.
    pub at_ms: u64,
    /// What came of it. Lists leave it out.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// What went wrong, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What the attempt has used that finished it.
    #[serde(default, skip_serializing_if = "Usage::is_nothing")]
    pub usage: Usage,
}

/// An attempt that ended without a finish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireAttempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// Who made it.
    pub holder: WireHolder,
    /// Its fence.
    pub fence: u64,
    /// Cluster time of the claim, in milliseconds.
    pub since_ms: u64,
    /// Cluster time of its end, in milliseconds.
    pub ended_ms: u64,
    /// Why it ended.
    pub reason: String,
    /// What its owner said came of it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// What it has used.
    #[serde(default, skip_serializing_if = "Usage::is_nothing")]
    pub usage: Usage,
}

/// The answer to `GET /v1/tasks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskList {
    /// The tasks, oldest first.
    pub tasks: Vec<WireTask>,
    /// What to ask `after` next: behind all that was looked at, also where the filter let nothing through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<WireTaskId>,
    /// How many tasks of the project are pending.
    pub pending: u64,
    /// How many are leased.
    pub leased: u64,
    /// How many that were finished are kept.
    pub finished: u64,
    /// How many are in each state; none where there is none.
    #[serde(default)]
    pub states: BTreeMap<StateName, u64>,
}

impl WireTask {
    /// All that is known of a task of a project.
    pub fn whole(task: &Task, project: &Project) -> WireTask {
        WireTask {
            checkpoint: from_bytes(&task.checkpoint),
            payload: from_bytes(&task.payload),
            history: task.history.iter().map(WireAttempt::from).collect(),
            finished: match &task.state {
                State::Finished(finished) => Some(WireFinished {
                    result: from_bytes(&finished.result),
                    ..WireFinished::from(finished)
                }),
                _ => None,
            },
            ..WireTask::line(task, project)
        }
    }

    /// A line of a list.
    pub fn line(task: &Task, project: &Project) -> WireTask {
        let (mut lease, mut finished, mut closed, mut paused_by) = (None, None, None, None);
        match &task.state {
            State::Leased(held) => lease = Some(WireLease::from(held)),
            State::Finished(how) => finished = Some(WireFinished::from(how)),
            State::Closed(how) => closed = Some(WireClosed::from(how)),
            State::Paused { by, .. } => paused_by = Some(by.clone()),
            State::Pending | State::Blocked | State::AwaitingApproval => {}
        }
        let blocked_by = task.unmet.iter().filter_map(|need| {
            let state = project.tasks().get(*need)?.state.name();
            let task = WireTaskId(*need);
            Some(WireNeed { task, state })
        });
        WireTask {
            task: WireTaskId(task.id),
            state: task.state.name(),
            title: task.title.clone(),
            kind: task.kind.clone(),
            name: task.name.clone(),
            payload: Value::Null,
            author: task.author.clone(),
            added_ms: task.added_ms,
            attempts: task.attempts,
            lease,
            finished,
            history: Vec::new(),
            terms: WireTerms::from(&*task.terms),
            blocked_by: blocked_by.collect(),
            wakes_ms: task.wakes_ms,
            failures: task.counts.failures,
            expiries: task.counts.expiries,
            deaths: task.counts.deaths,
            approved: task.approved.clone(),
            paused_by,
            checkpoint: Value::Null,
            closed,
            waits_for: match task.is_ready() {
                true => waits_for(project, &task.terms.queue),
                false => None,
            },
            usage: task.usage,
        }
    }
}

impl From<&Closed> for WireClosed {
    fn from(closed: &Closed) -> WireClosed {
        WireClosed {
            by: closed.by.clone(),
            reason: closed.reason.clone(),
            seq: closed.seq,
            at_ms: closed.at_ms,
        }
    }
}

impl From<&Lease> for WireLease {
    fn from(lease: &Lease) -> WireLease {
        WireLease {
            holder: WireHolder::from(&lease.holder),
            fence: lease.fence.0,
            since_ms: lease.since_ms,
            until_ms: lease.until_ms,
            accepted: lease.accepted,
            progress: lease.progress,
            note: lease.note.clone(),
            stealable: lease.stealable,
            cancel: lease.cancel.clone(),
            hand_off: lease.hand_off.clone(),
            reservation: lease.reservation.map(WireReservationId),
            offered: lease.offer.is_some(),
            usage: lease.usage,
        }
    }
}

impl From<&Finished> for WireFinished {
    fn from(finished: &Finished) -> WireFinished {
        WireFinished {
            holder: WireHolder::from(&finished.holder),
            fence: finished.fence.0,
            seq: finished.seq,
            at_ms: finished.at_ms,
            result: Value::Null,
            failure: finished.failure.as_ref().map(Failure::to_string),
            usage: finished.usage,
        }
    }
}

impl From<&Attempt> for WireAttempt {
    fn from(attempt: &Attempt) -> WireAttempt {
        WireAttempt {
            attempt: attempt.number,
            holder: WireHolder::from(&attempt.holder),
            fence: attempt.fence.0,
            since_ms: attempt.since_ms,
            ended_ms: attempt.ended_ms,
            reason: attempt.reason.to_string(),
            result: from_bytes(&attempt.result),
            usage: attempt.usage,
        }
    }
}
