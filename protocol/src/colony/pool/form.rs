//! What the settings of a pool may be, before anything else is looked at.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{
    POOL_AGENTS_MAX, POOL_ARGUMENTS_BYTES_MAX, POOL_IDLE_MS_MAX, POOL_KINDS_MAX, POOL_LABEL_BYTES_MAX, POOL_LABELS_MAX,
    POOL_NAME_BYTES_MAX, POOL_SLOTS_MAX, Pool, PoolSettings, RECYCLE_AGE_MS, RECYCLE_COUNT_MAX,
    RECYCLE_MEMORY_BYTES_MAX, Recycle,
};
use crate::colony::command::{NAME_BYTES_MAX, Refusal};
use crate::colony::epoch::MEMBERS_MAX;
use crate::colony::memory::{malformed, over_limit};
use crate::colony::project::check_name;
use crate::colony::task::CAPABILITIES_MAX;
use crate::id::NodeId;

/// Whether a pool may be called so.
pub(super) fn check_pool_name(name: &str) -> Result<(), Refusal> {
    if name.len() > POOL_NAME_BYTES_MAX {
        return Err(over_limit("pool", name.len(), POOL_NAME_BYTES_MAX));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    // The names of steps in a path can stand in no URL.
    match name.is_empty() || matches!(name, "." | "..") || !name.bytes().all(allowed) {
        true => Err(malformed(
            "pool",
            "is empty, a step of a path, or has other characters than letters, digits, - _ and .",
        )),
        false => Ok(()),
    }
}

impl PoolSettings {
    /// Whether all of it is within its bounds, and a pool may be called so.
    ///
    /// # Errors
    /// The first field that is not, with its bound.
    pub fn check(&self, name: &str) -> Result<(), Refusal> {
        check_pool_name(name)?;
        self.check_form()
    }

    /// Whether all of it is within its bounds.
    ///
    /// # Errors
    /// The first field that is not, with its bound.
    pub fn check_form(&self) -> Result<(), Refusal> {
        check_name("project", &self.project)?;
        for (field, name) in [("queue", &self.queue), ("behaviour", &self.behaviour)] {
            check_word(field, name)?;
        }
        check_words("kinds", &self.kinds, POOL_KINDS_MAX)?;
        check_words("capabilities", &self.capabilities, CAPABILITIES_MAX)?;
        if self.arguments.len() > POOL_ARGUMENTS_BYTES_MAX {
            return Err(over_limit("arguments", self.arguments.len(), POOL_ARGUMENTS_BYTES_MAX));
        }
        check_labels("placement", &self.placement)?;
        check_labels("labels", &self.labels)?;
        let agents = 1..=u64::from(POOL_AGENTS_MAX);
        check_number("slots", self.slots.into(), 1..=POOL_SLOTS_MAX.into())?;
        check_number("max", self.max.into(), agents.clone())?;
        check_number("per_node_max", self.per_node_max.into(), agents)?;
        check_number("min_idle", self.min_idle.into(), 0..=self.max.into())?;
        check_number("idle_ms", self.idle_ms, 0..=POOL_IDLE_MS_MAX)?;
        self.recycle.check_form()
    }
}

impl Recycle {
    fn check_form(&self) -> Result<(), Refusal> {
        let (least_ms, most_ms) = RECYCLE_AGE_MS;
        let fields = [
            ("recycle.after_tasks", self.after_tasks, 1..=RECYCLE_COUNT_MAX),
            ("recycle.memory_bytes", self.memory_bytes, 1..=RECYCLE_MEMORY_BYTES_MAX),
            ("recycle.age_ms", self.age_ms, least_ms..=most_ms),
            ("recycle.failures", self.failures, 1..=RECYCLE_COUNT_MAX),
        ];
        let said = fields
            .into_iter()
            .filter_map(|(field, value, bounds)| Some((field, value?, bounds)));
        for (field, value, bounds) in said {
            check_number(field, value, bounds)?;
        }
        Ok(())
    }
}

impl Pool {
    /// Whether it could have been made by commands: what is stored is not believed.
    pub(crate) fn is_sound(&self, name: &str) -> bool {
        let shares = self.shares.values().map(|share| u64::from(*share));
        let bounded = self.shares.len() <= MEMBERS_MAX && shares.sum::<u64>() <= POOL_AGENTS_MAX.into();
        let shared = bounded && !self.shares.values().any(|share| *share == 0);
        check_pool_name(name).is_ok() && self.settings.check_form().is_ok() && shared
    }

    /// Whether its agents may be shared so.
    pub(super) fn check_shares(&self, shares: &BTreeMap<NodeId, u32>) -> Result<(), Refusal> {
        if shares.len() > MEMBERS_MAX {
            return Err(over_limit("shares", shares.len(), MEMBERS_MAX));
        }
        if self.drained && !shares.is_empty() {
            return Err(malformed("shares", "the pool is drained"));
        }
        let PoolSettings { max, per_node_max, .. } = self.settings;
        for share in shares.values() {
            check_number("share", (*share).into(), 1..=per_node_max.into())?;
        }
        let sum: u64 = shares.values().map(|share| u64::from(*share)).sum();
        check_number("shares", sum, 0..=max.into())
    }
}

fn check_number(field: &str, value: u64, bounds: RangeInclusive<u64>) -> Result<(), Refusal> {
    let (least, most) = bounds.into_inner();
    match value {
        value if value < least => Err(malformed(field, &format!("{value} is under the least, {least}"))),
        value if value > most => Err(over_limit(field, value as usize, most as usize)),
        _ => Ok(()),
    }
}

fn check_word(field: &str, word: &str) -> Result<(), Refusal> {
    if word.len() > NAME_BYTES_MAX {
        return Err(over_limit(field, word.len(), NAME_BYTES_MAX));
    }
    match word.is_empty() || word.chars().any(char::is_control) {
        true => Err(malformed(field, "is empty or has a control character")),
        false => Ok(()),
    }
}

fn check_words(field: &str, words: &[Arc<str>], most: usize) -> Result<(), Refusal> {
    if words.len() > most {
        return Err(over_limit(field, words.len(), most));
    }
    words.iter().try_for_each(|word| check_word(field, word))?;
    match words.is_sorted_by(|a, b| a < b) {
        true => Ok(()),
        false => Err(malformed(field, "are not sorted and distinct")),
    }
}

fn check_labels(field: &str, labels: &BTreeMap<Arc<str>, Arc<str>>) -> Result<(), Refusal> {
    if labels.len() > POOL_LABELS_MAX {
        return Err(over_limit(field, labels.len(), POOL_LABELS_MAX));
    }
    let (name_bytes, value_bytes) = POOL_LABEL_BYTES_MAX;
    for (name, value) in labels {
        for (text, most) in [(name, name_bytes), (value, value_bytes)] {
            if text.len() > most {
                return Err(over_limit(field, text.len(), most));
            }
            if text.chars().any(|c| c.is_control() || c == ',') {
                return Err(malformed(field, "have a comma or a control character"));
            }
        }
        if name.is_empty() || name.contains('=') {
            return Err(malformed(field, "have a name that is empty or has an equals sign"));
        }
    }
    Ok(())
}
