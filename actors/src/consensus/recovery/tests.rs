//! Which whole state a node takes, for each thing that may be damaged or gone. Where a peer must be asked, tests with
//! processes show it (`node/tests/recovery.rs`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use openraft::alias::{EntryOf, LeaderIdOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, SnapshotMeta};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::StoredMembershipOf;
use openraft::vote::RaftLeaderIdExt;
use tempfile::TempDir;

use super::*;
use crate::consensus::log::{LogError, LogOptions};
use crate::consensus::salvage;
use crate::link::{Cookie, LinkConfig, LinkLimits};
use crate::replica::Payload;
use crate::router::View;
use crate::store::{DataFolder, Store, StoreOptions};

const ME: NodeId = NodeId(1);

fn log_id(term: u64, index: u64) -> LogIdOf<TypeConfig> {
    LogIdOf::<TypeConfig>::new(LeaderIdOf::<TypeConfig>::new_committed(term, 1), index)
}

fn blank(term: u64, index: u64) -> EntryOf<TypeConfig> {
    EntryOf::<TypeConfig>::new_blank(log_id(term, index))
}

/// The files of a node that has applied entries 0 to 9, all of them in its log unless it was cut. The store is as of
/// entry 5, the snapshots are as of 3 and 7.
struct Rig {
    data: TempDir,
}

impl Rig {
    async fn new(purged: Option<u64>) -> Rig {
        let rig = Rig {
            data: tempfile::tempdir().unwrap(),
        };
        let folder = rig.folder();
        let mut log = rig.log().unwrap();
        let vote = VoteOf::<TypeConfig>::new_committed(1, 1);
        log.save_vote(&vote).await.unwrap();
        append(&mut log, (0..10).map(|index| blank(1, index)).collect()).await;
        log.save_committed(Some(log_id(1, 6))).await.unwrap();
        if let Some(purged) = purged {
            log.purge(log_id(1, purged)).await.unwrap();
        }
        log.close().await.unwrap();

        let library = rig.library();
        let replica = Replica::new(ME);
        replica.log_is_flushed_by(Box::new(move || Some((vote, Some(log_id(1, 9))))));
        for index in 0..10 {
            replica.apply(log_id(1, index), Payload::Blank).unwrap();
            if [3, 7].contains(&index) {
                let (colony, last_log_id, last_membership) = replica.whole();
                let meta = SnapshotMeta {
                    last_log_id,
                    last_membership,
                };
                library.build(&colony, &meta).unwrap();
            }
            if index == 5 {
                let (store, _) = Store::open(&folder, &StoreOptions::default()).unwrap();
                let source = replica.clone();
                store.start(move || source.take_pass());
                store.close().await.unwrap();
            }
        }
        rig
    }

    fn folder(&self) -> DataFolder {
        DataFolder::open(self.data.path(), "n1").unwrap()
    }

    fn log(&self) -> Result<LogStore, LogError> {
        LogStore::open(&self.data.path().join("log"), &LogOptions::default())
    }

    fn library(&self) -> Arc<Library> {
        let library = Library::open(&self.data.path().join("snapshot"), self.data.path());
        Arc::new(library.unwrap())
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.data.path().join(folder)).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// What a start makes of the files: where the state comes from, and the first entry that the log must give.
    async fn start(&self) -> Result<(RecoveredBy, Option<u64>), ConsensusError> {
        let folder = self.folder();
        let log = self.log()?;
        let (store, contents) = Store::open(&folder, &StoreOptions::default()).unwrap();
        let restored = contents
            .meta
            .and_then(|meta| Replica::restore(ME, &meta, contents.records).ok());
        let replica = restored.unwrap_or_else(|| Replica::new(ME));
        let router = alone().await;
        let prepared = prepare(&log, &self.library(), &replica, &router, Vec::new()).await;
        // Its sockets would stay open otherwise, and a process may have only so many.
        router.stop().await;
        store.close().await.unwrap();
        let recovery = prepared.map(|note| note.get());
        log.close().await.unwrap();
        Ok((recovery?.by, replica.position().0.map(|applied| applied.index)))
    }
}

async fn append(log: &mut LogStore, entries: Vec<EntryOf<TypeConfig>>) {
    let (tx, rx) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(tx)).await.unwrap();
    rx.await.unwrap().unwrap();
}

/// The router of a node without others.
async fn alone() -> Arc<Router> {
    let config = LinkConfig {
        name: "n1".into(),
        index: 0,
        listen: "127.0.0.1:0".parse().unwrap(),
        peers: Vec::new(),
        wanted: None,
        cookie: Cookie::new("0".repeat(64)).unwrap(),
        limits: LinkLimits::default(),
        speaks: queenright_protocol::wire::SPOKEN,
        tls: None,
    };
    let (router, _) = Router::start(config).await.unwrap();
    router.set_view(View::mesh(ME, &BTreeSet::from([ME])));
    router
}

/// The three ways in which a file is damaged.
fn damage(file: &Path, how: &str) {
    let mut bytes = std::fs::read(file).unwrap();
    let length = bytes.len();
    match how {
        "flipped" => bytes[length / 2] ^= 1,
        "truncated" => bytes.truncate(length / 2),
        "torn" => bytes[length / 2..].fill(0),
        _ => unreachable!("{how} is no damage"),
    }
    std::fs::write(file, bytes).unwrap();
}

const DAMAGES: [&str; 3] = ["flipped", "truncated", "torn"];

#[tokio::test]
async fn the_newest_whole_state_is_taken() {
    let rig = Rig::new(Some(2)).await;
    assert_eq!(rig.start().await.unwrap(), (RecoveredBy::Snapshot, Some(7)));
    std::fs::remove_file(&rig.files("snapshot")[1]).unwrap();
    assert_eq!(rig.start().await.unwrap(), (RecoveredBy::Log, Some(5)));
}

#[tokio::test]
async fn a_damaged_snapshot_is_set_aside_and_the_rest_is_enough() {
    for how in DAMAGES {
        let rig = Rig::new(Some(2)).await;
        damage(&rig.files("snapshot")[1], how);
        assert_eq!(rig.start().await.unwrap(), (RecoveredBy::Log, Some(5)), "{how}");
        assert_eq!(rig.files("snapshot").len(), 1, "{how}");
    }
}

#[tokio::test]
async fn when_the_snapshot_behind_which_the_log_was_cut_is_damaged_another_is_built() {
    // The log begins behind entry 4, the store is as of 5, and the snapshot that is left is as of 3.
    let rig = Rig::new(Some(4)).await;
    damage(&rig.files("snapshot")[1], "flipped");
    assert_eq!(rig.start().await.unwrap(), (RecoveredBy::Log, Some(5)));
    let indexes = || rig.library().newest().map(|newest| newest.index());
    assert_eq!((indexes(), rig.files("snapshot").len()), (Some(5), 2));
    // And none at all when there is one.
    assert_eq!(rig.start().await.unwrap(), (RecoveredBy::Log, Some(5)));
    assert_eq!(rig.files("snapshot").len(), 2);
}

#[tokio::test]
async fn a_damaged_store_is_set_aside_and_a_snapshot_is_enough() {
    for how in DAMAGES {
        let rig = Rig::new(Some(2)).await;
        damage(&rig.data.path().join("store/sled/db"), how);
        damage(&rig.files("snapshot")[1], "flipped");
        assert_eq!(rig.start().await.unwrap(), (RecoveredBy::Snapshot, Some(3)), "{how}");
    }
}

#[tokio::test]
async fn without_store_and_snapshots_a_whole_log_is_enough_and_a_cut_one_is_not() {
    for (purged, expected) in [(None, Ok((RecoveredBy::Log, None))), (Some(4), Err(4))] {
        let rig = Rig::new(purged).await;
        damage(&rig.data.path().join("store/sled/db"), "truncated");
        for snapshot in rig.files("snapshot") {
            damage(&snapshot, "torn");
        }
        let started = rig.start().await.map_err(|error| match error {
            ConsensusError::StateLost { index } => index,
            other => panic!("{other}"),
        });
        assert_eq!(started, expected);
    }
}

#[tokio::test]
async fn a_log_that_was_cut_between_two_records_is_found_by_what_the_store_knows() {
    // Entry 5 was committed and on disk when the store was written; the records end at each of these lengths.
    let whole = Rig::new(None).await;
    let chunk = |rig: &Rig| {
        let files = rig.files("log");
        files
            .into_iter()
            .find(|file| file.extension().is_some_and(|end| end == "wal"))
            .unwrap()
    };
    // Behind the records the chunk is zeros.
    let bytes = std::fs::read(chunk(&whole)).unwrap();
    let length = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let mut found = 0;
    for cut in (0..length).step_by(9).chain([length - 1]) {
        let rig = Rig::new(None).await;
        let file = std::fs::OpenOptions::new().write(true).open(chunk(&rig)).unwrap();
        file.set_len(cut).unwrap();
        drop(file);
        let last = {
            let mut log = rig.log().unwrap();
            let last = log.get_log_state().await.unwrap().last_log_id;
            log.close().await.unwrap();
            last.map(|last| last.index)
        };
        match rig.start().await {
            Ok(_) => assert!(last >= Some(5), "cut at {cut}: started at {last:?}"),
            Err(error) => {
                assert!(last < Some(5), "cut at {cut}: refused at {last:?}");
                let text = error.to_string();
                assert!(
                    text.contains("not there any more") && text.contains("node replace"),
                    "{text}"
                );
                found += 1;
            }
        }
    }
    assert!(found > 10, "{found} cuts were found");
}

#[tokio::test]
async fn entries_that_contradict_a_snapshot_go() {
    let rig = Rig::new(None).await;
    // Entries 8 and 9 of a leader whose entries were never committed; the snapshot has another entry 8.
    let mut log = rig.log().unwrap();
    log.truncate_after(Some(log_id(1, 7))).await.unwrap();
    append(&mut log, vec![blank(2, 8), blank(2, 9)]).await;
    log.close().await.unwrap();
    let library = rig.library();
    let colony = library.newest().unwrap().read().unwrap();
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(3, 8)),
        last_membership: StoredMembershipOf::<TypeConfig>::default(),
    };
    library.build(&colony, &meta).unwrap();
    assert_eq!(rig.start().await.unwrap(), (RecoveredBy::Snapshot, Some(8)));
    let mut log = rig.log().unwrap();
    let left = log.try_get_log_entries(..).await.unwrap();
    assert!(left.iter().all(|entry| entry.log_id.index <= 6), "{left:?}");
    log.close().await.unwrap();
}

/// What is salvaged: the last entry, the last that is known to be committed, and what is said of the log.
async fn salvaged(rig: &Rig) -> Result<(u64, u64, Option<String>), ConsensusError> {
    let folder = rig.folder();
    let log = rig.log();
    let (store, contents) = Store::open(&folder, &StoreOptions::default()).unwrap();
    let restored = contents
        .meta
        .and_then(|meta| Replica::restore(ME, &meta, contents.records).ok());
    let replica = restored.unwrap_or_else(|| Replica::new(ME));
    store.close().await.unwrap();
    let salvaged = salvage::read(log, &rig.library(), &replica).await?;
    Ok((salvaged.last().0, salvaged.committed, salvaged.log_damage))
}

#[tokio::test]
async fn what_may_have_been_acknowledged_is_salvaged_and_told_from_what_surely_was() {
    // Committed up to entry 7, as the snapshot tells; 8 and 9 may have been.
    let rig = Rig::new(Some(2)).await;
    assert_eq!(salvaged(&rig).await.unwrap(), (9, 7, None));
    // Twice, for a run that was interrupted.
    assert_eq!(salvaged(&rig).await.unwrap(), (9, 7, None));
    // Without that snapshot the log says 6, and the store 5.
    std::fs::remove_file(&rig.files("snapshot")[1]).unwrap();
    assert_eq!(salvaged(&rig).await.unwrap(), (9, 6, None));
}

#[tokio::test]
async fn what_a_damaged_log_had_alone_is_not_salvaged_and_that_is_said() {
    for how in DAMAGES {
        let rig = Rig::new(None).await;
        let chunk = rig.files("log").into_iter().find(|file| file.extension().is_some());
        let chunk = chunk.unwrap();
        // Within the records; behind them the file is zeros.
        let bytes = std::fs::read(&chunk).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        std::fs::write(&chunk, &bytes[..end]).unwrap();
        damage(&chunk, how);
        match salvaged(&rig).await.unwrap() {
            // By the snapshot.
            (7, 7, Some(reason)) => assert!(
                reason.contains("damaged") || reason.contains("not there any more"),
                "{reason}"
            ),
            other => panic!("{how}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn without_a_whole_state_nothing_is_salvaged() {
    let rig = Rig::new(Some(4)).await;
    damage(&rig.data.path().join("store/sled/db"), "truncated");
    for snapshot in rig.files("snapshot") {
        damage(&snapshot, "torn");
    }
    assert!(matches!(
        salvaged(&rig).await,
        Err(ConsensusError::StateLost { index: 4 })
    ));
}

#[tokio::test]
async fn what_was_salvaged_begins_a_cluster_of_one_that_starts_by_its_snapshot() {
    let rig = Rig::new(None).await;
    let folder = rig.folder();
    let replica = Replica::new(ME);
    let found = salvage::read(rig.log(), &rig.library(), &replica).await.unwrap();
    for old in [folder.log_path(), folder.snapshot_path(), folder.store_path()] {
        std::fs::remove_dir_all(&old).unwrap();
        std::fs::create_dir(&old).unwrap();
    }
    let mut colony = found.colony.clone();
    let [ended, begun] = [1, 2].map(|id| queenright_protocol::id::ClusterId([id; 16]));
    colony.recover(ended, begun, found.certain).unwrap();
    let digest = colony.digest();
    let voter = NodeId(64_001);
    salvage::write(&found, colony, voter, &folder.log_path(), &rig.library())
        .await
        .unwrap();
    drop(folder);
    assert_eq!(rig.start().await.unwrap(), (RecoveredBy::Snapshot, Some(9)));
    let newest = rig.library().newest().unwrap();
    assert_eq!(newest.read().unwrap().digest(), digest);
    let voters: Vec<u64> = newest.meta().last_membership.voter_ids().collect();
    assert_eq!(voters, [voter.0]);
    let mut log = rig.log().unwrap();
    let vote = log.read_vote().await.unwrap().unwrap();
    // The last term of the old cluster was 1.
    assert_eq!(
        (vote.leader_id.term, vote.leader_id.node_id, vote.committed),
        (2, voter.0, false)
    );
    log.close().await.unwrap();
}
