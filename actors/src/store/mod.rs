//! What a node keeps on disk besides its log: the data folder with the node's identity, and the materialised state in
//! sled, written behind by one thread.
//!
//! The log and the snapshot files are the truth. The store holds exactly one version of the state, so that a start does
//! not have to replay the log from the last snapshot, and so that the state can be inspected. What is wrong with its
//! contents is never an error: it is set aside and comes back from the truth.
//!
//! | promise | by |
//! |---|---|
//! | The store is one version, never a mixture | a pass is one sled batch on one tree, meta bytes included; where a version is too large for one, the meta bytes of all passes but the last say so |
//! | A pass that somebody waited for survives `kill -9` | `sled::Db::flush` before the answer |
//! | `sync` survives power loss | fsync of sled's files through handles of our own |
//! | Damage is noticed | a checksum per record, and the number of the last synced pass kept apart (see `open`) |
//! | A key written often between two passes is written once | the thread asks for the dirty set when it is ready |
//! | An idle store costs nothing | the thread sleeps in a channel; sled's cleaner looks once a second |
//!
//! **A failed write is final.** The thread writes nothing any more, every waiting and later call gets `Failed`, and
//! [`Store::failed`] resolves: the node should end its process, since the log is on the same disk. Nothing acknowledged
//! is lost by that.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

mod chunk;
pub mod damaged;
mod error;
mod folder;
mod open;
pub mod record;
#[cfg(test)]
mod tests;
mod thread;

use crate::latency::{Latency, Meter};
pub use chunk::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use error::StoreError;
pub(crate) use folder::sync_folder;
pub use folder::{DataFolder, FORMAT_VERSION, Holder, Identity, NOTE_BYTES_MAX};
use thread::{Answer, Progress, Request, Worker};

/// Keys and values of the state, ascending by key.
pub type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// What makes the last version in the store the next one.
///
/// While a batch is written, sled keeps every page that it went through: measured, some 9 KB of memory per change of
/// 256 B, which stay allocated afterwards (1,000 changes a pass: nothing to notice; 100,000: 0.9 GB and 1.5 s). So the
/// source lets the store hurry when more than about 16,000 keys are dirty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// New values, and `None` for keys that are gone. Of several for one key the last counts. Keys up to
    /// [`KEY_BYTES_MAX`], values up to [`VALUE_BYTES_MAX`].
    pub changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What names the version (last applied position, digest, …). The store does not look into it.
    pub meta: Vec<u8>,
    /// Whether the version is not complete: the source is asked for the next pass at once, and nobody who waits is
    /// answered before the last one.
    pub more: bool,
}

/// What was in the store when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Of the last pass; `None` for a store that never had one.
    pub meta: Option<Vec<u8>>,
    /// The state at that version.
    pub records: Records,
    /// Where the store went that could not be read. The one in use is empty then.
    pub set_aside: Option<PathBuf>,
}

/// How the store is kept.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Memory for sled's pages, in bytes. sled's own default is 1 GiB; the state is in memory anyway.
    pub cache_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { cache_bytes: 128 << 20 }
    }
}

/// The materialised state on disk. Clones share it; when the last one is gone, the thread ends without a last pass.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    requests: mpsc::Sender<Request>,
    progress: Arc<Progress>,
    /// Joined by `close`.
    thread: Mutex<Option<JoinHandle<()>>>,
    sled_path: PathBuf,
}

impl Store {
    /// Opens the store of a data folder and reads all of it; a store that cannot be read is set aside. Blocks for as
    /// long as that takes: call it on a thread that may block.
    ///
    /// # Errors
    /// `InUse` if this process has it open, `NewerFormat`, and `Io` for what is not a matter of the contents (no
    /// permission, disk full). Nothing was changed then.
    pub fn open(folder: &DataFolder, options: &StoreOptions) -> Result<(Store, Contents), StoreError> {
        let store_path = folder.store_path();
        let opened = open::open(&store_path, options)?;
        let sled_path = store_path.join("sled");
        let progress = Arc::new(Progress {
            woken: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            passes: watch::Sender::new(0),
            failure: watch::Sender::new(None),
            pass_meter: Meter::default(),
        });
        let (worker, contents) = Worker::new(opened, sled_path.clone(), progress.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by its use: one wake at a time, and one request for each caller that awaits its answer"
        )]
        let (requests, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || worker.run(receiver))
            .map_err(|source| StoreError::Io {
                path: store_path,
                source,
            })?;
        let thread = Mutex::new(Some(thread));
        Ok((
            Store {
                shared: Arc::new(Shared {
                    requests,
                    progress,
                    thread,
                    sled_path,
                }),
            },
            contents,
        ))
    }

    /// Says where passes come from. The source is called on the store's thread when it is woken, flushed, synced or
    /// closed, and hands over everything that is dirty at that moment, or `None`. It must not wait for the store.
    pub fn start(&self, source: impl FnMut() -> Option<Pass> + Send + 'static) {
        self.request(Request::Start(Box::new(source)));
    }

    /// Says that something is dirty. Returns at once and costs next to nothing when the thread already knows.
    pub fn wake(&self) {
        if !self.shared.progress.woken.swap(true, Ordering::SeqCst) {
            self.request(Request::Wake);
        }
    }

    /// Like [`Store::wake`], and the pass is not to wait for more.
    pub fn hurry(&self) {
        if !self.shared.progress.hurried.swap(true, Ordering::SeqCst) {
            self.request(Request::Hurry);
        }
    }

    /// Passes written since the store was opened.
    pub fn passes(&self) -> u64 {
        *self.shared.progress.passes.borrow()
    }

    /// How long passes take.
    pub(crate) fn pass_latency(&self) -> Latency {
        self.shared.progress.pass_meter.latency()
    }

    /// Waits until more than `passes` passes were written and returns their number. Wakes nobody, and waits
    /// for ever on a store that is closed.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn wait_pass_after(&self, passes: u64) -> Result<u64, StoreError> {
        let mut watched = self.shared.progress.passes.subscribe();
        tokio::select! {
            written = watched.wait_for(|written| *written > passes) => {
                Ok(*written.expect("the sender lives in this store"))
            }
            reason = self.failed() => Err(StoreError::Failed { reason }),
        }
    }

    /// Waits until everything that is dirty now has been written in a pass: it survives `kill -9`, not a power loss.
    ///
    /// # Errors
    /// `Failed`, `Closed`.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.ask(|answer| Request::Pass { synced: false, answer }).await
    }

    /// Like `flush`, and on disk: it survives a power loss.
    ///
    /// # Errors
    /// `Failed`, `Closed`.
    pub async fn sync(&self) -> Result<(), StoreError> {
        self.ask(|answer| Request::Pass { synced: true, answer }).await
    }

    /// What sled really holds under keys with this prefix, read between two passes, so of one version. Passes wait
    /// meanwhile: it is there to verify and to inspect.
    ///
    /// # Errors
    /// `Failed`, also if a record turns out to be damaged, and `Closed`.
    pub async fn scan(&self, prefix: &[u8]) -> Result<Records, StoreError> {
        let prefix = prefix.to_vec();
        self.ask(|answer| Request::Scan { prefix, answer }).await
    }

    /// Resolves with the reason when a write has failed. The process should end then.
    pub async fn failed(&self) -> Arc<str> {
        let mut failure = self.shared.progress.failure.subscribe();
        let reason = failure
            .wait_for(Option::is_some)
            .await
            .expect("the sender lives in this store");
        reason.clone().expect("the condition asks for a reason")
    }

    /// The reason why the store writes nothing any more, if a write has failed.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.shared.progress.failure.borrow().clone()
    }

    /// Size of sled's files, in bytes: more than what they hold, since sled gives space back late.
    ///
    /// # Errors
    /// `Io`.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        let size = || {
            let blobs = blobs(&self.shared.sled_path)?;
            let files = blobs.iter().map(|path| Ok(path.metadata()?.len()));
            let db = self.shared.sled_path.join("db").metadata()?.len();
            Ok(db + files.sum::<std::io::Result<u64>>()?)
        };
        size().map_err(|source| StoreError::Io {
            path: self.shared.sled_path.clone(),
            source,
        })
    }

    /// Records that sled keeps as files of their own, which it never syncs. More than 0 says that the records are cut
    /// too large.
    ///
    /// # Errors
    /// `Io`.
    pub fn blobs(&self) -> Result<usize, StoreError> {
        let blobs = blobs(&self.shared.sled_path);
        Ok(blobs
            .map_err(|source| StoreError::Io {
                path: self.shared.sled_path.clone(),
                source,
            })?
            .len())
    }

    /// Writes a last pass, syncs it, and closes sled, also while clones exist: their calls fail from then on. When this
    /// returns the folder can be opened again.
    ///
    /// # Errors
    /// `Failed` if the last pass or an earlier one was not written; the store is closed all the same. `Closed` if it
    /// was.
    pub async fn close(&self) -> Result<(), StoreError> {
        let result = self.ask(Request::Close).await;
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread has answered as its last act; a panic in it has been told as an error.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        result
    }

    /// Closes a store whose contents make no state, for a reason that is noted, and sets it aside: a store opened anew is
    /// empty.
    ///
    /// # Errors
    /// `Io` if its folder cannot be renamed.
    pub async fn set_aside(&self, reason: String) -> Result<PathBuf, StoreError> {
        // What it could not write any more is not missed.
        let _ = self.close().await;
        let sled_path = self.shared.sled_path.clone();
        let moved = tokio::task::spawn_blocking(move || {
            let folder = sled_path.parent().unwrap_or(&sled_path);
            open::set_aside(folder, &sled_path, &reason).map_err(|source| StoreError::Io {
                path: sled_path.clone(),
                source,
            })
        });
        moved.await.map_err(|_| StoreError::Closed)?
    }

    /// Closes a store that is no version of the state and was never meant to be one, and removes what it holds.
    ///
    /// # Errors
    /// `Io` if its folder cannot be removed.
    pub async fn discard(&self) -> Result<(), StoreError> {
        // What it could not write any more is not missed.
        let _ = self.close().await;
        let sled_path = self.shared.sled_path.clone();
        let removed = tokio::task::spawn_blocking(move || {
            open::discard(&sled_path).map_err(|source| StoreError::Io {
                path: sled_path.clone(),
                source,
            })
        });
        removed.await.map_err(|_| StoreError::Closed)?
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.request(request(answer));
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    fn request(&self, request: Request) {
        // A thread that has ended drops the request, and with it the answer, which says `Closed`.
        let _ = self.shared.requests.send(request);
    }
}

/// The files below sled's `blobs/`.
fn blobs(sled_path: &Path) -> std::io::Result<Vec<PathBuf>> {
    std::fs::read_dir(sled_path.join("blobs"))?
        .map(|entry| Ok(entry?.path()))
        .collect()
}
