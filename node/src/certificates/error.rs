//! What can go wrong with certificates.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::config::ConfigError;
use crate::state::StateError;

/// Why certificates were not made, or cannot be shown.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// There is something already. Nothing was made.
    #[error("{}: is there already and is not overwritten (`queenright tls renew` makes new certificates of nodes)", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The authority is not there. Nothing was made.
    #[error("{}: cannot be read (`queenright tls init` makes an authority)", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A name cannot stand in a certificate. Nothing was made.
    #[error("{}: {key}: {name:?} {problem}", file.display())]
    Name {
        /// The cluster file.
        file: PathBuf,
        /// The key.
        key: String,
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file cannot be written; those before it were.
    #[error("{}: cannot be written", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds no certificate.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A certificate cannot be made so, or the key of the authority is none.
    #[error("cannot make certificates")]
    Issue(#[from] rcgen::Error),
    /// The folder cannot be made.
    #[error(transparent)]
    Folder(#[from] StateError),
    /// The cluster file does not list such a node.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
