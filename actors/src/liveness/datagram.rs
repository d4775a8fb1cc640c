//! The form of a datagram, and which ones are taken.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | `QS` |
//! | 1 | version, [`VERSION`] |
//! | 16 | the id of the cluster |
//! | 8 | the number of the sender |
//! | 8 | the number of the receiver |
//! | 8 | which start of the sender it is: its incarnation, which its data folder counts up |
//! | 8 | how many datagrams it has sent since that start |
//! | at most [`PAYLOAD_BYTES_MAX`] | what foca says, see `identity` |
//! | 16 | the first half of BLAKE3 over all of that, keyed |
//!
//! Numbers are big-endian. The key comes from the cookie of the cluster. Whoever has the cookie is believed: it is one
//! secret for all nodes. A datagram is taken once, and none of an earlier start of its sender. A node that has just
//! started knows no counters yet: until its peers have sent something, it takes what was recorded of them before, if it
//! was for its number; what is in it is for an earlier start of the receiver then, or for none, and has no effect but
//! that the peer counts as heard of once more.

use queenright_protocol::id::{ClusterId, NodeId};
use subtle::ConstantTimeEq as _;

/// The version of the form.
const VERSION: u8 = 1;
/// The largest datagram: it passes any net without being cut in pieces.
pub(super) const DATAGRAM_BYTES_MAX: usize = 1_400;
/// What stands before the payload.
const HEAD_BYTES: usize = 51;
/// The code behind it.
const CODE_BYTES: usize = 16;
/// The largest payload.
pub(super) const PAYLOAD_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - HEAD_BYTES - CODE_BYTES;
const MAGIC: [u8; 2] = *b"QS";
/// For what the key is used, and for nothing else.
const KEY_CONTEXT: &str = "queenright 2026-11 the code of a datagram of liveness";

/// What makes datagrams of this node, and opens those for it.
pub(super) struct Seal {
    key: [u8; 32],
    cluster: ClusterId,
    me: NodeId,
    start: u64,
    sent: u64,
}

/// A datagram for this node of somebody who has the key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened<'a> {
    pub(super) from: NodeId,
    pub(super) start: u64,
    pub(super) counter: u64,
    pub(super) payload: &'a [u8],
}

/// Why a datagram is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has another length or beginning than any of ours, or what is in it does not add up.
    Malformed,
    /// It has another version.
    Version,
    /// It is of another cluster.
    Foreign,
    /// It is for another node.
    Misdirected,
    /// Its code is wrong: the sender has another cookie.
    Forged,
    /// It was taken before, or is older than what is remembered.
    Replayed,
    /// Its sender is no member.
    Stranger,
}

/// Which datagrams of one sender were taken. Order is the sender's: one that comes 128 datagrams late is dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    start: u64,
    highest: u64,
    /// Bit n: whether the datagram n before the highest was taken.
    bits: u128,
}

impl Seal {
    pub(super) fn new(cookie: &[u8], cluster: ClusterId, me: NodeId, start: u64) -> Seal {
        Seal {
            key: blake3::derive_key(KEY_CONTEXT, cookie),
            cluster,
            me,
            start,
            sent: 0,
        }
    }

    /// Makes a datagram.
    pub(super) fn seal(&mut self, to: NodeId, payload: &[u8]) -> Vec<u8> {
        self.sent += 1;
        let mut datagram = Vec::with_capacity(HEAD_BYTES + payload.len() + CODE_BYTES);
        datagram.extend_from_slice(&MAGIC);
        datagram.push(VERSION);
        datagram.extend_from_slice(&self.cluster.0);
        for number in [self.me.0, to.0, self.start, self.sent] {
            datagram.extend_from_slice(&number.to_be_bytes());
        }
        datagram.extend_from_slice(payload);
        let code = self.code(&datagram);
        datagram.extend_from_slice(&code);
        datagram
    }

    /// Opens a datagram; allocates nothing.
    ///
    /// # Errors
    /// When it is not of this cluster, not for this node, or not by somebody who has the key.
    pub(super) fn open<'a>(&self, datagram: &'a [u8]) -> Result<Opened<'a>, Refused> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(Refused::Malformed);
        }
        let (rest, code) = datagram.split_last_chunk::<CODE_BYTES>().ok_or(Refused::Malformed)?;
        let (head, payload) = rest.split_first_chunk::<HEAD_BYTES>().ok_or(Refused::Malformed)?;
        let number = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().expect("it is 8 bytes"));
        if head[..2] != MAGIC {
            return Err(Refused::Malformed);
        }
        if head[2] != VERSION {
            return Err(Refused::Version);
        }
        if head[3..19] != self.cluster.0 {
            return Err(Refused::Foreign);
        }
        if !bool::from(self.code(rest)[..].ct_eq(code)) {
            return Err(Refused::Forged);
        }
        if number(27) != self.me.0 {
            return Err(Refused::Misdirected);
        }
        Ok(Opened {
            from: NodeId(number(19)),
            start: number(35),
            counter: number(43),
            payload,
        })
    }

    fn code(&self, bytes: &[u8]) -> [u8; CODE_BYTES] {
        let hash = blake3::keyed_hash(&self.key, bytes);
        *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
    }
}

impl Taken {
    /// Whether a datagram is the first of its kind, which is noted.
    pub(super) fn take(&mut self, start: u64, counter: u64) -> bool {
        if start != self.start {
            if start < self.start {
                return false;
            }
            *self = Taken {
                start,
                highest: counter,
                bits: 1,
            };
            return true;
        }
        if counter > self.highest {
            let by = counter - self.highest;
            let earlier = if by < 128 { self.bits << by } else { 0 };
            self.bits = earlier | 1;
            self.highest = counter;
            return true;
        }
        let before = self.highest - counter;
        let bit = if before < 128 { 1 << before } else { return false };
        let first = self.bits & bit == 0;
        self.bits |= bit;
        first
    }
}
