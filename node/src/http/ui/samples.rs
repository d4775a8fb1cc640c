//! The cluster as it was looked at last. While anybody looks on, however many they are, a task looks once a second as long as
//! commands are committed, and more rarely when none are: a page that is only open costs next to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use queenright_actors::node::{ClusterStatus, NodeFigures};
use queenright_actors::pool::HostReport;
use queenright_protocol::id::NodeId;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::http::Door;

/// How often the cluster is looked at while commands are committed. Rates of links are taken over the time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// After how long it is looked at if none are.
const AT_REST: Duration = Duration::from_secs(4);

/// The cluster at one moment.
pub(super) struct Sample {
    /// How long the door has been sampled, in milliseconds.
    pub(super) at_ms: u64,
    pub(super) status: ClusterStatus,
    /// What this node counts; nothing while its store does not answer.
    pub(super) figures: Option<NodeFigures>,
    /// What each member says of its pools, if the colony has any.
    pub(super) pools: Vec<(NodeId, Arc<str>, Option<HostReport>)>,
}

/// The last sample, and whether a task makes them.
pub(in crate::http) struct Samples {
    last: watch::Sender<Option<Arc<Sample>>>,
    running: AtomicBool,
}

impl Default for Samples {
    fn default() -> Samples {
        Samples {
            last: watch::Sender::new(None),
            running: AtomicBool::new(false),
        }
    }
}

impl Samples {
    /// Follows the samples of a door; starts the task that makes them if there is none.
    pub(super) fn follow(door: &Door) -> watch::Receiver<Option<Arc<Sample>>> {
        let samples = &door.samples;
        let receiver = samples.last.subscribe();
        if !samples.running.swap(true, Ordering::SeqCst) {
            tokio::spawn(keep(door.clone()));
        }
        receiver
    }
}

async fn keep(door: Door) {
    let (samples, began) = (door.samples.clone(), Instant::now());
    let mut closing = door.closing.clone();
    let mut seq = door.backend.follow_seq();
    loop {
        seq.mark_unchanged();
        let sample = Sample::take(&door, began.elapsed()).await;
        samples.last.send_replace(Some(Arc::new(sample)));
        let next = async {
            tokio::time::sleep(EVERY).await;
            // Whether a command or the time has come, the cluster is looked at.
            let _ = tokio::time::timeout(AT_REST - EVERY, seq.changed()).await;
        };
        tokio::select! {
            () = next => {}
            // An error says that the sender is gone, with the door.
            _ = closing.wait_for(|closing| *closing) => return,
        }
        if samples.last.receiver_count() == 0 {
            // Who comes later does not begin with what is old.
            samples.last.send_replace(None);
            samples.running.store(false, Ordering::SeqCst);
            // One who came between the two looks has found the task running.
            if samples.last.receiver_count() == 0 || samples.running.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }
}

impl Sample {
    async fn take(door: &Door, at: Duration) -> Sample {
        let has_pools = door.backend.snapshot().colony.pools().iter().next().is_some();
        let node = door.backend.node().filter(|_| has_pools);
        let reports = async {
            match node {
                Some(node) => node.pool_reports().await,
                None => Default::default(),
            }
        };
        // A store that is stuck keeps nobody from seeing that.
        let figures = tokio::time::timeout(EVERY, door.backend.figures());
        let (status, figures, reports) = tokio::join!(door.backend.cluster_status(), figures, reports);
        Sample {
            at_ms: at.as_millis() as u64,
            status,
            figures: figures.ok().and_then(Result::ok),
            pools: reports
                .into_iter()
                .map(|(number, (name, report))| (number, name, report))
                .collect(),
        }
    }
}
