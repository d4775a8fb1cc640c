//! openraft's state machine over the replica. Outcomes go to the queen and not through openraft's responders.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, SnapshotMeta};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use queenright_protocol::colony::Colony;

use super::types::TypeConfig;
use crate::replica::{DIRTY_RECORDS_MAX, Payload, Replica};
use crate::store::Store;

/// The state machine.
pub(crate) struct Machine {
    replica: Arc<Replica>,
    /// Waited for when it falls behind; absent in tests without a store.
    store: Option<Arc<Store>>,
    /// The last snapshot built or installed.
    snapshot: Option<SnapshotOf<TypeConfig, Bytes>>,
}

impl Machine {
    pub(crate) fn new(replica: Arc<Replica>, store: Option<Arc<Store>>) -> Machine {
        Machine {
            replica,
            store,
            snapshot: None,
        }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Bytes;
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

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            replica: self.replica.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<TypeConfig>, snapshot: Bytes) -> Result<(), io::Error> {
        let colony = Colony::from_bytes(&snapshot).map_err(io::Error::other)?;
        self.replica
            .install(colony, meta.last_log_id, meta.last_membership.clone());
        self.snapshot = Some(SnapshotOf::<TypeConfig, Bytes> {
            meta: meta.clone(),
            snapshot,
        });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, Bytes>>, io::Error> {
        Ok(self.snapshot.clone())
    }
}

/// Builds snapshots beside the state machine, from an O(1) clone of the state.
pub(crate) struct Builder {
    replica: Arc<Replica>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, Bytes>, io::Error> {
        let (colony, last_log_id, last_membership) = self.replica.whole();
        let encoded = tokio::task::spawn_blocking(move || Bytes::from(colony.to_bytes())).await;
        let snapshot = encoded.map_err(io::Error::other)?;
        Ok(SnapshotOf::<TypeConfig, Bytes> {
            meta: SnapshotMeta {
                last_log_id,
                last_membership,
            },
            snapshot,
        })
    }
}
