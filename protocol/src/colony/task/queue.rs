//! The queues of a project: which of the ready tasks a claim gets, and when a queue hands out nothing.
//!
//! The ready tasks of a queue stand in **lines**, one for each (lane, kind, capabilities that are required, tokens that a
//! claim takes), the cheapest first and the oldest of those; a lane is a priority and a latency tier. A claim looks at the heads of the lines that it
//! fits, and takes the one in the best lane, of those the cheapest, and of those the oldest: O(log n) in the tasks, and at
//! most [`GROUPS_MAX`] kinds, requirements and tokens for each of the twelve lanes. Lines whose tokens are not there hand
//! out nothing ([`crate::colony::rate`]). A task that says no cost, or 0, counts as one of
//! [`COST_DEFAULT`]: where nobody says any, the oldest goes first.
//!
//! **Nothing starves.** Each line counts the grants of cheaper tasks that came later than its oldest one, from 0 again with
//! the grant of that. Once they are [`CHEAPER_MAX`], the oldest goes before all others of its line and lane. So while claims
//! fit it, a task that m of its line are older than is passed by at most (m + 1) · CHEAPER_MAX cheaper ones of its line that
//! came later.
//!
//! Among lines, the queue counts the grants that it makes while others wait, and each line remembers the count at
//! its last one. A line of a queue with n lines that has not had a grant for [`PASSES_MAX`] · n of them has its turn before
//! all better lanes, the one that has waited longest first. So while claims fit it, the head of a line is passed by at most
//! (PASSES_MAX + 1) · n grants, and all lines together take at most one of PASSES_MAX grants from better lanes.
//!
//! Which of the claims that wait for a task of the queue gets it is another question: see [`super::wait`].
//!
//! [`COST_DEFAULT`]: super::COST_DEFAULT
//! [`CHEAPER_MAX`]: super::CHEAPER_MAX
//!
//! A queue may be paused, and may have a **circuit breaker**: after some failures in a row it hands out nothing for a
//! while, then one task for trial, and goes on when that one is done.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::gate::{Gate, Open};
use super::line::{Enough, Line, LineKey, Pick, Rank};
use super::wait::{Distribution, Waiting};
use super::{Task, TaskId, Terms};
use crate::colony::command::Refusal;
use crate::colony::digest::Digest;
use crate::colony::memory::{malformed, over_limit};
use crate::colony::rate::Tokens;

/// How many queues of a project may have open tasks or settings.
pub const QUEUES_MAX: usize = 1_024;
/// How many different (kind, requirements, tokens) the open tasks of a queue may have.
pub const GROUPS_MAX: usize = 128;
/// After how many grants for each line of the queue a line that others pass has its turn.
pub const PASSES_MAX: u64 = 16;
/// How many failures in a row a breaker may bear.
pub const BREAKER_FAILURES_MAX: u32 = 10_000;
/// The shortest and the longest time for which a breaker may stay open, in milliseconds of cluster time.
pub const BREAKER_PAUSE_MS: (u64, u64) = (100, 24 * 3_600_000);

const QUEUE_DIGEST: u8 = b'q';

/// Changes the settings of a queue. What it does not say stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueChange {
    /// The queue.
    pub queue: Arc<str>,
    /// Whether it hands out nothing until it is told to go on.
    pub paused: Option<bool>,
    /// Its circuit breaker; a new one is closed. One that bears 0 failures is none.
    pub breaker: Option<BreakerSettings>,
    /// Which of the claims that wait gets a task.
    pub distribution: Option<Distribution>,
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerSettings {
    /// After so many failures in a row; 0 for none.
    pub failures: u32,
    /// For so long, in milliseconds of cluster time.
    pub pause_ms: u64,
}

/// How a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Breaker {
    /// The queue hands out tasks.
    Closed {
        /// How many failures there were since the last success.
        failures: u32,
    },
    /// It hands out nothing.
    Open {
        /// Cluster time in milliseconds from which on it hands out one task for trial.
        until_ms: u64,
    },
    /// It waits for what becomes of one task.
    HalfOpen {
        /// The task.
        trial: TaskId,
    },
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker::Closed { failures: 0 }
    }
}

/// What tasks ask for: a kind, capabilities, and tokens.
type Group = (Option<Arc<str>>, Vec<Arc<str>>, Vec<Tokens>);

/// A queue: made with its first open task or its first setting, gone with the last.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// Who paused it.
    pub(crate) paused_by: Option<Arc<str>>,
    pub(crate) settings: BreakerSettings,
    pub(crate) breaker: Breaker,
    /// The grants that were made while there was more than one line.
    grants: u64,
    lines: OrdMap<LineKey, Line>,
    /// The open tasks of each kind, requirements and tokens.
    groups: OrdMap<Group, usize>,
    open: usize,
    pub(super) distribution: Distribution,
    /// The offers that it made while claims waited.
    pub(super) offers: u64,
    /// The position at which the owner began that had the last of them.
    pub(super) last: u64,
    /// Cluster time in milliseconds at which it is looked at because it may owe tasks to claims that wait; 0 for at once.
    pub(super) owes_ms: Option<u64>,
    pub(super) waiting: Waiting,
    pub(crate) digest: Digest,
}

/// A queue as it is stored: its lines without their tasks, which follow from the tasks.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredQueue {
    paused_by: Option<Arc<str>>,
    settings: BreakerSettings,
    breaker: Breaker,
    grants: u64,
    /// Of each the count of grants at its last one, and how many cheaper tasks have passed its oldest.
    lines: Vec<(LineKey, u64, u64)>,
    distribution: Distribution,
    offers: u64,
    last: u64,
    owes_ms: Option<u64>,
}

/// Why a queue hands out nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueClosed {
    /// Somebody has paused it.
    Paused(Arc<str>),
    /// Its breaker is open until this cluster time in milliseconds.
    Open(u64),
    /// Its breaker waits for what becomes of this task.
    Trial(TaskId),
}

impl fmt::Display for QueueClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueueClosed::Paused(by) => write!(f, "its queue is paused by {by}"),
            QueueClosed::Open(until_ms) => {
                write!(
                    f,
                    "the breaker of its queue is open until {until_ms} ms of cluster time"
                )
            }
            QueueClosed::Trial(trial) => write!(f, "the breaker of its queue waits for task {trial}"),
        }
    }
}

impl Queue {
    /// How many of its tasks are open.
    pub fn open(&self) -> usize {
        self.open
    }

    /// How many of them are ready.
    pub fn ready(&self) -> usize {
        self.lines.values().map(Line::len).sum()
    }

    /// Who paused it, if somebody has.
    pub fn paused_by(&self) -> Option<&Arc<str>> {
        self.paused_by.as_ref()
    }

    /// The settings of its breaker.
    pub fn breaker_settings(&self) -> BreakerSettings {
        self.settings
    }

    /// Its breaker.
    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// Which of the claims that wait gets a task.
    pub fn distribution(&self) -> Distribution {
        self.distribution
    }

    /// How many claims wait for a task of it.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Cluster time in milliseconds at which it is looked at because it may owe tasks to claims that wait; 0 for at once.
    pub fn owes_ms(&self) -> Option<u64> {
        self.owes_ms
    }

    /// When it may have a task for a claim that waits, if somebody looked then.
    pub(super) fn offers_at_ms(&self) -> Option<u64> {
        if self.waiting.is_empty() || self.lines.is_empty() || self.paused_by.is_some() {
            return None;
        }
        match self.breaker {
            Breaker::Closed { .. } => Some(0),
            Breaker::Open { until_ms } => Some(until_ms),
            Breaker::HalfOpen { .. } => None,
        }
    }

    /// Why it hands out nothing now, if it does not.
    pub fn closed(&self, now_ms: u64) -> Option<QueueClosed> {
        if let Some(by) = &self.paused_by {
            return Some(QueueClosed::Paused(by.clone()));
        }
        match self.breaker {
            Breaker::Open { until_ms } if until_ms > now_ms => Some(QueueClosed::Open(until_ms)),
            Breaker::HalfOpen { trial } => Some(QueueClosed::Trial(trial)),
            Breaker::Closed { .. } | Breaker::Open { .. } => None,
        }
    }

    /// The task that a claim with these kinds and capabilities gets, if no resources are taken.
    pub(crate) fn choose(&self, kinds: &[Arc<str>], capabilities: &[Arc<str>]) -> Option<TaskId> {
        self.choose_among(&self.fitting(|key| key.fits(kinds, capabilities)))
    }

    /// The task that a claim with these kinds and capabilities gets, of those that `pick` takes: it says for each that it is
    /// asked of whether that is taken or passed, or that no more are looked at.
    /// Nothing of the lines whose tokens are not there.
    pub(super) fn choose_where(
        &self,
        (kinds, capabilities): (&[Arc<str>], &[Arc<str>]),
        gate: Gate<'_>,
        pick: Pick<'_>,
    ) -> Option<TaskId> {
        let open = self.open_for((kinds, capabilities), gate);
        self.choose_picked(&open.lines, pick)
    }

    /// The lines whose tasks fit these kinds and capabilities, and whose tokens are there.
    pub(super) fn open_for(&self, (kinds, capabilities): (&[Arc<str>], &[Arc<str>]), gate: Gate<'_>) -> Open<'_> {
        self.open_at(gate, self.fitting(|key| key.fits(kinds, capabilities)))
    }

    /// The same for the claims that wait, whichever gets it.
    ///
    /// # Errors
    /// When there is none: cluster time in milliseconds at which there may be one because tokens are there.
    pub(super) fn choose_waited_for(&self, gate: Gate<'_>, pick: Pick<'_>) -> Result<TaskId, Option<u64>> {
        // Lines of different lanes ask the same of a claim.
        let mut known = BTreeMap::new();
        let fitting = self.lines.iter().filter(|(key, _)| {
            let fits = known.entry((&key.kind, &key.requires));
            *fits.or_insert_with(|| self.waiting.fits(key))
        });
        let open = self.open_at(gate, fitting.collect());
        self.choose_picked(&open.lines, pick).ok_or(open.next_ms)
    }

    /// How many of its ready tasks claims with these kinds and capabilities would get now, if enough of them came and no
    /// resources were taken.
    pub(super) fn ready_for(&self, (kinds, capabilities): (&[Arc<str>], &[Arc<str>]), gate: Gate<'_>) -> usize {
        if self.closed(gate.now_ms).is_some() {
            return 0;
        }
        let mut spent: BTreeMap<&Arc<str>, u64> = BTreeMap::new();
        let mut tasks = 0;
        let open = self.open_at(gate, self.fitting(|key| key.fits(kinds, capabilities)));
        for (key, line) in open.lines {
            let left = |tokens: &Tokens| {
                let rate = gate.rates.get(&tokens.rate);
                let there = rate.map_or(0, |rate| rate.tokens_at(gate.now_ms));
                let left = there.saturating_sub(spent.get(&tokens.rate).copied().unwrap_or_default());
                left / u64::from(tokens.count.max(1))
            };
            let bound = key.rates.iter().map(left).min().unwrap_or(u64::MAX);
            let some = bound.min(line.len() as u64);
            for tokens in &key.rates {
                *spent.entry(&tokens.rate).or_default() += some * u64::from(tokens.count);
            }
            tasks += some as usize;
        }
        match self.breaker {
            // It lets one through for trial.
            Breaker::Open { .. } => tasks.min(1),
            _ => tasks,
        }
    }

    /// Those of these lines that have their tokens.
    fn open_at<'q>(&'q self, gate: Gate<'_>, lines: Vec<(&'q LineKey, &'q Line)>) -> Open<'q> {
        let turn = PASSES_MAX * self.lines.len() as u64;
        // As they are chosen below.
        gate.open(lines, |key, line| {
            match self.grants.saturating_sub(line.since) >= turn {
                true => (0, line.since, None),
                false => (1, key.lane.into(), line.head()),
            }
        })
    }

    fn fitting(&self, fits: impl Fn(&LineKey) -> bool) -> Vec<(&LineKey, &Line)> {
        self.lines.iter().filter(|(key, _)| fits(key)).collect()
    }

    fn choose_among(&self, lines: &[(&LineKey, &Line)]) -> Option<TaskId> {
        let turn = PASSES_MAX * self.lines.len() as u64;
        let due = lines
            .iter()
            .filter(|(_, line)| self.grants.saturating_sub(line.since) >= turn);
        let longest = due.min_by_key(|(_, line)| line.since);
        let best = || lines.iter().min_by_key(|(key, line)| (key.lane, line.head()));
        let chosen = longest.or_else(best)?;
        chosen.1.head().map(|(_, id)| id)
    }

    fn choose_picked(&self, lines: &[(&LineKey, &Line)], pick: Pick<'_>) -> Option<TaskId> {
        // Most often nothing is passed.
        let first = self.choose_among(lines)?;
        if pick(first) == ControlFlow::Break(true) {
            return Some(first);
        }
        let turn = PASSES_MAX * self.lines.len() as u64;
        let due = lines
            .iter()
            .filter(|(_, line)| self.grants.saturating_sub(line.since) >= turn);
        let mut due: Vec<&Line> = due.map(|(_, line)| *line).collect();
        due.sort_by_key(|line| line.since);
        for line in due {
            if let Some((_, id)) = line.first(pick).ok()? {
                return Some(id);
            }
        }
        let heads = lines
            .iter()
            .filter_map(|(key, line)| Some((key.lane, line.head()?, *line)));
        let mut heads: Vec<(u8, Rank, &Line)> = heads.collect();
        heads.sort_unstable_by_key(|(lane, head, _)| (*lane, *head));
        let mut best: Option<(u8, Rank)> = None;
        for (lane, head, line) in heads {
            if best.is_some_and(|best| best < (lane, head)) {
                break;
            }
            match line.first(pick) {
                Ok(Some(rank)) => best = best.into_iter().chain([(lane, rank)]).min(),
                Ok(None) => {}
                Err(Enough) => break,
            }
        }
        best.map(|(_, (_, id))| id)
    }

    /// Whether tasks are ready for which a claim takes tokens.
    pub(super) fn has_rates(&self) -> bool {
        self.lines.keys().any(|key| !key.rates.is_empty())
    }

    /// How many of its open tasks name a rate, and how many tokens one of them takes at most.
    pub(super) fn uses_of_rate(&self, name: &str) -> (usize, u32) {
        let uses = self.groups.iter().flat_map(|((.., rates), count)| {
            let named = rates.iter().filter(|tokens| *tokens.rate == *name);
            named.map(|tokens| (*count, tokens.count))
        });
        uses.fold((0, 0), |(tasks, most), (count, tokens)| {
            (tasks + count, most.max(tokens))
        })
    }

    /// Whether one of its open tasks is of the kind, requirements and tokens of this one.
    pub(super) fn knows_group(&self, task: &Task) -> bool {
        self.groups.contains_key(&group_of(task))
    }

    /// How many kinds, requirements and tokens its open tasks have.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Whether it hands out one task only, to see what becomes of it.
    pub(super) fn is_on_trial(&self) -> bool {
        !matches!(self.breaker, Breaker::Closed { .. })
    }

    /// Whether nothing is lost when it goes.
    pub(super) fn is_idle(&self) -> bool {
        let closed = self.breaker == Breaker::default();
        let plain =
            closed && self.settings == BreakerSettings::default() && self.distribution == Distribution::default();
        self.open == 0 && self.paused_by.is_none() && plain && self.waiting.is_empty()
    }

    pub(super) fn has_empty_line(&self) -> bool {
        self.lines.values().any(Line::is_empty)
    }

    /// Notes that a task of it is open.
    pub(super) fn add_open(&mut self, task: &Task) {
        self.open += 1;
        *self.groups.entry(group_of(task)).or_default() += 1;
    }

    pub(super) fn remove_open(&mut self, task: &Task) {
        self.open -= 1;
        let group = group_of(task);
        let count = self.groups.get_mut(&group).expect("it was counted");
        *count -= 1;
        if *count == 0 {
            self.groups.remove(&group);
        }
    }

    /// Puts a ready task into its line. Says whether the line is new.
    pub(super) fn add_ready(&mut self, task: &Task) -> bool {
        let key = LineKey::of(task);
        if let Some(line) = self.lines.get_mut(&key) {
            line.insert(task);
            return false;
        }
        let mut line = Line::new(self.grants, 0);
        line.insert(task);
        self.lines.insert(key, line);
        true
    }

    /// Takes it out of its line, which may be left empty.
    pub(super) fn remove_ready(&mut self, task: &Task) {
        let line = self.lines.get_mut(&LineKey::of(task));
        line.expect("a ready task stands in its line").remove(task);
    }

    /// Drops the line of this task if it is empty. Says whether it was.
    pub(super) fn drop_empty_line(&mut self, task: &Task) -> bool {
        let key = LineKey::of(task);
        let empty = self.lines.get(&key).is_some_and(Line::is_empty);
        empty && self.lines.remove(&key).is_some()
    }

    /// The count of grants, and of each line (lane, kind, what is required, tokens) what it was at its last one, and how many
    /// cheaper tasks have passed its oldest: for the tests.
    #[cfg(test)]
    #[allow(clippy::type_complexity, reason = "only tests take it apart")]
    pub(crate) fn turns(
        &self,
    ) -> (
        u64,
        Vec<((u8, Option<Arc<str>>, Vec<Arc<str>>, Vec<Tokens>), (u64, u64))>,
    ) {
        let turns = self.lines.iter().map(|(key, line)| {
            let LineKey {
                lane,
                kind,
                requires,
                rates,
            } = key.clone();
            ((lane, kind, requires, rates), (line.since, line.passed))
        });
        (self.grants, turns.collect())
    }

    /// The count of offers, whose was the last, and when it is looked at: for the tests.
    #[cfg(test)]
    pub(crate) fn offers(&self) -> (u64, u64, Option<u64>) {
        (self.offers, self.last, self.owes_ms)
    }

    /// Whether its record says something else after the grant of this task.
    pub(super) fn minds_grant(&self, task: &Task) -> bool {
        let line = || self.lines.get(&LineKey::of(task)).filter(|_| task.is_ready());
        self.lines.len() > 1
            || matches!(self.breaker, Breaker::Open { .. })
            || line().is_some_and(|line| line.passed_after(task) != line.passed)
    }

    /// Counts the grant of a ready task that still stands in its line.
    pub(super) fn count_grant(&mut self, task: &Task) {
        let others = self.lines.len() > 1;
        let line = self.lines.get_mut(&LineKey::of(task));
        let line = line.expect("a ready task stands in its line");
        line.passed = line.passed_after(task);
        if others {
            self.grants += 1;
            line.since = self.grants;
        }
    }

    /// The breaker hears that a task was handed out.
    pub(super) fn begin_trial(&mut self, task: TaskId) {
        if let Breaker::Open { .. } = self.breaker {
            self.breaker = Breaker::HalfOpen { trial: task };
        }
    }

    /// The breaker hears how an attempt ended: done, failed, or neither. Says whether that is worth telling.
    pub(super) fn hear(&mut self, task: TaskId, done: Option<bool>, now_ms: u64) -> bool {
        if self.settings.failures == 0 {
            return false;
        }
        let open = Breaker::Open {
            until_ms: now_ms.saturating_add(self.settings.pause_ms),
        };
        let before = self.breaker;
        self.breaker = match (self.breaker, done) {
            (Breaker::HalfOpen { trial }, None) if trial == task => Breaker::Open { until_ms: now_ms },
            (Breaker::HalfOpen { trial }, Some(false)) if trial == task => open,
            (Breaker::HalfOpen { trial }, Some(true)) if trial == task => Breaker::default(),
            (Breaker::Closed { .. }, Some(true)) => Breaker::default(),
            (Breaker::Closed { failures }, Some(false)) if failures + 1 >= self.settings.failures => open,
            (Breaker::Closed { failures }, Some(false)) => Breaker::Closed { failures: failures + 1 },
            (other, _) => other,
        };
        std::mem::discriminant(&self.breaker) != std::mem::discriminant(&before)
    }

    pub(crate) fn stored(&self) -> StoredQueue {
        StoredQueue {
            paused_by: self.paused_by.clone(),
            settings: self.settings,
            breaker: self.breaker,
            grants: self.grants,
            lines: self
                .lines
                .iter()
                .map(|(key, line)| (key.clone(), line.since, line.passed))
                .collect(),
            distribution: self.distribution,
            offers: self.offers,
            last: self.last,
            owes_ms: self.owes_ms,
        }
    }

    pub(crate) fn restore(name: &str, stored: StoredQueue) -> Queue {
        let lines = stored.lines.into_iter();
        let lines = lines.map(|(key, since, passed)| (key, Line::new(since, passed)));
        let mut queue = Queue {
            paused_by: stored.paused_by,
            settings: stored.settings,
            breaker: stored.breaker,
            grants: stored.grants,
            lines: lines.collect(),
            distribution: stored.distribution,
            offers: stored.offers,
            last: stored.last,
            owes_ms: stored.owes_ms,
            ..Queue::default()
        };
        queue.digest = queue.compute_digest(name);
        queue
    }

    pub(super) fn compute_digest(&self, name: &str) -> Digest {
        Digest::of(QUEUE_DIGEST, &(name, self.stored()))
    }
}

fn group_of(task: &Task) -> Group {
    let Terms { requires, rates, .. } = &*task.terms;
    (task.kind.clone(), requires.clone(), rates.clone())
}

impl BreakerSettings {
    pub(super) fn check_form(self) -> Result<(), Refusal> {
        let (least, most) = BREAKER_PAUSE_MS;
        if self.failures > BREAKER_FAILURES_MAX {
            let failures = self.failures as usize;
            return Err(over_limit("breaker_failures", failures, BREAKER_FAILURES_MAX as usize));
        }
        if self.pause_ms > most {
            return Err(over_limit("breaker_pause_ms", self.pause_ms as usize, most as usize));
        }
        match self.failures > 0 && self.pause_ms < least {
            true => Err(malformed(
                "breaker_pause_ms",
                &format!("{} is under the least, {least}", self.pause_ms),
            )),
            false => Ok(()),
        }
    }
}
