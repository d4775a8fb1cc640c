//! The log of consensus on disk: openraft's log storage over a segmented write-ahead log.
//!
//! Entries, votes, truncations and purges go through one stream of records in the order in which openraft asks for them,
//! so no later write is ever on disk without the earlier ones (openraft, `docs/protocol/io_ordering`). The files
//! `<offset>.wal` are chunks of that one stream; what a record holds stands in `record`, how a crash is told from damage
//! in `recover`.
//!
//! | call | on disk |
//! |---|---|
//! | `append` | returns at once; `IOFlushed` completes after the fdatasync that covers the entries |
//! | `save_vote` | before it returns |
//! | `save_committed`, `truncate_after` | with the next sync: openraft needs them in order, not at once |
//! | `purge` | starts a sync, waits for nothing; chunks are removed once the purge is on disk |
//!
//! The log is our own and not a library's because of its syncs: one thread joins all that was appended while it synced,
//! and it writes over zeros, which halves the time of an fdatasync. The libraries of this kind append to files that grow.
//!
//! **A failed write or fdatasync is final.** The writer stops, nothing is tried again, every waiting and every later
//! call gets the error, with which openraft goes fatal, and [`LogStore::failed`] resolves: the node must end its
//! process then, since nobody knows any more what is on disk.
//!
//! The lock around the state (`shared`) is held for encoding into memory and for reads from its cache (`read`), never for a
//! write or a sync. It is a lock and not an actor because openraft's core, its replication streams and the state machine
//! read the log at the same time.
//!
//! Memory: about 150 B per entry that is not purged, and the cache.

mod read;
mod record;
mod recover;
mod shared;
mod spare;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend};

use self::record::{Kind, Payload, Position, vote_bytes};
pub use self::recover::LogError;
use self::shared::{FlushState, Open, Shared, wait_for};
use self::writer::{Pending, Tail};
use super::types::TypeConfig;
use crate::latency::Latency;

/// Bytes that may wait for a sync before `append` itself waits: what memory a stalled disk may cost.
const UNSYNCED_BYTES_MAX: usize = 64 << 20;

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
            chunk_bytes: 16 << 20,
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
    _owner: Arc<Owner>,
}

/// Ends the writer with the last clone.
struct Owner {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.end();
    }
}

impl Owner {
    /// Ends the writer after what is pending, and releases the folder.
    fn end(&self) {
        if let Ok(mut open) = self.shared.open.lock() {
            open.closing = true;
        }
        self.shared.wake.notify_one();
        let writer = self.writer.lock().ok().and_then(|mut writer| writer.take());
        if let Some(writer) = writer {
            // It catches nothing: a panic of the writer was printed, and every call since then failed.
            let _ = writer.join();
        }
        if let Ok(mut open) = self.shared.open.lock() {
            open.lock = None;
        }
    }
}

impl LogStore {
    /// Opens the log in `folder`, which exists, and creates it if there is none. A torn tail (a record whose write was cut
    /// short, and zeros) is cut off; whatever else is in the log is on disk when this returns.
    ///
    /// Blocks while it reads all chunks: call it on a thread that may block.
    ///
    /// # Errors
    /// See [`LogError`]. No readable record is touched.
    pub fn open(folder: &Path, options: &LogOptions) -> Result<LogStore, LogError> {
        let recover::Recovered {
            state,
            tail,
            chunks,
            lock,
        } = recover::open(folder, options)?;
        let next = tail.chunk + tail.used;
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            options: options.clone(),
            open: Mutex::new(Open {
                state,
                pending: Pending::default(),
                chunk: tail.chunk,
                next,
                filled: true,
                chunks: chunks.into_iter().collect(),
                appended_bytes: 0,
                closing: false,
                lock: Some(lock),
            }),
            wake: Condvar::new(),
            flush: FlushState::new(next),
        });
        let writer = start(shared.clone(), tail).map_err(|source| LogError::Io {
            folder: folder.to_owned(),
            source,
        })?;
        let owner = Owner {
            shared: shared.clone(),
            writer: Mutex::new(Some(writer)),
        };
        Ok(LogStore {
            shared,
            _owner: Arc::new(owner),
        })
    }

    /// Writes what is left, syncs it and releases the folder, also while clones exist: their calls fail from then on.
    ///
    /// # Errors
    /// If a write failed, now or before.
    pub async fn close(&self) -> Result<(), io::Error> {
        let synced = self.change(|open, _| open.signal())?;
        let result = wait_for(synced).await;
        let owner = self._owner.clone();
        tokio::task::spawn_blocking(move || owner.end())
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
        let bytes_on_disk = self.opened()?.bytes_on_disk();
        let flush = &self.shared.flush;
        let syncs = flush.syncs.lock().expect("nothing panics under this lock").clone();
        let mut times: Vec<u32> = syncs.1.into();
        times.sort_unstable();
        let percentile = |percent: usize| {
            let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            Duration::from_micros(times.get(place).copied().unwrap_or(0).into())
        };
        Ok(LogMetrics {
            bytes_on_disk,
            unsynced_bytes: flush.unsynced_bytes.load(Ordering::Relaxed) as u64,
            syncs: syncs.0,
            sync_p50: percentile(50),
            sync_p99: percentile(99),
        })
    }

    /// How long writes of the log take that end with an fdatasync.
    pub(crate) fn sync_latency(&self) -> Latency {
        self.shared.flush.sync_meter.latency()
    }

    /// The index of the first entry, the one behind the last, and the size of all chunks in bytes.
    ///
    /// # Errors
    /// If the log is closed.
    pub(crate) fn extent(&self) -> Result<(u64, u64, u64), io::Error> {
        let open = self.opened()?;
        let first = open.state.purged.map_or(0, |purged| purged.index + 1);
        let next = open.state.last().map_or(0, |last| last.index + 1);
        Ok((first, next.max(first), open.bytes_on_disk()))
    }

    /// The index behind the last entry that was appended, and how many bytes of entries were since the log was opened.
    ///
    /// # Errors
    /// If the log is closed.
    pub(crate) fn appended(&self) -> Result<(u64, u64), io::Error> {
        let open = self.opened()?;
        let next = open.state.last().map_or(0, |last| last.index + 1);
        Ok((next, open.appended_bytes))
    }

    fn opened(&self) -> Result<MutexGuard<'_, Open>, io::Error> {
        let open = self.shared.lock()?;
        if open.closing {
            return Err(io::Error::other("the log is closed"));
        }
        Ok(open)
    }

    /// Changes the log under its lock, and wakes the writer if somebody waits for it now.
    fn change<T>(&self, change: impl FnOnce(&mut Open, &Shared) -> T) -> Result<T, io::Error> {
        self.shared.flush.check()?;
        let mut open = self.opened()?;
        let result = change(&mut open, &self.shared);
        let wanted = open.pending.is_wanted();
        drop(open);
        if wanted {
            self.shared.wake.notify_one();
        }
        Ok(result)
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
}

fn start(shared: Arc<Shared>, tail: Tail) -> Result<JoinHandle<()>, io::Error> {
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || writer::run(&shared, tail))
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let open = self.opened()?;
        Ok(LogState {
            last_purged_log_id: open.state.purged.map(Into::into),
            last_log_id: open.state.last().map(Into::into),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<TypeConfig>) -> Result<(), io::Error> {
        #[cfg(feature = "planted-bugs")]
        if queenright_protocol::planted::has(queenright_protocol::planted::Bug::ForgetVote) {
            return Ok(());
        }
        let synced = self.change(|open, shared| {
            open.put(shared, Kind::Vote, &[&vote_bytes(vote)]);
            open.state.vote = Some(*vote);
            open.signal()
        })?;
        wait_for(synced).await
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        let Some(committed) = committed.as_ref().map(Position::from) else {
            return Ok(());
        };
        self.change(|open, shared| {
            // Never back, nor beyond the last entry (a snapshot may be ahead of it). The committed position is only a
            // help for the next start, so it keeps what it has.
            if Some(committed) > open.state.committed && Some(committed) <= open.state.last() {
                open.put(shared, Kind::Committed, &[&committed.to_bytes()]);
                open.state.committed = Some(committed);
            }
        })
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<TypeConfig>>, io::Error> {
        Ok(self.opened()?.state.committed.map(Into::into))
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
        self.change(|open, shared| open.append(shared, entries, callback))?
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<TypeConfig>>) -> Result<(), io::Error> {
        let next = last_log_id.map_or(0, |id| id.index + 1);
        self.change(|open, shared| {
            if open.state.last().is_some_and(|last| last.index >= next) {
                open.put(shared, Kind::Truncate, &[&next.to_le_bytes()]);
                open.state.truncate(next);
            }
        })
    }

    async fn purge(&mut self, log_id: LogIdOf<TypeConfig>) -> Result<(), io::Error> {
        let position = Position::from(&log_id);
        self.change(|open, shared| {
            open.put(shared, Kind::Purge, &[&position.to_bytes()]);
            open.state.purge(position);
            let first = open.state.first_chunk().unwrap_or(open.chunk);
            let kept = open.chunks.split_off(&first);
            let removed = std::mem::replace(&mut open.chunks, kept);
            open.pending.removed.extend(removed);
            open.pending.callbacks.push(IOFlushed::noop());
        })
    }
}
