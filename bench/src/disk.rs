//! What the disk under a folder is and what a sync costs there.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::BenchError;

/// Syncs that took no longer are not kept by a [`SyncWatch`].
const SLOW_SYNC: Duration = Duration::from_millis(1);
/// Between two syncs of one: often enough to meet whatever keeps others waiting.
const SYNC_PAUSE: Duration = Duration::from_millis(5);

/// The file system that a folder lies on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// Its name, such as `ext4`; `unknown` or `unknown 0x…` where it cannot be told.
    pub name: String,
    /// Whether it keeps its files in memory, so that a sync reaches no disk.
    pub is_memory: bool,
}

/// The file system of the existing folder `dir`.
pub fn file_system(dir: &Path) -> FileSystem {
    let name = type_name(dir).unwrap_or_else(|| "unknown".to_owned());
    let is_memory = matches!(name.as_str(), "tmpfs" | "ramfs");
    FileSystem { name, is_memory }
}

/// By the numbers of `linux/magic.h` and of file systems outside the kernel.
#[cfg(target_os = "linux")]
fn type_name(dir: &Path) -> Option<String> {
    // The width and sign of the field differ by architecture; the numbers have 32 bits.
    let magic = rustix::fs::statfs(dir).ok()?.f_type as u32;
    let name = match magic {
        0x0000_ef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlay",
        0x2fc1_2fc1 => "zfs",
        0xca45_1a4e => "bcachefs",
        0xf2f5_2010 => "f2fs",
        0x0000_6969 => "nfs",
        0xff53_4d42 | 0xfe53_4d42 => "cifs",
        0x0102_1997 => "9p",
        0x6573_5546 => "fuse",
        0x0000_4d44 => "vfat",
        0x2011_bab0 => "exfat",
        0x7366_746e => "ntfs",
        _ => return Some(format!("unknown {magic:#x}")),
    };
    Some(name.to_owned())
}

#[cfg(target_vendor = "apple")]
fn type_name(dir: &Path) -> Option<String> {
    let name: Vec<u8> = rustix::fs::statfs(dir)
        .ok()?
        .f_fstypename
        .iter()
        .map(|&c| c as u8)
        .take_while(|&byte| byte != 0)
        .collect();
    String::from_utf8(name).ok()
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn type_name(_: &Path) -> Option<String> {
    None
}

/// What [`fdatasync_probe`] measured.
#[derive(Clone, Debug)]
pub struct FdatasyncProbe {
    /// Nanoseconds of one write and its sync.
    pub nanos: Histogram<u64>,
    /// From the first write to the last sync.
    pub elapsed: Duration,
}

impl FdatasyncProbe {
    /// Syncs a second, one after the other.
    pub fn rate(&self) -> f64 {
        self.nanos.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Writes `bytes` bytes at growing offsets of a new file in `dir` and syncs its data after each write, `syncs` times
/// after a tenth as many (64 at most) that are not counted. The file is removed. On macOS a sync is `F_FULLFSYNC`,
/// as everywhere in the product.
///
/// # Errors
/// [`BenchError::Disk`] if the folder is missing, not writable or full.
pub fn fdatasync_probe(dir: &Path, bytes: usize, syncs: u32) -> Result<FdatasyncProbe, BenchError> {
    let probe = ProbeFile::create(dir)?;
    let block = vec![0xa5; bytes];
    let mut offset = 0;
    let mut sync = || {
        probe
            .file
            .write_all_at(&block, offset)
            .map_err(|source| probe.error("write", source))?;
        offset += bytes as u64;
        probe.file.sync_data().map_err(|source| probe.error("sync", source))
    };
    for _ in 0..(syncs / 10).min(64) {
        sync()?;
    }
    let mut nanos = Histogram::new(3).expect("3 significant digits are within the bounds of a histogram");
    let start = Instant::now();
    for _ in 0..syncs {
        let before = Instant::now();
        sync()?;
        nanos += before.elapsed().as_nanos() as u64;
    }
    Ok(FdatasyncProbe {
        nanos,
        elapsed: start.elapsed(),
    })
}

/// When something began, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// When it began.
    pub started: Instant,
    /// How long it took.
    pub duration: Duration,
}

impl Took {
    /// How much longer it took than the longest of those that went on at the same time.
    pub fn beyond(&self, others: &[Took]) -> Duration {
        let end = self.started + self.duration;
        let at_once = others
            .iter()
            .filter(|other| other.started < end && other.started + other.duration > self.started);
        let longest = at_once.map(|other| other.duration).max();
        self.duration.saturating_sub(longest.unwrap_or_default())
    }
}

/// Writes 4 KiB to a disk and syncs them, again and again with pauses, beside what it is to be compared with.
pub struct SyncWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Took>, BenchError>>,
}

impl SyncWatch {
    /// Begins. The same bytes of a new file in `dir` are written each time, as a log writes where zeros are.
    ///
    /// # Errors
    /// [`BenchError::Disk`] if the folder is missing, not writable or full.
    pub fn start(dir: &Path) -> Result<SyncWatch, BenchError> {
        let probe = ProbeFile::create(dir)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let block = [0xa5; 4096];
            let mut slow = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let started = Instant::now();
                let written = probe.file.write_all_at(&block, 0);
                written.map_err(|source| probe.error("write", source))?;
                probe.file.sync_data().map_err(|source| probe.error("sync", source))?;
                let duration = started.elapsed();
                if duration > SLOW_SYNC {
                    slow.push(Took { started, duration });
                }
                std::thread::sleep(SYNC_PAUSE);
            }
            Ok(slow)
        });
        Ok(SyncWatch { stop, thread })
    }

    /// Ends. The syncs that took longer than a millisecond.
    ///
    /// # Errors
    /// [`BenchError::Disk`] if one failed.
    pub fn finish(self) -> Result<Vec<Took>, BenchError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

/// A file that goes when the probe ends, however it ends.
struct ProbeFile {
    path: PathBuf,
    file: File,
}

impl ProbeFile {
    fn create(dir: &Path) -> Result<Self, BenchError> {
        let path = dir.join(format!("fdatasync-probe-{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        match file {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(BenchError::Disk {
                what: "create",
                path,
                source,
            }),
        }
    }

    fn error(&self, what: &'static str, source: std::io::Error) -> BenchError {
        BenchError::Disk {
            what,
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for ProbeFile {
    fn drop(&mut self) {
        // Nothing is left to do if it fails: the folder is the caller's and the probe has its numbers.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{SyncWatch, Took, fdatasync_probe, file_system};
    use crate::BenchError;

    #[test]
    fn a_probe_counts_every_sync_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let probe = fdatasync_probe(dir.path(), 4096, 20).unwrap();
        assert_eq!(probe.nanos.len(), 20);
        assert!(probe.rate() > 0.0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_goes_on_at_the_same_time_is_taken_off_and_nothing_else() {
        let now = Instant::now();
        let took = |start, length| Took {
            started: now + Duration::from_millis(start),
            duration: Duration::from_millis(length),
        };
        let syncs = [took(0, 10), took(50, 30), took(90, 2)];
        let beyond = |start, length| took(start, length).beyond(&syncs).as_millis();
        assert_eq!(beyond(20, 20), 20);
        assert_eq!(beyond(5, 20), 10);
        assert_eq!(beyond(60, 40), 10, "the longest of two");
        assert_eq!(beyond(55, 5), 0);
    }

    #[test]
    fn a_watch_of_syncs_ends_when_told_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let watch = SyncWatch::start(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        watch.finish().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(SyncWatch::start(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let error = fdatasync_probe(&missing, 4096, 1).unwrap_err();
        assert!(matches!(error, BenchError::Disk { what: "create", .. }));
        assert!(error.to_string().contains("missing"));
        assert_eq!(file_system(&missing).name, "unknown");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn shared_memory_is_a_file_system_in_memory() {
        let shm = std::path::Path::new("/dev/shm");
        if shm.exists() {
            assert!(file_system(shm).is_memory);
        }
    }
}
