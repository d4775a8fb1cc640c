//! How git is called: which environment it sees, how its pipes are served, and that it is ended.
//!
//! Every call clears the inherited `GIT_*` (a hook or an outer git sets `GIT_DIR`), reads the real objects (no
//! replacements, no grafts), fetches nothing, takes no optional locks, starts no pager and speaks English. The user's
//! configuration files are read, since `safe.directory` lives there; the plumbing that is called obeys nothing else in
//! them, save what `history.rs` overrides.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use super::{GitError, ObjectId};

/// The bytes of a process's error output that are kept; the rest is read and dropped, so that it never blocks.
const STDERR_BYTES_MAX: u64 = 64 * 1024;

/// The ids in a failed git's error output that are looked up to find the one that is missing.
const MISSING_PROBES_MAX: usize = 8;

/// The program and the folder in which it runs.
#[derive(Clone, Debug)]
pub(super) struct Git {
    program: OsString,
    root: PathBuf,
}

impl Git {
    pub(super) fn new(program: &OsStr, root: PathBuf) -> Git {
        Git {
            program: program.to_owned(),
            root,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Runs git to its end without input and returns what it wrote. For answers of a few lines.
    pub(super) fn output(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        let mut running = self.start(arguments, Stdio::null())?;
        let mut bytes = Vec::new();
        running
            .take_stdout()
            .read_to_end(&mut bytes)
            .map_err(|source| io_error(arguments[0], source))?;
        running.finish()?;
        Ok(bytes)
    }

    /// Starts git with its output piped. `arguments[0]` is the subcommand.
    pub(super) fn start(&self, arguments: &[&str], stdin: Stdio) -> Result<Running, GitError> {
        let mut command = self.command();
        command
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| not_started(arguments[0], source))?;
        let stderr = child.stderr.take().map(|mut pipe| {
            thread::spawn(move || {
                let mut kept = Vec::new();
                // A failed read loses the reason, not the failure: the exit status still tells that.
                let _ = pipe.by_ref().take(STDERR_BYTES_MAX).read_to_end(&mut kept);
                let _ = io::copy(&mut pipe, &mut io::sink());
                kept
            })
        });
        Ok(Running {
            git: self.clone(),
            command: arguments[0].to_owned(),
            child,
            stderr,
            feeder: None,
        })
    }

    /// The commit that `reference` names.
    pub(super) fn resolve(&self, reference: &str) -> Result<ObjectId, GitError> {
        let unknown = || GitError::UnknownReference {
            path: self.root.clone(),
            reference: reference.to_owned(),
        };
        // No reference begins with a dash, and git would take it for an option.
        if reference.starts_with('-') || reference.contains('\0') {
            return Err(unknown());
        }
        let named = match self.output(&["rev-parse", "--verify", "--quiet", reference]) {
            Ok(answer) => ObjectId::from_hex(answer.trim_ascii()).ok_or_else(unknown)?,
            // Quiet, rev-parse says nothing where the reference is unknown.
            Err(GitError::Failed { .. }) if self.output(&["rev-list", "--all", "--max-count=1"])?.is_empty() => {
                return Err(GitError::Empty {
                    path: self.root.clone(),
                });
            }
            Err(GitError::Failed { .. }) => return Err(unknown()),
            Err(error) => return Err(error),
        };
        let typed_by_the_user = reference.eq_ignore_ascii_case(&named.to_string());
        match self.output(&["rev-parse", "--verify", &format!("{named}^{{commit}}")]) {
            Ok(answer) => ObjectId::from_hex(answer.trim_ascii()).ok_or_else(unknown),
            Err(GitError::Failed { .. }) if !typed_by_the_user && !self.has(&named) => Err(self.missing(named)),
            Err(GitError::Failed { .. }) => Err(unknown()),
            Err(GitError::MissingObject { .. }) if typed_by_the_user => Err(unknown()),
            Err(error) => Err(error),
        }
    }

    /// Whether the object is there and can be read.
    pub(super) fn has(&self, id: &ObjectId) -> bool {
        let mut command = self.command();
        command.args(["cat-file", "-p", &id.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    pub(super) fn missing(&self, id: ObjectId) -> GitError {
        GitError::MissingObject {
            path: self.root.clone(),
            id,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"GIT_") {
                command.env_remove(name);
            }
        }
        command
            .env("LC_ALL", "C")
            .env("GIT_NO_LAZY_FETCH", "1")
            // A git of before 2.45 does not know the line above: no transport is allowed either.
            .env("GIT_ALLOW_PROTOCOL", "none")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_GRAFT_FILE", "/dev/null")
            .args([
                "--no-replace-objects",
                "--no-pager",
                "-c",
                "advice.graftFileDeprecated=false",
                "-C",
            ])
            .arg(&self.root);
        command
    }
}

/// A git process. Dropped, it is killed and waited for, so that none is left behind.
#[derive(Debug)]
pub(super) struct Running {
    git: Git,
    command: String,
    child: Child,
    /// Drains the error output; it ends when the process has.
    stderr: Option<JoinHandle<Vec<u8>>>,
    /// Writes the input, so that the process never waits for us to read while we wait for it to read.
    feeder: Option<JoinHandle<()>>,
}

impl Running {
    /// The output. Read it to its end, or drop it, before [`Running::finish`].
    ///
    /// # Panics
    ///
    /// When it is taken twice.
    pub(super) fn take_stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::with_capacity(
            64 * 1024,
            self.child.stdout.take().expect("the output is piped, and taken once"),
        )
    }

    /// The input.
    ///
    /// # Panics
    ///
    /// When it is taken twice, or was not piped.
    pub(super) fn take_stdin(&mut self) -> ChildStdin {
        self.child
            .stdin
            .take()
            .expect("the input was asked for as a pipe, and is taken once")
    }

    /// Gives `input` to the process from a thread of its own, and then closes it.
    pub(super) fn feed(&mut self, input: Vec<u8>) {
        let mut stdin = self.take_stdin();
        self.feeder = Some(thread::spawn(move || {
            // A process that ended early says why in its error output; its exit status is what counts.
            let _ = stdin.write_all(&input);
        }));
    }

    /// Waits for the end of the process.
    pub(super) fn finish(&mut self) -> Result<(), GitError> {
        drop(self.child.stdin.take());
        let status = self.child.wait().map_err(|source| self.io_error(source))?;
        if let Some(feeder) = self.feeder.take() {
            feeder.join().expect("writing to a pipe does not panic");
        }
        if status.success() {
            return Ok(());
        }
        let stderr = self
            .stderr
            .take()
            .map(|drain| drain.join().expect("reading a pipe does not panic"));
        let stderr = stderr.unwrap_or_default();
        let error = GitError::from_stderr(&self.git.root, &self.command, status, &stderr);
        if !matches!(error, GitError::Failed { .. }) {
            return Err(error);
        }
        let lost = ids_in(&stderr)
            .into_iter()
            .take(MISSING_PROBES_MAX)
            .find(|id| !self.git.has(id));
        Err(lost.map_or(error, |id| self.git.missing(id)))
    }

    pub(super) fn io_error(&self, source: io::Error) -> GitError {
        io_error(&self.command, source)
    }

    pub(super) fn unexpected(&self, detail: impl Into<String>) -> GitError {
        GitError::Unexpected {
            command: self.command.clone(),
            detail: detail.into(),
        }
    }

    pub(super) fn git(&self) -> &Git {
        &self.git
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn not_started(command: &str, source: io::Error) -> GitError {
    if source.kind() == io::ErrorKind::NotFound {
        GitError::ProgramMissing
    } else {
        io_error(command, source)
    }
}

fn io_error(command: &str, source: io::Error) -> GitError {
    GitError::Io {
        command: command.to_owned(),
        source,
    }
}

/// The object ids that a text names.
fn ids_in(text: &[u8]) -> BTreeSet<ObjectId> {
    text.split(|byte| !byte.is_ascii_hexdigit())
        .filter_map(ObjectId::from_hex)
        .collect()
}
