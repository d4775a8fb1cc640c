//! Opening a log that may have been left by a crash, and telling a torn tail from damage.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::LogOptions;
use super::record::{ALIGNMENT, HEAD_BYTES, Head, Kind, write};
use super::spare::{self, Spare};
use super::state::State;
use super::writer::{Tail, chunk_path, sync_folder};

/// What a disk writes as a whole, in bytes.
const SECTOR_BYTES: usize = 512;

/// What is to be done about a log that is damaged.
const REPLACE: &str = "this node may have voted or acknowledged what is lost, so it must not go on: \
    it can come back as a new one (queenright node replace)";

/// Why the log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A record ahead of the tail cannot be read. The node may have voted or acknowledged what is lost, so it must not
    /// go on under its number: it comes back as a new node. Nothing was changed.
    #[error("{}: damaged at byte {offset}: {reason}; {REPLACE}", file.display())]
    Damaged {
        /// The chunk with the damage.
        file: PathBuf,
        /// Where in the file the first unreadable record begins, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Every record can be read, but together they make no log (an entry that does not follow its predecessor, the
    /// oldest chunk gone). To be treated like `Damaged`. Nothing was changed.
    #[error("{}: the log contradicts itself: {reason}; {REPLACE}", folder.display())]
    Inconsistent {
        /// The log's folder.
        folder: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Another log store has the folder open.
    #[error("the log {} is open elsewhere", folder.display())]
    InUse {
        /// The log's folder.
        folder: PathBuf,
    },
    /// The operating system refused: no such folder, no permission, disk full, an I/O error.
    #[error("the log {}", folder.display())]
    Io {
        /// The log's folder.
        folder: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// A log that was opened.
pub(super) struct Recovered {
    pub(super) state: State,
    pub(super) tail: Tail,
    /// Where each chunk begins in the log.
    pub(super) chunks: Vec<u64>,
    /// Held as long as the log is open.
    pub(super) lock: File,
}

/// Opens the log in `folder`, cuts a torn tail, and syncs what is there: after `kill -9` a record may be readable and
/// still not be on disk, and from now on openraft counts it as stored.
pub(super) fn open(folder: &Path, options: &LogOptions) -> Result<Recovered, LogError> {
    let io_error = |source| LogError::Io {
        folder: folder.to_owned(),
        source,
    };
    let lock = lock(folder)?;
    let chunks = chunks(folder)?;
    let mut reader = Reader {
        folder,
        state: State::default(),
        end: 0,
    };
    let mut used = 0;
    for (place, chunk) in chunks.iter().enumerate() {
        used = reader.chunk(*chunk, place == 0, place + 1 == chunks.len())?;
    }
    reader.state.check_whole().map_err(|misfit| LogError::Inconsistent {
        folder: folder.to_owned(),
        reason: misfit.to_string(),
    })?;
    let state = reader.state;
    let tail = tail(folder, options, chunks.last().copied().unwrap_or(0), used, &state).map_err(io_error)?;
    let chunks = if chunks.is_empty() { vec![0] } else { chunks };
    Ok(Recovered {
        state,
        tail,
        chunks,
        lock,
    })
}

fn lock(folder: &Path) -> Result<File, LogError> {
    let io_error = |source| LogError::Io {
        folder: folder.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false);
    let lock = options.open(folder.join("lock")).map_err(io_error)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LogError::InUse {
            folder: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io_error(source)),
    }
}

/// Where the chunks in the folder begin, in order.
fn chunks(folder: &Path) -> Result<Vec<u64>, LogError> {
    let io_error = |source| LogError::Io {
        folder: folder.to_owned(),
        source,
    };
    let mut chunks = Vec::new();
    for file in std::fs::read_dir(folder).map_err(io_error)? {
        let path = file.map_err(io_error)?.path();
        if path.extension().is_none_or(|end| end != "wal") {
            continue;
        }
        let begins = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let Some(begins) = begins.filter(|begins| chunk_path(folder, *begins) == path) else {
            return Err(LogError::Inconsistent {
                folder: folder.to_owned(),
                reason: format!("{} is no name of a chunk", path.display()),
            });
        };
        chunks.push(begins);
    }
    chunks.sort_unstable();
    Ok(chunks)
}

/// The end of the log, ready to be written behind.
fn tail(folder: &Path, options: &LogOptions, chunk: u64, used: u64, state: &State) -> Result<Tail, io::Error> {
    match std::fs::remove_file(spare::path(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let path = chunk_path(folder, chunk);
    let chunk_bytes = options.chunk_bytes as u64;
    let mut tail = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => Tail {
            folder: folder.to_owned(),
            file,
            chunk,
            used,
            zeroed: used,
            chunk_bytes,
            spare: Spare::default(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Tail::create(folder, chunk, chunk_bytes)?,
        Err(error) => return Err(error),
    };
    // Whatever stands behind the last record was never acknowledged, and must not be taken for a record later.
    tail.file.set_len(used)?;
    if used == 0 {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Start, chunk, chunk, &[&state.to_bytes()]);
        let piece = super::writer::Piece { chunk, at: 0, bytes };
        tail.write(&[piece])?;
    }
    tail.file.sync_all()?;
    sync_folder(folder)?;
    Ok(tail)
}

/// Reads the chunks in order.
struct Reader<'a> {
    folder: &'a Path,
    state: State,
    /// Where the next chunk should begin.
    end: u64,
}

impl Reader<'_> {
    /// Reads a chunk. Returns up to where it holds records.
    fn chunk(&mut self, chunk: u64, first: bool, last: bool) -> Result<u64, LogError> {
        let path = chunk_path(self.folder, chunk);
        let damaged = |offset: usize, reason: String| LogError::Damaged {
            file: path.clone(),
            offset: offset as u64,
            reason,
        };
        if !first && chunk != self.end {
            let missing = i128::from(chunk) - i128::from(self.end);
            return Err(damaged(0, format!("{missing} B are missing in front of this file")));
        }
        let bytes = std::fs::read(&path).map_err(|source| LogError::Io {
            folder: self.folder.to_owned(),
            source,
        })?;
        let mut at = 0;
        while at < bytes.len() {
            let Some(head) = readable(&bytes, chunk, at) else {
                if is_end(&bytes, chunk, at, last) && (at > 0 || !first || chunk == 0) {
                    break;
                }
                return Err(damaged(at, "a record that cannot be read".to_owned()));
            };
            let body = &bytes[at + HEAD_BYTES..at + HEAD_BYTES + head.length];
            if (at == 0) != (head.kind == Kind::Start) {
                return Err(damaged(at, format!("a record of the kind {:?}", head.kind)));
            }
            if first && at == 0 {
                self.state = State::from_bytes(body)
                    .ok_or_else(|| damaged(at, "a beginning that does not decode".to_owned()))?;
            }
            self.state
                .replay(chunk, &head, body)
                .map_err(|misfit| damaged(at, misfit.to_string()))?;
            at += HEAD_BYTES + head.padded();
        }
        if first && at == 0 && chunk != 0 {
            return Err(damaged(0, "it is empty".to_owned()));
        }
        self.end = chunk + at as u64;
        Ok(at as u64)
    }
}

/// The head of the record at `at`, if the whole record is what was written there.
fn readable(bytes: &[u8], chunk: u64, at: usize) -> Option<Head> {
    let head = Head::read(&bytes[at..])?;
    let body = bytes.get(at + HEAD_BYTES..)?.get(..head.padded())?;
    (head.offset == chunk + at as u64 && head.matches(body)).then_some(head)
}

/// Whether the log may end in front of what cannot be read at `at`: nothing behind it says that it was on disk, and it
/// is nothing but zeros, or looks like a write that a crash cut short.
fn is_end(bytes: &[u8], chunk: u64, at: usize, last: bool) -> bool {
    if bytes[at..].iter().all(|byte| *byte == 0) {
        return true;
    }
    let was_on_disk = (at + ALIGNMENT..bytes.len()).step_by(ALIGNMENT).any(|later| {
        let head = Head::read(&bytes[later..]);
        head.is_some_and(|head| head.offset == chunk + later as u64 && head.synced > chunk + at as u64)
    });
    last && !was_on_disk && is_torn(bytes, at)
}

/// Whether a piece of the record at `at` was never written: it lies behind the end of the file, or a whole sector's share
/// of it is zeros, which no share of a record is unless its content has 512 B of zeros.
fn is_torn(bytes: &[u8], at: usize) -> bool {
    let head = Head::read(&bytes[at..]);
    let end = at + HEAD_BYTES + head.map_or(0, |head| head.padded());
    let Some(record) = bytes.get(at..end) else { return true };
    let first = SECTOR_BYTES - at % SECTOR_BYTES;
    let (front, rest) = record.split_at(first.min(record.len()));
    std::iter::once(front)
        .chain(rest.chunks(SECTOR_BYTES))
        .any(|piece| piece.iter().all(|byte| *byte == 0))
}
