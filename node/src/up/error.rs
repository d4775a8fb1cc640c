//! Why a cluster did not start.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use thiserror::Error;

use crate::config::ConfigError;
use crate::state::{RunningNode, StateError};

/// Why a cluster, or a node of one, could not be started or reached.
#[derive(Debug, Error)]
pub enum UpError {
    /// The cluster file cannot be run. Nothing was started.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state folders cannot be used. Nothing was started.
    #[error(transparent)]
    State(#[from] StateError),
    /// The program cannot find its own file. Nothing was started.
    #[error("cannot find the file of this program")]
    Executable(#[source] io::Error),
    /// Nodes of a cluster of this name run already. Nothing was started.
    #[error(
        "cluster {:?} is already running on this host: node {} is process {} at {}",
        running.cluster, running.node, running.pid, running.door()
    )]
    AlreadyRunning {
        /// One of its nodes.
        running: Box<RunningNode>,
    },
    /// The process of a node could not be made.
    #[error("node {name}: cannot be started")]
    Spawn {
        /// The node.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A node said why it cannot run.
    #[error("node {name}: {message}")]
    NodeFailed {
        /// The node.
        name: String,
        /// What it said.
        message: String,
    },
    /// A node ended without a word.
    #[error("node {name}: ended while starting ({status}); its log is {}{}", log.display(), last(log_tail))]
    EndedAtStart {
        /// The node.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines that it logged.
        log_tail: Vec<String>,
    },
    /// A node was not ready in time.
    #[error("node {name}: not ready within {} s; its log is {}", within.as_secs(), log.display())]
    NotReady {
        /// The node.
        name: String,
        /// The time that it had.
        within: Duration,
        /// Its log file.
        log: PathBuf,
    },
    /// A node was to be started that runs.
    #[error("node {name}: still running as process {pid}")]
    StillRunning {
        /// The node.
        name: String,
        /// Its process.
        pid: u32,
    },
    /// A process could not be signalled or waited for.
    #[error("node {name}: cannot be signalled")]
    Signal {
        /// The node.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
}

fn last(log_tail: &[String]) -> String {
    log_tail
        .last()
        .map(|line| format!(" and ends with: {line}"))
        .unwrap_or_default()
}
