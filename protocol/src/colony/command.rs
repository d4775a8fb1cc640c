//! What somebody wants ([`Command`]) and the answer to it ([`Outcome`]).
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`Body::Change`] | agent or door | colony | [`Outcome::Changed`] | change one key of the memory |
//! | [`Body::Propose`] | agent or door | colony | [`Outcome::Committed`], [`Outcome::Lost`] | change keys if what was read still holds |
//! | [`Body::ProposeBatch`] | agent or door | colony | [`Outcome::Judged`] | judge several proposals together against one state |
//! | [`Body::Withheld`] | the leader's queen | colony | [`Outcome::Refused`] | stands for a growing command that the disks have no room for |
//! | [`Body::Task`] | agent or door | colony | see [`super::task`] | add, claim, accept, update or finish tasks; wait for one |
//! | [`Body::Agent`] | queen | colony | see [`super::agent`] | an agent of a node has started or ended |
//! | [`Body::Session`] | door | colony | see [`super::session`] | open, re-open or close a session |
//! | [`Body::Reservation`] | agent or door | colony | see [`super::reservation`] | take, release, renew or force reservations |
//! | [`Body::Project`] | door | colony | see [`super::projects`] | make a project, limit or destroy it |
//!
//! Any command may be answered by [`Outcome::Refused`]: nothing was changed.

use std::fmt;
use std::sync::Arc;

use bincode::Options;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::agent::AgentCommand;
use super::growth::DiskLow;
use super::projects::{Holdings, ProjectCommand};
use super::proposal::{
    BATCH_KEYS_MAX, BATCH_LISTED_BYTES_MAX, BATCH_PROPOSALS_MAX, CONFLICT_BYTES, CONFLICTS_LISTED_MAX, Conflict,
    Proposal, ProposalBatch, UNMERGED_LISTED_MAX, Verdict,
};
use super::reservation::{BLOCKERS_LISTED_MAX, Blocker, RELEASED_MAX, Released, ReservationCommand, ReservationId};
use super::session::{SessionCommand, SessionEnd, SessionId, TokenHash};
use super::task::{
    Act, Added, CLAIM_TASKS_MAX, Caller, Claimed, Control, Fence, Finish, Holder, NewTask, Owner, StateName,
    TASK_REASON_BYTES_MAX, TASK_RESOURCES_MAX, TaskCommand, TaskId, Which,
};
use crate::conflict::MERGE_FAILURE_BYTES_MAX;
use crate::conflict::glob::GLOB_BYTES_MAX;
use crate::id::NodeId;

/// The longest key, in bytes. With the longest name of a project before it, it fits a key of the store, which has 4 KiB.
pub const KEY_BYTES_MAX: usize = 3_840;
/// The longest value, in bytes. A node's configuration may set a lower bound at its doors, never a higher one.
pub const VALUE_BYTES_MAX: usize = 8 << 20;
/// The longest value that may be appended to or hold a set, in bytes: each such change copies the value on every node.
pub const GROWN_VALUE_BYTES_MAX: usize = 256 << 10;
/// The longest name of a project or an author, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// How many tags a record may have.
pub const TAGS_MAX: usize = 16;
/// The longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 128;

/// A key of the collective memory, relative to its project.
pub type Key = Arc<str>;

/// BLAKE3 of a value's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> ContentHash {
        ContentHash(*blake3::hash(bytes).as_bytes())
    }

    /// Reads 64 hexadecimal digits; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<ContentHash> {
        blake3::Hash::from_hex(text)
            .ok()
            .map(|hash| ContentHash(*hash.as_bytes()))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A command as it stands in a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Its place in the dedup session of the node that gathers it; counts from 1.
    pub number: u64,
    /// All commands of the session below this number have been answered at the node: their outcomes may be forgotten.
    pub settled: u64,
    /// Cluster time in milliseconds after which `apply` refuses it.
    pub expires_ms: u64,
    /// The project it belongs to.
    pub project: Arc<str>,
    /// Who wants it: the name of an agent, or of a door's caller.
    pub author: Arc<str>,
    /// The caller's own identity of this command, if it gave one: a repeat is answered with the first outcome.
    pub idempotency_key: Option<Arc<str>>,
    /// What is wanted.
    pub body: Body,
    /// Whether its project must have been created before: then a use does not make it.
    pub listed: bool,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Change one key of the memory.
    Change(Change),
    /// Change several keys at once, if what was read still holds.
    Propose(Proposal),
    /// Judge several proposals together against one state.
    ProposeBatch(ProposalBatch),
    /// Nothing: the leader's queen put it in place of a growing command, to be refused at its place in the order.
    Withheld(DiskLow),
    /// Add, claim, accept or finish tasks.
    Task(TaskCommand),
    /// An agent of a node has started or ended. Belongs to no project; the name in the command is not used.
    Agent(AgentCommand),
    /// Open, re-open or close a session.
    Session(SessionCommand),
    /// Take, release, renew or force reservations.
    Reservation(ReservationCommand),
    /// Make the project, limit or destroy it.
    Project(ProjectCommand),
}

impl Body {
    /// The hash of the token with which an owner acts: a sign of life of its session.
    pub fn token(&self) -> Option<TokenHash> {
        let caller = match self {
            Body::Task(TaskCommand::Claim(claim)) => Some(&claim.caller),
            Body::Task(TaskCommand::Accept(accept)) => Some(&accept.caller),
            Body::Task(TaskCommand::Update(update)) => Some(&update.caller),
            Body::Task(TaskCommand::Finish(finish)) => Some(&finish.caller),
            Body::Task(TaskCommand::Control(Control {
                act: Act::HandOff { caller, .. },
                ..
            })) => Some(caller),
            Body::Task(TaskCommand::Leave(leave)) => Some(&leave.caller),
            Body::Reservation(ReservationCommand::Acquire(acquire)) => Some(&acquire.caller),
            Body::Reservation(ReservationCommand::Release(release)) => Some(&release.caller),
            Body::Reservation(ReservationCommand::Renew(renew)) => Some(&renew.caller),
            Body::Change(change) => change.caller.as_ref(),
            Body::Propose(proposal) => proposal.caller.as_ref(),
            _ => None,
        };
        match caller? {
            Caller::Session(token) => Some(*token),
            Caller::Agent { .. } | Caller::Opens(_) => None,
        }
    }

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
            Body::Session(_) | Body::Project(_) => OUTCOME_BYTES + REFUSAL_BYTES,
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

/// An encoded holder without its names, in bytes.
pub(super) const HOLDER_BYTES: usize = 52;
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
const CUT_TEXT_BYTES: usize = 32;

/// The largest encoded outcome, in bytes: that of a batch.
pub const OUTCOME_BYTES_MAX: usize =
    OUTCOME_BYTES + REFUSAL_BYTES + BATCH_LISTED_BYTES_MAX + BATCH_PROPOSALS_MAX * VERDICT_BYTES + 12 * BATCH_KEYS_MAX;

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

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// What happens to it.
    pub op: Op,
    /// The tags of the record from now on, sorted and distinct.
    pub tags: Vec<Arc<str>>,
    /// When the change is refused.
    pub condition: Condition,
    /// Who changes it, to whom its own reservations are no hindrance.
    pub caller: Option<Caller>,
}

/// What must hold of a key before it is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing: a plain change never conflicts.
    #[default]
    None,
    /// The key has no value: it never had one, or it was deleted.
    IfAbsent,
    /// The key has been changed exactly this many times; 0 for a key that was never written.
    IfRevision(u64),
}

/// What happens to a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// The value becomes this.
    Put(Content),
    /// The value goes; the revision stays and grows by one.
    Delete,
    /// The value, a whole number in decimal digits, grows by this much; an absent one counts as 0. Commutes.
    Increment(i64),
    /// The value, a whole number in decimal digits, becomes at least this. Commutes.
    Max(i64),
    /// These bytes are added at the end, up to [`GROWN_VALUE_BYTES_MAX`] in all. Commutes: writers do not mind each
    /// other's order.
    Append(Bytes),
    /// This line joins a set, kept as sorted lines, up to [`GROWN_VALUE_BYTES_MAX`] in all. Commutes.
    SetAdd(Arc<str>),
    /// A text that was made from another one is merged with what stands there now. Only in a proposal.
    Merge(Merge),
}

/// A three-way merge of text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merge {
    /// What the writer saw; `None` when there was no value.
    pub base: Option<Content>,
    /// The tags that it saw, sorted. If the writer leaves them as they were, the present ones stay.
    pub base_tags: Vec<Arc<str>>,
    /// What the writer made of it.
    pub theirs: Content,
}

/// The bytes of a value: brought along, or named by hash when the project already keeps them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// The bytes themselves.
    Inline(Bytes),
    /// Bytes that the project keeps by hash (values of [`super::memory::KEPT_BYTES_MIN`] and more).
    Kept(ContentHash),
}

impl Content {
    /// The hash of the bytes.
    pub fn hash(&self) -> ContentHash {
        match self {
            Content::Inline(bytes) => ContentHash::of(bytes),
            Content::Kept(hash) => *hash,
        }
    }
}

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
        /// Why, at most [`super::proposal::CONFLICTS_LISTED_MAX`] of them.
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
    /// [`WaitId`]: super::WaitId
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
}

/// Why a command was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// It arrived after its time; the caller may try again as a new command.
    #[error("the command expired at {expires_ms} ms of cluster time, it is {cluster_ms} ms")]
    Expired {
        /// When it expired.
        expires_ms: u64,
        /// The cluster time at its place in the order.
        cluster_ms: u64,
    },
    /// The condition of a change does not hold.
    #[error("{key}: {} (revision {revision})", if *.present { "has a value" } else { "has no value" })]
    Condition {
        /// The key.
        key: Key,
        /// Its revision at the command's place in the order.
        revision: u64,
        /// Whether it has a value.
        present: bool,
    },
    /// A field is out of its bounds.
    #[error("{field}: {value} is over the limit of {limit}")]
    OverLimit {
        /// Which field.
        field: Arc<str>,
        /// Its size.
        value: u64,
        /// The bound.
        limit: u64,
    },
    /// A field does not have the form it must have.
    #[error("{field}: {problem}")]
    Malformed {
        /// Which field.
        field: Arc<str>,
        /// What is wrong with it.
        problem: Arc<str>,
    },
    /// Content was named by a hash under which the project keeps nothing.
    #[error("{key}: the project keeps no content with hash {hash}")]
    MissingContent {
        /// The key that was to receive it.
        key: Key,
        /// The hash.
        hash: ContentHash,
    },
    /// The operation does not fit the value that stands there.
    #[error("{key}: its value is not {wanted}")]
    WrongType {
        /// The key.
        key: Key,
        /// What the operation needs.
        wanted: Arc<str>,
    },
    /// The idempotency key was used for another command.
    #[error("idempotency key {key:?} was used for another command")]
    IdempotencyKeyReused {
        /// The key.
        key: Arc<str>,
    },
    /// Too few disks have room for a command that makes the state grow.
    #[error("{0}")]
    DiskLow(DiskLow),
    /// There is no task of this id, or it was finished so long ago that it is no longer kept.
    #[error("no task has the id {task}")]
    UnknownTask {
        /// The id.
        task: TaskId,
    },
    /// Somebody holds the task.
    #[error("task {task} is held by {holder} (attempt {attempt})")]
    TaskHeld {
        /// The task.
        task: TaskId,
        /// The attempt under way.
        attempt: u32,
        /// Who holds it.
        holder: Holder,
    },
    /// The task was finished: nothing changes it any more.
    #[error("task {task} is {state}: {holder} finished it (attempt {attempt})")]
    TaskFinished {
        /// The task.
        task: TaskId,
        /// The attempt that finished it.
        attempt: u32,
        /// Whether it was done or has failed.
        state: StateName,
        /// Who finished it.
        holder: Holder,
    },
    /// The caller does not hold the task, or no longer: its fence is not that of the present lease, or it is somebody
    /// else. What it did for the task does not count.
    #[error(
        "fence {fence} does not hold task {task}: {} (attempt {attempt})",
        .holder.as_ref().map_or_else(|| "nobody does".to_string(), |holder| format!("{holder} does"))
    )]
    Fenced {
        /// The task.
        task: TaskId,
        /// The fence that the caller named.
        fence: Fence,
        /// The last attempt.
        attempt: u32,
        /// Who holds the task, or finished it; nobody while it is pending.
        holder: Option<Holder>,
    },
    /// The colony does not know this life of an agent, or it has ended: what it held was given to others.
    #[error(
        "agent {name} does not live under generation {generation}{}",
        .live.map_or(String::new(), |live| format!(", but under {live}"))
    )]
    AgentNotLive {
        /// The agent's name.
        name: Arc<str>,
        /// The generation that the caller named.
        generation: u64,
        /// The one that lives, if one does.
        live: Option<u64>,
    },
    /// The agent lives already, under this generation or a later one.
    #[error("agent {name} lives under generation {generation} already")]
    AgentLive {
        /// The agent's name.
        name: Arc<str>,
        /// The generation that lives.
        generation: u64,
    },
    /// No session of the project has this id and this token, or it has ended so long ago that it is no longer kept.
    #[error("{}", .session.map_or("no session has this token".into(), |session| format!("no session {session} has this token")))]
    UnknownSession {
        /// The id that the caller named, if it did.
        session: Option<SessionId>,
    },
    /// The session has ended: what it held was given to others.
    #[error("session {session} has ended: {why}")]
    SessionEnded {
        /// Its id.
        session: SessionId,
        /// Why.
        why: SessionEnd,
    },
    /// The key is held for a proposal that has lost again and again. Try again when the hold is over.
    #[error("{key} is held for a proposal of {author} until {until_ms} ms of cluster time")]
    KeyHeld {
        /// The key.
        key: Key,
        /// Whose proposal.
        author: Arc<str>,
        /// Until when.
        until_ms: u64,
    },
    /// The task is in no state for what is wanted of it.
    #[error("task {task} is {state}: {why}")]
    TaskNotReady {
        /// The task.
        task: TaskId,
        /// How it is.
        state: StateName,
        /// Why that does not do.
        why: Arc<str>,
    },
    /// Tasks would need each other.
    #[error("needs: a task would wait for itself: {cycle}")]
    NeedCycle {
        /// Who needs whom, from one task to itself.
        cycle: Arc<str>,
    },
    /// Others have what was to be reserved, or wait for it.
    #[error("{}", held_text(.blockers, *.more))]
    Held {
        /// What stands in the way.
        blockers: Vec<Blocker>,
        /// Whether there is more.
        more: bool,
        /// The places of the resources that would be granted if they were wanted alone.
        free: Vec<u32>,
    },
    /// The key lies under the exclusive reservation of somebody else.
    #[error("{key}: reserved by {holder} ({reservation})")]
    Reserved {
        /// The key.
        key: Key,
        /// The reservation.
        reservation: ReservationId,
        /// Who holds it.
        holder: Box<Holder>,
    },
    /// No command has made a reservation of this id.
    #[error("no reservation has the id {reservation}")]
    UnknownReservation {
        /// The id.
        reservation: ReservationId,
    },
    /// The reservation is not the caller's, or no longer.
    #[error(
        "reservation {reservation} {}",
        .holder.as_ref().map_or_else(|| "has ended".to_string(), |holder| format!("is held by {holder}"))
    )]
    NotHeld {
        /// The reservation.
        reservation: ReservationId,
        /// Whose it is; nobody's when it has ended.
        holder: Option<Holder>,
    },
    /// No reservation of the caller is of this resource.
    #[error("{resource}: no reservation of yours is of it")]
    NotReserved {
        /// The resource.
        resource: Arc<str>,
    },
    /// The caller waits already: meanwhile it takes nothing, and there is nothing to renew.
    #[error(
        "reservation {reservation} is still waited for: until it is granted or released its owner takes nothing else"
    )]
    Waits {
        /// What it waits for.
        reservation: ReservationId,
    },
    /// The caller holds what somebody waits for, so it may not wait itself: the two could wait for one another.
    #[error(
        "reservation {reservation} is waited for by {holder} ({waiter}): its owner may not wait itself before it is released"
    )]
    Deadlock {
        /// The caller's reservation.
        reservation: ReservationId,
        /// That of the one who waits for it.
        waiter: ReservationId,
        /// Who that is.
        holder: Holder,
    },
    /// There is no project of this name, and what is wanted does not make it.
    #[error("there is no project {project}, and this does not make it")]
    UnknownProject {
        /// The name.
        project: Arc<str>,
    },
    /// The project is destroyed, and not cleared away yet. Its name is free when it is.
    #[error(
        "project {project} is destroyed, and {left} things of it are still to be cleared away: its name is free after that"
    )]
    ProjectClearing {
        /// The name.
        project: Arc<str>,
        /// How many things are left.
        left: u64,
    },
    /// There is a project of this name.
    #[error("project {project} is there already")]
    ProjectExists {
        /// The name.
        project: Arc<str>,
    },
    /// The project may not have so much. Other commands go on, also those that take something away.
    #[error("{field}: the project has {has} and may have {limit}, {asked} more would be too many")]
    Quota {
        /// Which of its limits.
        field: Arc<str>,
        /// What it has.
        has: u64,
        /// By how much the command would make it grow.
        asked: u64,
        /// The limit.
        limit: u64,
    },
}

fn held_text(blockers: &[Blocker], more: bool) -> String {
    let Some(first) = blockers.first() else {
        return "it is taken".to_owned();
    };
    let Blocker {
        resource,
        mode,
        holder,
        reservation,
        ..
    } = first;
    let does = if first.waits { "waited for" } else { "held" };
    let others = match blockers.len() - 1 {
        0 if !more => String::new(),
        others => format!(", and {}{others} more", if more { "at least " } else { "" }),
    };
    format!("{resource} is {does} ({mode}) by {holder} ({reservation}){others}")
}

impl Refusal {
    /// The bytes of the key or the text in it that may be long.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Refusal::Condition { key, .. }
            | Refusal::MissingContent { key, .. }
            | Refusal::WrongType { key, .. }
            | Refusal::Reserved { key, .. } => key.len(),
            Refusal::Malformed { problem, .. } => problem.len(),
            Refusal::IdempotencyKeyReused { key } => key.len(),
            Refusal::AgentNotLive { name, .. } | Refusal::AgentLive { name, .. } => name.len(),
            Refusal::Expired { .. } | Refusal::OverLimit { .. } | Refusal::DiskLow(_) => 0,
            Refusal::TaskFinished { holder, .. } => holder.text_bytes(),
            Refusal::Fenced { holder, .. } => holder.as_ref().map_or(0, Holder::text_bytes),
            // None of these is the verdict of a proposal; what they name is bounded.
            Refusal::UnknownTask { .. }
            | Refusal::TaskHeld { .. }
            | Refusal::TaskNotReady { .. }
            | Refusal::NeedCycle { .. }
            | Refusal::KeyHeld { .. }
            | Refusal::UnknownSession { .. }
            | Refusal::SessionEnded { .. }
            | Refusal::Held { .. }
            | Refusal::UnknownReservation { .. }
            | Refusal::NotHeld { .. }
            | Refusal::NotReserved { .. }
            | Refusal::Waits { .. }
            | Refusal::Deadlock { .. }
            | Refusal::UnknownProject { .. }
            | Refusal::ProjectClearing { .. }
            | Refusal::ProjectExists { .. }
            | Refusal::Quota { .. } => 0,
        }
    }

    /// Cuts that key or text to a few bytes.
    pub(crate) fn cut_text(&mut self) {
        let text = match self {
            Refusal::TaskFinished { holder, .. } => return cut_holder(holder),
            Refusal::Fenced { holder, .. } => return holder.iter_mut().for_each(cut_holder),
            Refusal::Condition { key, .. }
            | Refusal::MissingContent { key, .. }
            | Refusal::WrongType { key, .. }
            | Refusal::Reserved { key, .. } => key,
            Refusal::Malformed { problem, .. } => problem,
            Refusal::IdempotencyKeyReused { key } => key,
            Refusal::AgentNotLive { name, .. } | Refusal::AgentLive { name, .. } => name,
            Refusal::Expired { .. } | Refusal::OverLimit { .. } | Refusal::DiskLow(_) => return,
            Refusal::UnknownTask { .. }
            | Refusal::TaskHeld { .. }
            | Refusal::TaskNotReady { .. }
            | Refusal::NeedCycle { .. }
            | Refusal::KeyHeld { .. }
            | Refusal::UnknownSession { .. }
            | Refusal::SessionEnded { .. }
            | Refusal::Held { .. }
            | Refusal::UnknownReservation { .. }
            | Refusal::NotHeld { .. }
            | Refusal::NotReserved { .. }
            | Refusal::Waits { .. }
            | Refusal::Deadlock { .. }
            | Refusal::UnknownProject { .. }
            | Refusal::ProjectClearing { .. }
            | Refusal::ProjectExists { .. }
            | Refusal::Quota { .. } => return,
        };
        cut(text);
    }
}

fn cut(text: &mut Arc<str>) {
    let room = CUT_TEXT_BYTES - '…'.len_utf8();
    if text.len() > room {
        *text = format!("{}…", &text[..text.floor_char_boundary(room)]).into();
    }
}

fn cut_holder(holder: &mut Holder) {
    cut(&mut holder.author);
    match &mut holder.owner {
        Owner::Agent { agent, .. } => cut(&mut agent.name),
        Owner::Session { name, .. } => cut(name),
    }
}
