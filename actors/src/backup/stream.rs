//! The blocks of a backup, written and read one after the other.

use std::io::{self, Read, Write};

use super::{BackupError, End, FORMAT_VERSION, Head};
use crate::store::record::{self, HEADER_BYTES, Kind};

/// The largest block, in bytes: what is held of a backup at a time.
const BLOCK_BYTES: usize = 64 << 10;
/// The largest head, in bytes: names and numbers.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The payload of the record at the end, in bytes.
const END_BYTES: usize = 8 + blake3::OUT_LEN;
/// How much room is made for bytes before they are there, whatever their length is said to be.
const ROOM_BYTES_MAX: u64 = 64 << 10;

/// Writes an image as blocks.
pub(super) struct BlocksOut<W> {
    out: W,
    block: Vec<u8>,
    number: u64,
    image_bytes: u64,
    hasher: blake3::Hasher,
}

impl<W: Write> BlocksOut<W> {
    /// Begins with the head.
    pub(super) fn begin(mut out: W, head: &Head) -> io::Result<BlocksOut<W>> {
        let head = bincode::serialize(head).map_err(io::Error::other)?;
        out.write_all(&record::encode(Kind::Backup, b"", &head).ok_or_else(too_long)?)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head);
        Ok(BlocksOut {
            out,
            block: Vec::with_capacity(BLOCK_BYTES),
            number: 0,
            image_bytes: 0,
            hasher,
        })
    }

    fn write_block(&mut self) -> io::Result<()> {
        self.out.write_all(&(self.block.len() as u32).to_be_bytes())?;
        self.out.write_all(&checksum(self.number, &self.block).to_be_bytes())?;
        self.out.write_all(&self.block)?;
        self.hasher.update(&self.block);
        self.image_bytes += self.block.len() as u64;
        self.number += 1;
        self.block.clear();
        Ok(())
    }

    /// Ends the backup.
    pub(super) fn finish(mut self) -> io::Result<End> {
        if !self.block.is_empty() {
            self.write_block()?;
        }
        let end = End {
            image_bytes: self.image_bytes,
            hash: self.hasher.finalize(),
        };
        let mut payload = end.image_bytes.to_be_bytes().to_vec();
        payload.extend(end.hash.as_bytes());
        self.out.write_all(&0_u32.to_be_bytes())?;
        let record = record::encode(Kind::BackupEnd, b"", &payload).ok_or_else(too_long)?;
        self.out.write_all(&record)?;
        self.out.flush()?;
        Ok(end)
    }
}

impl<W: Write> Write for BlocksOut<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK_BYTES {
            self.write_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn too_long() -> io::Error {
    io::Error::other("a record of 4 GiB")
}

fn checksum(number: u64, block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(block);
    hasher.finalize()
}

/// Reads an image out of blocks, checking each.
pub(super) struct Blocks<R> {
    input: R,
    block: Vec<u8>,
    taken: usize,
    number: u64,
    image_bytes: u64,
    hasher: blake3::Hasher,
    end: Option<End>,
}

impl<R: Read> Blocks<R> {
    /// Reads the head.
    pub(super) fn begin(mut input: R) -> Result<(Head, Blocks<R>), BackupError> {
        let payload = match read_record(&mut input, Kind::Backup, HEAD_BYTES_MAX) {
            Ok(payload) => payload,
            // What does not begin like a backup is something else.
            Err(error) => match error.kind() {
                io::ErrorKind::InvalidData => return Err(BackupError::NoBackup(error.to_string())),
                io::ErrorKind::UnexpectedEof => return Err(BackupError::NoBackup("it is too short".to_owned())),
                _ => return Err(BackupError::Io(error)),
            },
        };
        // The first field is the same in all formats.
        let format = payload.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let head: Result<Head, _> = bincode::deserialize(&payload);
        let head = match (format, head) {
            (Some(FORMAT_VERSION), Ok(head)) => head,
            (Some(FORMAT_VERSION) | None, Err(error)) => return Err(BackupError::damaged(error)),
            (Some(found), head) => {
                let build = head.map(|head| head.build).unwrap_or_default();
                return Err(BackupError::Format { found, build });
            }
            (None, Ok(_)) => return Err(BackupError::damaged("its head is empty")),
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&payload);
        let blocks = Blocks {
            input,
            block: Vec::new(),
            taken: 0,
            number: 0,
            image_bytes: 0,
            hasher,
            end: None,
        };
        Ok((head, blocks))
    }

    /// Whether all of the image was read.
    pub(super) fn is_over(&mut self) -> Result<bool, BackupError> {
        self.load().map_err(BackupError::of_read)?;
        Ok(self.end.is_some())
    }

    /// What is said at the end, which must have been reached.
    pub(super) fn end(&mut self) -> Result<End, BackupError> {
        match (self.is_over()?, self.end) {
            (true, Some(end)) => Ok(end),
            _ => Err(BackupError::damaged("its state ends before its image does")),
        }
    }

    /// The next part, behind its length.
    pub(super) fn part(&mut self) -> Result<Vec<u8>, BackupError> {
        let mut length = [0; 8];
        self.read_exact(&mut length).map_err(BackupError::of_read)?;
        self.exactly(u64::from_be_bytes(length))
    }

    /// The next so many bytes.
    pub(super) fn exactly(&mut self, length: u64) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::with_capacity(length.min(ROOM_BYTES_MAX) as usize);
        self.take(length)
            .read_to_end(&mut bytes)
            .map_err(BackupError::of_read)?;
        match bytes.len() as u64 {
            found if found < length => Err(BackupError::damaged(format_args!(
                "{length} B are to follow, {found} do"
            ))),
            _ => Ok(bytes),
        }
    }

    /// Has the next block at hand, unless there is none.
    fn load(&mut self) -> io::Result<()> {
        if self.taken < self.block.len() || self.end.is_some() {
            return Ok(());
        }
        let length = self.number()? as usize;
        if length == 0 {
            self.end = Some(self.read_end()?);
            return Ok(());
        }
        if length > BLOCK_BYTES {
            let number = self.number;
            return Err(invalid(format!(
                "block {number} has {length} B, at most {BLOCK_BYTES} can be"
            )));
        }
        let expected = self.number()?;
        self.block.resize(length, 0);
        self.input.read_exact(&mut self.block)?;
        if checksum(self.number, &self.block) != expected {
            return Err(invalid(format!("block {}: its checksum is another one", self.number)));
        }
        self.hasher.update(&self.block);
        self.image_bytes += length as u64;
        self.number += 1;
        self.taken = 0;
        Ok(())
    }

    fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.input.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn read_end(&mut self) -> io::Result<End> {
        let payload = read_record(&mut self.input, Kind::BackupEnd, END_BYTES)?;
        let (bytes, hash) = payload
            .split_first_chunk::<8>()
            .ok_or_else(|| invalid("its end is too short".to_owned()))?;
        let found = End {
            image_bytes: self.image_bytes,
            hash: self.hasher.finalize(),
        };
        if u64::from_be_bytes(*bytes) != found.image_bytes || hash != found.hash.as_bytes() {
            return Err(invalid("its end speaks of other bytes".to_owned()));
        }
        match self.input.read(&mut [0])? {
            0 => Ok(found),
            _ => Err(invalid("something follows its end".to_owned())),
        }
    }
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        self.load()?;
        if self.end.is_some() {
            return Ok(0);
        }
        let taken = out.len().min(self.block.len() - self.taken);
        out[..taken].copy_from_slice(&self.block[self.taken..self.taken + taken]);
        self.taken += taken;
        Ok(taken)
    }
}

fn read_record(input: &mut impl Read, kind: Kind, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEADER_BYTES];
    input.read_exact(&mut bytes)?;
    let said = bytes[4..8].try_into().map_or(0, u32::from_be_bytes) as usize;
    // Of a length that is too large the decoder tells.
    if said <= limit {
        bytes.resize(HEADER_BYTES + said, 0);
        input.read_exact(&mut bytes[HEADER_BYTES..])?;
    }
    let payload = record::decode(kind, &[], &bytes, limit).map_err(|error| invalid(error.to_string()))?;
    Ok(payload.to_vec())
}

fn invalid(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}
