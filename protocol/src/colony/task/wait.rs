//! Claims that wait: who gets a task that becomes ready while claims wait for one.
//!
//! ```text
//!   claim with a wait ──▶ waiting ── a task that fits ──▶ offered ── accept, update, finish ──▶ gone, the task is held
//!   that finds nothing       │                              │
//!                            │ its time is over,            │ nobody took the offer within OFFER_MS, the claim was
//!                            │ the caller leaves,           │ left, or its owner has ended: the task is ready again,
//!                            │ its owner has ended,         │ and the attempt does not count
//!                            │ its node is lost             ▼
//!                            └───────────────────────────▶ gone
//! ```
//!
//! A task that becomes ready is given, at the end of the command that makes it so, to one of the claims that wait and fit
//! it: no more than one learns of it. Which one is said by the [`Distribution`] of the queue. Each gets one task, or its
//! share when more tasks are ready than claims wait: the ready tasks divided by the claims, rounded up, and no more than it
//! wants. What is given to a claim that waits is an **offer**: its caller may have gone away meanwhile.
//!
//! An offer is a lease, and reserves what its task names for the owner of the claim in the same step. So a ready task whose
//! resources are taken is passed over, as a claim passes it over, and one whose resources are free for some of the claims
//! that wait and fit it is offered to one of those. When a reservation ends or is granted to one who waited for it, and when
//! a slot gets more places, the queues with claims that wait and ready tasks are looked at again. A task whose offer is not
//! taken gives back what was reserved for it.
//!
//! **No claim starves.** The queue counts its offers. Whatever its distribution says, the oldest claim that may have a task
//! has its turn once the queue has made [`PASSES_MAX`] offers, since it began, for each claim that waits now.
//!
//! A queue that may owe something to the claims that wait says so itself ([`Queue::owes_ms`]), and is looked at at the end
//! of that command, or, if there is more than a command may do, its breaker is open, or the tokens of its tasks are not there
//! yet ([`crate::colony::rate`]), by a later sweep: when they are.
//!
//! [`PASSES_MAX`]: super::PASSES_MAX
//! [`Queue::owes_ms`]: super::Queue::owes_ms

use std::fmt;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::line::LineKey;
use super::{Claimed, Holder};
use crate::colony::digest::Digest;
use crate::id::NodeId;

/// The longest time for which a claim may wait, in milliseconds of cluster time.
pub const WAIT_MS_MAX: u64 = 60_000;
/// For how long a task is offered to a claim that waited, in milliseconds of cluster time.
pub const OFFER_MS: u64 = 10_000;
/// How many claims of a project may wait, those included whose offer is not answered yet.
pub const WAITS_MAX: usize = 4_096;
/// How many claims may wait on one node.
pub const WAITS_PER_NODE_MAX: usize = 1_024;
/// How many claims of one owner may wait.
pub const WAITS_PER_OWNER_MAX: usize = 16;
/// How many different (kinds, capabilities) the claims that wait for one queue may have.
pub const WAIT_PROFILES_MAX: usize = 128;
/// How many of the claims that fit a task are compared, the oldest first.
pub const WAITS_COMPARED_MAX: usize = 256;

const WAIT_DIGEST: u8 = b'w';

/// The identity of a claim that waits: the position of its command in the order of all commands. Shown as `w42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WaitId(pub u64);

impl fmt::Display for WaitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

/// Which of the claims that wait, and that a task fits, gets it. Among equals the oldest does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// The oldest.
    #[default]
    FirstCome,
    /// The one whose owner holds the fewest tasks; more than a hundred count as a hundred.
    LeastLoaded,
    /// The one with the fewest capabilities: those that can do more stay free for what requires more.
    CapabilityFit,
    /// The next owner after the one that had the last offer, in the order in which they began.
    RoundRobin,
    /// One that is drawn; the draw follows from the position of the command.
    Random,
    /// The one whose session shares the most labels with the task, such as `host=a` or `repo=web`.
    Locality,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Distribution; 6] = [
        Distribution::FirstCome,
        Distribution::LeastLoaded,
        Distribution::CapabilityFit,
        Distribution::RoundRobin,
        Distribution::Random,
        Distribution::Locality,
    ];
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Distribution::FirstCome => "first-come",
            Distribution::LeastLoaded => "least-loaded",
            Distribution::CapabilityFit => "capability-fit",
            Distribution::RoundRobin => "round-robin",
            Distribution::Random => "random",
            Distribution::Locality => "locality",
        })
    }
}

/// A claim that found nothing and waits, or what it was offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// Who will hold what it gets.
    pub holder: Holder,
    /// The node at which its caller waits.
    pub node: NodeId,
    /// The queue.
    pub queue: Arc<str>,
    /// The kinds that it takes; any when there is none.
    pub kinds: Vec<Arc<str>>,
    /// What the worker is capable of.
    pub capabilities: Vec<Arc<str>>,
    /// How many tasks it takes at most.
    pub limit: u32,
    /// Cluster time in milliseconds at which the wait, or the offer, is over.
    pub until_ms: u64,
    /// What the queue's count of offers was when it began.
    pub since: u64,
    /// What it was offered and has not taken yet; nothing while it waits.
    pub offered: Vec<Claimed>,
}

impl Wait {
    /// Whether nothing was offered to it yet.
    pub fn is_waiting(&self) -> bool {
        self.offered.is_empty()
    }
}

/// The claims of a project that wait, or whose offers are not answered yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits {
    by_id: OrdMap<WaitId, Arc<Wait>>,
}

impl Waits {
    pub(crate) fn get(&self, id: WaitId) -> Option<&Arc<Wait>> {
        self.by_id.get(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (WaitId, &Arc<Wait>)> {
        self.by_id.iter().map(|(id, wait)| (*id, wait))
    }

    /// Puts one in the place of what stood under its id, or takes it out; returns that. `digest` is the sum that it is part
    /// of.
    pub(super) fn set(&mut self, id: WaitId, wait: Option<Wait>, digest: &mut Digest) -> Option<Arc<Wait>> {
        let before = self.by_id.remove(&id);
        if let Some(before) = &before {
            digest.subtract(Digest::of(WAIT_DIGEST, &(id, &**before)));
        }
        if let Some(wait) = wait {
            digest.add(Digest::of(WAIT_DIGEST, &(id, &wait)));
            self.by_id.insert(id, Arc::new(wait));
        }
        before
    }
}

/// What claims that wait have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Profile {
    /// Fewest first: the order in which [`Distribution::CapabilityFit`] prefers them.
    capabilities_count: usize,
    capabilities: Vec<Arc<str>>,
    kinds: Vec<Arc<str>>,
}

impl Profile {
    fn of(wait: &Wait) -> Profile {
        let mut kinds = wait.kinds.clone();
        kinds.sort_unstable();
        kinds.dedup();
        Profile {
            capabilities_count: wait.capabilities.len(),
            capabilities: wait.capabilities.clone(),
            kinds,
        }
    }

    fn fits(&self, line: &LineKey) -> bool {
        line.fits(&self.kinds, &self.capabilities)
    }
}

/// The claims that wait for one queue: follows from [`Waits`].
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    by_profile: OrdMap<Profile, OrdSet<WaitId>>,
    count: usize,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many (kinds, capabilities) there would be with this one.
    pub(super) fn profiles_with(&self, wait: &Wait) -> usize {
        let known = self.by_profile.contains_key(&Profile::of(wait));
        self.by_profile.len() + usize::from(!known)
    }

    pub(super) fn insert(&mut self, id: WaitId, wait: &Wait) {
        if wait.is_waiting() {
            self.by_profile.entry(Profile::of(wait)).or_default().insert(id);
            self.count += 1;
        }
    }

    pub(super) fn remove(&mut self, id: WaitId, wait: &Wait) {
        if !wait.is_waiting() {
            return;
        }
        let profile = Profile::of(wait);
        let ids = self.by_profile.get_mut(&profile).expect("it was put in");
        ids.remove(&id);
        self.count -= 1;
        if ids.is_empty() {
            self.by_profile.remove(&profile);
        }
    }

    /// Whether one of them takes the tasks of this line.
    pub(super) fn fits(&self, line: &LineKey) -> bool {
        self.by_profile.keys().any(|profile| profile.fits(line))
    }

    fn fitting(&self, line: &LineKey) -> impl Iterator<Item = (&Profile, &OrdSet<WaitId>)> {
        self.by_profile.iter().filter(move |(profile, _)| profile.fits(line))
    }

    /// The oldest that takes the tasks of this line.
    pub(super) fn oldest(&self, line: &LineKey) -> Option<WaitId> {
        self.fitting(line).filter_map(|(_, ids)| ids.get_min().copied()).min()
    }

    /// The oldest of those with the fewest capabilities.
    pub(super) fn least_capable(&self, line: &LineKey) -> Option<WaitId> {
        let firsts = self
            .fitting(line)
            .filter_map(|(profile, ids)| Some((profile.capabilities_count, *ids.get_min()?)));
        firsts.min().map(|(_, id)| id)
    }

    /// The oldest that take the tasks of this line, oldest first, so many that they can be compared.
    pub(super) fn compared(&self, line: &LineKey) -> Vec<WaitId> {
        let each = self
            .fitting(line)
            .flat_map(|(_, ids)| ids.iter().take(WAITS_COMPARED_MAX));
        let mut ids: Vec<WaitId> = each.copied().collect();
        ids.sort_unstable();
        ids.truncate(WAITS_COMPARED_MAX);
        ids
    }
}
