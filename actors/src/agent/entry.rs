//! One agent of a node, from its specification over all its generations to its end: what its queen and its actor write,
//! and the doors read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use ractor::ActorRef;
use serde_json::Value;
use tokio::task::AbortHandle;

use super::actor::AgentMessage;
use super::pairs::Pairs;
use super::registration::Registration;
use super::restart::Restarts;
use super::{AgentSpec, AgentState, AgentStatus};

/// How many signals and messages of topics may wait in one agent's mailbox.
const MAILBOX_LETTERS_MAX: usize = 65_536;
/// How much of the reason for an end is kept, in bytes: it is shown, and a behaviour or a panic may say anything.
const REASON_BYTES_MAX: usize = 1_024;

/// One agent.
pub(crate) struct Entry {
    pub(super) spec: AgentSpec,
    pub(super) number: u64,
    // A mutex: the agent's actor and its queen write it, doors read it. Held for a copy.
    life: Mutex<Life>,
    /// The generation that takes signals now; none before the first and while a restart is waited for.
    present: ArcSwapOption<Generation>,
    /// The accounts with other agents, of all generations.
    pub(super) pairs: Arc<Pairs>,
}

/// One generation of an agent: from a start to the end of its actor.
pub(crate) struct Generation {
    /// Grows with each start of an agent of this name.
    pub(crate) number: u64,
    actor: OnceLock<ActorRef<AgentMessage>>,
    /// Letters in the mailbox.
    waiting: AtomicUsize,
    pub(super) registration: Registration,
    /// The accounts of its agent.
    pub(super) pairs: Arc<Pairs>,
}

/// What a generation said about its end, before its actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has done what it was to do.
    Done,
    /// It cannot go on, for this reason.
    Failed(String),
}

pub(super) struct Life {
    pub(super) state: AgentState,
    /// The number of the last generation.
    pub(super) generation: u64,
    pub(super) restarts: Restarts,
    /// Why the last generation that ended by itself ended.
    reason: Option<String>,
    said: Option<Said>,
    /// While a restart is waited for: when it will be, and its timer.
    next: Option<(Instant, AbortHandle)>,
    report: BTreeMap<String, Value>,
}

impl Entry {
    /// An agent whose first generation, the one after `generation`, is still to be started.
    pub(super) fn new(spec: AgentSpec, number: u64, generation: u64) -> Entry {
        Entry {
            spec,
            number,
            life: Mutex::new(Life {
                state: AgentState::Starting,
                generation,
                restarts: Restarts::default(),
                reason: None,
                said: None,
                next: None,
                report: BTreeMap::new(),
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
    pub(super) fn begin(&self) -> Arc<Generation> {
        let mut life = self.life();
        life.generation += 1;
        life.state = AgentState::Starting;
        life.next = None;
        life.said = None;
        life.report.clear();
        let generation = Arc::new(Generation {
            number: life.generation,
            actor: OnceLock::new(),
            waiting: AtomicUsize::new(0),
            registration: Registration::default(),
            pairs: self.pairs.clone(),
        });
        self.present.store(Some(generation.clone()));
        generation
    }

    /// The actor of the generation that was begun last works, unless it was stopped meanwhile.
    pub(super) fn works(&self) {
        let mut life = self.life();
        if life.state == AgentState::Starting {
            life.state = AgentState::Working;
        }
    }

    /// The actor of the present generation has ended: whatever comes for it from now on comes too late. Returns that
    /// generation, and what it said.
    pub(super) fn ended(&self) -> (Option<Arc<Generation>>, Option<Said>) {
        (self.present.swap(None), self.life().said.take())
    }

    /// Waits for a restart.
    pub(super) fn wait(&self, reason: String, after: Duration, timer: AbortHandle) {
        let mut life = self.life();
        life.state = AgentState::Restarting;
        life.reason = Some(cut(reason));
        life.next = Some((Instant::now() + after, timer));
    }

    /// Ends it for good. `false` when it had ended before: the first end counts.
    pub(super) fn finish(&self, state: AgentState, reason: Option<String>) -> bool {
        let mut life = self.life();
        if !life.state.is_live() {
            return false;
        }
        life.state = state;
        if let Some(reason) = reason {
            life.reason = Some(cut(reason));
        }
        if let Some((_, timer)) = life.next.take() {
            timer.abort();
        }
        true
    }

    /// Notes what the present generation says about its end.
    pub(super) fn say(&self, said: Said) {
        self.life().said = Some(said);
    }

    pub(super) fn report(&self, name: &str, value: Value) {
        self.life().report.insert(name.to_string(), value);
    }

    pub(super) fn is_live(&self) -> bool {
        self.life().state.is_live()
    }

    /// How it is, without its accounts.
    pub(super) fn status(&self) -> AgentStatus {
        let life = self.life();
        let left = |(at, _): &(Instant, AbortHandle)| at.saturating_duration_since(Instant::now()).as_millis() as u64;
        AgentStatus {
            name: self.spec.name.clone(),
            kind: self.spec.kind.clone(),
            number: self.number,
            generation: life.generation,
            state: life.state,
            restarts: life.restarts.total(),
            next_restart_ms: life.next.as_ref().map(left),
            reason: life.reason.clone(),
            report: life.report.clone(),
            accounts: None,
        }
    }
}

impl Generation {
    pub(super) fn set_actor(&self, actor: ActorRef<AgentMessage>) {
        assert!(self.actor.set(actor).is_ok(), "a generation is started once");
    }

    /// The actor, once it has started.
    pub(super) fn actor(&self) -> Option<&ActorRef<AgentMessage>> {
        self.actor.get()
    }

    /// Makes room in the count of the mailbox for as many letters as fit, and says how many.
    pub(super) fn admit(&self, letters: usize) -> usize {
        let before = self.waiting.fetch_add(letters, Ordering::Relaxed);
        let room = MAILBOX_LETTERS_MAX.saturating_sub(before).min(letters);
        self.waiting.fetch_sub(letters - room, Ordering::Relaxed);
        room
    }

    /// Letters have left the mailbox.
    pub(super) fn taken(&self, letters: usize) {
        self.waiting.fetch_sub(letters, Ordering::Relaxed);
    }
}

fn cut(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX - '…'.len_utf8()));
        reason.push('…');
    }
    reason
}
