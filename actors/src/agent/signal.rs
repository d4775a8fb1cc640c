//! Signals: volatile messages from agent to agent. At most once, in order for each pair of agents while the topology
//! stands, and accounted: sent = delivered + refused + lost.
//!
//! The body of a signal's envelope is the number of the agent that it is for, the number of the one that sent it (each 8
//! bytes, little-endian), and the payload.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::{BufMut, Bytes, BytesMut};
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Envelope, Kind, Lane};
use serde::{Deserialize, Serialize};

use super::actor::AgentMessage;
use super::registry::Entry;
use crate::router::{RouteError, Router};

/// The two numbers in front of the payload.
const HEAD_BYTES: usize = 16;

/// Where signals reach an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AgentAddress {
    /// The node that hosts it.
    pub node: NodeId,
    /// Its number there.
    pub number: u64,
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
    /// No agent of this node has that number.
    #[error("no agent {to:?}")]
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
    /// Arrived here for an agent that is not there, or whose mailbox was full. What a link loses is counted there.
    pub lost: u64,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    delivered: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
}

/// Carries signals between the agents of this node and the links.
pub struct Signals {
    router: Arc<Router>,
    by_number: ArcSwap<HashMap<u64, Arc<Entry>>>,
    counters: Counters,
}

impl Signals {
    pub(crate) fn new(router: Arc<Router>) -> Signals {
        Signals {
            router,
            by_number: ArcSwap::default(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn me(&self) -> NodeId {
        self.router.me()
    }

    pub(super) fn add(&self, entry: Arc<Entry>) {
        self.by_number.rcu(|agents| {
            let mut agents = HashMap::clone(agents);
            agents.insert(entry.number, entry.clone());
            agents
        });
    }

    pub(super) fn remove(&self, number: u64) {
        self.by_number.rcu(|agents| {
            let mut agents = HashMap::clone(agents);
            agents.remove(&number);
            agents
        });
    }

    pub(super) fn tell(&self, from: u64, to: AgentAddress, payload: &[u8]) -> Result<(), TellError> {
        let told = if to.node == self.me() {
            self.tell_here(from, to, payload)
        } else {
            self.send(from, to, payload)
        };
        self.count(told)
    }

    fn tell_here(&self, from: u64, to: AgentAddress, payload: &[u8]) -> Result<(), TellError> {
        let agents = self.by_number.load();
        let entry = agents.get(&to.number).ok_or(TellError::Unknown { to })?;
        let from = AgentAddress {
            node: self.me(),
            number: from,
        };
        match self.hand(
            entry,
            vec![Signal {
                from,
                payload: Bytes::copy_from_slice(payload),
            }],
        ) {
            0 => Err(TellError::Busy { to }),
            _ => Ok(()),
        }
    }

    /// Like [`Signals::tell`], but waits while the link or the mailbox is full.
    pub(super) async fn tell_waiting(&self, from: u64, to: AgentAddress, payload: &[u8]) -> Result<(), TellError> {
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

    fn send(&self, from: u64, to: AgentAddress, payload: &[u8]) -> Result<(), TellError> {
        match self
            .router
            .send(to.node, Lane::Signal, Kind::Signal, 0, body(from, to, payload))
        {
            Err(error) if error.is_busy() => Err(TellError::Busy { to }),
            sent => Ok(sent?),
        }
    }

    /// Hands signals to an agent; returns how many its mailbox took.
    fn hand(&self, entry: &Entry, mut signals: Vec<Signal>) -> usize {
        let Some(actor) = entry.actor() else { return 0 };
        let room = entry.admit(signals.len());
        signals.truncate(room);
        if room == 0 {
            return 0;
        }
        if actor.cast(AgentMessage::Signals(signals)).is_err() {
            entry.taken(room);
            return 0;
        }
        self.counters.delivered.fetch_add(room as u64, Ordering::Relaxed);
        room
    }

    /// Takes the signals of one frame from a link: those for one agent are handed over together.
    pub(crate) fn arrived(&self, envelopes: Vec<Envelope>) {
        let agents = self.by_number.load();
        let count = envelopes.len();
        let mut handed = 0;
        let mut run: (u64, Vec<Signal>) = (0, Vec::new());
        for envelope in envelopes {
            let Some((to, signal)) = parse(envelope) else { continue };
            if to != run.0 && !run.1.is_empty() {
                let signals = std::mem::take(&mut run.1);
                handed += agents.get(&run.0).map_or(0, |entry| self.hand(entry, signals));
            }
            if run.1.is_empty() {
                run.1.reserve(count);
            }
            run.0 = to;
            run.1.push(signal);
        }
        if !run.1.is_empty() {
            handed += agents.get(&run.0).map_or(0, |entry| self.hand(entry, run.1));
        }
        self.counters.lost.fetch_add((count - handed) as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn counts(&self) -> SignalCounts {
        let Counters {
            sent,
            delivered,
            refused,
            lost,
        } = &self.counters;
        SignalCounts {
            sent: sent.load(Ordering::Relaxed),
            delivered: delivered.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
            lost: lost.load(Ordering::Relaxed),
        }
    }
}

fn body(from: u64, to: AgentAddress, payload: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(HEAD_BYTES + payload.len());
    body.put_u64_le(to.number);
    body.put_u64_le(from);
    body.put_slice(payload);
    body.freeze()
}

/// The agent that a signal is for, and the signal; `None` when the body is too short.
fn parse(envelope: Envelope) -> Option<(u64, Signal)> {
    let body = envelope.body;
    let to = u64::from_le_bytes(body.get(..8)?.try_into().ok()?);
    let from = u64::from_le_bytes(body.get(8..HEAD_BYTES)?.try_into().ok()?);
    let payload = body.slice(HEAD_BYTES..);
    Some((
        to,
        Signal {
            from: AgentAddress {
                node: envelope.from,
                number: from,
            },
            payload,
        },
    ))
}
