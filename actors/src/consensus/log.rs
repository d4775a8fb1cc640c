//! The log of consensus on disk: openraft's log storage over the `raft-log` crate.
//!
//! Entries, votes, truncations and purges go through one file in the order in which openraft asks for them, so no later
//! write is ever on disk without the earlier ones (openraft, `docs/protocol/io_ordering`). The files `r-<offset>.wal`
//! are chunks of that one stream; what a record holds stands in `codec`.
//!
//! | call | on disk |
//! |---|---|
//! | `append` | returns at once; `IOFlushed` completes after the fdatasync that covers the entries |
//! | `save_vote` | before it returns |
//! | `save_committed`, `truncate_after` | with the next flush: openraft needs them in order, not at once |
//! | `purge` | starts a flush, waits for nothing; chunks are removed once the purge is on disk |
//!
//! **A failed write or fdatasync is final.** The writer stops, nothing is tried again, every waiting and every later
//! call gets the error, with which openraft goes fatal, and [`LogStore::failed`] resolves: the node must end its
//! process then, since nobody knows any more what is on disk.
//!
//! The lock around `raft-log` is held for encoding into memory and for reads from its cache, never for an fdatasync. It
//! is a lock and not an actor because openraft's core, its replication streams and the state machine read the log at
//! the same time. Two things can hold it longer: a full chunk (a file is created and its folder synced, once per 64
//! MiB), and 64 MiB waiting for a disk that stalls; before that, `append` waits without the lock.
//!
//! Memory: about 100 B of index per entry that is not purged, the entries of the open chunk, and the cache.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::Stream;
use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{LogState, OptionalSend, RaftLogReader};
use raft_log::RaftLog;
use raft_log::api::raft_log_writer::RaftLogWriter;

use super::types::TypeConfig;

mod codec;
mod flush;
mod recover;
#[cfg(test)]
mod tests;

use codec::{LogTypes, Payload, Position, SavedVote};
use flush::{FlushState, Waiting};

pub use recover::LogError;

/// Bytes that may wait for a flush before `append` itself waits: what memory a stalled disk may cost.
const UNSYNCED_BYTES_MAX: usize = 64 << 20;

/// Entries of one read, in bytes: as much as a follower gets at once. One larger entry is read alone.
const READ_BYTES_MAX: usize = 1 << 20;

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Size of a chunk file, in bytes. A chunk is removed as a whole once everything in it is purged. At least 1.
    pub chunk_bytes: usize,
    /// Memory for the latest entries, in bytes, besides those of the open chunk, which are always kept.
    pub cache_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            chunk_bytes: 64 << 20,
            cache_bytes: 64 << 20,
        }
    }
}

/// What the log costs and how fast its disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMetrics {
    /// Size of all chunks, in bytes.
    pub bytes_on_disk: u64,
    /// Bytes appended that wait for their fdatasync.
    pub unsynced_bytes: u64,
    /// fdatasyncs since the log was opened; several appends share one when they come faster than the disk.
    pub syncs: u64,
    /// Median and 99th percentile of one fdatasync.
    pub sync_p50: Duration,
    /// See `sync_p50`.
    pub sync_p99: Duration,
}

/// The log of one consensus group. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    /// `None` once the log is closed.
    open: Mutex<Option<Open>>,
    flush: Arc<FlushState>,
}

/// What the lock guards.
struct Open {
    log: RaftLog<LogTypes>,
    waiting: Waiting,
    flush: Arc<FlushState>,
    recent: Recent,
}

impl LogStore {
    /// Opens the log in `folder`, which exists, and creates it if there is none. A torn tail (a record cut by the end
    /// of the last file, or zeros up to that end) is cut off; whatever else is in the log is on disk when this returns.
    ///
    /// Blocks while it reads all chunks: call it on a thread that may block.
    ///
    /// # Errors
    /// See [`LogError`]. No readable record is touched.
    pub fn open(folder: &Path, options: &LogOptions) -> Result<LogStore, LogError> {
        let log = recover::open(folder, options)?;
        let (flush, woken) = FlushState::new();
        let next = log.log_state().last().map_or(0, |last| last.index + 1);
        let recent = Recent::starting_at(next, options.cache_bytes);
        let open = Open {
            log,
            waiting: Waiting::default(),
            flush: flush.clone(),
            recent,
        };
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            open: Mutex::new(Some(open)),
            flush,
        });
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("log-flush".to_owned())
            .spawn(move || flush::run(weak, woken))
            .map_err(|source| LogError::Io {
                folder: folder.to_owned(),
                source,
            })?;
        Ok(LogStore { shared })
    }

    /// Writes what is left, syncs it and releases the folder, also while clones exist: their calls fail from then on.
    ///
    /// # Errors
    /// If a flush failed, now or before.
    pub async fn close(&self) -> Result<(), io::Error> {
        let synced = {
            let mut guard = self.lock()?;
            opened(&mut guard)?.flush_signal(0)
        };
        let result = wait_for(synced).await;
        let open = self.lock()?.take();
        // Dropping joins raft-log's writer thread.
        tokio::task::spawn_blocking(move || drop(open))
            .await
            .map_err(io::Error::other)?;
        result
    }

    /// Resolves when a write or fdatasync of the log has failed, with the reason. The process must end then.
    pub async fn failed(&self) -> String {
        let mut failure = self.shared.flush.failure.subscribe();
        let reason = failure.wait_for(Option::is_some).await;
        match reason.as_deref() {
            Ok(Some(reason)) => reason.to_string(),
            // The sender lives in `self.shared` and the condition asks for a reason.
            _ => unreachable!("the log's failure is watched while the log exists"),
        }
    }

    /// The error for a log that lacks what it must have.
    pub(crate) fn inconsistent(&self, reason: String) -> LogError {
        LogError::Inconsistent {
            folder: self.shared.folder.clone(),
            reason,
        }
    }

    /// Size, backlog and sync times.
    ///
    /// # Errors
    /// If the log is closed.
    pub fn metrics(&self) -> Result<LogMetrics, io::Error> {
        let mut guard = self.lock()?;
        let log = &opened(&mut guard)?.log;
        let flushes = log.stat().flush_metrics;
        Ok(LogMetrics {
            bytes_on_disk: log.on_disk_size(),
            unsynced_bytes: self.shared.flush.unsynced_bytes.load(Ordering::Relaxed) as u64,
            syncs: flushes.sync_batch_count,
            sync_p50: Duration::from_micros(flushes.sync_percentiles.p50_us),
            sync_p99: Duration::from_micros(flushes.sync_percentiles.p99_us),
        })
    }

    /// The index of the first entry, the one behind the last, and the size of all chunks in bytes.
    ///
    /// # Errors
    /// If the log is closed.
    pub(crate) fn extent(&self) -> Result<(u64, u64, u64), io::Error> {
        let mut guard = self.lock()?;
        let log = &opened(&mut guard)?.log;
        let state = log.log_state();
        let first = state.purged().map_or(0, |purged| purged.index + 1);
        let next = state.last().map_or(0, |last| last.index + 1);
        Ok((first, next.max(first), log.on_disk_size()))
    }

    /// The index behind the last entry that was appended, and how many bytes of entries were since the log was opened.
    ///
    /// # Errors
    /// If the log is closed.
    pub(crate) fn appended(&self) -> Result<(u64, u64), io::Error> {
        let mut guard = self.lock()?;
        let recent = &opened(&mut guard)?.recent;
        Ok((recent.next_index, recent.appended_bytes as u64))
    }

    fn lock(&self) -> Result<MutexGuard<'_, Option<Open>>, io::Error> {
        self.shared
            .open
            .lock()
            .map_err(|_| io::Error::other("the log was left half-changed by a panic"))
    }

    /// Waits while the disk is so far behind that more entries must not be taken.
    async fn wait_for_room(&self) -> Result<(), io::Error> {
        let flush = &self.shared.flush;
        loop {
            let room = flush.room.notified();
            flush.check()?;
            if flush.unsynced_bytes.load(Ordering::SeqCst) < UNSYNCED_BYTES_MAX {
                return Ok(());
            }
            room.await;
        }
    }

    /// Entries of `[from, to)` that the log holds, up to about `bytes_max` but at least one. Entries that may have left
    /// memory are read on a blocking thread.
    async fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        {
            let mut guard = self.lock()?;
            let open = opened(&mut guard)?;
            if from >= open.recent.first_index() {
                return open.read(from, to, bytes_max);
            }
        }
        let log = self.clone();
        tokio::task::spawn_blocking(move || opened(&mut log.lock()?)?.read(from, to, bytes_max))
            .await
            .map_err(io::Error::other)?
    }
}

impl Open {
    fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        let mut entries: Vec<EntryOf<TypeConfig>> = Vec::new();
        if from >= to {
            return Ok(entries);
        }
        let mut bytes = 0;
        for record in self.log.read(from, to) {
            let (position, payload) = record?;
            bytes += payload.cost_bytes();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            if let Some(last) = entries.last()
                && last.log_id.index + 1 != position.index
            {
                let message = format!(
                    "the log has a hole between {} and {}",
                    last.log_id.index, position.index
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            entries.push(payload.into_entry(position)?);
        }
        Ok(entries)
    }

    /// A flush of everything appended so far, whose end the caller waits for.
    fn flush_signal(&mut self, bytes: usize) -> Synced {
        let (tx, rx) = TypeConfig::oneshot();
        self.flush_with(IOFlushed::signal(tx), bytes);
        rx
    }

    fn last_index(&self) -> Option<u64> {
        self.log.log_state().last().map(|last| last.index)
    }
}

type Synced = openraft::alias::OneshotReceiverOf<TypeConfig, Result<(), io::Error>>;

async fn wait_for(synced: Synced) -> Result<(), io::Error> {
    synced
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the log was closed while a flush was under way")))
}

fn opened<'a>(guard: &'a mut MutexGuard<'_, Option<Open>>) -> Result<&'a mut Open, io::Error> {
    guard.as_mut().ok_or_else(|| io::Error::other("the log is closed"))
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        let (from, to) = limits(&range);
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        self.read(start, end, READ_BYTES_MAX).await
    }

    /// Reads piece by piece, so that applying a long log does not hold it in memory as a whole.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<EntryOf<TypeConfig>, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.clone();
        let pieces = futures::stream::try_unfold(limits(&range), move |(from, to)| {
            let log = log.clone();
            async move {
                let entries = log.read(from, to, READ_BYTES_MAX).await?;
                let Some(last) = entries.last() else {
                    return Ok::<_, io::Error>(None);
                };
                let next = last.log_id.index + 1;
                Ok(Some((futures::stream::iter(entries.into_iter().map(Ok)), (next, to))))
            }
        });
        futures::TryStreamExt::try_flatten(pieces)
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<TypeConfig>>, io::Error> {
        let mut guard = self.lock()?;
        Ok(opened(&mut guard)?.log.log_state().vote().map(|vote| vote.0))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let mut guard = self.lock()?;
        let state = opened(&mut guard)?.log.log_state();
        Ok(LogState {
            last_purged_log_id: state.purged().map(|position| (*position).into()),
            last_log_id: state.last().map(|position| (*position).into()),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TypeConfig>) -> Result<(), io::Error> {
        self.shared.flush.check()?;
        #[cfg(feature = "planted-bugs")]
        if queenright_protocol::planted::has(queenright_protocol::planted::Bug::ForgetVote) {
            return Ok(());
        }
        let synced = {
            let mut guard = self.lock()?;
            let open = opened(&mut guard)?;
            open.log.save_vote(SavedVote(*vote))?;
            open.flush_signal(0)
        };
        wait_for(synced).await
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        let Some(committed) = committed.as_ref().map(Position::from) else {
            return Ok(());
        };
        let mut guard = self.lock()?;
        let log = &mut opened(&mut guard)?.log;
        let state = log.log_state();
        // `raft-log` refuses to go back, or beyond its last entry (a snapshot may be ahead of it). The committed
        // position is only a help for the next start, so it keeps what it has.
        if Some(&committed) > state.committed() && Some(&committed) <= state.last() {
            log.commit(committed)?;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<TypeConfig>>, io::Error> {
        let mut guard = self.lock()?;
        Ok(opened(&mut guard)?
            .log
            .log_state()
            .committed()
            .map(|position| (*position).into()))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries
            .into_iter()
            .map(Payload::from_entry)
            .collect::<Result<Vec<_>, _>>()?;
        self.wait_for_room().await?;
        let mut guard = self.lock()?;
        let open = opened(&mut guard)?;
        let mut bytes = 0;
        for (position, payload) in &entries {
            open.recent.note(position.index, payload.cost_bytes());
            bytes += payload.cost_bytes();
        }
        // Some of the entries may be in the log's memory by now, so it must not go on.
        open.log.append(entries).inspect_err(|error| open.flush.stop(error))?;
        open.flush_with(callback, bytes);
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        let mut guard = self.lock()?;
        let open = opened(&mut guard)?;
        let next = last_log_id.map_or(0, |id| id.index + 1);
        if open.last_index().is_none_or(|last| last < next) {
            return Ok(());
        }
        open.log.truncate(next)?;
        open.recent.truncate(next);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogIdOf<TypeConfig>) -> Result<(), io::Error> {
        let mut guard = self.lock()?;
        let open = opened(&mut guard)?;
        open.log.purge(Position::from(&log_id))?;
        open.flush_with(IOFlushed::noop(), 0);
        Ok(())
    }
}

fn limits(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(from) => from.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(to) => to.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

/// From which index on the entries are surely in `raft-log`'s cache, which does not tell: it keeps the latest entries
/// up to its capacity. Kept as marks a thirty-second of the capacity apart. An entry wrongly held for gone costs a hop
/// to a blocking thread, the other way round a read from disk under the lock; neither is wrong.
struct Recent {
    /// Index of an entry, and the bytes appended before it.
    marks: VecDeque<(u64, usize)>,
    next_index: u64,
    appended_bytes: usize,
    capacity_bytes: usize,
}

impl Recent {
    fn starting_at(next_index: u64, capacity_bytes: usize) -> Recent {
        Recent {
            marks: VecDeque::new(),
            next_index,
            appended_bytes: 0,
            capacity_bytes,
        }
    }

    fn first_index(&self) -> u64 {
        self.marks.front().map_or(self.next_index, |(index, _)| *index)
    }

    fn note(&mut self, index: u64, bytes: usize) {
        let far = |(_, before): &(u64, usize)| self.appended_bytes - before > self.capacity_bytes / 32;
        if self.marks.back().is_none_or(far) {
            self.marks.push_back((index, self.appended_bytes));
        }
        self.appended_bytes += bytes;
        self.next_index = index + 1;
        while self
            .marks
            .front()
            .is_some_and(|(_, before)| self.appended_bytes - before > self.capacity_bytes)
        {
            self.marks.pop_front();
        }
    }

    fn truncate(&mut self, next_index: u64) {
        while self.marks.back().is_some_and(|(index, _)| *index >= next_index) {
            self.marks.pop_back();
        }
        self.next_index = next_index;
    }
}
