//! The agent of kind `explorer`: an explorer that tells its neighbours what it believes, at the pace of a conductor.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde::Deserialize;

use super::explorer::{Explorer, ExplorerSpec};
use super::message::{Belief, Message, Wiring};
use super::scratch::Scratch;
use super::world::{World, WorldError, WorldSpec};
use crate::agent::{AgentContext, AgentSpec, Behaviour, BehaviourError, Kinds, Signal, Step, TellError};

/// The most steps that an explorer whose history is kept does: it reports some 15 bytes for each, and a node may host hundreds.
pub const HISTORY_STEPS_MAX: u64 = 2_000;
/// How many beliefs wait at most that were heard ahead of their step; the oldest goes first.
const AHEAD_MAX: usize = 2 * super::message::TOLD_MAX;
/// How many worlds a node knows at the same time before it looks which of them nobody needs any more.
const WORLDS_KEPT: usize = 4;
/// How often an explorer that runs freely reports: seldom enough to cost nothing.
const REPORT_EVERY: Duration = Duration::from_millis(100);

thread_local! {
    /// Room for the numbers of a step. One for each thread of the node, not one for each explorer: a step awaits nothing.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Adds the kinds `explorer` and `explorer-conductor` to those that a node hosts.
pub fn add_kinds(kinds: &mut Kinds) {
    let worlds = Worlds::default();
    kinds.add("explorer", move |spec| {
        Ok(Box::new(Exploring::new(spec, &worlds)?) as Box<dyn Behaviour>)
    });
    kinds.add("explorer-conductor", |spec| {
        Ok(Box::new(super::conductor::Conductor::new(spec)?) as Box<dyn Behaviour>)
    });
}

/// What an explorer is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Its world; explorers of one world share it.
    #[serde(default)]
    world: WorldSpec,
    /// How it is.
    #[serde(default)]
    explorer: ExplorerSpec,
    /// Whether it keeps where it was and how uncertain it was after each step, to report that at the end.
    #[serde(default)]
    history: bool,
}

/// The worlds that explorers of this node are in.
#[derive(Default)]
struct Worlds {
    // A mutex: agents are made on any thread. Held while a world is made, so that it is made once.
    made: Mutex<Vec<Weak<World>>>,
}

impl Worlds {
    fn get(&self, spec: &WorldSpec) -> Result<Arc<World>, WorldError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let mut there = made.iter().filter_map(Weak::upgrade);
        if let Some(world) = there.find(|world| world.spec() == spec) {
            return Ok(world);
        }
        let world = Arc::new(World::new(spec.clone())?);
        if made.len() >= WORLDS_KEPT {
            made.retain(|world| world.strong_count() > 0);
        }
        made.push(Arc::downgrade(&world));
        Ok(world)
    }
}

/// The behaviour. It reports how many steps it has done (`steps`), its `place` (row, column), whether it is `at_goal`, the
/// `entropy` of what it believes of the goal in nats; of beliefs how many it wanted to send (`sent`), how many of those were
/// `refused`, and how many it has `received`; of them those that came after the step that they were for (`late`); and what
/// it could not read (`unreadable`). At the end also how long it computed (`thinking_us`) and its history.
struct Exploring {
    explorer: Explorer,
    number: u32,
    wiring: Option<Arc<Wiring>>,
    /// Up to which step it may go.
    until: u64,
    /// The question that is answered when it is there, and for which step.
    asked: Option<(u64, Signal)>,
    /// Answers that found no room.
    unanswered: VecDeque<Signal>,
    heard: VecDeque<Belief>,
    /// What it has told of its present step; without that it is not done.
    told: bool,
    sent: u64,
    refused: u64,
    received: u64,
    late: u64,
    unreadable: u64,
    thinking: Duration,
    reported: Option<Instant>,
    history: Option<History>,
}

/// After each step.
#[derive(Default)]
struct History {
    places: Vec<u32>,
    entropies: Vec<f32>,
}

impl Exploring {
    fn new(spec: &AgentSpec, worlds: &Worlds) -> Result<Exploring, BehaviourError> {
        let arguments: Arguments = serde_json::from_value(spec.arguments.clone()).map_err(failed)?;
        let Arguments {
            world,
            explorer,
            history,
        } = arguments;
        if !(0.0..=1.0).contains(&explorer.trust) {
            return Err(failed(format!("explorer.trust: {} is not 0 to 1", explorer.trust)));
        }
        if explorer.update_every == 0 {
            return Err(failed("explorer.update_every: 0 is below 1"));
        }
        let world = worlds.get(&world).map_err(|error| failed(format!("world.{error}")))?;
        Ok(Exploring {
            number: explorer.number,
            explorer: Explorer::new(world, &explorer).map_err(failed)?,
            wiring: None,
            until: 0,
            asked: None,
            unanswered: VecDeque::new(),
            heard: VecDeque::new(),
            told: true,
            sent: 0,
            refused: 0,
            received: 0,
            late: 0,
            unreadable: 0,
            thinking: Duration::ZERO,
            reported: None,
            history: history.then(History::default),
        })
    }

    /// Does one step, if it may, and tells what it believes then.
    async fn go_on(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        while let Some(question) = self.unanswered.pop_front() {
            self.answer(question, context);
            if !self.unanswered.is_empty() {
                tokio::task::yield_now().await;
                return Ok(Step::Again);
            }
        }
        let Some(wiring) = self.wiring.clone() else {
            return Ok(Step::Wait);
        };
        if self.explorer.steps() < self.until {
            self.think(wiring.lockstep)?;
            self.told = false;
            let told = Message::Belief(Belief {
                step: self.explorer.steps(),
                number: self.number,
                place: self.explorer.place() as u32,
                goal: self.explorer.goal_belief().to_vec(),
            });
            let told = told.encode();
            for to in &wiring.tells {
                self.sent += 1;
                if context.tell_waiting(*to, &told).await.is_err() {
                    self.refused += 1;
                }
            }
            self.told = true;
        }
        self.settle(&wiring, context);
        let more = self.explorer.steps() < self.until || !self.unanswered.is_empty();
        Ok(if more { Step::Again } else { Step::Wait })
    }

    /// One step of the explorer, with what was heard of the step before, or in free running with the last that each said.
    fn think(&mut self, lockstep: bool) -> Result<(), BehaviourError> {
        let began = Instant::now();
        let done = self.explorer.steps();
        let mut heard: Vec<Belief> = match lockstep {
            true => {
                let (now, ahead) = std::mem::take(&mut self.heard)
                    .into_iter()
                    .partition::<Vec<_>, _>(|belief| belief.step <= done);
                self.heard = ahead.into();
                now
            }
            false => self.heard.drain(..).collect(),
        };
        // In the order of numbers, whichever came first: so a run in lock-step depends on its seed alone. Of each the last.
        heard.sort_by_key(|belief| (belief.number, belief.step));
        heard.reverse();
        heard.dedup_by_key(|belief| belief.number);
        let beliefs = heard.iter().map(|belief| &belief.goal[..]);
        let stepped = SCRATCH.with_borrow_mut(|scratch| self.explorer.step(beliefs, scratch));
        stepped.map_err(failed)?;
        self.thinking += began.elapsed();
        if let Some(history) = &mut self.history {
            history.places.push(self.explorer.place() as u32);
            history.entropies.push(self.explorer.goal_entropy() as f32);
        }
        Ok(())
    }

    /// Answers the conductor if all of the step that it asked for is done, and reports.
    fn settle(&mut self, wiring: &Wiring, context: &AgentContext) {
        let asked = self.asked.as_ref().map(|(step, _)| *step);
        let done = asked.is_some_and(|step| {
            let of_step = self.heard.iter().filter(|belief| belief.step == step).count();
            let here = self.explorer.steps() >= step && self.told;
            here && (!wiring.lockstep || of_step >= wiring.hears as usize)
        });
        // At the end every time, and before the answer: who has it may look.
        if self.told && self.explorer.steps() >= wiring.steps {
            self.reported = None;
        }
        self.report(context);
        if done && let Some((_, question)) = self.asked.take() {
            self.answer(question, context);
        }
    }

    fn answer(&mut self, question: Signal, context: &AgentContext) {
        if let Err(TellError::Busy { .. }) = context.answer(&question, &[]) {
            self.unanswered.push_back(question);
        }
    }

    /// Takes in one message. One that cannot be read is counted: whoever sent it must not end an explorer.
    fn take(&mut self, signal: Signal, context: &AgentContext) {
        let sites = self.explorer.world().sites().len();
        match Message::decode(&signal.payload, sites) {
            // It could not keep its history.
            Some(Message::Wire(wiring)) if self.history.is_some() && wiring.steps > HISTORY_STEPS_MAX => {
                self.unreadable += 1;
            }
            Some(Message::Wire(wiring)) => {
                self.wiring = Some(Arc::new(wiring));
                self.answer(signal, context);
            }
            Some(Message::Begin { step }) => {
                self.until = self.until.max(step);
                self.asked = Some((step, signal));
            }
            Some(Message::Belief(belief)) => {
                self.received += 1;
                let lockstep = self.wiring.as_ref().is_some_and(|wiring| wiring.lockstep);
                if lockstep && belief.step < self.explorer.steps() {
                    self.late += 1;
                    return;
                }
                if self.heard.len() == AHEAD_MAX {
                    self.heard.pop_front();
                }
                self.heard.push_back(belief);
            }
            None => self.unreadable += 1,
        }
    }

    fn report(&mut self, context: &AgentContext) {
        if self.reported.is_some_and(|reported| reported.elapsed() < REPORT_EVERY) {
            return;
        }
        self.reported = Some(Instant::now());
        let explorer = &self.explorer;
        let (row, column) = explorer.world().places()[explorer.place()];
        context.report("place", vec![row, column]);
        context.report("at_goal", explorer.is_at_goal());
        context.report("entropy", explorer.goal_entropy());
        context.report("sent", self.sent);
        context.report("refused", self.refused);
        context.report("received", self.received);
        context.report("late", self.late);
        context.report("unreadable", self.unreadable);
        context.report("thinking_us", self.thinking.as_micros() as u64);
        let steps = self.wiring.as_ref().map_or(u64::MAX, |wiring| wiring.steps);
        if explorer.steps() >= steps
            && let Some(History { places, entropies }) = self.history.take()
        {
            context.report("places", places);
            context.report("entropies", entropies);
        }
        // The last: who sees these steps sees what belongs to them.
        context.report("steps", self.explorer.steps());
    }
}

impl Behaviour for Exploring {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.go_on(context))
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        for signal in signals {
            self.take(signal, context);
        }
        Ok(Step::Again)
    }
}

pub(super) fn failed(problem: impl ToString) -> BehaviourError {
    BehaviourError(problem.to_string())
}
