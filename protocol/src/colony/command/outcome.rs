//! The answers to commands.

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use crate::colony::projects::Holdings;
use crate::colony::proposal::{Conflict, Verdict};
use crate::colony::reservation::ReservationId;
use crate::colony::session::SessionId;
use crate::colony::task::{Added, Claimed, Fence, StateName, TaskId};
use crate::id::NodeId;

/// The answer to a command: what every node computes, and the one whose caller waits hands out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// The key was changed.
    Changed {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// How often the key has been changed, this time included.
        revision: u64,
    },
    /// The proposal was committed.
    Committed {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// The new revision of each written key, in the order of the writes.
        revisions: Vec<u64>,
        /// The places of the writes whose text was merged with that of somebody else.
        merged: Vec<u32>,
    },
    /// The proposal lost: nothing was changed.
    Lost {
        /// The position of the command in the order of all commands; 0 for one that its node refused before it had any.
        seq: u64,
        /// Why, at most [`crate::colony::proposal::CONFLICTS_LISTED_MAX`] of them.
        conflicts: Vec<Conflict>,
        /// How many conflicts there are in all.
        total: u64,
        /// Cluster time in milliseconds until which its keys are held for an attempt that follows this one, because it
        /// has lost so often.
        held_until_ms: Option<u64>,
    },
    /// The batch was judged.
    Judged {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// One verdict for each proposal, in the order of the batch.
        verdicts: Vec<Verdict>,
        /// How many conflicting (pair, key, kind) there are among the proposals of the batch.
        pairs: u64,
    },
    /// Nothing was changed, for this reason.
    Refused(Refusal),
    /// The tasks are there.
    Added {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// One for each task of the command, in its order.
        tasks: Vec<Added>,
    },
    /// The caller holds these tasks now; none when none was ready.
    Claimed {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// What was claimed, in the order of the ids asked for, or oldest first.
        tasks: Vec<Claimed>,
        /// Cluster time in milliseconds at which the leases end although their owner lives, if they do.
        until_ms: Option<u64>,
        /// The session that holds them, if one does: also one that the claim opened.
        session: Option<SessionId>,
    },
    /// The caller holds the task.
    Accepted {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// The attempt.
        attempt: u32,
        /// Cluster time in milliseconds at which the lease ends although its owner lives, if it does.
        until_ms: Option<u64>,
        /// Whether the task is to be cancelled: the caller should end its lease.
        cancel: bool,
    },
    /// The caller's lease has ended as it wanted.
    Finished {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// The new revision of each key that the task's proposal wrote, in the order of the writes.
        revisions: Vec<u64>,
        /// One for each task that was added with it, in their order.
        added: Vec<Added>,
        /// The places of the writes of the proposal whose text was merged with that of somebody else.
        merged: Vec<u32>,
    },
    /// The agent is known to live.
    AgentStarted {
        /// The position of the command in the order of all commands: by it the colony knows this life.
        seq: u64,
    },
    /// The agents are known to live no more.
    AgentsEnded {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// Whether there was any.
        ended: bool,
    },
    /// The session is open.
    SessionOpen {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// Its id.
        session: SessionId,
        /// The node that it lives on.
        node: NodeId,
    },
    /// The session is closed; what it held returns.
    SessionClosed {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// Its id.
        session: SessionId,
    },
    /// What a queen told of sessions is known.
    SessionsTold {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// Of how many it was new.
        changed: u32,
    },
    /// What becomes of the task was changed.
    TaskSet {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// The task.
        task: TaskId,
        /// How it is now; how it was, if it was dropped.
        state: StateName,
    },
    /// The settings of the queue were changed.
    QueueSet {
        /// The position of the command in the order of all commands.
        seq: u64,
    },
    /// The resources are the caller's, or it waits for them.
    Reserved {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// The reservation.
        reservation: ReservationId,
        /// The position of the command that granted it; `None` while it waits.
        fence: Option<Fence>,
        /// Cluster time in milliseconds at which it ends by itself, or gives up waiting.
        until_ms: u64,
    },
    /// The reservations have ended, or lost the resources that were named.
    Released {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// Which.
        reservations: Vec<ReservationId>,
        /// How many the caller has left.
        left: u64,
    },
    /// The reservations hold for longer.
    Renewed {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// Cluster time in milliseconds at which the first of them ends by itself now.
        until_ms: u64,
    },
    /// A setting of the project is as it was wanted.
    Set {
        /// The position of the command in the order of all commands.
        seq: u64,
    },
    /// The claim found nothing and waits: it is known as [`WaitId`] by the position of its command.
    ///
    /// [`WaitId`]: crate::colony::WaitId
    Waiting {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// Cluster time in milliseconds until which it waits.
        until_ms: u64,
        /// The session that will hold what it gets, if one does: also one that the claim opened.
        session: Option<SessionId>,
    },
    /// The claim does not wait any more.
    Left {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// How many tasks were offered to it and are for others again.
        returned: u32,
    },
    /// The project is there, with the limits that were wanted.
    ProjectSet {
        /// The position of the command in the order of all commands.
        seq: u64,
    },
    /// The project is destroyed; or would be, if it was only asked.
    ProjectDestroyed {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// What is lost with it.
        lost: Holdings,
    },
    /// The token is there, or gone, as it was wanted.
    DoorTokenSet {
        /// The position of the command in the order of all commands.
        seq: u64,
    },
    /// The epoch is as it was wanted.
    EpochSet {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// The number of the present epoch.
        epoch: u64,
        /// Whether it began with this command.
        changed: bool,
    },
    /// Newer rules are in force.
    RulesRaised {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// Their version.
        version: u32,
    },
    /// The node has a number, and is to come in.
    NodeAdmitted {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// The number.
        number: NodeId,
        /// The number of the present epoch.
        epoch: u64,
    },
    /// The pool is as it was wanted.
    PoolSet {
        /// The position of the command in the order of all commands.
        seq: u64,
        /// Whether it was otherwise before.
        changed: bool,
    },
}
