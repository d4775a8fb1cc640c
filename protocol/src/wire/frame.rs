//! What one neighbour hands to the next.
//!
//! A frame is a header and items, all numbers big-endian:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 2 | magic `0x5172` |
//! | 2 | 1 | protocol version: the one that the greetings of the connection agreed on |
//! | 3 | 1 | flags, 0 |
//! | 4 | 4 | credit: bytes of items that the sender of this frame has handled since its last frame |
//! | 8 | 8 | session: drawn anew by the sender for each connection |
//! | 16 | 8 | credit session: the session of the peer that the credit is for, 0 if none |
//! | 24 | 4 | sequence: 0 for the first frame of a session, then one more for each |
//! | 28 | 4 | probe: the number of a question for the round trip, 0 if none is asked |
//! | 32 | 4 | echo: the number of the peer's question that this answers, 0 if none; of the credit session |
//! | 36 | | items |
//!
//! An item is a word of 4 bytes and what it announces. The word: bit 31 set for a fragment, bits 28 to 30 the lane,
//! bit 27 set where the body of the envelope is compressed, bits 0 to 26 the bytes that follow. What follows is an encoded
//! envelope, or for a fragment the size of the whole encoded envelope (4), the place of this piece in it (4), and the piece.

use bytes::{Buf, Bytes};

use super::{Envelope, FRAME_BYTES_MAX, Form, Fragment, Lane, PROTOCOL_VERSION, SPOKEN, WireError};
use crate::version::Versions;

/// The bytes of a frame in front of its items.
pub const FRAME_HEADER_BYTES: usize = 36;

/// The bytes in front of each item.
pub const ITEM_PREFIX_BYTES: usize = 4;

/// The bytes in front of the piece in a fragment, behind the item's own prefix.
pub const FRAGMENT_PREFIX_BYTES: usize = 8;

/// The largest piece that fits a frame of its own.
pub const FRAGMENT_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_HEADER_BYTES - ITEM_PREFIX_BYTES - FRAGMENT_PREFIX_BYTES;

const MAGIC: u16 = 0x5172;
const FRAGMENT_BIT: u32 = 1 << 31;
const LANE_SHIFT: u32 = 28;
const COMPRESSED_BIT: u32 = 1 << 27;
const LENGTH_MASK: u32 = COMPRESSED_BIT - 1;

/// What stands in front of the items of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The version of the frame.
    pub version: u8,
    /// Bytes of items that the sender has handled since its last frame.
    pub credit: u32,
    /// The session of the sender. Never 0.
    pub session: u64,
    /// The session of the receiver that the credit is for, 0 if the sender knows none.
    pub credit_session: u64,
    /// The number of the frame in its session.
    pub sequence: u32,
    /// The number of a question that the receiver answers with its next frame, at once; 0 for none.
    pub probe: u32,
    /// The number of the receiver's question that this frame answers, in the session that the credit is for; 0 for none.
    pub echo: u32,
}

impl Default for FrameHeader {
    fn default() -> FrameHeader {
        FrameHeader {
            version: PROTOCOL_VERSION,
            credit: 0,
            session: 0,
            credit_session: 0,
            sequence: 0,
            probe: 0,
            echo: 0,
        }
    }
}

/// A frame in the making. Its buffer becomes the frame: what is pushed is encoded once, in its final place.
#[derive(Debug)]
pub struct FrameBuilder {
    bytes: Vec<u8>,
}

/// Something that a frame carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A whole envelope.
    Envelope(Lane, Envelope),
    /// A piece of a larger one.
    Fragment(Lane, Fragment),
}

/// Reads a frame. Iterates over its items; ends after the first error that is fatal.
#[derive(Debug)]
pub struct FrameReader {
    header: FrameHeader,
    frame: Bytes,
    /// Where the next item begins.
    at: usize,
}

impl FrameBuilder {
    /// An empty frame whose buffer holds `item_bytes` of items before it grows.
    pub fn with_capacity(item_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + item_bytes);
        bytes.resize(FRAME_HEADER_BYTES, 0);
        FrameBuilder { bytes }
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == FRAME_HEADER_BYTES
    }

    /// The bytes of the items pushed so far, their prefixes included: what the receiver gives back as credit.
    pub fn item_bytes(&self) -> usize {
        self.bytes.len() - FRAME_HEADER_BYTES
    }

    /// The bytes of items for which there is still room.
    pub fn room(&self) -> usize {
        FRAME_BYTES_MAX.saturating_sub(self.bytes.len())
    }

    /// Appends an envelope, if it still fits. Returns the bytes that it took.
    pub fn push(&mut self, lane: Lane, envelope: &Envelope) -> Option<usize> {
        self.push_as(Form::Plain, lane, envelope)
    }

    /// Like [`FrameBuilder::push`], for an envelope whose body is compressed already, or is not.
    pub fn push_as(&mut self, form: Form, lane: Lane, envelope: &Envelope) -> Option<usize> {
        let header = envelope.header_bytes();
        let header = header.as_slice();
        let length = header.len() + envelope.body.len();
        if ITEM_PREFIX_BYTES + length > self.room() {
            return None;
        }
        // One reservation for the three writes below.
        self.bytes.reserve(ITEM_PREFIX_BYTES + length);
        self.bytes
            .extend_from_slice(&item_word(form, lane, length).to_be_bytes());
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(&envelope.body);
        Some(ITEM_PREFIX_BYTES + length)
    }

    /// Appends as much of the encoded envelope `head ++ body` from `offset` on as fits. Returns the bytes of it that
    /// were taken, 0 if not even one fits.
    pub fn push_fragment(&mut self, lane: Lane, head: &[u8], body: &[u8], offset: usize) -> usize {
        self.push_fragment_as(Form::Plain, lane, (head, body), offset)
    }

    /// Like [`FrameBuilder::push_fragment`], for an envelope whose body is compressed already, or is not.
    pub fn push_fragment_as(&mut self, form: Form, lane: Lane, (head, body): (&[u8], &[u8]), offset: usize) -> usize {
        let total = head.len() + body.len();
        let prefix = ITEM_PREFIX_BYTES + FRAGMENT_PREFIX_BYTES;
        let taken = self.room().saturating_sub(prefix).min(total - offset);
        if taken == 0 {
            return 0;
        }
        let word = item_word(form, lane, FRAGMENT_PREFIX_BYTES + taken) | FRAGMENT_BIT;
        self.bytes.reserve(prefix + taken);
        self.bytes.extend_from_slice(&word.to_be_bytes());
        self.bytes.extend_from_slice(&(total as u32).to_be_bytes());
        self.bytes.extend_from_slice(&(offset as u32).to_be_bytes());
        let end = offset + taken;
        if offset < head.len() {
            self.bytes.extend_from_slice(&head[offset..end.min(head.len())]);
        }
        if end > head.len() {
            self.bytes
                .extend_from_slice(&body[offset.saturating_sub(head.len())..end - head.len()]);
        }
        taken
    }

    /// Appends all items of another frame in the making, if they still fit.
    pub fn append(&mut self, other: &FrameBuilder) -> bool {
        let fits = other.item_bytes() <= self.room();
        if fits {
            self.bytes.extend_from_slice(&other.bytes[FRAME_HEADER_BYTES..]);
        }
        fits
    }

    /// The frame.
    pub fn finish(mut self, header: FrameHeader) -> Vec<u8> {
        let bytes = &mut self.bytes[..FRAME_HEADER_BYTES];
        bytes[0..2].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[2] = header.version;
        bytes[3] = 0;
        bytes[4..8].copy_from_slice(&header.credit.to_be_bytes());
        bytes[8..16].copy_from_slice(&header.session.to_be_bytes());
        bytes[16..24].copy_from_slice(&header.credit_session.to_be_bytes());
        bytes[24..28].copy_from_slice(&header.sequence.to_be_bytes());
        bytes[28..32].copy_from_slice(&header.probe.to_be_bytes());
        bytes[32..36].copy_from_slice(&header.echo.to_be_bytes());
        self.bytes
    }
}

impl FrameReader {
    /// Reads the header of `frame`, which may be of any version that this build speaks.
    ///
    /// # Errors
    /// [`WireError`] if the frame is larger than [`FRAME_BYTES_MAX`], shorter than a header, or not of this protocol
    /// and such a version.
    pub fn new(frame: impl Into<Bytes>) -> Result<Self, WireError> {
        FrameReader::speaking(SPOKEN, frame)
    }

    /// Like [`FrameReader::new`], for frames of these versions.
    ///
    /// # Errors
    /// As [`FrameReader::new`].
    pub fn speaking(spoken: Versions, frame: impl Into<Bytes>) -> Result<Self, WireError> {
        let frame: Bytes = frame.into();
        let bytes = frame.len();
        if bytes > FRAME_BYTES_MAX {
            return Err(WireError::FrameTooLarge { bytes });
        }
        if bytes < FRAME_HEADER_BYTES {
            return Err(WireError::FrameTooShort {
                bytes,
                min: FRAME_HEADER_BYTES,
            });
        }
        let mut head = &frame[..FRAME_HEADER_BYTES];
        let (magic, version, flags) = (head.get_u16(), head.get_u8(), head.get_u8());
        if magic != MAGIC {
            return Err(WireError::Magic { found: magic });
        }
        if !spoken.contains(version.into()) {
            return Err(WireError::Version { found: version, spoken });
        }
        if flags != 0 {
            return Err(WireError::Flags { found: flags });
        }
        let header = FrameHeader {
            version,
            credit: head.get_u32(),
            session: head.get_u64(),
            credit_session: head.get_u64(),
            sequence: head.get_u32(),
            probe: head.get_u32(),
            echo: head.get_u32(),
        };
        Ok(FrameReader {
            header,
            frame,
            at: FRAME_HEADER_BYTES,
        })
    }

    /// What stands in front of the items.
    pub fn header(&self) -> FrameHeader {
        self.header
    }

    /// The bytes of the items not read yet.
    pub fn item_bytes(&self) -> usize {
        self.frame.len() - self.at
    }

    fn read_item(&mut self) -> Result<Item, WireError> {
        let word = self.read_u32()?;
        let length = (word & LENGTH_MASK) as usize;
        let lane = Lane::try_from(((word >> LANE_SHIFT) & 0x7) as u8)?;
        let form = match word & COMPRESSED_BIT {
            0 => Form::Plain,
            _ => Form::Compressed,
        };
        let left = self.item_bytes();
        if length > left {
            return Err(WireError::ItemPastEnd { bytes: length, left });
        }
        let end = self.at + length;
        if word & FRAGMENT_BIT == 0 {
            let envelope = Envelope::decode_part(&self.frame, self.at, end);
            self.at = end;
            return Ok(Item::Envelope(lane, envelope?.in_form(form)?));
        }
        if length < FRAGMENT_PREFIX_BYTES {
            return Err(WireError::ItemPastEnd {
                bytes: FRAGMENT_PREFIX_BYTES,
                left: length,
            });
        }
        let (total, offset) = (self.read_u32()?, self.read_u32()?);
        let bytes = self.frame.slice(self.at..end);
        self.at = end;
        let fragment = Fragment {
            form,
            total,
            offset,
            bytes,
        };
        Ok(Item::Fragment(lane, fragment))
    }

    fn read_u32(&mut self) -> Result<u32, WireError> {
        let mut rest = &self.frame[self.at..];
        let number = rest.try_get_u32().map_err(|_| WireError::ItemPastEnd {
            bytes: 4,
            left: rest.len(),
        })?;
        self.at += 4;
        Ok(number)
    }
}

impl Iterator for FrameReader {
    type Item = Result<Item, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.frame.len() {
            return None;
        }
        let item = self.read_item();
        if item.as_ref().is_err_and(WireError::is_fatal) {
            self.at = self.frame.len();
        }
        Some(item)
    }
}

fn item_word(form: Form, lane: Lane, length: usize) -> u32 {
    debug_assert!(length <= LENGTH_MASK as usize, "an item is never larger than a frame");
    let compressed = match form {
        Form::Plain => 0,
        Form::Compressed => COMPRESSED_BIT,
    };
    (lane as u32) << LANE_SHIFT | compressed | length as u32
}
