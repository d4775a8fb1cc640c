//! Passive agents. An agent becomes passive when its behaviour says so, or has had nothing to do for as long as its
//! specification says, if the behaviour gives up its state as bytes. Its actor ends, its generation goes on: addresses of
//! it and its subscriptions stay valid, and what it holds of the colony stays held.
//!
//! What comes for it, a signal, a question, a message of a topic, a nudge, the end of a child, or a task that it takes (as a
//! nudge), waits in its record and wakes it: the behaviour is made anew and given the bytes, and then what waits, in its order. It takes no first step.
//! Nothing is lost but what the bound of the mailbox refuses. When the node is full of active agents, those to be woken
//! stand in line.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use queenright_protocol::colony::Serves;
use ractor::ActorRef;

use super::actor::Start;
use super::behaviour::Behaviour;
use super::entry::{Entry, Phase};
use super::registry::{Agents, panicked, text};
use super::restart::End;
use crate::queen::QueenMessage;

/// How large the state of a passive agent may be, in bytes: more belongs into the memory of its project.
pub const PASSIVE_BYTES_MAX: usize = 16 * 1024;

impl Agents {
    /// The actor of an agent has ended since the agent becomes passive.
    pub(super) fn rest(
        &self,
        entry: &Entry,
        (state, serves): (Box<[u8]>, Option<Arc<Serves>>),
        queen: &ActorRef<QueenMessage>,
    ) {
        entry.rest(state, serves);
        self.home.population.passivated();
        self.list(entry);
        let waited_for = entry.present().as_ref().is_some_and(|present| present.rest());
        if waited_for {
            self.wake_later(entry.number, queen);
        }
        self.wake_next(queen);
    }

    /// Something waits for the agent with this number: wakes it, unless it is paused or there is no room.
    pub(crate) async fn wake(&self, number: u64, queen: &ActorRef<QueenMessage>) {
        let present = self.home.signals.entry(number).and_then(|entry| {
            let generation = entry.present().as_ref().cloned()?;
            Some((entry, generation))
        });
        // Said twice of one for which something came while its actor was ending: the second time nothing waits for it, and
        // nothing would let it become passive again.
        let due = present.filter(|(entry, generation)| entry.is_to_be_woken() && generation.is_awaited());
        let Some((entry, generation)) = due else {
            // Its turn is the next one's.
            self.wake_next(queen);
            return;
        };
        if !self.home.population.woken(number) {
            return;
        }
        self.unlist(&entry);
        let state = entry.wake();
        let woken = self.make(&entry).and_then(|behaviour| awake(behaviour, &state));
        match woken {
            Ok(behaviour) => self.start(&entry, generation, (behaviour, Start::Woken), queen).await,
            Err(problem) => {
                let problem = format!("was not woken: {problem}");
                self.end_generation(&entry, &problem, queen);
                self.judge(&entry, End::Failed, problem, queen);
            }
        }
    }

    /// A passive agent that nobody has paused is woken by tasks, if it takes some.
    pub(super) fn list(&self, entry: &Entry) {
        let life = entry.life();
        if let Some(serves) = life.serves().filter(|_| life.phase == Phase::Passive && !life.paused) {
            self.home.servants.insert(serves, entry.number);
        }
    }

    /// No task wakes it, for now.
    pub(super) fn unlist(&self, entry: &Entry) {
        if let Some(serves) = entry.life().serves() {
            self.home.servants.remove(serves, entry.number);
        }
    }

    /// There may be room for one of those that stand in line.
    pub(super) fn wake_next(&self, queen: &ActorRef<QueenMessage>) {
        if let Some(next) = self.home.population.next_wake() {
            self.wake_later(next, queen);
        }
    }

    pub(super) fn wake_later(&self, number: u64, queen: &ActorRef<QueenMessage>) {
        // A queen that has ended wakes nobody.
        let _ = queen.cast(QueenMessage::WakeAgent(number));
    }
}

impl Entry {
    /// Whether it is passive and nobody has paused it.
    pub(super) fn is_to_be_woken(&self) -> bool {
        let life = self.life();
        life.phase == Phase::Passive && !life.paused
    }
}

/// Gives a behaviour its state. Runs in the queen: a panic must not end her.
fn awake(mut behaviour: Box<dyn Behaviour>, state: &[u8]) -> Result<Box<dyn Behaviour>, String> {
    let woken = catch_unwind(AssertUnwindSafe(|| behaviour.wake(state)));
    match woken {
        Ok(Ok(())) => Ok(behaviour),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(panicked(&text(&*panic))),
    }
}
