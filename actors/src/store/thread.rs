//! The store thread: the only one that touches sled. Sleeps until it is asked for something.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::chunk::{Joiner, Splitter};
use super::error::StoreError;
use super::folder::write_record;
use super::open::{META_SPACE, Opened, STATE_SPACE, panic_message, synced_path};
use super::record::Kind;
use super::{Pass, Records};
use crate::background::{give_way, send_back};
use crate::latency::Meter;

/// How long the thread lets more get dirty before it writes a pass that nobody waits for. Long enough that a busy node
/// writes a key that is changed again and again once in a while instead of once for each log entry; not longer, since what
/// a crash loses is read from the log at the next start. Cut short when many records are dirty.
const LINGER: Duration = Duration::from_secs(5);
/// What sled calls the thread that moves records out of nearly empty parts of its file: half of each second, while passes
/// write much. What it holds nobody waits for but the store's thread.
const CLEANER: &str = "log flusher";

/// Where the thread gets its passes. `None` says that nothing is dirty.
pub(super) type Source = Box<dyn FnMut() -> Option<Pass> + Send>;

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread can be asked for. Besides one token of `wake` there is at most one request per caller who waits.
pub(super) enum Request {
    Wake,
    /// Like `Wake`, and so much is dirty that the pass should not wait.
    Hurry,
    Start(Source),
    /// A pass, and with `synced` an fsync after it.
    Pass {
        synced: bool,
        answer: Answer<()>,
    },
    Scan {
        prefix: Vec<u8>,
        answer: Answer<Records>,
    },
    Close(Answer<()>),
}

/// What the thread tells without being asked.
pub(super) struct Progress {
    /// Whether a `Wake` is in the queue: further ones would say nothing.
    pub(super) woken: AtomicBool,
    /// Whether a `Hurry` is in the queue.
    pub(super) hurried: AtomicBool,
    pub(super) passes: watch::Sender<u64>,
    pub(super) failure: watch::Sender<Option<Arc<str>>>,
    /// How long passes take.
    pub(super) pass_meter: Meter,
}

pub(super) struct Worker {
    db: sled::Db,
    splitter: Splitter,
    pass_number: u64,
    synced_number: u64,
    sled_path: PathBuf,
    source: Option<Source>,
    progress: Arc<Progress>,
}

impl Worker {
    /// The thread's owner, and what it read while opening.
    pub(super) fn new(opened: Opened, sled_path: PathBuf, progress: Arc<Progress>) -> (Worker, super::Contents) {
        let Opened {
            db,
            splitter,
            pass_number,
            contents,
        } = opened;
        let worker = Worker {
            db,
            splitter,
            pass_number,
            synced_number: 0,
            sled_path,
            source: None,
            progress,
        };
        (worker, contents)
    }

    /// Serves requests until it is closed or nobody is left to ask.
    pub(super) fn run(mut self, requests: Receiver<Request>) {
        // A pass is the work of some hundred milliseconds.
        give_way();
        let mut cleaner_gives_way = false;
        while let Ok(first) = requests.recv() {
            // A thread has its name a moment after it was started.
            cleaner_gives_way = cleaner_gives_way || send_back(CLEANER);
            let mut batch = vec![first];
            let until = Instant::now() + LINGER;
            // While nobody waits for an answer, more gets dirty, and what is overwritten meanwhile is written once.
            while batch.iter().all(|request| matches!(request, Request::Wake)) {
                match requests.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(request) => batch.push(request),
                    Err(_) => break,
                }
            }
            batch.extend(requests.try_iter());
            if let Some(answer) = self.serve(batch) {
                let result = self.guarded(Worker::sync);
                // The answer comes after sled has let go of its files.
                drop(self);
                let _ = answer.send(result);
                return;
            }
        }
    }

    /// One pass, then what was asked for. Returns whoever asked to close.
    fn serve(&mut self, batch: Vec<Request>) -> Option<Answer<()>> {
        let mut passes = Vec::new();
        let mut scans = Vec::new();
        let mut close = None;
        let mut must_sync = false;
        for request in batch {
            match request {
                // Before the source is asked: what gets dirty from here on wakes again.
                Request::Wake => self.progress.woken.store(false, Ordering::SeqCst),
                Request::Hurry => self.progress.hurried.store(false, Ordering::SeqCst),
                Request::Start(source) => self.source = Some(source),
                Request::Pass { synced, answer } => {
                    must_sync |= synced;
                    passes.push(answer);
                }
                Request::Scan { prefix, answer } => scans.push((prefix, answer)),
                Request::Close(answer) => close = Some(answer),
            }
        }
        let mut result = self.guarded(Worker::pass);
        if must_sync && result.is_ok() {
            result = self.guarded(Worker::sync);
        } else if !passes.is_empty() && result.is_ok() {
            result = self.guarded(Worker::flush);
        }
        for answer in passes {
            // Whoever asked may have stopped waiting; the same for every answer below.
            let _ = answer.send(result.as_ref().map(|_| ()).map_err(|_| self.stopped()));
        }
        for (prefix, answer) in scans {
            let _ = answer.send(self.guarded(|worker| worker.scan(&prefix)));
        }
        close
    }

    /// Runs a step unless an earlier one has failed. The first failure, error or panic, is kept and told.
    fn guarded<T>(&mut self, step: impl FnOnce(&mut Worker) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.progress.failure.borrow().is_some() {
            return Err(self.stopped());
        }
        let reason = match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("panic: {}", panic_message(panic.as_ref())),
        };
        tracing::error!(%reason, "the store has failed and writes nothing any more");
        self.progress.failure.send_replace(Some(reason.into()));
        Err(self.stopped())
    }

    fn stopped(&self) -> StoreError {
        let reason = self.progress.failure.borrow().clone();
        StoreError::Failed {
            reason: reason.unwrap_or_else(|| "closed".into()),
        }
    }

    /// Writes what is dirty as one batch, so that sled holds this version or the one before, never a mixture. A version
    /// that comes in several passes says so in its meta bytes.
    fn pass(&mut self) -> Result<(), StoreError> {
        while let Some(pass) = self.source.as_mut().and_then(|source| source()) {
            let more = pass.more;
            self.write(pass)?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, pass: Pass) -> Result<(), StoreError> {
        let started = Instant::now();
        let mut rows = Rows::default();
        for (key, value) in &pass.changes {
            self.splitter.split(STATE_SPACE, key, value.as_deref(), &mut rows)?;
        }
        let number = self.pass_number + 1;
        let meta = [number.to_be_bytes().as_slice(), &pass.meta].concat();
        self.splitter.split(META_SPACE, &[], Some(&meta), &mut rows)?;
        drop(pass);
        self.db.apply_batch(rows.0).map_err(|error| self.sled_error(error))?;
        self.pass_number = number;
        self.progress.pass_meter.note(started.elapsed());
        self.progress.passes.send_modify(|passes| *passes += 1);
        Ok(())
    }

    /// To the operating system, so that `kill -9` loses nothing; an fsync is `sync`'s. Only for those who wait for it:
    /// every flush competes with the log for the disk, and the log has it all.
    fn flush(&mut self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| self.sled_error(error))?;
        Ok(())
    }

    /// `sled::Db::flush` ends with `sync_file_range`, which covers neither the disk's cache nor the length of the file.
    /// A sync of the same files by another handle does.
    fn sync(&mut self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| self.sled_error(error))?;
        let io_error = |path: &Path, source| StoreError::Io {
            path: path.to_owned(),
            source,
        };
        let sync = |path: &Path| {
            File::open(path)
                .and_then(|file| file.sync_all())
                .map_err(|e| io_error(path, e))
        };
        for blob in super::blobs(&self.sled_path).map_err(|source| io_error(&self.sled_path, source))? {
            sync(&blob)?;
        }
        for name in ["db", "conf", "blobs", "."] {
            sync(&self.sled_path.join(name))?;
        }
        if self.synced_number != self.pass_number {
            let number = self.pass_number.to_be_bytes();
            write_record(&synced_path(&self.sled_path), Kind::Synced, &number, number.len())?;
            self.synced_number = self.pass_number;
        }
        Ok(())
    }

    fn scan(&mut self, prefix: &[u8]) -> Result<Records, StoreError> {
        let mut joiner = Joiner::default();
        let spaced = [&[STATE_SPACE], prefix].concat();
        for record in self.db.scan_prefix(&spaced) {
            let (key, value) = record.map_err(|error| self.sled_error(error))?;
            // The last two bytes are the record's number: they may look like the end of the prefix.
            if key.len() >= spaced.len() + 2 {
                joiner
                    .add(&key, &value)
                    .map_err(|error| self.damaged(error.to_string()))?;
            }
        }
        let (values, _) = joiner.finish().map_err(|error| self.damaged(error.to_string()))?;
        Ok(values
            .into_iter()
            .map(|(key, value)| (key[1..].to_vec(), value))
            .collect())
    }

    fn sled_error(&self, error: sled::Error) -> StoreError {
        match error {
            sled::Error::Io(source) => StoreError::Io {
                path: self.sled_path.clone(),
                source,
            },
            other => self.damaged(other.to_string()),
        }
    }

    fn damaged(&self, reason: String) -> StoreError {
        StoreError::Io {
            path: self.sled_path.clone(),
            source: std::io::Error::other(reason),
        }
    }
}

/// A batch that rows can be pushed into. Of several rows with one key the last one counts.
#[derive(Default)]
struct Rows(sled::Batch);

impl Extend<(Vec<u8>, Option<Vec<u8>>)> for Rows {
    fn extend<I: IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>>(&mut self, rows: I) {
        for (key, value) in rows {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(key),
            }
        }
    }
}
