//! The bytes between two neighbours: envelopes in msgpack, packed into frames, in fragments where one is larger than
//! a frame. Pure: bytes in, values out. Bytes from a peer are never trusted, so every decoder returns a [`WireError`].
//!
//! An [`Envelope`] is one message from a node to a node, perhaps over several hops. A frame is what one neighbour
//! hands to the next: envelopes of any lanes, in the order in which they were sent within each [`Lane`].
//!
//! Before the first frame of a connection both ends send a [`Greeting`], and so agree on the version of the frames.
//!
//! # Ledger of protocol versions
//!
//! | version | changed |
//! |---|---|
//! | 1 | first: frame header of 36 bytes, items with a lane, perhaps compressed, envelopes as a msgpack array of seven |

mod compress;
mod envelope;
mod error;
mod fragment;
pub mod frame;
mod greeting;
pub mod kind;
mod lane;
#[cfg(test)]
mod tests;

pub use compress::{COMPRESSED_FROM_BYTES, Form, compress, decompress};
pub use envelope::{ENVELOPE_HEADER_BYTES_MAX, Envelope, EnvelopeHeader};
pub use error::{GreetingError, WireError};
pub use fragment::{Fragment, Reassembler};
pub use frame::{
    FRAGMENT_BYTES_MAX, FRAGMENT_PREFIX_BYTES, FRAME_HEADER_BYTES, FrameBuilder, FrameHeader, FrameReader,
    ITEM_PREFIX_BYTES, Item,
};
pub use greeting::{GREETING_HEAD_BYTES, GREETING_TEXT_BYTES_MAX, Greeting, GreetingHead};
pub use kind::Kind;
pub use lane::Lane;

use crate::version::Versions;

/// The newest version of frames that this build speaks.
pub const PROTOCOL_VERSION: u8 = 1;

/// The versions of frames that this build speaks. One that is dropped here can no longer be spoken with by those who have
/// only that: a cluster is upgraded over builds that have one version in common.
pub const SPOKEN: Versions = Versions {
    oldest: 1,
    newest: PROTOCOL_VERSION as u32,
};

/// The most bytes of a frame, header included. Measured: at 64 KiB the cost of the hops under a frame disappears
/// behind its envelopes, and a frame still takes well under a millisecond of a link, so that an urgent one waits little.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// The most bytes of an encoded envelope, whole or put together from fragments: twice the largest command, so that a
/// round of one command and a snapshot chunk fit with their framing.
pub const ENVELOPE_BYTES_MAX: usize = 32 * 1024 * 1024;
