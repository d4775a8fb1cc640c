//! The data folder of a node: one process at a time, one node for ever.
//!
//! ```text
//! lock        held by flock while the process runs; text lines "node", "process", "started" of the holder
//! format      record `Format`: the version of all that is below
//! ballast     room for bad times; see `disk`
//! identity    record `Identity`: incarnation, and cluster, number and name once the node has them
//! notes/      record `Note` each: small things that must survive, by name
//! log/        the log of consensus
//! snapshot/   the state as of some position of the log, whole (see `consensus::snapshot`)
//! store/      the materialised state (sled)
//! damaged-…/  what could not be read (see `damaged`)
//! ```
//! Small files are replaced as a whole: written beside, synced, renamed, the folder synced. So a crash leaves the old
//! or the new one. None of them can be rebuilt: a damaged one stops the node.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use queenright_protocol::id::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::record::{self, HEADER_BYTES, Kind, RecordError};
use crate::disk;

#[cfg(test)]
mod tests;

/// The format of the data folder that this program writes.
///
/// Ledger: 1, the first; 2, rounds and records have sessions, queues, holds and the terms of tasks.
pub const FORMAT_VERSION: u32 = 2;

/// The largest note, in bytes.
pub const NOTE_BYTES_MAX: usize = 1 << 20;

/// The largest identity file's payload, in bytes: a name is a few dozen.
const IDENTITY_BYTES_MAX: usize = 4 << 10;

/// As much of a lock file as is read, in bytes: three short lines.
const HOLDER_BYTES_MAX: u64 = 4 << 10;

/// What must be free for a start, in bytes: the small files, the first records of a chunk of the log, and segments of the
/// store, half a MiB each.
const START_BYTES_MIN: u64 = 2 << 20;

/// Who a node is in its cluster. Given once, kept for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// Its number there.
    pub number: NodeId,
    /// Its name there.
    pub name: String,
}

/// What the lock file says about the process that holds it. A process that has just taken the lock may not have written
/// it yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The name of its node.
    pub node: Option<String>,
    /// Its process id.
    pub process: Option<u32>,
    /// When it took the lock, in seconds since 1970.
    pub started: Option<u64>,
}

/// An open data folder. Closing it is dropping it.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// A lock and not an owner, because the identity is set once, by whatever task founds or joins, and read by many.
    identity: Mutex<IdentityFile>,
    /// Holds the lock as long as it is open.
    _lock: File,
}

/// The payload of the file `identity`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct IdentityFile {
    node: String,
    incarnation: u64,
    identity: Option<Identity>,
}

impl DataFolder {
    /// Opens the folder for the node of this name, creates it (mode 0700) if it is not there, locks it and counts its
    /// incarnation up. Blocks for a few file writes.
    ///
    /// # Errors
    /// `NotAFolder`, `NotWritable`, `InUse`, `DiskFull`, `NewerFormat`, `OlderFormat`, `OtherNode`, `Damaged`, `Io`: see there.
    /// The incarnation counts only if this succeeds.
    pub fn open(path: &Path, node_name: &str) -> Result<DataFolder, StoreError> {
        create_folder(path)?;
        let lock = take_lock(path, node_name)?;
        check_room(path)?;
        check_format(path)?;
        for sub in ["notes", "log", "snapshot", "store"] {
            create_folder(&path.join(sub))?;
        }
        let mut identity = read_identity(path)?.unwrap_or_default();
        if identity.incarnation == 0 {
            identity.node = node_name.to_owned();
        } else if identity.node != node_name {
            let (folder, found, asked) = (path.to_owned(), identity.node, node_name.to_owned());
            return Err(StoreError::OtherNode { folder, found, asked });
        }
        identity.incarnation += 1;
        write_identity(path, &identity)?;
        Ok(DataFolder {
            path: path.to_owned(),
            identity: Mutex::new(identity),
            _lock: lock,
        })
    }

    /// Locks the folder of a node that does not run, for as long as the file is open, and changes nothing else in it.
    /// Blocks for a file write.
    ///
    /// # Errors
    /// `InUse`, `NotWritable`, `Io`.
    pub fn hold(path: &Path, node_name: &str) -> Result<File, StoreError> {
        take_lock(path, node_name)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the consensus log.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    /// The folder of the snapshots.
    pub fn snapshot_path(&self) -> PathBuf {
        self.path.join("snapshot")
    }

    /// The folder of the materialised state.
    pub fn store_path(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Who the node is, if it has founded or joined a cluster.
    pub fn identity(&self) -> Option<Identity> {
        self.lock_identity().identity.clone()
    }

    /// How often the folder was opened, this time included: at least 1, never the same twice. Blocks for nothing.
    pub fn incarnation(&self) -> u64 {
        self.lock_identity().incarnation
    }

    /// Makes the node what it will always be. On disk when this returns. Blocks for two syncs.
    ///
    /// # Errors
    /// `OtherNode` if the name is not the one of the folder; `Io` or `TooLarge` if it could not be written, and then it
    /// may be on disk or not.
    pub fn set_identity(&self, identity: Identity) -> Result<(), StoreError> {
        let mut current = self.lock_identity();
        if identity.name != current.node {
            let (folder, found, asked) = (self.path.clone(), current.node.clone(), identity.name);
            return Err(StoreError::OtherNode { folder, found, asked });
        }
        let next = IdentityFile {
            identity: Some(identity),
            ..current.clone()
        };
        write_identity(&self.path, &next)?;
        *current = next;
        Ok(())
    }

    /// The bytes of a note, if it was ever set. Blocks for reading a small file.
    ///
    /// # Errors
    /// `NoteName`, `Damaged`, `Io`.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        read_record(&self.note_path(name)?, Kind::Note, NOTE_BYTES_MAX)
    }

    /// Sets a note to at most [`NOTE_BYTES_MAX`] bytes. On disk when this returns. Blocks for two syncs. Two calls for
    /// the same name at the same time leave one of the two.
    ///
    /// # Errors
    /// `NoteName`, `TooLarge`, `Io`; after `Io` the old or the new one is on disk.
    pub fn set_note(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.note_path(name)?;
        // Serialises writers, who share the name of the file beside.
        let _writing = self.lock_identity();
        write_record(&path, Kind::Note, bytes, NOTE_BYTES_MAX)
    }

    fn note_path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(StoreError::NoteName { name: name.to_owned() });
        }
        Ok(self.path.join("notes").join(name))
    }

    fn lock_identity(&self) -> MutexGuard<'_, IdentityFile> {
        // The file in memory is replaced as a whole, so a panic elsewhere cannot have left half of it.
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder {
    fn of_this_process(node: &str) -> Holder {
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Holder {
            node: Some(node.to_owned()),
            process: Some(std::process::id()),
            started: Some(started),
        }
    }

    fn to_text(&self) -> String {
        let Holder { node, process, started } = self;
        let line = |name: &str, value: Option<String>| value.map_or(String::new(), |value| format!("{name} {value}\n"));
        line("node", node.clone())
            + &line("process", process.map(|process| process.to_string()))
            + &line("started", started.map(|started| started.to_string()))
    }

    fn from_text(text: &str) -> Holder {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Holder {
            node: field("node").map(str::to_owned),
            process: field("process").and_then(|process| process.parse().ok()),
            started: field("started").and_then(|started| started.parse().ok()),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.node, self.process) {
            (Some(node), Some(process)) => write!(f, "node {node:?}, process {process}"),
            (None, Some(process)) => write!(f, "process {process}"),
            _ => write!(f, "another process"),
        }
    }
}

/// Replaces the file as a whole and syncs it and its folder.
pub(super) fn write_record(path: &Path, kind: Kind, payload: &[u8], limit: usize) -> Result<(), StoreError> {
    let too_large = StoreError::TooLarge {
        what: "record",
        bytes: payload.len(),
        limit,
    };
    let record = record::encode(kind, &[], payload)
        .filter(|_| payload.len() <= limit)
        .ok_or(too_large)?;
    let beside = path.with_extension("new");
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&record)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        sync_folder(folder)
    };
    write().map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })
}

/// The payload of the file, or `None` if there is no file.
pub(super) fn read_record(path: &Path, kind: Kind, limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
    let io_error = |source| StoreError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(error)),
    };
    // One byte more than can be right, so that a longer file is refused by its length.
    let mut bytes = Vec::new();
    file.take((HEADER_BYTES + limit + 1) as u64)
        .read_to_end(&mut bytes)
        .map_err(io_error)?;
    match record::decode(kind, &[], &bytes, limit) {
        Ok(payload) => Ok(Some(payload.to_vec())),
        Err(reason) => Err(StoreError::Damaged {
            file: path.to_owned(),
            reason,
        }),
    }
}

/// Makes names that were created, renamed or removed in the folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn create_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    // The nearest thing that exists decides: std would say no more than "not a directory".
    let existing = path.ancestors().find(|above| above.symlink_metadata().is_ok());
    if let Some(file) = existing.filter(|above| !above.is_dir()) {
        return Err(StoreError::NotAFolder {
            folder: path.to_owned(),
            file: file.to_owned(),
        });
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| refused(path, path, source))?;
    // The names of all folders that were just created.
    let top = existing.unwrap_or(Path::new("."));
    for created in path.ancestors().take_while(|above| *above != top) {
        let above = created
            .parent()
            .filter(|above| !above.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        sync_folder(above).map_err(|source| StoreError::Io {
            path: above.to_owned(),
            source,
        })?;
    }
    Ok(())
}

fn take_lock(folder: &Path, node_name: &str) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let io_error = |source| StoreError::Io {
        path: path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| refused(folder, &path, source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // What cannot be read stays unnamed; the lock is what counts.
            let _ = file.take(HOLDER_BYTES_MAX).read_to_string(&mut text);
            return Err(StoreError::InUse {
                folder: folder.to_owned(),
                holder: Holder::from_text(&text),
            });
        }
        Err(TryLockError::Error(source)) => return Err(io_error(source)),
    }
    let text = Holder::of_this_process(node_name).to_text();
    // First the text, then the cut: whoever reads in between finds a name.
    file.write_all(text.as_bytes())
        .and_then(|()| file.set_len(text.len() as u64))
        .map_err(io_error)?;
    Ok(file)
}

/// A full disk is told as such, instead of by whatever is written first; the ballast is there for this.
fn check_room(folder: &Path) -> Result<(), StoreError> {
    let free = || {
        disk::free_bytes(folder).map_err(|source| StoreError::Io {
            path: folder.to_owned(),
            source,
        })
    };
    if free()? >= START_BYTES_MIN {
        return Ok(());
    }
    disk::release_ballast(folder);
    match free()? {
        free_bytes if free_bytes < START_BYTES_MIN => Err(StoreError::DiskFull {
            folder: folder.to_owned(),
            free_bytes,
            needed_bytes: START_BYTES_MIN,
        }),
        _ => Ok(()),
    }
}

fn check_format(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join("format");
    let version = FORMAT_VERSION.to_be_bytes();
    let Some(payload) = read_record(&path, Kind::Format, version.len())? else {
        return write_record(&path, Kind::Format, &version, version.len());
    };
    let damaged = |reason| StoreError::Damaged {
        file: path.clone(),
        reason,
    };
    match record::format_version(&payload).map_err(damaged)? {
        FORMAT_VERSION => Ok(()),
        found if found > FORMAT_VERSION => Err(StoreError::NewerFormat {
            path: folder.to_owned(),
            found,
            known: FORMAT_VERSION,
        }),
        0 => Err(damaged(RecordError::Payload {
            reason: "format 0 never existed".to_owned(),
        })),
        found => Err(StoreError::OlderFormat {
            path: folder.to_owned(),
            found,
            known: FORMAT_VERSION,
        }),
    }
}

fn read_identity(folder: &Path) -> Result<Option<IdentityFile>, StoreError> {
    let path = folder.join("identity");
    let Some(payload) = read_record(&path, Kind::Identity, IDENTITY_BYTES_MAX)? else {
        return Ok(None);
    };
    match record::from_bytes(&payload, IDENTITY_BYTES_MAX) {
        Ok(identity) => Ok(Some(identity)),
        Err(reason) => Err(StoreError::Damaged { file: path, reason }),
    }
}

fn write_identity(folder: &Path, identity: &IdentityFile) -> Result<(), StoreError> {
    let bytes = record::to_bytes(identity, IDENTITY_BYTES_MAX).map_err(|_| StoreError::TooLarge {
        what: "node name",
        bytes: identity.node.len(),
        limit: IDENTITY_BYTES_MAX / 2 - 64,
    })?;
    write_record(&folder.join("identity"), Kind::Identity, &bytes, IDENTITY_BYTES_MAX)
}

fn refused(folder: &Path, path: &Path, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::NotWritable {
            folder: folder.to_owned(),
            source,
        },
        _ => StoreError::Io {
            path: path.to_owned(),
            source,
        },
    }
}
