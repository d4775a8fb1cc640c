//! What a node tells of pools, and asks the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::colony::PoolSettings;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};

use super::Node;
use super::inbox::Control;
use super::status::STATUS_TIMEOUT;
use crate::agent::{AgentError, AgentSpec};
use crate::body::{decode, encode};
use crate::pool::{Conducting, HostReport, conduct};
use crate::router::Router;

/// How long the leader waits for a member that is to say how its agents are: it asks again before long.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

/// Says the shares of the pools while this node leads.
pub(super) async fn keep_shares(conducting: Conducting, router: Arc<Router>) {
    conduct(conducting, |member| ask(&router, member, ASK_TIMEOUT)).await;
}

async fn ask(router: &Router, member: NodeId, timeout: Duration) -> Option<HostReport> {
    let question = encode(&Control::Pools);
    let answer = router.ask(member, Lane::Command, Kind::Control, question, timeout);
    decode(&answer.await.ok()?).ok()
}

impl Node {
    /// The door of this node is open: agents of pools, which work by it, may be started.
    pub fn host_pools(&self) {
        self.hosting.open();
    }

    /// How each member and its agents of pools are, by number, with its name; nothing of one that does not answer within a
    /// second.
    pub async fn pool_reports(&self) -> BTreeMap<NodeId, (Arc<str>, Option<HostReport>)> {
        let asked = self.router.members().into_iter().map(|number| async move {
            let report = match number == self.router.me() {
                true => Some(self.hosting.report()),
                false => ask(&self.router, number, STATUS_TIMEOUT).await,
            };
            (number, (self.name_of(number), report))
        });
        futures::future::join_all(asked).await.into_iter().collect()
    }

    /// Whether this node has the labels that a pool wants.
    pub fn fits_pool(&self, settings: &PoolSettings) -> bool {
        self.hosting.report().fits(settings)
    }

    /// Whether an agent could be started on this node, as far as no other agent matters.
    ///
    /// # Errors
    /// When its kind is unknown or its arguments do not fit.
    pub fn check_agent(&self, spec: &AgentSpec) -> Result<(), AgentError> {
        self.agents.check(spec)
    }
}
