//! Opening a log that may have been left by a crash, and telling a torn tail from damage.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::chunked_wal::{self, ChunkedWal};
use raft_log::codeq::Span;
use raft_log::{ChunkId, Config, RaftLog, RaftWalTypes};

use super::LogOptions;
use super::codec::LogTypes;
use super::flush::Flush;

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
    /// The operating system refused: no such folder, no permission, disk full, an I/O error, a path that is not UTF-8.
    #[error("the log {}", folder.display())]
    Io {
        /// The log's folder.
        folder: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Opens the log in `folder`, cuts a torn tail, and syncs what is there: after `kill -9` a record may be readable and
/// still not be on disk, and from now on openraft counts it as stored.
pub(super) fn open(folder: &Path, options: &LogOptions) -> Result<RaftLog<LogTypes>, LogError> {
    let io_error = |source| LogError::Io {
        folder: folder.to_owned(),
        source,
    };
    let config = config(folder, options).map_err(io_error)?;
    // Ahead of `raft-log`, which logs and forgets names that it cannot parse and reports a missing folder obscurely.
    std::fs::read_dir(folder).map_err(io_error)?;
    let mut log = match RaftLog::<LogTypes>::open(Arc::new(config.clone())) {
        Ok(log) => log,
        Err(error) => return Err(diagnose(folder, &config, error)),
    };
    check_start(&log).map_err(|reason| LogError::Inconsistent {
        folder: folder.to_owned(),
        reason,
    })?;
    let (synced, wait) = std::sync::mpsc::sync_channel(1);
    log.flush(true, Some(Flush::Report(synced))).map_err(io_error)?;
    wait.recv()
        .map_err(|_| io_error(io::Error::other("the writer of the log has stopped")))?
        .map_err(io_error)?;
    Ok(log)
}

fn config(folder: &Path, options: &LogOptions) -> Result<Config, io::Error> {
    let dir = folder
        .to_str()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"))?;
    Ok(Config {
        wal: chunked_wal::Config {
            dir: dir.to_owned(),
            // Reading is sequential; the default of 64 MiB would be allocated for every chunk.
            read_buffer_size: Some(1 << 20),
            // Chunks are cut by size; memory per record is bounded by `ENTRY_OVERHEAD_BYTES` in the cache.
            chunk_max_records: None,
            chunk_max_size: Some(options.chunk_bytes),
            truncate_incomplete_record: Some(true),
            // Group commit is in `flush`; waiting here would only add latency.
            flush_batch_wait: Some(Duration::ZERO),
            flush_batch_max_items: None,
            flush_queue_max_bytes: None,
        },
        // By bytes alone: `Payload` counts its overhead.
        log_cache_max_items: Some(usize::MAX),
        log_cache_capacity: Some(options.cache_bytes),
    })
}

/// The first entry follows the purged ones; `raft-log` checks all other neighbours.
fn check_start(log: &RaftLog<LogTypes>) -> Result<(), String> {
    let state = log.log_state();
    let first = state.purged().map_or(0, |purged| purged.index + 1);
    let Some(last) = state.last() else { return Ok(()) };
    if last.index < first {
        return Ok(());
    }
    match log.read(first, first + 1).next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(format!("entry {first}: {error}")),
        None => Err(format!("entry {first} is missing, the last one is {}", last.index)),
    }
}

/// Finds the first record that cannot be read, to name it.
fn diagnose(folder: &Path, config: &Config, error: io::Error) -> LogError {
    let folder = folder.to_owned();
    match error.kind() {
        io::ErrorKind::WouldBlock => return LogError::InUse { folder },
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => {}
        _ => return LogError::Io { folder, source: error },
    }
    match first_damage(config) {
        Ok(Some((chunk, offset, reason))) => LogError::Damaged {
            file: PathBuf::from(config.wal.chunk_path(chunk)),
            offset,
            reason,
        },
        Ok(None) => LogError::Inconsistent {
            folder,
            reason: error.to_string(),
        },
        Err(source) => LogError::Io { folder, source },
    }
}

fn first_damage(config: &Config) -> Result<Option<(ChunkId, u64, String)>, io::Error> {
    let lock = ChunkedWal::<RaftWalTypes<LogTypes>>::acquire_lock(&config.wal)?;
    let mut damage = None;
    // Where the record behind the last readable one begins, from the start of the first chunk.
    let mut end: Option<u64> = None;
    ChunkedWal::<RaftWalTypes<LogTypes>>::dump_records(&config.wal, &lock, |chunk, number, record| {
        if damage.is_some() {
            return Ok(());
        }
        if number == 0 {
            if let Some(end) = end
                && end != chunk.offset()
            {
                let missing = chunk.offset() as i128 - end as i128;
                damage = Some((chunk, 0, format!("{missing} B are missing in front of this file")));
                return Ok(());
            }
            end = Some(chunk.offset());
        }
        match record {
            // A segment counts from the start of its chunk.
            Ok((segment, _)) => end = Some(chunk.offset() + segment.end().0),
            Err(error) => {
                let offset = end.unwrap_or(chunk.offset()) - chunk.offset();
                damage = Some((chunk, offset, error.to_string()));
            }
        }
        Ok(())
    })?;
    Ok(damage)
}
