//! Questions from agent to agent: signals under a number, each of which waits for its answer until its deadline.
//!
//! | envelope | from | to | body | meaning |
//! |---|---|---|---|---|
//! | signal, correlation not 0 | the node of the one who asks | that of the one who is asked | as of any signal | a question |
//! | signal_answer | the node of the one who was asked | that of the one who asked | as of a signal | its answer |
//! | signal_refused | the node of the one who was to be asked | that of the one who asked | 1 byte: 0 unknown, 1 busy | it was not delivered |
//! | unreachable | a node on the way | that of the one who asked | as of any | it, or its answer, was lost there |
//!
//! Questions and answers count as signals, in the counts of the nodes and in the accounts of the pair. An answer that
//! nobody waits for any more is lost at the node of the one who asked, and too late. A question whose link breaks is not
//! told of: its deadline is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use queenright_protocol::wire::{Envelope, Kind};
use tokio::sync::oneshot;

use super::generation::Generation;
use super::signal::{AgentAddress, Signal, Signals, TellError, parse};
use crate::router::{Loss, Notice};

/// How many questions of a node's agents may be open.
pub const ASKS_MAX: usize = 65_536;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It was not delivered: there is no such agent, too much waits for it, or there is no way to its node.
    #[error(transparent)]
    Tell(#[from] TellError),
    /// The question, or its answer, was lost on the way. It may have been read.
    #[error("the question to {to:?}, or its answer, was lost on the way: {loss}")]
    Lost {
        /// Who was asked.
        to: AgentAddress,
        /// Why.
        loss: Loss,
    },
    /// No answer came in time. It may have been read.
    #[error("{to:?} did not answer within {waited_ms} ms")]
    Timeout {
        /// Who was asked.
        to: AgentAddress,
        /// How long was waited.
        waited_ms: u64,
    },
    /// Too many questions of this node are open. Nothing was sent.
    #[error("{ASKS_MAX} questions of this node's agents are open, which is the limit")]
    TooMany,
}

/// Why a question was not delivered, in the body of its refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Unknown = 0,
    Busy = 1,
}

impl Refusal {
    pub(super) fn body(self) -> Bytes {
        match self {
            Refusal::Unknown => Bytes::from_static(&[0]),
            Refusal::Busy => Bytes::from_static(&[1]),
        }
    }

    fn error(body: &[u8], to: AgentAddress) -> TellError {
        match body {
            [1] => TellError::Busy { to },
            _ => TellError::Unknown { to },
        }
    }
}

/// A question that waits for its answer.
struct Pending {
    to: AgentAddress,
    asker: Arc<Generation>,
    answer: oneshot::Sender<Result<Bytes, AskError>>,
}

/// The open questions of a node's agents.
pub(super) struct Asks {
    last: AtomicU64,
    // A mutex: asked from many tasks, answered from gateways. Held for one look-up.
    pending: Mutex<BTreeMap<u64, Pending>>,
}

impl Default for Asks {
    fn default() -> Asks {
        Asks {
            // An answer to a question that this node has asked before it was started anew must not be taken for another's.
            last: AtomicU64::new(rand::random::<u64>() >> 1),
            pending: Mutex::default(),
        }
    }
}

impl Asks {
    fn pending(&self) -> MutexGuard<'_, BTreeMap<u64, Pending>> {
        self.pending.lock().expect("nothing panics under this lock")
    }

    /// Takes a question off the list if it was asked of an agent that `is` the one.
    fn take(&self, question: u64, is: impl FnOnce(AgentAddress) -> bool) -> Option<Pending> {
        let mut pending = self.pending();
        match pending.get(&question).is_some_and(|found| is(found.to)) {
            true => pending.remove(&question),
            false => None,
        }
    }
}

/// Forgets a question when its asker goes away.
struct Forget<'a> {
    asks: &'a Asks,
    question: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.asks.pending().remove(&self.question);
    }
}

impl Signals {
    /// Sends a question and waits for its answer.
    pub(super) async fn ask(
        &self,
        (from, asker): (AgentAddress, &Arc<Generation>),
        to: AgentAddress,
        payload: &[u8],
        deadline: Duration,
    ) -> Result<Bytes, AskError> {
        let (answer, receiver) = oneshot::channel();
        let question = self.asks.last.fetch_add(1, Ordering::Relaxed) + 1;
        let asker = asker.clone();
        {
            let mut pending = self.asks.pending();
            if pending.len() >= ASKS_MAX {
                return Err(AskError::TooMany);
            }
            pending.insert(
                question,
                Pending {
                    to,
                    asker: asker.clone(),
                    answer,
                },
            );
        }
        let _forget = Forget {
            asks: &self.asks,
            question,
        };
        let told = self.put(from, to, payload, question);
        asker.pairs.with(to).told(told.is_ok());
        told?;
        let waited_ms = deadline.as_millis() as u64;
        match tokio::time::timeout(deadline, receiver).await {
            Ok(Ok(answer)) => answer,
            _ => Err(AskError::Timeout { to, waited_ms }),
        }
    }

    /// Answers a question.
    pub(super) fn answer(&self, from: AgentAddress, question: &Signal, payload: &[u8]) -> Result<(), TellError> {
        let to = question.from;
        if question.question == 0 {
            return Err(TellError::NotAsked { to });
        }
        if to.node != self.me() {
            let sent = self.send(Kind::SignalAnswer, from, to, payload, question.question);
            return self.count(sent);
        }
        let told = self.count(Ok(()));
        self.settle(question.question, from, Bytes::copy_from_slice(payload));
        told
    }

    /// An answer has come.
    fn settle(&self, question: u64, from: AgentAddress, payload: Bytes) {
        let pending = self.asks.take(question, |to| to == from);
        let read = pending.and_then(|Pending { asker, answer, .. }| {
            answer.send(Ok(payload)).ok()?;
            asker.pairs.with(from).delivered(1);
            Some(())
        });
        let counter = match read {
            Some(()) => &self.handed.delivered,
            None => {
                self.handed.late.fetch_add(1, Ordering::Relaxed);
                &self.handed.lost
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes an answer or a refusal from a link.
    pub(crate) fn answered(&self, envelope: Envelope) {
        let (kind, question, node) = (envelope.kind, envelope.correlation, envelope.from);
        if kind == Kind::SignalRefused {
            if let Some(Pending { to, answer, .. }) = self.asks.take(question, |to| to.node == node) {
                // Whoever asked may have gone away.
                let _ = answer.send(Err(Refusal::error(&envelope.body, to).into()));
            }
            return;
        }
        match parse(envelope) {
            Some((_, Signal { from, payload, .. })) => self.settle(question, from, payload),
            None => self.misaddressed(1),
        }
    }

    /// A node on the way has lost a question, or its answer.
    pub(crate) fn lost_on_the_way(&self, notice: &Notice) {
        let pending = self.asks.take(notice.correlation, |to| to.node == notice.node);
        if let Some(Pending { to, answer, .. }) = pending {
            let loss = notice.loss;
            // Whoever asked may have gone away.
            let _ = answer.send(Err(AskError::Lost { to, loss }));
        }
    }
}
