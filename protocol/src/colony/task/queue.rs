//! The queues of a project: which of the ready tasks a claim gets, and when a queue hands out nothing.
//!
//! The ready tasks of a queue stand in **lines**, one for each (lane, kind, capabilities that are required), oldest first;
//! a lane is a priority and a latency tier. A claim looks at the heads of the lines that it fits, and takes the one in the
//! best lane, and the oldest of those: O(log n) in the tasks, and at most [`GROUPS_MAX`] kinds and requirements for each of
//! the twelve lanes.
//!
//! **Nothing starves.** The queue counts the grants that it makes while others wait, and each line remembers the count at
//! its last one. A line of a queue with n lines that has not had a grant for [`PASSES_MAX`] · n of them has its turn before
//! all better lanes, the one that has waited longest first. So while claims fit it, the head of a line is passed by at most
//! (PASSES_MAX + 1) · n grants, and all lines together take at most one of PASSES_MAX grants from better lanes.
//!
//! A queue may be paused, and may have a **circuit breaker**: after some failures in a row it hands out nothing for a
//! while, then one task for trial, and goes on when that one is done.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::{Task, TaskId};
use crate::colony::command::Refusal;
use crate::colony::digest::Digest;
use crate::colony::memory::{malformed, over_limit};

/// How many queues of a project may have open tasks or settings.
pub const QUEUES_MAX: usize = 1_024;
/// How many different (kind, requirements) the open tasks of a queue may have.
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

/// What a line has in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LineKey {
    lane: u8,
    kind: Option<Arc<str>>,
    requires: Vec<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Line {
    /// What the queue's count of grants was when it last had one, or began.
    since: u64,
    ready: OrdSet<TaskId>,
}

/// No more tasks are looked at.
struct Enough;

impl Line {
    /// The first of its tasks that `pick` takes.
    fn first(&self, pick: &mut dyn FnMut(TaskId) -> ControlFlow<bool>) -> Result<Option<TaskId>, Enough> {
        for id in &self.ready {
            match pick(*id) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(true) => return Ok(Some(*id)),
                ControlFlow::Break(false) => return Err(Enough),
            }
        }
        Ok(None)
    }
}

type Group = (Option<Arc<str>>, Vec<Arc<str>>);

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
    /// The open tasks of each kind and requirements.
    groups: OrdMap<Group, usize>,
    open: usize,
    pub(crate) digest: Digest,
}

/// A queue as it is stored: its lines without their tasks, which follow from the tasks.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredQueue {
    paused_by: Option<Arc<str>>,
    settings: BreakerSettings,
    breaker: Breaker,
    grants: u64,
    lines: Vec<(LineKey, u64)>,
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

impl LineKey {
    fn of(task: &Task) -> LineKey {
        LineKey {
            lane: task.terms.lane(),
            kind: task.kind.clone(),
            requires: task.terms.requires.clone(),
        }
    }

    fn fits(&self, kinds: &[Arc<str>], capabilities: &[Arc<str>]) -> bool {
        let kind = || self.kind.as_ref().is_some_and(|kind| kinds.contains(kind));
        (kinds.is_empty() || kind()) && self.requires.iter().all(|one| capabilities.contains(one))
    }
}

impl Queue {
    /// How many of its tasks are open.
    pub fn open(&self) -> usize {
        self.open
    }

    /// How many of them are ready.
    pub fn ready(&self) -> usize {
        self.lines.values().map(|line| line.ready.len()).sum()
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

    /// The task that a claim with these kinds and capabilities gets.
    pub(crate) fn choose(&self, kinds: &[Arc<str>], capabilities: &[Arc<str>]) -> Option<TaskId> {
        let fitting = || self.lines.iter().filter(move |(key, _)| key.fits(kinds, capabilities));
        let turn = PASSES_MAX * self.lines.len() as u64;
        let due = fitting().filter(|(_, line)| self.grants.saturating_sub(line.since) >= turn);
        let longest = due.min_by_key(|(_, line)| line.since);
        let best = || fitting().min_by_key(|(key, line)| (key.lane, line.ready.get_min().copied()));
        longest
            .or_else(best)
            .and_then(|(_, line)| line.ready.get_min().copied())
    }

    /// The same of those tasks that `pick` takes: it says for each that it is asked of whether that is taken or passed, or
    /// that no more are looked at.
    pub(super) fn choose_where(
        &self,
        kinds: &[Arc<str>],
        capabilities: &[Arc<str>],
        pick: &mut dyn FnMut(TaskId) -> ControlFlow<bool>,
    ) -> Option<TaskId> {
        // Most often nothing is passed.
        let first = self.choose(kinds, capabilities)?;
        if pick(first) == ControlFlow::Break(true) {
            return Some(first);
        }
        let fitting = || self.lines.iter().filter(move |(key, _)| key.fits(kinds, capabilities));
        let turn = PASSES_MAX * self.lines.len() as u64;
        let due = fitting().filter(|(_, line)| self.grants.saturating_sub(line.since) >= turn);
        let mut due: Vec<&Line> = due.map(|(_, line)| line).collect();
        due.sort_by_key(|line| line.since);
        for line in due {
            if let Some(id) = line.first(pick).ok()? {
                return Some(id);
            }
        }
        let heads = fitting().filter_map(|(key, line)| Some((key.lane, *line.ready.get_min()?, line)));
        let mut heads: Vec<(u8, TaskId, &Line)> = heads.collect();
        heads.sort_unstable_by_key(|(lane, head, _)| (*lane, *head));
        let mut best: Option<(u8, TaskId)> = None;
        for (lane, head, line) in heads {
            if best.is_some_and(|best| best < (lane, head)) {
                break;
            }
            match line.first(pick) {
                Ok(Some(id)) => best = best.into_iter().chain([(lane, id)]).min(),
                Ok(None) => {}
                Err(Enough) => break,
            }
        }
        best.map(|(_, id)| id)
    }

    /// Whether one of its open tasks is of the kind and requirements of this one.
    pub(super) fn knows_group(&self, task: &Task) -> bool {
        self.groups.contains_key(&group_of(task))
    }

    /// How many kinds and requirements its open tasks have.
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
        self.open == 0 && self.paused_by.is_none() && closed && self.settings == BreakerSettings::default()
    }

    pub(super) fn has_empty_line(&self) -> bool {
        self.lines.values().any(|line| line.ready.is_empty())
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
            line.ready.insert(task.id);
            return false;
        }
        let line = Line {
            since: self.grants,
            ready: OrdSet::unit(task.id),
        };
        self.lines.insert(key, line);
        true
    }

    /// Takes it out of its line, which may be left empty.
    pub(super) fn remove_ready(&mut self, task: &Task) {
        let line = self.lines.get_mut(&LineKey::of(task));
        line.expect("a ready task stands in its line").ready.remove(&task.id);
    }

    /// Drops the line of this task if it is empty. Says whether it was.
    pub(super) fn drop_empty_line(&mut self, task: &Task) -> bool {
        let key = LineKey::of(task);
        let empty = self.lines.get(&key).is_some_and(|line| line.ready.is_empty());
        empty && self.lines.remove(&key).is_some()
    }

    /// The count of grants, and of each line (lane, kind, what is required) what it was at its last one: for the tests.
    #[cfg(test)]
    #[allow(clippy::type_complexity, reason = "only tests take it apart")]
    pub(crate) fn turns(&self) -> (u64, Vec<((u8, Option<Arc<str>>, Vec<Arc<str>>), u64)>) {
        let turns = self.lines.iter().map(|(key, line)| {
            let LineKey { lane, kind, requires } = key.clone();
            ((lane, kind, requires), line.since)
        });
        (self.grants, turns.collect())
    }

    /// Whether its record says more after a grant.
    pub(super) fn minds_grants(&self) -> bool {
        self.lines.len() > 1 || matches!(self.breaker, Breaker::Open { .. })
    }

    /// Counts the grant of a ready task that still stands in its line.
    pub(super) fn count_grant(&mut self, task: &Task) {
        if self.lines.len() < 2 {
            return;
        }
        self.grants += 1;
        let line = self.lines.get_mut(&LineKey::of(task));
        line.expect("a ready task stands in its line").since = self.grants;
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
            lines: self.lines.iter().map(|(key, line)| (key.clone(), line.since)).collect(),
        }
    }

    pub(crate) fn restore(name: &str, stored: StoredQueue) -> Queue {
        let lines = stored.lines.into_iter().map(|(key, since)| {
            let ready = OrdSet::new();
            (key, Line { since, ready })
        });
        let mut queue = Queue {
            paused_by: stored.paused_by,
            settings: stored.settings,
            breaker: stored.breaker,
            grants: stored.grants,
            lines: lines.collect(),
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
    (task.kind.clone(), task.terms.requires.clone())
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
