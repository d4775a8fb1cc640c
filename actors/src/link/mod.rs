//! The links of a node: one connection for each that is wanted, carried by ractor_cluster.
//!
//! | file | what |
//! |---|---|
//! | `outbox`, `lane_queue` | what waits for a neighbour: bounded lanes, packed into frames by priority, within credit |
//! | `compressor` | which envelopes leave compressed |
//! | `inbox` | frames of a neighbour: session, sequence, fragments |
//! | `gateway` | the actor at this end of a link, and the task that drains its outbox |
//! | `supervisor` | starts and restarts gateways |
//! | `peers` | the neighbours, which come and go |
//! | `wants` | which links are wanted: who is dialled, what is closed, how long a guest stays |
//! | `connect`, `stream`, `sessions` | connections: accept and dial, TLS, deadlines and bounds, who is on the other side |
//! | `greeting` | the first exchange on a connection: which version both ends speak |
//! | `round_trip` | how long the other end takes to answer |
//! | `refusals` | connections that were refused: counted by why, told of once in a while |
//!
//! What the path below a gateway does not do, and this module therefore does: ractor_cluster queues without bound, has
//! one stream per neighbour, accepts any number of connections, and never reconnects. So at most
//! [`LinkLimits::window_bytes`] are given to it at a time, everything else waits in the outbox in lanes, and the
//! connections are opened and watched here.
//!
//! Guarantees: in order within a lane while a connection lasts; at most once; everything counted ([`LinkStats`]).
//! What waits in an outbox when its link breaks is lost: consensus and commands are repeated end to end, signals are
//! not. Envelopes that had arrived before a link broke may be delivered after [`Deliver::link_down`].
//!
//! With [`LinkConfig::tls`] both sides show a certificate of the cluster's authority, the name in it is that of the node
//! (checked by the side that dials, and against the handshake of ractor_cluster by the side that accepts), and the cookie
//! is demanded besides. Without it connections are plain TCP with a shared cookie: for loopback and trusted networks.
//!
//! Limits: ractor keeps its registries per process, so two nodes never share a process. ractor_cluster also opens a
//! listener of its own, which cannot be switched off; it is bound to a free port of the loopback interface, and sessions
//! that come by it are refused. A neighbour that vanished without closing its connection and comes back may be refused
//! until the old one is closed: by `liveness`, which finds out first, or after [`LinkLimits::idle_timeout`].

mod compressor;
mod config;
mod connect;
mod gateway;
mod greeting;
mod inbox;
mod lane_queue;
mod outbox;
mod peers;
mod refusals;
mod round_trip;
mod sessions;
mod socket;
mod stats;
mod stream;
mod supervisor;
#[cfg(test)]
mod tests;
mod wants;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use queenright_protocol::wire::{Envelope, Greeting};
use ractor::{Actor, ActorRef};
use ractor_cluster::node::NodeConnectionMode;
use ractor_cluster::{NodeServer, NodeServerMessage};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub use config::{Compression, Cookie, LinkConfig, LinkError, LinkLimits, PeerConfig};
pub(crate) use greeting::BUILD;
pub use greeting::Incompatible;
pub use outbox::{Outbox, SendError};
pub use refusals::RefusedStats;
pub use round_trip::RoundTrip;
pub use stats::{LaneStats, LinkSign, LinkStats, LinksStats};

use connect::Hangar;
use gateway::Link;
use peers::{Entry, Maker};
use refusals::Why;
use sessions::{Sessions, Subscription};
use supervisor::{Order, Supervisor};

/// A neighbour, as it is named to the receiver of its envelopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: Arc<str>,
    /// Its index in the cluster's list.
    pub index: u16,
}

/// Who receives what arrives on links. Called from the gateway of each link, one call at a time per link, links side
/// by side. Implementations must not block, and a slow one slows its neighbour down: credit is returned afterwards.
pub trait Deliver: Send + Sync + 'static {
    /// The envelopes that a frame completed, in the order of each lane. Bodies may be slices of the frame.
    fn envelopes(&self, from: &Peer, batch: Vec<Envelope>);

    /// The link is up: envelopes of this connection follow, and the outbox takes envelopes.
    fn link_up(&self, peer: &Peer);

    /// The link is down, and what waited in the outbox is gone.
    fn link_down(&self, peer: &Peer);

    /// The neighbour was there, but speaks no version that this node does. Told at each attempt to link.
    fn incompatible(&self, _peer: &Peer, _why: &Incompatible) {}
}

/// The links of this node. At most one per process. Dropping it leaves the links running; [`Links::stop`] ends them.
pub struct Links {
    // A mutex: neighbours come and go with the epoch. Held for a look, or while some are replaced.
    entries: Mutex<Vec<Entry>>,
    maker: Maker,
    hangar: Hangar,
    sessions: Arc<Sessions>,
    address: SocketAddr,
    supervisor: ActorRef<Order>,
    supervisor_task: JoinHandle<()>,
    accepting: JoinHandle<()>,
}

impl Links {
    /// Listens, and keeps each neighbour that is wanted linked from now on. `deliver` may be called before this returns.
    ///
    /// # Errors
    /// [`LinkError`] if the configuration is wrong or the address is taken. Nothing is left running then.
    pub async fn start(config: LinkConfig, deliver: Arc<dyn Deliver>) -> Result<Self, LinkError> {
        config.validate()?;
        let address = config.listen;
        let listen_error = |source| LinkError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;

        let sessions = Sessions::new(
            config.peers.iter().map(|peer| (peer.name.clone(), peer.index)),
            config.speaks,
        );
        let maker = Maker {
            me: (config.name.clone(), config.index),
            incarnation: rand::random_range(1..=u32::MAX),
            sessions: sessions.clone(),
            deliver: deliver.clone(),
            outbox_bytes: config.limits.outbox_bytes,
            window_bytes: config.limits.window_bytes,
            compression: config.limits.compression,
        };
        let wanted = |peer: &PeerConfig| config.wanted.as_ref().is_none_or(|wanted| wanted.contains(&peer.index));
        let mut peers: Vec<&PeerConfig> = config.peers.iter().collect();
        peers.sort_by_key(|peer| peer.index);
        let links: Vec<Arc<Link>> = peers.iter().map(|peer| maker.link(peer, wanted(peer))).collect();
        let (started, server) = oneshot::channel();
        let arguments = supervisor::Arguments {
            server: node_server(&config),
            links: links.clone(),
            started,
        };
        let spawned = Actor::spawn(None, Supervisor, arguments).await;
        let (supervisor, supervisor_task) = spawned.map_err(|source| LinkError::Actors { source })?;
        let server = server.await.expect("a supervisor that has started has sent its server");

        // Before any connection is handed over: the mailbox of the server keeps the order.
        let subscription = Box::new(Subscription(sessions.clone()));
        let subscribe = NodeServerMessage::SubscribeToEvents {
            id: "links".to_owned(),
            subscription,
        };
        server
            .cast(subscribe)
            .expect("the server runs as long as the supervisor");

        let hangar = Hangar {
            server,
            sessions: sessions.clone(),
            deliver,
            greeting: Greeting {
                speaks: config.speaks,
                name: config.name.clone(),
                build: BUILD.to_owned(),
            },
            limits: config.limits.clone(),
            tls: config.tls.clone(),
        };
        let accepting = tokio::spawn(hangar.clone().accept(listener));
        let keep = |(link, peer): (Arc<Link>, &&PeerConfig)| maker.keep(link, peer.address.clone(), &hangar);
        let entries = links.into_iter().zip(&peers).map(keep).collect();
        Ok(Links {
            entries: Mutex::new(entries),
            maker,
            hangar,
            sessions,
            address,
            supervisor,
            supervisor_task,
            accepting,
        })
    }

    /// Where this node listens. Differs from the configured address if that had port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// These are the neighbours from now on. The link of one that is none any more, or has another name or address, is
    /// closed; one that is new is linked when [`Links::set_wanted`] says so.
    pub fn set_peers(&self, peers: &[PeerConfig]) {
        peers::replace(&mut self.entries(), peers, &self.maker, &self.supervisor, &self.hangar);
    }

    /// Counts somebody who does not know the cookie and has asked elsewhere than on a link.
    pub fn refuse_stranger(&self, from: &str) {
        let detail = "it asked to be let in, and does not know the cookie";
        self.sessions.refusals().note(Why::Handshake, from, detail);
    }

    /// What to send to a neighbour with. None if there is no neighbour of this index.
    pub fn outbox(&self, index: u16) -> Option<Arc<Outbox>> {
        self.of(index, |link| link.outbox.clone())
    }

    /// The neighbours, by index.
    pub fn peers(&self) -> Vec<Peer> {
        self.each(|link| link.peer.clone())
    }

    /// Follows whether a neighbour is linked. None if there is no neighbour of this index.
    pub fn watch(&self, index: u16) -> Option<watch::Receiver<bool>> {
        self.of(index, Link::watch)
    }

    /// Says which neighbours are to be linked, by index: the others are not dialled, and a link with one of them is closed
    /// when what waits for it is gone.
    pub fn set_wanted(&self, wanted: &BTreeSet<u16>) {
        self.each(|link| link.set_wanted(wanted.contains(&link.peer.index)));
    }

    /// What was counted so far.
    pub fn stats(&self) -> LinksStats {
        LinksStats {
            links: self.each(Link::stats),
            refused: self.sessions.refusals().stats(),
        }
    }

    /// When something came on each link.
    pub fn signs(&self) -> Vec<LinkSign> {
        self.each(Link::sign)
    }

    /// Closes the connection with a neighbour, which is then made anew: its other end does not live.
    pub fn close(&self, index: u16) {
        self.of(index, |link| link.close("its other end does not live"));
    }

    /// Closes all links and the listener; what waits in outboxes is lost. Returns when the port is free and nothing is delivered any more.
    pub async fn stop(self) {
        self.accepting.abort();
        // An aborted task always says so.
        let _ = self.accepting.await;
        let entries = self.entries.into_inner().unwrap_or_else(PoisonError::into_inner);
        let links: Vec<_> = entries.iter().map(|entry| entry.link.clone()).collect();
        for entry in entries {
            entry.end().await;
        }
        self.supervisor.stop(None);
        // Fails only if the supervisor panicked, and then it has ended as well.
        let _ = self.supervisor_task.await;
        // A gateway that hung in its last frame has not said goodbye.
        links.iter().for_each(|link| link.disconnect());
    }

    fn each<T>(&self, of: impl Fn(&Link) -> T) -> Vec<T> {
        self.entries().iter().map(|entry| of(&entry.link)).collect()
    }

    fn of<T>(&self, index: u16, of: impl FnOnce(&Link) -> T) -> Option<T> {
        let entries = self.entries();
        let at = entries
            .binary_search_by_key(&index, |entry| entry.link.peer.index)
            .ok()?;
        Some(of(&entries[at].link))
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Isolated: links are those of the topology and no others. Never format a server, its `Debug` shows the cookie.
fn node_server(config: &LinkConfig) -> NodeServer {
    let cookie = config.cookie.reveal().to_owned();
    let (name, host) = (config.name.clone(), config.name.clone());
    NodeServer::new(0, cookie, name, host, None, Some(NodeConnectionMode::Isolated))
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .with_max_inbound_frame_size(connect::INBOUND_BYTES_MAX)
}
