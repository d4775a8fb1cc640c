//! What is asked of tasks over a door, and what it answers.

use std::sync::Arc;

use queenright_protocol::colony::{Ending, Failure, FinishWith, NewTask, Spent, StateName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::WireTaskId;
use crate::client::wire::terms::{AddTask, needs_of};
use crate::client::wire::{ProposalRequest, WireReservationId, WireSessionId, WireWant, is_false};

/// The body of `POST /v1/tasks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddTasks {
    /// The tasks, at most 1,000.
    pub tasks: Vec<AddTask>,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddedTasks {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// One for each task, in their order.
    pub tasks: Vec<AddedTask>,
}

/// A task that was to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddedTask {
    /// Its id.
    pub task: WireTaskId,
    /// Whether a task of that name was there already: nothing was added.
    #[serde(default)]
    pub existing: bool,
}

/// The body of `POST /v1/tasks:claim`: either ids, or how many of which kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimTasks {
    /// These tasks: all of them or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<WireTaskId>>,
    /// Any pending tasks of these kinds; of any kind when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Arc<str>>,
    /// So many at most; 1 unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The token of the session that is to hold them. Without it a session is opened for them, which closes by itself when
    /// it holds nothing any more. A claim with an idempotency key must bring it: a repeat would open another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// For how long a session that is opened lives without a sign of life, in milliseconds; 90,000 unless it says
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// The queue from which ready tasks are taken; `default` unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Arc<str>>,
    /// What the worker is capable of: it gets no task that requires more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Arc<str>>,
    /// Whether the tasks of these ids may be taken from owners that let them go, or that are silent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub steal: bool,
    /// For how long to wait for a task that becomes ready when none is, in milliseconds, up to 60,000. What it gets then is
    /// offered to it: see [`ClaimedTasks::accept_within_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimedTasks {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// The session that holds them; absent when nothing was claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<WireSessionId>,
    /// Its token; absent when nothing was claimed. That of a session that was opened is shown here only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Cluster time in milliseconds at which the leases end although the session lives, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// What was claimed; nothing when nothing was ready.
    pub tasks: Vec<ClaimedTask>,
    /// The tasks are an offer to a claim that waited: each that is not accepted, updated or finished within so many
    /// milliseconds is for others again, and that was no attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_within_ms: Option<u64>,
    /// Why nobody gets a task of the queue, if nothing was claimed because a budget keeps its tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// A task that was claimed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimedTask {
    /// Its id.
    pub task: WireTaskId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The number to name in every later call.
    pub fence: u64,
    /// What is to be done, for people.
    #[serde(default)]
    pub title: Arc<str>,
    /// What sort of work it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Arc<str>>,
    /// What the owner needs to know.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub payload: Value,
    /// What an earlier owner left, to go on from there.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub checkpoint: Value,
    /// Commands that must end with exit code 0 before the task may be said to be done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Arc<str>>,
    /// Cluster time in milliseconds at which this lease ends by itself, if that is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// What was reserved with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<WireWant>,
    /// Under this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<WireReservationId>,
}

/// The body of `POST /v1/tasks/ID:accept`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptTask {
    /// The fence of the claim.
    pub fence: u64,
    /// The token of the session.
    pub token: String,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AcceptedTask {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// The attempt.
    pub attempt: u32,
    /// Cluster time in milliseconds at which the lease ends although its owner lives, if it does.
    pub until_ms: Option<u64>,
    /// Whether the task is to be cancelled: its owner should end its lease.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cancel: bool,
}

/// The body of `POST /v1/tasks/ID:update`. What it does not say stays as it was said last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTask {
    /// The fence of the claim.
    pub fence: u64,
    /// The token of the claim.
    pub token: String,
    /// How much is done, in hundredths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
    /// What the next attempt needs to go on from here; `null` says nothing.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub checkpoint: Value,
    /// Whether others may take the task away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stealable: Option<bool>,
    /// What the attempt has used since its owner said so last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Spent>,
}

/// The body of `POST /v1/tasks/ID:cancel` and the other verbs that need not come from the owner; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlTask {
    /// Whether a leased task is taken from its owner, for `cancel`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    /// Why, for `cancel` and `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
}

/// The body of `POST /v1/tasks/ID:handoff`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HandOffTask {
    /// The fence of the claim.
    pub fence: u64,
    /// The token of the claim.
    pub token: String,
    /// To whom: the name of an agent or of a session. Absent, it takes the offer back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Arc<str>>,
}

/// The answer to these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskNow {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// The task.
    pub task: WireTaskId,
    /// How it is now; how it was, if it was dropped.
    pub state: StateName,
}

/// How an owner ends its lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WireEnding {
    /// The task is done.
    #[default]
    Done,
    /// The task has failed: for good, unless its failure is retryable.
    Failed,
    /// The task is given back for others.
    Released,
    /// The task cannot go on until others are done.
    Blocked,
    /// The task is not to be done.
    Cancelled,
}

impl From<WireEnding> for Ending {
    fn from(ending: WireEnding) -> Ending {
        match ending {
            WireEnding::Done => Ending::Done,
            WireEnding::Failed => Ending::Failed,
            WireEnding::Released => Ending::Released,
            WireEnding::Blocked => Ending::Blocked,
            WireEnding::Cancelled => Ending::Cancelled,
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WireFailure {
    /// Whether the task is to be tried again, if its terms allow that.
    #[serde(default)]
    pub retryable: bool,
    /// The class of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Arc<str>>,
    /// What happened, for people.
    pub message: Arc<str>,
}

impl From<WireFailure> for Failure {
    fn from(failure: WireFailure) -> Failure {
        let WireFailure {
            retryable,
            class,
            message,
        } = failure;
        Failure {
            retryable,
            class,
            message,
        }
    }
}

/// The body of `POST /v1/tasks/ID:finish`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishTask {
    /// The fence of the claim.
    pub fence: u64,
    /// The token of the session.
    pub token: String,
    /// How it ends.
    pub outcome: WireEnding,
    /// What came of it; nothing when null.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// A change of the memory in the same step: the task is done only if it commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<ProposalRequest>,
    /// What went wrong, of a task that has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<WireFailure>,
    /// What a task that is blocked needs from now on: ids or names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Tasks that are added in the same step, of a task that is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_ups: Vec<AddTask>,
    /// The exit codes of the checks of a task that is done, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<i32>,
    /// What the attempt has used since its owner said so last, however it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Spent>,
}

impl FinishTask {
    /// What belongs to some endings only, and what was used.
    pub fn with(&self) -> FinishWith {
        FinishWith {
            failure: self.failure.clone().map(Failure::from),
            needs: needs_of(&self.needs),
            follow_ups: self.follow_ups.iter().cloned().map(NewTask::from).collect(),
            checks: self.checks.clone(),
            usage: self.usage,
        }
    }
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FinishedTask {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// The new revision of each key that the proposal wrote, in the order of the writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<u64>,
    /// One for each follow-up task, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<AddedTask>,
    /// The places of the proposal's writes whose text was merged with that of somebody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<u32>,
}
