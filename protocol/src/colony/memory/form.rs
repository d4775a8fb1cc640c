//! The form that a change must have, whatever stands at its key.

use std::str;
use std::sync::Arc;

use super::prepare::check_grown_bytes;
use crate::colony::command::{Content, KEY_BYTES_MAX, Key, Op, Refusal, TAG_BYTES_MAX, TAGS_MAX, VALUE_BYTES_MAX};

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
