//! The file that takes up room until it is needed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Its name in the data folder.
const NAME: &str = "ballast";

/// The volume of a folder, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Volume {
    pub(super) total_bytes: u64,
    /// What this user may still write.
    pub(super) free_bytes: u64,
}

/// The volume on which the folder lies.
pub(super) fn volume(folder: &Path) -> io::Result<Volume> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(Volume {
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

/// The ballast of a data folder.
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// The ballast that an earlier start left, if it left one.
    pub(super) fn of(folder: &Path) -> Ballast {
        let path = folder.join(NAME);
        let bytes = path.metadata().map_or(0, |file| file.len());
        Ballast { path, bytes }
    }

    /// Its size; 0 when there is none.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Removes it. A failure is told in the log, and tried again at the next look.
    pub(super) fn release(&mut self) {
        match std::fs::remove_file(&self.path) {
            Ok(()) => tracing::warn!(bytes = self.bytes, "the ballast was let go: the disk is nearly full"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(file = %self.path.display(), %error, "the ballast cannot be removed");
                return;
            }
        }
        self.bytes = 0;
    }

    /// Makes it, with blocks that are really its own. Without them there is no ballast.
    pub(super) fn make(&mut self, bytes: u64) {
        match self.write(bytes) {
            Ok(()) => self.bytes = bytes,
            Err(error) => {
                tracing::warn!(file = %self.path.display(), bytes, %error, "the ballast cannot be made");
                // Half of one is none: what is left of it is needed elsewhere.
                let _ = std::fs::remove_file(&self.path);
                self.bytes = 0;
            }
        }
    }

    fn write(&self, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        match allocate(&file, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => fill(file, bytes),
            allocated => Ok(allocated?),
        }
    }
}

/// Removes the ballast of a folder whose node is about to start without room for it.
pub(crate) fn release(folder: &Path) {
    Ballast::of(folder).release();
}

/// What this user may still write to the folder's volume, in bytes.
pub(crate) fn free_bytes(folder: &Path) -> io::Result<u64> {
    Ok(volume(folder)?.free_bytes)
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> Result<(), Errno> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: u64) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}

/// Where nothing can be allocated without writing it: bytes that no file system compresses away.
fn fill(mut file: File, bytes: u64) -> io::Result<()> {
    let mut piece = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        rand::fill(&mut piece[..]);
        let length = left.min(piece.len() as u64);
        file.write_all(&piece[..length as usize])?;
        left -= length;
    }
    file.sync_all()
}
