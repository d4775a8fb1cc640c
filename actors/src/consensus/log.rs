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
//! The lock around the state is held for encoding into memory and for reads from its cache, never for a write or a sync. It
//! is a lock and not an actor because openraft's core, its replication streams and the state machine read the log at
//! the same time.
//!
//! Memory: about 150 B per entry that is not purged, and the cache.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{LogState, OptionalSend, RaftLogReader};
use tokio::sync::{Notify, watch};

use super::types::TypeConfig;

mod record;
mod recover;
mod spare;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use record::{Kind, Payload, Position, damaged, record_bytes, vote_bytes};
use state::{ENTRY_OVERHEAD_BYTES, Place, Slot, State};
use writer::{Pending, Piece, Tail, chunk_path};

pub use recover::LogError;

/// Bytes that may wait for a sync before `append` itself waits: what memory a stalled disk may cost.
const UNSYNCED_BYTES_MAX: usize = 64 << 20;

/// Entries of one read, in bytes: as much as a follower gets at once. One larger entry is read alone.
const READ_BYTES_MAX: usize = 1 << 20;

/// How many of the latest syncs the figures are of.
const SYNCS_KEPT: usize = 1024;

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

struct Shared {
    folder: PathBuf,
    options: LogOptions,
    open: Mutex<Open>,
    /// Wakes the writer.
    wake: Condvar,
    flush: FlushState,
}

/// What the lock guards.
struct Open {
    state: State,
    pending: Pending,
    /// Where the tail's chunk begins in the log.
    chunk: u64,
    /// Where the next record begins in the log.
    next: u64,
    /// Whether the tail's chunk has a record behind its first.
    filled: bool,
    chunks: BTreeSet<u64>,
    /// Bytes of entries since the log was opened.
    appended_bytes: u64,
    closing: bool,
    lock: Option<File>,
}

/// What appenders and the writer tell each other without the lock.
struct FlushState {
    /// Up to where the log is on disk.
    synced: AtomicU64,
    /// Bytes appended and not on disk yet; `room` is notified when it falls.
    unsynced_bytes: AtomicUsize,
    room: Notify,
    /// Set once, by the first write or sync that fails.
    failure: watch::Sender<Option<Arc<str>>>,
    /// How many syncs there were, and how long the latest took, in microseconds. A mutex: the writer and whoever asks.
    syncs: Mutex<(u64, VecDeque<u32>)>,
}

impl FlushState {
    fn new(synced: u64) -> FlushState {
        FlushState {
            synced: AtomicU64::new(synced),
            unsynced_bytes: AtomicUsize::new(0),
            room: Notify::new(),
            failure: watch::Sender::new(None),
            syncs: Mutex::default(),
        }
    }

    /// The error of the sync that failed, if one did.
    fn check(&self) -> Result<(), io::Error> {
        match self.failure.borrow().as_ref() {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(format!(
                "the log has stopped after a failed write: {reason}"
            ))),
        }
    }

    /// Notes that the log has failed for good. The first reason stays.
    fn stop(&self, error: &io::Error) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                tracing::error!(%error, "the log has failed and takes nothing any more");
                *failure = Some(error.to_string().into());
            }
            first
        });
    }

    fn note_sync(&self, took: Duration) {
        let mut syncs = self.syncs.lock().expect("nothing panics under this lock");
        syncs.0 += 1;
        if syncs.1.len() == SYNCS_KEPT {
            syncs.1.pop_front();
        }
        syncs.1.push_back(took.as_micros().min(u128::from(u32::MAX)) as u32);
    }
}

impl Shared {
    fn lock(&self) -> Result<MutexGuard<'_, Open>, io::Error> {
        self.open
            .lock()
            .map_err(|_| io::Error::other("the log was left half-changed by a panic"))
    }

    /// For the writer: waits for what somebody wants on disk. `None` when the log is closed.
    fn next_batch(&self) -> Option<Pending> {
        let mut open = self.open.lock().ok()?;
        loop {
            if open.pending.is_wanted() || (open.closing && !open.pending.pieces.is_empty()) {
                return Some(open.take_pending());
            }
            if open.closing {
                return None;
            }
            #[cfg(feature = "planted-bugs")]
            if queenright_protocol::planted::has(queenright_protocol::planted::Bug::AcknowledgeBeforeSync) {
                // What was acknowledged is in memory only for up to a second, where a kill finds it.
                let (waited, timeout) = self.wake.wait_timeout(open, Duration::from_secs(1)).ok()?;
                open = waited;
                if timeout.timed_out() && !open.pending.pieces.is_empty() {
                    return Some(open.take_pending());
                }
                continue;
            }
            open = self.wake.wait(open).ok()?;
        }
    }

    /// For the writer when it stops: what nobody will write any more.
    fn take_pending(&self) -> Pending {
        self.open.lock().map(|mut open| open.take_pending()).unwrap_or_default()
    }
}

impl Open {
    fn take_pending(&mut self) -> Pending {
        let end = self.next;
        Pending {
            end,
            ..std::mem::take(&mut self.pending)
        }
    }

    /// Puts a record behind the last one. Returns its chunk, and where it begins and ends in the log.
    fn put(&mut self, shared: &Shared, kind: Kind, body: &[&[u8]]) -> (u64, u64, u64) {
        let synced = shared.flush.synced.load(Ordering::SeqCst);
        let length: usize = body.iter().map(|part| part.len()).sum();
        let bytes = record_bytes(length) as u64;
        if self.filled && self.next - self.chunk + bytes > shared.options.chunk_bytes as u64 {
            self.chunk = self.next;
            self.chunks.insert(self.chunk);
            self.write(Kind::Start, synced, &[&self.state.to_bytes()]);
            self.filled = false;
        }
        let begin = self.next;
        self.write(kind, synced, body);
        self.filled = true;
        (self.chunk, begin, self.next)
    }

    fn write(&mut self, kind: Kind, synced: u64, body: &[&[u8]]) {
        let pieces = &mut self.pending.pieces;
        if pieces.last().is_none_or(|piece| piece.chunk != self.chunk) {
            pieces.push(Piece {
                chunk: self.chunk,
                at: self.next - self.chunk,
                bytes: Vec::new(),
            });
        }
        let piece = pieces.last_mut().expect("it was just pushed");
        let before = piece.bytes.len();
        record::write(&mut piece.bytes, kind, self.next, synced, body);
        self.next += (piece.bytes.len() - before) as u64;
    }

    /// What the records of all chunks take, written or pending.
    fn bytes_on_disk(&self) -> u64 {
        self.next - self.chunks.first().copied().unwrap_or(self.next)
    }

    /// An end of the next sync, for the caller to wait for.
    fn signal(&mut self) -> Synced {
        let (tx, rx) = TypeConfig::oneshot();
        self.pending.callbacks.push(IOFlushed::signal(tx));
        rx
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

    /// Entries of `[from, to)` that the log holds, up to about `bytes_max` but at least one. Entries that have left memory
    /// are read on a blocking thread.
    async fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<EntryOf<TypeConfig>>, io::Error> {
        let found = self.look_up(from, to, bytes_max)?;
        let mut file = ChunkFile {
            folder: self.shared.folder.clone(),
            open: None,
        };
        if found.iter().all(|(_, found)| matches!(found, Found::Memory(_))) {
            return found
                .into_iter()
                .map(|(position, found)| found.entry(position, &mut file))
                .collect();
        }
        let log = self.clone();
        tokio::task::spawn_blocking(move || {
            let first = found.first().map(|(position, _)| position.index);
            let entries: Result<Vec<_>, io::Error> = found
                .into_iter()
                .map(|(position, found)| found.entry(position, &mut file))
                .collect();
            match entries {
                // Purged between the look-up and the read: no longer in the log.
                Err(error) if error.kind() == io::ErrorKind::NotFound && first < Some(log.extent()?.0) => {
                    Ok(Vec::new())
                }
                entries => entries,
            }
        })
        .await
        .map_err(io::Error::other)?
    }

    fn look_up(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<(Position, Found)>, io::Error> {
        let open = self.opened()?;
        let mut found = Vec::new();
        let mut bytes = 0;
        for slot in open.state.range(from, to) {
            bytes += slot.place.length + ENTRY_OVERHEAD_BYTES;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            let where_it_is = match &slot.payload {
                Some(payload) => Found::Memory(payload.clone()),
                None => Found::Disk(slot.kind, slot.place),
            };
            found.push((slot.position, where_it_is));
        }
        Ok(found)
    }
}

fn start(shared: Arc<Shared>, tail: Tail) -> Result<JoinHandle<()>, io::Error> {
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || writer::run(&shared, tail))
}

/// Where an entry was found.
enum Found {
    Memory(Payload),
    Disk(record::PayloadKind, Place),
}

/// The chunk that was read last.
struct ChunkFile {
    folder: PathBuf,
    open: Option<(u64, File)>,
}

impl Found {
    fn entry(self, position: Position, file: &mut ChunkFile) -> Result<EntryOf<TypeConfig>, io::Error> {
        match self {
            Found::Memory(payload) => payload.into_entry(position),
            Found::Disk(kind, place) => {
                let bytes = file.read(&place)?;
                Payload { kind, bytes }.into_entry(position)
            }
        }
    }
}

impl ChunkFile {
    fn read(&mut self, place: &Place) -> Result<Bytes, io::Error> {
        let file = match &self.open {
            Some((chunk, file)) if *chunk == place.chunk => file,
            _ => {
                let file = File::open(chunk_path(&self.folder, place.chunk))?;
                &self.open.insert((place.chunk, file)).1
            }
        };
        let begin = place.at - (record::HEAD_BYTES + record::ENTRY_HEAD_BYTES) as u64;
        let mut bytes = vec![0; record_bytes(record::ENTRY_HEAD_BYTES + place.length)];
        file.read_exact_at(&mut bytes, begin)?;
        // A disk may have lost what it held when the log was opened.
        let whole = record::Head::read(&bytes).is_some_and(|head| head.matches(&bytes[record::HEAD_BYTES..]));
        if !whole {
            return Err(damaged(format!(
                "{}: the record at byte {begin} cannot be read any more",
                chunk_path(&self.folder, place.chunk).display()
            )));
        }
        let payload = record::HEAD_BYTES + record::ENTRY_HEAD_BYTES;
        Ok(Bytes::from(bytes).slice(payload..payload + place.length))
    }
}

type Synced = openraft::alias::OneshotReceiverOf<TypeConfig, Result<(), io::Error>>;

async fn wait_for(synced: Synced) -> Result<(), io::Error> {
    synced
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the log was closed while a sync was under way")))
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
        Ok(self.opened()?.state.vote)
    }
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

impl Open {
    fn append(
        &mut self,
        shared: &Shared,
        entries: Vec<(Position, Payload)>,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error> {
        // Looked at before anything is changed: an append is taken whole or not at all.
        if let Some((first, _)) = entries.first() {
            self.state.check_next(*first).map_err(io::Error::other)?;
        }
        let gap = entries.windows(2).find(|pair| pair[0].0.index + 1 != pair[1].0.index);
        if let Some([(before, _), (after, _)]) = gap {
            let message = format!("entry {} follows entry {}", after.index, before.index);
            return Err(io::Error::other(message));
        }
        for (position, payload) in entries {
            let kind = [payload.kind as u8];
            let (chunk, begin, end) = self.put(shared, Kind::Entry, &[&position.to_bytes(), &kind, &payload.bytes]);
            let bytes = payload.bytes.len();
            self.pending.entry_bytes += bytes;
            self.appended_bytes += bytes as u64;
            shared.flush.unsynced_bytes.fetch_add(bytes, Ordering::SeqCst);
            let place = Place {
                chunk,
                at: begin - chunk + (record::HEAD_BYTES + record::ENTRY_HEAD_BYTES) as u64,
                length: bytes,
                end,
            };
            let slot = Slot {
                position,
                kind: payload.kind,
                place,
                payload: Some(payload),
            };
            self.state.append(slot).map_err(io::Error::other)?;
        }
        let synced = shared.flush.synced.load(Ordering::SeqCst);
        self.state.evict(shared.options.cache_bytes, synced);
        #[cfg(feature = "planted-bugs")]
        if queenright_protocol::planted::has(queenright_protocol::planted::Bug::AcknowledgeBeforeSync) {
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.pending.callbacks.push(callback);
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
