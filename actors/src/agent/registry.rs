//! The agents of a node, as the queen keeps them and the doors see them.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use queenright_protocol::colony::{AGENT_DONE, AGENT_STOPPED};
use ractor::{Actor, ActorId, ActorRef};

use super::actor::{Agent, AgentMessage, AtWork, Start};
use super::behaviour::{AgentContext, Behaviour, Kinds};
use super::entry::{Entry, Phase, Said};
use super::filter::summary;
use super::generation::Generation;
use super::home::Home;
use super::kin::{ChildEnded, Kin};
use super::names::{Named, Names};
use super::plan::Plans;
use super::population::Population;
use super::registration::Whose;
use super::restart::{End, Verdict};
use super::servants::Servants;
use super::signal::Signals;
use super::{
    AgentCounts, AgentError, AgentFilter, AgentOrder, AgentPage, AgentSpec, AgentState, AgentStatus, AgentSummary,
};
use crate::queen::QueenMessage;
use crate::replica::Replica;
use crate::topic::Topics;

/// Why a generation ended that somebody wanted to begin again.
const RESTARTED: &str = "was restarted";

/// The agents of a node.
pub(crate) struct Agents {
    kinds: Kinds,
    pub(super) home: Arc<Home>,
    started: Instant,
    next_number: AtomicU64,
    /// No agent whose name is forgotten had a later generation: a generation of a name never comes twice.
    generation_floor: AtomicU64,
    plans: Plans,
    kin: Kin,
    names: Names,
    // A mutex: only the queen comes here, one message at a time. Held for a look-up. All actors are of this node, so their
    // numbers tell them apart.
    by_actor: Mutex<HashMap<u64, Arc<Entry>>>,
}

impl Agents {
    pub(crate) fn new(kinds: Kinds, replica: Arc<Replica>, signals: Arc<Signals>, topics: Arc<Topics>) -> Agents {
        let home = Home {
            replica,
            signals,
            topics,
            population: Population::default(),
            servants: Servants::default(),
        };
        Agents {
            kinds,
            home: Arc::new(home),
            started: Instant::now(),
            next_number: AtomicU64::new(1),
            generation_floor: AtomicU64::new(0),
            plans: Plans::default(),
            kin: Kin::default(),
            names: Names::default(),
            by_actor: Mutex::new(HashMap::new()),
        }
    }

    fn by_actor(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.by_actor.lock().expect("nothing panics under this lock")
    }

    /// Starts an agent as a child of the queen.
    pub(crate) async fn spawn(
        &self,
        spec: AgentSpec,
        queen: &ActorRef<QueenMessage>,
    ) -> Result<AgentStatus, AgentError> {
        let behaviour = self.made(&spec)?;
        let entry = self.enter(spec)?;
        self.home.signals.add(entry.clone());
        self.kin.born(&entry);
        self.launch(&entry, behaviour, queen).await;
        Ok(entry.status())
    }

    /// Whether an agent could be started, as far as no other one matters.
    pub(crate) fn check(&self, spec: &AgentSpec) -> Result<(), AgentError> {
        self.made(spec).map(drop)
    }

    fn made(&self, spec: &AgentSpec) -> Result<Box<dyn Behaviour>, AgentError> {
        spec.check()?;
        if self.kinds.get(&spec.kind).is_none() {
            let (kind, known) = (spec.kind.clone(), self.kinds.names());
            return Err(AgentError::UnknownKind { kind, known });
        }
        self.make_of(spec).map_err(|problem| AgentError::Arguments {
            name: spec.name.clone(),
            problem,
        })
    }

    /// Makes the behaviour of an agent.
    pub(super) fn make(&self, entry: &Entry) -> Result<Box<dyn Behaviour>, String> {
        self.make_of(&entry.plan.spec(&entry.name))
    }

    /// Runs in the queen: a panic must not end her.
    fn make_of(&self, spec: &AgentSpec) -> Result<Box<dyn Behaviour>, String> {
        let make = self.kinds.get(&spec.kind).ok_or("there is no such kind")?;
        match catch_unwind(AssertUnwindSafe(|| make(spec))) {
            Ok(made) => made.map_err(|error| error.to_string()),
            Err(panic) => Err(panicked(&text(&*panic))),
        }
    }

    fn enter(&self, spec: AgentSpec) -> Result<Arc<Entry>, AgentError> {
        let mut names = self.names.lock();
        let before = names.get(&*spec.name).map(|Named(entry)| entry);
        if before.is_some_and(|entry| entry.is_live()) {
            return Err(AgentError::NameTaken { name: spec.name });
        }
        let parent = match &spec.parent {
            None => 0,
            Some(parent) => match names.get(&**parent) {
                Some(Named(entry)) if entry.is_live() => entry.number,
                _ => return Err(AgentError::NoParent { parent: parent.clone() }),
            },
        };
        let floor = self.generation_floor.load(Ordering::Relaxed);
        let generation = before.map_or(floor, |entry| entry.life().generation);
        self.home.population.enter()?;
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry::new(self.plans.take(spec), (number, parent), generation));
        names.replace(Named(entry.clone()));
        Ok(entry)
    }

    /// Starts the next generation of an agent.
    async fn launch(&self, entry: &Arc<Entry>, behaviour: Box<dyn Behaviour>, queen: &ActorRef<QueenMessage>) {
        let generation = entry.begin(queen);
        self.start(entry, generation, (behaviour, Start::First), queen).await;
    }

    /// Starts the actor of a generation of an agent.
    pub(super) async fn start(
        &self,
        entry: &Arc<Entry>,
        generation: Arc<Generation>,
        behaviour: (Box<dyn Behaviour>, Start),
        queen: &ActorRef<QueenMessage>,
    ) {
        let context = AgentContext {
            entry: entry.clone(),
            generation,
            home: self.home.clone(),
        };
        let at_work = AtWork::new(behaviour, context);
        // Its end comes to the queen as a message, after this: she finds the agent by its actor then.
        match Actor::spawn_linked(None, Agent, at_work, queen.get_cell()).await {
            Ok((actor, _)) => {
                self.by_actor().insert(actor.get_id().pid(), entry.clone());
                entry.works();
            }
            Err(error) => {
                let reason = format!("was not started: {error}");
                self.end_generation(entry, &reason, queen);
                self.judge(entry, End::Failed, reason, queen);
            }
        }
    }

    /// The back-off of an agent is over: starts its next generation, unless it was stopped meanwhile.
    pub(crate) async fn restart(&self, number: u64, queen: &ActorRef<QueenMessage>) {
        let Some(entry) = self.home.signals.entry(number) else {
            return;
        };
        if entry.life().phase != Phase::Recovering {
            return;
        }
        match self.make(&entry) {
            Ok(behaviour) => self.launch(&entry, behaviour, queen).await,
            Err(problem) => self.judge(&entry, End::Failed, problem, queen),
        }
    }

    /// An agent's actor has ended: with what it said when it panicked.
    pub(crate) fn ended(&self, actor: ActorId, panic: Option<String>, queen: &ActorRef<QueenMessage>) {
        let Some(entry) = self.by_actor().remove(&actor.pid()) else {
            return;
        };
        let (said, again) = entry.hear();
        let stopped = !entry.is_live();
        let (end, reason) = match (panic, said) {
            (None, Some(Said::Passive(state, serves))) if !stopped && !again => {
                return self.rest(&entry, (state, serves), queen);
            }
            (_, _) if again => (End::Done, RESTARTED.to_owned()),
            (Some(panic), _) => (End::Failed, panicked(&panic)),
            (None, Some(Said::Failed(reason))) => (End::Failed, reason),
            (None, Some(Said::Done)) => (End::Done, AGENT_DONE.to_owned()),
            (None, None | Some(Said::Passive(..))) if stopped => (End::Failed, AGENT_STOPPED.to_owned()),
            (None, _) => (End::Failed, "its actor ended, and nobody had asked for it".to_owned()),
        };
        self.end_generation(&entry, &reason, queen);
        match (stopped, again) {
            (true, _) => self.home.signals.remove(entry.number),
            (false, true) => self.recover_now(&entry, queen),
            (false, false) => self.judge(&entry, end, reason, queen),
        }
    }

    /// The present generation of an agent has ended: nothing that was for it reaches it any more, and its children end too.
    pub(super) fn end_generation(&self, entry: &Entry, reason: &str, queen: &ActorRef<QueenMessage>) {
        let Some(generation) = entry.close() else { return };
        generation.close();
        self.home.topics.forget(entry.number, generation.number);
        generation.registration.end(Whose::of(entry, &generation), reason);
        self.stop_children(entry, queen);
    }

    /// Does what the policy of an agent says about an end.
    pub(super) fn judge(&self, entry: &Arc<Entry>, end: End, reason: String, queen: &ActorRef<QueenMessage>) {
        let policy = &entry.plan.restart;
        let now_ms = self.started.elapsed().as_millis() as u64;
        let verdict = entry.life().restarts().judge(policy, end, now_ms);
        let agent = &*entry.name;
        match verdict {
            Verdict::Done => self.finish(entry, Phase::Done, None, queen),
            Verdict::Failed => {
                tracing::warn!(agent, %reason, "agent failed");
                self.finish(entry, Phase::Failed, Some(reason), queen);
            }
            Verdict::TooMany => {
                let (limit, within_ms) = (policy.limit, policy.within_ms);
                tracing::warn!(agent, %reason, limit, within_ms, "agent failed, and was restarted too often before");
                let reason = format!("{reason} (after {limit} restarts within {within_ms} ms, the limit)");
                self.finish(entry, Phase::Failed, Some(reason), queen);
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
    fn finish(&self, entry: &Arc<Entry>, phase: Phase, reason: Option<String>, queen: &ActorRef<QueenMessage>) {
        self.unlist(entry);
        if let Some(before) = entry.finish(phase, reason) {
            if before == Phase::Passive {
                self.end_generation(entry, AGENT_STOPPED, queen);
            }
            self.home.population.leave(before);
            self.kin.gone(entry);
            self.tell_parent(entry);
            self.forget_for(entry);
            self.wake_next(queen);
        }
        // An actor that still runs takes no more signals once it has ended.
        if entry.present().is_none() {
            self.home.signals.remove(entry.number);
        }
    }

    /// Forgets the agent that ended longest ago, if too many are remembered now.
    fn forget_for(&self, entry: &Entry) {
        let Some((name, number)) = self.home.population.ended(entry.name.clone(), entry.number) else {
            return;
        };
        let mut names = self.names.lock();
        if let Some(Named(old)) = names.get(&*name).filter(|Named(old)| old.number == number) {
            let generation = old.life().generation;
            self.generation_floor.fetch_max(generation, Ordering::Relaxed);
            names.remove(&*name);
        }
    }

    fn tell_parent(&self, child: &Entry) {
        let Some(parent) = Some(child.parent).filter(|parent| *parent != 0) else {
            return;
        };
        let parent = self.home.signals.entry(parent).filter(|parent| parent.is_live());
        let Some(present) = parent.and_then(|parent| parent.present().clone()) else {
            return;
        };
        present.post_one(AgentMessage::ChildEnded(Box::new(ChildEnded {
            name: child.name.to_string(),
            number: child.number,
            state: child.state(),
            reason: Some(child.state())
                .filter(|state| *state == AgentState::Failed)
                .and_then(|_| child.reason()),
        })));
    }

    fn stop_children(&self, entry: &Entry, queen: &ActorRef<QueenMessage>) {
        for below in self.kin.below(entry.number) {
            self.stop_alone(&below, queen);
        }
    }

    /// Stops an agent, its children before it: what it is doing is broken off, and a restart that it waits for is called
    /// off.
    pub(crate) fn stop(&self, name: &str, queen: &ActorRef<QueenMessage>) -> Result<(), AgentError> {
        let entry = self.entry(name)?;
        self.stop_children(&entry, queen);
        self.stop_alone(&entry, queen);
        Ok(())
    }

    pub(crate) fn stop_all(&self, queen: &ActorRef<QueenMessage>) {
        let mut entries: Vec<_> = self.names.lock().iter().map(|Named(entry)| entry.clone()).collect();
        // Children have larger numbers than their parents.
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.number));
        entries.iter().for_each(|entry| self.stop_alone(entry, queen));
    }

    fn stop_alone(&self, entry: &Arc<Entry>, queen: &ActorRef<QueenMessage>) {
        self.finish(entry, Phase::Stopped, None, queen);
        kill(entry);
    }

    /// Does what somebody asks of an agent.
    pub(crate) async fn order(
        &self,
        name: &str,
        order: AgentOrder,
        queen: &ActorRef<QueenMessage>,
    ) -> Result<AgentStatus, AgentError> {
        let entry = self.entry(name)?;
        if !entry.is_live() {
            return match order {
                AgentOrder::Restart => self.spawn(entry.plan.spec(name), queen).await,
                _ => Err(AgentError::NotLive {
                    name: name.to_owned(),
                    state: entry.state(),
                    order,
                }),
            };
        }
        match order {
            AgentOrder::Pause => self.pause(&entry, true),
            AgentOrder::Resume => {
                self.pause(&entry, false);
                match entry
                    .present()
                    .as_ref()
                    .map(|present| (present.actor(), present.letters()))
                {
                    // One that has ended takes up nothing.
                    Some((Some(actor), _)) => drop(actor.cast(AgentMessage::Resume)),
                    Some((None, 1..)) => self.wake_later(entry.number, queen),
                    _ => {}
                }
            }
            AgentOrder::Restart => self.begin_again(&entry, queen)?,
            AgentOrder::Nudge => {
                // One that waits for a restart begins with a step anyway.
                if let Some(present) = entry.present().as_ref() {
                    present.post_one(AgentMessage::Nudge);
                }
            }
        }
        Ok(entry.status())
    }

    fn pause(&self, entry: &Entry, paused: bool) {
        {
            let mut life = entry.life();
            life.paused = paused;
            if let Some(present) = entry.present().as_ref() {
                present.set_paused(paused);
            }
        }
        match paused {
            true => self.unlist(entry),
            false => self.list(entry),
        }
    }

    /// Ends the present generation of an agent that lives, and starts the next one.
    fn begin_again(&self, entry: &Arc<Entry>, queen: &ActorRef<QueenMessage>) -> Result<(), AgentError> {
        let phase = entry.life().phase;
        match phase {
            Phase::Passive => {
                self.home.population.enter()?;
                self.unlist(entry);
                self.home.population.leave(Phase::Passive);
                self.end_generation(entry, RESTARTED, queen);
                self.recover_now(entry, queen);
            }
            Phase::Recovering => self.recover_now(entry, queen),
            _ => {
                entry.again();
                kill(entry);
            }
        }
        Ok(())
    }

    fn recover_now(&self, entry: &Entry, queen: &ActorRef<QueenMessage>) {
        entry.recover_now();
        // A queen that has ended starts nothing.
        let _ = queen.cast(QueenMessage::RestartAgent(entry.number));
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>, AgentError> {
        self.names
            .get(name)
            .ok_or_else(|| AgentError::NotFound { name: name.to_string() })
    }

    /// One agent, with its accounts and children.
    pub(crate) fn status(&self, name: &str) -> Result<AgentStatus, AgentError> {
        let entry = self.entry(name)?;
        Ok(AgentStatus {
            accounts: Some(entry.pairs.accounts()),
            children: Some(self.kin.shown(entry.number)),
            ..entry.status()
        })
    }

    /// A page of the agents that a filter chooses, by name, without their accounts. Takes long when there are many.
    pub(crate) fn page(&self, filter: &AgentFilter) -> AgentPage {
        filter.page(&self.names)
    }

    /// How many agents are in which state, and who is in trouble.
    pub(crate) fn summary(&self) -> AgentSummary {
        summary(&self.names)
    }

    pub(crate) fn counts(&self) -> AgentCounts {
        self.home.population.counts()
    }

    /// How many agents live: work, or will again.
    pub(crate) fn live(&self) -> u64 {
        let counts = self.counts();
        counts.active + counts.passive
    }
}

/// Ends the actor of an agent at once.
fn kill(entry: &Entry) {
    if let Some(actor) = entry.present().as_ref().and_then(|present| present.actor()) {
        actor.kill();
    }
}

pub(super) fn panicked(message: &str) -> String {
    format!("panicked: {message}")
}

pub(super) fn text(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = literal.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "with what is no text".to_owned())
}
