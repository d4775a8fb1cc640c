//! A backup: the whole state of a cluster as one stream of bytes, and a new cluster from it.
//!
//! ```text
//! record `Backup` (see `store::record`)     bincode of a `Head`
//! blocks, each                              length u32, 1 to 65,536 · crc32 u32 · that many bytes of the image
//! length u32, 0
//! record `BackupEnd`                        bytes of the image u64 · BLAKE3 of head and image, 32 B
//! ```
//! Integers are big-endian. The checksum of a block covers its number (u64, from 0) and its bytes. Nothing follows the end.
//! The image is what a snapshot holds behind the position (see `consensus::snapshot`):
//!
//! ```text
//! length u64 · bincode of the colony's `Meta`, with its digest
//! the colony's pairs in their order: length of the key u32 · length of the value u32 · key · value
//! ```
//! | promise | by |
//! |---|---|
//! | It is the state of one moment | it is written from an O(1) clone |
//! | It needs no room at the node | blocks go out as they are made; the length stands at the end |
//! | A backup that was cut off or changed anywhere is refused whole | the checksums, the end, and the colony's own digest; nothing is made before all of it was read |
//! | A cluster from a backup is another cluster | `restore`: a new id, numbers that were never used, positions that jump, as after a recovery |

mod restore;
mod stream;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};

use queenright_protocol::colony::{Colony, ImageError, Meta, Pair};
use queenright_protocol::id::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

pub use self::restore::{RestoreError, RestoreOptions, Restored, restore};
use self::stream::{Blocks, BlocksOut};

/// The format of backups that this program writes, and the only one that it reads.
///
/// Ledger: 1, the first.
pub const FORMAT_VERSION: u32 = 1;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The format.
    pub format: u32,
    /// The build that wrote it.
    pub build: String,
    /// The name of the cluster.
    pub cluster: String,
    /// Its id.
    pub cluster_id: ClusterId,
    /// The name of the node whose copy of the state it is.
    pub node: String,
    /// The number of that node.
    pub number: NodeId,
    /// The index and the term of the last log entry that it holds.
    pub entry: (u64, u64),
    /// The position of the last command that it holds.
    pub seq: u64,
    /// The position of the last command that is known to be committed: less than `seq` only for one from a node without a
    /// majority.
    pub certain: u64,
    /// The leader's wall clock at the last command, in milliseconds since 1970; 0 before the first.
    pub wall_ms: u64,
    /// The wall clock of the host when it was taken, in milliseconds since 1970.
    pub taken_ms: u64,
    /// The version of the rules that the state follows.
    pub rules_version: u32,
    /// How often the cluster was recovered or restored before.
    pub recoveries: u64,
    /// How many projects it has.
    pub projects: u64,
}

impl Head {
    /// What the state itself says; the rest is empty.
    pub(crate) fn of(colony: &Colony, entry: (u64, u64), taken_ms: u64) -> Head {
        Head {
            format: FORMAT_VERSION,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: String::new(),
            cluster_id: ClusterId([0; 16]),
            node: String::new(),
            number: NodeId::NONE,
            entry,
            seq: colony.seq(),
            certain: colony.seq(),
            wall_ms: colony.wall_ms(),
            taken_ms,
            rules_version: colony.rules_version(),
            recoveries: colony.past().len() as u64,
            projects: colony.projects().count() as u64,
        }
    }
}

/// A state that is to be written as a backup.
pub struct Source {
    head: Head,
    colony: Colony,
}

/// What is said at the end of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How many bytes the image has.
    pub image_bytes: u64,
    /// BLAKE3 of head and image.
    pub hash: blake3::Hash,
}

impl Source {
    pub(crate) fn new(head: Head, colony: Colony) -> Source {
        Source { head, colony }
    }

    /// What it says of itself.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Writes it. Takes time with the size of the state: call it on a thread that may block.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn write(self, out: impl Write) -> io::Result<End> {
        let mut out = BlocksOut::begin(out, &self.head)?;
        let meta = bincode::serialize(&self.colony.meta()).map_err(io::Error::other)?;
        out.write_all(&(meta.len() as u64).to_be_bytes())?;
        out.write_all(&meta)?;
        for (key, value) in self.colony.pairs() {
            for length in [key.len(), value.len()] {
                let length = u32::try_from(length).map_err(io::Error::other)?;
                out.write_all(&length.to_be_bytes())?;
            }
            out.write_all(&key)?;
            out.write_all(&value)?;
        }
        out.finish()
    }
}

/// Why bytes are no backup that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// They could not be read.
    #[error(transparent)]
    Io(io::Error),
    /// They are something else.
    #[error("this is no backup: {0}")]
    NoBackup(String),
    /// They were a backup, and are not those that were written, or not all of them.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// Another build wrote them.
    #[error(
        "the backup has format {found}, this program knows {FORMAT_VERSION}: use the build that wrote it, {build:?}"
    )]
    Format {
        /// The format.
        found: u32,
        /// The build.
        build: String,
    },
    /// This program does not know the rules that the state follows.
    #[error("{reason}: use the build that wrote it, {build:?}")]
    Rules {
        /// Which rules.
        reason: ImageError,
        /// The build.
        build: String,
    },
}

impl BackupError {
    fn damaged(problem: impl std::fmt::Display) -> BackupError {
        BackupError::Damaged(problem.to_string())
    }

    fn of_read(error: io::Error) -> BackupError {
        match error.kind() {
            io::ErrorKind::InvalidData => BackupError::damaged(error),
            io::ErrorKind::UnexpectedEof => BackupError::damaged("it ends early"),
            _ => BackupError::Io(error),
        }
    }
}

/// A backup that was read whole.
pub struct Backup {
    head: Head,
    end: End,
    colony: Colony,
}

impl Backup {
    /// Reads a backup, and checks all of it. Takes time with its size.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn read(input: impl Read) -> Result<Backup, BackupError> {
        let (head, mut blocks) = Blocks::begin(input)?;
        let meta: Meta = bincode::deserialize(&blocks.part()?).map_err(BackupError::damaged)?;
        let mut pairs = Pairs { blocks, problem: None };
        let colony = Colony::restore_in_order(meta, &mut pairs);
        if let Some(problem) = pairs.problem {
            return Err(problem);
        }
        let colony = colony.map_err(|error| match error {
            reason @ ImageError::UnknownRules { .. } => BackupError::Rules {
                reason,
                build: head.build.clone(),
            },
            damage => BackupError::damaged(damage),
        })?;
        let end = pairs.blocks.end()?;
        if colony.seq() != head.seq {
            let (said, found) = (head.seq, colony.seq());
            return Err(BackupError::damaged(format_args!(
                "its head says seq {said}, its state {found}"
            )));
        }
        Ok(Backup { head, end, colony })
    }

    /// Reads a backup and checks it against its checksums and its end, without the state in it. Takes no memory.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn check(input: impl Read) -> Result<(Head, End), BackupError> {
        let (head, mut blocks) = Blocks::begin(input)?;
        io::copy(&mut blocks, &mut io::sink()).map_err(BackupError::of_read)?;
        Ok((head, blocks.end()?))
    }

    /// What it says of itself.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What is said at its end.
    pub fn end(&self) -> End {
        self.end
    }
}

/// The pairs of an image, up to its end or its first problem.
struct Pairs<R> {
    blocks: Blocks<R>,
    problem: Option<BackupError>,
}

impl<R: Read> Pairs<R> {
    fn read(&mut self) -> Result<Option<Pair>, BackupError> {
        if self.blocks.is_over()? {
            return Ok(None);
        }
        let mut lengths = [0; 8];
        self.blocks.read_exact(&mut lengths).map_err(BackupError::of_read)?;
        let [k0, k1, k2, k3, v0, v1, v2, v3] = lengths;
        let key = self.blocks.exactly(u32::from_be_bytes([k0, k1, k2, k3]).into())?;
        let value = self.blocks.exactly(u32::from_be_bytes([v0, v1, v2, v3]).into())?;
        Ok(Some((key, value)))
    }
}

impl<R: Read> Iterator for Pairs<R> {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        if self.problem.is_some() {
            return None;
        }
        self.read().unwrap_or_else(|problem| {
            self.problem = Some(problem);
            None
        })
    }
}
