//! The webhooks of the cluster file.

use std::sync::Arc;

use queenright_bench::client::ClientOptions;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::NodePlan;
use crate::hosted::Hosted;
use crate::metrics::webhooks::Webhooks;
use crate::webhooks;

/// Once the door is open: where it counts what is posted.
type Opened = watch::Receiver<Option<Arc<Webhooks>>>;

/// Sends them, once the door is open, as long as what they are spawned on is kept.
pub(super) fn begin(beside: &mut JoinSet<()>, plan: &NodePlan, hosted: &Arc<Hosted>, opened: &Opened) {
    for webhook in plan.config.webhooks.clone() {
        let (hosted, node, mut opened) = (hosted.clone(), plan.name.clone(), opened.clone());
        beside.spawn(async move {
            // An error says that the door was never opened, and the node ends.
            let Ok(counted) = opened.wait_for(Option::is_some).await.map(|opened| opened.clone()) else {
                return;
            };
            let counted = counted.expect("it was waited for");
            match hosted.inside(ClientOptions::default()) {
                Ok(client) => webhooks::run(webhook, node, client, counted).await,
                Err(error) => tracing::error!(webhook = %webhook.name, problem = %error.0, "a webhook cannot be sent"),
            }
        });
    }
}
