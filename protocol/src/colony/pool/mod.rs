//! Pools: agents of one sort that the cluster starts and stops by itself, as many as their queue needs.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`PoolCommand::Set`] | door | colony | [`Outcome::PoolSet`] | there is a pool of this name, and it is this from now on |
//! | [`PoolCommand::Remove`] | door | colony | [`Outcome::PoolSet`] | there is no such pool any more: its agents end what they have in hand |
//! | [`PoolCommand::Drain`] | door | colony | [`Outcome::PoolSet`] | it has no agents, until this is taken back |
//! | [`PoolCommand::Recycle`] | door | colony | [`Outcome::PoolSet`] | every agent of it is replaced |
//! | [`PoolCommand::Share`] | the leader's node | colony | [`Outcome::PoolSet`] | so many of its agents are to be on each node |
//!
//! They belong to no project. The colony knows what a pool is to be and how it is **shared** over the nodes; the agents
//! themselves are their nodes', which make them what the share says, and know how they are. So a node that was started
//! again has its agents of a pool again without a command, and nothing is written while nothing changes.
//!
//! The leader's node says the shares, from what waits in the queue and from what the nodes tell of themselves:
//! [`share`]. It decides from a pool that it has seen, so a share names the [`Pool::changed`] that it is for, and is
//! refused after another command about the pool.
//!
//! What an agent *is* stands under an **epoch**: a change of what agents are begins another one, and so does
//! [`PoolCommand::Recycle`]. A node replaces the agents that began under an earlier one.
//!
//! [`Outcome::PoolSet`]: super::Outcome::PoolSet

mod form;
mod rules;
pub mod share;

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::task::QUEUE_DEFAULT;
use crate::id::NodeId;

/// How many pools there may be.
pub const POOLS_MAX: usize = 256;
/// The longest name of a pool, in bytes: with a number and the name of a node it is that of an agent.
pub const POOL_NAME_BYTES_MAX: usize = 64;
/// How many agents a pool may have.
pub const POOL_AGENTS_MAX: u32 = 10_000;
/// How many tasks at a time an agent of a pool may work on.
pub const POOL_SLOTS_MAX: u32 = 1_000;
/// How many kinds of tasks a pool may name.
pub const POOL_KINDS_MAX: usize = 16;
/// How many labels a pool may give to its agents, and want of nodes.
pub const POOL_LABELS_MAX: usize = 8;
/// The longest name of a label, and the longest value, in bytes.
pub const POOL_LABEL_BYTES_MAX: (usize, usize) = (64, 256);
/// How much its agents may be told, in bytes.
pub const POOL_ARGUMENTS_BYTES_MAX: usize = 16 << 10;
/// The longest time for which a pool may keep agents that it has no work for, in milliseconds: a day.
pub const POOL_IDLE_MS_MAX: u64 = 24 * 3_600_000;
/// The shortest and the longest age at which agents may be replaced, in milliseconds: a second, thirty days.
pub const RECYCLE_AGE_MS: (u64, u64) = (1_000, 30 * 24 * 3_600_000);
/// After how many tasks, or failures, agents may be replaced at the latest.
pub const RECYCLE_COUNT_MAX: u64 = 1_000_000_000;
/// The most memory above which agents may be replaced, in bytes: 16 TiB.
pub const RECYCLE_MEMORY_BYTES_MAX: u64 = 16 << 40;

const POOL_DIGEST: u8 = b'P';

/// What is wanted of pools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PoolCommand {
    /// Make one, or change it. Settings that it has already change nothing.
    Set {
        /// Its name: 1 to [`POOL_NAME_BYTES_MAX`] letters, digits, `-`, `_` and `.`.
        name: Arc<str>,
        /// What it is to be.
        settings: Box<PoolSettings>,
        /// When it is there already, whatever it is, nothing is changed: so a cluster file begins one.
        if_absent: bool,
    },
    /// Let it be gone.
    Remove {
        /// Its name.
        name: Arc<str>,
    },
    /// Let it have no agents, or some again.
    Drain {
        /// Its name.
        name: Arc<str>,
        /// Whether it is to have none.
        on: bool,
    },
    /// Replace all of its agents, each once it has ended what it has in hand.
    Recycle {
        /// Its name.
        name: Arc<str>,
    },
    /// Let each node have so many of its agents, and nodes that are not named none.
    Share {
        /// Its name.
        name: Arc<str>,
        /// By node, from 1.
        shares: BTreeMap<NodeId, u32>,
        /// What [`Pool::changed`] was when that was decided.
        after: u64,
    },
}

/// What a pool is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSettings {
    /// In which project its tasks are.
    pub project: Arc<str>,
    /// In which queue.
    pub queue: Arc<str>,
    /// Of which kinds they are, sorted, up to [`POOL_KINDS_MAX`]; of all if empty.
    pub kinds: Vec<Arc<str>>,
    /// What its agents are capable of, sorted, up to [`super::CAPABILITIES_MAX`].
    pub capabilities: Vec<Arc<str>>,
    /// The kind of its agents, such as `exec`.
    pub behaviour: Arc<str>,
    /// What they are told besides, as the text of a JSON object, up to [`POOL_ARGUMENTS_BYTES_MAX`]. The nodes know what it
    /// may hold.
    pub arguments: Arc<str>,
    /// How many tasks at a time each works on, from 1 to [`POOL_SLOTS_MAX`].
    pub slots: u32,
    /// The labels that a node must have to host some, up to [`POOL_LABELS_MAX`].
    pub placement: BTreeMap<Arc<str>, Arc<str>>,
    /// The labels that its agents have, up to [`POOL_LABELS_MAX`].
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// How many agents there are beyond those that have work, up to `max`.
    pub min_idle: u32,
    /// How many there are at most, from 1 to [`POOL_AGENTS_MAX`].
    pub max: u32,
    /// How many there are on one node at most, from 1 to [`POOL_AGENTS_MAX`].
    pub per_node_max: u32,
    /// For how long there must have been no work for an agent before there is one less, in milliseconds up to
    /// [`POOL_IDLE_MS_MAX`].
    pub idle_ms: u64,
    /// When an agent is replaced by another one.
    pub recycle: Recycle,
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            project: "default".into(),
            queue: QUEUE_DEFAULT.into(),
            kinds: Vec::new(),
            capabilities: Vec::new(),
            behaviour: "exec".into(),
            arguments: "{}".into(),
            slots: 1,
            placement: BTreeMap::new(),
            labels: BTreeMap::new(),
            min_idle: 0,
            max: 1,
            per_node_max: POOL_AGENTS_MAX,
            idle_ms: 10_000,
            recycle: Recycle::default(),
        }
    }
}

impl PoolSettings {
    /// Whether agents that were made by the others are what these say, as far as it cannot be changed while they live.
    fn makes_the_same_agents(&self, others: &PoolSettings) -> bool {
        let PoolSettings {
            placement: _,
            min_idle: _,
            max: _,
            per_node_max: _,
            idle_ms: _,
            recycle,
            project,
            queue,
            kinds,
            capabilities,
            behaviour,
            arguments,
            slots,
            labels,
        } = self;
        (project, queue, kinds, capabilities) == (&others.project, &others.queue, &others.kinds, &others.capabilities)
            && (behaviour, arguments, slots, labels)
                == (&others.behaviour, &others.arguments, &others.slots, &others.labels)
            && recycle.after_tasks == others.recycle.after_tasks
    }
}

/// When an agent of a pool is replaced. One that is over a limit takes no more tasks, and ends what it has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recycle {
    /// After so many tasks, from 1 to [`RECYCLE_COUNT_MAX`].
    pub after_tasks: Option<u64>,
    /// Once the command of one task had so many bytes resident, with all of its processes, from 1 to
    /// [`RECYCLE_MEMORY_BYTES_MAX`].
    pub memory_bytes: Option<u64>,
    /// At this age in milliseconds, within [`RECYCLE_AGE_MS`].
    pub age_ms: Option<u64>,
    /// After so many tasks that have failed, from 1 to [`RECYCLE_COUNT_MAX`].
    pub failures: Option<u64>,
}

/// A pool as the colony has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// What it is to be.
    pub settings: PoolSettings,
    /// Who has set it last.
    pub author: Arc<str>,
    /// The position of the last command from a door that has changed it.
    pub changed: u64,
    /// The position of the last command after which agents that began before it are to be replaced.
    pub epoch: u64,
    /// Whether it is to have no agents.
    pub drained: bool,
    /// How many agents each node is to have; nodes that are not named have none.
    pub shares: BTreeMap<NodeId, u32>,
}

impl Pool {
    /// How many agents a node is to have.
    pub fn share(&self, node: NodeId) -> u32 {
        self.shares.get(&node).copied().unwrap_or_default()
    }

    /// How many there are to be on all nodes.
    pub fn shared(&self) -> u32 {
        // The rules keep it below `POOL_AGENTS_MAX`.
        self.shares.values().sum()
    }
}

/// All pools, by name. A copy costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    by_name: OrdMap<Arc<str>, Arc<Pool>>,
    pub(super) digest: Digest,
}

impl Pools {
    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Pool>)> {
        self.by_name.iter()
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Pool>> {
        self.by_name.get(name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Puts one in the place of what stood under its name, or takes it out.
    pub(super) fn set(&mut self, name: &Arc<str>, pool: Option<Pool>) {
        if let Some(before) = self.by_name.remove(name) {
            self.digest.subtract(Digest::of(POOL_DIGEST, &(name, &*before)));
        }
        if let Some(pool) = pool {
            self.digest.add(Digest::of(POOL_DIGEST, &(name, &pool)));
            self.by_name.insert(name.clone(), Arc::new(pool));
        }
    }
}
