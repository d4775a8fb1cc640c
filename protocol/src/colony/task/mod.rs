//! Tasks: what is to be done, who holds it, and what came of it.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`TaskCommand::Add`] | agent or door | colony | [`Outcome::Added`] | these tasks wait to be claimed |
//! | [`TaskCommand::Claim`] | agent or door | colony | [`Outcome::Claimed`] | the caller takes tasks, in one step |
//! | [`TaskCommand::Accept`] | owner | colony | [`Outcome::Accepted`] | the owner is at work |
//! | [`TaskCommand::Update`] | owner | colony | [`Outcome::Accepted`] | as accept, and this is how far it has come |
//! | [`TaskCommand::Finish`] | owner | colony | [`Outcome::Finished`], [`Outcome::Lost`] | done, failed, or given back |
//!
//! A claim turns *pending* into *leased* with an attempt and a fence: the position of the claim in the order of all
//! commands, so a later claim of the same task always has a greater one. The lease of a hosted agent holds while the agent
//! lives ([`super::agent`]), that of a session while it is open ([`super::session`]).
//! When a lease ends without a finish the task is pending again, and its attempt stands in its history with the reason.
//!
//! Accepting is for claims that wait, whose grant will be an offer until then; no claim waits yet, and every grant is the
//! owner's at once. So accepting now confirms that the owner still holds the task and notes that it has begun; it may be
//! repeated as often as work goes on.
//!
//! [`Outcome::Added`]: super::Outcome::Added
//! [`Outcome::Claimed`]: super::Outcome::Claimed
//! [`Outcome::Accepted`]: super::Outcome::Accepted
//! [`Outcome::Finished`]: super::Outcome::Finished
//! [`Outcome::Lost`]: super::Outcome::Lost

mod rules;
mod tasks;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::tasks::{FINISHED_BYTES_KEPT_MAX, FINISHED_KEPT_MAX, OPEN_BYTES_MAX, OPEN_TASKS_MAX, Tasks};
use super::agent::{AgentEnd, AgentId};
use super::digest::Digest;
use super::proposal::Proposal;
use super::session::{NewSession, SessionEnd, SessionId, TokenHash};

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
    /// Nobody yet: a claim that takes anything opens this session for it.
    Opens(Box<NewSession>),
}

/// Who owns a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Who holds a task, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The owner.
    pub owner: Owner,
    /// The author of the claim.
    pub author: Arc<str>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Owner::Agent { agent, .. } => write!(f, "{agent}"),
            Owner::Session { session, name } => write!(f, "session {session} ({name}) of {}", self.author),
        }
    }
}

/// What is wanted of tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TaskCommand {
    /// Add tasks.
    Add(Vec<NewTask>),
    /// Take tasks.
    Claim(Claim),
    /// Say that work goes on.
    Accept(Accept),
    /// End the caller's lease of a task.
    Finish(Finish),
    /// Say how far work has come.
    Update(Update),
}

/// A task that is to be added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// What is to be done, for people.
    pub title: Arc<str>,
    /// What sort of work it is: claims may ask for kinds.
    pub kind: Option<Arc<str>>,
    /// What the owner needs to know.
    pub payload: Bytes,
    /// A name that no other task of the project has: adding it again adds nothing and is answered with the task that has
    /// it, whatever else it says, as long as that one is kept.
    pub name: Option<Arc<str>>,
}

/// Takes tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Which tasks.
    pub which: Which,
    /// Who wants them.
    pub caller: Caller,
}

/// Which tasks a claim wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Which {
    /// These: all of them, or none and a refusal that names the first that is not pending.
    Ids(Vec<TaskId>),
    /// The oldest pending ones.
    Ready {
        /// Of these kinds; of any when there is none.
        kinds: Vec<Arc<str>>,
        /// So many at most.
        limit: u32,
    },
}

/// Says that work goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accept {
    /// The task.
    pub task: TaskId,
    /// The fence of the claim.
    pub fence: Fence,
    /// Who holds it.
    pub caller: Caller,
}

/// Says how far work has come, and that it goes on. What it does not say stays as it was said last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The task.
    pub task: TaskId,
    /// The fence of the claim.
    pub fence: Fence,
    /// Who holds it.
    pub caller: Caller,
    /// How much is done, in hundredths: up to 100.
    pub progress: Option<u8>,
    /// In words.
    pub note: Option<Arc<str>>,
}

/// Ends the caller's lease of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// The task.
    pub task: TaskId,
    /// The fence of the claim.
    pub fence: Fence,
    /// Who holds it.
    pub caller: Caller,
    /// How it ends.
    pub ending: Ending,
    /// What came of it; a task that is given back has none.
    pub result: Bytes,
    /// A change of the memory in the same step: the task is done only if it commits, and stays leased if it loses.
    pub proposal: Option<Proposal>,
}

/// How an owner ends its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The task is done.
    Done,
    /// The task has failed for good.
    Failed,
    /// The task is given back for others.
    Released,
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
    /// The digest of this task, as it stands in the project's sum.
    pub(crate) digest: Digest,
}

/// How a task is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// It waits to be claimed.
    Pending,
    /// Somebody holds it.
    Leased(Lease),
    /// It was finished: the result is final.
    Finished(Finished),
}

/// A hold on a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it.
    pub holder: Holder,
    /// The number that every later call of the holder names.
    pub fence: Fence,
    /// Cluster time of the claim, in milliseconds.
    pub since_ms: u64,
    /// Cluster time at which it ends although its owner lives, if it does.
    pub until_ms: Option<u64>,
    /// Whether the holder has said that it is at work.
    pub accepted: bool,
    /// How much it has done, in hundredths, if it said so.
    pub progress: Option<u8>,
    /// What it said last about its work.
    pub note: Option<Arc<str>>,
}

/// How a task was finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Whether it was done, or has failed.
    pub done: bool,
    /// Who finished it.
    pub holder: Holder,
    /// The fence of the lease under which it was finished.
    pub fence: Fence,
    /// The position of the command that finished it.
    pub seq: u64,
    /// Cluster time of that command, in milliseconds.
    pub at_ms: u64,
    /// What came of it.
    pub result: Bytes,
}

/// An attempt that ended without a finish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// Who made it.
    pub holder: Holder,
    /// Its fence.
    pub fence: Fence,
    /// Cluster time of the claim, in milliseconds.
    pub since_ms: u64,
    /// Cluster time of its end, in milliseconds.
    pub ended_ms: u64,
    /// Why it ended.
    pub reason: Return,
}

/// Why a leased task is pending again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Return {
    /// Its owner gave it back.
    Released,
    /// The lease ended by itself.
    Expired,
    /// The agent that held it lives no more.
    Agent(AgentEnd),
    /// The session that held it has ended.
    Session(SessionEnd),
}

impl fmt::Display for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Return::Released => write!(f, "its owner gave it back"),
            Return::Expired => write!(f, "its lease expired"),
            Return::Agent(end) => write!(f, "{end}"),
            Return::Session(end) => write!(f, "{end}"),
        }
    }
}

/// The name of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// It waits to be claimed.
    Pending,
    /// Somebody holds it.
    Leased,
    /// It was done.
    Done,
    /// It has failed.
    Failed,
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateName::Pending => "pending",
            StateName::Leased => "leased",
            StateName::Done => "done",
            StateName::Failed => "failed",
        })
    }
}

impl State {
    /// What it is called.
    pub fn name(&self) -> StateName {
        match self {
            State::Pending => StateName::Pending,
            State::Leased(_) => StateName::Leased,
            State::Finished(finished) if finished.done => StateName::Done,
            State::Finished(_) => StateName::Failed,
        }
    }

    /// The session that holds it.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self {
            State::Leased(Lease {
                holder:
                    Holder {
                        owner: Owner::Session { session, .. },
                        ..
                    },
                ..
            }) => Some(*session),
            _ => None,
        }
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
