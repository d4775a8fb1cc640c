//! How much the machine gathers and sends, and how large that is encoded.

use queenright_protocol::colony::ROUND_BYTES_MAX;

use crate::queen::request::Request;

/// An encoded round without its commands, or an entry without its rounds and its checkpoint, in bytes: version, two numbers,
/// and a count.
const ROUND_HEAD_BYTES: usize = 1 + 8 + 8 + 8;
/// An encoded command without its texts and its body, in bytes: three numbers, two lengths, whether there is a key, and
/// whether its project must be there.
const COMMAND_HEAD_BYTES: usize = 3 * 8 + 2 * 8 + 2;
/// An encoded length, in bytes.
pub(super) const LENGTH_BYTES: usize = 8;
/// An encoded checkpoint, in bytes: whether there is one, its index and its digest.
const CHECKPOINT_BYTES: usize = 1 + 8 + 16;
/// The largest round that fits an entry when it is the only one there.
pub(super) const ROUND_ALONE_BYTES_MAX: usize =
    ROUND_BYTES_MAX as usize - ROUND_HEAD_BYTES - LENGTH_BYTES - CHECKPOINT_BYTES;

/// Bounds of the machine.
#[derive(Clone, Copy, Debug)]
pub struct RoundLimits {
    /// How many rounds of this node may be under way. Trials favour 2 to 4 over 1.
    pub rounds_in_flight: usize,
    /// How many entries a leader may have under way.
    pub entries_in_flight: usize,
    /// How many bytes of commands a round gathers, and of rounds an entry; a larger command goes alone.
    pub round_bytes: usize,
    /// How many commands a round gathers, at least 1. An entry joins rounds up to their bytes, however many commands they have.
    pub round_commands: usize,
    /// The largest command, in bytes, with all that stands beside its body.
    pub command_bytes: usize,
    /// How many commands may wait or be under way.
    pub commands: usize,
    /// How many bytes of commands may wait or be under way, and of rounds wait for an entry.
    pub waiting_bytes: usize,
    /// How many bytes the outcomes may have that all nodes keep because they do not know yet that this one has them.
    /// Counted as the most that each may be, from the cut of its round until every command before it has an outcome as
    /// well. At this bound no round is cut; a command whose outcome alone could be larger is refused.
    pub outcome_bytes: usize,
    /// After how many milliseconds a round without outcome is sent again; doubles with each time, up to eight times.
    pub repeat_ms: u64,
    /// Whether the projects of its commands must have been created before: a use does not make one.
    pub listed: bool,
}

impl Default for RoundLimits {
    fn default() -> RoundLimits {
        RoundLimits {
            rounds_in_flight: 4,
            entries_in_flight: 4,
            round_bytes: 1 << 20,
            round_commands: 65_536,
            command_bytes: 16 << 20,
            commands: 65_536,
            waiting_bytes: 256 << 20,
            outcome_bytes: 16 << 20,
            repeat_ms: 500,
            listed: false,
        }
    }
}

impl RoundLimits {
    /// The same, with no round larger than any node decodes.
    pub(super) fn encodable(self) -> RoundLimits {
        let commands_max = ROUND_ALONE_BYTES_MAX - ROUND_HEAD_BYTES;
        RoundLimits {
            round_bytes: self.round_bytes.min(commands_max),
            command_bytes: self.command_bytes.min(commands_max),
            ..self
        }
    }
}

/// The bytes of a command in a round.
pub(super) fn encoded_bytes(request: &Request) -> usize {
    let key = request
        .idempotency_key
        .as_ref()
        .map_or(0, |key| LENGTH_BYTES + key.len());
    COMMAND_HEAD_BYTES + request.project.len() + request.author.len() + key + request.body.encoded_bytes()
}

/// The most bytes of its outcome as it is kept, with its number and an idempotency key that it may name.
pub(super) fn outcome_bytes_max(request: &Request) -> usize {
    let key = request.idempotency_key.as_ref().map_or(0, |key| key.len());
    8 + key + request.body.outcome_bytes_max()
}
