//! Why files did not come in or out.

use std::io;

use queenright_bench::client::ClientError;

use crate::git::GitError;

/// Why files did not come in or out.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The node did not answer, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The repository cannot be read.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A prefix is no folder of keys.
    #[error("--prefix: {prefix:?} does not end with a slash")]
    Prefix {
        /// The prefix.
        prefix: String,
    },
    /// The files were changed all the time while they were read. Nothing was written; try again.
    #[error("the keys below {prefix:?} have changed {attempts} times while they were read")]
    Restless {
        /// The prefix.
        prefix: String,
        /// How often they were read.
        attempts: u32,
    },
    /// A record is no file. Nothing was written.
    #[error("{key}: {problem}")]
    NoFile {
        /// Its key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A path leads where no file may be written. Nothing was written.
    #[error("{path}: {problem}")]
    Unsafe {
        /// The path.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The folder holds something, and nothing says that it was written by a checkout. Nothing was written.
    #[error("{folder} is not empty and no checkout (--force writes into it all the same)")]
    NotEmpty {
        /// The folder.
        folder: String,
    },
    /// Files of the folder would be lost. Nothing was written.
    #[error("{path}: {problem} ({count} such paths; --force overwrites them)")]
    InTheWay {
        /// The first of them.
        path: String,
        /// Why it is in the way.
        problem: String,
        /// How many there are.
        count: usize,
    },
    /// The file in which a checkout notes what it wrote is damaged.
    #[error("{path}: {problem}")]
    Manifest {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

impl TreeError {
    pub(super) fn io(path: impl std::fmt::Display) -> impl FnOnce(io::Error) -> TreeError {
        let path = path.to_string();
        move |source| TreeError::Io { path, source }
    }
}
