//! Worktrees of a repository: folders with the files of a commit, that share its objects. The only thing that this module
//! changes in a repository that it was given is its list of them.

use std::path::Path;

use super::{GitError, ObjectId, Repository};

impl Repository {
    /// Makes a worktree in a folder that is not there yet, with the files of `commit` and no branch.
    ///
    /// # Errors
    /// [`GitError::Failed`] with what git says, such as that the folder is there; [`GitError::MissingObject`].
    pub fn add_worktree(&self, folder: &Path, commit: &ObjectId) -> Result<(), GitError> {
        let commit = commit.to_string();
        let arguments = ["worktree", "add", "--quiet", "--detach", text(folder)?, &commit];
        self.git.output(&arguments).map(drop)
    }

    /// Removes a worktree with all that is in its folder. One whose folder is gone already is no error.
    ///
    /// # Errors
    /// [`GitError::Failed`], such as for a folder that is no worktree of this repository.
    pub fn remove_worktree(&self, folder: &Path) -> Result<(), GitError> {
        if !folder.exists() {
            return self.prune_worktrees();
        }
        // Twice: also one that somebody has locked.
        let arguments = ["worktree", "remove", "--force", "--force", text(folder)?];
        self.git.output(&arguments).map(drop)
    }

    /// Where git keeps what is of this work tree alone, such as its index; none unless the folder that was opened is the
    /// top of a work tree.
    ///
    /// # Errors
    /// What keeps git from running.
    pub fn own_folder(&self) -> Result<Option<Vec<u8>>, GitError> {
        if self.git.output(&["rev-parse", "--is-inside-work-tree"])?.trim_ascii() != b"true" {
            return Ok(None);
        }
        // What leads up to the top, a line that is empty there, and the folder.
        let answer = self.git.output(&["rev-parse", "--show-cdup", "--absolute-git-dir"])?;
        let folder = answer
            .strip_prefix(b"\n")
            .map(|rest| rest.strip_suffix(b"\n").unwrap_or(rest));
        Ok(folder.map(<[u8]>::to_vec))
    }

    /// Forgets the worktrees whose folders are gone.
    ///
    /// # Errors
    /// What keeps git from running.
    pub fn prune_worktrees(&self) -> Result<(), GitError> {
        self.git.output(&["worktree", "prune"]).map(drop)
    }
}

fn text(folder: &Path) -> Result<&str, GitError> {
    folder.to_str().ok_or_else(|| GitError::Unexpected {
        command: "worktree".to_owned(),
        detail: format!("{} is not UTF-8", folder.display()),
    })
}
