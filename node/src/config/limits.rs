//! The limits of a node, with their bounds and defaults: the only place where these numbers stand.

use std::ops::RangeInclusive;

use queenright_protocol::colony::VALUE_BYTES_MAX;

/// What a limit may be set to, and what it is if nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Used when the file says nothing.
    pub default: u64,
    /// The least that is accepted.
    pub min: u64,
    /// The most that is accepted.
    pub max: u64,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// `[limits]`: what a node refuses to exceed. Sizes are in bytes, written as integers or as text such as `"8 MiB"`
/// (units B, KiB, MiB, GiB). Every refusal names the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `value_bytes`: the largest value of one memory key; at most `command_bytes` and `http_body_bytes`.
    pub value_bytes: usize,
    /// `command_bytes`: the largest command, such as a proposal with all its writes.
    pub command_bytes: usize,
    /// `round_bytes`: where a round is cut. A round holds at least one command, so a larger command makes a larger round.
    pub round_bytes: usize,
    /// `rounds_in_flight`: how many rounds of one queen may be on their way through consensus.
    pub rounds_in_flight: usize,
    /// `http_body_bytes`: the largest body that the door reads.
    pub http_body_bytes: usize,
    /// `outbox_bytes`: how much may wait for one link before it is refused.
    pub outbox_bytes: usize,
    /// `disk_watermark_bytes`: with less than this left on its disk a node is low; while the nodes that are not low are no
    /// majority, growing commands are refused. Unless it is said, a sixteenth of the volume, from 32 to 256 MiB.
    pub disk_watermark_bytes: Option<u64>,
    /// `ballast_bytes`: the size of a file that each node keeps to let go when its disk is nearly full; 0 for none. Unless
    /// it is said, a hundred and twenty-eighth of the volume, from 4 to 32 MiB.
    pub ballast_bytes: Option<u64>,
    /// `memory_bytes`: how much memory the process of a node may have: it says so from 80 % on and refuses new work from 90 %
    /// on. Unless it is said, what the control group of the process allows, or what the host has.
    pub memory_bytes: Option<u64>,
}

impl Limits {
    /// 8 MiB holds a large source file or a model's whole context; bulk data belongs elsewhere, with its hash here. It
    /// is also what the rules of the colony allow: a node may be stricter at its door, never more generous.
    pub const VALUE_BYTES: Bound = Bound {
        default: 8 * MIB,
        min: KIB,
        max: VALUE_BYTES_MAX as u64,
    };
    /// Twice the largest value, so that a proposal may carry one and more. A round of one such command fits what a link
    /// and the log take (`ROUND_BYTES_MAX`), a larger one might not.
    pub const COMMAND_BYTES: Bound = Bound {
        default: 16 * MIB,
        min: 4 * KIB,
        max: 16 * MIB,
    };
    /// 1 MiB takes some milliseconds to write and send, so that a small command behind it waits no longer.
    pub const ROUND_BYTES: Bound = Bound {
        default: MIB,
        min: 4 * KIB,
        max: 16 * MIB,
    };
    /// Trials favour 2 to 4 over 1; beyond that only the latency grows.
    pub const ROUNDS_IN_FLIGHT: Bound = Bound {
        default: 4,
        min: 1,
        max: 64,
    };
    /// As large as a command.
    pub const HTTP_BODY_BYTES: Bound = Bound {
        default: 16 * MIB,
        min: 4 * KIB,
        max: 256 * MIB,
    };
    /// What a gigabit link carries in about 70 ms: longer queues add delay, not throughput. Its five lanes share it, and
    /// below 1 MiB the smallest share would be less than a frame.
    pub const OUTBOX_BYTES: Bound = Bound {
        default: 8 * MIB,
        min: MIB,
        max: GIB,
    };
}

impl Limits {
    /// Below 1 MiB not even one round and its way into the store would have room.
    pub const DISK_WATERMARK_BYTES: RangeInclusive<u64> = MIB..=1024 * GIB;
    /// Below 16 MiB no node has room for itself.
    pub const MEMORY_BYTES: RangeInclusive<u64> = 16 * MIB..=1024 * 1024 * GIB;
    /// More than 64 GiB is a slip of the pen.
    pub const BALLAST_BYTES: RangeInclusive<u64> = 0..=64 * GIB;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            value_bytes: Limits::VALUE_BYTES.default as usize,
            command_bytes: Limits::COMMAND_BYTES.default as usize,
            round_bytes: Limits::ROUND_BYTES.default as usize,
            rounds_in_flight: Limits::ROUNDS_IN_FLIGHT.default as usize,
            http_body_bytes: Limits::HTTP_BODY_BYTES.default as usize,
            outbox_bytes: Limits::OUTBOX_BYTES.default as usize,
            disk_watermark_bytes: None,
            ballast_bytes: None,
            memory_bytes: None,
        }
    }
}
