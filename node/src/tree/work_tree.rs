//! A folder that is a work tree of git.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use std::collections::{BTreeMap, BTreeSet};

use super::TreeError;
use super::branch::file;
use super::checkout::{Marks, check_paths, mark};
use crate::git::{GitError, Repository};

/// A work tree, as far as a checkout into it is concerned.
pub(super) struct WorkTree {
    /// Where git keeps what is of this work tree alone.
    pub(super) own_folder: PathBuf,
    /// The files of its last commit.
    pub(super) committed: Marks,
}

impl WorkTree {
    /// The work tree whose top is `folder`; none where git knows of none.
    pub(super) fn at(folder: &Path) -> Result<Option<WorkTree>, TreeError> {
        if fs::symlink_metadata(folder.join(".git")).is_err() {
            return Ok(None);
        }
        // What git does not take for a work tree, or a host without git: a folder like any other.
        let Ok(repository) = Repository::open(folder) else {
            return Ok(None);
        };
        let Some(own_folder) = repository.own_folder()? else {
            return Ok(None);
        };
        let own_folder = PathBuf::from(OsStr::from_bytes(&own_folder));
        let committed = committed(&repository)?;
        Ok(Some(WorkTree { own_folder, committed }))
    }
}

fn committed(repository: &Repository) -> Result<Marks, TreeError> {
    let commit = match repository.commit("HEAD") {
        Ok(commit) => commit,
        Err(GitError::Empty { .. } | GitError::UnknownReference { .. }) => return Ok(Marks::new()),
        Err(error) => return Err(error.into()),
    };
    let mut blobs = repository.blobs()?;
    let mut marks = Marks::new();
    for entry in repository.tree(&commit)? {
        // A commit may hold what no checkout writes.
        if check_paths(&BTreeMap::from([(entry.path.clone(), ())])).is_ok() {
            let mark = mark(&file(&mut blobs, entry.state)?);
            marks.insert(entry.path, BTreeSet::from([mark]));
        }
    }
    Ok(marks)
}
