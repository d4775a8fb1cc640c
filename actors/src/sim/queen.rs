//! The shell around [`Rounds`] in a simulated node: what the actor `queen::actor` does with its mailbox and its timer, done
//! by one task. The rounds and their effects are the real ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use queenright_protocol::colony::{Answer, Batch, Outcome, Round};
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::body::encode;
use crate::consensus::{Consensus, Fate};
use crate::queen::{Effect, Input, NOT_TAKEN_PAUSE, Request, RoundLimits, Rounds, SubmitError};
use crate::replica::Replica;
use crate::router::Router;

/// How long a command may be on its way, in milliseconds of cluster time: as the actor gives it.
const COMMAND_LIFE_MS: u64 = 60_000;
/// How often rounds under way are looked at, as by the actor.
const TICK: Duration = Duration::from_millis(100);
/// How often the leader looks whether something is due.
const LOOK: Duration = Duration::from_millis(50);
/// How many messages may wait: more than a simulated node ever has clients, rounds and entries under way.
const MAILBOX: usize = 65_536;

/// What the queen is told.
pub(super) enum Message {
    Submit(u64, Request),
    Round { from: NodeId, bytes: Bytes },
    Refused(NodeId),
    Applied(Vec<Answer>),
    Leader(Option<NodeId>),
    EntryDone,
    EntryNotTaken(Vec<Bytes>),
    DueDone,
}

/// The queen's mailbox, and what she has answered. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Mailbox {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    messages: Mutex<VecDeque<Message>>,
    wake: Notify,
    answers: Mutex<Vec<(u64, Result<Outcome, SubmitError>)>>,
}

impl Mailbox {
    pub(super) fn put(&self, message: Message) {
        let mut messages = self.messages();
        assert!(messages.len() < MAILBOX, "the mailbox of a simulated queen is full");
        messages.push_back(message);
        drop(messages);
        self.shared.wake.notify_one();
    }

    fn messages(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.shared.messages.lock().expect("nothing panics under this lock")
    }

    /// What was answered since the last call.
    pub(super) fn take_answers(&self) -> Vec<(u64, Result<Outcome, SubmitError>)> {
        std::mem::take(&mut *self.shared.answers.lock().expect("nothing panics under this lock"))
    }
}

/// The queen of one start of a node.
pub(super) struct SimQueen {
    pub(super) rounds: Rounds<u64>,
    pub(super) mailbox: Mailbox,
    pub(super) replica: Arc<Replica>,
    pub(super) consensus: Arc<Consensus>,
    pub(super) router: Arc<Router>,
    incarnation: u64,
    leads: bool,
    /// Whether an empty round is under way.
    proposed: bool,
    started: Instant,
    /// Cluster time when this node began to lead, and that moment.
    clock: Option<(u64, Instant)>,
}

impl SimQueen {
    pub(super) fn new(
        incarnation: u64,
        mailbox: Mailbox,
        replica: Arc<Replica>,
        consensus: Arc<Consensus>,
        router: Arc<Router>,
    ) -> SimQueen {
        SimQueen {
            rounds: Rounds::new(router.me(), incarnation, RoundLimits::default()),
            mailbox,
            replica,
            consensus,
            router,
            incarnation,
            leads: false,
            proposed: false,
            started: Instant::now(),
            clock: None,
        }
    }

    pub(super) async fn run(mut self) {
        let (mut tick, mut look) = (self.started + TICK, self.started + LOOK);
        loop {
            let next = self.mailbox.messages().pop_front();
            match next {
                Some(message) => self.handle(message).await,
                None if self.rounds.has_work() => self.step(Input::Drain).await,
                None => {
                    let mailbox = self.mailbox.clone();
                    tokio::select! {
                        biased;
                        () = mailbox.shared.wake.notified() => {}
                        () = tokio::time::sleep_until(tick), if self.rounds.is_waiting() => {
                            tick = Instant::now() + TICK;
                            self.step(Input::Tick).await;
                        }
                        () = tokio::time::sleep_until(look), if self.leads => {
                            look = Instant::now() + LOOK;
                            self.look_at_due().await;
                        }
                    }
                }
            }
        }
    }

    async fn handle(&mut self, message: Message) {
        let input = match message {
            Message::Submit(ticket, request) => Input::Submit {
                ticket,
                request,
                expires_ms: self.replica.cluster_ms_estimate() + COMMAND_LIFE_MS,
            },
            Message::Round { from, bytes } => Input::Round { from, bytes },
            Message::Refused(from) => Input::Refused { from },
            Message::Applied(answers) => Input::Applied(answers),
            Message::Leader(leader) => {
                self.leads = leader == Some(self.router.me());
                if !self.leads {
                    self.clock = None;
                }
                Input::Leader(leader)
            }
            Message::EntryDone => Input::EntryDone,
            Message::EntryNotTaken(rounds) => Input::EntryNotTaken { rounds },
            Message::DueDone => {
                self.proposed = false;
                return;
            }
        };
        self.step(input).await;
    }

    async fn step(&mut self, input: Input<u64>) {
        let mut effects = Vec::new();
        let now_ms = self.started.elapsed().as_millis() as u64;
        self.rounds.step(now_ms, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Answer { ticket, outcome } => {
                    let mut answers = self
                        .mailbox
                        .shared
                        .answers
                        .lock()
                        .expect("nothing panics under this lock");
                    answers.push((ticket, outcome));
                }
                Effect::Send { to, first, bytes } => {
                    if self.router.send(to, Lane::Command, Kind::Round, 0, bytes).is_err() {
                        // Has no effects.
                        self.rounds.step(now_ms, Input::NotSent { first }, &mut Vec::new());
                    }
                }
                Effect::Refuse { to, leads } => {
                    let _ = self
                        .router
                        .send(to, Lane::Command, Kind::RoundRefused, 0, encode(&leads));
                }
                Effect::Append { rounds } => {
                    let again = rounds.clone();
                    let done = |fate| match fate {
                        Fate::Over => Message::EntryDone,
                        Fate::NotTaken => Message::EntryNotTaken(again),
                    };
                    self.append(rounds, done).await;
                }
            }
        }
    }

    /// Proposes an empty round if something is due.
    async fn look_at_due(&mut self) {
        let due_ms = self.replica.due(self.router.me()).0;
        let cluster_ms = self.cluster_ms();
        if self.proposed || due_ms.is_none_or(|due_ms| due_ms > cluster_ms) {
            return;
        }
        self.proposed = true;
        let round = Round {
            node: self.router.me(),
            incarnation: self.incarnation,
            commands: Vec::new(),
        };
        self.append(vec![round.encode()], |_| Message::DueDone).await;
    }

    /// Cluster time, as long as this node leads.
    fn cluster_ms(&mut self) -> u64 {
        let (base_ms, since) = *self
            .clock
            .get_or_insert_with(|| (self.replica.snapshot().colony.cluster_ms(), Instant::now()));
        base_ms + since.elapsed().as_millis() as u64
    }

    async fn append(&mut self, rounds: Vec<Bytes>, done: impl FnOnce(Fate) -> Message + Send + 'static) {
        let cluster_ms = self.cluster_ms();
        let entry = Batch {
            cluster_ms,
            // The clock on the wall decides nothing.
            wall_ms: cluster_ms,
            rounds,
            checkpoint: self.replica.unlogged_checkpoint(),
        }
        .encode();
        let mailbox = self.mailbox.clone();
        let done = move |fate| {
            if fate == Fate::Over {
                mailbox.put(done(fate));
                return;
            }
            tokio::spawn(async move {
                tokio::time::sleep(NOT_TAKEN_PAUSE).await;
                mailbox.put(done(fate));
            });
        };
        self.consensus.append(entry, done).await;
    }
}
