//! What a node does before consensus starts: it takes the newest whole state that it has, and if the log does not reach
//! back to that any more, one from a peer.
//!
//! | what is damaged or gone | what happens |
//! |---|---|
//! | the store | set aside by `store::open`; the newest snapshot and the log behind it are left |
//! | a snapshot | set aside by [`Library::open`] or here; the store, the one before it and the log are left |
//! | the snapshot behind which the log was cut | besides, a new one is built: an older one and the log would bring nobody back |
//! | the store and all snapshots | if the log is whole from its first entry on, it is applied again; else a peer is asked |
//! | the log or the vote in it, ahead of a torn tail | the node does not start: see [`LogError`](super::LogError) |
//!
//! A log that was cut between two records says nothing of its loss; that a vote or a committed entry is gone which was on
//! disk is told by the store.
//!
//! A node that waits for a peer's snapshot takes no part in elections: it has not started consensus. Its log and its vote
//! are whole, so it goes on from them afterwards.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf};
use openraft::{RaftLogReader, storage::RaftLogStorage};
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::ConsensusError;
use super::log::LogStore;
use super::snapshot::serve::{Wanted, WantedAnswer};
use super::snapshot::transfer::{Partial, TransferError};
use super::snapshot::{Library, Snapshot, SnapshotError};
use super::types::TypeConfig;
use crate::body::{decode, encode};
use crate::replica::{Flushed, Replica};
use crate::router::Router;

/// How long a peer may take to say whether it has a snapshot.
const WANTED_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait before all peers are asked again: they may be building one.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often the log says that the node still waits.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// By which way a node has come back to what the others have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecoveredBy {
    /// By the log, from where its store ends.
    #[default]
    Log,
    /// By a snapshot of its own, and the log behind it.
    Snapshot,
    /// By a snapshot of another node, and the log behind it.
    Peer,
}

/// How a node came back. What happened last counts: a running node that falls behind the log of the others gets a
/// snapshot as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// The way.
    pub by: RecoveredBy,
    /// The last entry that the store, or the snapshot, held.
    pub index: u64,
    /// The bytes of the snapshot, or of the entries that were applied until the node had caught up.
    pub bytes: u64,
    /// Where that went which could not be read at the start.
    pub set_aside: Vec<String>,
}

/// The recovery of this node, as far as it has come.
// A mutex: written by the state machine and by whoever watches the recovery, read by status.
#[derive(Debug, Default)]
pub(crate) struct RecoveryNote(Mutex<Recovery>);

impl RecoveryNote {
    pub(crate) fn get(&self) -> Recovery {
        self.0.lock().expect("nothing panics under this lock").clone()
    }

    /// Another node's snapshot was installed.
    pub(crate) fn installed(&self, snapshot: &Snapshot) {
        let mut recovery = self.0.lock().expect("nothing panics under this lock");
        recovery.by = RecoveredBy::Peer;
        recovery.index = snapshot.index();
        recovery.bytes = snapshot.bytes();
    }

    /// The node has applied what it may have applied before.
    pub(crate) fn caught_up(&self, applied_bytes: u64) {
        let mut recovery = self.0.lock().expect("nothing panics under this lock");
        if recovery.by == RecoveredBy::Log {
            recovery.bytes = applied_bytes;
        }
    }
}

/// Brings the replica to the newest whole state that there is, and the log in line with it.
///
/// # Errors
/// When the disk fails, or nobody can have the state.
pub(crate) async fn prepare(
    log: &LogStore,
    library: &Arc<Library>,
    replica: &Arc<Replica>,
    router: &Router,
    set_aside: Vec<String>,
) -> Result<RecoveryNote, ConsensusError> {
    let failed = |error: &dyn std::error::Error| ConsensusError::Failed(error.to_string());
    let mut log = log.clone();
    if let Some(flushed) = replica.flushed_before().filter(|_| checks_end()) {
        check_end(&mut log, flushed).await?;
    }
    let mut recovery = Recovery {
        index: replica.applied_index(),
        set_aside,
        ..Recovery::default()
    };
    if let Some(newest) = install_newest(library, replica).await? {
        recovery.by = RecoveredBy::Snapshot;
        (recovery.index, recovery.bytes) = (newest.index(), newest.bytes());
    }
    let state = log.get_log_state().await.map_err(|error| failed(&error))?;
    if let Some(purged) = state.last_purged_log_id
        && replica.position().0.is_none_or(|applied| applied.index < purged.index)
    {
        let snapshot = fetch(library, router, purged.index).await?;
        library.keep(&snapshot).map_err(|error| failed(&error))?;
        install(replica, &snapshot).await.map_err(|error| failed(&error))?;
        tracing::info!(%snapshot, "the state was read from a peer's snapshot");
        recovery.by = RecoveredBy::Peer;
        (recovery.index, recovery.bytes) = (snapshot.index(), snapshot.bytes());
    }
    if let Some(applied) = replica.position().0 {
        reconcile(&mut log, applied).await.map_err(|error| failed(&error))?;
    }
    if let Some(purged) = state.last_purged_log_id {
        reach_the_log(library, replica, purged).await?;
    }
    let aside = library.set_aside();
    recovery
        .set_aside
        .extend(aside.iter().map(|place| place.display().to_string()));
    Ok(RecoveryNote(Mutex::new(recovery)))
}

/// Whether the end of the log is compared with what the store knows: not with a bug on purpose that this would give away
/// before it does any harm.
fn checks_end() -> bool {
    #[cfg(feature = "planted-bugs")]
    {
        use queenright_protocol::planted::{Bug, has};
        !has(Bug::ForgetVote) && !has(Bug::AcknowledgeBeforeSync)
    }
    #[cfg(not(feature = "planted-bugs"))]
    true
}

/// Takes the state of the newest snapshot that is whole, if the replica is behind it, and returns that one. Damaged ones are
/// set aside.
pub(super) async fn install_newest(
    library: &Arc<Library>,
    replica: &Arc<Replica>,
) -> Result<Option<Arc<Snapshot>>, ConsensusError> {
    let failed = |error: &dyn std::error::Error| ConsensusError::Failed(error.to_string());
    while let Some(newest) = library.newest()
        && newest.meta().last_log_id > replica.position().0
    {
        match install(replica, &newest).await {
            Ok(()) => {
                tracing::info!(snapshot = %newest, "the state was read from a snapshot");
                return Ok(Some(newest));
            }
            Err(SnapshotError::Damaged(reason)) => newest.discard(library, &reason).map_err(|error| failed(&error))?,
            Err(error) => return Err(failed(&error)),
        }
    }
    Ok(None)
}

/// A log that was cut at the end of a record looks like one that never had more. The store knows better, as of its last
/// pass.
pub(super) async fn check_end(log: &mut LogStore, flushed: Flushed) -> Result<(), ConsensusError> {
    let failed = |error: std::io::Error| ConsensusError::Failed(error.to_string());
    let vote = log.read_vote().await.map_err(failed)?;
    let last = log.get_log_state().await.map_err(failed)?.last_log_id;
    let lost = if vote.is_none_or(|vote| vote < flushed.vote) {
        format!("the vote {} was on disk, and is not there any more", flushed.vote)
    } else if let Some(committed) = flushed.committed.filter(|committed| last < Some(*committed)) {
        format!("entry {committed} was on disk, and is not there any more")
    } else {
        return Ok(());
    };
    Err(log.inconsistent(lost).into())
}

async fn install(replica: &Arc<Replica>, snapshot: &Arc<Snapshot>) -> Result<(), SnapshotError> {
    let (replica, snapshot) = (replica.clone(), snapshot.clone());
    let installed = tokio::task::spawn_blocking(move || {
        let colony = snapshot.read()?;
        let meta = snapshot.meta();
        replica.install(colony, meta.last_log_id, meta.last_membership.clone());
        Ok(())
    });
    installed.await.map_err(std::io::Error::other)?
}

/// Builds a snapshot if the newest that is left ends before the log begins: whoever is behind that could be brought back by
/// neither, and openraft takes it for granted that there is one.
async fn reach_the_log(
    library: &Arc<Library>,
    replica: &Arc<Replica>,
    purged: LogIdOf<TypeConfig>,
) -> Result<(), ConsensusError> {
    let newest = library.newest().and_then(|newest| newest.meta().last_log_id);
    if newest >= Some(purged) {
        return Ok(());
    }
    let (colony, last_log_id, last_membership) = replica.whole();
    let meta = SnapshotMetaOf::<TypeConfig> {
        last_log_id,
        last_membership,
    };
    let library = library.clone();
    let built = tokio::task::spawn_blocking(move || library.build(&colony, &meta)).await;
    let failed = |error: &dyn std::error::Error| ConsensusError::Failed(error.to_string());
    let snapshot = built.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    tracing::info!(%snapshot, "built, since the log begins behind what was left");
    Ok(())
}

/// Removes entries that contradict what was applied: a snapshot was installed, and the process ended before the log was
/// brought in line. Such entries were never committed, and neither was any behind them.
pub(super) async fn reconcile(log: &mut LogStore, applied: LogIdOf<TypeConfig>) -> Result<(), std::io::Error> {
    let state = log.get_log_state().await?;
    let Some(last) = state.last_log_id else { return Ok(()) };
    if state.last_purged_log_id >= Some(applied) {
        return Ok(());
    }
    let entries = log.try_get_log_entries(applied.index..=applied.index).await?;
    let contradicts = match entries.first() {
        Some(entry) => entry.log_id != applied,
        None => last > applied,
    };
    if contradicts {
        tracing::warn!(%applied, %last, "entries that were never committed are removed from the log");
        // What the log knows as committed is in the state as well.
        let kept = state.last_purged_log_id.max(log.read_committed().await?);
        log.truncate_after(kept).await?;
    }
    Ok(())
}

/// A snapshot that holds at least the entry `index`, from whichever peer has one first. Waits for as long as it takes:
/// without its state the node can do nothing.
async fn fetch(library: &Arc<Library>, router: &Router, index: u64) -> Result<Arc<Snapshot>, ConsensusError> {
    let me = router.me();
    let peers: Vec<NodeId> = router.members().into_iter().filter(|peer| *peer != me).collect();
    if peers.is_empty() {
        return Err(ConsensusError::StateLost { index });
    }
    tracing::warn!(
        index,
        "the state is lost and the log begins behind it; asking the other nodes for a snapshot"
    );
    let mut said = Instant::now();
    loop {
        for peer in &peers {
            match fetch_from(library, router, *peer, index).await {
                Ok(Some(snapshot)) => return Ok(snapshot),
                Ok(None) => {}
                Err(error) => tracing::warn!(%peer, %error, "no snapshot came from a peer"),
            }
        }
        if said.elapsed() >= SAY_EVERY {
            tracing::warn!(index, "still waiting for a snapshot of another node");
            said = Instant::now();
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn fetch_from(
    library: &Arc<Library>,
    router: &Router,
    peer: NodeId,
    index: u64,
) -> Result<Option<Arc<Snapshot>>, TransferError> {
    let question = encode(&Wanted { index });
    let answer = router
        .ask(peer, Lane::Command, Kind::SnapshotWanted, question, WANTED_TIMEOUT)
        .await;
    let Some(Ok(WantedAnswer::Head(head))) = answer.ok().map(|answer| decode(&answer)) else {
        return Ok(None);
    };
    let partial = Arc::new(Partial::begin(library, &head)?);
    tracing::info!(%peer, bytes = partial.bytes(), "receiving a snapshot");
    partial.receive(router, peer).await?;
    let finished = tokio::task::spawn_blocking(move || partial.finish()).await;
    let snapshot = finished.map_err(std::io::Error::other)??;
    if snapshot.index() < index {
        let at = snapshot.index();
        return Err(TransferError::Damaged(format!("it ends at entry {at}, before {index}")));
    }
    Ok(Some(snapshot))
}
