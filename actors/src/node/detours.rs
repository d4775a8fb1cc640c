//! Tells the leader which links of this node are cut, and while this node leads, begins the epochs that lead around them. Two
//! tasks of the node; what is decided is `shape`'s and `cuts`'s.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use queenright_protocol::colony::{Body, Outcome, TopologyCommand};
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};
use ractor::ActorRef;
use tokio::time::Instant;

use super::Role;
use super::inbox::Control;
use super::shaping::Shaping;
use crate::agent::submit;
use crate::body::encode;
use crate::consensus::Consensus;
use crate::cuts::{CutReport, Cuts};
use crate::queen::{QueenMessage, Request};
use crate::replica::Replica;
use crate::router::Router;

/// How often a node tells, and the leader looks.
const EVERY: Duration = Duration::from_secs(1);
/// How long the leader waits for an epoch to be committed before it looks again.
const EPOCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Who begins the epoch, and in the name of which project: the command belongs to none.
const AUTHOR: &str = "queen";
const PROJECT: &str = "default";

/// What was told to this node, for the time that it leads.
pub(super) struct Detours {
    // A mutex: told by the nodes, looked at by the task. Held for a look.
    cuts: Mutex<Cuts>,
    started: Instant,
}

impl Detours {
    pub(super) fn new() -> Detours {
        Detours {
            cuts: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// A node tells of its links.
    pub(super) fn hear(&self, from: NodeId, report: CutReport) {
        let now_ms = self.now_ms();
        self.cuts().hear(from, report, now_ms);
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn cuts(&self) -> MutexGuard<'_, Cuts> {
        self.cuts.lock().expect("nothing panics under this lock")
    }
}

/// Tells the leader, for as long as it is polled.
pub(super) async fn tell_cuts(
    shaping: Arc<Shaping>,
    detours: Arc<Detours>,
    consensus: Arc<Consensus>,
    router: Arc<Router>,
) {
    loop {
        tokio::time::sleep(EVERY).await;
        let report = shaping.shaped().report;
        let Some(leader) = consensus.current().leader.filter(|_| !report.is_empty()) else {
            continue;
        };
        if leader == router.me() {
            detours.hear(leader, report);
            continue;
        }
        let told = encode(&Control::Cuts(report));
        // Told again while it is so: what is lost does not matter.
        let _ = router.ask(leader, Lane::Command, Kind::Control, told, EVERY).await;
    }
}

/// Begins an epoch whenever others are to be led around, for as long as it is polled and this node leads.
pub(super) async fn keep_cuts(
    detours: Arc<Detours>,
    consensus: Arc<Consensus>,
    replica: Arc<Replica>,
    router: Arc<Router>,
    queen: ActorRef<QueenMessage>,
) {
    let epochs = replica.follow_epoch();
    loop {
        tokio::time::sleep(EVERY).await;
        if consensus.current().role != Role::Leader {
            continue;
        }
        let Some(epoch) = epochs.borrow().clone() else { continue };
        let suspects = router.suspects();
        let now_ms = detours.now_ms();
        let Some(cuts) = detours.cuts().look(&epoch, &suspects, now_ms) else {
            continue;
        };
        let request = Request {
            project: PROJECT.into(),
            author: AUTHOR.into(),
            idempotency_key: None,
            body: Body::Topology(TopologyCommand::Cuts {
                cuts: cuts.clone(),
                after: epoch.number,
            }),
        };
        match submit(&queen, request, EPOCH_TIMEOUT).await {
            Ok(Outcome::EpochSet { epoch: number, .. }) => {
                detours.cuts().have_fallen(&epoch.cuts, &cuts);
                tracing::info!(epoch = number, ?cuts, "the links that are led around are others");
            }
            // Another epoch has begun, or nobody knows: what there is then is looked at.
            other => tracing::debug!(?other, "no epoch has begun"),
        }
    }
}
