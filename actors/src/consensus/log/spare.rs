//! The next chunk, written full of zeros beside the log while the present one fills, so that no append waits for it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// How many zeros are written and synced at a time: the log's own syncs wait for no more than these.
const STEP_BYTES: usize = 256 << 10;

/// The spare, on its way or ready. Dropped, it waits until nothing is written to it any more.
#[derive(Default)]
pub(super) struct Spare {
    writer: Option<JoinHandle<Result<File, io::Error>>>,
    stop: Arc<AtomicBool>,
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            // What it wrote, or why it did not, matters to nobody now.
            let _ = writer.join();
        }
    }
}

/// Where the spare lies until it becomes a chunk. It holds nothing: a start removes it.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("spare")
}

impl Spare {
    /// Begins to write a spare of `bytes`, unless there is one.
    pub(super) fn prepare(&mut self, folder: &Path, bytes: u64) {
        if self.writer.is_none() {
            let (path, stop) = (path(folder), self.stop.clone());
            let thread = std::thread::Builder::new().name("log-spare".to_owned());
            // Without a thread the log does what it does without a spare: it writes its zeros itself.
            self.writer = thread.spawn(move || write(&path, bytes, &stop)).ok();
        }
    }

    /// The spare, if it is ready. One that could not be written is none: it holds nothing that anybody needs.
    pub(super) fn take(&mut self) -> Option<File> {
        let writer = self.writer.take_if(|writer| writer.is_finished())?;
        match writer.join() {
            Ok(Ok(file)) => Some(file),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the log goes on without a spare chunk");
                None
            }
            Err(_) => None,
        }
    }
}

fn write(path: &Path, bytes: u64, stop: &AtomicBool) -> Result<File, io::Error> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0; STEP_BYTES];
    let mut at = 0;
    while at < bytes {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("the log was closed"));
        }
        let step = (bytes - at).min(STEP_BYTES as u64);
        file.write_all_at(&zeros[..step as usize], at)?;
        file.sync_data()?;
        at += step;
    }
    file.sync_all()?;
    Ok(file)
}
