//! What the door needs of a node. Two of them exist: [`Node`], and in the tests a colony without a cluster around it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use queenright_actors::agent::{AgentError, AgentFilter, AgentOrder, AgentPage, AgentSpec, AgentStatus};
use queenright_actors::node::{
    ClusterStatus, Consistency, Heartbeat, Node, NodeFigures, ReadError, ReplaceError, Subscribers,
};
use queenright_actors::queen::{Request, SubmitError};
use queenright_actors::replica::Snapshot;
use queenright_actors::store::StoreError;
use queenright_actors::topic::Topics;
use queenright_protocol::colony::{
    DoorTokens, LostTo, Outcome, Refusal, ReservationId, SessionId, TokenHash, Wait, WaitId,
};
use tokio::sync::watch;

use crate::replay::tree::{self, StoredTree};

/// What the door needs of a node; each method is the one of the same name of [`Node`] or of its replica.
pub(super) trait Backend: Send + Sync + 'static {
    fn submit(&self, request: Request, deadline: Duration) -> BoxFuture<'_, Result<Outcome, SubmitError>>;
    fn heartbeat<'a>(
        &'a self,
        project: &'a Arc<str>,
        author: &'a Arc<str>,
        session: (SessionId, TokenHash),
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Result<Heartbeat, Refusal>, SubmitError>>;
    fn connected(&self, project: &Arc<str>, token: TokenHash);
    fn wait_offer<'a>(&'a self, project: &'a Arc<str>, wait: WaitId) -> BoxFuture<'a, Option<Arc<Wait>>>;
    fn read(&self, consistency: Consistency, deadline: Duration) -> BoxFuture<'_, Result<Arc<Snapshot>, ReadError>>;
    fn snapshot(&self) -> Arc<Snapshot>;
    fn door_tokens(&self) -> Arc<DoorTokens>;
    fn follow_seq(&self) -> watch::Receiver<u64>;
    fn subscribers(&self) -> &Arc<Subscribers>;
    fn topics(&self) -> &Arc<Topics>;
    fn wait_reservation<'a>(&'a self, project: &str, reservation: ReservationId) -> BoxFuture<'a, ()>;
    fn cluster_status(&self) -> BoxFuture<'_, ClusterStatus>;
    fn figures(&self) -> BoxFuture<'_, Result<NodeFigures, StoreError>>;
    fn stored_tree<'a>(&'a self, project: &'a str) -> BoxFuture<'a, Result<StoredTree, StoreError>>;
    fn spawn_agent(&self, spec: AgentSpec) -> BoxFuture<'_, Result<AgentStatus, AgentError>>;
    fn agents(&self, filter: AgentFilter) -> BoxFuture<'_, AgentPage>;
    fn agent<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<AgentStatus, AgentError>>;
    fn stop_agent<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), AgentError>>;
    fn order_agent<'a>(&'a self, name: &'a str, order: AgentOrder) -> BoxFuture<'a, Result<AgentStatus, AgentError>>;
    fn replace_node<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ReplaceError>>;
    fn losses(&self, project: &str) -> Vec<LostTo>;
    /// The node itself, for what only one in a cluster can do.
    fn node(&self) -> Option<&Node> {
        None
    }
}

impl Backend for Node {
    fn submit(&self, request: Request, deadline: Duration) -> BoxFuture<'_, Result<Outcome, SubmitError>> {
        Box::pin(Node::submit(self, request, deadline))
    }

    fn heartbeat<'a>(
        &'a self,
        project: &'a Arc<str>,
        author: &'a Arc<str>,
        session: (SessionId, TokenHash),
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Result<Heartbeat, Refusal>, SubmitError>> {
        Box::pin(Node::heartbeat(self, project, author, session, deadline))
    }

    fn connected(&self, project: &Arc<str>, token: TokenHash) {
        Node::connected(self, project, token);
    }

    fn wait_offer<'a>(&'a self, project: &'a Arc<str>, wait: WaitId) -> BoxFuture<'a, Option<Arc<Wait>>> {
        Box::pin(self.replica().wait_offer(project, wait))
    }

    fn read(&self, consistency: Consistency, deadline: Duration) -> BoxFuture<'_, Result<Arc<Snapshot>, ReadError>> {
        Box::pin(Node::read(self, consistency, deadline))
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.replica().snapshot()
    }

    fn door_tokens(&self) -> Arc<DoorTokens> {
        self.replica().door_tokens()
    }

    fn follow_seq(&self) -> watch::Receiver<u64> {
        self.replica().follow_seq()
    }

    fn subscribers(&self) -> &Arc<Subscribers> {
        Node::subscribers(self)
    }

    fn topics(&self) -> &Arc<Topics> {
        Node::topics(self)
    }

    fn wait_reservation<'a>(&'a self, project: &str, reservation: ReservationId) -> BoxFuture<'a, ()> {
        let settled = self.replica().wait_reservation(project, reservation);
        // The replica lives as long as the node: if it goes, so does the wait.
        Box::pin(async { settled.await.unwrap_or_default() })
    }

    fn cluster_status(&self) -> BoxFuture<'_, ClusterStatus> {
        Box::pin(Node::cluster_status(self))
    }

    fn figures(&self) -> BoxFuture<'_, Result<NodeFigures, StoreError>> {
        Box::pin(Node::figures(self))
    }

    fn stored_tree<'a>(&'a self, project: &'a str) -> BoxFuture<'a, Result<StoredTree, StoreError>> {
        Box::pin(tree::stored(self, project))
    }

    fn spawn_agent(&self, spec: AgentSpec) -> BoxFuture<'_, Result<AgentStatus, AgentError>> {
        Box::pin(Node::spawn_agent(self, spec))
    }

    fn agents(&self, filter: AgentFilter) -> BoxFuture<'_, AgentPage> {
        Box::pin(Node::agents(self, filter))
    }

    fn agent<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<AgentStatus, AgentError>> {
        Box::pin(async { Node::agent(self, name) })
    }

    fn stop_agent<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), AgentError>> {
        Box::pin(Node::stop_agent(self, name))
    }

    fn order_agent<'a>(&'a self, name: &'a str, order: AgentOrder) -> BoxFuture<'a, Result<AgentStatus, AgentError>> {
        Box::pin(Node::order_agent(self, name, order))
    }

    fn replace_node<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ReplaceError>> {
        Box::pin(Node::replace(self, name))
    }

    fn losses(&self, project: &str) -> Vec<LostTo> {
        self.replica().losses(project)
    }

    fn node(&self) -> Option<&Node> {
        Some(self)
    }
}
