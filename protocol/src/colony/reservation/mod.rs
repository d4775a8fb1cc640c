//! Reservations: who means to work on what, said before the work begins, so that others keep off or wait.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`ReservationCommand::Acquire`] | agent or door | colony | [`Outcome::Reserved`] | the caller takes all of these resources, or none; it may wait for them |
//! | [`ReservationCommand::Release`] | owner | colony | [`Outcome::Released`] | it needs them no more |
//! | [`ReservationCommand::Renew`] | owner | colony | [`Outcome::Renewed`] | it needs them for longer |
//! | [`ReservationCommand::Force`] | anybody | colony | [`Outcome::Released`] | they are taken from their owner, for a reason that all can read |
//! | [`ReservationCommand::Slot`] | anybody | colony | [`Outcome::Set`] | a slot has so many places |
//! | [`ReservationCommand::Advisory`] | anybody | colony | [`Outcome::Set`] | whether reservations stop the writes of others |
//!
//! ```text
//!            free                      release, force, time to live over, owner ended
//! acquire ─────────────────────▶ held ────────────────────────────────────────────────▶ gone
//!    │ taken, and it may wait      ▲
//!    └────────▶ waiting ───────────┘ free, and nobody who came before wants the same
//!                  │ release, force, wait over, owner ended
//!                  └──────────────────────────────────────────────────────────────────▶ gone
//! ```
//!
//! **What is taken.** Two resources meet if something is in both ([`Resource`]). Modes that meet exclude each other if one
//! of them is exclusive and neither is an intent; an intent only announces. A slot is taken when all its places are. But
//! for those an owner never stands in its own way.
//!
//! **Waiting.** Who waits holds nothing by that request. A request is granted when it meets nothing that somebody else
//! holds, *and nothing that somebody waits for who came before it*: what could be delayed by it goes first, also if it
//! must wait for something else still. What excludes nothing of an earlier request (other resources, shared beside shared,
//! an intent, a slot with places for both) cannot delay it, and passes.
//!
//! Who waits is looked at again when what it wants may be free, and only the first of a line is: of those who wait for the
//! same resource nobody behind the first who wants it exclusively, and of those who wait for a slot the one who has a place
//! now and had none. So a release costs as much as it lets in, however long the line is.
//!
//! **No deadlock.** An owner waits with one request at a time and takes nothing meanwhile, and it may not begin to wait
//! while somebody waits for what it holds. Of owners that wait for one another in a circle, the last to begin would have
//! done just that. So whoever waits is granted once those before it have ended, at the latest when their time is over.
//!
//! **Tasks.** A claim reserves the resources that its task names in the same step, and passes over ready tasks whose
//! resources are taken; they do not wait in line. What is reserved so has no end of its own: it goes when the lease ends.
//!
//! **Writes.** A change of a key that lies under the exclusive reservation of another owner is refused, and a proposal
//! that writes one loses, unless the project is advisory. The writer shows who it is by [`Change::caller`] or
//! [`Proposal::caller`]; a task is finished in the name of its owner.
//!
//! [`Change::caller`]: super::Change::caller
//! [`Proposal::caller`]: super::Proposal::caller
//! [`Outcome::Reserved`]: super::Outcome::Reserved
//! [`Outcome::Released`]: super::Outcome::Released
//! [`Outcome::Renewed`]: super::Outcome::Renewed
//! [`Outcome::Set`]: super::Outcome::Set

mod form;
mod index;
mod look;
mod of_tasks;
mod radix;
mod reservations;
mod resource;
mod rules;
mod waiting;
mod writes;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use self::form::{canonical, parse};
pub(super) use self::look::write_steps;
pub use self::look::{Blocker, Checked};
pub use self::reservations::{
    RESERVATION_BYTES_MAX, RESERVATIONS_MAX, RESERVATIONS_OF_OWNER_MAX, ReservationSettings, Reservations, WAITING_MAX,
    WAITING_RESOURCES_MAX,
};
pub use self::resource::Resource;
pub(super) use self::writes::ReservedWrites;
use super::agent::{AgentEnd, Agents};
use super::digest::Digest;
use super::session::SessionEnd;
use super::task::{Caller, Fence, Holder, Owner, Return, TaskId};

/// How many resources one request may name.
pub const RESERVED_RESOURCES_MAX: usize = 64;
/// How many reservations one command may renew or force by their ids.
pub const RESERVATION_IDS_MAX: usize = 100;
/// How many reservations one command releases at most; the answer says how many of the caller's are left.
pub const RELEASED_MAX: usize = 1_000;
/// How long a reservation holds unless it says otherwise, in milliseconds of cluster time.
pub const RESERVATION_TTL_MS: u64 = 15 * 60_000;
/// The shortest time to live, in milliseconds: a round trip with a change of leader takes about as long.
pub const RESERVATION_TTL_MS_MIN: u64 = 1_000;
/// The longest time to live, in milliseconds: who needs longer renews.
pub const RESERVATION_TTL_MS_MAX: u64 = 24 * 3_600_000;
/// The time to live of what a claim reserves for its task: it ends with the lease, and never by itself.
pub const RESERVATION_OF_LEASE_MS: u64 = u64::MAX;
/// The longest that a request may wait, in milliseconds of cluster time.
pub const RESERVATION_WAIT_MS_MAX: u64 = 3_600_000;
/// The longest reason, in bytes.
pub const RESERVATION_REASON_BYTES_MAX: usize = 256;
/// How many slots of a project may have another capacity than one.
pub const SLOTS_MAX: usize = 1_024;
/// How many places a slot may have.
pub const SLOT_CAPACITY_MAX: u32 = 1_024;
/// How many of those that stand in the way a refusal names.
pub const BLOCKERS_LISTED_MAX: usize = 16;
/// How many steps one look-up may take: sixteen for each reservation that it looks at, one for each pair of places in two
/// patterns that are compared. Some 16,000 reservations whose beginnings fit; those whose do not cost nothing.
pub const LOOKUP_STEPS_MAX: u64 = 1 << 18;

/// The identity of a reservation: the position of the command that asked for it, and its place in that command. Shown as
/// `r17-0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReservationId {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// The place among the reservations of that command, from 0.
    pub ordinal: u32,
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}-{}", self.seq, self.ordinal)
    }
}

/// A text that is not the id of a reservation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the id of a reservation (expected an r and two numbers, like r17-0)")]
pub struct ReservationIdError {
    /// The text.
    pub text: String,
}

impl FromStr for ReservationId {
    type Err = ReservationIdError;

    fn from_str(text: &str) -> Result<ReservationId, ReservationIdError> {
        let parts = text.strip_prefix('r').and_then(|text| text.parse::<TaskId>().ok());
        let id = parts.map(|TaskId { seq, ordinal }| ReservationId { seq, ordinal });
        id.ok_or_else(|| ReservationIdError { text: text.to_string() })
    }
}

/// What a reservation means to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nobody else takes it.
    #[default]
    Exclusive,
    /// Others may share it, nobody takes it exclusively.
    Shared,
    /// It is announced, and excludes nothing.
    Intent,
}

impl Mode {
    /// Those that it excludes.
    pub(crate) fn excludes(self) -> &'static [Mode] {
        match self {
            Mode::Exclusive => &[Mode::Exclusive, Mode::Shared],
            Mode::Shared => &[Mode::Exclusive],
            Mode::Intent => &[],
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
            Mode::Intent => "intent",
        })
    }
}

/// What is wanted of reservations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ReservationCommand {
    /// Take resources.
    Acquire(Acquire),
    /// Give resources back, or stop waiting for them.
    Release(Release),
    /// Hold them for longer.
    Renew(Renew),
    /// Take them from their owner.
    Force(Force),
    /// Say how many places a slot has.
    Slot {
        /// Its name.
        name: Arc<str>,
        /// So many; 1 for a slot of which nobody said it, 0 closes it. Who holds one keeps it.
        capacity: u32,
    },
    /// Say whether the project's reservations leave the writes of others alone.
    Advisory(bool),
}

/// Takes resources: all or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acquire {
    /// Which, and how; each at most once.
    pub resources: Vec<Want>,
    /// Who wants them.
    pub caller: Caller,
    /// How long they are held once they are, in milliseconds of cluster time; [`RESERVATION_TTL_MS`] when it does not say.
    pub ttl_ms: Option<u64>,
    /// How long to wait for them if they are taken; 0 is not at all.
    pub wait_ms: u64,
    /// What for, for people.
    pub reason: Option<Arc<str>>,
    /// For which task.
    pub task: Option<TaskId>,
}

/// A resource that is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Want {
    /// As text: see [`Resource`].
    pub resource: Arc<str>,
    /// How.
    pub mode: Mode,
}

/// Gives resources back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Which.
    pub which: Released,
    /// Who holds them.
    pub caller: Caller,
}

/// Which reservations are released.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Released {
    /// These: all of them, or none and a refusal that names the first that is not the caller's.
    Ids(Vec<ReservationId>),
    /// These resources, as they were named, in whichever reservations of the caller they stand; the others stay.
    Resources(Vec<Arc<str>>),
    /// All of the caller's, oldest first, up to [`RELEASED_MAX`].
    All,
}

/// Holds reservations for longer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Renew {
    /// Which: all of them or none.
    pub ids: Vec<ReservationId>,
    /// Who holds them.
    pub caller: Caller,
    /// For how long from now, in milliseconds of cluster time; as long as at first when it does not say.
    pub ttl_ms: Option<u64>,
}

/// Takes reservations from their owners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Force {
    /// Which: all of them or none.
    pub ids: Vec<ReservationId>,
    /// Why: everybody can read it.
    pub reason: Arc<str>,
}

/// A resource that is held or waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct Reserved {
    /// What.
    pub resource: Resource,
    /// As text, in its one form.
    pub text: Arc<str>,
    /// How.
    pub mode: Mode,
}

/// A reservation.
#[derive(Clone, Debug, PartialEq)]
pub struct Reservation {
    /// Its identity.
    pub id: ReservationId,
    /// What it is of; at least one.
    pub resources: Vec<Reserved>,
    /// Whose it is.
    pub holder: Holder,
    /// What for, for people.
    pub reason: Option<Arc<str>>,
    /// For which task.
    pub task: Option<TaskId>,
    /// Cluster time of the request, in milliseconds.
    pub asked_ms: u64,
    /// How long it is held from its grant, or its last renewal, in milliseconds.
    pub ttl_ms: u64,
    /// How it is.
    pub state: Standing,
    /// The digest of this reservation, as it stands in the project's sum.
    pub(crate) digest: Digest,
}

/// How a reservation is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Standing {
    /// It waits for what others hold.
    Waiting {
        /// Cluster time at which it gives up, in milliseconds.
        until_ms: u64,
        /// Whether something went that stood in its way: it is to be looked at.
        look: bool,
    },
    /// It is held.
    Held {
        /// The position of the command that granted it.
        fence: Fence,
        /// Cluster time of the grant, in milliseconds.
        since_ms: u64,
        /// Cluster time at which it ends by itself, in milliseconds.
        until_ms: u64,
    },
}

impl Reservation {
    /// Whether it waits.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, Standing::Waiting { .. })
    }

    /// Cluster time in milliseconds at which it ends by itself, or gives up waiting.
    pub fn until_ms(&self) -> u64 {
        match self.state {
            Standing::Waiting { until_ms, .. } | Standing::Held { until_ms, .. } => until_ms,
        }
    }

    /// Its fence, once it is held.
    pub fn fence(&self) -> Option<Fence> {
        match self.state {
            Standing::Held { fence, .. } => Some(fence),
            Standing::Waiting { .. } => None,
        }
    }

    /// Whether its time is over or its owner has ended, though it may not be cleared away yet. It counts no more.
    pub fn is_over(&self, agents: &Agents, now_ms: u64) -> bool {
        let ended = match &self.holder.owner {
            Owner::Agent { agent, started } => agents.end_of(&(agent.node, *started)).is_some(),
            Owner::Session { session, .. } => {
                let known = agents.sessions.get(*session);
                known.is_none_or(|session| agents.sessions.end_of(session, now_ms).is_some())
            }
        };
        ended || self.until_ms() <= now_ms
    }

    /// What it counts towards the limits: its texts, and a fixed share for the rest and for each resource.
    pub fn bytes(&self) -> u64 {
        bytes_of(&self.resources, self.reason.as_deref())
    }
}

fn bytes_of(resources: &[Reserved], reason: Option<&str>) -> u64 {
    let texts = resources.iter().map(|reserved| 256 + reserved.text.len());
    (512 + reason.map_or(0, str::len) + texts.sum::<usize>()) as u64
}

/// Why a reservation is gone, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReservationEnd {
    /// Its owner gave it back, or stopped waiting.
    Released,
    /// Its time to live is over.
    Expired,
    /// It was not granted as long as it could wait.
    WaitOver,
    /// It was taken from its owner.
    Forced {
        /// By whom.
        by: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// The agent that it was of lives no more.
    Agent(AgentEnd),
    /// The session that it was of has ended.
    Session(SessionEnd),
    /// So many reservations came to lie within its patterns that looking at it again is over the bound of a look-up.
    TooBroad,
    /// It went with the lease of a task, which has ended.
    LeaseEnded,
}

impl ReservationEnd {
    /// That of a reservation whose owner has ended, by what returns its tasks.
    pub(super) fn of(reason: Return) -> ReservationEnd {
        match reason {
            Return::Expired => ReservationEnd::Expired,
            Return::Agent(end) => ReservationEnd::Agent(end),
            Return::Session(end) => ReservationEnd::Session(end),
            _ => ReservationEnd::Released,
        }
    }
}

impl fmt::Display for ReservationEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReservationEnd::Released => write!(f, "its owner released it"),
            ReservationEnd::Expired => write!(f, "its time to live is over"),
            ReservationEnd::WaitOver => write!(f, "it was not granted in time"),
            ReservationEnd::Forced { by, reason } => write!(f, "{by} took it away: {reason}"),
            ReservationEnd::Agent(end) => write!(f, "{end}"),
            ReservationEnd::Session(end) => write!(f, "{end}"),
            ReservationEnd::TooBroad => write!(f, "too many reservations lie within its patterns to look at it again"),
            ReservationEnd::LeaseEnded => write!(f, "the lease of its task has ended"),
        }
    }
}
