//! What a change would make of a key: worked out before anything is changed, so that it can still be refused.

use std::collections::BTreeMap;
use std::str;
use std::sync::Arc;

use bytes::Bytes;

use super::form::over_limit;
use super::{Memory, Value, record_bytes};
use crate::colony::command::{Condition, Content, ContentHash, GROWN_VALUE_BYTES_MAX, Key, Merge, Op, Refusal};
use crate::conflict::{COMMAND_MERGE_LINES_MAX, MERGE_LINES_MAX, MergeFailure, merge_lines, three_way};

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
    pub(super) value: Option<Value>,
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

impl MergeRoom {
    fn take(&mut self, lines: usize) -> Result<(), Refusal> {
        let left = self.0.checked_sub(lines);
        let over = COMMAND_MERGE_LINES_MAX - self.0 + lines;
        self.0 = left.ok_or_else(|| over_limit("merge_lines", over, COMMAND_MERGE_LINES_MAX))?;
        Ok(())
    }
}

impl Memory {
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

/// The tags of which one side at most has changed anything; `None` where both have, each otherwise.
fn merged_tags(base: &[Arc<str>], ours: &[Arc<str>], theirs: &[Arc<str>]) -> Option<Vec<Arc<str>>> {
    if theirs == base || ours == theirs {
        return Some(ours.to_vec());
    }
    (ours == base).then(|| theirs.to_vec())
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

fn wrong_type(key: &Key, wanted: &str) -> Refusal {
    Refusal::WrongType {
        key: key.clone(),
        wanted: wanted.into(),
    }
}

pub(super) fn check_grown_bytes(bytes: usize) -> Result<(), Refusal> {
    if bytes > GROWN_VALUE_BYTES_MAX {
        return Err(over_limit("grown_value_bytes", bytes, GROWN_VALUE_BYTES_MAX));
    }
    Ok(())
}
