//! One generation of an agent, from a start to its end, and the way into its mailbox.
//!
//! The mailbox is that of its actor, while it has one. Between the end of the actor of an agent that becomes passive and
//! the start of the next one, what comes is *held* here. One word says which: the number of letters that wait, and a bit
//! for "held". The actor can set the bit only while no letter waits, so whatever was admitted before is taken out before;
//! whoever sees the bit takes the lock and looks again. The next actor is given what was held before the bit goes.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwapOption;
use once_cell::race::OnceBox;
use ractor::{ActorRef, MessagingErr};
use tokio::sync::watch;

use super::AgentState;
use super::actor::AgentMessage;
use super::pairs::Pairs;
use super::registration::Registration;
use crate::queen::QueenMessage;

/// How many signals and messages of topics may wait in one agent's mailbox.
const MAILBOX_LETTERS_MAX: u32 = 65_536;
/// What comes is held, not in the mailbox of an actor.
const HELD: u32 = 1 << (u32::BITS - 1);

const IDLE: u8 = 0;
const BUSY: u8 = 1;
const WAITING: u8 = 2;

/// One generation of an agent.
pub(crate) struct Generation {
    /// Grows with each start of an agent of this name.
    pub(crate) number: u64,
    /// The number of its agent.
    agent: u64,
    /// Who wakes it, and takes what it wants.
    pub(super) queen: ActorRef<QueenMessage>,
    actor: ArcSwapOption<ActorRef<AgentMessage>>,
    /// Letters that wait, and [`HELD`].
    waiting: AtomicU32,
    // A mutex: whoever sends to an agent that is passive, and its queen. Held for a place of the list, or to hand it over.
    held: Mutex<Option<Box<Held>>>,
    activity: AtomicU8,
    paused: AtomicBool,
    /// Tells of pauses whoever has asked.
    pauses: OnceBox<watch::Sender<bool>>,
    pub(super) registration: Registration,
    /// The accounts of its agent.
    pub(super) pairs: Arc<Pairs>,
}

#[derive(Default)]
struct Held {
    messages: Vec<AgentMessage>,
    /// Nobody will take them.
    closed: bool,
}

impl Generation {
    pub(super) fn new(
        number: u64,
        (agent, pairs): (u64, Arc<Pairs>),
        paused: bool,
        queen: ActorRef<QueenMessage>,
    ) -> Generation {
        Generation {
            number,
            agent,
            queen,
            actor: ArcSwapOption::empty(),
            waiting: AtomicU32::new(0),
            held: Mutex::default(),
            activity: AtomicU8::new(IDLE),
            paused: AtomicBool::new(paused),
            pauses: OnceBox::new(),
            registration: Registration::default(),
            pairs,
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Box<Held>>> {
        self.held.lock().expect("nothing panics under this lock")
    }

    /// Its actor has started: it is given what was held.
    pub(super) fn open(&self, actor: ActorRef<AgentMessage>) {
        let mut held = self.held();
        for message in held.take().unwrap_or_default().messages {
            // One that has ended already drops them, which counts them.
            let _ = actor.cast(message);
        }
        self.actor.store(Some(Arc::new(actor)));
        self.waiting.fetch_and(!HELD, Ordering::AcqRel);
    }

    /// Holds what comes from now on, unless something waits already.
    pub(super) fn hold(&self) -> bool {
        self.waiting
            .compare_exchange(0, HELD, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// It has no actor until it is opened again. Says whether something is held for it.
    pub(super) fn rest(&self) -> bool {
        self.actor.store(None);
        self.activity.store(IDLE, Ordering::Relaxed);
        self.is_awaited()
    }

    /// Whether something is held for it.
    pub(super) fn is_awaited(&self) -> bool {
        self.held().is_some()
    }

    /// It has ended: what is held, and what comes too late, is dropped.
    pub(super) fn close(&self) {
        let left = {
            let mut held = self.held();
            self.waiting.fetch_or(HELD, Ordering::AcqRel);
            held.replace(Box::new(Held {
                messages: Vec::new(),
                closed: true,
            }))
        };
        // Their end counts them, and comes back to this one's counts.
        drop(left);
        self.actor.store(None);
    }

    /// The actor, while there is one.
    pub(super) fn actor(&self) -> Option<ActorRef<AgentMessage>> {
        self.actor.load().as_ref().map(|actor| ActorRef::clone(actor))
    }

    /// Makes room in the count of the mailbox for as many letters as fit. Says how many, and whether they are held.
    pub(super) fn admit(&self, letters: usize) -> (usize, bool) {
        // No more than that have room, so all the count can be is far from its bit, however many threads come here at once.
        let letters = letters.min(MAILBOX_LETTERS_MAX as usize) as u32;
        let before = self.waiting.fetch_add(letters, Ordering::AcqRel);
        let room = MAILBOX_LETTERS_MAX.saturating_sub(before & !HELD).min(letters);
        if room < letters {
            self.waiting.fetch_sub(letters - room, Ordering::AcqRel);
        }
        (room as usize, before & HELD != 0)
    }

    /// Letters have left the mailbox, as many as were admitted before.
    pub(super) fn taken(&self, letters: usize) {
        self.waiting.fetch_sub(letters as u32, Ordering::AcqRel);
    }

    /// Letters that wait.
    pub(super) fn letters(&self) -> usize {
        (self.waiting.load(Ordering::Relaxed) & !HELD) as usize
    }

    /// Puts a message in whose letters were admitted; gives it back when it has ended.
    pub(super) fn post(&self, message: AgentMessage, held: bool) -> Result<(), Box<AgentMessage>> {
        if held {
            let mut mail = self.held();
            // The next actor may have started since.
            if self.waiting.load(Ordering::Acquire) & HELD != 0 {
                let mail = mail.get_or_insert_default();
                if mail.closed {
                    return Err(Box::new(message));
                }
                mail.messages.push(message);
                if mail.messages.len() == 1 {
                    // A queen that has ended wakes nobody.
                    let _ = self.queen.cast(QueenMessage::WakeAgent(self.agent));
                }
                return Ok(());
            }
        }
        match self.actor.load().as_ref() {
            None => Err(Box::new(message)),
            Some(actor) => match actor.cast(message) {
                Err(MessagingErr::SendErr(message)) => Err(Box::new(message)),
                _ => Ok(()),
            },
        }
    }

    /// Puts a message of the queen in, whatever the bound of the mailbox: there are few. `false` when it has ended.
    pub(super) fn post_one(&self, message: AgentMessage) -> bool {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let posted = self.post(message, before & HELD != 0).is_ok();
        if !posted {
            self.taken(1);
        }
        posted
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
        self.tell_of_pauses();
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Whether it is paused, now and from now on.
    pub(super) fn pauses(&self) -> watch::Receiver<bool> {
        let pauses = self
            .pauses
            .get_or_init(|| Box::new(watch::Sender::new(false)))
            .subscribe();
        self.tell_of_pauses();
        pauses
    }

    /// What was set before or while somebody asked is told: each of the two looks at what the other has done.
    fn tell_of_pauses(&self) {
        if let Some(pauses) = self.pauses.get() {
            pauses.send_if_modified(|told| {
                let before = std::mem::replace(told, self.is_paused());
                before != *told
            });
        }
    }

    /// It is in a step, or handles what came, until this is dropped.
    pub(super) fn busy(&self) -> Activity<'_> {
        Activity::begin(&self.activity, BUSY)
    }

    /// It waits within a step, until this is dropped.
    pub(super) fn waits(&self) -> Activity<'_> {
        Activity::begin(&self.activity, WAITING)
    }

    /// What it does, being at work.
    pub(super) fn activity(&self) -> AgentState {
        match self.activity.load(Ordering::Relaxed) {
            IDLE => AgentState::Idle,
            WAITING => AgentState::Waiting,
            _ => AgentState::Busy,
        }
    }
}

/// What an agent does until it goes back to what it did before.
pub(super) struct Activity<'a> {
    cell: &'a AtomicU8,
    before: u8,
}

impl Activity<'_> {
    fn begin(cell: &AtomicU8, now: u8) -> Activity<'_> {
        let before = cell.swap(now, Ordering::Relaxed);
        Activity { cell, before }
    }
}

impl Drop for Activity<'_> {
    fn drop(&mut self) {
        self.cell.store(self.before, Ordering::Relaxed);
    }
}
