//! What stands in one record of the log on disk.
//!
//! ```text
//! head    "QRL1" · kind u8 · 0 u8 ×3 · length u32 · crc32 of the body u32 · offset u64 · synced u64 · 0 u32 · crc32 of the head u32
//! body    `length` bytes, zeros, and 0xa5 as the last byte of a multiple of eight; the checksum of the body covers all of it
//! ```
//! All integers are little-endian, both checksums are CRC-32 (IEEE). `offset` is where the record begins in the log as a
//! whole, so that a record that was left from an earlier use of its place is known as such. `synced` is up to where the
//! log was on disk when the record was made: a readable record behind an unreadable one tells by it whether that one had
//! been on disk. The last byte is there because a disk writes sector by sector: a sector of a record that is nothing but
//! zeros was not written.
//!
//! | kind | body |
//! |---|---|
//! | 1 start | the state of the log so far, first in every chunk: vote, committed, purged, last position |
//! | 2 entry | position, kind of payload u8 (0 blank, 1 normal, 2 membership), its bytes |
//! | 3 vote | term u64, node u64, committed u8 |
//! | 4 committed | position |
//! | 5 truncate | index u64 of the first entry that goes |
//! | 6 purge | position of the last entry that goes |
//!
//! A position is term u64, node u64, index u64. The bytes of a normal entry stand as they were handed in; a membership is
//! bincode 1.3.3 with fixed-width integers.

use std::io;

use bincode::Options;
use bytes::Bytes;
use openraft::alias::{EntryOf, LeaderIdOf, LogIdOf, VoteOf};
use openraft::vote::RaftLeaderIdExt;
use openraft::{EmptyNode, EntryPayload, Membership};

use crate::consensus::types::{EntryBytes, TypeConfig};

/// The largest payload of one entry, in bytes. The queen keeps entries far below it; the bound is what a reader of a
/// damaged file may be made to allocate.
pub(super) const ENTRY_BYTES_MAX: usize = 64 << 20;

/// The largest encoded membership, in bytes: room for some thousand nodes.
const MEMBERSHIP_BYTES_MAX: u64 = 1 << 20;

/// The bytes of a head.
pub(super) const HEAD_BYTES: usize = 40;

/// What records begin on: a multiple of so many bytes.
pub(super) const ALIGNMENT: usize = 8;

/// The bytes of an entry's body in front of its payload.
pub(super) const ENTRY_HEAD_BYTES: usize = POSITION_BYTES + 1;

const MAGIC: [u8; 4] = *b"QRL1";
const POSITION_BYTES: usize = 24;
const LAST_BYTE: u8 = 0xa5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Start = 1,
    Entry = 2,
    Vote = 3,
    Committed = 4,
    Truncate = 5,
    Purge = 6,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        [
            Kind::Start,
            Kind::Entry,
            Kind::Vote,
            Kind::Committed,
            Kind::Truncate,
            Kind::Purge,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) length: usize,
    body_crc: u32,
    pub(super) offset: u64,
    pub(super) synced: u64,
}

impl Head {
    /// Reads a head; `None` if the bytes are no head.
    pub(super) fn read(bytes: &[u8]) -> Option<Head> {
        let bytes: &[u8; HEAD_BYTES] = bytes.get(..HEAD_BYTES)?.try_into().ok()?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if bytes[..4] != MAGIC || word(36) != crc32fast::hash(&bytes[..36]) {
            return None;
        }
        let length = word(8) as usize;
        if length > ENTRY_HEAD_BYTES + ENTRY_BYTES_MAX {
            return None;
        }
        Some(Head {
            kind: Kind::of(bytes[4])?,
            length,
            body_crc: word(12),
            offset: long(16),
            synced: long(24),
        })
    }

    /// The bytes of the body with what fills it up.
    pub(super) fn padded(&self) -> usize {
        padded(self.length)
    }

    /// Whether `padded`, the body with what fills it up, is what was written.
    pub(super) fn matches(&self, padded: &[u8]) -> bool {
        padded.len() == self.padded() && crc32fast::hash(padded) == self.body_crc
    }
}

/// The bytes of a record whose body has `length` bytes.
pub(super) fn record_bytes(length: usize) -> usize {
    HEAD_BYTES + padded(length)
}

fn padded(length: usize) -> usize {
    (length + 1).next_multiple_of(ALIGNMENT)
}

/// Appends a record whose body is the parts of `body` joined.
pub(super) fn write(out: &mut Vec<u8>, kind: Kind, offset: u64, synced: u64, body: &[&[u8]]) {
    let start = out.len();
    out.resize(start + HEAD_BYTES, 0);
    for part in body {
        out.extend_from_slice(part);
    }
    let length = out.len() - start - HEAD_BYTES;
    out.resize(start + record_bytes(length), 0);
    *out.last_mut().expect("a record has a last byte") = LAST_BYTE;
    let body_crc = crc32fast::hash(&out[start + HEAD_BYTES..]);
    let head = &mut out[start..start + HEAD_BYTES];
    head[..4].copy_from_slice(&MAGIC);
    head[4] = kind as u8;
    head[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    head[12..16].copy_from_slice(&body_crc.to_le_bytes());
    head[16..24].copy_from_slice(&offset.to_le_bytes());
    head[24..32].copy_from_slice(&synced.to_le_bytes());
    let head_crc = crc32fast::hash(&head[..36]);
    head[36..40].copy_from_slice(&head_crc.to_le_bytes());
}

/// A log id. The order of the fields is openraft's order of log ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    term: u64,
    node: u64,
    pub(super) index: u64,
}

impl From<&LogIdOf<TypeConfig>> for Position {
    fn from(id: &LogIdOf<TypeConfig>) -> Self {
        Position {
            term: id.leader_id.term,
            node: id.leader_id.node_id,
            index: id.index,
        }
    }
}

impl From<Position> for LogIdOf<TypeConfig> {
    fn from(position: Position) -> Self {
        let leader = LeaderIdOf::<TypeConfig>::new_committed(position.term, position.node);
        LogIdOf::<TypeConfig>::new(leader, position.index)
    }
}

impl Position {
    pub(super) fn to_bytes(self) -> [u8; POSITION_BYTES] {
        let mut out = [0; POSITION_BYTES];
        out[..8].copy_from_slice(&self.term.to_le_bytes());
        out[8..16].copy_from_slice(&self.node.to_le_bytes());
        out[16..].copy_from_slice(&self.index.to_le_bytes());
        out
    }

    pub(super) fn read(body: &mut Body<'_>) -> Option<Position> {
        Some(Position {
            term: body.long()?,
            node: body.long()?,
            index: body.long()?,
        })
    }
}

/// A vote.
pub(super) fn vote_bytes(vote: &VoteOf<TypeConfig>) -> [u8; 17] {
    let mut out = [0; 17];
    out[..8].copy_from_slice(&vote.leader_id.term.to_le_bytes());
    out[8..16].copy_from_slice(&vote.leader_id.node_id.to_le_bytes());
    out[16] = u8::from(vote.committed);
    out
}

pub(super) fn read_vote(body: &mut Body<'_>) -> Option<VoteOf<TypeConfig>> {
    let (term, node) = (body.long()?, body.long()?);
    match body.byte()? {
        0 => Some(VoteOf::<TypeConfig>::new(term, node)),
        1 => Some(VoteOf::<TypeConfig>::new_committed(term, node)),
        _ => None,
    }
}

/// The body of a record, read from its front.
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl Body<'_> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn long(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first))
    }

    /// Whether nothing is left.
    pub(super) fn ends(&self) -> bool {
        self.0.is_empty()
    }
}

/// The payload of an entry: its kind and its bytes, shared with whoever handed the entry in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) kind: PayloadKind,
    pub(super) bytes: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PayloadKind {
    Blank = 0,
    Normal = 1,
    Membership = 2,
}

impl PayloadKind {
    pub(super) fn of(byte: u8) -> Option<PayloadKind> {
        match byte {
            0 => Some(PayloadKind::Blank),
            1 => Some(PayloadKind::Normal),
            2 => Some(PayloadKind::Membership),
            _ => None,
        }
    }
}

impl Payload {
    /// The payload as it goes into the log.
    ///
    /// # Errors
    /// `InvalidInput` if it is larger than [`ENTRY_BYTES_MAX`], or the membership larger than its bound.
    pub(super) fn from_entry(entry: EntryOf<TypeConfig>) -> Result<(Position, Payload), io::Error> {
        let (kind, bytes) = match entry.payload {
            EntryPayload::Blank => (PayloadKind::Blank, Bytes::new()),
            EntryPayload::Normal(EntryBytes(bytes)) => (PayloadKind::Normal, bytes),
            EntryPayload::Membership(membership) => {
                let bytes = bincode_options()
                    .serialize(&membership)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                (PayloadKind::Membership, Bytes::from(bytes))
            }
        };
        if bytes.len() > ENTRY_BYTES_MAX {
            let message = format!(
                "a log entry of {} B is over the limit of {ENTRY_BYTES_MAX} B",
                bytes.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok((Position::from(&entry.log_id), Payload { kind, bytes }))
    }

    /// The entry that this payload stands for.
    ///
    /// # Errors
    /// `InvalidData` if the bytes of a membership cannot be decoded.
    pub(super) fn into_entry(self, position: Position) -> Result<EntryOf<TypeConfig>, io::Error> {
        let payload = match self.kind {
            PayloadKind::Blank => EntryPayload::Blank,
            PayloadKind::Normal => EntryPayload::Normal(EntryBytes(self.bytes)),
            PayloadKind::Membership => {
                let membership: Membership<u64, EmptyNode> = bincode_options()
                    .deserialize(&self.bytes)
                    .map_err(|error| damaged(format!("entry {}: membership: {error}", position.index)))?;
                EntryPayload::Membership(membership)
            }
        };
        Ok(EntryOf::<TypeConfig> {
            log_id: position.into(),
            payload,
        })
    }
}

fn bincode_options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(MEMBERSHIP_BYTES_MAX)
}

pub(super) fn damaged(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
