//! Signals: volatile messages from agent to agent. At most once, in order for each pair of agents while the topology
//! stands, and accounted: sent = delivered + refused + lost.
//!
//! A signal is for one generation of an agent. One for a generation that has ended is dropped and counted, whether it is
//! still on its way or waits in the mailbox already.
//!
//! The body of a signal's envelope is the number and the generation of the agent that it is for, those of the one that
//! sent it (8 bytes each, little-endian), and the payload. The correlation is the number of the question, if it is one
//! (see `ask`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{BufMut, Bytes, BytesMut};
use imbl::OrdMap;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Envelope, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::actor::AgentMessage;
use super::ask::{Asks, Refusal};
use super::entry::Entry;
use super::generation::Generation;
use super::mailbox::{Delivery, Handed, Handing, Letter, hand};
use super::pairs::Counts;
use crate::router::{RouteError, Router};

/// What stands in front of the payload.
const HEAD_BYTES: usize = 32;
/// So many turns of others one waits for room in a mailbox, and then a while each time: its agent may be paused.
const TURNS_WAITED: u64 = 1_000;
/// How long a while is.
const WHILE: Duration = Duration::from_millis(1);

/// Where signals reach an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AgentAddress {
    /// The node that hosts it.
    pub node: NodeId,
    /// Its number there.
    pub number: u64,
    /// Which generation of it.
    pub generation: u64,
}

/// A signal as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Who sent it.
    pub from: AgentAddress,
    /// What it says.
    pub payload: Bytes,
    /// The number of the question that it is; 0 for one that nobody waits for an answer to.
    pub question: u64,
}

/// Why a signal was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// Too many signals wait already, on the link or in the mailbox of the agent.
    #[error("too many signals wait for {to:?}")]
    Busy {
        /// The agent that it was for.
        to: AgentAddress,
    },
    /// No agent of the node has that number, or that generation of it has ended.
    #[error("no agent {to:?}, or that generation of it has ended")]
    Unknown {
        /// The agent that it was for.
        to: AgentAddress,
    },
    /// There is no way to that node.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// It was to answer a signal that was no question.
    #[error("a signal of {to:?} was no question: nobody waits for an answer")]
    NotAsked {
        /// The agent that sent the signal.
        to: AgentAddress,
    },
}

/// Counts of signals on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignalCounts {
    /// Taken from agents of this node.
    pub sent: u64,
    /// Handed to agents of this node.
    pub delivered: u64,
    /// Not taken: the sender was told at once.
    pub refused: u64,
    /// Arrived here for an agent that is not there, or whose mailbox was full, or who ended before it took them out of
    /// it; or as an answer that nobody waited for any more. What a link loses is counted there.
    pub lost: u64,
    /// Of those refused or lost here, how many came too late.
    pub late: u64,
}

/// Carries signals between the agents of this node and the links.
pub struct Signals {
    router: Arc<Router>,
    /// A persistent map: an agent that comes or goes costs the path to it, not a copy of all.
    by_number: ArcSwap<OrdMap<u64, Arc<Entry>>>,
    sent: AtomicU64,
    refused: AtomicU64,
    pub(super) handed: Arc<Handed>,
    pub(super) asks: Asks,
}

impl Letter for Signal {
    fn message(delivery: Delivery<Signal>) -> AgentMessage {
        AgentMessage::Signals(delivery)
    }

    fn delivery(message: AgentMessage) -> Option<Delivery<Signal>> {
        match message {
            AgentMessage::Signals(delivery) => Some(delivery),
            _ => None,
        }
    }

    fn taken(signals: &[Signal], to: &Generation) {
        to.pairs.each(signals, Counts::delivered);
    }

    fn unread(signals: &[Signal], to: &Generation) {
        to.pairs.each(signals, Counts::lost);
    }
}

impl Signals {
    pub(crate) fn new(router: Arc<Router>) -> Signals {
        Signals {
            router,
            by_number: ArcSwap::default(),
            sent: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            handed: Arc::default(),
            asks: Asks::default(),
        }
    }

    pub(crate) fn me(&self) -> NodeId {
        self.router.me()
    }

    pub(super) fn add(&self, entry: Arc<Entry>) {
        self.by_number.rcu(|agents| {
            let mut agents = OrdMap::clone(agents);
            agents.insert(entry.number, entry.clone());
            agents
        });
    }

    /// The agent with this number, while it lives.
    pub(super) fn entry(&self, number: u64) -> Option<Arc<Entry>> {
        self.by_number.load().get(&number).cloned()
    }

    pub(super) fn remove(&self, number: u64) {
        self.by_number.rcu(|agents| {
            let mut agents = OrdMap::clone(agents);
            agents.remove(&number);
            agents
        });
    }

    pub(super) fn tell(&self, from: AgentAddress, to: AgentAddress, payload: &[u8]) -> Result<(), TellError> {
        self.put(from, to, payload, 0)
    }

    /// Sends a signal, which is the question of this number unless that is 0.
    pub(super) fn put(
        &self,
        from: AgentAddress,
        to: AgentAddress,
        payload: &[u8],
        question: u64,
    ) -> Result<(), TellError> {
        let told = if to.node == self.me() {
            self.put_here(from, to, payload, question)
        } else {
            self.send(Kind::Signal, from, to, payload, question)
        };
        self.count(told)
    }

    fn put_here(&self, from: AgentAddress, to: AgentAddress, payload: &[u8], question: u64) -> Result<(), TellError> {
        let agents = self.by_number.load();
        let entry = agents.get(&to.number).ok_or(TellError::Unknown { to })?;
        let signal = Signal {
            from,
            payload: Bytes::copy_from_slice(payload),
            question,
        };
        match self.hand_over(entry, to.generation, vec![signal]) {
            Handing { taken: 1.., .. } => Ok(()),
            Handing { late: false, .. } => Err(TellError::Busy { to }),
            Handing { late: true, .. } => {
                self.handed.late.fetch_add(1, Ordering::Relaxed);
                Err(TellError::Unknown { to })
            }
        }
    }

    /// Like [`Signals::tell`], but waits while the link or the mailbox is full.
    pub(super) async fn tell_waiting(
        &self,
        from: AgentAddress,
        to: AgentAddress,
        payload: &[u8],
    ) -> Result<(), TellError> {
        match self.tell(from, to, payload) {
            Err(TellError::Busy { .. }) => {}
            told => return told,
        }
        // Taken after all: it does not count as refused.
        self.refused.fetch_sub(1, Ordering::Relaxed);
        if to.node == self.me() {
            let mut turns = 0_u64;
            loop {
                // The mailbox has room when its agent has had a turn.
                match turns < TURNS_WAITED {
                    true => tokio::task::yield_now().await,
                    false => tokio::time::sleep(WHILE).await,
                }
                turns += 1;
                match self.put_here(from, to, payload, 0) {
                    Err(TellError::Busy { .. }) => {}
                    told => return self.count(told),
                }
            }
        }
        let (kind, body) = (Kind::Signal, body(from, to, payload));
        let sent = self.router.send_waiting(to.node, kind.lane(), kind, 0, body).await;
        self.count(sent.map(|_| ()).map_err(TellError::from))
    }

    pub(super) fn count(&self, told: Result<(), TellError>) -> Result<(), TellError> {
        let counter = if told.is_ok() { &self.sent } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        told
    }

    pub(super) fn send(
        &self,
        kind: Kind,
        from: AgentAddress,
        to: AgentAddress,
        payload: &[u8],
        question: u64,
    ) -> Result<(), TellError> {
        let body = body(from, to, payload);
        match self.router.send(to.node, kind.lane(), kind, question, body) {
            Err(error) if error.is_busy() => Err(TellError::Busy { to }),
            sent => Ok(sent?),
        }
    }

    /// Signals that came here and were for another node are lost.
    pub(crate) fn misaddressed(&self, count: usize) {
        self.handed.lost.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Takes the signals of one frame from a link: those for one agent are handed over together.
    pub(crate) fn arrived(&self, envelopes: Vec<Envelope>) {
        let count = envelopes.len();
        let mut handed = 0;
        let mut run = ((0, 0), Vec::new());
        for envelope in envelopes {
            let Some((to, signal)) = parse(envelope) else { continue };
            if to != run.0 && !run.1.is_empty() {
                handed += self.arrived_for(run.0, std::mem::take(&mut run.1));
            }
            if run.1.is_empty() {
                run.1.reserve(count);
            }
            run.0 = to;
            run.1.push(signal);
        }
        if !run.1.is_empty() {
            handed += self.arrived_for(run.0, run.1);
        }
        let lost = (count - handed) as u64;
        self.handed.lost.fetch_add(lost, Ordering::Relaxed);
    }

    /// Hands signals from a link to an agent, if there is one of this number; says how many it took. Who asked is told of
    /// questions that it does not get.
    fn arrived_for(&self, (number, generation): (u64, u64), signals: Vec<Signal>) -> usize {
        let agents = self.by_number.load();
        let entry = agents.get(&number);
        let handing = match entry {
            Some(entry) => self.hand_over(entry, generation, signals),
            None => Handing {
                taken: 0,
                missed: signals,
                late: false,
            },
        };
        let Handing { taken, missed, late } = handing;
        if late {
            self.handed.late.fetch_add(missed.len() as u64, Ordering::Relaxed);
        }
        if let Some(entry) = entry {
            entry.pairs.each(&missed, Counts::lost);
        }
        let refusal = match entry {
            Some(_) if !late => Refusal::Busy,
            _ => Refusal::Unknown,
        };
        for question in missed.iter().filter(|signal| signal.question != 0) {
            let kind = Kind::SignalRefused;
            // Where there is no room for it the time of the question passes.
            let _ = self
                .router
                .send(question.from.node, kind.lane(), kind, question.question, refusal.body());
        }
        taken
    }

    fn hand_over(&self, entry: &Entry, generation: u64, signals: Vec<Signal>) -> Handing<Signal> {
        let present = entry.present();
        match present.as_ref().filter(|present| present.number == generation) {
            Some(to) => hand(to, signals, &self.handed),
            None => Handing::late(signals),
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> SignalCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SignalCounts {
            sent: get(&self.sent),
            delivered: get(&self.handed.delivered),
            refused: get(&self.refused),
            lost: get(&self.handed.lost),
            late: get(&self.handed.late),
        }
    }
}

fn body(from: AgentAddress, to: AgentAddress, payload: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(HEAD_BYTES + payload.len());
    for half in [to, from] {
        body.put_u64_le(half.number);
        body.put_u64_le(half.generation);
    }
    body.put_slice(payload);
    body.freeze()
}

/// The number and the generation of the agent that a signal is for, and the signal; `None` when the body is too short.
pub(super) fn parse(envelope: Envelope) -> Option<((u64, u64), Signal)> {
    let body = envelope.body;
    let word = |place: usize| Some(u64::from_le_bytes(*body.get(8 * place..)?.first_chunk()?));
    let to = (word(0)?, word(1)?);
    let from = AgentAddress {
        node: envelope.from,
        number: word(2)?,
        generation: word(3)?,
    };
    let signal = Signal {
        from,
        payload: body.slice(HEAD_BYTES..),
        question: envelope.correlation,
    };
    Some((to, signal))
}
