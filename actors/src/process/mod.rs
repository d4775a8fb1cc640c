//! Runs a command for one attempt at a task, and leaves nothing of it behind.
//!
//! The command has a process group of its own. Between it and this process stands a **guard** ([`guard`]): a small process
//! that starts the command and holds one end of a socket, the leash. When the leash ends, because this process has died in
//! whatever way, the guard kills what it has started. On Linux the guard also adopts what left the group, and the command
//! dies with the guard.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | length and bytes | runner | guard | `started` or `refused` | start the command with these bytes on its stdin |
//! | `t` | runner | guard | nothing | SIGTERM for the group |
//! | `k`, or the end of the leash | runner | guard | `ended` | SIGKILL for all of them |
//! | `over_memory` | guard | runner | nothing | the command used more memory than it may, and was killed; `ended` follows |
//! | `memory` | guard | runner | nothing | how much memory the command used at most; before `ended`, where it was to be looked at |
//! | `ended` | guard | runner | nothing | how the command ended; nothing of it is left |
//!
//! What the command prints is read to its end, whatever it is, and kept within bounds ([`Head`], [`Tail`]).

mod capture;
pub mod guard;
#[cfg(target_os = "linux")]
mod memory;
mod running;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::capture::{Head, Tail};
pub use self::running::run;

/// How much of a command's stderr is kept: its last 64 KiB.
pub const LOG_BYTES_MAX: usize = 64 << 10;
/// The most that may be given to a command on its stdin, in bytes.
pub const STDIN_BYTES_MAX: usize = 16 << 20;

/// What to run, and within which bounds.
#[derive(Clone, Debug)]
pub struct Job {
    /// This program, or another with [`guard::entry`] in its `main`.
    pub guard: PathBuf,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// What its environment has besides that of this process.
    pub environment: Vec<(String, String)>,
    /// What it does not have of the environment of this process.
    pub hidden: Vec<&'static str>,
    /// Its working folder; that of this process if there is none.
    pub folder: Option<PathBuf>,
    /// What it reads on its stdin.
    pub stdin: Vec<u8>,
    /// How long it may run.
    pub time_limit: Option<Duration>,
    /// How long it has between SIGTERM and SIGKILL when its time is up.
    pub grace: Duration,
    /// How much memory it may use with all that it has started, in bytes: where it is more it is killed. What is resident
    /// counts, looked at ten times a second, and what several of its processes share counts for each. On Linux only
    /// ([`can_bound_memory`]): elsewhere nothing is started.
    pub memory_bytes_max: Option<u64>,
    /// Whether to look at its memory although it is not bounded, as far as the system tells of it.
    pub measures_memory: bool,
    /// How many bytes of its stdout are kept.
    pub stdout_bytes_max: usize,
    /// How many bytes of its stderr are kept, the last ones.
    pub log_bytes_max: usize,
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// Whether it was told to end before, and why.
    pub stopped: Option<Stopped>,
    /// The beginning of its stdout.
    pub stdout: Head,
    /// The end of its stderr.
    pub log: Tail,
    /// How long it ran.
    pub ran: Duration,
    /// The most memory that it was seen to use, in bytes, where it was looked at; as for [`Job::memory_bytes_max`]. One that
    /// ends before the first look was not seen to use any.
    pub memory_bytes: Option<u64>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It exited with this code.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Why a command was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Its time was up.
    TimeLimit,
    /// The caller wanted it.
    Asked,
    /// It used more memory than it may.
    Memory {
        /// How much it used, in bytes.
        used: u64,
        /// How much it may use.
        limit: u64,
    },
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Nothing was started: the guard could not be.
    #[error("cannot start {guard}")]
    Guard {
        /// The program of the guard.
        guard: String,
        /// Why.
        source: io::Error,
    },
    /// Nothing was started: the command could not be.
    #[error("cannot start {command}: {problem}")]
    Command {
        /// The program of the command.
        command: String,
        /// Why.
        problem: String,
    },
    /// The guard has died without a word, and the group of the command was killed: how it ended is not known.
    #[error("the guard of {command} has died, and the command with it")]
    GuardLost {
        /// The program of the command.
        command: String,
    },
}

/// Whether this system can bound the memory of a command: Linux, with a kernel that lists the children of a thread.
pub fn can_bound_memory() -> bool {
    cfg!(target_os = "linux") && Path::new("/proc/thread-self/children").exists()
}

/// Where the program of a command is: where it says, or in the first folder of `PATH` that has it.
///
/// # Errors
/// When there is no such program, or it cannot be executed.
pub fn find_program(program: &Path) -> io::Result<PathBuf> {
    if program.as_os_str().is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the command is empty"));
    }
    if program.components().count() > 1 || program.has_root() {
        return executable(program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find_map(|folder| executable(folder.join(program)).ok());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no folder of PATH has it"))
}

fn executable(path: PathBuf) -> io::Result<PathBuf> {
    if std::fs::metadata(&path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    rustix::fs::access(&path, rustix::fs::Access::EXEC_OK)?;
    Ok(path)
}
