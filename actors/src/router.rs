//! Where envelopes go: from this node to the next hop, and from the links to those who wait for them. Owns the transport.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{self, Topology};
use queenright_protocol::wire::{Envelope, Kind, Lane};
use tokio::sync::{mpsc, oneshot};

use crate::link::{Deliver, LinkConfig, LinkError, LinkSign, LinksStats, Peer, SendError};
use crate::transport::{Gateways, Transport};

/// How many envelopes of the first start may wait to be read.
const FOUNDING_QUEUE: usize = 1024;

/// Why an envelope was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The node is not a member, or the first start is not complete.
    #[error("node {to} is not known here")]
    Unknown {
        /// The number asked for.
        to: NodeId,
    },
    /// The link did not take it.
    #[error(transparent)]
    Link(#[from] SendError),
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    /// It could not be sent.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// No answer came in time.
    #[error("no answer within {waited_ms} ms")]
    Timeout {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The link went down before the answer came.
    #[error("the link went down before the answer came")]
    LinkDown,
}

/// What the router does with envelopes that answer nothing it asked for.
pub(crate) trait Services: Send + Sync + 'static {
    /// Takes an envelope for this node. Called from a gateway: must not block.
    fn receive(&self, envelope: Envelope);
    /// Takes the signals of one frame, in order. Called from a gateway: must not block.
    fn signals(&self, signals: Vec<Envelope>);
}

/// Members and routes, as of the first start.
struct Routes {
    me: NodeId,
    topology: Topology,
    /// The link to each neighbour.
    links: BTreeMap<NodeId, u16>,
}

/// A question that waits for its answer, and the link it went out on.
struct Pending {
    link: u16,
    answer: oneshot::Sender<Bytes>,
}

/// The state that the transport reaches.
pub(crate) struct Inbound {
    // A mutex: asked from many tasks, answered from gateways. Held for one look-up. Ordered, so that those whose link went
    // down are told in the order in which they asked.
    pending: Mutex<BTreeMap<u64, Pending>>,
    services: OnceLock<Arc<dyn Services>>,
    founding: mpsc::Sender<(u16, Envelope)>,
    /// Links that came up since the founding asked last.
    came_up: mpsc::Sender<u16>,
    /// Envelopes that nobody here could take.
    unclaimed: AtomicU64,
}

/// How the link to a neighbour is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NeighbourSign {
    pub(crate) node: NodeId,
    /// Whether it is up.
    pub(crate) up: bool,
    /// For how long nothing came on it; `None` without a connection.
    pub(crate) silent: Option<Duration>,
}

/// Sends envelopes, and ties answers to questions.
pub(crate) struct Router {
    transport: Box<dyn Transport>,
    inbound: Arc<Inbound>,
    /// Replaced as a whole when the members change.
    routes: ArcSwapOption<Routes>,
    next_correlation: AtomicU64,
}

/// What the first start reads: envelopes of its kinds with the link they came on, and links that came up.
pub(crate) struct FoundingInbox {
    pub(crate) envelopes: mpsc::Receiver<(u16, Envelope)>,
    pub(crate) came_up: mpsc::Receiver<u16>,
}

impl RouteError {
    /// Whether it is only that too much waits already: there may be room later.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, RouteError::Link(SendError::Busy { .. }))
    }
}

impl Router {
    /// Opens the links.
    ///
    /// # Errors
    /// When the address of this node cannot be bound, or the configuration of the links is wrong.
    pub(crate) async fn start(config: LinkConfig) -> Result<(Arc<Router>, FoundingInbox), LinkError> {
        let (inbound, founding) = Inbound::new();
        let gateways = Gateways::start(config, inbound.clone()).await?;
        Ok((Router::over(Box::new(gateways), inbound), founding))
    }

    /// A router that sends through `transport`, which delivers to `inbound`.
    pub(crate) fn over(transport: Box<dyn Transport>, inbound: Arc<Inbound>) -> Arc<Router> {
        Arc::new(Router {
            transport,
            inbound,
            routes: ArcSwapOption::empty(),
            next_correlation: AtomicU64::new(1),
        })
    }

    /// Sets the members, once the first start has given them their numbers and whenever they change. `links` is the link of
    /// each neighbour.
    pub(crate) fn set_members(
        &self,
        me: NodeId,
        kind: topology::Kind,
        members: &BTreeSet<NodeId>,
        links: BTreeMap<NodeId, u16>,
    ) {
        let routes = Routes {
            me,
            topology: Topology::new(kind, members),
            links,
        };
        self.routes.store(Some(Arc::new(routes)));
    }

    /// Says who takes the envelopes that are no answers.
    ///
    /// # Panics
    /// When it was said before.
    pub(crate) fn serve(&self, services: Arc<dyn Services>) {
        assert!(self.inbound.services.set(services).is_ok(), "services are set once");
    }

    /// The number of this node; [`NodeId::NONE`] before the first start is complete.
    pub(crate) fn me(&self) -> NodeId {
        self.routes.load().as_ref().map_or(NodeId::NONE, |routes| routes.me)
    }

    /// The members, by number.
    pub(crate) fn members(&self) -> Vec<NodeId> {
        let routes = self.routes.load();
        routes
            .as_ref()
            .map_or(Vec::new(), |routes| routes.topology.members().to_vec())
    }

    /// The link towards `to`.
    fn link(&self, to: NodeId) -> Result<u16, RouteError> {
        let routes = self.routes.load();
        let link = routes.as_ref().and_then(|routes| {
            let hop = routes.topology.next_hop(routes.me, to)?;
            routes.links.get(&hop).copied()
        });
        link.ok_or(RouteError::Unknown { to })
    }

    /// Sends an envelope towards `to`.
    pub(crate) fn send(
        &self,
        to: NodeId,
        lane: Lane,
        kind: Kind,
        correlation: u64,
        body: Bytes,
    ) -> Result<(), RouteError> {
        let envelope = self.envelope(to, kind, correlation, body);
        Ok(self.transport.send(self.link(to)?, lane, &envelope)?)
    }

    /// Like [`Router::send`], but waits while the lane is full.
    ///
    /// # Errors
    /// When there is no way to `to`, or the envelope is too large for any.
    pub(crate) async fn send_waiting(
        &self,
        to: NodeId,
        lane: Lane,
        kind: Kind,
        correlation: u64,
        body: Bytes,
    ) -> Result<(), RouteError> {
        let envelope = self.envelope(to, kind, correlation, body);
        Ok(self.transport.send_waiting(self.link(to)?, lane, &envelope).await?)
    }

    /// Sends an envelope to the peer at the end of `link`, whatever its number.
    pub(crate) fn send_on(&self, link: u16, kind: Kind, body: Bytes) -> Result<(), SendError> {
        let envelope = self.envelope(NodeId::NONE, kind, 0, body);
        self.transport.send(link, kind.lane(), &envelope)
    }

    fn envelope(&self, to: NodeId, kind: Kind, correlation: u64, body: Bytes) -> Envelope {
        Envelope {
            kind,
            hops: 0,
            from: self.me(),
            to,
            correlation,
            body,
        }
    }

    /// Sends a question and waits for its answer.
    ///
    /// # Errors
    /// When it cannot be sent, or no answer comes in time.
    pub(crate) async fn ask(
        &self,
        to: NodeId,
        lane: Lane,
        kind: Kind,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, AskError> {
        let correlation = self.next_correlation.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let link = self.link(to)?;
        self.pending().insert(correlation, Pending { link, answer });
        let forget = Forget {
            inbound: &self.inbound,
            correlation,
        };
        self.send(to, lane, kind, correlation, body)?;
        let answer = tokio::time::timeout(timeout, receiver).await;
        drop(forget);
        match answer {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(_)) => Err(AskError::LinkDown),
            Err(_) => Err(AskError::Timeout {
                waited_ms: timeout.as_millis() as u64,
            }),
        }
    }

    /// Answers a question.
    pub(crate) fn answer(&self, question: &Envelope, lane: Lane, kind: Kind, body: Bytes) -> Result<(), RouteError> {
        self.send(question.from, lane, kind, question.correlation, body)
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Pending>> {
        self.inbound.pending.lock().expect("nothing panics under this lock")
    }

    /// What the links have counted so far.
    pub(crate) fn link_stats(&self) -> LinksStats {
        self.transport.stats()
    }

    /// When something came on the link of each neighbour.
    pub(crate) fn link_signs(&self) -> Vec<NeighbourSign> {
        let routes = self.routes.load();
        let Some(routes) = &*routes else { return Vec::new() };
        let signs = self.transport.signs();
        let sign_of = |link: u16| signs.iter().find(|sign| sign.link == link);
        let neighbours = routes.links.iter();
        neighbours
            .filter_map(|(node, link)| {
                let LinkSign { up, silent, .. } = *sign_of(*link)?;
                let node = *node;
                Some(NeighbourSign { node, up, silent })
            })
            .collect()
    }

    /// Closes the connection with a neighbour, which is then made anew.
    pub(crate) fn close_link(&self, node: NodeId) {
        let routes = self.routes.load();
        let link = routes.as_ref().and_then(|routes| routes.links.get(&node));
        if let Some(link) = link {
            self.transport.close(*link);
        }
    }

    /// Closes the links.
    pub(crate) async fn stop(&self) {
        self.transport.stop().await;
    }

    /// How many envelopes nobody here could take.
    pub(crate) fn unclaimed(&self) -> u64 {
        self.inbound.unclaimed.load(Ordering::Relaxed)
    }
}

/// Forgets a question when its asker goes away.
struct Forget<'a> {
    inbound: &'a Inbound,
    correlation: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.inbound
            .pending
            .lock()
            .expect("nothing panics under this lock")
            .remove(&self.correlation);
    }
}

impl Inbound {
    /// What the transport delivers to, and what of it the first start reads.
    pub(crate) fn new() -> (Arc<Inbound>, FoundingInbox) {
        let (founding, envelopes) = mpsc::channel(FOUNDING_QUEUE);
        let (came_up, came_up_receiver) = mpsc::channel(FOUNDING_QUEUE);
        let inbound = Arc::new(Inbound {
            pending: Mutex::new(BTreeMap::new()),
            services: OnceLock::new(),
            founding,
            came_up,
            unclaimed: AtomicU64::new(0),
        });
        let inbox = FoundingInbox {
            envelopes,
            came_up: came_up_receiver,
        };
        (inbound, inbox)
    }

    fn one(&self, link: u16, envelope: Envelope) {
        let taken = match envelope.kind {
            Kind::Hello | Kind::Founding | Kind::FoundingAck | Kind::JoinRefused => {
                self.founding.try_send((link, envelope)).is_ok()
            }
            Kind::VoteReply
            | Kind::SnapshotReply
            | Kind::SnapshotFound
            | Kind::SnapshotBlocks
            | Kind::ReadIndexReply
            | Kind::ControlReply => {
                let pending = self
                    .pending
                    .lock()
                    .expect("nothing panics under this lock")
                    .remove(&envelope.correlation);
                // An answer that comes too late is nobody's.
                pending.is_some_and(|pending| pending.answer.send(envelope.body).is_ok())
            }
            _ => match self.services.get() {
                Some(services) => {
                    services.receive(envelope);
                    true
                }
                None => false,
            },
        };
        if !taken {
            self.unclaimed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Deliver for Inbound {
    fn envelopes(&self, from: &Peer, batch: Vec<Envelope>) {
        let link = from.index;
        let mut signals = Vec::new();
        for envelope in batch {
            match envelope.kind {
                Kind::Signal => signals.push(envelope),
                _ => self.one(link, envelope),
            }
        }
        if signals.is_empty() {
            return;
        }
        match self.services.get() {
            Some(services) => services.signals(signals),
            None => {
                self.unclaimed.fetch_add(signals.len() as u64, Ordering::Relaxed);
            }
        }
    }

    fn link_up(&self, peer: &Peer) {
        tracing::info!(peer = %peer.name, "link up");
        // Nobody listens any more once the first start is complete.
        let _ = self.came_up.try_send(peer.index);
    }

    fn link_down(&self, peer: &Peer) {
        tracing::info!(peer = %peer.name, "link down");
        let mut pending = self.pending.lock().expect("nothing panics under this lock");
        pending.retain(|_, pending| pending.link != peer.index);
    }
}
