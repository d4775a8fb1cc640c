//! Messages larger than a frame, put together again.

use bytes::Bytes;

use super::{ENVELOPE_BYTES_MAX, Envelope, Form, WireError};

/// How much a reassembler reserves on the word of the first fragment alone. The rest grows with what really arrives,
/// so that a peer cannot make a node reserve memory that it does not fill.
const RESERVED_BYTES: usize = 256 * 1024;

/// A piece of an encoded envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// How the whole envelope stands here.
    pub form: Form,
    /// The size of the whole encoded envelope.
    pub total: u32,
    /// Where the piece stands in it.
    pub offset: u32,
    /// The piece.
    pub bytes: Bytes,
}

/// Puts the fragments of one lane together. Within a lane they arrive in order and one message after the other, so
/// anything else means that the two ends disagree, and the link is closed.
#[derive(Debug, Default)]
pub struct Reassembler {
    form: Form,
    total: usize,
    bytes: Vec<u8>,
}

impl Reassembler {
    /// Whether a message has begun and not ended.
    pub fn is_pending(&self) -> bool {
        self.total > 0
    }

    /// Takes the next fragment; gives the whole envelope with the last one.
    ///
    /// # Errors
    /// [`WireError`] if the fragment is not the next one, or larger than allowed, or the whole is no envelope. The message is
    /// lost then.
    pub fn accept(&mut self, fragment: &Fragment) -> Result<Option<Envelope>, WireError> {
        let (total, offset) = (fragment.total as usize, fragment.offset as usize);
        if total > ENVELOPE_BYTES_MAX {
            return Err(WireError::EnvelopeTooLarge { bytes: total });
        }
        let expected_total = if self.is_pending() { self.total } else { total };
        if offset != self.bytes.len() || total != expected_total {
            let expected_offset = self.bytes.len();
            return Err(WireError::FragmentOrder {
                offset,
                total,
                expected_offset,
                expected_total,
            });
        }
        if fragment.bytes.is_empty() || fragment.bytes.len() > total - offset {
            return Err(WireError::FragmentSize {
                bytes: fragment.bytes.len(),
                offset,
                total,
            });
        }
        if self.is_pending() && fragment.form != self.form {
            return Err(WireError::Malformed {
                field: "form of a fragment",
            });
        }
        if !self.is_pending() {
            self.form = fragment.form;
            self.total = total;
            self.bytes.reserve(total.min(RESERVED_BYTES));
        }
        self.bytes.extend_from_slice(&fragment.bytes);
        if self.bytes.len() < total {
            return Ok(None);
        }
        self.total = 0;
        let whole = Bytes::from(std::mem::take(&mut self.bytes));
        Ok(Some(Envelope::decode(&whole)?.in_form(self.form)?))
    }

    /// Forgets a message that has not ended, because its link did.
    pub fn reset(&mut self) {
        *self = Reassembler::default();
    }
}
