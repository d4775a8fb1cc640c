//! What can be wrong with bytes from a peer.

use super::{ENVELOPE_BYTES_MAX, FRAME_BYTES_MAX, GREETING_TEXT_BYTES_MAX, Lane};
use crate::version::Versions;

/// Why bytes of a peer were refused. No state was changed by them. All but [`WireError::UnknownKind`] mean that the
/// two ends no longer agree on the stream: close the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The frame ends before its header does.
    #[error("frame of {bytes} B is shorter than its header of {min} B")]
    FrameTooShort {
        /// The bytes that arrived.
        bytes: usize,
        /// The bytes of a header.
        min: usize,
    },
    /// The frame is larger than any that a peer may send.
    #[error("frame of {bytes} B exceeds the limit of {FRAME_BYTES_MAX} B")]
    FrameTooLarge {
        /// The bytes that arrived.
        bytes: usize,
    },
    /// The frame does not begin as ours do: the peer speaks something else.
    #[error("frame begins with {found:#06x}")]
    Magic {
        /// The first two bytes.
        found: u16,
    },
    /// The frame is of a version that was not agreed on.
    #[error("frame of protocol version {found}, {spoken} may come")]
    Version {
        /// The version of the frame.
        found: u8,
        /// Those that may come.
        spoken: Versions,
    },
    /// The frame has flags that this version does not know.
    #[error("frame with unknown flags {found:#04x}")]
    Flags {
        /// All flags of the frame.
        found: u8,
    },
    /// An item names a lane that does not exist.
    #[error("item of lane {found}, the last lane is {}", Lane::COUNT - 1)]
    UnknownLane {
        /// The number of the lane.
        found: u8,
    },
    /// An item claims more bytes than the frame still has.
    #[error("item of {bytes} B where {left} B are left in the frame")]
    ItemPastEnd {
        /// The bytes that the item claims.
        bytes: usize,
        /// The bytes that are left.
        left: usize,
    },
    /// An envelope is larger than any that may travel.
    #[error("envelope of {bytes} B exceeds the limit of {ENVELOPE_BYTES_MAX} B")]
    EnvelopeTooLarge {
        /// The bytes of the envelope as encoded or as announced by a fragment.
        bytes: usize,
    },
    /// A field of an envelope is not the msgpack value that stands there.
    #[error("envelope with a malformed {field}")]
    Malformed {
        /// The field.
        field: &'static str,
    },
    /// Bytes follow the body of an envelope.
    #[error("{bytes} B behind the body of an envelope")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// An envelope of a kind that this build does not know. The stream is intact: count it, drop it, go on.
    #[error("envelope of unknown kind {found}")]
    UnknownKind {
        /// The number of the kind.
        found: u8,
    },
    /// A fragment is not the one that continues its message.
    #[error("fragment at {offset} of {total} B where {expected_offset} of {expected_total} B was due")]
    FragmentOrder {
        /// Where the fragment stands in its message.
        offset: usize,
        /// The size that it claims for its message.
        total: usize,
        /// Where the next one had to stand.
        expected_offset: usize,
        /// The size that the first fragment claimed.
        expected_total: usize,
    },
    /// A fragment reaches past the end of its message, or carries nothing.
    #[error("fragment of {bytes} B at {offset} of {total} B")]
    FragmentSize {
        /// The bytes that it carries.
        bytes: usize,
        /// Where it stands in its message.
        offset: usize,
        /// The size of its message.
        total: usize,
    },
    /// A whole envelope stands between the fragments of another of the same lane.
    #[error("envelope between fragments on lane {lane}")]
    FragmentInterrupted {
        /// The lane.
        lane: Lane,
    },
}

impl WireError {
    /// Whether the link that delivered the bytes must be closed.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, WireError::UnknownKind { .. })
    }
}

/// Why the first bytes of a connection are no greeting. Nothing was changed by them: close the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// Whoever is there does not speak as a node does.
    #[error("the connection begins with {found:02x?}")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The versions are no range.
    #[error("it speaks versions {oldest} to {newest}")]
    Versions {
        /// The oldest version.
        oldest: u32,
        /// The newest one.
        newest: u32,
    },
    /// A text is too long, or missing.
    #[error("a {field} of {bytes} B, expected {min} to {GREETING_TEXT_BYTES_MAX}")]
    Length {
        /// The text.
        field: &'static str,
        /// The bytes that are announced.
        bytes: usize,
        /// The fewest that it may have.
        min: usize,
    },
    /// A text is no UTF-8, or has control characters.
    #[error("a {field} that is no text")]
    Text {
        /// The text.
        field: &'static str,
    },
    /// The bytes behind the head are not as many as it says.
    #[error("{bytes} B where {expected} B were announced")]
    Rest {
        /// How many they are.
        bytes: usize,
        /// How many were announced.
        expected: usize,
    },
}
