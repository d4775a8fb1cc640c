//! How many agents a node has: those that are active and those that are passive are bounded, and counted, apart.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AgentError;
use super::entry::Phase;

/// How many agents of a node may be active: each is one actor, or waits to be one again.
pub const AGENTS_ACTIVE_MAX: u64 = 100_000;
/// How many agents of a node may be passive besides: records. Past it those that are idle stay active.
pub const AGENTS_PASSIVE_MAX: u64 = 1_000_000;
/// How many agents that have ended a node still shows; it forgets those that ended first.
pub const AGENTS_ENDED_MAX: usize = 20_000;

/// How many agents of a node live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentCounts {
    /// Actors: those at work, paused or starting; and those that wait to be started again.
    pub active: u64,
    /// Records.
    pub passive: u64,
    /// How often an agent became passive.
    pub passivated: u64,
    /// How often one was woken.
    pub woken: u64,
}

/// The counts while they are kept, and who waits for room or to be forgotten.
#[derive(Default)]
pub(super) struct Population {
    active: AtomicU64,
    passive: AtomicU64,
    passivated: AtomicU64,
    woken: AtomicU64,
    // A mutex: the queen, one message at a time. Held for a place of the list.
    wakes: Mutex<BTreeSet<u64>>,
    // A mutex: the queen, one message at a time. Held for a place of the list.
    ended: Mutex<VecDeque<(Arc<str>, u64)>>,
}

impl Population {
    /// One more is active.
    pub(super) fn enter(&self) -> Result<(), AgentError> {
        let (agents, limit) = (self.active.load(Ordering::Relaxed), AGENTS_ACTIVE_MAX);
        if agents >= limit {
            return Err(AgentError::TooMany { agents, limit });
        }
        self.active.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// One that was in `phase` has ended for good. The queen counts one at a time.
    pub(super) fn leave(&self, phase: Phase) {
        let counter = if phase == Phase::Passive {
            &self.passive
        } else {
            &self.active
        };
        counter.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether one more may become passive.
    pub(super) fn has_room_for_passive(&self) -> bool {
        self.passive.load(Ordering::Relaxed) < AGENTS_PASSIVE_MAX
    }

    pub(super) fn passivated(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        self.passive.fetch_add(1, Ordering::Relaxed);
        self.passivated.fetch_add(1, Ordering::Relaxed);
    }

    /// One that was passive becomes active. `false` when there is no room: it is in line then.
    pub(super) fn woken(&self, number: u64) -> bool {
        if self.active.load(Ordering::Relaxed) >= AGENTS_ACTIVE_MAX {
            self.wakes
                .lock()
                .expect("nothing panics under this lock")
                .insert(number);
            return false;
        }
        self.passive.fetch_sub(1, Ordering::Relaxed);
        self.active.fetch_add(1, Ordering::Relaxed);
        self.woken.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// The agent that is to be woken now that there is room.
    pub(super) fn next_wake(&self) -> Option<u64> {
        match self.active.load(Ordering::Relaxed) < AGENTS_ACTIVE_MAX {
            true => self.wakes.lock().expect("nothing panics under this lock").pop_first(),
            false => None,
        }
    }

    /// Notes one that has ended, and says which one is to be forgotten for it.
    pub(super) fn ended(&self, name: Arc<str>, number: u64) -> Option<(Arc<str>, u64)> {
        let mut ended = self.ended.lock().expect("nothing panics under this lock");
        ended.push_back((name, number));
        match ended.len() > AGENTS_ENDED_MAX {
            true => ended.pop_front(),
            false => None,
        }
    }

    pub(super) fn counts(&self) -> AgentCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AgentCounts {
            active: get(&self.active),
            passive: get(&self.passive),
            passivated: get(&self.passivated),
            woken: get(&self.woken),
        }
    }
}
