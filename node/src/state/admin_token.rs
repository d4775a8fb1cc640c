//! The token with which a person on the host of a node begins.

use std::fmt;
use std::path::{Path, PathBuf};

use queenright_protocol::colony::SecretHash;

use super::StateError;
use super::cookie::read_or_make;
use crate::secret;

/// A token of scope admin that the nodes of this host take, made at the first start of one of them. It is no part of the
/// replicated state: whoever can read its file can read the data of the nodes as well. Never logged: its `Debug` shows
/// nothing of it.
#[derive(Clone)]
pub struct AdminToken {
    path: PathBuf,
    hash: SecretHash,
}

impl AdminToken {
    /// The hash of its secret.
    pub fn hash(&self) -> &SecretHash {
        &self.hash
    }

    /// The file that it lies in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the token of `path`; if there is none, makes one that only the owner can read.
    pub(super) fn read_or_create(path: &Path) -> Result<AdminToken, StateError> {
        let text = read_or_make(path, secret::new)?;
        let text = text.trim_end();
        if !secret::has_form(text) {
            return Err(StateError::BadAdminToken {
                path: path.to_path_buf(),
            });
        }
        Ok(AdminToken {
            path: path.to_path_buf(),
            hash: secret::hash(text),
        })
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(secret)")
    }
}
