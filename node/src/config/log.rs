//! How much of the log is kept, with bounds and defaults: the only place where these numbers stand.

use std::time::Duration;

use super::limits::Bound;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// `[log]`: when a node takes a snapshot of its state, how much log it keeps behind it, and how fast it sends snapshots to
/// nodes that are too far behind for the log. Nodes of one cluster may differ in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// `snapshot_bytes`: a snapshot is taken when the log since the last one has as many bytes, or half as many as the last
    /// one if that is more.
    pub snapshot_bytes: u64,
    /// `snapshot_every_s`: one is also taken when the last one is older than this and something has changed since.
    pub snapshot_every: Duration,
    /// `keep_bytes`: so many bytes of log are kept when a snapshot lets the rest go.
    pub keep_bytes: u64,
    /// `sent_bytes_per_s`: how many bytes of snapshots the node sends each second, to all others together.
    pub sent_bytes_per_s: u64,
}

impl Log {
    /// 64 MiB are read and applied again within seconds at a start, and hold a few hundred thousand small commands.
    pub const SNAPSHOT_BYTES: Bound = Bound {
        default: 64 * MIB,
        min: 64 * KIB,
        max: 64 * GIB,
    };
    /// An hour: a quiet node does not write its whole state for a few changes, and no log is older than a day's.
    pub const SNAPSHOT_EVERY_S: Bound = Bound {
        default: 3_600,
        min: 1,
        max: 86_400,
    };
    /// Half of what makes a snapshot: a node that was away for a short time gets entries and not the whole state.
    pub const KEEP_BYTES: Bound = Bound {
        default: 32 * MIB,
        min: 64 * KIB,
        max: 64 * GIB,
    };
    /// About half of a gigabit link: the rest is for what cannot wait.
    pub const SENT_BYTES_PER_S: Bound = Bound {
        default: 64 * MIB,
        min: MIB,
        max: 64 * GIB,
    };
}

impl Default for Log {
    fn default() -> Self {
        Log {
            snapshot_bytes: Log::SNAPSHOT_BYTES.default,
            snapshot_every: Duration::from_secs(Log::SNAPSHOT_EVERY_S.default),
            keep_bytes: Log::KEEP_BYTES.default,
            sent_bytes_per_s: Log::SENT_BYTES_PER_S.default,
        }
    }
}
