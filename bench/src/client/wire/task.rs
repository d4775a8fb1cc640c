//! Tasks over a door.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use queenright_protocol::colony::{
    Attempt, Closed, Ending, Failure, FinishWith, Finished, Holder, Lease, NewTask, Owner, State, StateName, Task,
    TaskId, TaskIdError, Tasks,
};
use queenright_protocol::id::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::terms::{AddTask, WireTerms, needs_of};
use super::{ProposalRequest, WireReservationId, WireSessionId, WireWant, is_false};

/// The id of a task, written `17-0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct WireTaskId(pub TaskId);

impl fmt::Display for WireTaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for WireTaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<WireTaskId, TaskIdError> {
        text.parse().map(WireTaskId)
    }
}

impl TryFrom<String> for WireTaskId {
    type Error = TaskIdError;

    fn try_from(text: String) -> Result<WireTaskId, TaskIdError> {
        text.parse()
    }
}

impl From<WireTaskId> for String {
    fn from(id: WireTaskId) -> String {
        id.to_string()
    }
}

/// Who holds a task, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WireHolder {
    /// A hosted agent.
    Agent {
        /// Its name.
        name: Arc<str>,
        /// The number of its node.
        node: u64,
        /// Which start of that node.
        incarnation: u64,
        /// Its generation.
        generation: u64,
    },
    /// An external agent.
    Session {
        /// Its session.
        session: WireSessionId,
        /// What it is called.
        name: Arc<str>,
        /// Who claimed in it.
        author: Arc<str>,
    },
}

impl WireHolder {
    pub(super) fn new(owner: &Owner, author: &Arc<str>) -> WireHolder {
        match owner {
            Owner::Agent { agent, .. } => WireHolder::Agent {
                name: agent.name.clone(),
                node: agent.node.0,
                incarnation: agent.incarnation,
                generation: agent.generation,
            },
            Owner::Session { session, name } => WireHolder::Session {
                session: WireSessionId(*session),
                name: name.clone(),
                author: author.clone(),
            },
        }
    }
}

impl From<&Holder> for WireHolder {
    fn from(holder: &Holder) -> WireHolder {
        WireHolder::new(&holder.owner, &holder.author)
    }
}

impl fmt::Display for WireHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireHolder::Agent {
                name, node, generation, ..
            } => {
                let node = NodeId(*node);
                write!(
                    f,
                    "agent {} of node {node}, generation {generation}",
                    name.escape_debug()
                )
            }
            WireHolder::Session { session, name, author } => {
                let (name, author) = (name.escape_debug(), author.escape_debug());
                write!(f, "session {session} ({name}) of {author}")
            }
        }
    }
}

/// The body of `POST /v1/tasks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddTasks {
    /// The tasks, at most 1,000.
    pub tasks: Vec<AddTask>,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedTasks {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// One for each task, in their order.
    pub tasks: Vec<AddedTask>,
}

/// A task that was to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedTask {
    /// Its id.
    pub task: WireTaskId,
    /// Whether a task of that name was there already: nothing was added.
    #[serde(default)]
    pub existing: bool,
}

/// The body of `POST /v1/tasks:claim`: either ids, or how many of which kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// A task that was claimed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptTask {
    /// The fence of the claim.
    pub fence: u64,
    /// The token of the session.
    pub token: String,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
}

/// The body of `POST /v1/tasks/ID:cancel` and the other verbs that need not come from the owner; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskNow {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// The task.
    pub task: WireTaskId,
    /// How it is now; how it was, if it was dropped.
    pub state: StateName,
}

/// How an owner ends its lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
}

impl FinishTask {
    /// What belongs to some endings only.
    pub fn with(&self) -> FinishWith {
        FinishWith {
            failure: self.failure.clone().map(Failure::from),
            needs: needs_of(&self.needs),
            follow_ups: self.follow_ups.iter().cloned().map(NewTask::from).collect(),
            checks: self.checks.clone(),
        }
    }
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedTask {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// The new revision of each key that the proposal wrote, in the order of the writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<u64>,
    /// One for each follow-up task, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<AddedTask>,
}

/// A task as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// A task that another one needs, and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireNeed {
    /// Its id.
    pub task: WireTaskId,
    /// How it is.
    pub state: StateName,
}

/// How a task ended that nobody finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// How a task was finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// An attempt that ended without a finish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// The answer to `GET /v1/tasks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// All that is known of a task.
    pub fn whole(task: &Task, tasks: &Tasks) -> WireTask {
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
            ..WireTask::line(task, tasks)
        }
    }

    /// A line of a list.
    pub fn line(task: &Task, tasks: &Tasks) -> WireTask {
        let (mut lease, mut finished, mut closed, mut paused_by) = (None, None, None, None);
        match &task.state {
            State::Leased(held) => lease = Some(WireLease::from(held)),
            State::Finished(how) => finished = Some(WireFinished::from(how)),
            State::Closed(how) => closed = Some(WireClosed::from(how)),
            State::Paused { by, .. } => paused_by = Some(by.clone()),
            State::Pending | State::Blocked | State::AwaitingApproval => {}
        }
        let blocked_by = task.unmet.iter().filter_map(|need| {
            let state = tasks.get(*need)?.state.name();
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
        }
    }
}

/// A payload or a result as the colony keeps it: the text of the JSON, nothing for null.
pub fn to_bytes(value: &Value) -> Bytes {
    match value {
        Value::Null => Bytes::new(),
        value => Bytes::from(value.to_string()),
    }
}

/// The other way round; bytes that are no JSON, which only an agent of a node may have put there, are shown as text, or
/// as `{"hex": …}` if they are not even that.
pub fn from_bytes(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let text = || str::from_utf8(bytes).ok().map(Value::from);
    let json = serde_json::from_slice(bytes).ok();
    json.or_else(text).unwrap_or_else(|| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serde_json::json!({ "hex": hex })
    })
}
