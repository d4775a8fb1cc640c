//! The webhooks of the cluster file.

use std::sync::Arc;

use queenright_bench::client::ClientOptions;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::NodePlan;
use crate::hosted::Hosted;
use crate::webhooks;

/// Sends them, once the door is open, as long as what they are spawned on is kept.
pub(super) fn begin(beside: &mut JoinSet<()>, plan: &NodePlan, hosted: &Arc<Hosted>, opened: &watch::Receiver<bool>) {
    for webhook in plan.config.webhooks.clone() {
        let (hosted, node, mut opened) = (hosted.clone(), plan.name.clone(), opened.clone());
        beside.spawn(async move {
            // An error says that the door was never opened, and the node ends.
            if opened.wait_for(|opened| *opened).await.is_err() {
                return;
            }
            match hosted.inside(ClientOptions::default()) {
                Ok(client) => webhooks::run(webhook, node, client).await,
                Err(error) => tracing::error!(webhook = %webhook.name, problem = %error.0, "a webhook cannot be sent"),
            }
        });
    }
}
