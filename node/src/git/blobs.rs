//! The bytes of blobs, by one `git cat-file --batch` for all of them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};

use super::process::{Git, Running};
use super::{GitError, ObjectId, blob_id};

/// Reads blobs one at a time. The process behind it ends with the reader.
#[derive(Debug)]
pub struct BlobReader {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    // Dropped after the pipes.
    running: Running,
}

impl BlobReader {
    pub(super) fn start(git: &Git) -> Result<BlobReader, GitError> {
        let mut running = git.start(&["cat-file", "--batch"], Stdio::piped())?;
        Ok(BlobReader {
            stdin: running.take_stdin(),
            stdout: running.take_stdout(),
            running,
        })
    }

    /// The bytes of the blob `id`, compared with the id.
    ///
    /// # Errors
    ///
    /// [`GitError::MissingObject`] where the repository lacks the blob or has other bytes under its id, after which
    /// other blobs can still be read unless git itself gave up; any other error ends the reader.
    pub fn read(&mut self, id: &ObjectId) -> Result<Vec<u8>, GitError> {
        // One short line, flushed before anything is read: neither side can wait for the other.
        let header = self.ask(id).map_err(|source| self.ended(source))?;
        let fields: Vec<&[u8]> = header.split(|byte| *byte == b' ').collect();
        let size = match fields[..] {
            [name, b"missing"] if ObjectId::from_hex(name) == Some(*id) => return Err(self.running.git().missing(*id)),
            [name, _, size] if ObjectId::from_hex(name) == Some(*id) => parse_size(size),
            _ => None,
        };
        let size = size.ok_or_else(|| self.running.unexpected(format!("\"{}\"", header.escape_ascii())))?;
        let bytes = self.contents(size).map_err(|source| self.ended(source))?;
        if fields[1] != b"blob" {
            return Err(self
                .running
                .unexpected(format!("a {} where blob {id} was expected", fields[1].escape_ascii())));
        }
        if blob_id(&bytes) != *id {
            return Err(self.running.git().missing(*id));
        }
        Ok(bytes)
    }

    fn ask(&mut self, id: &ObjectId) -> io::Result<Vec<u8>> {
        self.stdin.write_all(format!("{id}\n").as_bytes())?;
        self.stdin.flush()?;
        let mut header = Vec::new();
        self.stdout.read_until(b'\n', &mut header)?;
        if header.pop() == Some(b'\n') {
            Ok(header)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// `size` bytes and the newline that follows them. Memory grows with what arrives, not with what was announced.
    fn contents(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stdout.by_ref().take(size + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == size + 1 && bytes.pop() == Some(b'\n') {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Why the process ended, in its own words if it has any.
    fn ended(&mut self, source: io::Error) -> GitError {
        match self.running.finish() {
            Err(error) => error,
            Ok(()) => self.running.io_error(source),
        }
    }
}

fn parse_size(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits)
        .ok()?
        .parse()
        .ok()
        .filter(|size| *size < u64::MAX)
}
