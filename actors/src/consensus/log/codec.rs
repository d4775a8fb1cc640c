//! What stands in one record of the log on disk.
//!
//! `raft-log` frames every record as `type u32 · body · crc32 u64` (big-endian, the checksum last) and finds the end of
//! a record only by decoding its body. It takes a body that runs past the end of the file for a write that was torn by
//! a crash and cuts it off, so a damaged length in the middle of the file would silently drop everything behind it. The
//! bodies below therefore carry a mark in front, and the payload's length a checksum of its own: a body runs past the
//! end of the file only if the file was cut there; everything else is damage.
//!
//! ```text
//! position   'L' · term u64 · node u64 · index u64                                   25 B
//! vote       'V' · term u64 · node u64 · committed u8 (0 or 1)                       18 B
//! payload    'P' · kind u8 · length u32 · crc32 (IEEE) of these six bytes u32 · bytes  10 B + length
//! ```
//! Kinds of payload: 0 blank (no bytes), 1 normal (the entry's bytes as they are), 2 membership (bincode 1.3.3,
//! fixed-width integers). All integers are big-endian.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use bincode::Options;
use bytes::Bytes;
use openraft::alias::{EntryOf, LeaderIdOf, LogIdOf, VoteOf};
use openraft::vote::RaftLeaderIdExt;
use openraft::{EmptyNode, EntryPayload, Membership};
use raft_log::codeq::{Decode, Encode};

use super::flush::Flush;
use crate::consensus::types::{EntryBytes, TypeConfig};

/// The largest payload of one entry, in bytes. The queen keeps entries far below it; the bound is what a reader of a
/// damaged file may be made to allocate.
pub(super) const ENTRY_BYTES_MAX: usize = 64 << 20;

/// The largest encoded membership, in bytes: room for some thousand nodes.
const MEMBERSHIP_BYTES_MAX: u64 = 1 << 20;

/// What an entry costs in memory besides its bytes: the cache's and the index's tree nodes, rounded up.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 128;

const POSITION_MARK: u8 = b'L';
const VOTE_MARK: u8 = b'V';
const PAYLOAD_MARK: u8 = b'P';

/// The types with which `raft-log` is instantiated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogTypes;

impl raft_log::Types for LogTypes {
    type LogId = Position;
    type LogPayload = Payload;
    type Vote = SavedVote;
    type Callback = Flush;
    type UserData = Nothing;

    fn log_index(position: &Position) -> u64 {
        position.index
    }

    fn payload_size(payload: &Payload) -> u64 {
        (payload.bytes.len() + ENTRY_OVERHEAD_BYTES) as u64
    }
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

impl Encode for Position {
    fn encode<W: Write>(&self, mut w: W) -> Result<usize, io::Error> {
        let mut out = [0; 25];
        out[0] = POSITION_MARK;
        out[1..9].copy_from_slice(&self.term.to_be_bytes());
        out[9..17].copy_from_slice(&self.node.to_be_bytes());
        out[17..25].copy_from_slice(&self.index.to_be_bytes());
        w.write_all(&out)?;
        Ok(out.len())
    }
}

impl Decode for Position {
    fn decode<R: Read>(mut r: R) -> Result<Self, io::Error> {
        expect_mark(&mut r, POSITION_MARK)?;
        Ok(Position {
            term: read_u64(&mut r)?,
            node: read_u64(&mut r)?,
            index: read_u64(&mut r)?,
        })
    }
}

/// A vote in openraft's (partial) order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SavedVote(pub(super) VoteOf<TypeConfig>);

impl PartialOrd for SavedVote {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl Encode for SavedVote {
    fn encode<W: Write>(&self, mut w: W) -> Result<usize, io::Error> {
        let mut out = [0; 18];
        out[0] = VOTE_MARK;
        out[1..9].copy_from_slice(&self.0.leader_id.term.to_be_bytes());
        out[9..17].copy_from_slice(&self.0.leader_id.node_id.to_be_bytes());
        out[17] = u8::from(self.0.committed);
        w.write_all(&out)?;
        Ok(out.len())
    }
}

impl Decode for SavedVote {
    fn decode<R: Read>(mut r: R) -> Result<Self, io::Error> {
        expect_mark(&mut r, VOTE_MARK)?;
        let (term, node) = (read_u64(&mut r)?, read_u64(&mut r)?);
        match read_u8(&mut r)? {
            0 => Ok(SavedVote(VoteOf::<TypeConfig>::new(term, node))),
            1 => Ok(SavedVote(VoteOf::<TypeConfig>::new_committed(term, node))),
            other => Err(damaged(format!("a vote's committed flag is {other}, not 0 or 1"))),
        }
    }
}

/// The payload of an entry: its kind and its bytes, shared with whoever handed the entry in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    kind: PayloadKind,
    bytes: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PayloadKind {
    Blank = 0,
    Normal = 1,
    Membership = 2,
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

    /// What the entry costs in memory, in bytes.
    pub(super) fn cost_bytes(&self) -> usize {
        self.bytes.len() + ENTRY_OVERHEAD_BYTES
    }
}

impl Encode for Payload {
    fn encode<W: Write>(&self, mut w: W) -> Result<usize, io::Error> {
        let length = u32::try_from(self.bytes.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a log entry over 4 GiB"))?;
        let mut head = [0; 10];
        head[0] = PAYLOAD_MARK;
        head[1] = self.kind as u8;
        head[2..6].copy_from_slice(&length.to_be_bytes());
        let checksum = crc32fast::hash(&head[..6]);
        head[6..].copy_from_slice(&checksum.to_be_bytes());
        w.write_all(&head)?;
        w.write_all(&self.bytes)?;
        Ok(head.len() + self.bytes.len())
    }
}

impl Decode for Payload {
    fn decode<R: Read>(mut r: R) -> Result<Self, io::Error> {
        expect_mark(&mut r, PAYLOAD_MARK)?;
        let mut head = [PAYLOAD_MARK; 10];
        r.read_exact(&mut head[1..])?;
        let checksum = u32::from_be_bytes([head[6], head[7], head[8], head[9]]);
        if checksum != crc32fast::hash(&head[..6]) {
            return Err(damaged("the head of an entry does not match its checksum".to_owned()));
        }
        let kind = match head[1] {
            0 => PayloadKind::Blank,
            1 => PayloadKind::Normal,
            2 => PayloadKind::Membership,
            other => return Err(damaged(format!("an entry of the unknown kind {other}"))),
        };
        let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
        if length > ENTRY_BYTES_MAX {
            return Err(damaged(format!(
                "an entry of {length} B is over the limit of {ENTRY_BYTES_MAX} B"
            )));
        }
        let mut bytes = vec![0; length];
        r.read_exact(&mut bytes)?;
        Ok(Payload {
            kind,
            bytes: Bytes::from(bytes),
        })
    }
}

/// `raft-log` offers to keep data of its user beside the vote; there is none, and a log that has some is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nothing {}

impl Encode for Nothing {
    fn encode<W: Write>(&self, _w: W) -> Result<usize, io::Error> {
        match *self {}
    }
}

impl Decode for Nothing {
    fn decode<R: Read>(_r: R) -> Result<Self, io::Error> {
        Err(damaged("user data in a log that has none".to_owned()))
    }
}

fn bincode_options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(MEMBERSHIP_BYTES_MAX)
}

fn expect_mark(r: &mut impl Read, mark: u8) -> Result<(), io::Error> {
    match read_u8(r)? {
        found if found == mark => Ok(()),
        found => Err(damaged(format!(
            "byte {found:#04x} where {:?} begins a field",
            mark as char
        ))),
    }
}

fn read_u8(r: &mut impl Read) -> Result<u8, io::Error> {
    let mut byte = [0];
    r.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn read_u64(r: &mut impl Read) -> Result<u64, io::Error> {
    let mut bytes = [0; 8];
    r.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

fn damaged(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
