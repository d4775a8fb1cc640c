//! Who a member is for SWIM, and how foca's messages are written.
//!
//! An identity does not say where the member listens: the members of consensus do, so nobody can lead datagrams astray.
//!
//! | bytes | what |
//! |---|---|
//! | identity | number 8, start 8, renewal 4 |
//! | header | sender (identity), its denials 2, receiver (identity), message 1 and what it carries |
//! | probe number | 1, with `Ping` and `Ack` |
//! | probe number and identity | 1 and 20, with `PingReq` and what follows from it |
//! | member | identity, denials 2, state 1 |
//!
//! Behind the header stand the number of members that are told of (2 bytes), and these. All numbers are big-endian.

use bytes::{Buf, BufMut, TryGetError};
use foca::{Header, Member, Message, State};
use queenright_protocol::id::NodeId;

/// The bytes of an identity.
const IDENTITY_BYTES: usize = 20;
/// The bytes of a member.
const MEMBER_BYTES: usize = IDENTITY_BYTES + 3;
/// The bytes of a header with the largest message.
const HEADER_BYTES_MAX: usize = 2 * IDENTITY_BYTES + 3 + 1 + IDENTITY_BYTES;

/// A member, from a start or a renewal of it to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Its number.
    pub(super) number: NodeId,
    /// Which start of the node it is: the later, the higher.
    pub(super) start: u64,
    /// How often it was taken for down since, and came back.
    pub(super) renewal: u32,
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodecError {
    /// They end too early, or there is no room for more.
    #[error("too short")]
    Short,
    /// A message or state that nobody sends.
    #[error("{what} {value} is not known")]
    Unknown {
        /// What it should be.
        what: &'static str,
        /// What stands there.
        value: u8,
    },
    /// Bytes are left over, or the sender is another one than the datagram says.
    #[error("it does not add up")]
    Contradicts,
}

/// The format above.
pub(super) struct Codec;

impl foca::Identity for Identity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        let renewal = self.renewal.checked_add(1)?;
        Some(Identity { renewal, ..*self })
    }

    fn addr(&self) -> NodeId {
        self.number
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        (self.start, self.renewal) > (other.start, other.renewal)
    }
}

impl From<TryGetError> for CodecError {
    fn from(_: TryGetError) -> CodecError {
        CodecError::Short
    }
}

fn put_identity(identity: &Identity, buf: &mut impl BufMut) {
    buf.put_u64(identity.number.0);
    buf.put_u64(identity.start);
    buf.put_u32(identity.renewal);
}

fn get_identity(buf: &mut impl Buf) -> Result<Identity, CodecError> {
    Ok(Identity {
        number: NodeId(buf.try_get_u64()?),
        start: buf.try_get_u64()?,
        renewal: buf.try_get_u32()?,
    })
}

fn room(buf: &impl BufMut, bytes: usize) -> Result<(), CodecError> {
    match buf.remaining_mut() < bytes {
        true => Err(CodecError::Short),
        false => Ok(()),
    }
}

impl foca::Codec<Identity> for Codec {
    type Error = CodecError;

    fn encode_header(&mut self, header: &Header<Identity>, mut buf: impl BufMut) -> Result<(), CodecError> {
        room(&buf, HEADER_BYTES_MAX)?;
        put_identity(&header.src, &mut buf);
        buf.put_u16(header.src_incarnation);
        put_identity(&header.dst, &mut buf);
        let (tag, probe, third) = match &header.message {
            Message::Ping(probe) => (1, Some(*probe), None),
            Message::Ack(probe) => (2, Some(*probe), None),
            Message::PingReq { target, probe_number } => (3, Some(*probe_number), Some(target)),
            Message::IndirectPing { origin, probe_number } => (4, Some(*probe_number), Some(origin)),
            Message::IndirectAck { target, probe_number } => (5, Some(*probe_number), Some(target)),
            Message::ForwardedAck { origin, probe_number } => (6, Some(*probe_number), Some(origin)),
            Message::Announce => (7, None, None),
            Message::Feed => (8, None, None),
            Message::Gossip => (9, None, None),
            Message::TurnUndead => (10, None, None),
            Message::Broadcast => (11, None, None),
        };
        buf.put_u8(tag);
        if let Some(probe) = probe {
            buf.put_u8(probe);
        }
        if let Some(third) = third {
            put_identity(third, &mut buf);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Identity>, CodecError> {
        let src = get_identity(&mut buf)?;
        let src_incarnation = buf.try_get_u16()?;
        let dst = get_identity(&mut buf)?;
        let tag = buf.try_get_u8()?;
        let probe_number = match tag {
            1..=6 => buf.try_get_u8()?,
            _ => 0,
        };
        let mut third = || get_identity(&mut buf);
        let message = match tag {
            1 => Message::Ping(probe_number),
            2 => Message::Ack(probe_number),
            3 => Message::PingReq {
                target: third()?,
                probe_number,
            },
            4 => Message::IndirectPing {
                origin: third()?,
                probe_number,
            },
            5 => Message::IndirectAck {
                target: third()?,
                probe_number,
            },
            6 => Message::ForwardedAck {
                origin: third()?,
                probe_number,
            },
            7 => Message::Announce,
            8 => Message::Feed,
            9 => Message::Gossip,
            10 => Message::TurnUndead,
            value => return Err(CodecError::Unknown { what: "message", value }),
        };
        Ok(Header {
            src,
            src_incarnation,
            dst,
            message,
        })
    }

    fn encode_member(&mut self, member: &Member<Identity>, mut buf: impl BufMut) -> Result<(), CodecError> {
        room(&buf, MEMBER_BYTES)?;
        put_identity(member.id(), &mut buf);
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 1,
            State::Suspect => 2,
            State::Down => 3,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Identity>, CodecError> {
        let identity = get_identity(&mut buf)?;
        let denials = buf.try_get_u16()?;
        let state = match buf.try_get_u8()? {
            1 => State::Alive,
            2 => State::Suspect,
            3 => State::Down,
            value => return Err(CodecError::Unknown { what: "state", value }),
        };
        Ok(Member::new(identity, denials, state))
    }
}
