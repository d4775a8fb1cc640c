//! Group commit: at most one flush is under way, and everything that is appended meanwhile rides in the next one.
//!
//! `raft-log` joins queued flushes only if it is told to wait for more of them (`flush_batch_wait`); without the wait
//! it does one fdatasync per flush. The wait would cost an idle cluster a millisecond per write, so the joining is done
//! here instead: an append that finds no flush under way starts one at once, all others queue their callbacks, and the
//! end of a flush starts the next.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use openraft::storage::IOFlushed;
use raft_log::Callback;
use raft_log::api::raft_log_writer::RaftLogWriter;
use tokio::sync::{Notify, watch};

use super::{Open, Shared};
use crate::consensus::types::TypeConfig;

/// Who waits for the next flush, and what it holds in memory.
#[derive(Default)]
pub(super) struct Waiting {
    callbacks: Vec<IOFlushed<TypeConfig>>,
    bytes: usize,
}

/// What the appenders, the end of a flush and the flush thread tell each other without taking the log's lock:
/// `raft-log` completes a flush on the thread that an appender holding the lock may be waiting for.
pub(super) struct FlushState {
    under_way: AtomicBool,
    waiting: AtomicUsize,
    /// Bytes appended and not on disk yet; `room` is notified when it falls.
    pub(super) unsynced_bytes: AtomicUsize,
    pub(super) room: Notify,
    /// Set once, by the first flush that fails.
    pub(super) failure: watch::Sender<Option<Arc<str>>>,
    wake: SyncSender<()>,
}

impl FlushState {
    pub(super) fn new() -> (Arc<FlushState>, Receiver<()>) {
        // One token is enough: the flush thread looks at everything that waits each time it wakes.
        let (wake, woken) = std::sync::mpsc::sync_channel(1);
        let state = FlushState {
            under_way: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            unsynced_bytes: AtomicUsize::new(0),
            room: Notify::new(),
            failure: watch::Sender::new(None),
            wake,
        };
        (Arc::new(state), woken)
    }

    /// The error of the flush that failed, if one did.
    pub(super) fn check(&self) -> Result<(), io::Error> {
        match self.failure.borrow().as_ref() {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(format!(
                "the log stopped after a failed flush: {reason}"
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

    fn wake_flush_thread(&self) {
        match self.wake.try_send(()) {
            // Disconnected: the thread has ended because the log was dropped, and with it everything that waits.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

impl Open {
    /// Lets `callback` wait for the flush that puts everything appended so far on disk. Starts that flush unless one is
    /// under way.
    ///
    /// # Errors
    /// None: a failure reaches the callback.
    pub(super) fn flush_with(&mut self, callback: IOFlushed<TypeConfig>, bytes: usize) {
        #[cfg(feature = "planted-bugs")]
        if bytes > 0 && queenright_protocol::planted::has(queenright_protocol::planted::Bug::AcknowledgeBeforeSync) {
            return self.flush_later(callback);
        }
        self.waiting.callbacks.push(callback);
        self.waiting.bytes += bytes;
        self.flush.unsynced_bytes.fetch_add(bytes, Ordering::SeqCst);
        self.flush.waiting.fetch_add(1, Ordering::SeqCst);
        self.start_flush();
    }

    /// The planted bug: says at once that what was appended is on disk, and starts the flush a second later. Until then it
    /// is in memory only, where a kill finds it.
    #[cfg(feature = "planted-bugs")]
    fn flush_later(&mut self, callback: IOFlushed<TypeConfig>) {
        use openraft::type_config::TypeConfigExt as _;
        callback.io_completed(Ok(()));
        let (nobody, _) = TypeConfig::oneshot();
        self.waiting.callbacks.push(IOFlushed::signal(nobody));
        if self.flush.waiting.fetch_add(1, Ordering::SeqCst) == 0 {
            let flush = self.flush.clone();
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_secs(1));
                flush.wake_flush_thread();
            });
        }
    }

    /// Starts a flush if something waits and none is under way.
    fn start_flush(&mut self) {
        if self.waiting.callbacks.is_empty() || self.flush.under_way.swap(true, Ordering::SeqCst) {
            return;
        }
        let batch = std::mem::take(&mut self.waiting);
        self.flush.waiting.fetch_sub(batch.callbacks.len(), Ordering::SeqCst);
        let group = Group {
            batch,
            state: self.flush.clone(),
            done: false,
        };
        // An error means that the flush was dropped unsent, and that has told its callbacks.
        drop(self.log.flush(true, Some(Flush::Group(group))));
    }
}

/// One flush: what `raft-log` calls when the fdatasync is done.
pub(super) enum Flush {
    /// Of a log in use.
    Group(Group),
    /// Of a log that is being opened.
    Report(SyncSender<Result<(), io::Error>>),
}

/// Those who wait for one flush.
pub(super) struct Group {
    batch: Waiting,
    state: Arc<FlushState>,
    done: bool,
}

impl Group {
    /// Tells everybody who waits, then lets the next flush start. Takes no lock: it runs on `raft-log`'s writer thread,
    /// or, if the writer has stopped, on the thread of an appender that holds the log's lock.
    fn complete(&mut self, result: Result<(), io::Error>) {
        self.done = true;
        if let Err(error) = &result {
            self.state.stop(error);
        }
        // Before the callbacks run, so that a writer that waits for each of its writes finds the way free and starts
        // its next flush itself instead of through the flush thread.
        self.state.under_way.store(false, Ordering::SeqCst);
        self.state.unsynced_bytes.fetch_sub(self.batch.bytes, Ordering::SeqCst);
        self.state.room.notify_waiters();
        for callback in self.batch.callbacks.drain(..) {
            let result = match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            callback.io_completed(result);
        }
        if self.state.waiting.load(Ordering::SeqCst) > 0 {
            self.state.wake_flush_thread();
        }
    }
}

impl Callback for Flush {
    fn send(self, result: Result<(), io::Error>) {
        match self {
            Flush::Group(mut group) => group.complete(result),
            Flush::Report(listener) => listener.send(result),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.done {
            self.complete(Err(io::Error::other("the writer of the log has stopped")));
        }
    }
}

/// The flush thread: starts the flush of what was appended while the last one was under way.
pub(super) fn run(shared: std::sync::Weak<Shared>, woken: Receiver<()>) {
    while woken.recv().is_ok() {
        let Some(shared) = shared.upgrade() else { return };
        if let Ok(mut guard) = shared.open.lock()
            && let Some(open) = guard.as_mut()
        {
            open.start_flush();
        }
    }
}
