//! The states of tasks, and what is known of a task in each.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Failure, Fence, Holder, Owner, WaitId};
use crate::colony::reservation::ReservationId;
use crate::colony::session::SessionId;
use crate::colony::usage::Usage;

/// How a task is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// It waits to be claimed.
    Pending,
    /// Somebody holds it.
    Leased(Lease),
    /// It was finished: the result is final.
    Finished(Finished),
    /// It needs others that are not done.
    Blocked,
    /// Somebody must approve of it.
    AwaitingApproval,
    /// Somebody has paused it.
    Paused {
        /// Who.
        by: Arc<str>,
        /// Cluster time of that, in milliseconds.
        at_ms: u64,
    },
    /// It is not to be done any more.
    Closed(Closed),
}

impl State {
    /// What it is called.
    pub fn name(&self) -> StateName {
        match self {
            State::Pending => StateName::Pending,
            State::Leased(_) => StateName::Leased,
            State::Finished(finished) if finished.done => StateName::Done,
            State::Finished(_) => StateName::Failed,
            State::Blocked => StateName::Blocked,
            State::AwaitingApproval => StateName::AwaitingApproval,
            State::Paused { .. } => StateName::Paused,
            State::Closed(Closed { dead: true, .. }) => StateName::Dead,
            State::Closed(_) => StateName::Cancelled,
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

/// How a task ended that nobody finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    /// Whether it is dead: it used up what its terms allow. Otherwise it was cancelled.
    pub dead: bool,
    /// Who caused it.
    pub by: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
    /// The position of the command that closed it.
    pub seq: u64,
    /// Cluster time of that command, in milliseconds.
    pub at_ms: u64,
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
    /// Cluster time at which the holder was last heard of, in milliseconds.
    pub heard_ms: u64,
    /// Whether the holder lets others take the task away.
    pub stealable: bool,
    /// Whether the task is to be cancelled, and why.
    pub cancel: Option<Arc<str>>,
    /// To whom the holder wants to give it.
    pub hand_off: Option<Arc<str>>,
    /// What the claim reserved for it. It may have ended before the lease.
    pub reservation: Option<ReservationId>,
    /// The claim that waited, while this is an offer that it has not taken.
    pub offer: Option<WaitId>,
    /// What this attempt has used, its time up to when its owner last said something of its work.
    pub usage: Usage,
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
    /// What went wrong, if it has failed and said so.
    pub failure: Option<Failure>,
    /// What the attempt has used that finished it.
    pub usage: Usage,
}

/// The name of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StateName {
    /// It waits to be claimed.
    Pending,
    /// Somebody holds it.
    Leased,
    /// It was done.
    Done,
    /// It has failed.
    Failed,
    /// It needs others that are not done.
    Blocked,
    /// Somebody must approve of it.
    AwaitingApproval,
    /// Somebody has paused it.
    Paused,
    /// It is not to be done.
    Cancelled,
    /// It used up what its terms allow: it is on the dead-letter list.
    Dead,
}

impl StateName {
    /// All of them.
    pub const ALL: [StateName; 9] = [
        StateName::Pending,
        StateName::Leased,
        StateName::Done,
        StateName::Failed,
        StateName::Blocked,
        StateName::AwaitingApproval,
        StateName::Paused,
        StateName::Cancelled,
        StateName::Dead,
    ];

    /// Whether a task in it is still to be done.
    pub fn is_open(self) -> bool {
        !matches!(
            self,
            StateName::Done | StateName::Failed | StateName::Cancelled | StateName::Dead
        )
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateName::Pending => "pending",
            StateName::Leased => "leased",
            StateName::Done => "done",
            StateName::Failed => "failed",
            StateName::Blocked => "blocked",
            StateName::AwaitingApproval => "awaiting-approval",
            StateName::Paused => "paused",
            StateName::Cancelled => "cancelled",
            StateName::Dead => "dead",
        })
    }
}
