//! Values as sled's records.
//!
//! sled 0.34.7 writes a leaf larger than 131,052 B as a file of its own below `blobs/`, which it never syncs, and
//! splits a leaf only above 16 items. So a record (key and value together) stays within 7 KiB, and larger values become
//! several:
//!
//! ```text
//! key in sled    space u8 · key · number u16 (big-endian)
//! number 0       `ValueHead` record: length of the whole value u32 (big-endian) · its first bytes
//! number 1, 2 …  `ValueRest` records: the bytes that follow, all but the last one full
//! ```
//! How much a record takes follows from the length of the key, so the number of records follows from the lengths. A
//! value is whole if its records are numbered without a gap and their bytes add up.

use std::collections::BTreeMap;
use std::collections::HashMap;

use super::error::StoreError;
use super::record::{self, HEADER_BYTES, Kind, RecordError};

/// The largest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4 << 10;

/// The largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// Key and value of one sled record together, in bytes: 16 of them and a leaf's own overhead stay below 131,052 B.
const RECORD_BYTES_MAX: usize = 7 << 10;

/// Bytes in front of and behind the key in sled.
const KEY_OVERHEAD_BYTES: usize = 1 + 2;

/// Bytes of a head in front of the value's: its length.
const LENGTH_BYTES: usize = 4;

/// A record for sled: the key, and the bytes or a deletion.
pub(super) type Row = (Vec<u8>, Option<Vec<u8>>);

/// Splits values and remembers which have more than one record, so that a shorter value or a deletion removes what is
/// left of the longer one in the same batch.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// Key with its space, and the number of records behind the head, where there are any.
    rests: HashMap<Vec<u8>, u16>,
}

impl Splitter {
    /// The rows that make `value` the value of `key`, or delete it.
    ///
    /// # Errors
    /// `TooLarge`; nothing is remembered then.
    pub(super) fn split(
        &mut self,
        space: u8,
        key: &[u8],
        value: Option<&[u8]>,
        rows: &mut impl Extend<Row>,
    ) -> Result<(), StoreError> {
        check_size("key", key.len(), KEY_BYTES_MAX)?;
        let mut spaced = Vec::with_capacity(key.len() + KEY_OVERHEAD_BYTES);
        spaced.push(space);
        spaced.extend_from_slice(key);
        let rests = match value {
            None => {
                rows.extend([(numbered(&spaced, 0), None)]);
                0
            }
            Some(value) => {
                check_size("value", value.len(), VALUE_BYTES_MAX)?;
                split_value(&spaced, value, rows)
            }
        };
        let before = match rests {
            0 => self.rests.remove(&spaced),
            _ => self.rests.insert(spaced.clone(), rests),
        };
        rows.extend((rests..before.unwrap_or(0)).map(|stale| (numbered(&spaced, stale + 1), None)));
        Ok(())
    }
}

/// Joins the records of a whole store, or of a part that holds all records of its keys, in any order.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    values: BTreeMap<Vec<u8>, Parts>,
}

/// A value while its records come in.
#[derive(Debug, Default)]
struct Parts {
    length: Option<usize>,
    head: Vec<u8>,
    rests: BTreeMap<u16, Vec<u8>>,
}

/// Why records make no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JoinError {
    #[error("key {}: {source}", hex(key))]
    Record { key: Vec<u8>, source: RecordError },
    #[error("key {}: {present} of {said} B are there", hex(key))]
    Length { key: Vec<u8>, said: usize, present: usize },
    #[error("key {}: {what}", hex(key))]
    Shape { key: Vec<u8>, what: &'static str },
}

/// Values by key with its space, and the splitter that goes on from them.
pub(super) type Joined = (BTreeMap<Vec<u8>, Vec<u8>>, Splitter);

impl Joiner {
    /// Takes one record. Its key in sled has a space and a number.
    pub(super) fn add(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), JoinError> {
        let Some((spaced, number)) = key.split_last_chunk::<2>().filter(|(spaced, _)| !spaced.is_empty()) else {
            return Err(JoinError::Shape {
                key: key.to_vec(),
                what: "no key of a value",
            });
        };
        let number = u16::from_be_bytes(*number);
        let kind = if number == 0 { Kind::ValueHead } else { Kind::ValueRest };
        let payload = record::decode(kind, key, bytes, RECORD_BYTES_MAX).map_err(|source| JoinError::Record {
            key: key.to_vec(),
            source,
        })?;
        let parts = match self.values.get_mut(spaced) {
            Some(parts) => parts,
            None => self.values.entry(spaced.to_vec()).or_default(),
        };
        if number > 0 {
            parts.rests.insert(number, payload.to_vec());
            return Ok(());
        }
        let Some((length, head)) = payload.split_first_chunk::<LENGTH_BYTES>() else {
            return Err(JoinError::Shape {
                key: key.to_vec(),
                what: "a head without a length",
            });
        };
        parts.length = Some(u32::from_be_bytes(*length) as usize);
        parts.head = head.to_vec();
        Ok(())
    }

    /// The values, if all are whole.
    pub(super) fn finish(self) -> Result<Joined, JoinError> {
        let mut splitter = Splitter::default();
        let mut values = BTreeMap::new();
        for (key, parts) in self.values {
            let rests = parts.rests.len();
            if rests > 0 {
                splitter.rests.insert(key.clone(), rests as u16);
            }
            let value = parts.join(&key)?;
            values.insert(key, value);
        }
        Ok((values, splitter))
    }
}

impl Parts {
    fn join(self, key: &[u8]) -> Result<Vec<u8>, JoinError> {
        let Some(said) = self.length else {
            return Err(JoinError::Shape {
                key: key.to_vec(),
                what: "the first record is missing",
            });
        };
        let numbers = self.rests.keys().copied();
        if !numbers.eq(1..=self.rests.len() as u16) {
            return Err(JoinError::Shape {
                key: key.to_vec(),
                what: "a record in the middle is missing",
            });
        }
        let mut value = self.head;
        for rest in self.rests.into_values() {
            value.extend_from_slice(&rest);
        }
        if value.len() != said {
            return Err(JoinError::Length {
                key: key.to_vec(),
                said,
                present: value.len(),
            });
        }
        Ok(value)
    }
}

/// Pushes the records of `value` and says how many there are behind the head.
fn split_value(spaced: &[u8], value: &[u8], rows: &mut impl Extend<Row>) -> u16 {
    let room = RECORD_BYTES_MAX - spaced.len() - 2 - HEADER_BYTES;
    let first = value.len().min(room - LENGTH_BYTES);
    let (head, rest) = value.split_at(first);
    let mut payload = Vec::with_capacity(LENGTH_BYTES + head.len());
    payload.extend_from_slice(&(value.len() as u32).to_be_bytes());
    payload.extend_from_slice(head);
    rows.extend([row(Kind::ValueHead, spaced, 0, &payload)]);
    let mut rests = 0;
    for bytes in rest.chunks(room) {
        rests += 1;
        rows.extend([row(Kind::ValueRest, spaced, rests, bytes)]);
    }
    rests
}

fn row(kind: Kind, spaced: &[u8], number: u16, payload: &[u8]) -> Row {
    let key = numbered(spaced, number);
    let record = record::encode(kind, &key, payload).expect("a payload within 7 KiB has a length that fits");
    (key, Some(record))
}

fn numbered(spaced: &[u8], number: u16) -> Vec<u8> {
    let mut key = Vec::with_capacity(spaced.len() + 2);
    key.extend_from_slice(spaced);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn check_size(what: &'static str, bytes: usize, limit: usize) -> Result<(), StoreError> {
    if bytes > limit {
        return Err(StoreError::TooLarge { what, bytes, limit });
    }
    Ok(())
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

    fn apply(rows: &mut Rows, changes: Vec<Row>) {
        for (key, value) in changes {
            assert!(key.len() + value.as_ref().map_or(0, Vec::len) <= RECORD_BYTES_MAX);
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }

    fn join(rows: &Rows) -> Result<Joined, JoinError> {
        let mut joiner = Joiner::default();
        rows.iter().try_for_each(|(key, value)| joiner.add(key, value))?;
        joiner.finish()
    }

    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![0..20_usize, 7_000..7_300_usize, 14_000..14_400_usize, 0..60_000_usize]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn values_that_grow_shrink_and_go_leave_no_stale_record(
            // Keys that are prefixes of each other and end like a record's number.
            steps in prop::collection::vec((prop::collection::vec(0..2_u8, 0..4), prop::option::of(length())), 1..30),
        ) {
            let (mut rows, mut model, mut splitter) = (Rows::new(), BTreeMap::new(), Splitter::default());
            for (number, (key, length)) in steps.into_iter().enumerate() {
                let value = length.map(|length| vec![number as u8; length]);
                let mut changes = Vec::new();
                splitter.split(7, &key, value.as_deref(), &mut changes).unwrap();
                apply(&mut rows, changes);
                let spaced = [&[7], key.as_slice()].concat();
                match value {
                    Some(value) => model.insert(spaced, value),
                    None => model.remove(&spaced),
                };
                let (values, again) = join(&rows).unwrap();
                prop_assert_eq!(&values, &model);
                prop_assert_eq!(&again.rests, &splitter.rests);
            }
        }

        #[test]
        fn a_missing_record_is_noticed(length in 7_200..40_000_usize, missing: prop::sample::Index) {
            let (mut rows, mut changes) = (Rows::new(), Vec::new());
            Splitter::default().split(7, b"key", Some(&vec![1; length]), &mut changes).unwrap();
            apply(&mut rows, changes);
            let missing = rows.keys().nth(missing.index(rows.len())).unwrap().clone();
            rows.remove(&missing);
            prop_assert!(join(&rows).is_err());
        }
    }

    #[test]
    fn the_limits_are_refused_by_name_and_reached() {
        let mut rows = Vec::new();
        let largest = vec![1; VALUE_BYTES_MAX];
        let longest = vec![1; KEY_BYTES_MAX];
        Splitter::default()
            .split(7, &longest, Some(&largest), &mut rows)
            .unwrap();
        let rows: Rows = rows.into_iter().map(|(key, value)| (key, value.unwrap())).collect();
        assert_eq!(
            join(&rows).unwrap().0.into_values().next().unwrap().len(),
            VALUE_BYTES_MAX
        );
        let long = vec![1; KEY_BYTES_MAX + 1];
        let error = Splitter::default().split(7, &long, None, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "a key of 4097 B is over the limit of 4096 B");
        let large = vec![1; VALUE_BYTES_MAX + 1];
        let error = Splitter::default()
            .split(7, b"", Some(&large), &mut Vec::new())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "a value of 67108865 B is over the limit of 67108864 B"
        );
    }
}
