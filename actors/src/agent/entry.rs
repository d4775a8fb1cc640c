//! One agent of a node, from its specification over all its generations to its end: what its queen and its actor write,
//! and the doors read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use queenright_protocol::colony::Serves;
use ractor::ActorRef;
use serde_json::Value;
use tokio::task::AbortHandle;

use super::generation::Generation;
use super::pairs::Pairs;
use super::plan::Plan;
use super::restart::Restarts;
use super::{AgentState, AgentStatus};
use crate::queen::QueenMessage;

/// How much of the reason for an end is kept, in bytes: it is shown, and a behaviour or a panic may say anything.
const REASON_BYTES_MAX: usize = 1_024;

/// One agent.
pub(crate) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) plan: Arc<Plan>,
    pub(super) number: u64,
    /// The number of its parent; 0 for none.
    pub(super) parent: u64,
    // A mutex: the agent's actor and its queen write it, doors read it. Held for a copy.
    life: Mutex<Life>,
    /// The generation that takes signals now; none before the first and while a restart is waited for.
    present: ArcSwapOption<Generation>,
    /// The accounts with other agents, of all generations.
    pub(super) pairs: Arc<Pairs>,
}

/// What a generation said about its end, before its actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has done what it was to do.
    Done,
    /// It cannot go on, for this reason.
    Failed(String),
    /// It goes on as a record, with this state, and is woken by tasks too if it takes some.
    Passive(Box<[u8]>, Option<Arc<Serves>>),
}

/// Where in its life an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    AtWork,
    Passive,
    Recovering,
    Done,
    Failed,
    Stopped,
}

impl Phase {
    pub(super) fn is_live(self) -> bool {
        !matches!(self, Phase::Done | Phase::Failed | Phase::Stopped)
    }
}

pub(super) struct Life {
    pub(super) phase: Phase,
    /// Somebody has paused it, whatever generation it has.
    pub(super) paused: bool,
    /// The number of the last generation.
    pub(super) generation: u64,
    /// Since it became passive, until it is woken.
    kept: Option<Box<Kept>>,
    more: Option<Box<More>>,
}

/// What active agents do not have.
struct Kept {
    /// What its next actor is given.
    state: Box<[u8]>,
    /// Which tasks wake it.
    serves: Option<Arc<Serves>>,
}

/// What most passive agents do not have.
#[derive(Default)]
struct More {
    restarts: Restarts,
    /// Why the last generation that ended by itself ended.
    reason: Option<String>,
    said: Option<Said>,
    /// The present generation ends since somebody wants the next one.
    again: bool,
    /// While a restart is waited for: when it will be, and its timer.
    next: Option<(Instant, AbortHandle)>,
    report: BTreeMap<String, Value>,
}

impl Life {
    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(super) fn restarts(&mut self) -> &mut Restarts {
        &mut self.more().restarts
    }

    /// Which tasks wake it, since it became passive.
    pub(super) fn serves(&self) -> Option<&Arc<Serves>> {
        self.kept.as_ref()?.serves.as_ref()
    }

    /// Nothing will be given its state.
    fn forget_state(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.state = Box::default();
        }
    }

    fn state(&self, present: Option<&Generation>) -> AgentState {
        match self.phase {
            Phase::Done => AgentState::Done,
            Phase::Failed => AgentState::Failed,
            Phase::Stopped => AgentState::Stopped,
            _ if self.paused => AgentState::Paused,
            Phase::Starting => AgentState::Starting,
            Phase::AtWork => present.map_or(AgentState::Idle, Generation::activity),
            Phase::Passive => AgentState::Passive,
            Phase::Recovering => AgentState::Recovering,
        }
    }
}

impl Entry {
    /// An agent whose first generation, the one after `generation`, is still to be started.
    pub(super) fn new((name, plan): (Arc<str>, Arc<Plan>), (number, parent): (u64, u64), generation: u64) -> Entry {
        Entry {
            name,
            plan,
            number,
            parent,
            life: Mutex::new(Life {
                phase: Phase::Starting,
                paused: false,
                generation,
                kept: None,
                more: None,
            }),
            present: ArcSwapOption::empty(),
            pairs: Arc::default(),
        }
    }

    pub(super) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().expect("nothing panics under this lock")
    }

    /// The generation that takes signals.
    pub(super) fn present(&self) -> arc_swap::Guard<Option<Arc<Generation>>> {
        self.present.load()
    }

    /// Begins the next generation. What the one before reported is gone.
    pub(super) fn begin(&self, queen: &ActorRef<QueenMessage>) -> Arc<Generation> {
        let mut life = self.life();
        life.generation += 1;
        life.phase = Phase::Starting;
        if let Some(more) = &mut life.more {
            (more.next, more.said, more.again) = (None, None, false);
            more.report.clear();
        }
        let owner = (self.number, self.pairs.clone());
        let generation = Arc::new(Generation::new(life.generation, owner, life.paused, queen.clone()));
        self.present.store(Some(generation.clone()));
        generation
    }

    /// The actor of the present generation works, unless it was stopped meanwhile.
    pub(super) fn works(&self) {
        let mut life = self.life();
        if life.phase == Phase::Starting {
            life.phase = Phase::AtWork;
        }
    }

    /// What the present generation said about the end of its actor, and whether somebody wants the next one.
    pub(super) fn hear(&self) -> (Option<Said>, bool) {
        match &mut self.life().more {
            Some(more) => (more.said.take(), std::mem::take(&mut more.again)),
            None => (None, false),
        }
    }

    /// Whatever comes for the present generation from now on comes too late.
    pub(super) fn close(&self) -> Option<Arc<Generation>> {
        self.present.swap(None)
    }

    /// It goes on as a record.
    pub(super) fn rest(&self, state: Box<[u8]>, serves: Option<Arc<Serves>>) {
        let mut life = self.life();
        life.phase = Phase::Passive;
        life.kept = Some(Box::new(Kept { state, serves }));
        let nothing = |more: &More| more.restarts.total() == 0 && more.reason.is_none() && more.report.is_empty();
        if life.more.as_deref().is_some_and(nothing) {
            life.more = None;
        }
    }

    /// It is about to have an actor again, which is given this state.
    pub(super) fn wake(&self) -> Box<[u8]> {
        let mut life = self.life();
        life.phase = Phase::Starting;
        life.kept.take().map(|kept| kept.state).unwrap_or_default()
    }

    /// Waits for a restart.
    pub(super) fn wait(&self, reason: String, after: Duration, timer: AbortHandle) {
        let mut life = self.life();
        life.phase = Phase::Recovering;
        life.more().reason = Some(cut(reason));
        life.more().next = Some((Instant::now() + after, timer));
    }

    /// Is restarted as soon as the queen comes to it.
    pub(super) fn recover_now(&self) {
        let mut life = self.life();
        life.phase = Phase::Recovering;
        life.forget_state();
        if let Some((_, timer)) = life.more.as_mut().and_then(|more| more.next.take()) {
            timer.abort();
        }
    }

    /// The present generation is about to end since somebody wants the next one.
    pub(super) fn again(&self) {
        self.life().more().again = true;
    }

    /// Ends it for good. Says in which phase it was, unless it had ended before: the first end counts.
    pub(super) fn finish(&self, phase: Phase, reason: Option<String>) -> Option<Phase> {
        let mut life = self.life();
        let before = Some(life.phase).filter(|phase| phase.is_live())?;
        life.phase = phase;
        life.forget_state();
        if let Some(reason) = reason {
            life.more().reason = Some(cut(reason));
        }
        if let Some((_, timer)) = life.more.as_mut().and_then(|more| more.next.take()) {
            timer.abort();
        }
        Some(before)
    }

    /// Notes what the present generation says about its end.
    pub(super) fn say(&self, said: Said) {
        self.life().more().said = Some(said);
    }

    pub(super) fn report(&self, name: &str, value: Value) {
        self.life().more().report.insert(name.to_string(), value);
    }

    pub(super) fn is_live(&self) -> bool {
        self.life().phase.is_live()
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.life().more.as_ref().and_then(|more| more.reason.clone())
    }

    /// In which state it is.
    pub(super) fn state(&self) -> AgentState {
        self.life().state(self.present().as_deref())
    }

    /// How it is, without its accounts and its children.
    pub(super) fn status(&self) -> AgentStatus {
        let present = self.present();
        let life = self.life();
        let left = |(at, _): &(Instant, AbortHandle)| at.saturating_duration_since(Instant::now()).as_millis() as u64;
        let more = life.more.as_deref();
        AgentStatus {
            name: self.name.to_string(),
            kind: self.plan.kind.clone(),
            number: self.number,
            generation: life.generation,
            state: life.state(present.as_deref()),
            restarts: more.map_or(0, |more| more.restarts.total()),
            next_restart_ms: more.and_then(|more| more.next.as_ref()).map(left),
            reason: more.and_then(|more| more.reason.clone()),
            report: more.map(|more| more.report.clone()).unwrap_or_default(),
            labels: self.plan.labels.clone(),
            parent: self.plan.parent.clone(),
            letters: present.as_ref().map_or(0, |present| present.letters() as u64),
            children: None,
            accounts: None,
        }
    }
}

fn cut(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX - '…'.len_utf8()));
        reason.push('…');
    }
    reason
}
