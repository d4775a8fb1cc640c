//! What is told of a node that joins: that it is ready, has caught up, and what it has become.

use std::sync::Arc;
use std::time::Duration;

use queenright_actors::node::{Consistency, Node};
use serde::Serialize;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long one wait for the present state lasts; it is repeated.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// A step of a node that joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum JoinStep {
    /// Its door is open.
    Ready {
        /// Its name.
        node: String,
        /// Its door, as a URL.
        door: String,
    },
    /// It has everything that was acknowledged before it asked.
    CaughtUp {
        /// The index of the last log entry that it has applied.
        applied: u64,
    },
    /// It is a member of the present epoch.
    Settled {
        /// `voter` or `learner`.
        role: &'static str,
        /// The number of the epoch.
        epoch: u64,
    },
    /// It has left the cluster, as it was told to.
    Left,
}

/// Tells when the node has caught up and is a member, and of each change of what it is after that.
pub(super) async fn follow(node: Arc<Node>, tell: impl Fn(JoinStep)) {
    let applied = loop {
        // As fresh as anything that was acknowledged before.
        if let Ok(snapshot) = node.read(Consistency::Linearizable, READ_WITHIN).await {
            break snapshot.index;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    tell(JoinStep::CaughtUp { applied });
    let mut told = None;
    loop {
        if let Some((votes, epoch)) = node.membership() {
            let role = if votes { "voter" } else { "learner" };
            if told != Some(role) {
                told = Some(role);
                tell(JoinStep::Settled { role, epoch });
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
