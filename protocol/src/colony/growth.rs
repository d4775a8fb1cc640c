//! Commands that make the state grow, and what becomes of them while too few disks have room.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{Body, Change, Op};
use super::proposal::Proposal;
use super::reservation::ReservationCommand;
use super::round::Round;
use super::task::TaskCommand;

/// A node whose disk has no room for growing commands, so that a majority would no longer have any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLow {
    /// The node's name: at most 40 characters.
    pub node: Arc<str>,
    /// What its disk has left, in bytes, beyond what the node still has to write there.
    pub free_bytes: u64,
    /// Below how many bytes it takes no growing commands.
    pub watermark_bytes: u64,
}

impl fmt::Display for DiskLow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            free_bytes,
            watermark_bytes,
        } = self;
        write!(
            f,
            "the disk of node {node} has {free_bytes} B left, the watermark is {watermark_bytes} B: until a majority of the \
             nodes is above it, only what adds nothing is taken"
        )
    }
}

impl Body {
    /// Whether the state may have more to keep afterwards. A deletion, a dry run and a proposal that only reads or deletes
    /// add nothing but their place in the log.
    pub fn grows(&self) -> bool {
        let proposal_grows =
            |proposal: &Proposal| !proposal.dry_run && proposal.writes.iter().any(|write| adds(&write.op));
        match self {
            Body::Change(Change { op, .. }) => adds(op),
            Body::Propose(proposal) => proposal_grows(proposal),
            Body::ProposeBatch(batch) => batch.proposals.iter().any(proposal_grows),
            Body::Withheld(_) => false,
            // A hold on a task, a claim that waits, and what is known of an agent or a session, take a bounded place.
            Body::Task(TaskCommand::Claim(_) | TaskCommand::Accept(_)) | Body::Agent(_) | Body::Session(_) => false,
            // A project itself takes a bounded place, and destroying one makes room.
            Body::Project(_) => false,
            // So does a token, of which there are few; and who may come in must be said at any time.
            Body::DoorToken(_) => false,
            // There are few rates and pools, too.
            Body::Rate(_) | Body::Pool(_) => false,
            // And few budgets.
            Body::Budget(_) => false,
            // One epoch takes the place of another.
            Body::Topology(_) => false,
            // So do the settings of a queue, and what is said of a task from outside.
            Body::Task(TaskCommand::Control(_) | TaskCommand::Queue(_) | TaskCommand::Leave(_)) => false,
            Body::Task(TaskCommand::Update(update)) => update.note.is_some() || update.checkpoint.is_some(),
            // What is wanted is kept as text; all else of reservations only takes away, or moves a time.
            Body::Reservation(command) => matches!(command, ReservationCommand::Acquire(_)),
            Body::Task(TaskCommand::Add(tasks)) => !tasks.is_empty(),
            Body::Task(TaskCommand::Finish(finish)) => {
                let adds_tasks = !finish.with.follow_ups.is_empty() || !finish.with.needs.is_empty();
                adds_tasks || !finish.result.is_empty() || finish.proposal.as_ref().is_some_and(proposal_grows)
            }
        }
    }
}

fn adds(op: &Op) -> bool {
    match op {
        Op::Delete => false,
        // A counter may have to be made.
        Op::Put(_) | Op::Merge(_) | Op::Increment(_) | Op::Max(_) | Op::Append(_) | Op::SetAdd(_) => true,
    }
}

impl Round {
    /// Puts [`Body::Withheld`] in place of every growing command, which keeps its number and so is answered once, whatever
    /// becomes of its first copy. Says whether there was any.
    pub fn withhold_growing(&mut self, low: &DiskLow) -> bool {
        let growing = self.commands.iter_mut().filter(|command| command.body.grows());
        growing
            .map(|command| command.body = Body::Withheld(low.clone()))
            .count()
            > 0
    }
}
