//! The request to end, such as by Ctrl-C: a workload that has a cluster is broken off, and its cluster stopped.
//!
//! It is one for the process, as the signal is. Workloads without clusters do not look at it: their threads end with the
//! process.

use std::sync::LazyLock;

use tokio::sync::watch;

// Of the process: a signal is not for one workload, and nothing is lost by a second one.
static REQUESTED: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));

/// Breaks off what [`crate::rig::block_on`] runs, now and from now on: it fails with
/// [`BenchError::Interrupted`](crate::BenchError::Interrupted) once its clusters have ended.
pub fn interrupt() {
    REQUESTED.send_replace(true);
}

/// Whether [`interrupt`] was called.
pub fn is_interrupted() -> bool {
    *REQUESTED.borrow()
}

/// Waits for [`interrupt`].
pub(crate) async fn interrupted() {
    let mut requested = REQUESTED.subscribe();
    // The sender lives as long as the process.
    let _ = requested.wait_for(|requested| *requested).await;
}
