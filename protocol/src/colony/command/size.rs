//! How large a command and its outcome are when they are encoded: what a node must have room for before it takes a
//! command.

use bincode::Options;

use super::{Body, NAME_BYTES_MAX, Op};
use crate::colony::agent::AgentCommand;
use crate::colony::door_token::DOOR_TOKEN_NAME_BYTES_MAX;
use crate::colony::pool::POOL_NAME_BYTES_MAX;
use crate::colony::proposal::{
    BATCH_KEYS_MAX, BATCH_LISTED_BYTES_MAX, BATCH_PROPOSALS_MAX, CONFLICT_BYTES, CONFLICTS_LISTED_MAX, Proposal,
    UNMERGED_LISTED_MAX,
};
use crate::colony::reservation::{BLOCKERS_LISTED_MAX, RELEASED_MAX, Released, ReservationCommand};
use crate::colony::task::{
    CLAIM_TASKS_MAX, Caller, Finish, NewTask, TASK_REASON_BYTES_MAX, TASK_RESOURCES_MAX, TaskCommand, Which,
};
use crate::colony::usage::ACCOUNT_NAME_BYTES_MAX;
use crate::conflict::MERGE_FAILURE_BYTES_MAX;
use crate::conflict::glob::GLOB_BYTES_MAX;

/// An encoded holder without its names, in bytes.
pub(in crate::colony) const HOLDER_BYTES: usize = 52;
/// An encoded holder at most.
const HOLDER_BYTES_MAX: usize = HOLDER_BYTES + 2 * NAME_BYTES_MAX;
/// A resource as text: its kind before a pattern, or a name.
const RESOURCE_BYTES_MAX: usize = GLOB_BYTES_MAX + 5;
/// An encoded id of a reservation.
const RESERVATION_ID_BYTES: usize = 12;
/// Something that stands in the way of a resource, encoded.
const BLOCKER_BYTES: usize = 64 + RESOURCE_BYTES_MAX + HOLDER_BYTES_MAX;
/// What stands in the way of the resources of a task, encoded.
const HELD_BYTES_MAX: usize = 64 + BLOCKERS_LISTED_MAX * BLOCKER_BYTES + 4 * TASK_RESOURCES_MAX;
/// An encoded refusal of a command of reservations that lists nothing: it may name a resource or an agent, or say what is
/// wrong with a text, a part of which is shown.
const RESERVATION_REFUSAL_BYTES: usize = 256 + 2 * RESOURCE_BYTES_MAX + HOLDER_BYTES_MAX;
/// An encoded outcome without what it lists, in bytes.
const OUTCOME_BYTES: usize = 37;
/// An encoded refusal of a task's command: it names a holder, its node and its author, or somebody and what he said.
const TASK_REFUSAL_BYTES: usize = 144 + 2 * NAME_BYTES_MAX + TASK_REASON_BYTES_MAX;
/// An added task in an encoded outcome, in bytes.
const ADDED_BYTES: usize = 13;
/// A claimed task in an encoded outcome, in bytes.
const CLAIMED_BYTES: usize = 24;
/// An encoded refusal without the key that it names, in bytes.
const REFUSAL_BYTES: usize = 144;
/// An encoded verdict, a refusal with cut texts included, without what it lists and the revisions, in bytes.
const VERDICT_BYTES: usize = 4 + REFUSAL_BYTES + 2 * CUT_TEXT_BYTES;
/// What is left of a key when the answer to a batch has no room for more, in bytes.
pub(super) const CUT_TEXT_BYTES: usize = 32;

/// The largest encoded outcome, in bytes: that of a batch.
pub const OUTCOME_BYTES_MAX: usize =
    OUTCOME_BYTES + REFUSAL_BYTES + BATCH_LISTED_BYTES_MAX + BATCH_PROPOSALS_MAX * VERDICT_BYTES + 12 * BATCH_KEYS_MAX;

impl Body {
    /// Its encoded size in bytes.
    pub fn encoded_bytes(&self) -> usize {
        let options = bincode::DefaultOptions::new().with_fixint_encoding();
        options.serialized_size(self).expect("plain data has a size") as usize
    }

    /// How large its encoded outcome can be at most, in bytes, without the idempotency key that a refusal may name. Every
    /// node keeps the outcome until the node that asked has it.
    pub fn outcome_bytes_max(&self) -> usize {
        match self {
            // It may name who has the key reserved.
            Body::Change(change) => OUTCOME_BYTES + TASK_REFUSAL_BYTES + change.key.len(),
            Body::Withheld(_) => OUTCOME_BYTES + REFUSAL_BYTES,
            Body::Propose(proposal) => proposal_outcome_bytes_max(proposal),
            Body::Task(command) => {
                OUTCOME_BYTES
                    + TASK_REFUSAL_BYTES
                    + match command {
                        TaskCommand::Add(tasks) => ADDED_BYTES * tasks.len() + resource_refusal_bytes_max(tasks),
                        TaskCommand::Claim(claim) => {
                            CLAIMED_BYTES
                                * match &claim.which {
                                    Which::Ids(ids) => ids.len(),
                                    Which::Ready { limit, .. } => CLAIM_TASKS_MAX.min(*limit as usize),
                                }
                                + match &claim.which {
                                    // It may be told what stands in the way.
                                    Which::Ids(ids) if !ids.is_empty() => HELD_BYTES_MAX,
                                    _ => 0,
                                }
                        }
                        TaskCommand::Accept(_) | TaskCommand::Update(_) => 0,
                        TaskCommand::Control(_) | TaskCommand::Queue(_) | TaskCommand::Leave(_) => 0,
                        TaskCommand::Finish(Finish { proposal, with, .. }) => {
                            let proposal = proposal.as_ref().map_or(0, proposal_outcome_bytes_max);
                            let added = ADDED_BYTES * with.follow_ups.len();
                            proposal + added + resource_refusal_bytes_max(&with.follow_ups)
                        }
                    }
            }
            Body::Agent(AgentCommand::Started { name, .. } | AgentCommand::Ended { name, .. }) => {
                OUTCOME_BYTES + REFUSAL_BYTES + name.len()
            }
            Body::Agent(_) => OUTCOME_BYTES + REFUSAL_BYTES,
            Body::Session(_) | Body::Project(_) | Body::Topology(_) => OUTCOME_BYTES + REFUSAL_BYTES,
            // It names the rate.
            Body::Rate(_) => OUTCOME_BYTES + REFUSAL_BYTES + NAME_BYTES_MAX,
            // It names the account.
            Body::Budget(_) => OUTCOME_BYTES + REFUSAL_BYTES + ACCOUNT_NAME_BYTES_MAX,
            // It may name the pool.
            Body::Pool(_) => OUTCOME_BYTES + REFUSAL_BYTES + POOL_NAME_BYTES_MAX,
            // It may name the token.
            Body::DoorToken(_) => OUTCOME_BYTES + REFUSAL_BYTES + DOOR_TOKEN_NAME_BYTES_MAX,
            Body::Reservation(command) => OUTCOME_BYTES + RESERVATION_REFUSAL_BYTES + reservation_bytes_max(command),
            Body::ProposeBatch(batch) => {
                let verdicts = batch.proposals.iter().map(|proposal| {
                    let Named {
                        listed,
                        longest,
                        writes,
                        merges,
                    } = Named::of(proposal);
                    let listed = listed + merges * MERGE_FAILURE_BYTES_MAX;
                    // Long texts of refusals are listed too.
                    (listed.max(longest), VERDICT_BYTES + 8 * writes + 4 * merges)
                });
                let (listed, fixed) = verdicts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
                // The whole batch may be refused.
                OUTCOME_BYTES + REFUSAL_BYTES + listed.min(BATCH_LISTED_BYTES_MAX) + fixed
            }
        }
    }
}

fn proposal_outcome_bytes_max(proposal: &Proposal) -> usize {
    let Named {
        listed,
        longest,
        writes,
        merges,
    } = Named::of(proposal);
    let listed = listed.min(CONFLICTS_LISTED_MAX * (CONFLICT_BYTES + HOLDER_BYTES_MAX + longest));
    let listed = listed + merges.min(UNMERGED_LISTED_MAX) * MERGE_FAILURE_BYTES_MAX;
    OUTCOME_BYTES + listed.max(REFUSAL_BYTES + longest) + 8 * writes + 4 * merges
}

/// What a refusal of new tasks over their resources has, in bytes.
fn resource_refusal_bytes_max(tasks: &[NewTask]) -> usize {
    let names_any = |task: &NewTask| !task.terms.resources.is_empty();
    match tasks.iter().any(names_any) {
        true => RESERVATION_REFUSAL_BYTES,
        false => 0,
    }
}

/// What an outcome of such a command lists, in bytes.
fn reservation_bytes_max(command: &ReservationCommand) -> usize {
    match command {
        ReservationCommand::Acquire(acquire) => BLOCKERS_LISTED_MAX * BLOCKER_BYTES + 4 * acquire.resources.len(),
        ReservationCommand::Release(release) => {
            RESERVATION_ID_BYTES
                * match &release.which {
                    Released::Ids(ids) => ids.len(),
                    Released::Resources(_) | Released::All => RELEASED_MAX,
                }
        }
        ReservationCommand::Force(force) => RESERVATION_ID_BYTES * force.ids.len(),
        ReservationCommand::Renew(_) | ReservationCommand::Slot { .. } | ReservationCommand::Advisory(_) => 0,
    }
}

/// What of a proposal bears on the size of its verdict.
struct Named {
    /// The bytes of a conflict on each of its keys.
    listed: usize,
    /// Its longest key.
    longest: usize,
    writes: usize,
    /// How many of the writes are merges.
    merges: usize,
}

impl Named {
    fn of(proposal: &Proposal) -> Named {
        let reads = proposal.reads.iter().map(|read| (read.key.len(), 0));
        let ranges = proposal.ranges.iter().map(|range| (range.span.text().len(), 0));
        // A write may be held, and reserved or gone stale besides: a conflict over a reservation names who has it.
        let writes = proposal.writes.iter().flat_map(|write| {
            let key = write.key.len();
            [(key, 0), (key, HOLDER_BYTES_MAX)]
        });
        let keys = reads.chain(ranges).chain(writes);
        let (listed, longest) = keys.fold((0, 0), |(listed, longest), (key, holder)| {
            (listed + CONFLICT_BYTES + holder + key, longest.max(key))
        });
        // Who is fenced off is told who holds the task.
        let names = proposal.fence.as_ref().map_or(0, |fence| match &fence.caller {
            Caller::Agent { name, .. } => name.len().max(2 * NAME_BYTES_MAX),
            Caller::Session(_) | Caller::Opens(_) => 2 * NAME_BYTES_MAX,
        });
        Named {
            listed,
            longest: longest.max(names),
            writes: proposal.writes.len(),
            merges: proposal
                .writes
                .iter()
                .filter(|write| matches!(write.op, Op::Merge(_)))
                .count(),
        }
    }
}
