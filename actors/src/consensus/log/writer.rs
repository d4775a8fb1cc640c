//! The writer thread: the only one that writes the log's files. What is appended while it syncs rides in its next batch,
//! so a busy log has one fdatasync for many appends and an idle one none.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use openraft::storage::IOFlushed;

use super::Shared;
use super::spare::{self, Spare};
use crate::consensus::types::TypeConfig;

/// How many zeros are written ahead of the records. A sync of bytes that replace zeros changes neither the length nor the
/// blocks of the file, so the disk writes the records and nothing else: half the time of a sync that lets the file grow.
/// Only for the first chunk: those behind it are made of a spare (see [`super::spare`]).
const ZEROS_AHEAD: usize = 1 << 20;

/// A sync that takes longer is slow: commands take some milliseconds on a good disk.
const SLOW: Duration = Duration::from_millis(100);
/// How often slow syncs are said at most.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Records of one chunk, on their way to its file.
pub(super) struct Piece {
    /// Where the chunk begins in the log.
    pub(super) chunk: u64,
    /// Where the records go in its file; 0 if the chunk is new.
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

/// What waits for the next sync.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) pieces: Vec<Piece>,
    pub(super) callbacks: Vec<IOFlushed<TypeConfig>>,
    /// Bytes of entries in the pieces.
    pub(super) entry_bytes: usize,
    /// Chunks that nothing needs once the pieces are on disk.
    pub(super) removed: Vec<u64>,
    /// Where the log ends with the pieces.
    pub(super) end: u64,
}

impl Pending {
    /// Whether somebody waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.callbacks.is_empty() || !self.removed.is_empty()
    }

    fn answer(&mut self, result: &Result<(), io::Error>) {
        for callback in self.callbacks.drain(..) {
            callback.io_completed(match result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
    }
}

/// The file that grows.
pub(super) struct Tail {
    pub(super) folder: PathBuf,
    pub(super) file: File,
    /// Where its chunk begins in the log.
    pub(super) chunk: u64,
    /// Up to where it holds records.
    pub(super) used: u64,
    /// Up to where it is written, with records or with zeros.
    pub(super) zeroed: u64,
    /// How large a chunk becomes: zeros ahead of that would be wasted.
    pub(super) chunk_bytes: u64,
    pub(super) spare: Spare,
}

/// The path of the chunk that begins at `chunk`.
pub(super) fn chunk_path(folder: &Path, chunk: u64) -> PathBuf {
    folder.join(format!("{chunk:020}.wal"))
}

impl Tail {
    /// A new, empty chunk, whose name is on disk.
    pub(super) fn create(folder: &Path, chunk: u64, chunk_bytes: u64) -> Result<Tail, io::Error> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(chunk_path(folder, chunk))?;
        sync_folder(folder)?;
        Ok(Tail {
            folder: folder.to_owned(),
            file,
            chunk,
            used: 0,
            zeroed: 0,
            chunk_bytes,
            spare: Spare::default(),
        })
    }

    /// The chunk behind this one, of the spare if it is ready.
    fn next(&mut self, chunk: u64) -> Result<(), io::Error> {
        self.file.sync_data()?;
        let Some(file) = self.spare.take() else {
            *self = Tail::create(&self.folder, chunk, self.chunk_bytes)?;
            return Ok(());
        };
        std::fs::rename(spare::path(&self.folder), chunk_path(&self.folder, chunk))?;
        sync_folder(&self.folder)?;
        self.file = file;
        self.chunk = chunk;
        self.used = 0;
        self.zeroed = self.chunk_bytes;
        Ok(())
    }

    /// Writes the pieces and syncs them.
    pub(super) fn write(&mut self, pieces: &[Piece]) -> Result<(), io::Error> {
        for piece in pieces {
            if piece.chunk != self.chunk {
                self.next(piece.chunk)?;
            }
            let end = piece.at + piece.bytes.len() as u64;
            if end > self.zeroed {
                self.extend(end)?;
            }
            self.file.write_all_at(&piece.bytes, piece.at)?;
            self.used = end;
        }
        self.file.sync_data()?;
        if self.used > ZEROS_AHEAD as u64 {
            self.spare.prepare(&self.folder, self.chunk_bytes);
        }
        Ok(())
    }

    /// Writes zeros from where the file ends to some way behind `end`.
    fn extend(&mut self, end: u64) -> Result<(), io::Error> {
        let room = self.chunk_bytes.saturating_sub(end).min(ZEROS_AHEAD as u64);
        let zeros = vec![0; (end + room - self.zeroed) as usize];
        self.file.write_all_at(&zeros, self.zeroed)?;
        self.zeroed = end + room;
        Ok(())
    }
}

/// Makes names that were added or removed durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), io::Error> {
    File::open(folder)?.sync_all()
}

/// The thread. Ends when the log is closed, or with the first write or sync that fails.
pub(super) fn run(shared: &Arc<Shared>, mut tail: Tail) {
    let mut slow = SlowSyncs::default();
    while let Some(mut batch) = shared.next_batch() {
        let started = Instant::now();
        let mut result = tail.write(&batch.pieces);
        if result.is_ok() {
            shared.flush.note_sync(started.elapsed());
            shared.flush.synced.store(batch.end, Ordering::SeqCst);
            slow.note(started);
            result = remove(&tail.folder, &batch.removed);
        }
        if let Err(error) = &result {
            shared.flush.stop(error);
        }
        shared
            .flush
            .unsynced_bytes
            .fetch_sub(batch.entry_bytes, Ordering::SeqCst);
        batch.answer(&result);
        shared.flush.room.notify_waiters();
        if result.is_err() {
            // What was appended meanwhile waits for a sync that never comes.
            let stopped = Err(io::Error::other("the log has stopped after a failed write"));
            shared.take_pending().answer(&stopped);
            return;
        }
    }
}

/// Says that syncs are slow: whoever looks for why commands take long finds it in the log of the node.
#[derive(Default)]
struct SlowSyncs {
    said: Option<Instant>,
    since: u64,
    longest: Duration,
}

impl SlowSyncs {
    /// A batch was written and synced now.
    fn note(&mut self, started: Instant) {
        let took = started.elapsed();
        if took < SLOW {
            return;
        }
        self.since += 1;
        self.longest = self.longest.max(took);
        if self.said.is_some_and(|said| said.elapsed() < SAY_EVERY) {
            return;
        }
        let longest_ms = self.longest.as_millis() as u64;
        tracing::warn!(
            syncs = self.since,
            longest_ms,
            "the disk is slow: all commands wait for it"
        );
        *self = SlowSyncs {
            said: Some(Instant::now()),
            ..SlowSyncs::default()
        };
    }
}

fn remove(folder: &Path, chunks: &[u64]) -> Result<(), io::Error> {
    if chunks.is_empty() {
        return Ok(());
    }
    // The oldest first, so that a crash in between leaves no gap.
    for chunk in chunks {
        std::fs::remove_file(chunk_path(folder, *chunk))?;
    }
    sync_folder(folder)
}
