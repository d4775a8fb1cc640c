//! The batches in which commands travel: a [`Round`] of one node's queen, and the [`Batch`] of rounds that becomes one
//! log entry. A round is encoded once, by the queen that gathers it, and stays those bytes from then on.
//!
//! Layout of both: one version byte, then bincode 1.3 (fixed-size little-endian integers, trailing bytes refused).
//!
//! | version | what it changed |
//! |---|---|
//! | 1 | first |
//! | 2 | commands may be withheld; a batch may carry a checkpoint |

use bincode::Options;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::digest::Digest;
use crate::id::NodeId;

/// The version byte of rounds and batches that this program writes.
pub const ROUND_VERSION: u8 = 2;
/// The largest encoded round or batch that is accepted, in bytes: a round of the largest command, and room to join.
pub const ROUND_BYTES_MAX: u64 = 24 << 20;

/// The commands that one node's queen gathered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// The node that gathered them.
    pub node: NodeId,
    /// Which start of that node: a restarted node is a new dedup session.
    pub incarnation: u64,
    /// In the order in which the agents handed them over.
    pub commands: Vec<Command>,
}

/// What one log entry carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Cluster time in milliseconds.
    pub cluster_ms: u64,
    /// The leader's wall clock in milliseconds since 1970, for people.
    pub wall_ms: u64,
    /// Encoded [`Round`]s, in the order in which they are applied.
    pub rounds: Vec<Bytes>,
    /// The leader's state at an earlier position, with which the others compare theirs.
    pub checkpoint: Option<Checkpoint>,
}

/// What the state of a node was at a position of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The index of the last entry that it had applied.
    pub index: u64,
    /// The digest of its state then.
    pub digest: Digest,
}

/// Bytes that are not a round or a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoundError {
    /// There is no byte at all.
    #[error("the round is empty")]
    Empty,
    /// It was written by a program that knows another version.
    #[error("the round has version {found}, this program reads {ROUND_VERSION}")]
    Version {
        /// The version byte found.
        found: u8,
    },
    /// It is larger than any round may be.
    #[error("the round has {bytes} B, the limit is {ROUND_BYTES_MAX} B")]
    TooLarge {
        /// Its size in bytes.
        bytes: u64,
    },
    /// The bytes do not decode.
    #[error("the round does not decode: {0}")]
    Malformed(String),
}

impl Round {
    /// The bytes of this round.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Reads a round.
    ///
    /// # Errors
    /// When the bytes are not a round of a version that this program reads.
    pub fn decode(bytes: &[u8]) -> Result<Round, RoundError> {
        decode(bytes)
    }
}

impl Batch {
    /// The bytes of this batch.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Reads a batch; its rounds are not decoded yet.
    ///
    /// # Errors
    /// When the bytes are not a batch of a version that this program reads.
    pub fn decode(bytes: &[u8]) -> Result<Batch, RoundError> {
        decode(bytes)
    }
}

/// The bincode options of everything that the colony encodes.
pub(crate) fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(ROUND_BYTES_MAX)
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(ROUND_VERSION);
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .serialize_into(&mut bytes, value)
        .expect("plain data serialises into memory");
    Bytes::from(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RoundError> {
    let (version, rest) = bytes.split_first().ok_or(RoundError::Empty)?;
    if *version != ROUND_VERSION {
        return Err(RoundError::Version { found: *version });
    }
    if bytes.len() as u64 > ROUND_BYTES_MAX {
        return Err(RoundError::TooLarge {
            bytes: bytes.len() as u64,
        });
    }
    options()
        .deserialize(rest)
        .map_err(|error| RoundError::Malformed(error.to_string()))
}
