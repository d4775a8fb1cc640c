//! Signals: volatile messages from agent to agent. At most once, in order for each pair of agents while the topology
//! stands, and accounted: sent = delivered + refused + lost.
//!
//! A signal is for one generation of an agent. One for a generation that has ended is dropped and counted, whether it is
//! still on its way or waits in the mailbox already.
//!
//! The body of a signal's envelope is the number and the generation of the agent that it is for, those of the one that
//! sent it (8 bytes each, little-endian), and the payload.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::{BufMut, Bytes, BytesMut};
use imbl::OrdMap;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Envelope, Kind, Lane};
use ractor::MessagingErr;
use serde::{Deserialize, Serialize};

use super::actor::AgentMessage;
use super::entry::{Entry, Generation};
use crate::router::{RouteError, Router};

/// What stands in front of the payload.
const HEAD_BYTES: usize = 32;

/// Where signals reach an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
}

/// Why a signal was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// Too many signals wait already, on the link or in the mailbox of an agent of this node.
    #[error("too many signals wait for {to:?}")]
    Busy {
        /// The agent that it was for.
        to: AgentAddress,
    },
    /// No agent of this node has that number, or that generation of it has ended.
    #[error("no agent {to:?}, or that generation of it has ended")]
    Unknown {
        /// The agent that it was for.
        to: AgentAddress,
    },
    /// There is no way to that node.
    #[error(transparent)]
    Route(#[from] RouteError),
}

/// Counts of signals on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalCounts {
    /// Taken from agents of this node.
    pub sent: u64,
    /// Handed to agents of this node.
    pub delivered: u64,
    /// Not taken: the sender was told at once.
    pub refused: u64,
    /// Arrived here for an agent that is not there, or whose mailbox was full, or who ended before it took them out of
    /// it. What a link loses is counted there.
    pub lost: u64,
    /// Of those refused or lost here, how many were for a generation of an agent that had ended.
    pub late: u64,
}

/// What is counted.
#[derive(Default)]
pub(super) struct Counters {
    sent: AtomicU64,
    delivered: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    late: AtomicU64,
}

/// Signals in the mailbox of a generation. They count as delivered; those that are never taken out count as lost.
pub(crate) struct Delivery {
    signals: Vec<Signal>,
    to: Arc<Generation>,
}

impl Delivery {
    /// Hands them over.
    pub(super) fn take(mut self) -> Vec<Signal> {
        let signals = std::mem::take(&mut self.signals);
        self.to.taken(signals.len());
        signals
    }

    /// They never came into the mailbox.
    fn give_back(self) {
        let to = self.to.clone();
        let signals = self.take().len() as u64;
        to.counters.delivered.fetch_sub(signals, Ordering::Relaxed);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let left = self.signals.len();
        if left > 0 {
            self.to.taken(left);
            let Counters {
                delivered, lost, late, ..
            } = &*self.to.counters;
            delivered.fetch_sub(left as u64, Ordering::Relaxed);
            lost.fetch_add(left as u64, Ordering::Relaxed);
            late.fetch_add(left as u64, Ordering::Relaxed);
        }
    }
}

/// What a mailbox did with signals.
enum Handed {
    /// It took so many, the first ones.
    Taken(usize),
    /// The generation that they are for has ended.
    Late,
}

/// Carries signals between the agents of this node and the links.
pub struct Signals {
    router: Arc<Router>,
    /// A persistent map: an agent that comes or goes costs the path to it, not a copy of all.
    by_number: ArcSwap<OrdMap<u64, Arc<Entry>>>,
    counters: Arc<Counters>,
}

impl Signals {
    pub(crate) fn new(router: Arc<Router>) -> Signals {
        Signals {
            router,
            by_number: ArcSwap::default(),
            counters: Arc::default(),
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

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(super) fn remove(&self, number: u64) {
        self.by_number.rcu(|agents| {
            let mut agents = OrdMap::clone(agents);
            agents.remove(&number);
            agents
        });
    }

    pub(super) fn tell(&self, from: AgentAddress, to: AgentAddress, payload: &[u8]) -> Result<(), TellError> {
        let told = if to.node == self.me() {
            self.tell_here(from, to, payload)
        } else {
            self.send(from, to, payload)
        };
        self.count(told)
    }

    fn tell_here(&self, from: AgentAddress, to: AgentAddress, payload: &[u8]) -> Result<(), TellError> {
        let agents = self.by_number.load();
        let entry = agents.get(&to.number).ok_or(TellError::Unknown { to })?;
        let payload = Bytes::copy_from_slice(payload);
        match hand(entry, to.generation, vec![Signal { from, payload }]) {
            Handed::Taken(0) => Err(TellError::Busy { to }),
            Handed::Taken(_) => Ok(()),
            Handed::Late => {
                self.counters.late.fetch_add(1, Ordering::Relaxed);
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
        self.counters.refused.fetch_sub(1, Ordering::Relaxed);
        if to.node == self.me() {
            loop {
                // The mailbox has room when its agent has had a turn.
                tokio::task::yield_now().await;
                match self.tell_here(from, to, payload) {
                    Err(TellError::Busy { .. }) => {}
                    told => return self.count(told),
                }
            }
        }
        let body = body(from, to, payload);
        let sent = self
            .router
            .send_waiting(to.node, Lane::Signal, Kind::Signal, 0, body)
            .await;
        self.count(sent.map_err(TellError::from))
    }

    fn count(&self, told: Result<(), TellError>) -> Result<(), TellError> {
        let counter = if told.is_ok() {
            &self.counters.sent
        } else {
            &self.counters.refused
        };
        counter.fetch_add(1, Ordering::Relaxed);
        told
    }

    fn send(&self, from: AgentAddress, to: AgentAddress, payload: &[u8]) -> Result<(), TellError> {
        match self
            .router
            .send(to.node, Lane::Signal, Kind::Signal, 0, body(from, to, payload))
        {
            Err(error) if error.is_busy() => Err(TellError::Busy { to }),
            sent => Ok(sent?),
        }
    }

    /// Signals that came here and were for another node are lost.
    pub(crate) fn misaddressed(&self, count: usize) {
        self.counters.lost.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Takes the signals of one frame from a link: those for one agent are handed over together.
    pub(crate) fn arrived(&self, envelopes: Vec<Envelope>) {
        let agents = self.by_number.load();
        let (count, mut handed, mut late) = (envelopes.len(), 0, 0);
        let mut hand_over = |(number, generation): (u64, u64), signals: Vec<Signal>| {
            let count = signals.len();
            match agents.get(&number).map(|entry| hand(entry, generation, signals)) {
                Some(Handed::Taken(taken)) => handed += taken,
                Some(Handed::Late) => late += count,
                None => {}
            }
        };
        let mut run = ((0, 0), Vec::new());
        for envelope in envelopes {
            let Some((to, signal)) = parse(envelope) else { continue };
            if to != run.0 && !run.1.is_empty() {
                hand_over(run.0, std::mem::take(&mut run.1));
            }
            if run.1.is_empty() {
                run.1.reserve(count);
            }
            run.0 = to;
            run.1.push(signal);
        }
        if !run.1.is_empty() {
            hand_over(run.0, run.1);
        }
        self.counters.lost.fetch_add((count - handed) as u64, Ordering::Relaxed);
        self.counters.late.fetch_add(late as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn counts(&self) -> SignalCounts {
        let Counters {
            sent,
            delivered,
            refused,
            lost,
            late,
        } = &*self.counters;
        SignalCounts {
            sent: sent.load(Ordering::Relaxed),
            delivered: delivered.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
            lost: lost.load(Ordering::Relaxed),
            late: late.load(Ordering::Relaxed),
        }
    }
}

/// Hands signals to one generation of an agent.
fn hand(entry: &Entry, generation: u64, mut signals: Vec<Signal>) -> Handed {
    let present = entry.present();
    let Some(to) = present.as_ref().filter(|present| present.number == generation) else {
        return Handed::Late;
    };
    let room = to.admit(signals.len());
    signals.truncate(room);
    if room == 0 {
        return Handed::Taken(0);
    }
    let Some(actor) = to.actor() else {
        to.taken(room);
        return Handed::Late;
    };
    // Before they are in the mailbox: those that are never taken out of it are subtracted again.
    to.counters.delivered.fetch_add(room as u64, Ordering::Relaxed);
    let to = to.clone();
    match actor.cast(AgentMessage::Signals(Delivery { signals, to })) {
        Err(MessagingErr::SendErr(AgentMessage::Signals(delivery))) => {
            delivery.give_back();
            Handed::Late
        }
        _ => Handed::Taken(room),
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
fn parse(envelope: Envelope) -> Option<((u64, u64), Signal)> {
    let body = envelope.body;
    let word = |place: usize| Some(u64::from_le_bytes(*body.get(8 * place..)?.first_chunk()?));
    let to = (word(0)?, word(1)?);
    let from = AgentAddress {
        node: envelope.from,
        number: word(2)?,
        generation: word(3)?,
    };
    let payload = body.slice(HEAD_BYTES..);
    Some((to, Signal { from, payload }))
}
