//! A node that wants to leave, or hears no leader, asks at the doors of the others what became of it: they have no link
//! with one that is no member any more.

use std::sync::Arc;
use std::time::Duration;

use queenright_actors::link::Cookie;
use queenright_actors::node::{Fate, Node};
use queenright_actors::tls::{AUTHORITY_FILE, client_config};
use queenright_bench::client::wire::{NodeAnswer, NodeQuestion};
use queenright_bench::client::{Client, ClientOptions};

use crate::config::ClusterConfig;

/// How often it is looked whether there is a reason to ask, and how long a round of questions is followed by the next.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a door may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Asks, for as long as it is polled.
pub(super) async fn watch(node: Arc<Node>, config: &ClusterConfig, cookie: Cookie) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if !node.wonders() {
            continue;
        }
        for door in node.other_doors() {
            match ask(&node, config, &cookie, &door).await {
                // It may be another cluster's, or one that has heard of nothing.
                None | Some(Fate::Unknown) => {}
                Some(fate) => {
                    node.learn_fate(fate);
                    break;
                }
            }
        }
    }
}

async fn ask(node: &Node, config: &ClusterConfig, cookie: &Cookie, door: &str) -> Option<Fate> {
    let (cluster, number) = node.identity();
    let question = NodeQuestion::Fate {
        cluster,
        number,
        nonce: rand::random(),
    };
    let asked = client(config, door)?;
    match asked.ask_as_node(&question, cookie).await {
        Ok(NodeAnswer::Fate(fate)) => Some(fate),
        Ok(NodeAnswer::Admitted(_)) => None,
        Err(error) => {
            tracing::debug!(door, %error, "no answer about what became of this node");
            None
        }
    }
}

/// A client of the door of another node of the cluster, if there can be one.
fn client(config: &ClusterConfig, door: &str) -> Option<Client> {
    let tls = config
        .tls
        .as_ref()
        .map(|folder| client_config(&folder.join(AUTHORITY_FILE)));
    let tls = tls
        .transpose()
        .inspect_err(|error| tracing::warn!(%error, "cannot ask what became of this node"))
        .ok()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let options = ClientOptions {
        agent: "node".to_owned(),
        timeout: ANSWER_WITHIN,
        tls: tls.map(Arc::new),
        ..ClientOptions::default()
    };
    let client = Client::new(&format!("{scheme}://{door}"), options);
    client
        .inspect_err(|error| tracing::warn!(door, %error, "cannot ask what became of this node"))
        .ok()
}
