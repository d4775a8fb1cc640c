//! The envelope of everything that this module puts on disk.
//!
//! ```text
//! byte   0  magic      u16   0x5152 ("QR")
//!        2  version    u8    1
//!        3  kind       u8    see `Kind`
//!        4  length     u32   of the payload, in bytes
//!        8  checksum   u32   over bytes 0 to 7, then the place, then the payload
//!       12  payload
//! ```
//! Integers are big-endian. The checksum is CRC-32 as in IEEE 802.3 (CRC-32/ISO-HDLC: polynomial 0x04C11DB7, reflected,
//! initial value and final xor 0xFFFFFFFF), by the `crc32fast` crate that sled and the log use as well; it finds the
//! same lengths of burst errors as CRC-32C. The *place* is the record's key in sled and empty in a file: a record that
//! turns up under another key does not pass.
//!
//! A payload with structure is bincode 1.3.3 with fixed-width little-endian integers. A new shape is a new kind, never
//! an edited struct.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Size of the envelope in front of the payload, in bytes.
pub const HEADER_BYTES: usize = 12;

const MAGIC: u16 = 0x5152;
const VERSION: u8 = 1;

/// What a record is. The numbers are on disk: they are never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// File `format`, and sled's first record: the format version as u32, big-endian.
    Format = 1,
    /// File `identity`: bincode.
    Identity = 2,
    /// A file below `notes/`: the bytes of its user.
    Note = 3,
    /// sled: the length of a value as u32, big-endian, and its first bytes.
    ValueHead = 4,
    /// sled: further bytes of a value.
    ValueRest = 5,
    /// File `store/synced`: the number of a pass as u64, big-endian.
    Synced = 6,
    /// The head of a snapshot file: see `consensus::snapshot`.
    Snapshot = 7,
    /// The head of a backup: see `backup`.
    Backup = 8,
    /// The end of a backup.
    BackupEnd = 9,
}

/// Why bytes are not the record that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Shorter than the envelope.
    #[error("{bytes} B are no record (at least {HEADER_BYTES} B)")]
    Short {
        /// Their number.
        bytes: usize,
    },
    /// Something else was written here.
    #[error("begins with {found:#06x} instead of {MAGIC:#06x}")]
    Magic {
        /// The first two bytes.
        found: u16,
    },
    /// An envelope of another version.
    #[error("record version {found}, known is {VERSION}")]
    Version {
        /// The version.
        found: u8,
    },
    /// A record of another kind.
    #[error("record kind {found}, expected {expected:?}")]
    Kind {
        /// The kind.
        found: u8,
        /// What should be here.
        expected: Kind,
    },
    /// The length does not fit the bytes, or is over the limit.
    #[error("a payload of {said} B in {present} B, limit {limit} B")]
    Length {
        /// What the envelope says, in bytes.
        said: usize,
        /// What follows the envelope, in bytes.
        present: usize,
        /// The largest payload of this kind, in bytes.
        limit: usize,
    },
    /// The bytes are not those that were written, or not here.
    #[error("checksum {found:#010x}, expected {expected:#010x}")]
    Checksum {
        /// Computed from the bytes.
        found: u32,
        /// In the envelope.
        expected: u32,
    },
    /// The payload is intact but is not what this kind holds.
    #[error("the payload cannot be decoded: {reason}")]
    Payload {
        /// What is wrong.
        reason: String,
    },
}

/// The record of `payload` for `place`, or `None` if the payload is 4 GiB or larger.
pub fn encode(kind: Kind, place: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok()?;
    let mut record = Vec::with_capacity(HEADER_BYTES + payload.len());
    record.extend_from_slice(&MAGIC.to_be_bytes());
    record.push(VERSION);
    record.push(kind as u8);
    record.extend_from_slice(&length.to_be_bytes());
    let checksum = checksum(&record, place, payload);
    record.extend_from_slice(&checksum.to_be_bytes());
    record.extend_from_slice(payload);
    Some(record)
}

/// The payload of a record that must be of `kind`, belong to `place`, and hold at most `limit` bytes.
///
/// # Errors
/// See [`RecordError`]; nothing is allocated.
pub fn decode<'a>(kind: Kind, place: &[u8], record: &'a [u8], limit: usize) -> Result<&'a [u8], RecordError> {
    let Some((head, payload)) = record.split_first_chunk::<HEADER_BYTES>() else {
        return Err(RecordError::Short { bytes: record.len() });
    };
    let [m0, m1, version, found_kind, l0, l1, l2, l3, c0, c1, c2, c3] = *head;
    let found = u16::from_be_bytes([m0, m1]);
    if found != MAGIC {
        return Err(RecordError::Magic { found });
    }
    if version != VERSION {
        return Err(RecordError::Version { found: version });
    }
    if found_kind != kind as u8 {
        return Err(RecordError::Kind {
            found: found_kind,
            expected: kind,
        });
    }
    let said = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if said != payload.len() || said > limit {
        return Err(RecordError::Length {
            said,
            present: payload.len(),
            limit,
        });
    }
    let expected = u32::from_be_bytes([c0, c1, c2, c3]);
    let found = checksum(&head[..8], place, payload);
    if found != expected {
        return Err(RecordError::Checksum { found, expected });
    }
    Ok(payload)
}

/// The bincode form of a payload with structure.
///
/// # Errors
/// If it would be larger than `limit` bytes.
pub(super) fn to_bytes<T: Serialize>(value: &T, limit: usize) -> Result<Vec<u8>, RecordError> {
    options(limit).serialize(value).map_err(|error| RecordError::Payload {
        reason: error.to_string(),
    })
}

/// The value of a payload with structure; trailing bytes are refused.
///
/// # Errors
/// If the bytes are not a `T`, or say that it is larger than `limit` bytes.
pub(super) fn from_bytes<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, RecordError> {
    options(limit).deserialize(bytes).map_err(|error| RecordError::Payload {
        reason: error.to_string(),
    })
}

/// The big-endian u32 of a `Format` record.
pub(super) fn format_version(payload: &[u8]) -> Result<u32, RecordError> {
    let bytes = payload.try_into().map_err(|_| RecordError::Payload {
        reason: format!("{} B, not 4", payload.len()),
    })?;
    Ok(u32::from_be_bytes(bytes))
}

fn options(limit: usize) -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(limit as u64)
}

fn checksum(head: &[u8], place: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(place);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes of a record do not change between versions of the program. Computed apart from it, by Python's `zlib`.
    #[test]
    fn vectors_are_fixed() {
        let cases: [(Kind, &[u8], &[u8], &str); 3] = [
            (
                Kind::Format,
                b"",
                &1u32.to_be_bytes(),
                "515201010000000486e75dc200000001",
            ),
            (Kind::Note, b"", b"", "5152010300000000c4187dda"),
            (
                Kind::ValueHead,
                b"key",
                b"\0\0\0\x03abc",
                "5152010400000007db5f5e0200000003616263",
            ),
        ];
        for (kind, place, payload, expected) in cases {
            let record = encode(kind, place, payload).unwrap();
            let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected, "{kind:?}");
            assert_eq!(decode(kind, place, &record, payload.len()), Ok(payload));
        }
    }

    proptest! {
        #[test]
        fn a_changed_bit_is_found(payload: Vec<u8>, place: Vec<u8>, at: prop::sample::Index, bit in 0..8) {
            let mut record = encode(Kind::ValueRest, &place, &payload).unwrap();
            let at = at.index(record.len());
            record[at] ^= 1_u8 << bit;
            prop_assert!(decode(Kind::ValueRest, &place, &record, usize::MAX).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>, mut place: Vec<u8>) {
            prop_assert!(decode(Kind::Note, &place, &bytes, 1 << 20).is_err());
            let record = encode(Kind::Note, &place, &bytes).unwrap();
            place.push(0);
            prop_assert!(decode(Kind::Note, &place, &record, 1 << 20).is_err());
            prop_assert!(decode(Kind::Note, &place[..place.len() - 1], &record[..record.len() - 1], 1 << 20).is_err());
        }
    }
}
