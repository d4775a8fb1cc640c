//! What can go wrong with the data folder and the store.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::folder::Holder;
use super::record::RecordError;

/// Why the data folder or the store refused. A message names the path and the value.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The path, or a folder above it, is something else than a folder. Nothing was created below it.
    #[error("the data folder {} cannot be made: {} is not a folder", folder.display(), file.display())]
    NotAFolder {
        /// The path that was asked for.
        folder: PathBuf,
        /// What is in the way.
        file: PathBuf,
    },
    /// The folder exists, or would be created, where this user may not write. Nothing was changed.
    #[error("the data folder {} is not writable: {source}", folder.display())]
    NotWritable {
        /// The path that was asked for.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process has the folder. Nothing was changed; it is free again when that process has ended.
    #[error("the data folder {} is in use by {holder}", folder.display())]
    InUse {
        /// The path that was asked for.
        folder: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// The disk has no room for what a start writes, not even without the ballast. Nothing was changed but that.
    #[error(
        "the disk of the data folder {} is full: {free_bytes} B are free, a start needs {needed_bytes} B: make room and \
         start the node again",
        folder.display()
    )]
    DiskFull {
        /// The path that was asked for.
        folder: PathBuf,
        /// What is free, in bytes.
        free_bytes: u64,
        /// What a start needs, in bytes.
        needed_bytes: u64,
    },
    /// A later version of the program wrote the folder. Nothing was changed; use that version.
    #[error("{} has format {found}, this program knows up to {known}", path.display())]
    NewerFormat {
        /// The folder or file.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// An earlier version of the program wrote the folder, in a form that is no longer read. Nothing was changed; use that
    /// version.
    #[error("{} has format {found}, which this program does not read: it knows {known}", path.display())]
    OlderFormat {
        /// The folder.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The folder is the home of a node with another name. Nothing was changed.
    #[error("the data folder {} belongs to node {found:?}, not to {asked:?}", folder.display())]
    OtherNode {
        /// The path that was asked for.
        folder: PathBuf,
        /// The name that it was first used with.
        found: String,
        /// The name that asks now.
        asked: String,
    },
    /// A small file that is never rebuilt (format, identity, a note) cannot be read. Who the node is may be lost: it
    /// can come back only as a new node with an empty folder. Nothing was changed.
    #[error("{} is damaged: {reason}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: RecordError,
    },
    /// A note's name is not one to sixty-four of `a-z`, `0-9` and `-`. Nothing was changed.
    #[error("{name:?} is no name for a note (1 to 64 of a-z, 0-9, -)")]
    NoteName {
        /// The name.
        name: String,
    },
    /// A key, value or note is over its limit. In a pass this stops the store, since a pass is written whole or not.
    #[error("a {what} of {bytes} B is over the limit of {limit} B")]
    TooLarge {
        /// Which of them.
        what: &'static str,
        /// Its size, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A file operation failed. A write that failed may have been done or not; the process should end.
    #[error("{}: {source}", path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// An earlier write of the store failed; see [`Store::failed`](super::Store::failed). Nothing was written since.
    #[error("the store has stopped: {reason}")]
    Failed {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
