//! openraft's state machine over the replica. Outcomes go to the queen and not through openraft's responders.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use queenright_protocol::colony::Colony;

use super::recovery::RecoveryNote;
use super::snapshot::{Library, Snapshot};
use super::types::TypeConfig;
use crate::background;
use crate::replica::{DIRTY_RECORDS_MAX, Payload, Replica};
use crate::store::Store;

/// The state machine.
pub(crate) struct Machine {
    replica: Arc<Replica>,
    /// Waited for when it falls behind; absent in tests without a store.
    store: Option<Arc<Store>>,
    /// Absent where the log is kept whole.
    library: Option<Arc<Library>>,
    recovery: Arc<RecoveryNote>,
}

impl Machine {
    pub(crate) fn new(
        replica: Arc<Replica>,
        store: Option<Arc<Store>>,
        library: Option<Arc<Library>>,
        recovery: Arc<RecoveryNote>,
    ) -> Machine {
        Machine {
            replica,
            store,
            library,
            recovery,
        }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Arc<Snapshot>;
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        Ok(self.replica.position())
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let payload = match &entry.payload {
                EntryPayload::Blank => Payload::Blank,
                EntryPayload::Normal(bytes) => Payload::Rounds(&bytes.0),
                EntryPayload::Membership(membership) => Payload::Membership(membership),
            };
            self.replica.apply(entry.log_id(), payload).map_err(io::Error::other)?;
            #[cfg(feature = "waste")]
            crate::waste::waste();
            if let Some(responder) = responder {
                responder.send(());
            }
            if let Some(store) = &self.store
                && self.replica.dirty_records() > DIRTY_RECORDS_MAX
            {
                // The changed set is bounded: applying waits until the store has taken it.
                store.flush().await.map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    /// openraft asks without force when a snapshot has been built, beside it, since one that cannot be built, on a full
    /// disk, must not stop consensus.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        let library = self.library.as_ref()?;
        if force {
            return Some(self.get_snapshot_builder().await);
        }
        let applied = self.replica.applied_index();
        library.newest_at(applied).map(Builder::Built)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // The state as of now: openraft knows that it has been applied.
        let (colony, last_log_id, last_membership) = self.replica.whole();
        Builder::New {
            library: self.library.clone(),
            colony: Box::new(colony),
            meta: SnapshotMetaOf::<TypeConfig> {
                last_log_id,
                last_membership,
            },
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: Arc<Snapshot>,
    ) -> Result<(), io::Error> {
        let (library, replica, meta) = (self.library.clone(), self.replica.clone(), meta.clone());
        let recovery = self.recovery.clone();
        let installed = tokio::task::spawn_blocking(move || {
            let colony = snapshot.read().map_err(io::Error::other)?;
            // On disk under its name before the log that it replaces goes.
            if let Some(library) = library {
                library.keep(&snapshot)?;
            }
            replica.install(colony, meta.last_log_id, meta.last_membership);
            recovery.installed(&snapshot);
            Ok(())
        });
        installed.await.map_err(io::Error::other)?
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, Arc<Snapshot>>>, io::Error> {
        Ok(self.library.as_ref().and_then(|library| library.newest()).map(whole))
    }
}

fn whole(snapshot: Arc<Snapshot>) -> SnapshotOf<TypeConfig, Arc<Snapshot>> {
    SnapshotOf::<TypeConfig, Arc<Snapshot>> {
        meta: snapshot.meta().clone(),
        snapshot,
    }
}

/// Hands openraft a snapshot.
pub(crate) enum Builder {
    /// One that is there.
    Built(Arc<Snapshot>),
    /// One that is built now.
    New {
        library: Option<Arc<Library>>,
        colony: Box<Colony>,
        meta: SnapshotMetaOf<TypeConfig>,
    },
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Arc<Snapshot>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Arc<Snapshot>>, io::Error> {
        let (library, colony, meta) = match self {
            Builder::Built(snapshot) => return Ok(whole(snapshot.clone())),
            Builder::New { library, colony, meta } => (library.clone(), colony.clone(), meta.clone()),
        };
        let library = library.ok_or_else(|| io::Error::other("there are no snapshots here"))?;
        let built = background::run("snapshot", move || library.build(&colony, &meta)).await?;
        Ok(whole(built.map_err(io::Error::other)?))
    }
}
