//! Rates: how many tasks that use something may be begun in a time, in the whole cluster. A model that takes fifty requests
//! a minute is `rate:claude`, set to `50/min`.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`RateCommand::Set`] | door | colony | [`Outcome::Set`] | the rate of this name is this from now on |
//! | [`RateCommand::Delete`] | door | colony | [`Outcome::Set`] | there is no such rate any more |
//!
//! A rate has a **bucket** of tokens. It begins full, with `burst` tokens, and fills by `tokens` in each `interval_ms` of
//! cluster time, evenly, a millisecond at a time. A task names how many tokens of which rates a claim of it takes
//! ([`Terms::rates`]): a claim, or an offer, takes them all in the same step, or does not get the task. So in any time of t
//! milliseconds no more than `burst + tokens · t / interval_ms` tokens are taken, whoever claims on whichever node. This is
//! the virtual scheduling algorithm of ITU-T I.371 with the same counts, kept as what is left instead of as the time at
//! which it would be full; all of it is counted in whole numbers and nothing is rounded away.
//!
//! Tokens are not given back: not when an attempt fails, nor when an offer is not taken. A task that is claimed again takes
//! them again.
//!
//! Tasks that take the same tokens of a queue stand in lines of their own ([`super::task`]), so a claim passes over all of
//! them at once while their tokens are not there, and a claim that waits for one of them is looked at when they will be.
//! **What a task lacks is not taken by those behind it**: of the lines of a queue that fit a claim, one that goes first and
//! lacks tokens keeps the tokens that it lacks from the lines behind it. So a task that takes many tokens is not passed for
//! ever by those that take one, as long as they stand in one queue. Queues that use one rate are not compared with each
//! other: who claims first, or is looked at first, has the tokens.
//!
//! A rate that open tasks name is not deleted, and its burst does not fall below what one of them takes.
//!
//! [`Outcome::Set`]: super::Outcome::Set
//! [`Terms::rates`]: super::Terms::rates

mod rules;

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::command::Refusal;
use super::digest::Digest;
use super::memory::{malformed, over_limit};
use super::project::check_name;

/// How many rates a project may have.
pub const RATES_MAX: usize = 256;
/// How many tokens a rate may bring in its interval, and have at once.
pub const RATE_TOKENS_MAX: u32 = 1_000_000;
/// The shortest and the longest interval of a rate, in milliseconds of cluster time.
pub const RATE_INTERVAL_MS: (u64, u64) = (1, 24 * 3_600_000);
/// How many rates a task may name.
pub const TASK_RATES_MAX: usize = 8;

const RATE_DIGEST: u8 = b'l';

/// What is wanted of rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RateCommand {
    /// Make one, or change it: then its bucket keeps the tokens that it has, as far as they fit.
    Set {
        /// Its name.
        name: Arc<str>,
        /// What it is.
        settings: RateSettings,
    },
    /// Delete one that no open task names.
    Delete {
        /// Its name.
        name: Arc<str>,
    },
}

/// What a rate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateSettings {
    /// So many tokens, from 1 to [`RATE_TOKENS_MAX`] …
    pub tokens: u32,
    /// … in so many milliseconds of cluster time, within [`RATE_INTERVAL_MS`].
    pub interval_ms: u64,
    /// How many the bucket holds, from 1 to [`RATE_TOKENS_MAX`].
    pub burst: u32,
}

impl RateSettings {
    fn check_form(&self) -> Result<(), Refusal> {
        for (field, count) in [("tokens", self.tokens), ("burst", self.burst)] {
            check_count(field, count)?;
        }
        let (least, most) = RATE_INTERVAL_MS;
        match self.interval_ms {
            ms if ms < least => Err(malformed("interval_ms", &format!("{ms} is under the least, {least}"))),
            ms if ms > most => Err(over_limit("interval_ms", ms as usize, most as usize)),
            _ => Ok(()),
        }
    }
}

/// Tokens of a rate that a claim of a task takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tokens {
    /// The name of the rate.
    pub rate: Arc<str>,
    /// How many, from 1.
    pub count: u32,
}

/// A rate and its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    settings: RateSettings,
    /// What was left in the bucket at `since_ms`, in parts of tokens: a token has `interval_ms` of them, and a millisecond
    /// brings `tokens`.
    left: u64,
    since_ms: u64,
}

impl Rate {
    /// One that begins, with a full bucket.
    pub(crate) fn new(settings: RateSettings, now_ms: u64) -> Rate {
        let mut rate = Rate {
            settings,
            left: 0,
            since_ms: now_ms,
        };
        rate.left = rate.full();
        rate
    }

    /// What it is.
    pub fn settings(&self) -> RateSettings {
        self.settings
    }

    /// How many tokens it has.
    pub fn tokens_at(&self, now_ms: u64) -> u64 {
        self.left_at(now_ms) / self.settings.interval_ms
    }

    /// Cluster time in milliseconds at which it has so many tokens, if nobody takes any; `None` if it has them now.
    pub fn has_at_ms(&self, count: u32, now_ms: u64) -> Option<u64> {
        let lacks = self.parts(count).saturating_sub(self.left_at(now_ms));
        let wait_ms = lacks.div_ceil(self.settings.tokens.into());
        (lacks > 0).then(|| now_ms.saturating_add(wait_ms))
    }

    /// Whether it could have been made by a command: what is stored is not believed.
    pub(crate) fn is_sound(&self) -> bool {
        self.settings.check_form().is_ok() && self.left <= self.full()
    }

    /// What is left, in parts, and since when: for the tests.
    #[cfg(test)]
    pub(crate) fn bucket(&self) -> (u64, u64) {
        (self.left, self.since_ms)
    }

    fn parts(&self, count: u32) -> u64 {
        u64::from(count) * self.settings.interval_ms
    }

    fn full(&self) -> u64 {
        self.parts(self.settings.burst)
    }

    fn left_at(&self, now_ms: u64) -> u64 {
        let filled = now_ms
            .saturating_sub(self.since_ms)
            .saturating_mul(self.settings.tokens.into());
        self.left.saturating_add(filled).min(self.full())
    }

    /// The same with tokens taken out, which it has.
    fn without(self, count: u32, now_ms: u64) -> Rate {
        Rate {
            left: self.left_at(now_ms).saturating_sub(self.parts(count)),
            since_ms: now_ms,
            ..self
        }
    }

    /// The tokens that it has under other settings, as far as they fit.
    fn changed(self, settings: RateSettings, now_ms: u64) -> Rate {
        let left = u128::from(self.left_at(now_ms)) * u128::from(settings.interval_ms);
        let mut rate = Rate::new(settings, now_ms);
        // A token and its parts are far below 2^64.
        rate.left = ((left / u128::from(self.settings.interval_ms)) as u64).min(rate.full());
        rate
    }
}

/// The rates of a project.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    by_name: OrdMap<Arc<str>, Rate>,
    pub(crate) digest: Digest,
}

impl Rates {
    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Rate)> {
        self.by_name.iter()
    }

    /// The rate of this name.
    pub fn get(&self, name: &str) -> Option<&Rate> {
        self.by_name.get(name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Which of these tokens are not there now, and when they will be. One whose rate is not there never is.
    pub(crate) fn lacking<'a>(&self, wanted: &'a [Tokens], now_ms: u64) -> impl Iterator<Item = (&'a Arc<str>, u64)> {
        wanted.iter().filter_map(move |Tokens { rate, count }| {
            let at_ms = match self.by_name.get(rate) {
                Some(found) => found.has_at_ms(*count, now_ms)?,
                None => u64::MAX,
            };
            Some((rate, at_ms))
        })
    }

    /// Puts one in the place of what stood under its name, or takes it out.
    pub(crate) fn set(&mut self, name: &Arc<str>, rate: Option<Rate>) {
        if let Some(before) = self.by_name.remove(name) {
            self.digest.subtract(Digest::of(RATE_DIGEST, &(name, before)));
        }
        if let Some(rate) = rate {
            self.digest.add(Digest::of(RATE_DIGEST, &(name, rate)));
            self.by_name.insert(name.clone(), rate);
        }
    }
}

/// Whether a text may be the name of a rate: that of a project without an equals sign.
pub(crate) fn check_rate_name(field: &str, name: &str) -> Result<(), Refusal> {
    check_name(field, name)?;
    match name.contains('=') {
        true => Err(malformed(field, "has an equals sign")),
        false => Ok(()),
    }
}

/// The tokens that a task takes: few, sorted by rate, and of each rate once.
pub(crate) fn check_tokens_form(wanted: &[Tokens]) -> Result<(), Refusal> {
    if wanted.len() > TASK_RATES_MAX {
        return Err(over_limit("rates", wanted.len(), TASK_RATES_MAX));
    }
    for Tokens { rate, count } in wanted {
        check_rate_name("rates", rate)?;
        check_count("rates", *count)?;
    }
    match wanted.is_sorted_by(|a, b| a.rate < b.rate) {
        true => Ok(()),
        false => Err(malformed("rates", "are not sorted and distinct")),
    }
}

fn check_count(field: &str, count: u32) -> Result<(), Refusal> {
    match count {
        0 => Err(malformed(field, "0 is under the least, 1")),
        count if count > RATE_TOKENS_MAX => Err(over_limit(field, count as usize, RATE_TOKENS_MAX as usize)),
        _ => Ok(()),
    }
}
