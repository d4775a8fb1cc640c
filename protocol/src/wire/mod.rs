//! The bytes between two neighbours: envelopes in msgpack, packed into frames, in fragments where one is larger than
//! a frame. Pure: bytes in, values out. Bytes from a peer are never trusted, so every decoder returns a [`WireError`].
//!
//! An [`Envelope`] is one message from a node to a node, perhaps over several hops. A frame is what one neighbour
//! hands to the next: envelopes of any lanes, in the order in which they were sent within each [`Lane`].
//!
//! # Ledger of protocol versions
//!
//! | version | changed |
//! |---|---|
//! | 1 | first: frame header of 28 bytes, items with a lane, envelopes as a msgpack array of seven |

mod envelope;
mod error;
mod fragment;
pub mod frame;
pub mod kind;
mod lane;
#[cfg(test)]
mod tests;

pub use envelope::{ENVELOPE_HEADER_BYTES_MAX, Envelope, EnvelopeHeader};
pub use error::WireError;
pub use fragment::{Fragment, Reassembler};
pub use frame::{
    FRAGMENT_BYTES_MAX, FRAGMENT_PREFIX_BYTES, FRAME_HEADER_BYTES, FrameBuilder, FrameHeader, FrameReader,
    ITEM_PREFIX_BYTES, Item,
};
pub use kind::Kind;
pub use lane::Lane;

/// The version of the protocol that this build speaks. A frame of another version is refused.
pub const PROTOCOL_VERSION: u8 = 1;

/// The most bytes of a frame, header included. Measured: at 64 KiB the cost of the hops under a frame disappears
/// behind its envelopes, and a frame still takes well under a millisecond of a link, so that an urgent one waits little.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// The most bytes of an encoded envelope, whole or put together from fragments: twice the largest command, so that a
/// round of one command and a snapshot chunk fit with their framing.
pub const ENVELOPE_BYTES_MAX: usize = 32 * 1024 * 1024;
