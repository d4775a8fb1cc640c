//! The memory of this process: how much it has, how much it may have, and whether new work is taken.
//!
//! From 80 % of its limit on a node says so; from 90 % on it refuses new work at its door and in its agents until it has
//! less than 85 %: what makes the state grow, claims, sessions, agents and followers. Reads, deletions, heartbeats, and what ends
//! work that is held, go on. What other nodes have taken is applied all the same: a node that does not apply the log
//! is none. So the limit should leave room, and be about the same on all nodes.
//!
//! The limit is what the cluster file says, else what the control group of the process allows, else the memory of the host.

mod limit;
mod watermarks;

use std::fmt;
use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::limit::limit_bytes;
use self::watermarks::Watermarks;
pub use self::watermarks::{FULL_PERCENT, HIGH_PERCENT, MemoryLevel};

/// How often a node looks: a busy one takes some hundred megabytes in that time at the most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The memory of a node, as it shows in its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MemoryStatus {
    /// What is resident of its process, in bytes.
    pub used_bytes: u64,
    /// What it may have, in bytes.
    pub limit_bytes: u64,
    /// What follows from both.
    pub level: MemoryLevel,
    /// How often new work was refused for want of memory.
    pub refused: u64,
}

/// New work is refused, since a node has too little memory left. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryLow {
    /// What is resident of its process, in bytes.
    pub used_bytes: u64,
    /// What it may have, in bytes.
    pub limit_bytes: u64,
}

impl fmt::Display for MemoryLow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemoryLow {
            used_bytes,
            limit_bytes,
        } = self;
        write!(
            f,
            "this node uses {used_bytes} B of the {limit_bytes} B of memory that it may have: it takes no new work from \
             {FULL_PERCENT} % on"
        )
    }
}

/// The memory of this process, looked at again and again.
#[derive(Debug)]
pub(crate) struct Memory {
    limit_bytes: u64,
    // A mutex: one task looks, doors and the queen ask. Held for a copy.
    watermarks: Mutex<(Watermarks, u64)>,
}

impl Memory {
    /// Looks for the first time; `said` is the limit of the cluster file.
    pub(crate) fn open(said: Option<u64>) -> Memory {
        let memory = Memory {
            limit_bytes: limit_bytes(said),
            watermarks: Mutex::default(),
        };
        memory.look();
        memory
    }

    /// Why new work is refused now, if it is; that counts as a refusal.
    pub(crate) fn refusal(&self) -> Option<MemoryLow> {
        let mut watermarks = self.watermarks.lock().expect("nothing panics under this lock");
        let (marks, refused) = &mut *watermarks;
        if marks.level() != MemoryLevel::Full {
            return None;
        }
        *refused += 1;
        Some(MemoryLow {
            used_bytes: marks.used_bytes(),
            limit_bytes: self.limit_bytes,
        })
    }

    /// What it shows in the status of its node; nothing where the system does not tell.
    pub(crate) fn status(&self) -> Option<MemoryStatus> {
        let (marks, refused) = *self.watermarks.lock().expect("nothing panics under this lock");
        (marks.used_bytes() > 0).then_some(MemoryStatus {
            used_bytes: marks.used_bytes(),
            limit_bytes: self.limit_bytes,
            level: marks.level(),
            refused,
        })
    }

    /// Looks again and again for as long as it is polled.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look();
        }
    }

    fn look(&self) {
        // A file without a disk: the kernel writes it while it is read.
        let Some(used_bytes) = resident_bytes() else { return };
        let limit_bytes = self.limit_bytes;
        let changed = {
            let mut watermarks = self.watermarks.lock().expect("nothing panics under this lock");
            watermarks.0.look(used_bytes, limit_bytes)
        };
        match changed {
            None => {}
            Some(MemoryLevel::Fine) => tracing::info!(used_bytes, limit_bytes, "this node has memory again"),
            Some(MemoryLevel::High) => tracing::warn!(
                used_bytes,
                limit_bytes,
                "this node uses much of its memory: it refuses new work from {FULL_PERCENT} % on"
            ),
            Some(MemoryLevel::Full) => {
                tracing::error!(
                    used_bytes,
                    limit_bytes,
                    "this node has no memory left for new work, and refuses it"
                );
            }
        }
    }
}

/// What is resident of this process, in bytes.
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
