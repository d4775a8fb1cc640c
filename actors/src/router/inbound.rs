//! What comes on the links: answers go to who waits for them, what is for another node is passed on, the rest goes to the
//! services of this node.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::Bytes;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Envelope, Kind};
use tokio::sync::{mpsc, oneshot, watch};

use super::Router;
use super::transit::{Counters, Loss, Notice, Notices, is_answer, is_question};
use crate::body::decode;
use crate::link::{Deliver, Incompatible, Peer};

/// How many envelopes of the first start may wait to be read.
const FOUNDING_QUEUE: usize = 1024;

/// What the router does with envelopes that answer nothing it asked for.
pub(crate) trait Services: Send + Sync + 'static {
    /// Takes an envelope for this node. Called from a gateway: must not block.
    fn receive(&self, envelope: Envelope);
    /// Takes the signals of one frame, in order. Called from a gateway: must not block.
    fn signals(&self, signals: Vec<Envelope>);
    /// Takes the messages of topics of one frame, in order. Called from a gateway: must not block.
    fn topics(&self, messages: Vec<Envelope>);
}

/// A question that waits for its answer, the link it went out on, and who was asked.
struct Pending {
    link: u16,
    node: NodeId,
    answer: oneshot::Sender<Result<Bytes, Loss>>,
}

/// The state that the transport reaches.
pub(crate) struct Inbound {
    // A mutex: asked from many tasks, answered from gateways. Held for one look-up. Ordered, so that those whose link went
    // down are told in the order in which they asked.
    pending: Mutex<BTreeMap<u64, Pending>>,
    pub(super) services: OnceLock<Arc<dyn Services>>,
    founding: mpsc::Sender<(u16, Envelope)>,
    /// Links that came up since the founding asked last.
    came_up: mpsc::Sender<u16>,
    /// Why other nodes cannot be linked.
    incompatible: mpsc::Sender<String>,
    /// Envelopes that nobody here could take.
    pub(super) unclaimed: AtomicU64,
    pub(super) transit: Counters,
    /// Grows with each link that comes up or goes down.
    pub(super) links: watch::Sender<u64>,
    // A mutex: gateways count, senders look. Held for one look-up.
    breaks: Mutex<BTreeMap<u16, u64>>,
    /// Passes on what is for others.
    pub(super) router: OnceLock<Weak<Router>>,
}

/// What the first start reads: envelopes of its kinds with the link they came on, and links that came up.
pub(crate) struct FoundingInbox {
    pub(crate) envelopes: mpsc::Receiver<(u16, Envelope)>,
    pub(crate) came_up: mpsc::Receiver<u16>,
    /// That another node speaks no version of this one.
    pub(crate) incompatible: mpsc::Receiver<String>,
}

/// A question under way: forgotten when its asker goes away.
pub(super) struct Question<'a> {
    inbound: &'a Inbound,
    correlation: u64,
    /// The answer, or why there will be none; closed when the link went down that it was sent on.
    pub(super) answer: oneshot::Receiver<Result<Bytes, Loss>>,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.inbound.pending().remove(&self.correlation);
    }
}

impl Inbound {
    /// What the transport delivers to, and what of it the first start reads.
    pub(crate) fn new() -> (Arc<Inbound>, FoundingInbox) {
        let (founding, envelopes) = mpsc::channel(FOUNDING_QUEUE);
        let (came_up, came_up_receiver) = mpsc::channel(FOUNDING_QUEUE);
        let (incompatible, reasons) = mpsc::channel(1);
        let inbound = Arc::new(Inbound {
            pending: Mutex::new(BTreeMap::new()),
            services: OnceLock::new(),
            founding,
            came_up,
            incompatible,
            unclaimed: AtomicU64::new(0),
            transit: Counters::default(),
            links: watch::Sender::new(0),
            breaks: Mutex::default(),
            router: OnceLock::new(),
        });
        let inbox = FoundingInbox {
            envelopes,
            came_up: came_up_receiver,
            incompatible: reasons,
        };
        (inbound, inbox)
    }

    /// Notes that an answer to a question to `node` will come, which is about to be sent on `link`.
    pub(super) fn expect(&self, correlation: u64, link: u16, node: NodeId) -> Question<'_> {
        let (answer, receiver) = oneshot::channel();
        let pending = Pending { link, node, answer };
        self.pending().insert(correlation, pending);
        Question {
            inbound: self,
            correlation,
            answer: receiver,
        }
    }

    /// How often a link has gone down.
    pub(super) fn breaks_of(&self, link: u16) -> u64 {
        let breaks = self.breaks.lock().expect("nothing panics under this lock");
        breaks.get(&link).copied().unwrap_or(0)
    }

    fn one(&self, link: u16, envelope: Envelope) {
        let taken = match envelope.kind {
            Kind::Hello | Kind::Founding | Kind::FoundingAck | Kind::JoinRefused => {
                self.founding.try_send((link, envelope)).is_ok()
            }
            // An answer that comes too late is nobody's.
            kind if is_answer(kind) => {
                let pending = self.pending().remove(&envelope.correlation);
                pending.is_some_and(|pending| pending.answer.send(Ok(envelope.body)).is_ok())
            }
            Kind::Unreachable => self.told(envelope),
            _ => self.serve(envelope),
        };
        if !taken {
            self.unclaimed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn serve(&self, envelope: Envelope) -> bool {
        match self.services.get() {
            Some(services) => {
                services.receive(envelope);
                true
            }
            None => false,
        }
    }

    /// Something was lost on its way. Who waits for an answer need not wait any longer.
    fn told(&self, envelope: Envelope) -> bool {
        let Ok(Notice {
            kind,
            correlation,
            node,
            loss,
            count,
        }) = decode(&envelope.body)
        else {
            return false;
        };
        self.transit.told_lost.fetch_add(count, Ordering::Relaxed);
        match Kind::try_from(kind) {
            Ok(kind) if is_question(kind) || is_answer(kind) => {
                let mut pending = self.pending();
                if pending.get(&correlation).is_some_and(|pending| pending.node == node) {
                    let pending = pending.remove(&correlation).expect("it was just there");
                    // Whoever asked may have gone away.
                    let _ = pending.answer.send(Err(loss));
                }
                true
            }
            // An agent waits for an answer.
            Ok(Kind::Signal | Kind::SignalAnswer) if correlation != 0 => self.serve(envelope),
            // The stream of log entries that it belongs to has a gap now.
            Ok(Kind::AppendRequest | Kind::AppendReply) => self.serve(envelope),
            _ => true,
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Pending>> {
        self.pending.lock().expect("nothing panics under this lock")
    }
}

impl Deliver for Inbound {
    fn envelopes(&self, from: &Peer, batch: Vec<Envelope>) {
        let link = from.index;
        let router = self.router.get().and_then(Weak::upgrade);
        let routes = router.as_ref().and_then(|router| router.routes.load_full());
        let services = self.services.get();
        let (mut signals, mut topics) = (Vec::new(), Vec::new());
        let mut notices = Notices::default();
        for mut envelope in batch {
            let to = envelope.to;
            match (&router, &routes) {
                (Some(router), Some(routes)) if to != routes.me() && to != NodeId::NONE => {
                    if let Err(loss) = router.forward(routes, link, &mut envelope) {
                        notices.add(&envelope, loss);
                    }
                }
                _ if services.is_none() && is_for_services(envelope.kind) => {
                    self.unclaimed.fetch_add(1, Ordering::Relaxed);
                    notices.add(&envelope, Loss::Starting);
                }
                _ if envelope.kind == Kind::Signal => signals.push(envelope),
                _ if envelope.kind == Kind::Topic => topics.push(envelope),
                _ => self.one(link, envelope),
            }
        }
        if let Some(router) = &router {
            router.tell(notices);
        }
        let Some(services) = services else { return };
        if !signals.is_empty() {
            services.signals(signals);
        }
        if !topics.is_empty() {
            services.topics(topics);
        }
    }

    fn link_up(&self, peer: &Peer) {
        tracing::info!(peer = %peer.name, "link up");
        self.links.send_modify(|changes| *changes += 1);
        // Nobody listens any more once the first start is complete.
        let _ = self.came_up.try_send(peer.index);
    }

    fn link_down(&self, peer: &Peer) {
        tracing::info!(peer = %peer.name, "link down");
        *self
            .breaks
            .lock()
            .expect("nothing panics under this lock")
            .entry(peer.index)
            .or_default() += 1;
        self.links.send_modify(|changes| *changes += 1);
        self.pending().retain(|_, pending| pending.link != peer.index);
    }

    fn incompatible(&self, _: &Peer, why: &Incompatible) {
        // Told again at the next attempt; nobody listens once the first start is complete.
        let _ = self.incompatible.try_send(why.to_string());
    }
}

/// Whether a node can take it only once all its parts run.
fn is_for_services(kind: Kind) -> bool {
    !is_answer(kind)
        && !matches!(
            kind,
            Kind::Hello | Kind::Founding | Kind::FoundingAck | Kind::JoinRefused | Kind::Unreachable
        )
}
