//! The lines of a queue: ready tasks of one lane, kind, requirements and rates, and which of them goes first.
//!
//! Most tasks have no cost of their own: those stand by age, and only the others are kept by cost as well.

use std::ops::ControlFlow;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::{COST_DEFAULT, Task, TaskId};
use crate::colony::rate::Tokens;

/// How many cheaper tasks that came later may pass the oldest task of a line, until it goes first.
pub const CHEAPER_MAX: u64 = 16;

const FIRST: TaskId = TaskId { seq: 0, ordinal: 0 };

/// What a line has in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LineKey {
    pub(super) lane: u8,
    pub(super) kind: Option<Arc<str>>,
    pub(super) requires: Vec<Arc<str>>,
    /// What a claim takes.
    pub(super) rates: Vec<Tokens>,
}

impl LineKey {
    pub(super) fn of(task: &Task) -> LineKey {
        LineKey {
            lane: task.terms.lane(),
            kind: task.kind.clone(),
            requires: task.terms.requires.clone(),
            rates: task.terms.rates.clone(),
        }
    }

    pub(super) fn fits(&self, kinds: &[Arc<str>], capabilities: &[Arc<str>]) -> bool {
        let kind = || self.kind.as_ref().is_some_and(|kind| kinds.contains(kind));
        (kinds.is_empty() || kind()) && self.requires.iter().all(|one| capabilities.contains(one))
    }
}

/// Says of a ready task whether it is taken or passed, or that no more are looked at.
pub(super) type Pick<'a> = &'a mut dyn FnMut(TaskId) -> ControlFlow<bool>;

/// No more tasks are looked at.
pub(super) struct Enough;

/// Where a task stands among those of its lane: by cost, then by age. One whose turn it is costs nothing.
pub(super) type Rank = (u32, TaskId);

/// A line.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// What the queue's count of grants was when it last had one, or began.
    pub(super) since: u64,
    /// How many cheaper tasks have passed its oldest one, at most [`CHEAPER_MAX`].
    pub(super) passed: u64,
    /// Those that cost as much as one that does not say it.
    plain: OrdSet<TaskId>,
    /// The others, by what they cost.
    hinted: OrdSet<(u32, TaskId)>,
    /// The same by age, with what they cost.
    hinted_by_age: OrdMap<TaskId, u32>,
}

impl Line {
    /// One without tasks.
    pub(super) fn new(since: u64, passed: u64) -> Line {
        Line {
            since,
            passed,
            ..Line::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.plain.len() + self.hinted.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.hinted.is_empty()
    }

    pub(super) fn insert(&mut self, task: &Task) {
        match task.terms.cost_counted() {
            COST_DEFAULT => {
                self.plain.insert(task.id);
            }
            cost => {
                self.hinted.insert((cost, task.id));
                self.hinted_by_age.insert(task.id, cost);
            }
        }
    }

    pub(super) fn remove(&mut self, task: &Task) {
        match task.terms.cost_counted() {
            COST_DEFAULT => {
                self.plain.remove(&task.id);
            }
            cost => {
                self.hinted.remove(&(cost, task.id));
                self.hinted_by_age.remove(&task.id);
            }
        }
    }

    /// The oldest of its tasks, and what that costs.
    fn oldest(&self) -> Option<(TaskId, u32)> {
        let plain = self.plain.get_min().map(|id| (*id, COST_DEFAULT));
        let hinted = self.hinted_by_age.get_min().map(|(id, cost)| (*id, *cost));
        plain.into_iter().chain(hinted).min()
    }

    /// The oldest of its tasks, if so many have passed it that it goes first.
    fn turn(&self) -> Option<TaskId> {
        let oldest = self.oldest().filter(|_| self.passed >= CHEAPER_MAX);
        oldest.map(|(id, _)| id)
    }

    /// The first of its tasks.
    pub(super) fn head(&self) -> Option<Rank> {
        if let Some(turn) = self.turn() {
            return Some((0, turn));
        }
        let plain = self.plain.get_min().map(|id| (COST_DEFAULT, *id));
        plain.into_iter().chain(self.hinted.get_min().copied()).min()
    }

    /// All of its tasks in the order in which they go.
    pub(super) fn ranked(&self) -> impl Iterator<Item = Rank> {
        let turn = self.turn();
        let cheaper = self.hinted.range(..(COST_DEFAULT, FIRST)).copied();
        let plain = self.plain.iter().map(|id| (COST_DEFAULT, *id));
        let dearer = self.hinted.range((COST_DEFAULT, FIRST)..).copied();
        let others = cheaper.chain(plain).chain(dearer);
        let others = others.filter(move |(_, id)| Some(*id) != turn);
        turn.map(|id| (0, id)).into_iter().chain(others)
    }

    /// The first of its tasks that `pick` takes.
    pub(super) fn first(&self, pick: Pick<'_>) -> Result<Option<Rank>, Enough> {
        for (cost, id) in self.ranked() {
            match pick(id) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(true) => return Ok(Some((cost, id))),
                ControlFlow::Break(false) => return Err(Enough),
            }
        }
        Ok(None)
    }

    /// How many cheaper tasks will have passed its oldest one after the grant of this task of it.
    pub(super) fn passed_after(&self, task: &Task) -> u64 {
        match self.oldest() {
            Some((oldest, _)) if oldest == task.id => 0,
            Some((_, cost)) if task.terms.cost_counted() < cost => (self.passed + 1).min(CHEAPER_MAX),
            _ => self.passed,
        }
    }
}
