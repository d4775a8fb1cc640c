//! Raises the version of the rules while this node leads: once every member has said that its build knows a newer one. A
//! task of the node. So a cluster is upgraded by giving its nodes another build one by one.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`Control::Rules`](super::inbox::Control) | the leader | each member | [`Versions`] | which rules does your build know? |
//!
//! A member that does not answer may have any build: nothing is raised meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::colony::{Body, Outcome, RULES, TopologyCommand};
use queenright_protocol::id::NodeId;
use queenright_protocol::version::Versions;
use queenright_protocol::wire::{Kind, Lane};
use ractor::ActorRef;

use super::Role;
use super::inbox::Control;
use super::status::STATUS_TIMEOUT;
use crate::agent::submit;
use crate::body::{decode, encode};
use crate::consensus::Consensus;
use crate::queen::{QueenMessage, Request};
use crate::replica::Replica;
use crate::router::Router;

/// How often the members are asked while this build knows newer rules than those in force.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long the leader waits for the change to be committed before it asks again.
const RAISE_TIMEOUT: Duration = Duration::from_secs(5);
/// Who raises them, and in the name of which project: the command belongs to none.
const AUTHOR: &str = "queen";
const PROJECT: &str = "default";

/// The version to raise the rules to: the newest that every member knows, if it is newer than the one in force. `said` is
/// what those members have said who answered.
fn next_version(in_force: u32, members: &BTreeSet<NodeId>, said: &BTreeMap<NodeId, Versions>) -> Option<u32> {
    let known: Option<Vec<Versions>> = members.iter().map(|member| said.get(member).copied()).collect();
    let known = known?;
    let newest = known.iter().map(|versions| versions.newest).min()?;
    let all = known.iter().all(|versions| versions.contains(newest));
    (all && newest > in_force).then_some(newest)
}

/// Raises the rules whenever they can be, for as long as it is polled.
pub(super) async fn keep_rules(
    consensus: Arc<Consensus>,
    replica: Arc<Replica>,
    router: Arc<Router>,
    queen: ActorRef<QueenMessage>,
) {
    let (mut leadership, mut members) = (consensus.leadership(), consensus.members());
    loop {
        let leads = leadership.borrow_and_update().role == Role::Leader;
        let nodes = members.borrow_and_update().nodes.clone();
        let after = replica.rules_version();
        let asks = leads && RULES.newest > after;
        if asks && let Some(to) = next_version(after, &nodes, &ask(&router, &nodes).await) {
            let request = Request {
                project: PROJECT.into(),
                author: AUTHOR.into(),
                idempotency_key: None,
                body: Body::Topology(TopologyCommand::Rules { to, after }),
            };
            match submit(&queen, request, RAISE_TIMEOUT).await {
                Ok(Outcome::RulesRaised { version, .. }) => tracing::info!(version, "newer rules are in force"),
                other => tracing::debug!(?other, "no newer rules are in force"),
            }
        }
        let changed = tokio::select! {
            changed = leadership.changed() => changed,
            changed = members.changed() => changed,
            () = tokio::time::sleep(ASK_EVERY), if asks => Ok(()),
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn ask(router: &Router, members: &BTreeSet<NodeId>) -> BTreeMap<NodeId, Versions> {
    let asked = members.iter().map(|&member| async move {
        if member == router.me() {
            return Some((member, RULES));
        }
        let question = encode(&Control::Rules);
        let answer = router.ask(member, Lane::Command, Kind::Control, question, STATUS_TIMEOUT);
        Some((member, decode(&answer.await.ok()?).ok()?))
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_go_up_once_every_member_knows_them_and_no_further() {
        let next = |said: &[(u64, u32, u32)]| {
            let said = said
                .iter()
                .map(|&(node, oldest, newest)| (NodeId(node), Versions { oldest, newest }));
            next_version(2, &[1, 2, 3].map(NodeId).into(), &said.collect())
        };
        assert_eq!(next(&[(1, 1, 3), (2, 2, 3), (3, 1, 3)]), Some(3));
        assert_eq!(
            next(&[(1, 1, 3), (2, 2, 4), (3, 1, 2)]),
            None,
            "one knows no newer ones"
        );
        assert_eq!(next(&[(1, 1, 3), (2, 2, 3)]), None, "one has not answered");
        assert_eq!(next(&[(1, 2, 5), (2, 2, 4), (3, 2, 9), (7, 1, 1)]), Some(4));
        assert_eq!(
            next(&[(1, 2, 3), (2, 4, 5), (3, 2, 3)]),
            None,
            "they have none in common"
        );
    }
}
