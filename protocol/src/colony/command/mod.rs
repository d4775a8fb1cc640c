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
//! | [`Body::DoorToken`] | door | colony | see [`super::door_token`] | let callers in at the doors, or no longer |
//! | [`Body::Rate`] | door | colony | see [`super::rate`] | set a rate, or delete it |
//! | [`Body::Budget`] | door | colony | see [`super::usage`] | set a budget, reset or remove it |
//! | [`Body::Pool`] | door, or the leader's node | colony | see [`super::pool`] | set, remove, drain, recycle or share a pool |
//! | [`Body::Topology`] | door, or the leader's node | colony | see [`super::epoch`] | begin an epoch |
//!
//! Any command may be answered by [`Outcome::Refused`]: nothing was changed. How large they are: [`size`].

mod outcome;
mod refusal;
mod size;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::outcome::Outcome;
pub use self::refusal::Refusal;
pub(super) use self::size::HOLDER_BYTES;
pub use self::size::OUTCOME_BYTES_MAX;
use super::agent::AgentCommand;
use super::door_token::DoorTokenCommand;
use super::epoch::TopologyCommand;
use super::growth::DiskLow;
use super::pool::PoolCommand;
use super::projects::ProjectCommand;
use super::proposal::{Proposal, ProposalBatch};
use super::rate::RateCommand;
use super::reservation::ReservationCommand;
use super::session::{SessionCommand, TokenHash};
use super::task::{Act, Caller, Control, TaskCommand};
use super::usage::BudgetCommand;

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
    /// Let callers in at the doors, or no longer. Belongs to no project; the name in the command is not used.
    DoorToken(DoorTokenCommand),
    /// Link the members in another way, or say who they are. Belongs to no project; the name in the command is not used.
    Topology(TopologyCommand),
    /// Set a rate, or delete it.
    Rate(RateCommand),
    /// Set a budget, reset or remove it.
    Budget(BudgetCommand),
    /// Set, remove, drain, recycle or share a pool. Belongs to no project; the name in the command is not used.
    Pool(PoolCommand),
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
