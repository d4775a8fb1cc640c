//! One message from a node to a node.
//!
//! Encoded as a msgpack array of seven: kind, hops, from, to, correlation, epoch (unsigned integers), body (bin). The header is
//! written and read field by field instead of through serde: this is the path of every signal.

use std::fmt;

use bytes::Bytes;

use super::{ENVELOPE_BYTES_MAX, Form, Kind, WireError, decompress};
use crate::id::NodeId;

/// The most bytes of an encoded envelope in front of its body: array 1, kind 2, hops 2, four numbers of 9, bin 5.
pub const ENVELOPE_HEADER_BYTES_MAX: usize = 46;

/// The fields of the array. A further one would be a new protocol version.
const FIELDS: u32 = 7;

/// One message from a node to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the body is.
    pub kind: Kind,
    /// How many nodes have forwarded it so far.
    pub hops: u8,
    /// The node that sent it.
    pub from: NodeId,
    /// The node that it is for.
    pub to: NodeId,
    /// Ties an answer to its question; the sender's choice, 0 where there is no answer.
    pub correlation: u64,
    /// The number of the epoch by which its sender chose its way; 0 for one that knows none.
    pub epoch: u64,
    /// The message in the encoding of its kind. After [`Envelope::decode`] a slice of the frame that it came in: who
    /// keeps a small body for long keeps that frame in memory and should copy it.
    pub body: Bytes,
}

/// An envelope without its body, for those who only pass it on. The kind may be one that this build does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeHeader {
    /// The number of the kind.
    pub kind: u8,
    /// How many nodes have forwarded it so far.
    pub hops: u8,
    /// The node that sent it.
    pub from: NodeId,
    /// The node that it is for.
    pub to: NodeId,
    /// Ties an answer to its question.
    pub correlation: u64,
    /// The number of the epoch by which its sender chose its way.
    pub epoch: u64,
    /// Where the body begins.
    pub body_offset: usize,
}

/// The bytes of an encoded header.
pub(super) struct HeaderBytes {
    bytes: [u8; ENVELOPE_HEADER_BYTES_MAX],
    len: usize,
}

impl Envelope {
    /// Appends the encoded envelope to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let header = self.header_bytes();
        out.extend_from_slice(header.as_slice());
        out.extend_from_slice(&self.body);
    }

    /// The bytes in front of the body when encoded.
    pub fn encode_header(&self) -> Vec<u8> {
        self.header_bytes().as_slice().to_vec()
    }

    /// The size when encoded, body included.
    pub fn encoded_bytes(&self) -> usize {
        self.header_bytes().len + self.body.len()
    }

    /// Reads an envelope from all of `bytes`; the body is a slice of them.
    ///
    /// # Errors
    /// [`WireError`] where the bytes are anything else than one envelope of a known kind.
    pub fn decode(bytes: &Bytes) -> Result<Envelope, WireError> {
        Envelope::decode_part(bytes, 0, bytes.len())
    }

    /// Reads an envelope from `bytes[start..end]`. The body is the only slice that is made: each one counts a reference.
    pub(super) fn decode_part(bytes: &Bytes, start: usize, end: usize) -> Result<Envelope, WireError> {
        let header = EnvelopeHeader::peek(&bytes[start..end])?;
        Ok(Envelope {
            kind: Kind::try_from(header.kind)?,
            hops: header.hops,
            from: header.from,
            to: header.to,
            correlation: header.correlation,
            epoch: header.epoch,
            body: bytes.slice(start + header.body_offset..end),
        })
    }

    /// What was sent in this form: its body is decompressed.
    pub(super) fn in_form(self, form: Form) -> Result<Envelope, WireError> {
        match form {
            Form::Plain => Ok(self),
            Form::Compressed => Ok(Envelope {
                body: decompress(&self.body)?,
                ..self
            }),
        }
    }

    pub(super) fn header_bytes(&self) -> HeaderBytes {
        const FITS: &str = "the longest header fits";
        let mut bytes = [0; ENVELOPE_HEADER_BYTES_MAX];
        let mut rest = &mut bytes[..];
        rmp::encode::write_array_len(&mut rest, FIELDS).expect(FITS);
        for number in [
            u64::from(self.kind as u8),
            u64::from(self.hops),
            self.from.0,
            self.to.0,
            self.correlation,
            self.epoch,
        ] {
            rmp::encode::write_uint(&mut rest, number).expect(FITS);
        }
        // Longer bodies than u32 can say are refused by whoever frames them, long before.
        let body_bytes = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        rmp::encode::write_bin_len(&mut rest, body_bytes).expect(FITS);
        let len = ENVELOPE_HEADER_BYTES_MAX - rest.len();
        HeaderBytes { bytes, len }
    }
}

impl EnvelopeHeader {
    /// Reads the header at the beginning of `bytes`, which must hold one envelope and nothing else.
    ///
    /// # Errors
    /// [`WireError`] where the bytes are anything else than one envelope, of whatever kind.
    pub fn peek(bytes: &[u8]) -> Result<EnvelopeHeader, WireError> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(WireError::EnvelopeTooLarge { bytes: bytes.len() });
        }
        let mut rest = bytes;
        if !rmp::decode::read_array_len(&mut rest).is_ok_and(|fields| fields == FIELDS) {
            return Err(WireError::Malformed { field: "array" });
        }
        let kind = read_int(&mut rest, "kind")?;
        let hops = read_int(&mut rest, "hops")?;
        let from = NodeId(read_int(&mut rest, "from")?);
        let to = NodeId(read_int(&mut rest, "to")?);
        let correlation = read_int(&mut rest, "correlation")?;
        let epoch = read_int(&mut rest, "epoch")?;
        let body_bytes = rmp::decode::read_bin_len(&mut rest).map_err(|_| WireError::Malformed { field: "body" })?;
        match rest.len().checked_sub(body_bytes as usize) {
            None => Err(WireError::Malformed { field: "body" }),
            Some(0) => {
                let body_offset = bytes.len() - rest.len();
                Ok(EnvelopeHeader {
                    kind,
                    hops,
                    from,
                    to,
                    correlation,
                    epoch,
                    body_offset,
                })
            }
            Some(trailing) => Err(WireError::TrailingBytes { bytes: trailing }),
        }
    }
}

impl HeaderBytes {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn read_int<T: TryFrom<u64>>(rest: &mut &[u8], field: &'static str) -> Result<T, WireError> {
    let number: u64 = rmp::decode::read_int(rest).map_err(|_| WireError::Malformed { field })?;
    T::try_from(number).map_err(|_| WireError::Malformed { field })
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Envelope {
            kind,
            hops,
            from,
            to,
            correlation,
            epoch,
            body,
        } = self;
        write!(
            f,
            "{from}->{to} {kind} correlation={correlation} hops={hops} epoch={epoch} body={}B",
            body.len()
        )
    }
}
