//! Where envelopes go: from this node to the next hop, from the links to those who wait for them here, and on to the next
//! node if they are for another. Owns the transport.
//!
//! Which way is `routes`', what comes in is `inbound`'s, what passes through is `transit`'s.

mod inbound;
mod routes;
#[cfg(test)]
pub(crate) mod tests;
mod transit;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::Branch;
use queenright_protocol::wire::{Envelope, Kind, Lane};
use tokio::sync::watch;

pub(crate) use self::inbound::{FoundingInbox, Inbound, Services};
use self::routes::Routes;
pub(crate) use self::routes::View;
pub(crate) use self::transit::Notice;
pub use self::transit::{Loss, TransitCounts};
use self::transit::{Notices, add};
use crate::body::encode;
use crate::link::{LinkConfig, LinkError, LinkSign, LinksStats, PeerConfig, SendError};
use crate::transport::{Gateways, Transport};

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
    /// A node on the way has lost the question or its answer.
    #[error("the question or its answer was lost on the way: {loss}")]
    Lost {
        /// Why.
        loss: Loss,
    },
}

/// How the link to a member is: one that stands, or should.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NeighbourSign {
    pub(crate) node: NodeId,
    /// Whether it is up.
    pub(crate) up: bool,
    /// For how long nothing came on it; `None` without a connection.
    pub(crate) silent: Option<Duration>,
}

/// The link that an envelope went out on, until that goes down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    link: u16,
    /// How often the link had gone down when the envelope was sent.
    breaks: u64,
}

/// What routes are made of.
#[derive(Default)]
struct Known {
    view: Option<View>,
    /// The members that are taken for dead.
    suspects: BTreeSet<NodeId>,
}

/// Sends envelopes, and ties answers to questions.
pub(crate) struct Router {
    transport: Box<dyn Transport>,
    inbound: Arc<Inbound>,
    /// Replaced as a whole when the members, the epoch or the suspects change.
    routes: ArcSwapOption<Routes>,
    // A mutex: what routes are made of changes from several tasks. Held while they are made.
    known: Mutex<Known>,
    /// Grows whenever other members are taken for dead.
    suspects_changed: watch::Sender<u64>,
    next_correlation: AtomicU64,
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
        let router = Arc::new(Router {
            transport,
            inbound,
            routes: ArcSwapOption::empty(),
            known: Mutex::default(),
            suspects_changed: watch::Sender::new(0),
            next_correlation: AtomicU64::new(1),
        });
        let known = router.inbound.router.set(Arc::downgrade(&router));
        assert!(known.is_ok(), "an inbound has one router");
        router
    }

    /// Sets the members and the epoch, once the first start has given them their numbers and whenever they change.
    pub(crate) fn set_view(&self, view: View) {
        let mut known = self.known();
        known.view = Some(view);
        self.make_routes(&known);
    }

    /// Says which members are taken for dead, until it is said again: routes lead around them.
    pub(crate) fn set_suspects(&self, suspects: BTreeSet<NodeId>) {
        let mut known = self.known();
        if known.suspects == suspects {
            return;
        }
        known.suspects = suspects;
        self.make_routes(&known);
        drop(known);
        self.suspects_changed.send_modify(|changes| *changes += 1);
    }

    fn make_routes(&self, known: &Known) {
        if let Some(view) = known.view.clone() {
            self.routes.store(Some(Arc::new(Routes::new(view, &known.suspects))));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics under this lock")
    }

    /// The members that are taken for dead.
    pub(crate) fn suspects(&self) -> BTreeSet<NodeId> {
        self.known().suspects.clone()
    }

    /// Follows which members are taken for dead: the number grows whenever others are.
    pub(crate) fn follow_suspects(&self) -> watch::Receiver<u64> {
        self.suspects_changed.subscribe()
    }

    /// These are the neighbours from now on (see [`crate::link::Links::set_peers`]).
    pub(crate) fn set_peers(&self, peers: &[PeerConfig]) {
        self.transport.set_peers(peers);
    }

    /// Somebody who is no node has asked to be let in.
    pub(crate) fn refuse_stranger(&self, from: &str) {
        self.transport.refuse_stranger(from);
    }

    /// Says which links are wanted (see [`crate::link::Links::set_wanted`]).
    pub(crate) fn set_wanted(&self, wanted: &BTreeSet<u16>) {
        self.transport.set_wanted(wanted);
    }

    /// Whether a link is up.
    pub(crate) fn is_up(&self, link: u16) -> bool {
        self.transport.is_up(link)
    }

    /// Whether a link to a member is up.
    pub(crate) fn is_linked(&self, node: NodeId) -> bool {
        let routes = self.routes.load();
        let link = routes.as_ref().and_then(|routes| routes.link(node));
        link.is_some_and(|link| self.transport.is_up(link))
    }

    /// How often the link to a member has gone down since this node was started.
    pub(crate) fn breaks(&self, node: NodeId) -> u64 {
        let routes = self.routes.load();
        let link = routes.as_ref().and_then(|routes| routes.link(node));
        link.map_or(0, |link| self.inbound.breaks_of(link))
    }

    /// Follows links that come up and go down: the number grows with each.
    pub(crate) fn follow_links(&self) -> watch::Receiver<u64> {
        self.inbound.links.subscribe()
    }

    /// What passed through this node, or should have.
    pub(crate) fn transit(&self) -> TransitCounts {
        self.inbound.transit.counts()
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
        self.routes.load().as_ref().map_or(NodeId::NONE, |routes| routes.me())
    }

    /// The members, by number.
    pub(crate) fn members(&self) -> Vec<NodeId> {
        let routes = self.routes.load();
        routes.as_ref().map_or(Vec::new(), |routes| routes.members().to_vec())
    }

    /// The link that an envelope of this node takes.
    fn choose(&self, envelope: &Envelope) -> Result<u16, RouteError> {
        match self.routes.load().as_deref() {
            Some(routes) => self.choose_by(routes, envelope, None),
            None => Err(RouteError::Unknown { to: envelope.to }),
        }
    }

    /// The link that an envelope takes which came on another one, or is this node's own.
    fn choose_by(&self, routes: &Routes, envelope: &Envelope, came: Option<u16>) -> Result<u16, RouteError> {
        let stands = |link| Some(link) != came && self.transport.is_up(link);
        let to = envelope.to;
        let back = came.filter(|link| self.transport.is_up(*link) && routes.may_turn_back(to, *link));
        routes
            .choose(to, envelope.kind, stands)
            .or(back)
            .ok_or_else(|| match routes.knows(to) {
                true => RouteError::Link(SendError::Down),
                false => RouteError::Unknown { to },
            })
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
        Ok(self.transport.send(self.choose(&envelope)?, lane, &envelope)?)
    }

    /// Like [`Router::send`], but waits while the lane is full. Returns the way that the envelope took.
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
    ) -> Result<Way, RouteError> {
        let envelope = self.envelope(to, kind, correlation, body);
        let link = self.choose(&envelope)?;
        let breaks = self.inbound.breaks_of(link);
        self.transport.send_waiting(link, lane, &envelope).await?;
        Ok(Way { link, breaks })
    }

    /// Whether the link of a way has gone down since: what went that way may be lost.
    pub(crate) fn is_broken(&self, way: Way) -> bool {
        self.inbound.breaks_of(way.link) != way.breaks
    }

    /// Whether the way to `to` has room for a body of so many bytes, as far as that shows now. Where there is no way nothing
    /// has to wait for room.
    pub(crate) fn has_room(&self, to: NodeId, kind: Kind, bytes: usize) -> bool {
        let routes = self.routes.load();
        let link = routes
            .as_ref()
            .and_then(|routes| routes.choose(to, kind, |link| self.transport.is_up(link)));
        link.is_none_or(|link| self.transport.has_room(link, kind.lane(), bytes))
    }

    /// The tree by which this node tells something to all others.
    pub(crate) fn broadcast_tree(&self) -> Arc<[Branch]> {
        let routes = self.routes.load();
        routes
            .as_ref()
            .map_or_else(Arc::default, |routes| routes.broadcast_tree())
    }

    /// Passes an envelope on that came on a link and is for another node.
    ///
    /// # Errors
    /// Why it was lost; it is counted.
    fn forward(&self, routes: &Routes, came: u16, envelope: &mut Envelope) -> Result<(), Loss> {
        let transit = &self.inbound.transit;
        if envelope.epoch != routes.epoch() {
            add(&transit.other_epoch);
        }
        let sent = match envelope.hops >= routes.hops_max() {
            true => Err(Loss::Hops),
            false => {
                envelope.hops += 1;
                let taken = self
                    .choose_by(routes, envelope, Some(came))
                    .and_then(|link| Ok(self.transport.send(link, envelope.kind.lane(), envelope)?));
                taken.map_err(Loss::from)
            }
        };
        match sent {
            Ok(()) => {
                add(&transit.forwarded);
                if matches!(envelope.kind, Kind::Signal | Kind::SignalAnswer) {
                    add(&transit.signals_forwarded);
                }
            }
            Err(loss) => transit.lose(loss, envelope),
        }
        sent
    }

    /// Tells those who may care. What finds no room is not told.
    fn tell(&self, notices: Notices) {
        for (to, notice) in notices.take() {
            let kind = Kind::Unreachable;
            let _ = self.send(to, kind.lane(), kind, notice.correlation, encode(&notice));
        }
    }

    /// Sends an envelope to the peer at the end of `link`, whatever its number.
    pub(crate) fn send_on(&self, link: u16, kind: Kind, body: Bytes) -> Result<(), SendError> {
        let envelope = self.envelope(NodeId::NONE, kind, 0, body);
        self.transport.send(link, kind.lane(), &envelope)
    }

    fn envelope(&self, to: NodeId, kind: Kind, correlation: u64, body: Bytes) -> Envelope {
        let routes = self.routes.load();
        let known = routes.as_ref().map(|routes| (routes.me(), routes.epoch()));
        let (from, epoch) = known.unwrap_or_default();
        Envelope {
            kind,
            hops: 0,
            from,
            to,
            correlation,
            epoch,
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
        let envelope = self.envelope(to, kind, correlation, body);
        let link = self.choose(&envelope)?;
        let mut question = self.inbound.expect(correlation, link, to);
        self.transport.send(link, lane, &envelope).map_err(RouteError::from)?;
        let answer = tokio::time::timeout(timeout, &mut question.answer).await;
        match answer {
            Ok(Ok(Ok(body))) => Ok(body),
            Ok(Ok(Err(loss))) => Err(AskError::Lost { loss }),
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

    /// What the links have counted so far.
    pub(crate) fn link_stats(&self) -> LinksStats {
        self.transport.stats()
    }

    /// How the links are, and when something came on them: data and control links, and those that the other end has
    /// opened. A member without such a link has no sign.
    pub(crate) fn link_signs(&self) -> Vec<NeighbourSign> {
        let routes = self.routes.load();
        let Some(routes) = &*routes else { return Vec::new() };
        let signs = self.transport.signs().into_iter();
        let signs = signs.filter(|sign| sign.up || sign.wanted);
        signs
            .filter_map(|LinkSign { link, up, silent, .. }| {
                let node = routes.at_end_of(link)?;
                Some(NeighbourSign { node, up, silent })
            })
            .collect()
    }

    /// Closes the connection with a member, which is made anew if it is wanted.
    pub(crate) fn close_link(&self, node: NodeId) {
        let routes = self.routes.load();
        let link = routes.as_ref().and_then(|routes| routes.link(node));
        if let Some(link) = link {
            self.transport.close(link);
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
