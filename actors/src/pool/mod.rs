//! Pools: each node keeps as many agents of each pool as its share says, and the leader's node says the shares.
//!
//! | file | what |
//! |---|---|
//! | `keeper` | which agents this node starts, pauses and stops: a plain machine |
//! | `member` | one agent of a pool as its keeper sees it; why one is replaced |
//! | `shell` | the task that drives it, through the queen, which supervises them |
//! | `conductor` | the shares, while this node leads: a plain machine, and the task that asks the nodes |
//! | `spec` | what an agent of a pool is started with |
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | `Control::Pools` | the leader, or whoever shows pools | each member | [`HostReport`] | how are you, and your agents of pools? |
//!
//! An agent of a pool is an agent like others: it is listed, shown, paused and restarted by the same verbs, under the name
//! `POOL-NUMBER@NODE` and with the label `pool`. It is told what its pool says ([`spec`]), and reports under these names
//! what its keeper goes by; one that does not report some of them is never replaced for it.
//!
//! | report | meaning |
//! |---|---|
//! | `running` | how many tasks it works on |
//! | `failed` | how many have failed |
//! | `memory_peak_bytes` | the most that the command of one of its tasks had resident |
//! | `warm` | `false` until it may take tasks |
//!
//! **Ending.** An agent that is to end is paused first, so that it claims nothing more, and stopped once it works on
//! nothing. It counts as one of the pool until then: nobody takes its place before.
//!
//! **Failures.** The queen restarts an agent within the limits of its restart policy. One past them is `failed`, and its
//! keeper starts another after a pause that doubles while agents of that pool fail, from [`FAILED_PAUSE_MS`] on. The reason
//! of the last one is kept.

mod conductor;
mod keeper;
mod member;
mod shell;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use queenright_protocol::colony::PoolSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::conductor::{Conducting, conduct};
pub use self::keeper::FAILED_PAUSE_MS;
pub(crate) use self::shell::Hosting;
pub use self::spec::{POOL_LABEL, RESERVED_ARGUMENTS, spec};

/// The label that every node has: its own name.
pub const NODE_LABEL: &str = "node";

/// What a node tells of itself to those who share agents, or show how they are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// Whether it hosts agents of pools: its door is open.
    pub hosting: bool,
    /// How many processors it has.
    pub cores: u32,
    /// How many of its agents are of no pool, and active.
    pub others: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its agents of each pool of which it has, or had, any.
    pub pools: BTreeMap<String, PoolFigures>,
}

impl HostReport {
    /// Whether it has the labels that a pool wants.
    pub fn fits(&self, settings: &PoolSettings) -> bool {
        let has = |(name, value): (&std::sync::Arc<str>, &std::sync::Arc<str>)| {
            self.labels.get(&**name).is_some_and(|found| **found == **value)
        };
        settings.placement.iter().all(has)
    }
}

/// The agents of a pool on a node, and what became of those before them since the node was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolFigures {
    /// How many there are to be, as far as the node knows.
    pub wanted: u32,
    /// How many are being started, warm up, or wait to be restarted.
    pub starting: u32,
    /// How many work on nothing.
    pub idle: u32,
    /// How many work on tasks.
    pub busy: u32,
    /// How many end what they have in hand, and then themselves.
    pub draining: u32,
    /// How many tasks all of them work on.
    pub running: u64,
    /// How many of these are of agents that drain.
    pub ending: u64,
    /// How many were started.
    pub started: u64,
    /// How many were replaced, and why.
    pub recycled: Recycled,
    /// How many have failed for good.
    pub failures: u64,
    /// Why the last of those did, or could not be started.
    #[serde(default)]
    pub last_failure: Option<String>,
    /// After how many milliseconds the next one is started, if failures keep it.
    #[serde(default)]
    pub next_start_ms: Option<u64>,
}

impl PoolFigures {
    /// How many live.
    pub fn live(&self) -> u32 {
        self.starting + self.idle + self.busy + self.draining
    }

    /// Those of two nodes together.
    pub fn and(&self, other: &PoolFigures) -> PoolFigures {
        let (a, b) = (&self.recycled, &other.recycled);
        PoolFigures {
            wanted: self.wanted + other.wanted,
            starting: self.starting + other.starting,
            idle: self.idle + other.idle,
            busy: self.busy + other.busy,
            draining: self.draining + other.draining,
            running: self.running + other.running,
            ending: self.ending + other.ending,
            started: self.started + other.started,
            recycled: Recycled {
                tasks: a.tasks + b.tasks,
                memory: a.memory + b.memory,
                age: a.age + b.age,
                failures: a.failures + b.failures,
                changed: a.changed + b.changed,
            },
            failures: self.failures + other.failures,
            last_failure: self.last_failure.clone().or_else(|| other.last_failure.clone()),
            next_start_ms: self.next_start_ms.or(other.next_start_ms),
        }
    }
}

/// How many agents were replaced, by what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recycled {
    /// They had worked on as many tasks as they may.
    pub tasks: u64,
    /// The command of one of their tasks had used more memory than it may.
    pub memory: u64,
    /// They had their age.
    pub age: u64,
    /// As many of their tasks had failed as may.
    pub failures: u64,
    /// Their pool was changed, or somebody asked for it.
    pub changed: u64,
}
