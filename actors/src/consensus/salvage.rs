//! What one node has, for a cluster whose majority is lost for good: read as far as it goes, and written as the beginning
//! of a cluster of its own.
//!
//! **Which entries are taken: all that the log holds, those behind the last known commit too.** A majority that is gone may
//! have acknowledged them, and nobody is left who could say that it has not: leaving them out could lose what was
//! acknowledged, while taking one that never was only carries out a command whose caller has been told *unknown*. What is
//! taken that way may differ from what the lost majority had at the same positions, if this node was cut off from it; so
//! the position of the last known commit is kept (`certain`), and whoever has read events behind it is told.
//!
//! | what is damaged or gone | what is taken |
//! |---|---|
//! | nothing | the newest of store and snapshots, and all entries of the log behind it |
//! | the store, or a snapshot | the same from what is left |
//! | the log, or its end | the newest of store and snapshots alone, and that is said |
//! | all but a log that begins later | nothing: there is no state |

use std::path::Path;
use std::sync::Arc;

use openraft::storage::RaftLogStorage;
use openraft::type_config::alias::{LeaderIdOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use openraft::vote::RaftLeaderIdExt as _;
use openraft::{EntryPayload, Membership, RaftLogReader};
use queenright_protocol::colony::Colony;
use queenright_protocol::id::NodeId;

use super::ConsensusError;
use super::log::{LogError, LogOptions, LogStore};
use super::recovery::{check_end, install_newest, reconcile};
use super::snapshot::Library;
use super::types::TypeConfig;
use crate::replica::{Payload, Replica};

/// What a node had.
pub(crate) struct Salvaged {
    pub(crate) colony: Colony,
    last: LogIdOf<TypeConfig>,
    /// The highest term that the node has seen.
    term: u64,
    /// The last entry that was known to be committed.
    pub(crate) committed: u64,
    /// The position in the order of all commands after that entry.
    pub(crate) certain: u64,
    /// Why the log was left out, if it was.
    pub(crate) log_damage: Option<String>,
}

impl Salvaged {
    /// What a backup holds: the state after an entry, given by its index and term.
    pub(crate) fn of_backup(colony: Colony, (index, term): (u64, u64), certain: u64) -> Salvaged {
        // Which node led is forgotten with the cluster; the first entry is that of the members.
        let leader = LeaderIdOf::<TypeConfig>::new_committed(term.max(1), 0);
        let last = LogIdOf::<TypeConfig>::new(leader, index.max(1));
        Salvaged {
            colony,
            last,
            term: term.max(1),
            committed: last.index,
            certain,
            log_damage: None,
        }
    }

    /// The index and the term of the last entry.
    pub(crate) fn last(&self) -> (u64, u64) {
        (self.last.index, self.last.leader_id.term)
    }
}

/// Reads it. `log` is the log as it was opened, or why it was not; the replica holds what the store had. Cuts a torn tail off the log, and sets
/// damaged snapshots aside.
///
/// # Errors
/// When the disk fails, the log holds what this program cannot read, or there is no whole state.
pub(crate) async fn read(
    log: Result<LogStore, LogError>,
    library: &Arc<Library>,
    replica: &Arc<Replica>,
) -> Result<Salvaged, ConsensusError> {
    let (mut log, mut damage) = match log {
        Ok(log) => (Some(log), None),
        Err(error) => (None, Some(of_damage(error)?)),
    };
    if let (Some(open), Some(flushed)) = (&mut log, replica.flushed_before())
        && let Err(error) = check_end(open, flushed).await
    {
        let ConsensusError::Log(error) = error else {
            return Err(error);
        };
        damage = Some(of_damage(error)?);
    }
    install_newest(library, replica).await?;
    let mut term = replica
        .flushed_before()
        .map_or(0, |flushed| flushed.vote.leader_id.term);
    let known = |replica: &Replica| {
        let index = replica.position().0.map_or(0, |id| id.index);
        (index, replica.whole().0.seq())
    };
    let mut certain = known(replica);
    if let Some(mut log) = log {
        if damage.is_none() {
            damage = gap(&mut log, replica).await?;
        }
        if damage.is_none() {
            certain = apply_rest(&mut log, replica, certain).await?;
        }
        let vote = log.read_vote().await.map_err(failed)?;
        term = term.max(vote.map_or(0, |vote| vote.leader_id.term));
        log.close().await.map_err(failed)?;
    }
    let (colony, last, _) = replica.whole();
    let Some(last) = last else {
        let reason = damage.unwrap_or_else(|| "it is empty".to_owned());
        return Err(ConsensusError::Failed(format!(
            "this node has no state: neither store nor snapshot, and the log: {reason}"
        )));
    };
    let (committed, certain) = certain;
    Ok(Salvaged {
        colony,
        last,
        term: term.max(last.leader_id.term),
        committed,
        certain,
        log_damage: damage,
    })
}

fn of_damage(error: LogError) -> Result<String, ConsensusError> {
    match error {
        LogError::Damaged { file, offset, reason } => {
            Ok(format!("{}: damaged at byte {offset}: {reason}", file.display()))
        }
        LogError::Inconsistent { reason, .. } => Ok(reason),
        error => Err(error.into()),
    }
}

fn failed(error: impl std::fmt::Display) -> ConsensusError {
    ConsensusError::Failed(error.to_string())
}

/// Why the log cannot be applied to what store and snapshots had, if it cannot: it begins later.
async fn gap(log: &mut LogStore, replica: &Replica) -> Result<Option<String>, ConsensusError> {
    let purged = log.get_log_state().await.map_err(failed)?.last_purged_log_id;
    let applied = replica.position().0;
    match (purged, applied) {
        (Some(purged), None) => Err(ConsensusError::StateLost { index: purged.index }),
        (Some(purged), Some(applied)) if applied.index < purged.index => Ok(Some(format!(
            "it begins behind entry {}, and the newest whole state is that of entry {}",
            purged.index, applied.index
        ))),
        _ => Ok(None),
    }
}

/// Applies what is in the log behind the replica; returns the last entry known to be committed, and the position after it.
async fn apply_rest(
    log: &mut LogStore,
    replica: &Arc<Replica>,
    mut certain: (u64, u64),
) -> Result<(u64, u64), ConsensusError> {
    if let Some(applied) = replica.position().0 {
        reconcile(log, applied).await.map_err(failed)?;
    }
    let committed = log.read_committed().await.map_err(failed)?;
    let mut next = replica.position().0.map_or(0, |applied| applied.index + 1);
    loop {
        let entries = log.limited_get_log_entries(next, u64::MAX).await.map_err(failed)?;
        if entries.is_empty() {
            return Ok(certain);
        }
        for entry in entries {
            let payload = match &entry.payload {
                EntryPayload::Blank => Payload::Blank,
                EntryPayload::Normal(bytes) => Payload::Rounds(&bytes.0),
                EntryPayload::Membership(membership) => Payload::Membership(membership),
            };
            replica.apply(entry.log_id, payload).map_err(failed)?;
            next = entry.log_id.index + 1;
            if committed == Some(entry.log_id) {
                certain = (entry.log_id.index, replica.whole().0.seq());
            }
        }
    }
}

/// Writes the beginning of the cluster of which `voter` is the only one: a snapshot of `colony` at the position that was
/// salvaged, and in `log`, an empty folder, a log that begins behind it. On disk when this returns.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn write(
    salvaged: &Salvaged,
    colony: Colony,
    voter: NodeId,
    log: &Path,
    library: &Arc<Library>,
) -> Result<(), ConsensusError> {
    let members = Membership::new_with_defaults(vec![[voter.0].into()], []);
    let meta = SnapshotMetaOf::<TypeConfig> {
        last_log_id: Some(salvaged.last),
        last_membership: StoredMembershipOf::<TypeConfig>::new(Some(salvaged.last), members),
    };
    let library = library.clone();
    let built = tokio::task::spawn_blocking(move || library.build(&colony, &meta).map(drop)).await;
    built.map_err(failed)?.map_err(failed)?;
    let mut log = LogStore::open(log, &LogOptions::default())?;
    // No term is used twice, although nobody is left who knows the old ones.
    let vote = VoteOf::<TypeConfig>::new(salvaged.term + 1, voter.0);
    log.save_vote(&vote).await.map_err(failed)?;
    log.purge(salvaged.last).await.map_err(failed)?;
    log.close().await.map_err(failed)
}
