//! Attempts that ended without a finish, and why.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Failure, Fence, Holder};
use crate::colony::agent::{AGENT_DONE, AGENT_STOPPED, AgentEnd};
use crate::colony::session::SessionEnd;
use crate::colony::usage::Usage;

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
    /// What its owner said came of it.
    pub result: Bytes,
    /// What it has used.
    pub usage: Usage,
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
    /// Its owner has failed, and it is to be tried again if its terms allow that.
    Failed(Failure),
    /// It took longer than its terms allow.
    TooLong,
    /// Its owner did not accept it in time.
    NotAccepted,
    /// Its owner found that it needs others first.
    Blocked,
    /// It was cancelled.
    Cancelled,
    /// Somebody of this name took it away.
    Stolen(Arc<str>),
    /// Its owner gave it to somebody of this name, who took it.
    HandedOff(Arc<str>),
    /// It was offered to a claim that waited, which did not take it. That was no attempt.
    NotTaken,
}

impl Return {
    /// Whether the worker died while its node lived: twice, and the task goes to nobody any more.
    pub(super) fn is_death(&self) -> bool {
        match self {
            Return::Agent(AgentEnd::Ended(reason)) => ![AGENT_DONE, AGENT_STOPPED].contains(&&**reason),
            Return::Agent(AgentEnd::Replaced) | Return::Session(SessionEnd::Silent) => true,
            _ => false,
        }
    }

    /// Whether the owner itself ended its lease.
    pub(super) fn is_of_owner(&self) -> bool {
        matches!(
            self,
            Return::Released | Return::Failed(_) | Return::Blocked | Return::Cancelled
        )
    }
}

impl fmt::Display for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Return::Released => write!(f, "its owner gave it back"),
            Return::Expired => write!(f, "its lease expired"),
            Return::Agent(end) => write!(f, "{end}"),
            Return::Session(end) => write!(f, "{end}"),
            Return::Failed(failure) => write!(f, "it failed: {failure}"),
            Return::TooLong => write!(f, "it took too long"),
            Return::NotAccepted => write!(f, "its owner did not accept it in time"),
            Return::Blocked => write!(f, "its owner found that it needs others first"),
            Return::Cancelled => write!(f, "it was cancelled"),
            Return::Stolen(by) => write!(f, "{by} took it away"),
            Return::HandedOff(to) => write!(f, "its owner gave it to {to}"),
            Return::NotTaken => write!(f, "it was offered to a claim that waited, which did not take it"),
        }
    }
}
