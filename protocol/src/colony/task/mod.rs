//! Tasks: what is to be done, who holds it, and what came of it.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`TaskCommand::Add`] | agent or door | colony | [`Outcome::Added`] | these tasks wait to be claimed |
//! | [`TaskCommand::Claim`] | agent or door | colony | [`Outcome::Claimed`], [`Outcome::Waiting`] | the caller takes tasks, in one step, or waits for one |
//! | [`TaskCommand::Accept`] | owner | colony | [`Outcome::Accepted`] | the owner is at work |
//! | [`TaskCommand::Update`] | owner | colony | [`Outcome::Accepted`] | as accept, and this is how far it has come |
//! | [`TaskCommand::Finish`] | owner | colony | [`Outcome::Finished`], [`Outcome::Lost`] | done, failed, given back, blocked, or cancelled |
//! | [`TaskCommand::Control`] | agent or door | colony | [`Outcome::TaskSet`] | cancel, pause, resume, approve, reject, requeue, drop |
//! | [`TaskCommand::Queue`] | agent or door | colony | [`Outcome::QueueSet`] | settings of a queue |
//! | [`TaskCommand::Leave`] | agent or door | colony | [`Outcome::Left`] | who claimed waits no more |
//!
//! ```text
//!               add, requeue
//!                    │
//!        ┌── needs ──┼─ approval ──┐                 pause
//!        ▼           │             ▼            ┌────────────▶ paused ──┐
//!     blocked ──────▶│◀── awaiting-approval     │                       │
//!      ▲    needs    ▼    approve               │◀──────── resume ──────┘
//!      │     done  pending ─────────────────────┘    (from blocked and awaiting-approval as well)
//!      │           ▲     │
//!      │  returned │     │ claim, offer
//!      │           │     ▼
//!      └──────── leased ─────────▶ done, failed         finish
//!        blocked    │  │
//!                   │  └─────────▶ dead                 too many failures, expiries, or deaths of workers
//!                   └────────────▶ cancelled            also from every state above that is not leased
//!
//!     failed, cancelled, dead ──▶ pending               requeue
//! ```
//!
//! A claim turns *pending* into *leased* with an attempt and a fence: the position of the claim in the order of all
//! commands, so a later claim of the same task always has a greater one. The lease of a hosted agent holds while the agent
//! lives ([`super::agent`]), that of a session while it is open ([`super::session`]).
//! Both end when the task's terms say so: a worker that does not accept in time, or works for too long. When a lease ends
//! without a finish its attempt stands in the task's history with the reason, and the task is pending again, or dead if its
//! [`Retry`] says that this was the last one. What a task waits for and which task a claim gets: [`terms`], [`queue`].
//!
//! A claim that finds nothing may wait for a task that becomes ready. What it gets then is an *offer*: a lease that ends,
//! and does not count as an attempt, unless its owner accepts, updates or finishes the task in time. Who gets what:
//! [`wait`].
//!
//! A task that needs others is *blocked* until all of them are done. Those that wait for one task are released a few at a
//! time ([`super::sweep`]), however many they are. A need that fails releases nobody: its task may be requeued, and until
//! then those that need it stay blocked, or are cancelled, as they said themselves. Nothing looks at blocked tasks again
//! and again.
//!
//! A leased task is cancelled by its owner: the wish stands in its lease, is told as an event, and is in the answer to the
//! owner's next call; the task is cancelled once the lease ends in any way but done or failed, or at once by force.
//!
//! [`Outcome::Added`]: super::Outcome::Added
//! [`Outcome::Claimed`]: super::Outcome::Claimed
//! [`Outcome::Accepted`]: super::Outcome::Accepted
//! [`Outcome::Finished`]: super::Outcome::Finished
//! [`Outcome::Lost`]: super::Outcome::Lost
//! [`Outcome::TaskSet`]: super::Outcome::TaskSet
//! [`Outcome::QueueSet`]: super::Outcome::QueueSet
//! [`Outcome::Waiting`]: super::Outcome::Waiting
//! [`Outcome::Left`]: super::Outcome::Left

mod attempt;
mod claimable;
mod command;
mod control;
mod ending;
mod form;
mod gate;
mod line;
mod needs;
mod offer;
mod owner;
mod queue;
mod resources;
mod rules;
mod state;
mod tasks;
mod terms;
mod wait;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::attempt::{Attempt, Return};
pub use self::claimable::{Claimable, Serves};
pub use self::command::{
    Accept, Act, Claim, Control, Ending, Failure, Finish, FinishWith, Leave, NewTask, TaskCommand, Update, Wants, Which,
};
pub(crate) use self::form::check_text;
pub use self::line::CHEAPER_MAX;
pub(crate) use self::queue::StoredQueue;
pub use self::queue::{
    BREAKER_FAILURES_MAX, BREAKER_PAUSE_MS, Breaker, BreakerSettings, GROUPS_MAX, PASSES_MAX, QUEUES_MAX, Queue,
    QueueChange, QueueClosed,
};
pub use self::resources::{CLAIM_PASSES_MAX, TASK_RESOURCES_MAX};
pub use self::state::{Closed, Finished, Lease, State, StateName};
pub use self::tasks::{
    FINISHED_BYTES_KEPT_MAX, FINISHED_KEPT_MAX, FINISHED_KEPT_MS, OPEN_BYTES_MAX, OPEN_TASKS_MAX, Tasks,
};
pub use self::terms::{
    ATTEMPTS_MAX, CAPABILITIES_MAX, CHECK_BYTES_MAX, CHECKS_MAX, CLASSES_MAX, COST_DEFAULT, FACTOR_MAX, LABELS_MAX,
    NEEDS_MAX, Need, Priority, QUEUE_DEFAULT, Retry, SPAN_MS_MAX, Terms, Tier, Unmet,
};
pub use self::wait::{
    Distribution, OFFER_MS, WAIT_MS_MAX, WAIT_PROFILES_MAX, WAITS_COMPARED_MAX, WAITS_MAX, WAITS_PER_NODE_MAX,
    WAITS_PER_OWNER_MAX, Wait, WaitId,
};
use super::agent::AgentId;
use super::digest::Digest;
use super::session::{NewSession, SessionId, TokenHash};
use super::usage::Usage;

/// How many tasks one command may add.
pub const ADD_TASKS_MAX: usize = 1_000;
/// How many tasks one command may claim.
pub const CLAIM_TASKS_MAX: usize = 100;
/// How many kinds one claim may name.
pub const CLAIM_KINDS_MAX: usize = 16;
/// The longest title, in bytes.
pub const TITLE_BYTES_MAX: usize = 1_024;
/// The longest name of a task, in bytes.
pub const TASK_NAME_BYTES_MAX: usize = 256;
/// The longest payload of a task, in bytes. More belongs into the memory, under a key that the payload names.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// The longest note of an owner about its work, in bytes.
pub const NOTE_BYTES_MAX: usize = 256;
/// The longest result of a task, in bytes.
pub const RESULT_BYTES_MAX: usize = 64 << 10;
/// The longest checkpoint of a task, in bytes.
pub const CHECKPOINT_BYTES_MAX: usize = 64 << 10;
/// The longest reason that somebody may give for what happens to a task, and the longest message of an error, in bytes.
pub const TASK_REASON_BYTES_MAX: usize = 256;
/// How many tasks a finish may add.
pub const FOLLOW_UPS_MAX: usize = 100;
/// For how long a leased task must not have been heard of until it may be stolen, in milliseconds of cluster time.
pub const STALE_MS: u64 = 900_000;
/// How many attempts that ended without a finish a task remembers; older ones are only counted.
pub const HISTORY_MAX: usize = 8;
/// The identity of a task: the position of the command that added it, and its place in that command. Shown as `17-0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskId {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// The place among the tasks of that command, from 0.
    pub ordinal: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.seq, self.ordinal)
    }
}

/// A text that is not the id of a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the id of a task (expected two numbers, like 17-0)")]
pub struct TaskIdError {
    /// The text.
    pub text: String,
}

impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<TaskId, TaskIdError> {
        let parts = text.split_once('-').and_then(|(seq, ordinal)| {
            Some(TaskId {
                seq: seq.parse().ok()?,
                ordinal: ordinal.parse().ok()?,
            })
        });
        // One task has one id: no sign and no leading zeros.
        let id = parts.filter(|id| id.to_string() == text);
        id.ok_or_else(|| TaskIdError { text: text.to_string() })
    }
}

/// A number that only grows for one task: the owner names it in every call, and who names an older one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Who wants to own a task, or says that it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Caller {
    /// A hosted agent of the node whose round brings the command.
    Agent {
        /// Its name.
        name: Arc<str>,
        /// Its generation.
        generation: u64,
    },
    /// Whoever knows the token of a session of the project.
    Session(TokenHash),
    /// Nobody yet: a claim that takes anything, or an acquisition that is granted or waits, opens this session for it.
    Opens(Box<NewSession>),
}

/// Who owns a task or a reservation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Owner {
    /// A hosted agent.
    Agent {
        /// Which.
        agent: AgentId,
        /// The position of the command that told of its start.
        started: u64,
    },
    /// An external agent.
    Session {
        /// Its session.
        session: SessionId,
        /// What it is called.
        name: Arc<str>,
    },
}

impl Owner {
    /// What it is called: others may be called the same.
    pub(crate) fn name(&self) -> &Arc<str> {
        match self {
            Owner::Agent { agent, .. } => &agent.name,
            Owner::Session { name, .. } => name,
        }
    }
}

/// Who holds a task or a reservation, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The owner.
    pub owner: Owner,
    /// The author of the claim.
    pub author: Arc<str>,
}

impl Holder {
    /// The bytes of its names.
    pub(in crate::colony) fn text_bytes(&self) -> usize {
        self.owner.name().len() + self.author.len()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Owner::Agent { agent, .. } => write!(f, "{agent}"),
            Owner::Session { session, name } => write!(f, "session {session} ({name}) of {}", self.author),
        }
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its identity.
    pub id: TaskId,
    /// What is to be done, for people.
    pub title: Arc<str>,
    /// What sort of work it is.
    pub kind: Option<Arc<str>>,
    /// What the owner needs to know.
    pub payload: Bytes,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Who added it.
    pub author: Arc<str>,
    /// Cluster time at which it was added, in milliseconds.
    pub added_ms: u64,
    /// How it is.
    pub state: State,
    /// How often it was claimed.
    pub attempts: u32,
    /// The last attempts that ended without a finish, at most [`HISTORY_MAX`], oldest first.
    pub history: Vec<Attempt>,
    /// Its terms.
    pub terms: Arc<Terms>,
    /// What of its needs is not known to be done.
    pub unmet: Vec<TaskId>,
    /// What its terms count.
    pub counts: Counts,
    /// Cluster time in milliseconds before which it is not ready after a failure.
    pub not_until_ms: u64,
    /// While it is pending and not ready: cluster time in milliseconds at which it is looked at again.
    pub wakes_ms: Option<u64>,
    /// Who has approved of it.
    pub approved: Option<Arc<str>>,
    /// What an owner left for the next attempt.
    pub checkpoint: Bytes,
    /// What all its attempts have used.
    pub usage: Usage,
    /// The digest of this task, as it stands in the project's sum.
    pub(crate) digest: Digest,
}

/// How often attempts of a task have ended badly since it was added or requeued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Failures that were to be tried again, those included that took too long.
    pub failures: u32,
    /// Leases that ended by themselves.
    pub expiries: u32,
    /// Workers that died while their node lived.
    pub deaths: u32,
}

impl Task {
    /// Whether a claim may take it: it is pending, and its time has come.
    pub fn is_ready(&self) -> bool {
        self.state == State::Pending && self.wakes_ms.is_none()
    }

    /// Whether it is still to be done.
    pub fn is_open(&self) -> bool {
        self.state.name().is_open()
    }
}

/// A task that was to be added, in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// Its id.
    pub task: TaskId,
    /// Whether a task of that name was there already: nothing was added.
    pub existing: bool,
}

/// A task that was claimed, in the answer. What it says stands in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// Its id.
    pub task: TaskId,
    /// Its attempt, from 1.
    pub attempt: u32,
    /// The number to name in every later call.
    pub fence: Fence,
}
