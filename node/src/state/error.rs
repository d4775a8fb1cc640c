//! What can go wrong around the state folders.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Door;

/// Why state could not be found, read or written.
#[derive(Debug, Error)]
pub enum StateError {
    /// There is no folder for the state of this user.
    #[error("neither XDG_STATE_HOME nor HOME is set to a folder; set one, or {instead}")]
    NoHome {
        /// What else the caller may do.
        instead: &'static str,
    },
    /// The operating system refused. Nothing that was there before has changed.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The cookie file does not hold a cookie. To make a new one, stop all nodes of the cluster and remove the file.
    #[error("{}: not a cookie (expected 64 hexadecimal digits)", path.display())]
    BadCookie {
        /// The file.
        path: PathBuf,
    },
    /// The file of the admin token does not hold one. To make a new one, remove the file and start a node.
    #[error("{}: not a token (expected qr_ and 64 hexadecimal digits)", path.display())]
    BadAdminToken {
        /// The file.
        path: PathBuf,
    },
    /// A file among the records of running nodes is none. It may be removed.
    #[error("{}: not the record of a running node", path.display())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// Where it departs.
        source: serde_json::Error,
    },
    /// The address of a node cannot be used.
    #[error("node {text:?} {problem}")]
    BadDoor {
        /// As given by `--node` or `QUEENRIGHT_NODE`.
        text: String,
        /// What is wrong and what is expected.
        problem: &'static str,
    },
    /// Several clusters run, so it is not clear which one is meant.
    #[error(
        "several clusters run on this host; choose a node with --node or QUEENRIGHT_NODE: {}",
        list(clusters)
    )]
    SeveralClusters {
        /// Each cluster with the door of its first node.
        clusters: Vec<(String, Door)>,
    },
    /// No node of this user runs on this host.
    #[error(
        "no node is running here; start a cluster with `queenright up FILE`, or name a node with --node or QUEENRIGHT_NODE"
    )]
    NothingRunning,
}

impl StateError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> StateError {
        StateError::Io {
            doing,
            path: path.to_path_buf(),
            source,
        }
    }
}

fn list(clusters: &[(String, Door)]) -> String {
    clusters
        .iter()
        .map(|(cluster, door)| format!("{cluster} at {door}"))
        .collect::<Vec<_>>()
        .join(", ")
}
