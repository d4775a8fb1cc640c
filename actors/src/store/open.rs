//! Opening sled with its guards: nothing that is in its folder can stop a node.
//!
//! ```text
//! store/sled/     sled 0.34.7
//! store/synced    record `Synced`: the number of the last pass that was fsynced
//! ```
//! What sled's folder was when it could not be read stands in a folder of damage (see `damaged`).
//!
//! Keys in sled begin with a space (see `chunk` for what follows): 1 for the meta bytes, behind the number of the pass
//! as u64 (big-endian), and 2 for the state's records. The single byte 0 is the key of the format version.
//!
//! sled takes damage anywhere in its log for the end of the log: it opens without an error at an older version, down to
//! an empty one. That is what `synced` is for: a store older than what was once fsynced has lost something.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::chunk::{JoinError, Joiner, Splitter};
use super::error::StoreError;
use super::folder::{FORMAT_VERSION, read_record, sync_folder};
use super::record::{self, Kind, RecordError};
use super::{Contents, StoreOptions, damaged};

pub(super) const META_SPACE: u8 = 1;
pub(super) const STATE_SPACE: u8 = 2;

const FORMAT_KEY: [u8; 1] = [0];

/// How often sled's own thread moves records out of nearly empty parts of its file, in milliseconds. Without that
/// thread (its other work, flushing, is done by the passes) the file would only grow.
const CLEAN_EVERY_MS: u64 = 1_000;

/// A store that is open and was read completely.
pub(super) struct Opened {
    pub(super) db: sled::Db,
    pub(super) splitter: Splitter,
    /// Of the pass that wrote the version, counted over the life of the store; 0 before the first one.
    pub(super) pass_number: u64,
    pub(super) contents: Contents,
}

/// Why sled's folder is not a store.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    /// Not a matter of its contents: setting it aside would not help.
    #[error(transparent)]
    Refused(#[from] StoreError),
    #[error("sled: {0}")]
    Sled(sled::Error),
    #[error("{0}")]
    Join(#[from] JoinError),
    #[error("{0}: {1}")]
    Record(&'static str, RecordError),
    #[error("{0}")]
    Shape(&'static str),
    #[error("at pass {found}, and pass {synced} was synced")]
    RolledBack { found: u64, synced: u64 },
    #[error("panic: {0}")]
    Panic(String),
}

/// Opens and reads the store in `folder`. Blocks for as long as reading takes: some 70 MB a second (records of 256 B).
pub(super) fn open(folder: &Path, options: &StoreOptions) -> Result<Opened, StoreError> {
    let sled_path = folder.join("sled");
    let reason = match try_open(&sled_path, options) {
        Ok(opened) => return Ok(opened),
        Err(Unusable::Refused(error)) => return Err(error),
        Err(reason) => reason,
    };
    let aside = set_aside(folder, &sled_path, &reason.to_string()).map_err(io_error(folder))?;
    tracing::warn!(
        aside = %aside.display(), %reason,
        "the store cannot be read and was set aside; the state comes back from the snapshot and the log"
    );
    match try_open(&sled_path, options) {
        Ok(mut opened) => {
            opened.contents.set_aside = Some(aside);
            Ok(opened)
        }
        Err(Unusable::Refused(error)) => Err(error),
        Err(other) => Err(io_error(&sled_path)(io::Error::other(other.to_string()))),
    }
}

fn try_open(sled_path: &Path, options: &StoreOptions) -> Result<Opened, Unusable> {
    prepare(sled_path).map_err(io_error(sled_path))?;
    check_unlocked(sled_path)?;
    // sled panics on some damage. Its handles are dropped with the closure, so nothing half-open is used again.
    let opened = match catch_unwind(AssertUnwindSafe(|| read_all(sled_path, options))) {
        Ok(result) => result?,
        Err(panic) => return Err(Unusable::Panic(panic_message(panic.as_ref()))),
    };
    match read_synced(sled_path)? {
        synced if synced > opened.pass_number => Err(Unusable::RolledBack {
            found: opened.pass_number,
            synced,
        }),
        _ => Ok(opened),
    }
}

/// Where the number of the last fsynced pass stands.
pub(super) fn synced_path(sled_path: &Path) -> PathBuf {
    sled_path.with_file_name("synced")
}

fn read_synced(sled_path: &Path) -> Result<u64, Unusable> {
    let payload = match read_record(&synced_path(sled_path), Kind::Synced, 8) {
        Ok(None) => return Ok(0),
        Ok(Some(payload)) => payload,
        // It stands for nothing but the store, and goes with it.
        Err(StoreError::Damaged { reason, .. }) => return Err(Unusable::Record("synced", reason)),
        Err(other) => return Err(other.into()),
    };
    let number = payload
        .try_into()
        .map_err(|_| Unusable::Shape("the number of the last synced pass has not 8 bytes"))?;
    Ok(u64::from_be_bytes(number))
}

/// Creates the folder, and removes snapshots of sled's page table that a crash left half-written: sled would take the
/// latest one, whole or not. Its complete ones, and the log that they come from, stay.
fn prepare(sled_path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(sled_path)?;
    for entry in std::fs::read_dir(sled_path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// sled reports its lock as an error without a kind, which would look like damage. Within this process another handle
/// may have it: the data folder's lock only keeps other processes out.
fn check_unlocked(sled_path: &Path) -> Result<(), StoreError> {
    let path = sled_path.join("db");
    match std::fs::File::open(&path).map(|file| file.try_lock()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) | Ok(Err(std::fs::TryLockError::Error(error))) => Err(io_error(&path)(error)),
        Ok(Err(std::fs::TryLockError::WouldBlock)) => {
            let holder = super::Holder {
                process: Some(std::process::id()),
                ..Default::default()
            };
            Err(StoreError::InUse {
                folder: sled_path.to_owned(),
                holder,
            })
        }
        Ok(Ok(())) => Ok(()),
    }
}

fn read_all(sled_path: &Path, options: &StoreOptions) -> Result<Opened, Unusable> {
    let sled_error = |error| match error {
        sled::Error::Io(source) if !says_damage(&source) => Unusable::Refused(io_error(sled_path)(source)),
        error => Unusable::Sled(error),
    };
    let config = sled::Config::new()
        .path(sled_path)
        .cache_capacity(options.cache_bytes)
        .flush_every_ms(Some(CLEAN_EVERY_MS));
    let db = config.open().map_err(sled_error)?;
    let mut joiner = Joiner::default();
    let mut format = None;
    for record in db.iter() {
        let (key, value) = record.map_err(sled_error)?;
        if key == FORMAT_KEY {
            format = Some(value);
        } else {
            joiner.add(&key, &value)?;
        }
    }
    let (values, splitter) = joiner.finish()?;
    check_format(&db, format.as_deref(), values.is_empty(), sled_path)?;
    let (pass_number, contents) = contents(values)?;
    Ok(Opened {
        db,
        splitter,
        pass_number,
        contents,
    })
}

/// An empty store gets its format, any other must have it.
fn check_format(db: &sled::Db, format: Option<&[u8]>, empty: bool, sled_path: &Path) -> Result<(), Unusable> {
    let Some(bytes) = format else {
        if !empty {
            return Err(Unusable::Shape("records without a format version"));
        }
        let version = FORMAT_VERSION.to_be_bytes();
        let record = record::encode(Kind::Format, &FORMAT_KEY, &version).expect("four bytes have a length that fits");
        db.insert(FORMAT_KEY, record)
            .and_then(|_| db.flush())
            .map_err(Unusable::Sled)?;
        return Ok(());
    };
    let version = record::decode(Kind::Format, &FORMAT_KEY, bytes, 4).and_then(record::format_version);
    match version.map_err(|reason| Unusable::Record("format", reason))? {
        FORMAT_VERSION => Ok(()),
        found if found > FORMAT_VERSION => Err(StoreError::NewerFormat {
            path: sled_path.to_owned(),
            found,
            known: FORMAT_VERSION,
        }
        .into()),
        _ => Err(Unusable::Shape("a format version that never existed")),
    }
}

fn contents(values: BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(u64, Contents), Unusable> {
    let mut contents = Contents::default();
    let mut pass_number = 0;
    for (mut key, value) in values {
        match key.remove(0) {
            STATE_SPACE => contents.records.push((key, value)),
            META_SPACE if key.is_empty() => {
                let (number, meta) = value
                    .split_first_chunk()
                    .ok_or(Unusable::Shape("meta bytes without a number"))?;
                pass_number = u64::from_be_bytes(*number);
                contents.meta = Some(meta.to_vec());
            }
            _ => return Err(Unusable::Shape("a key that no store has")),
        }
    }
    if contents.meta.is_none() && !contents.records.is_empty() {
        return Err(Unusable::Shape("records without the meta bytes of their version"));
    }
    Ok((pass_number, contents))
}

/// Moves sled's folder, which lies in the folder of the store, to the damaged.
pub(super) fn set_aside(folder: &Path, sled_path: &Path, reason: &str) -> io::Result<PathBuf> {
    let data = folder.parent().unwrap_or(folder);
    let aside = damaged::set_aside(data, sled_path, reason)?;
    // After the store that it speaks of. A crash in between sets an empty store aside as well, no more.
    forget_synced(sled_path)?;
    sync_folder(folder)?;
    Ok(aside)
}

/// Removes sled's folder. Its number first: a crash in between leaves a store that is still no version.
pub(super) fn discard(sled_path: &Path) -> io::Result<()> {
    forget_synced(sled_path)?;
    std::fs::remove_dir_all(sled_path)
}

fn forget_synced(sled_path: &Path) -> io::Result<()> {
    match std::fs::remove_file(synced_path(sled_path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether an I/O error may come from what is in the files. The others come from where they are.
fn says_damage(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::OutOfMemory
    )
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Io {
        path: path.to_owned(),
        source,
    }
}

/// What a panic said.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
        .to_owned()
}
