//! The promises of the log: openraft's own suite, and what is there after a crash.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::alias::{EntryOf, LeaderIdOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderIdExt;
use openraft::{EntryPayload, Membership, RaftLogReader, RaftSnapshotBuilder, StorageError, StoredMembership};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use super::record::ENTRY_BYTES_MAX;
use super::*;
use crate::consensus::types::EntryBytes;

/// As much of a state machine as the suite looks at: positions, membership and one snapshot of them.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<MachineState>>);

#[derive(Clone, Default)]
struct MachineState {
    applied: Option<LogIdOf<TypeConfig>>,
    membership: StoredMembershipOf<TypeConfig>,
    snapshot: Option<SnapshotMetaOf<TypeConfig>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, ()>, io::Error> {
        let mut state = self.0.lock().unwrap();
        let meta = SnapshotMetaOf::<TypeConfig> {
            last_log_id: state.applied,
            last_membership: state.membership.clone(),
        };
        state.snapshot = Some(meta.clone());
        Ok(SnapshotOf::<TypeConfig, ()> { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Machine;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>), io::Error> {
        let state = self.0.lock().unwrap();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut state = self.0.lock().unwrap();
            state.applied = Some(entry.log_id());
            if let Some(membership) = entry.get_membership() {
                state.membership = StoredMembership::new(Some(entry.log_id()), membership);
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<TypeConfig>, _data: ()) -> Result<(), io::Error> {
        let mut state = self.0.lock().unwrap();
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, ()>>, io::Error> {
        let snapshot = self.0.lock().unwrap().snapshot.clone();
        Ok(snapshot.map(|meta| SnapshotOf::<TypeConfig, ()> { meta, snapshot: () }))
    }
}

struct Builder(LogOptions);

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let log = LogStore::open(folder.path(), &self.0).unwrap();
        Ok((folder, log, Machine::default()))
    }
}

/// Once as in production, once with chunks so small and a cache so empty that most reads go to closed chunks. Both at
/// the same time, because the suite mostly sleeps.
#[test]
fn the_suite_of_openraft_passes() {
    let tiny = LogOptions {
        chunk_bytes: 200,
        cache_bytes: 1,
    };
    // The suite's futures are not `Send`, which is what this runtime is for.
    TypeConfig::run(async {
        let both = futures::join!(
            Suite::test_all(Builder(LogOptions::default())),
            Suite::test_all(Builder(tiny))
        );
        both.0.unwrap();
        both.1.unwrap();
    });
}

fn log_id(term: u64, index: u64) -> LogIdOf<TypeConfig> {
    LogIdOf::<TypeConfig>::new(LeaderIdOf::<TypeConfig>::new_committed(term, 1), index)
}

fn normal(term: u64, index: u64, bytes: impl Into<Bytes>) -> EntryOf<TypeConfig> {
    EntryOf::<TypeConfig>::new(log_id(term, index), EntryPayload::Normal(EntryBytes(bytes.into())))
}

/// Entries of all kinds, 0 up to `count`.
fn entries(count: u64) -> Vec<EntryOf<TypeConfig>> {
    let one = |index| match index % 5 {
        0 => EntryOf::<TypeConfig>::new_membership(
            log_id(1, index),
            Membership::new_with_defaults(vec![[1, 2, index].into()], []),
        ),
        1 => EntryOf::<TypeConfig>::new_blank(log_id(1, index)),
        _ => normal(1, index, vec![index as u8; index as usize * 3]),
    };
    (0..count).map(one).collect()
}

/// Appends and waits until the entries are on disk.
async fn append(log: &mut LogStore, entries: Vec<EntryOf<TypeConfig>>) {
    let (tx, rx) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(tx)).await.unwrap();
    rx.await.unwrap().unwrap();
}

async fn all(log: &mut LogStore) -> Vec<EntryOf<TypeConfig>> {
    let by_stream: Vec<_> = log.entries_stream(..).await.try_collect().await.unwrap();
    assert_eq!(by_stream, log.try_get_log_entries(..).await.unwrap());
    by_stream
}

/// What a `kill -9` at this moment would leave: what the system was given, without the goodbye of a closed log.
fn killed(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for chunk in chunks(folder) {
        std::fs::copy(&chunk, copy.path().join(chunk.file_name().unwrap())).unwrap();
    }
    copy
}

fn chunks(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut chunks: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "wal"))
        .collect();
    chunks.sort();
    chunks
}

/// What a chunk holds, without the zeros behind its records.
fn records(chunk: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(chunk).unwrap();
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    bytes.truncate(bytes.len() - zeros);
    bytes
}

/// A log with a vote, twelve entries, a committed position and a purge, as a kill left it.
async fn sample(options: &LogOptions) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(folder.path(), options).unwrap();
    log.save_vote(&VoteOf::<TypeConfig>::new_committed(1, 1)).await.unwrap();
    append(&mut log, entries(8)).await;
    log.save_committed(Some(log_id(1, 5))).await.unwrap();
    log.purge(log_id(1, 2)).await.unwrap();
    append(&mut log, entries(12).split_off(8)).await;
    killed(folder.path())
}

#[tokio::test]
async fn a_killed_log_has_all_that_was_acknowledged() {
    for options in [
        LogOptions::default(),
        LogOptions {
            chunk_bytes: 300,
            cache_bytes: 1,
        },
    ] {
        let folder = sample(&options).await;
        let mut log = LogStore::open(folder.path(), &options).unwrap();
        assert_eq!(all(&mut log).await, entries(12).split_off(3));
        assert_eq!(
            log.read_vote().await.unwrap(),
            Some(VoteOf::<TypeConfig>::new_committed(1, 1))
        );
        assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 5)));
        assert_eq!(
            log.get_log_state().await.unwrap().last_purged_log_id,
            Some(log_id(1, 2))
        );
    }
}

#[tokio::test]
async fn a_truncation_is_followed_by_other_entries_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(folder.path(), &LogOptions::default()).unwrap();
    append(&mut log, entries(6)).await;
    log.truncate_after(Some(log_id(1, 2))).await.unwrap();
    append(&mut log, vec![normal(2, 3, "other")]).await;
    let copy = killed(folder.path());
    let mut log = LogStore::open(copy.path(), &LogOptions::default()).unwrap();
    let mut expected = entries(3);
    expected.push(normal(2, 3, "other"));
    assert_eq!(all(&mut log).await, expected);
}

#[tokio::test]
async fn a_torn_tail_leaves_a_prefix_and_the_log_goes_on() {
    let folder = sample(&LogOptions::default()).await;
    let file = &chunks(folder.path())[0];
    let whole = records(file);
    let mut longest = 0;
    // A step that meets every offset within a record somewhere; each cut costs several syncs.
    for cut in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        // A crash leaves the file short, or, on some file systems, long enough and zero.
        for zeros in [0, whole.len() - cut] {
            let folder = tempfile::tempdir().unwrap();
            let mut torn = whole[..cut].to_vec();
            torn.resize(cut + zeros, 0);
            std::fs::write(folder.path().join(file.file_name().unwrap()), torn).unwrap();
            let mut log = match LogStore::open(folder.path(), &LogOptions::default()) {
                Ok(log) => log,
                // Half a record and then zeros: not to be told from a record that lost its end.
                Err(LogError::Damaged { .. }) if zeros > 0 => continue,
                Err(error) => panic!("cut at {cut}, {zeros} zeros: {error}"),
            };
            let last = log
                .get_log_state()
                .await
                .unwrap()
                .last_log_id
                .map_or(0, |id| id.index + 1);
            assert!(last >= longest, "a longer file gave a shorter log");
            longest = last;
            let next = vec![normal(9, last, "next")];
            append(&mut log, next.clone()).await;
            let mut expected = entries(last);
            expected.extend(next);
            let found = all(&mut log).await;
            assert!(
                expected.ends_with(&found) && found.len() as u64 + 3 > last,
                "cut at {cut}: {found:?}"
            );
        }
    }
    assert_eq!(longest, 11, "the last cut takes a byte of the last entry");
}

/// More than a chunk, so that later ones are made of spares, and read back from disk.
#[tokio::test]
async fn a_log_of_several_chunks_is_whole_after_a_kill() {
    let options = LogOptions {
        chunk_bytes: 3 << 20,
        cache_bytes: 1,
    };
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(folder.path(), &options).unwrap();
    let entry = |index: u64| normal(1, index, vec![index as u8; 300_000]);
    for index in 0..60 {
        append(&mut log, vec![entry(index)]).await;
    }
    let copy = killed(folder.path());
    assert!(chunks(copy.path()).len() >= 6);
    let mut log = LogStore::open(copy.path(), &options).unwrap();
    assert_eq!(all(&mut log).await, (0..60).map(entry).collect::<Vec<_>>());
    log.purge(log_id(1, 40)).await.unwrap();
    append(&mut log, vec![entry(60)]).await;
    assert!(chunks(copy.path()).len() <= 4);
    assert_eq!(all(&mut log).await, (41..61).map(entry).collect::<Vec<_>>());
}

/// A crash may leave any sectors of the last, unacknowledged write, in any order.
#[tokio::test]
async fn whatever_sectors_of_the_last_write_a_crash_left_all_that_was_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(folder.path(), &LogOptions::default()).unwrap();
    append(&mut log, entries(20)).await;
    let file = chunks(folder.path()).remove(0);
    let before = std::fs::read(&file).unwrap();
    append(&mut log, entries(90).split_off(20)).await;
    let after = std::fs::read(&file).unwrap();
    let (from, to) = (records_end(&before) / 512, records_end(&after).div_ceil(512));
    assert!(to - from > 20, "the write is {} sectors long", to - from);
    let mut random = SmallRng::seed_from_u64(7);
    for share in (0..200).map(|case| f64::from(case % 20) / 19.0) {
        let mut left = before.clone();
        left.resize(after.len(), 0);
        for sector in from..to {
            if random.random_bool(share) {
                let range = sector * 512..(sector * 512 + 512).min(after.len());
                left[range.clone()].copy_from_slice(&after[range]);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file.file_name().unwrap()), left).unwrap();
        let mut log = LogStore::open(folder.path(), &LogOptions::default()).unwrap();
        let found = all(&mut log).await;
        assert!(found.len() >= 20 && found == entries(found.len() as u64));
        // A shorter write in the same place: nothing of what was cut off may come back behind it.
        let next = found.len() as u64;
        append(&mut log, vec![normal(2, next, "other")]).await;
        let folder = killed(folder.path());
        let mut log = LogStore::open(folder.path(), &LogOptions::default()).unwrap();
        assert_eq!(all(&mut log).await.len() as u64, next + 1);
    }
}

fn records_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[tokio::test]
async fn any_flipped_byte_ahead_of_the_tail_is_damage_and_named() {
    let tiny = LogOptions {
        chunk_bytes: 300,
        cache_bytes: 1,
    };
    for (options, step) in [(LogOptions::default(), 1), (tiny, 5)] {
        let folder = sample(&options).await;
        for file in chunks(folder.path()) {
            let whole = records(&file);
            for at in (0..whole.len()).step_by(step) {
                let flip = 1 << (at % 8);
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                std::fs::write(&file, &damaged).unwrap();
                match LogStore::open(folder.path(), &options) {
                    Err(LogError::Damaged {
                        file: named, offset, ..
                    }) => {
                        assert_eq!(named, file);
                        assert!(offset <= at as u64, "byte {at} flipped, {offset} named");
                    }
                    other => panic!("byte {at} of {} flipped by {flip}: {:?}", file.display(), other.err()),
                }
            }
            std::fs::write(&file, &whole).unwrap();
        }
        LogStore::open(folder.path(), &options).unwrap();
    }
}

#[tokio::test]
async fn a_missing_chunk_is_damage() {
    let options = LogOptions {
        chunk_bytes: 300,
        cache_bytes: 1,
    };
    let folder = sample(&options).await;
    let files = chunks(folder.path());
    assert!(files.len() > 3);
    for missing in &files[..files.len() - 1] {
        let whole = std::fs::read(missing).unwrap();
        std::fs::remove_file(missing).unwrap();
        let error = LogStore::open(folder.path(), &options)
            .err()
            .expect("a log with a gap was opened");
        assert!(
            matches!(error, LogError::Damaged { .. } | LogError::Inconsistent { .. }),
            "{error}"
        );
        std::fs::write(missing, whole).unwrap();
    }
}

#[tokio::test]
async fn appends_made_while_a_flush_is_under_way_share_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(folder.path(), &LogOptions::default()).unwrap();
    let before = log.metrics().unwrap().syncs;
    let mut waiting = Vec::new();
    for index in 0..2_000 {
        let (tx, rx) = TypeConfig::oneshot();
        log.append(vec![normal(1, index, vec![0; 300])], IOFlushed::signal(tx))
            .await
            .unwrap();
        waiting.push(rx);
    }
    for rx in waiting {
        rx.await.unwrap().unwrap();
    }
    let syncs = log.metrics().unwrap().syncs - before;
    assert!(syncs < 1_000, "{syncs} fdatasyncs for 2,000 appends");
    assert_eq!(log.metrics().unwrap().unsynced_bytes, 0);
}

#[tokio::test]
async fn a_failed_write_is_final() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions {
        chunk_bytes: 2_000,
        cache_bytes: 1,
    };
    let mut log = LogStore::open(folder.path(), &options).unwrap();
    append(&mut log, entries(3)).await;
    // The writer cannot be made to fail by the disk here; a chunk that is gone when it is to be removed stops it too.
    for index in 3..40 {
        append(&mut log, vec![normal(1, index, vec![0; 300])]).await;
    }
    std::fs::remove_file(&chunks(folder.path())[0]).unwrap();
    log.purge(log_id(1, 30)).await.unwrap();
    let failed = async {
        for index in 40.. {
            let (tx, rx) = TypeConfig::oneshot();
            if log
                .append(vec![normal(1, index, "x")], IOFlushed::signal(tx))
                .await
                .is_err()
            {
                return;
            }
            if rx.await.unwrap().is_err() {
                return;
            }
        }
    };
    failed.await;
    assert!(log.failed().await.contains("No such file"));
    assert!(log.append(vec![normal(1, 99, "x")], IOFlushed::noop()).await.is_err());
    assert!(log.save_vote(&VoteOf::<TypeConfig>::new(7, 1)).await.is_err());
}

#[tokio::test]
async fn a_closed_log_can_be_opened_while_clones_live_and_an_open_one_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(folder.path(), &LogOptions::default()).unwrap();
    append(&mut log, entries(4)).await;
    log.save_committed(Some(log_id(1, 3))).await.unwrap();
    let error = LogStore::open(folder.path(), &LogOptions::default()).err().unwrap();
    assert!(matches!(error, LogError::InUse { .. }), "{error}");
    log.close().await.unwrap();
    let mut again = LogStore::open(folder.path(), &LogOptions::default()).unwrap();
    assert_eq!(again.read_committed().await.unwrap(), Some(log_id(1, 3)));
    assert!(log.try_get_log_entries(..).await.is_err());
}

#[tokio::test]
async fn an_oversized_entry_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(folder.path(), &LogOptions::default()).unwrap();
    let entry = normal(1, 0, vec![0; ENTRY_BYTES_MAX + 1]);
    let error = log.append(vec![entry], IOFlushed::noop()).await.unwrap_err();
    assert!(error.to_string().contains("over the limit of 67108864 B"), "{error}");
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, None);
}
