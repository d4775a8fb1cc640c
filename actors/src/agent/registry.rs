//! The agents of a node, as the queen keeps them and the doors see them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use ractor::{Actor, ActorCell, ActorId, ActorRef};
use serde_json::Value;

use super::actor::{Agent, AgentMessage, AtWork};
use super::behaviour::{AgentContext, Kinds};
use super::signal::Signals;
use super::{AgentError, AgentSpec, AgentState, AgentStatus};
use crate::replica::Replica;

/// How many agents a node hosts, those that have ended and are still shown included.
const AGENTS_MAX: usize = 100_000;
/// How many signals may wait in one agent's mailbox.
pub(super) const MAILBOX_SIGNALS_MAX: usize = 65_536;

/// One agent.
pub(crate) struct Entry {
    pub(super) spec: AgentSpec,
    pub(super) number: u64,
    // A mutex: the agent's actor and its queen write it, doors read it. Held for a copy.
    life: Mutex<Life>,
    actor: OnceLock<ActorRef<AgentMessage>>,
    /// Signals in the mailbox.
    waiting: AtomicUsize,
}

struct Life {
    state: AgentState,
    reason: Option<String>,
    report: BTreeMap<String, Value>,
}

impl Entry {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().expect("nothing panics under this lock")
    }

    /// Notes how the agent ended; the first reason counts.
    pub(super) fn end(&self, state: AgentState, reason: Option<String>) {
        let mut life = self.life();
        if life.state == AgentState::Working {
            life.state = state;
            life.reason = reason;
        }
    }

    pub(super) fn report(&self, name: &str, value: Value) {
        self.life().report.insert(name.to_string(), value);
    }

    /// The actor, while it may take signals.
    pub(super) fn actor(&self) -> Option<&ActorRef<AgentMessage>> {
        self.actor.get()
    }

    /// Makes room in the count of the mailbox for as many signals as fit, and says how many.
    pub(super) fn admit(&self, signals: usize) -> usize {
        let before = self.waiting.fetch_add(signals, Ordering::Relaxed);
        let room = MAILBOX_SIGNALS_MAX.saturating_sub(before).min(signals);
        self.waiting.fetch_sub(signals - room, Ordering::Relaxed);
        room
    }

    /// Signals have left the mailbox.
    pub(super) fn taken(&self, signals: usize) {
        self.waiting.fetch_sub(signals, Ordering::Relaxed);
    }

    fn status(&self) -> AgentStatus {
        let life = self.life();
        AgentStatus {
            name: self.spec.name.clone(),
            kind: self.spec.kind.clone(),
            number: self.number,
            state: life.state,
            reason: life.reason.clone(),
            report: life.report.clone(),
        }
    }
}

/// The agents of a node.
pub(crate) struct Agents {
    kinds: Kinds,
    replica: Arc<Replica>,
    signals: Arc<Signals>,
    next_number: AtomicU64,
    // A mutex: the queen writes, doors read. Held for a look-up.
    by_name: Mutex<BTreeMap<String, Arc<Entry>>>,
}

impl Agents {
    pub(crate) fn new(kinds: Kinds, replica: Arc<Replica>, signals: Arc<Signals>) -> Agents {
        Agents {
            kinds,
            replica,
            signals,
            next_number: AtomicU64::new(1),
            by_name: Mutex::new(BTreeMap::new()),
        }
    }

    fn by_name(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.by_name.lock().expect("nothing panics under this lock")
    }

    /// Starts an agent as a child of the queen.
    pub(crate) async fn spawn(&self, spec: AgentSpec, queen: ActorCell) -> Result<AgentStatus, AgentError> {
        let make = self.kinds.get(&spec.kind).ok_or_else(|| AgentError::UnknownKind {
            kind: spec.kind.clone(),
            known: self.kinds.names(),
        })?;
        let behaviour = make(&spec).map_err(|error| AgentError::Arguments {
            name: spec.name.clone(),
            problem: error.to_string(),
        })?;
        let entry = self.enter(spec)?;
        let context = AgentContext {
            entry: entry.clone(),
            queen: queen.clone().into(),
            replica: self.replica.clone(),
            signals: self.signals.clone(),
        };
        let at_work = AtWork {
            behaviour,
            context,
            stepping: false,
        };
        match Actor::spawn_linked(None, Agent, at_work, queen).await {
            Ok((actor, _)) => {
                assert!(entry.actor.set(actor).is_ok(), "an agent is started once");
                self.signals.add(entry.clone());
            }
            Err(error) => entry.end(AgentState::Failed, Some(error.to_string())),
        }
        Ok(entry.status())
    }

    fn enter(&self, spec: AgentSpec) -> Result<Arc<Entry>, AgentError> {
        let mut by_name = self.by_name();
        if by_name
            .get(&spec.name)
            .is_some_and(|entry| entry.life().state == AgentState::Working)
        {
            return Err(AgentError::NameTaken { name: spec.name });
        }
        if by_name.len() >= AGENTS_MAX {
            by_name.retain(|_, entry| entry.life().state == AgentState::Working);
        }
        if by_name.len() >= AGENTS_MAX {
            return Err(AgentError::TooMany {
                agents: by_name.len() as u64,
                limit: AGENTS_MAX as u64,
            });
        }
        let entry = Arc::new(Entry {
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
            life: Mutex::new(Life {
                state: AgentState::Working,
                reason: None,
                report: BTreeMap::new(),
            }),
            actor: OnceLock::new(),
            waiting: AtomicUsize::new(0),
            spec,
        });
        by_name.insert(entry.spec.name.clone(), entry.clone());
        Ok(entry)
    }

    /// Stops an agent: what it is doing is broken off.
    pub(crate) fn stop(&self, name: &str) -> Result<(), AgentError> {
        let entry = self.entry(name)?;
        entry.end(AgentState::Stopped, None);
        if let Some(actor) = entry.actor() {
            actor.kill();
        }
        Ok(())
    }

    pub(crate) fn stop_all(&self) {
        for entry in self.by_name().values() {
            entry.end(AgentState::Stopped, None);
            if let Some(actor) = entry.actor() {
                actor.kill();
            }
        }
    }

    /// An agent's actor has ended: with a reason when it failed by itself.
    pub(crate) fn ended(&self, actor: ActorId, failure: Option<String>) {
        let found = {
            let by_name = self.by_name();
            let found = by_name
                .values()
                .find(|entry| entry.actor().is_some_and(|found| found.get_id() == actor));
            found.cloned()
        };
        let Some(entry) = found else { return };
        self.signals.remove(entry.number);
        if let Some(reason) = failure {
            tracing::warn!(agent = entry.spec.name, %reason, "agent failed");
            entry.end(AgentState::Failed, Some(reason));
        } else {
            entry.end(AgentState::Stopped, None);
        }
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>, AgentError> {
        self.by_name()
            .get(name)
            .cloned()
            .ok_or_else(|| AgentError::NotFound { name: name.to_string() })
    }

    /// One agent.
    pub(crate) fn status(&self, name: &str) -> Result<AgentStatus, AgentError> {
        Ok(self.entry(name)?.status())
    }

    /// All agents, by name.
    pub(crate) fn all(&self) -> Vec<AgentStatus> {
        self.by_name().values().map(|entry| entry.status()).collect()
    }

    /// How many agents work.
    pub(crate) fn working(&self) -> u64 {
        let by_name = self.by_name();
        by_name
            .values()
            .filter(|entry| entry.life().state == AgentState::Working)
            .count() as u64
    }
}
