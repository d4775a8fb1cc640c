//! A log file with a bound: when it gets too long or too old it is set aside as `FILE.1`, what was that becomes `FILE.2`, and
//! so on; the oldest goes. Standard error follows, so that what does not go through the log, such as the words of a panic,
//! stands in the same file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::Logging;

/// How long nothing is tried after a rotation has failed: the file grows meanwhile.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The log file of this process.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    file: File,
    began: SystemTime,
    limits: Logging,
    /// Whether standard error is this file.
    is_stderr: bool,
    failed: Option<SystemTime>,
}

impl Rotating {
    /// Opens a file to append to, and makes it standard error.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(path: &Path, limits: Logging) -> io::Result<Rotating> {
        let rotating = Rotating::beside_stderr(path, limits)?;
        rustix::stdio::dup2_stderr(&rotating.file)?;
        Ok(Rotating {
            is_stderr: true,
            ..rotating
        })
    }

    fn beside_stderr(path: &Path, limits: Logging) -> io::Result<Rotating> {
        let file = File::options().append(true).create(true).open(path)?;
        Ok(Rotating {
            // Where the system does not know when a file was made, its age is that of the process.
            began: file.metadata()?.created().unwrap_or_else(|_| SystemTime::now()),
            path: path.to_owned(),
            file,
            limits,
            is_stderr: false,
            failed: None,
        })
    }

    fn write_at(&mut self, now: SystemTime, line: &[u8]) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let age = now.duration_since(self.began).unwrap_or_default();
        let is_over = length + line.len() as u64 > self.limits.rotate_bytes || age >= self.limits.rotate_every;
        let waits = self
            .failed
            .is_some_and(|failed| now.duration_since(failed).unwrap_or_default() < AGAIN_AFTER);
        if length > 0 && is_over && !waits {
            self.failed = None;
            if let Err(error) = self.rotate(now) {
                self.failed = Some(now);
                writeln!(self.file, "--- the log cannot be set aside and goes on: {error}")?;
            }
        }
        self.file.write_all(line)
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        set_aside(&self.path, self.limits.keep_files)?;
        self.file = File::options().append(true).create(true).open(&self.path)?;
        self.began = now;
        if self.is_stderr {
            rustix::stdio::dup2_stderr(&self.file)?;
        }
        Ok(())
    }
}

impl Write for Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_at(SystemTime::now(), line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Renames a log file to `FILE.1`, after those that were set aside before have moved on; of them `keep` stay.
///
/// # Errors
/// When a file cannot be renamed; those that were are complete.
pub fn set_aside(path: &Path, keep: u64) -> io::Result<()> {
    for place in (1..keep).rev() {
        match fs::rename(aside(path, place), aside(path, place + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, aside(path, 1))
}

/// The name of the file that was set aside so many times ago.
fn aside(path: &Path, place: u64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{place}"));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_or_old_file_is_set_aside_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.log");
        let limits = Logging {
            rotate_bytes: 20,
            rotate_every: Duration::from_secs(3_600),
            keep_files: 2,
            ..Logging::default()
        };
        let mut log = Rotating::beside_stderr(&path, limits).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        let now = log.began;
        let write = |log: &mut Rotating, hours: u64, line: &str| {
            log.write_at(now + Duration::from_secs(3_600 * hours), line.as_bytes())
                .unwrap();
        };
        write(&mut log, 0, "one line\n");
        write(&mut log, 0, "two lines\n");
        assert_eq!(read("n1.log"), "one line\ntwo lines\n");
        write(&mut log, 0, "three\n");
        assert_eq!(
            (&*read("n1.log"), &*read("n1.log.1")),
            ("three\n", "one line\ntwo lines\n")
        );
        // By age, and not again before an hour has gone by.
        write(&mut log, 1, "four\n");
        write(&mut log, 1, "five\n");
        assert_eq!((&*read("n1.log"), &*read("n1.log.1")), ("four\nfive\n", "three\n"));
        assert_eq!(read("n1.log.2"), "one line\ntwo lines\n");
        // A line that is longer than a file is written whole, alone.
        write(&mut log, 1, "a line of more than twenty bytes\n");
        write(&mut log, 1, "six\n");
        assert_eq!(read("n1.log"), "six\n");
        assert_eq!(read("n1.log.1"), "a line of more than twenty bytes\n");
        assert_eq!(read("n1.log.2"), "four\nfive\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_log_that_cannot_be_set_aside_goes_on_and_says_so_once_in_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.log");
        let limits = Logging {
            rotate_bytes: 4,
            keep_files: 1,
            ..Logging::default()
        };
        let mut log = Rotating::beside_stderr(&path, limits).unwrap();
        // No file can take the place of a folder with something in it.
        fs::create_dir_all(folder.path().join("n1.log.1/kept")).unwrap();
        let now = log.began;
        for second in [0, 1, 2, 61] {
            log.write_at(now + Duration::from_secs(second), b"line\n").unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("line\n").count(), 4, "{text}");
        assert_eq!(text.matches("cannot be set aside").count(), 2, "{text}");
    }
}
