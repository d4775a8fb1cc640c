//! What the clones of a log and its writer share: what the lock guards, and what they tell each other without it.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use openraft::storage::IOFlushed;
use openraft::type_config::TypeConfigExt;
use tokio::sync::{Notify, watch};

use super::record::{Kind, Payload, Position, record_bytes};
use super::state::{Place, Slot, State, follows};
use super::writer::{Pending, Piece};
use super::{LogOptions, record};
use crate::consensus::types::TypeConfig;
use crate::latency::Meter;

/// How many of the latest syncs the figures are of.
const SYNCS_KEPT: usize = 1024;

pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) options: LogOptions,
    pub(super) open: Mutex<Open>,
    /// Wakes the writer.
    pub(super) wake: Condvar,
    pub(super) flush: FlushState,
}

/// What the lock guards.
pub(super) struct Open {
    pub(super) state: State,
    pub(super) pending: Pending,
    /// Where the tail's chunk begins in the log.
    pub(super) chunk: u64,
    /// Where the next record begins in the log.
    pub(super) next: u64,
    /// Whether the tail's chunk has a record behind its first.
    pub(super) filled: bool,
    pub(super) chunks: BTreeSet<u64>,
    /// Bytes of entries since the log was opened.
    pub(super) appended_bytes: u64,
    pub(super) closing: bool,
    pub(super) lock: Option<File>,
}

/// What appenders and the writer tell each other without the lock.
pub(super) struct FlushState {
    /// Up to where the log is on disk.
    pub(super) synced: AtomicU64,
    /// Bytes appended and not on disk yet; `room` is notified when it falls.
    pub(super) unsynced_bytes: AtomicUsize,
    pub(super) room: Notify,
    /// Set once, by the first write or sync that fails.
    pub(super) failure: watch::Sender<Option<Arc<str>>>,
    /// How many syncs there were, and how long the latest took, in microseconds. A mutex: the writer and whoever asks.
    pub(super) syncs: Mutex<(u64, VecDeque<u32>)>,
    /// How long writes with their sync take.
    pub(super) sync_meter: Meter,
}

impl FlushState {
    pub(super) fn new(synced: u64) -> FlushState {
        FlushState {
            synced: AtomicU64::new(synced),
            unsynced_bytes: AtomicUsize::new(0),
            room: Notify::new(),
            failure: watch::Sender::new(None),
            syncs: Mutex::default(),
            sync_meter: Meter::default(),
        }
    }

    /// The error of the sync that failed, if one did.
    pub(super) fn check(&self) -> Result<(), io::Error> {
        match self.failure.borrow().as_ref() {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(format!(
                "the log has stopped after a failed write: {reason}"
            ))),
        }
    }

    /// Notes that the log has failed for good. The first reason stays.
    pub(super) fn stop(&self, error: &io::Error) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                tracing::error!(%error, "the log has failed and takes nothing any more");
                *failure = Some(error.to_string().into());
            }
            first
        });
    }

    pub(super) fn note_sync(&self, took: Duration) {
        self.sync_meter.note(took);
        let mut syncs = self.syncs.lock().expect("nothing panics under this lock");
        syncs.0 += 1;
        if syncs.1.len() == SYNCS_KEPT {
            syncs.1.pop_front();
        }
        syncs.1.push_back(took.as_micros().min(u128::from(u32::MAX)) as u32);
    }
}

impl Shared {
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Open>, io::Error> {
        self.open
            .lock()
            .map_err(|_| io::Error::other("the log was left half-changed by a panic"))
    }

    /// For the writer: waits for what somebody wants on disk. `None` when the log is closed.
    pub(super) fn next_batch(&self) -> Option<Pending> {
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
    pub(super) fn take_pending(&self) -> Pending {
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
    pub(super) fn put(&mut self, shared: &Shared, kind: Kind, body: &[&[u8]]) -> (u64, u64, u64) {
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
    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.next - self.chunks.first().copied().unwrap_or(self.next)
    }

    /// An end of the next sync, for the caller to wait for.
    pub(super) fn signal(&mut self) -> Synced {
        let (tx, rx) = TypeConfig::oneshot();
        self.pending.callbacks.push(IOFlushed::signal(tx));
        rx
    }
}

impl Open {
    pub(super) fn append(
        &mut self,
        shared: &Shared,
        entries: Vec<(Position, Payload)>,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error> {
        // Looked at before anything is changed: an append is taken whole or not at all.
        if let Some((first, _)) = entries.first() {
            self.state.check_next(*first).map_err(io::Error::other)?;
        }
        let mut pairs = entries.windows(2);
        pairs
            .try_for_each(|pair| follows(pair[0].0, pair[1].0))
            .map_err(io::Error::other)?;
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

type Synced = openraft::alias::OneshotReceiverOf<TypeConfig, Result<(), io::Error>>;

pub(super) async fn wait_for(synced: Synced) -> Result<(), io::Error> {
    synced
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the log was closed while a sync was under way")))
}
