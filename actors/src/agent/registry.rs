//! The agents of a node, as the queen keeps them and the doors see them.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use queenright_protocol::colony::{AGENT_DONE, AGENT_STOPPED};
use ractor::{Actor, ActorId, ActorRef};

use super::actor::{Agent, AtWork};
use super::behaviour::{AgentContext, Behaviour, Kinds};
use super::entry::{Entry, Said};
use super::registration::Whose;
use super::restart::{End, Verdict};
use super::signal::Signals;
use super::{AgentError, AgentSpec, AgentState, AgentStatus};
use crate::queen::QueenMessage;
use crate::replica::Replica;
use crate::topic::Topics;

/// How many agents a node hosts, those that have ended and are still shown included.
const AGENTS_MAX: usize = 100_000;

/// The agents of a node.
pub(crate) struct Agents {
    kinds: Kinds,
    replica: Arc<Replica>,
    signals: Arc<Signals>,
    topics: Arc<Topics>,
    started: Instant,
    next_number: AtomicU64,
    /// No agent whose name is forgotten had a later generation: a generation of a name never comes twice.
    generation_floor: AtomicU64,
    /// How many agents live.
    live: AtomicU64,
    // A mutex: the queen writes, doors read. Held for a look-up, or to note the agents that there are.
    by_name: Mutex<BTreeMap<String, Arc<Entry>>>,
    // A mutex: only the queen comes here, one message at a time. Held for a look-up.
    by_actor: Mutex<HashMap<ActorId, Arc<Entry>>>,
}

impl Agents {
    pub(crate) fn new(kinds: Kinds, replica: Arc<Replica>, signals: Arc<Signals>, topics: Arc<Topics>) -> Agents {
        Agents {
            kinds,
            replica,
            signals,
            topics,
            started: Instant::now(),
            next_number: AtomicU64::new(1),
            generation_floor: AtomicU64::new(0),
            live: AtomicU64::new(0),
            by_name: Mutex::new(BTreeMap::new()),
            by_actor: Mutex::new(HashMap::new()),
        }
    }

    fn by_name(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.by_name.lock().expect("nothing panics under this lock")
    }

    fn by_actor(&self) -> MutexGuard<'_, HashMap<ActorId, Arc<Entry>>> {
        self.by_actor.lock().expect("nothing panics under this lock")
    }

    /// Starts an agent as a child of the queen.
    pub(crate) async fn spawn(
        &self,
        spec: AgentSpec,
        queen: &ActorRef<QueenMessage>,
    ) -> Result<AgentStatus, AgentError> {
        spec.check()?;
        if self.kinds.get(&spec.kind).is_none() {
            let (kind, known) = (spec.kind, self.kinds.names());
            return Err(AgentError::UnknownKind { kind, known });
        }
        let behaviour = self.make(&spec).map_err(|problem| AgentError::Arguments {
            name: spec.name.clone(),
            problem,
        })?;
        let entry = self.enter(spec)?;
        self.signals.add(entry.clone());
        self.launch(&entry, behaviour, queen).await;
        Ok(entry.status())
    }

    /// Makes the behaviour of an agent. Runs in the queen: a panic must not end her.
    fn make(&self, spec: &AgentSpec) -> Result<Box<dyn Behaviour>, String> {
        let make = self.kinds.get(&spec.kind).ok_or("there is no such kind")?;
        match catch_unwind(AssertUnwindSafe(|| make(spec))) {
            Ok(made) => made.map_err(|error| error.to_string()),
            Err(panic) => Err(panicked(&text(&*panic))),
        }
    }

    fn enter(&self, spec: AgentSpec) -> Result<Arc<Entry>, AgentError> {
        let mut by_name = self.by_name();
        let before = by_name.get(&spec.name);
        if before.is_some_and(|entry| entry.is_live()) {
            return Err(AgentError::NameTaken { name: spec.name });
        }
        let floor = self.generation_floor.load(Ordering::Relaxed);
        let generation = before.map_or(floor, |entry| entry.life().generation);
        if before.is_none() && by_name.len() >= AGENTS_MAX {
            let live = self.live();
            if live >= AGENTS_MAX as u64 {
                return Err(AgentError::TooMany {
                    agents: live,
                    limit: AGENTS_MAX as u64,
                });
            }
            by_name.retain(|_, entry| {
                let life = entry.life();
                self.generation_floor.fetch_max(life.generation, Ordering::Relaxed);
                life.state.is_live()
            });
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry::new(spec, number, generation));
        by_name.insert(entry.spec.name.clone(), entry.clone());
        self.live.fetch_add(1, Ordering::Relaxed);
        Ok(entry)
    }

    /// Starts the next generation of an agent.
    async fn launch(&self, entry: &Arc<Entry>, behaviour: Box<dyn Behaviour>, queen: &ActorRef<QueenMessage>) {
        let generation = entry.begin();
        let context = AgentContext {
            entry: entry.clone(),
            generation,
            queen: queen.clone(),
            replica: self.replica.clone(),
            signals: self.signals.clone(),
            topics: self.topics.clone(),
        };
        let at_work = AtWork {
            behaviour,
            context,
            stepping: false,
        };
        // Its end comes to the queen as a message, after this: she finds the agent by its actor then.
        match Actor::spawn_linked(None, Agent, at_work, queen.get_cell()).await {
            Ok((actor, _)) => {
                self.by_actor().insert(actor.get_id(), entry.clone());
                entry.works();
            }
            Err(error) => {
                entry.ended();
                self.judge(entry, End::Failed, format!("was not started: {error}"), queen);
            }
        }
    }

    /// The back-off of an agent is over: starts its next generation, unless it was stopped meanwhile.
    pub(crate) async fn restart(&self, number: u64, queen: &ActorRef<QueenMessage>) {
        let Some(entry) = self.signals.entry(number) else {
            return;
        };
        if entry.life().state != AgentState::Restarting {
            return;
        }
        match self.make(&entry.spec) {
            Ok(behaviour) => self.launch(&entry, behaviour, queen).await,
            Err(problem) => self.judge(&entry, End::Failed, problem, queen),
        }
    }

    /// An agent's actor has ended: with what it said when it panicked.
    pub(crate) fn ended(&self, actor: ActorId, panic: Option<String>, queen: &ActorRef<QueenMessage>) {
        let Some(entry) = self.by_actor().remove(&actor) else {
            return;
        };
        let (generation, said) = entry.ended();
        let stopped = !entry.is_live();
        let (end, reason) = match (panic, said) {
            (Some(panic), _) => (End::Failed, panicked(&panic)),
            (None, Some(Said::Failed(reason))) => (End::Failed, reason),
            (None, Some(Said::Done)) => (End::Done, AGENT_DONE.to_owned()),
            (None, None) if stopped => (End::Failed, AGENT_STOPPED.to_owned()),
            (None, None) => (End::Failed, "its actor ended, and nobody had asked for it".to_owned()),
        };
        if let Some(generation) = generation {
            self.topics.forget(entry.number, generation.number);
            let whose = Whose::of(&entry, &generation, queen);
            generation.registration.end(whose, &reason);
        }
        match stopped {
            true => self.signals.remove(entry.number),
            false => self.judge(&entry, end, reason, queen),
        }
    }

    /// Does what the policy of an agent says about an end.
    fn judge(&self, entry: &Arc<Entry>, end: End, reason: String, queen: &ActorRef<QueenMessage>) {
        let policy = &entry.spec.restart;
        let now_ms = self.started.elapsed().as_millis() as u64;
        let verdict = entry.life().restarts.judge(policy, end, now_ms);
        let agent = &entry.spec.name;
        match verdict {
            Verdict::Done => self.finish(entry, AgentState::Done, None),
            Verdict::Failed => {
                tracing::warn!(agent, %reason, "agent failed");
                self.finish(entry, AgentState::Failed, Some(reason));
            }
            Verdict::TooMany => {
                let (limit, within_ms) = (policy.limit, policy.within_ms);
                tracing::warn!(agent, %reason, limit, within_ms, "agent failed, and was restarted too often before");
                let reason = format!("{reason} (after {limit} restarts within {within_ms} ms, the limit)");
                self.finish(entry, AgentState::Failed, Some(reason));
            }
            Verdict::Restart { after_ms } => {
                tracing::warn!(agent, %reason, after_ms, "agent ended and is restarted");
                let (after, number) = (Duration::from_millis(after_ms), entry.number);
                let timer = queen.send_after(after, move || QueenMessage::RestartAgent(number));
                entry.wait(reason, after, timer.abort_handle());
            }
        }
    }

    /// Ends an agent for good.
    fn finish(&self, entry: &Entry, state: AgentState, reason: Option<String>) {
        if entry.finish(state, reason) {
            self.live.fetch_sub(1, Ordering::Relaxed);
        }
        // An actor that still runs takes no more signals once it has ended.
        if entry.present().is_none() {
            self.signals.remove(entry.number);
        }
    }

    /// Stops an agent: what it is doing is broken off, and a restart that it waits for is called off.
    pub(crate) fn stop(&self, name: &str) -> Result<(), AgentError> {
        self.stop_entry(&*self.entry(name)?);
        Ok(())
    }

    pub(crate) fn stop_all(&self) {
        let entries: Vec<_> = self.by_name().values().cloned().collect();
        entries.iter().for_each(|entry| self.stop_entry(entry));
    }

    fn stop_entry(&self, entry: &Entry) {
        self.finish(entry, AgentState::Stopped, None);
        if let Some(actor) = entry.present().as_ref().and_then(|present| present.actor()) {
            actor.kill();
        }
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>, AgentError> {
        self.by_name()
            .get(name)
            .cloned()
            .ok_or_else(|| AgentError::NotFound { name: name.to_string() })
    }

    /// One agent, with its accounts.
    pub(crate) fn status(&self, name: &str) -> Result<AgentStatus, AgentError> {
        let entry = self.entry(name)?;
        let accounts = Some(entry.pairs.accounts());
        Ok(AgentStatus {
            accounts,
            ..entry.status()
        })
    }

    /// All agents, by name, without their accounts.
    pub(crate) fn all(&self) -> Vec<AgentStatus> {
        let entries: Vec<_> = self.by_name().values().cloned().collect();
        entries.iter().map(|entry| entry.status()).collect()
    }

    /// How many agents live: work, or will again.
    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }
}

fn panicked(message: &str) -> String {
    format!("panicked: {message}")
}

fn text(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = literal.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "with what is no text".to_owned())
}
