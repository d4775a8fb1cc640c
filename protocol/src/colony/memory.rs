//! The collective memory of a project: records by key, and large contents kept once by their hash.

use std::collections::BTreeMap;
use std::str;
use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use serde::Serialize;

use super::command::{
    Condition, Content, ContentHash, GROWN_VALUE_BYTES_MAX, KEY_BYTES_MAX, Key, Merge, Op, Refusal, TAG_BYTES_MAX,
    TAGS_MAX, VALUE_BYTES_MAX,
};
use super::digest::Digest;
use super::range::{Folders, GlobRoom, RangeState, Span};
use crate::conflict::{COMMAND_MERGE_LINES_MAX, MERGE_LINES_MAX, MergeFailure, merge_lines, three_way};

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

/// By how much changes would make a memory grow, or shrink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) keys: i64,
    pub(crate) bytes: i64,
}

/// What a key holds before a change.
#[derive(Clone, Copy)]
pub(crate) struct Current<'a> {
    revision: u64,
    value: Option<&'a Value>,
    tags: &'a [Arc<str>],
}

/// What a change would leave under its key.
pub(crate) struct Next {
    pub(crate) revision: u64,
    value: Option<Value>,
    /// The tags, where they are not those of the change.
    pub(crate) tags: Option<Vec<Arc<str>>>,
    /// Whether texts of two writers were taken together.
    pub(crate) merged: bool,
}

/// Why a change cannot be made.
pub(crate) enum Unprepared {
    Refused(Refusal),
    /// It is a merge, and the texts do not go together.
    Unmerged(MergeFailure),
}

impl From<Refusal> for Unprepared {
    fn from(refusal: Refusal) -> Unprepared {
        Unprepared::Refused(refusal)
    }
}

/// How many lines the merges of one command may still take in.
pub(crate) struct MergeRoom(usize);

impl Default for MergeRoom {
    fn default() -> MergeRoom {
        MergeRoom(COMMAND_MERGE_LINES_MAX)
    }
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

    /// What `key` holds.
    pub(crate) fn current(&self, key: &str) -> Current<'_> {
        let record = self.records.get(key);
        Current {
            revision: record.map_or(0, |record| record.revision),
            value: record.and_then(|record| record.value.as_ref()),
            tags: record.map_or(&[], |record| &record.tags),
        }
    }

    /// What `op` would leave under `key`, which holds `current`. Changes nothing.
    pub(crate) fn prepare(
        &self,
        key: &Key,
        current: Current<'_>,
        op: &Op,
        tags: &[Arc<str>],
        room: &mut MergeRoom,
    ) -> Result<Next, Unprepared> {
        if let Op::Merge(merge) = op {
            return self.prepare_merge(key, current, merge, tags, room);
        }
        Ok(Next {
            revision: current.revision + 1,
            value: self.prepare_value(key, current.value, op)?,
            tags: None,
            merged: false,
        })
    }

    /// What a three-way merge would leave: base is what the writer saw, ours what stands there, theirs what it writes.
    fn prepare_merge(
        &self,
        key: &Key,
        current: Current<'_>,
        merge: &Merge,
        theirs_tags: &[Arc<str>],
        room: &mut MergeRoom,
    ) -> Result<Next, Unprepared> {
        let theirs = self.content_of(key, &merge.theirs)?;
        let base = merge.base.as_ref().map(|base| self.content_of(key, base)).transpose()?;
        let their_hash = theirs.hash;
        let next = |value: Value, tags: Vec<Arc<str>>| Next {
            revision: current.revision + 1,
            merged: value.hash != their_hash || tags != theirs_tags,
            value: Some(value),
            tags: Some(tags),
        };
        let (base, ours) = match (base, current.value) {
            (None, None) => return Ok(next(theirs, theirs_tags.to_vec())),
            (Some(_), None) => return Err(Unprepared::Unmerged(MergeFailure::Gone)),
            (None, Some(ours)) if ours.hash != theirs.hash => return Err(Unprepared::Unmerged(MergeFailure::Gone)),
            (base, Some(ours)) => (base.unwrap_or_else(|| ours.clone()), ours),
        };
        let tags = merged_tags(&merge.base_tags, current.tags, theirs_tags);
        let tags = tags.ok_or(Unprepared::Unmerged(MergeFailure::Tags))?;
        if theirs.hash == base.hash {
            return Ok(next(ours.clone(), tags));
        }
        if ours.hash == base.hash || ours.hash == theirs.hash {
            return Ok(next(theirs, tags));
        }
        let lines = merge_lines([&base.bytes, &ours.bytes, &theirs.bytes]);
        if lines <= MERGE_LINES_MAX {
            room.take(lines)?;
        }
        let merged = three_way(&base.bytes, &ours.bytes, &theirs.bytes).map_err(Unprepared::Unmerged)?;
        Ok(next(Value::of(merged.into()), tags))
    }

    fn content_of(&self, key: &Key, content: &Content) -> Result<Value, Refusal> {
        match content {
            Content::Inline(bytes) => Ok(Value::of(bytes.clone())),
            Content::Kept(hash) => self.prepare_kept(key, hash),
        }
    }

    fn prepare_value(&self, key: &Key, current: Option<&Value>, op: &Op) -> Result<Option<Value>, Refusal> {
        let bytes = match op {
            Op::Delete => return Ok(None),
            Op::Merge(_) => unreachable!("a merge is prepared by itself"),
            Op::Put(Content::Kept(hash)) => return self.prepare_kept(key, hash).map(Some),
            Op::Put(Content::Inline(bytes)) => bytes.clone(),
            Op::Increment(step) => {
                let number = whole_number(key, current)?.unwrap_or(0);
                let sum = number
                    .checked_add(*step)
                    .ok_or_else(|| wrong_type(key, "a number with room for the step"))?;
                Bytes::from(sum.to_string())
            }
            Op::Max(least) => {
                let number = whole_number(key, current)?.unwrap_or(*least);
                Bytes::from(number.max(*least).to_string())
            }
            Op::Append(tail) => match current {
                None => tail.clone(),
                Some(value) => {
                    check_grown_bytes(value.bytes.len() + tail.len())?;
                    Bytes::from([&value.bytes[..], &tail[..]].concat())
                }
            },
            Op::SetAdd(line) => {
                // Asked first: a long value is not to be taken apart.
                check_grown_bytes(current.map_or(0, |value| value.bytes.len()))?;
                let lines = add_line(key, current, line)?;
                check_grown_bytes(lines.len())?;
                lines
            }
        };
        Ok(Some(Value::of(bytes)))
    }

    fn prepare_kept(&self, key: &Key, hash: &ContentHash) -> Result<Value, Refusal> {
        match self.contents.get(hash) {
            Some(kept) => Ok(Value {
                hash: *hash,
                bytes: kept.bytes.clone(),
            }),
            None => Err(Refusal::MissingContent {
                key: key.clone(),
                hash: *hash,
            }),
        }
    }

    /// By how much these changes, each of another key, would make it grow.
    pub(crate) fn growth<'c>(&self, changes: impl IntoIterator<Item = (&'c Key, &'c Next, &'c [Arc<str>])>) -> Growth {
        let mut growth = Growth::default();
        // Of each content the change in holders, and its length.
        let mut contents: BTreeMap<ContentHash, (i64, i64)> = BTreeMap::new();
        let mut hold = |value: Option<&Value>, holders: i64| {
            if let Some(value) = value.filter(|value| value.is_kept()) {
                let content = contents.entry(value.hash).or_insert((0, value.bytes.len() as i64));
                content.0 += holders;
            }
        };
        for (key, next, tags) in changes {
            let tags = next.tags.as_deref().unwrap_or(tags);
            growth.keys += i64::from(next.value.is_some());
            growth.bytes += record_bytes(key, next.value.as_ref(), tags) as i64;
            hold(next.value.as_ref(), 1);
            if let Some(old) = self.records.get(key) {
                growth.keys -= i64::from(old.value.is_some());
                growth.bytes -= old.bytes(key) as i64;
                hold(old.value.as_ref(), -1);
            }
        }
        for (hash, (change, bytes)) in contents {
            let holders = self.contents.get(&hash).map_or(0, |kept| kept.holders as i64);
            growth.bytes += bytes * (i64::from(holders + change > 0) - i64::from(holders > 0));
        }
        growth
    }

    /// By how much it has grown in `after`.
    pub(crate) fn growth_to(&self, after: &Memory) -> Growth {
        Growth {
            keys: after.live() as i64 - self.live() as i64,
            bytes: after.bytes as i64 - self.bytes as i64,
        }
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
        if let Some(value) = record.value.as_ref().filter(|value| value.is_kept()) {
            let kept = self.contents.entry(value.hash).or_insert_with(|| Kept {
                bytes: value.bytes.clone(),
                holders: 0,
            });
            kept.holders += 1;
            if kept.holders == 1 {
                self.bytes += kept.bytes.len() as u64;
            }
            // All holders share one copy of the bytes.
            let bytes = kept.bytes.clone();
            record.value = Some(Value {
                hash: value.hash,
                bytes,
            });
            content_changed(record.value.as_ref().expect("it was just put there").hash);
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
        if let Some(value) = record.value.as_mut().filter(|value| value.is_kept()) {
            let kept = self.contents.entry(value.hash).or_insert_with(|| Kept {
                bytes: value.bytes.clone(),
                holders: 0,
            });
            kept.holders += 1;
            if kept.holders == 1 {
                self.bytes += kept.bytes.len() as u64;
            }
            value.bytes = kept.bytes.clone();
        }
        self.digest.add(record.digest);
        self.bytes += record.bytes(&key);
        self.pin(&key, &record);
        self.folders.change(&key, None, &record);
        self.records.insert(key, Arc::new(record));
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

impl MergeRoom {
    fn take(&mut self, lines: usize) -> Result<(), Refusal> {
        let left = self.0.checked_sub(lines);
        let over = COMMAND_MERGE_LINES_MAX - self.0 + lines;
        self.0 = left.ok_or_else(|| over_limit("merge_lines", over, COMMAND_MERGE_LINES_MAX))?;
        Ok(())
    }
}

/// The tags of which one side at most has changed anything; `None` where both have, each otherwise.
fn merged_tags(base: &[Arc<str>], ours: &[Arc<str>], theirs: &[Arc<str>]) -> Option<Vec<Arc<str>>> {
    if theirs == base || ours == theirs {
        return Some(ours.to_vec());
    }
    (ours == base).then(|| theirs.to_vec())
}

impl Current<'_> {
    /// Whether `condition` holds of `key`, which this is the state of.
    pub(crate) fn check(self, key: &Key, condition: Condition) -> Result<(), Refusal> {
        let Current { revision, value, .. } = self;
        let holds = match condition {
            Condition::None => true,
            Condition::IfAbsent => value.is_none(),
            Condition::IfRevision(wanted) => revision == wanted,
        };
        if holds {
            Ok(())
        } else {
            Err(Refusal::Condition {
                key: key.clone(),
                revision,
                present: value.is_some(),
            })
        }
    }
}

/// Checks the form of a key.
pub(crate) fn check_key(key: &Key) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(malformed("key", "is empty"));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(over_limit("key_bytes", key.len(), KEY_BYTES_MAX));
    }
    if key.chars().any(|c| c == '\0') {
        return Err(malformed("key", "has a NUL character"));
    }
    Ok(())
}

/// Checks the form of a change: its key, its tags, and what can be told of the operation without the state.
pub(crate) fn check_form(key: &Key, tags: &[Arc<str>], op: &Op) -> Result<(), Refusal> {
    check_key(key)?;
    check_tags(tags)?;
    match op {
        Op::Put(Content::Inline(bytes)) if bytes.len() > VALUE_BYTES_MAX => {
            Err(over_limit("value_bytes", bytes.len(), VALUE_BYTES_MAX))
        }
        Op::Merge(merge) => {
            let contents = merge.base.iter().chain([&merge.theirs]);
            let bytes = contents.map(|content| match content {
                Content::Inline(bytes) => bytes.len(),
                Content::Kept(_) => 0,
            });
            let bytes = bytes.max().unwrap_or_default();
            match bytes > VALUE_BYTES_MAX {
                true => Err(over_limit("value_bytes", bytes, VALUE_BYTES_MAX)),
                false => check_tags(&merge.base_tags),
            }
        }
        Op::Append(bytes) => check_grown_bytes(bytes.len()),
        Op::SetAdd(line) if line.contains('\n') => Err(malformed("set_add", "a line of a set has no line break")),
        _ => Ok(()),
    }
}

fn check_tags(tags: &[Arc<str>]) -> Result<(), Refusal> {
    if tags.len() > TAGS_MAX {
        return Err(over_limit("tags", tags.len(), TAGS_MAX));
    }
    if let Some(tag) = tags.iter().find(|tag| tag.len() > TAG_BYTES_MAX) {
        return Err(over_limit("tag_bytes", tag.len(), TAG_BYTES_MAX));
    }
    if !tags.is_sorted_by(|a, b| a < b) {
        return Err(malformed("tags", "are not sorted and distinct"));
    }
    Ok(())
}

fn check_grown_bytes(bytes: usize) -> Result<(), Refusal> {
    if bytes > GROWN_VALUE_BYTES_MAX {
        return Err(over_limit("grown_value_bytes", bytes, GROWN_VALUE_BYTES_MAX));
    }
    Ok(())
}

pub(crate) fn over_limit(field: &str, value: usize, limit: usize) -> Refusal {
    Refusal::OverLimit {
        field: field.into(),
        value: value as u64,
        limit: limit as u64,
    }
}

pub(crate) fn malformed(field: &str, problem: &str) -> Refusal {
    Refusal::Malformed {
        field: field.into(),
        problem: problem.into(),
    }
}

fn wrong_type(key: &Key, wanted: &str) -> Refusal {
    Refusal::WrongType {
        key: key.clone(),
        wanted: wanted.into(),
    }
}

fn text<'a>(key: &Key, value: &'a Value, wanted: &str) -> Result<&'a str, Refusal> {
    str::from_utf8(&value.bytes).map_err(|_| wrong_type(key, wanted))
}

fn whole_number(key: &Key, current: Option<&Value>) -> Result<Option<i64>, Refusal> {
    let wanted = "a whole number of 64 bits";
    let Some(value) = current else { return Ok(None) };
    text(key, value, wanted)?
        .parse()
        .map(Some)
        .map_err(|_| wrong_type(key, wanted))
}

fn add_line(key: &Key, current: Option<&Value>, line: &str) -> Result<Bytes, Refusal> {
    let Some(value) = current else {
        return Ok(Bytes::copy_from_slice(line.as_bytes()));
    };
    let mut lines: Vec<&str> = text(key, value, "lines of UTF-8 text")?.split('\n').collect();
    // Asked first: what a binary search answers on unsorted lines is the standard library's choice.
    if !lines.is_sorted() {
        return Err(wrong_type(key, "sorted lines"));
    }
    match lines.binary_search(&line) {
        Ok(_) => Ok(value.bytes.clone()),
        Err(place) => {
            lines.insert(place, line);
            Ok(Bytes::from(lines.join("\n")))
        }
    }
}
