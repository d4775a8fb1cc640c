//! The lanes of a link.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::WireError;

/// Which queue of a link an envelope waits in. Order is kept within a lane and nowhere else. The variants stand in the
/// order in which a link serves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Lane {
    /// Votes, heartbeats, acknowledgements: small, and late ones cost an election.
    Urgent = 0,
    /// Log entries on their way to followers.
    Append = 1,
    /// Rounds, reads, first start, requests from node to node.
    Command = 2,
    /// Messages from agent to agent.
    Signal = 3,
    /// Chunks of snapshots.
    Snapshot = 4,
}

impl Lane {
    /// How many lanes there are.
    pub const COUNT: usize = 5;

    /// All lanes, the first served first.
    pub const ALL: [Lane; Lane::COUNT] = [Lane::Urgent, Lane::Append, Lane::Command, Lane::Signal, Lane::Snapshot];

    /// The place of the lane in [`Lane::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name as logs and statistics show it.
    pub fn name(self) -> &'static str {
        match self {
            Lane::Urgent => "urgent",
            Lane::Append => "append",
            Lane::Command => "command",
            Lane::Signal => "signal",
            Lane::Snapshot => "snapshot",
        }
    }
}

impl TryFrom<u8> for Lane {
    type Error = WireError;

    fn try_from(found: u8) -> Result<Self, WireError> {
        Lane::ALL
            .get(usize::from(found))
            .copied()
            .ok_or(WireError::UnknownLane { found })
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
