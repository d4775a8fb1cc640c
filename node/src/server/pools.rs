//! The pools of the cluster file: each begins unless there is one of its name.

use std::sync::Arc;
use std::time::Duration;

use queenright_actors::node::Node;
use queenright_actors::queen::Request;
use queenright_protocol::colony::{Body, Outcome, PoolCommand};

use crate::config::PoolConfig;

/// Who sets them.
const AUTHOR: &str = "cluster file";
/// The project in whose name the command goes: it belongs to none.
const PROJECT: &str = "default";
/// How long one of them may take before it is told again.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait after one that could not be told.
const AGAIN: Duration = Duration::from_secs(1);

/// Tells the colony of the pools of the cluster file, until it knows all of them.
pub(super) async fn begin(node: Arc<Node>, pools: Vec<PoolConfig>) {
    for pool in pools {
        while !told(&node, &pool).await {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Says whether the colony has answered.
async fn told(node: &Node, pool: &PoolConfig) -> bool {
    let command = PoolCommand::Set {
        name: pool.name.as_str().into(),
        settings: Box::new(pool.settings.clone()),
        if_absent: true,
    };
    let request = Request {
        project: PROJECT.into(),
        author: AUTHOR.into(),
        idempotency_key: None,
        body: Body::Pool(command),
    };
    let name = &*pool.name;
    match node.submit(request, TOLD_WITHIN).await {
        Ok(Outcome::PoolSet { changed, .. }) => {
            if changed {
                tracing::info!(pool = name, "a pool of the cluster file begins");
            }
            true
        }
        Ok(Outcome::Refused(refusal)) => {
            tracing::error!(pool = name, %refusal, "a pool of the cluster file was refused");
            true
        }
        other => {
            tracing::debug!(pool = name, ?other, "a pool of the cluster file is told again");
            false
        }
    }
}
