//! One snapshot as a file of blocks, each with its checksum.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::store::record::{self, Kind};

/// Size of a block on disk, in bytes; only the last one is shorter.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;

/// Bytes of a block's checksum, in front of its payload.
const CHECKSUM_BYTES: usize = 4;

/// What a block holds of the image, in bytes.
const PAYLOAD_BYTES: usize = BLOCK_BYTES - CHECKSUM_BYTES;

/// Size of the head's own fields, in bytes.
const HEAD_BYTES: usize = 16 + 8 + 8 + 8;

/// Where the first block begins.
const BLOCKS_OFFSET: u64 = (record::HEADER_BYTES + HEAD_BYTES) as u64;

/// How much is written before it is synced, in bytes: one sync of a whole snapshot would hold up the log on the same
/// disk for as long as it takes.
const SYNC_BYTES: usize = 8 << 20;

/// The largest image, in bytes: more than a node can hold in memory.
const IMAGE_BYTES_MAX: u64 = 1 << 44;

/// Names a snapshot on whatever node it lies: drawn when it is built.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct SnapshotId(pub(crate) [u8; 16]);

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The head of a snapshot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) id: SnapshotId,
    /// The term and index of the last log entry that the state holds.
    pub(crate) term: u64,
    pub(crate) index: u64,
    /// Size of the image, in bytes.
    pub(crate) image_bytes: u64,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not those that were written.
    #[error("{0}")]
    Damaged(String),
    /// They are, by a build with other rules.
    #[error("{0}")]
    OtherBuild(String),
}

impl SnapshotError {
    pub(crate) fn damaged(reason: impl fmt::Display) -> SnapshotError {
        SnapshotError::Damaged(reason.to_string())
    }

    /// An error that went through [`Read`].
    pub(crate) fn of_read(error: io::Error) -> SnapshotError {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => SnapshotError::damaged(error),
            _ => SnapshotError::Io(error),
        }
    }
}

impl Head {
    /// How many blocks follow.
    pub(crate) fn blocks(&self) -> u64 {
        self.image_bytes.div_ceil(PAYLOAD_BYTES as u64)
    }

    /// The size of the whole file, in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        BLOCKS_OFFSET + self.image_bytes + self.blocks() * CHECKSUM_BYTES as u64
    }

    /// The size on disk of one of the blocks, in bytes.
    fn block_bytes(&self, number: u64) -> usize {
        let before = number * PAYLOAD_BYTES as u64;
        let payload = self.image_bytes.saturating_sub(before).min(PAYLOAD_BYTES as u64);
        payload as usize + CHECKSUM_BYTES
    }

    /// The bytes at the beginning of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut payload = self.id.0.to_vec();
        for number in [self.term, self.index, self.image_bytes] {
            payload.extend(number.to_be_bytes());
        }
        record::encode(Kind::Snapshot, b"", &payload).expect("forty bytes have a length that fits")
    }

    /// Reads the bytes at the beginning of a file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Head, SnapshotError> {
        let payload = record::decode(Kind::Snapshot, b"", bytes, HEAD_BYTES)
            .map_err(|error| SnapshotError::damaged(format_args!("its head: {error}")))?;
        let number = |at: usize| Some(u64::from_be_bytes(payload.get(at..at + 8)?.try_into().ok()?));
        let head = payload.first_chunk::<16>().and_then(|id| {
            Some(Head {
                id: SnapshotId(*id),
                term: number(16)?,
                index: number(24)?,
                image_bytes: number(32)?,
            })
        });
        let head = head.ok_or_else(|| SnapshotError::damaged("its head is too short"))?;
        if head.image_bytes == 0 || head.image_bytes > IMAGE_BYTES_MAX {
            let bytes = head.image_bytes;
            return Err(SnapshotError::damaged(format_args!(
                "its head names an image of {bytes} B (1 to {IMAGE_BYTES_MAX})"
            )));
        }
        Ok(head)
    }

    /// Reads the head of a file, and compares what it says with the file's size.
    pub(crate) fn read(file: &File) -> Result<Head, SnapshotError> {
        let mut bytes = [0; BLOCKS_OFFSET as usize];
        file.read_exact_at(&mut bytes, 0).map_err(SnapshotError::of_read)?;
        let head = Head::decode(&bytes)?;
        let (present, said) = (file.metadata()?.len(), head.file_bytes());
        if present != said {
            return Err(SnapshotError::damaged(format_args!("{present} of {said} B are there")));
        }
        Ok(head)
    }

    fn checksum(&self, number: u64, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.id.0);
        hasher.update(&number.to_be_bytes());
        hasher.update(payload);
        hasher.finalize()
    }

    /// Checks one block as it stands on disk and returns its payload.
    fn check<'a>(&self, number: u64, block: &'a [u8]) -> Result<&'a [u8], SnapshotError> {
        let damaged = |what: &str| Err(SnapshotError::damaged(format_args!("block {number}: {what}")));
        let Some((checksum, payload)) = block.split_first_chunk::<CHECKSUM_BYTES>() else {
            return damaged("too short");
        };
        if block.len() != self.block_bytes(number) || number >= self.blocks() {
            return damaged("of another length than the head says");
        }
        if u32::from_be_bytes(*checksum) != self.checksum(number, payload) {
            return damaged("its checksum is another one");
        }
        Ok(payload)
    }

    /// Checks blocks that follow each other, as they stand on disk.
    pub(crate) fn check_all(&self, first: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        for (place, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            self.check(first + place as u64, block)?;
        }
        Ok(())
    }

    /// Reads and checks up to `count` blocks, as they stand on disk.
    pub(crate) fn read_blocks(&self, file: &File, first: u64, count: u64) -> Result<Vec<u8>, SnapshotError> {
        let end = first.saturating_add(count).min(self.blocks());
        let bytes: usize = (first..end).map(|number| self.block_bytes(number)).sum();
        let mut blocks = vec![0; bytes];
        file.read_exact_at(&mut blocks, BLOCKS_OFFSET + first * BLOCK_BYTES as u64)
            .map_err(SnapshotError::of_read)?;
        self.check_all(first, &blocks)?;
        Ok(blocks)
    }

    /// Writes blocks that were checked.
    pub(crate) fn write_blocks(&self, file: &File, first: u64, blocks: &[u8]) -> io::Result<()> {
        file.write_all_at(blocks, BLOCKS_OFFSET + first * BLOCK_BYTES as u64)
    }

    /// Reads the whole file and checks every block.
    pub(crate) fn verify(&self, file: &File) -> Result<(), SnapshotError> {
        const AT_ONCE: u64 = 16;
        for first in (0..self.blocks()).step_by(AT_ONCE as usize) {
            self.read_blocks(file, first, AT_ONCE)?;
        }
        Ok(())
    }
}

/// Creates the file of a snapshot in the making.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Writes an image as blocks. The head comes last: until then the file is none.
pub(crate) struct Writer {
    file: File,
    head: Head,
    payload: Vec<u8>,
    number: u64,
    unsynced: usize,
}

impl Writer {
    /// Begins a snapshot of the state at this position.
    pub(crate) fn new(file: File, id: SnapshotId, term: u64, index: u64) -> Writer {
        let head = Head {
            id,
            term,
            index,
            image_bytes: 0,
        };
        Writer {
            file,
            head,
            payload: Vec::with_capacity(PAYLOAD_BYTES),
            number: 0,
            unsynced: 0,
        }
    }

    fn write_block(&mut self) -> io::Result<()> {
        let checksum = self.head.checksum(self.number, &self.payload);
        let mut block = checksum.to_be_bytes().to_vec();
        block.extend_from_slice(&self.payload);
        self.head.write_blocks(&self.file, self.number, &block)?;
        self.head.image_bytes += self.payload.len() as u64;
        self.number += 1;
        self.payload.clear();
        self.unsynced += block.len();
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Ends the snapshot: its file is whole and on disk when this returns.
    pub(crate) fn finish(mut self) -> io::Result<(File, Head)> {
        if !self.payload.is_empty() {
            self.write_block()?;
        }
        self.file.write_all_at(&self.head.encode(), 0)?;
        self.file.sync_all()?;
        Ok((self.file, self.head))
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PAYLOAD_BYTES - self.payload.len());
        self.payload.extend_from_slice(&bytes[..taken]);
        if self.payload.len() == PAYLOAD_BYTES {
            self.write_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads an image out of blocks, checking each.
pub(crate) struct Reader<'a> {
    file: &'a File,
    head: Head,
    next: u64,
    block: Vec<u8>,
    taken: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: &'a File, head: Head) -> Reader<'a> {
        Reader {
            file,
            head,
            next: 0,
            block: Vec::new(),
            taken: 0,
        }
    }

    /// How many bytes of the image have not been read.
    pub(crate) fn left(&self) -> u64 {
        let loaded = (self.next * PAYLOAD_BYTES as u64).min(self.head.image_bytes);
        self.head.image_bytes - loaded + (self.block.len() - self.taken) as u64
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.block.len() {
            if self.next == self.head.blocks() {
                return Ok(0);
            }
            self.block = self
                .head
                .read_blocks(self.file, self.next, 1)
                .map_err(|error| match error {
                    SnapshotError::Io(error) => error,
                    SnapshotError::Damaged(reason) | SnapshotError::OtherBuild(reason) => {
                        io::Error::new(io::ErrorKind::InvalidData, reason)
                    }
                })?;
            self.next += 1;
            self.taken = CHECKSUM_BYTES;
        }
        let taken = out.len().min(self.block.len() - self.taken);
        out[..taken].copy_from_slice(&self.block[self.taken..self.taken + taken]);
        self.taken += taken;
        Ok(taken)
    }
}
