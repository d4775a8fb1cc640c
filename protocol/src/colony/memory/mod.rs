//! The collective memory of a project: records by key, and large contents kept once by their hash.

mod form;
mod prepare;

use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use serde::Serialize;

pub(crate) use self::form::{check_form, check_key, malformed, over_limit};
pub(crate) use self::prepare::{Growth, MergeRoom, Next, Unprepared};
use super::command::{ContentHash, Key, Refusal};
use super::digest::Digest;
use super::range::{Folders, GlobRoom, RangeState, Span};

/// Values of this many bytes and more are kept once by their hash, however many keys hold them.
pub const KEPT_BYTES_MIN: usize = 1024;

/// What a key holds and how it came to hold it. A deleted key keeps its record, so that its revision goes on counting.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// How often the key has been changed, deletions included. The first change gives 1.
    pub revision: u64,
    /// The value, or `None` after a deletion.
    pub value: Option<Value>,
    /// Sorted labels that travel with the value.
    pub tags: Vec<Arc<str>>,
    /// Who changed it last.
    pub author: Arc<str>,
    /// The position of the command that changed it last.
    pub seq: u64,
    /// Cluster time of that change, in milliseconds.
    pub changed_ms: u64,
    /// The digest of this record, as it stands in the project's sum.
    pub(crate) digest: Digest,
}

/// The bytes of a value and their hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// BLAKE3 of the bytes.
    pub hash: ContentHash,
    /// The bytes; shared with the content kept by hash, if it is.
    pub bytes: Bytes,
}

impl Value {
    /// The value of these bytes.
    pub fn of(bytes: Bytes) -> Value {
        Value {
            hash: ContentHash::of(&bytes),
            bytes,
        }
    }

    /// Whether the bytes are kept by hash, once for all keys that hold them.
    pub fn is_kept(&self) -> bool {
        self.bytes.len() >= KEPT_BYTES_MIN
    }
}

/// Content kept by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The bytes.
    pub bytes: Bytes,
    /// How many records hold it; it goes with the last.
    pub holders: u64,
}

/// The canonical form of a record: what the digest covers.
#[derive(Serialize)]
struct Canonical<'a> {
    key: &'a str,
    revision: u64,
    value: Option<(ContentHash, u64)>,
    tags: &'a [Arc<str>],
    author: &'a str,
    seq: u64,
    changed_ms: u64,
}

const RECORD_DIGEST: u8 = 1;

impl Record {
    /// What it counts under `key`, but for a value that is kept by its hash.
    fn bytes(&self, key: &str) -> u64 {
        record_bytes(key, self.value.as_ref(), &self.tags)
    }

    /// The digest of this record under `key`.
    pub(crate) fn compute_digest(&self, key: &str) -> Digest {
        let canonical = Canonical {
            key,
            revision: self.revision,
            value: self.value.as_ref().map(|value| (value.hash, value.bytes.len() as u64)),
            tags: &self.tags,
            author: &self.author,
            seq: self.seq,
            changed_ms: self.changed_ms,
        };
        Digest::of(RECORD_DIGEST, &canonical)
    }
}

/// What a record counts: its texts, and a fixed share for the rest. A value that is kept by its hash counts once for all.
fn record_bytes(key: &str, value: Option<&Value>, tags: &[Arc<str>]) -> u64 {
    let value = value
        .filter(|value| !value.is_kept())
        .map_or(0, |value| value.bytes.len());
    let tags = tags.iter().map(|tag| tag.len() + 16).sum::<usize>();
    (128 + key.len() + value + tags) as u64
}

/// The tag of what every agent is to know when it starts.
pub const PINNED_TAG: &str = "pinned";

/// The records and kept contents of one project.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub(crate) records: OrdMap<Key, Arc<Record>>,
    pub(crate) contents: OrdMap<ContentHash, Kept>,
    /// The keys whose records have the tag [`PINNED_TAG`].
    pinned: OrdSet<Key>,
    pub(crate) folders: Folders,
    pub(crate) digest: Digest,
    /// See [`Memory::bytes`].
    bytes: u64,
}

/// Who changes a key, and when.
pub(crate) struct Stamp<'a> {
    pub(crate) author: &'a Arc<str>,
    pub(crate) seq: u64,
    pub(crate) now_ms: u64,
}

impl Memory {
    /// The record of `key`, also of a deleted one.
    pub fn record(&self, key: &str) -> Option<&Arc<Record>> {
        self.records.get(key)
    }

    /// How often `key` has been changed; 0 for a key that was never written.
    pub fn revision(&self, key: &str) -> u64 {
        self.records.get(key).map_or(0, |record| record.revision)
    }

    /// The keys that have a value and the tag [`PINNED_TAG`], in order.
    pub fn pinned(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.pinned.iter()
    }

    /// The keys that begin with `prefix` and come after `after`, in order, deleted ones included.
    pub fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
        use std::ops::Bound;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.records
            .range::<_, str>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// What a range of keys holds.
    ///
    /// # Errors
    /// When the range is malformed, or a glob would look at too many keys.
    pub fn range_state(&self, span: &Span) -> Result<RangeState, Refusal> {
        span.check()?;
        span.state(self, &mut GlobRoom::default())
    }

    /// The content kept under `hash`.
    pub fn content(&self, hash: &ContentHash) -> Option<&Kept> {
        self.contents.get(hash)
    }

    /// How many contents are kept by hash, and their bytes in all.
    pub fn kept(&self) -> (u64, u64) {
        let bytes = self.contents.values().map(|kept| kept.bytes.len() as u64).sum();
        (self.contents.len() as u64, bytes)
    }

    /// What it counts towards the limit of its project: of each record, deleted ones included, the texts and 128 bytes, and
    /// of each content that is kept by its hash the bytes, once.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many keys have a value.
    pub fn live(&self) -> u64 {
        self.folders.state("").stamp.keys
    }

    /// How many keys there are, deleted ones included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no key was ever written.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Puts under `key` what was prepared for it, and returns the record. Contents that came or went are told to
    /// `content_changed`.
    pub(crate) fn set(
        &mut self,
        key: &Key,
        next: Next,
        tags: &[Arc<str>],
        stamp: &Stamp<'_>,
        content_changed: &mut dyn FnMut(ContentHash),
    ) -> Arc<Record> {
        let mut record = Record {
            revision: next.revision,
            value: next.value,
            tags: tags.to_vec(),
            author: stamp.author.clone(),
            seq: stamp.seq,
            changed_ms: stamp.now_ms,
            digest: Digest::default(),
        };
        record.digest = record.compute_digest(key);
        if let Some(hash) = self.hold_content(&mut record) {
            content_changed(hash);
        }
        let record = Arc::new(record);
        self.digest.add(record.digest);
        self.bytes += record.bytes(key);
        self.pin(key, &record);
        let old = self.records.insert(key.clone(), record.clone());
        self.folders.change(key, old.as_deref(), &record);
        if let Some(old) = old {
            self.digest.subtract(old.digest);
            self.bytes -= old.bytes(key);
            if let Some(value) = old.value.as_ref().filter(|value| value.is_kept()) {
                self.release(&value.hash, content_changed);
            }
        }
        record
    }

    /// Counts one more holder of a content, so that it stays until [`Memory::release`]; `false` when it is not kept.
    pub(crate) fn hold(&mut self, hash: &ContentHash) -> bool {
        let kept = self.contents.get_mut(hash);
        kept.map(|kept| kept.holders += 1).is_some()
    }

    /// Counts one holder less.
    pub(crate) fn release(&mut self, hash: &ContentHash, content_changed: &mut dyn FnMut(ContentHash)) {
        let kept = self.contents.get_mut(hash).expect("a held content is kept");
        kept.holders -= 1;
        if kept.holders == 0 {
            self.bytes -= kept.bytes.len() as u64;
            self.contents.remove(hash);
            content_changed(*hash);
        }
    }

    /// Takes the first key out, with its revision, because its project is destroyed; says which that was. The stamps of the
    /// folders are not kept up: nobody reads them any more.
    pub(crate) fn remove_first(&mut self, content_changed: &mut dyn FnMut(ContentHash)) -> Option<Key> {
        let key = self.records.get_min()?.0.clone();
        let old = self.records.remove(&key).expect("it was just found");
        self.digest.subtract(old.digest);
        self.bytes -= old.bytes(&key);
        self.pinned.remove(&key);
        self.folders.forget(&key, &old);
        if let Some(value) = old.value.as_ref().filter(|value| value.is_kept()) {
            self.release(&value.hash, content_changed);
        }
        Some(key)
    }

    /// Puts a record back that was stored or sent: kept contents are counted, the digest is summed.
    pub(crate) fn restore(&mut self, key: Key, mut record: Record) {
        record.digest = record.compute_digest(&key);
        self.hold_content(&mut record);
        self.digest.add(record.digest);
        self.bytes += record.bytes(&key);
        self.pin(&key, &record);
        self.folders.change(&key, None, &record);
        self.records.insert(key, Arc::new(record));
    }

    /// Counts a record among the holders of its content, which all share one copy of the bytes. Returns the hash of the
    /// content, if it is kept by its hash.
    fn hold_content(&mut self, record: &mut Record) -> Option<ContentHash> {
        let value = record.value.as_mut().filter(|value| value.is_kept())?;
        let kept = self.contents.entry(value.hash).or_insert_with(|| Kept {
            bytes: value.bytes.clone(),
            holders: 0,
        });
        kept.holders += 1;
        if kept.holders == 1 {
            self.bytes += kept.bytes.len() as u64;
        }
        value.bytes = kept.bytes.clone();
        Some(value.hash)
    }

    fn pin(&mut self, key: &Key, record: &Record) {
        let pinned = record.value.is_some() && record.tags.iter().any(|tag| &**tag == PINNED_TAG);
        match pinned {
            true => drop(self.pinned.insert(key.clone())),
            // Most keys never were.
            false if self.pinned.is_empty() => {}
            false => drop(self.pinned.remove(key)),
        }
    }
}
