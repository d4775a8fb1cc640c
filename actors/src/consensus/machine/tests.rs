//! openraft's suite over the real log and the real state machine, each reopened as often as the suite likes.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use queenright_protocol::id::NodeId;
use tempfile::TempDir;

use super::*;
use crate::consensus::log::{LogOptions, LogStore};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let [log, snapshot] = ["log", "snapshot"].map(|name| folder.path().join(name));
        std::fs::create_dir(&log).unwrap();
        std::fs::create_dir(&snapshot).unwrap();
        let log = LogStore::open(&log, &LogOptions::default()).unwrap();
        let library = Arc::new(Library::open(&snapshot, folder.path()).unwrap());
        let replica = Replica::new(NodeId(1));
        let machine = Machine::new(replica, None, Some(library), Arc::new(RecoveryNote::default()));
        Ok((folder, log, machine))
    }
}

#[test]
fn the_suite_of_openraft_passes_with_the_state_machine() {
    TypeConfig::run(async { Suite::test_all(Builder).await.unwrap() });
}
