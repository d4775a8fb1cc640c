//! Which sessions of ractor_cluster belong to which neighbours.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use queenright_protocol::version::Versions;
use ractor::ActorRef;
use ractor_cluster::node::NodeServerSessionInformation;
use ractor_cluster::{NodeEventSubscription, NodeSessionMessage};

use super::refusals::{Refusals, Why};
use super::stream::Connection;

/// The sessions that are authenticated, and the connections that are not closed.
///
/// A mutex since ractor_cluster reports from its own actor and gateways ask from theirs; held for a map access.
#[derive(Debug)]
pub(super) struct Sessions {
    refusals: Arc<Refusals>,
    /// The versions of frames that may come.
    speaks: Versions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The index of each neighbour, by the name that ractor_cluster knows it by.
    peers: HashMap<String, u16>,
    connections: HashMap<String, Arc<Connection>>,
    /// By ractor_cluster's number for the session, which is part of the id of each remote actor.
    authenticated: HashMap<u64, Session>,
    /// Why a neighbour could not be linked, by its index, since it was linked last.
    problems: HashMap<u16, String>,
}

#[derive(Debug)]
struct Session {
    /// The index of the neighbour.
    peer: u16,
    /// The version that both ends speak.
    version: u8,
    actor: ActorRef<NodeSessionMessage>,
}

/// The name of a node in ractor_cluster. It refuses peers that share either the name or `hostname:port` with this
/// node, and listens on ports that differ only by chance: so the host is the node's name too.
pub(super) fn full_name(name: &str) -> String {
    format!("{name}@{name}")
}

impl Sessions {
    pub(super) fn new(peers: impl Iterator<Item = (String, u16)>, speaks: Versions) -> Arc<Self> {
        let peers = peers.map(|(name, index)| (full_name(&name), index)).collect();
        Arc::new(Sessions {
            refusals: Arc::default(),
            speaks,
            state: Mutex::new(State {
                peers,
                ..State::default()
            }),
        })
    }

    /// The versions of frames that may come.
    pub(super) fn speaks(&self) -> Versions {
        self.speaks
    }

    /// Notes why the neighbour of this name could not be linked, and gives its index.
    pub(super) fn trouble(&self, name: &str, why: impl fmt::Display) -> Option<u16> {
        let mut state = self.lock();
        let index = state.peers.get(&full_name(name)).copied()?;
        state.problems.insert(index, why.to_string());
        Some(index)
    }

    /// It is linked.
    pub(super) fn no_trouble(&self, index: u16) {
        self.lock().problems.remove(&index);
    }

    /// Why it could not be linked, since it was linked last.
    pub(super) fn problem(&self, index: u16) -> Option<String> {
        self.lock().problems.get(&index).cloned()
    }

    /// One more neighbour.
    pub(super) fn add_peer(&self, name: &str, index: u16) {
        self.lock().peers.insert(full_name(name), index);
    }

    /// A neighbour less. Its sessions are closed by whoever has its link.
    pub(super) fn remove_peer(&self, name: &str) {
        self.lock().peers.remove(&full_name(name));
    }

    /// Where refused connections are counted.
    pub(super) fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// The names of the neighbours.
    pub(super) fn peer_names(&self) -> Vec<String> {
        let state = self.lock();
        let names = state.peers.keys();
        names
            .map(|name| name.split_once('@').map_or(name.as_str(), |(name, _)| name).to_owned())
            .collect()
    }

    /// Must be called before the connection is handed over.
    pub(super) fn add(&self, connection: &Arc<Connection>) {
        let mut state = self.lock();
        state.connections.insert(connection.label.clone(), connection.clone());
    }

    /// The neighbour on the other side of a session.
    pub(super) fn peer_of(&self, node_id: u64) -> Option<u16> {
        self.lock().authenticated.get(&node_id).map(|session| session.peer)
    }

    /// The version that both ends of a session speak.
    pub(super) fn version_of(&self, node_id: u64) -> Option<u8> {
        self.lock().authenticated.get(&node_id).map(|session| session.version)
    }

    /// Closes a session.
    pub(super) fn close(&self, node_id: u64, reason: &str) {
        if let Some(session) = self.lock().authenticated.get(&node_id) {
            session.actor.stop(Some(reason.to_owned()));
        }
    }

    /// Whether a session with who calls itself `name`, over this connection, may be.
    pub(super) fn check(&self, name: &str, connection: Option<&Connection>) -> Result<u16, Why> {
        // ractor_cluster's own listener has none of the bounds and proofs of ours.
        let connection = connection.ok_or(Why::Stranger)?;
        if let Some(certified) = &connection.certified
            && full_name(certified) != name
        {
            return Err(Why::Name);
        }
        self.lock().peers.get(name).copied().ok_or(Why::Stranger)
    }

    /// Closes all sessions with a neighbour.
    pub(super) fn close_all(&self, index: u16, reason: &str) {
        let state = self.lock();
        for session in state.authenticated.values().filter(|session| session.peer == index) {
            session.actor.stop(Some(reason.to_owned()));
        }
    }

    /// For how long nothing was read from a neighbour; `None` without a session.
    pub(super) fn silence(&self, index: u16) -> Option<Duration> {
        let state = self.lock();
        let connections = state
            .connections
            .values()
            .filter(|connection| connection.is_with(index));
        connections.map(|connection| connection.silence()).min()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps [`Sessions`] up to date. Called from within ractor_cluster's server, so it may not block.
pub(super) struct Subscription(pub(super) Arc<Sessions>);

impl NodeEventSubscription for Subscription {
    fn node_session_opened(&self, _: NodeServerSessionInformation) {}

    fn node_session_authenticated(&self, session: NodeServerSessionInformation) {
        let name = session
            .peer_name
            .as_ref()
            .map(|peer| peer.name.as_str())
            .unwrap_or_default();
        let connection = self.0.lock().connections.get(&session.peer_addr).cloned();
        let checked = self.0.check(name, connection.as_deref());
        let (peer, connection) = match (checked, connection) {
            (Ok(peer), Some(connection)) => (peer, connection),
            (checked, connection) => {
                let why = checked.err().unwrap_or(Why::Stranger);
                let detail = format!("it says that it is {name:?}");
                self.0.refusals.note(why, &session.peer_addr, detail);
                if let Some(connection) = connection {
                    connection.explain();
                }
                session.actor.stop(Some(why.to_string()));
                return;
            }
        };
        connection.authenticated(peer);
        let known = Session {
            peer,
            version: connection.version,
            actor: session.actor,
        };
        self.0.lock().authenticated.insert(session.node_id, known);
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        let mut state = self.0.lock();
        state.connections.remove(&session.peer_addr);
        state.authenticated.remove(&session.node_id);
    }
}
