//! Reads a git repository by plumbing alone, as `queenright replay` needs it: the first-parent commits with what each
//! changed, the tree of a commit, and the bytes of blobs.
//!
//! Nothing here writes to a repository that it reads, but for `worktree.rs`, which is told to, asks the network, or depends on the user's configuration
//! (`process.rs` lists what is neutralised). All calls block; an async caller makes them from a blocking task.
//! [`generate`] makes repositories to replay where no suitable checkout exists.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use process::Git;

mod blobs;
mod error;
pub mod generate;
mod history;
pub mod key;
mod object;
mod process;
#[cfg(test)]
mod tests;
mod worktree;

pub use blobs::BlobReader;
pub use error::GitError;
pub use history::History;
pub use object::{Change, Commit, FileState, Mode, ObjectId, ParseObjectIdError, TreeEntry, blob_id};

/// A git repository that can be read: git finds it, lets this user read it, and it names objects by SHA-1.
#[derive(Clone, Debug)]
pub struct Repository {
    git: Git,
}

impl Repository {
    /// Opens the repository that `path` lies in: a work tree, a folder of it, or a bare repository.
    ///
    /// # Errors
    ///
    /// [`GitError::PathMissing`], [`GitError::NotARepository`], [`GitError::DubiousOwnership`], [`GitError::Sha256`],
    /// [`GitError::ProgramMissing`], or what else keeps git from running.
    pub fn open(path: &Path) -> Result<Repository, GitError> {
        Repository::open_with("git".as_ref(), path)
    }

    /// The folder that was opened, as an absolute path without symbolic links.
    pub fn root(&self) -> &Path {
        self.git.root()
    }

    /// The first-parent commits of `reference`, oldest first, each with what it changed against its first parent;
    /// with `oldest`, only that many of them.
    ///
    /// # Errors
    ///
    /// [`GitError::Empty`], [`GitError::UnknownReference`], [`GitError::Shallow`], or [`GitError::MissingObject`] where
    /// a commit or a tree is not there.
    pub fn history(&self, reference: &str, oldest: Option<usize>) -> Result<History, GitError> {
        let head = self.git.resolve(reference)?;
        if self.git.output(&["rev-parse", "--is-shallow-repository"])?.trim_ascii() == b"true" {
            return Err(GitError::Shallow {
                path: self.root().to_path_buf(),
            });
        }
        History::read(&self.git, &head, oldest)
    }

    /// The commit that `reference` names.
    ///
    /// # Errors
    ///
    /// [`GitError::Empty`], [`GitError::UnknownReference`].
    pub fn commit(&self, reference: &str) -> Result<ObjectId, GitError> {
        self.git.resolve(reference)
    }

    /// The last commit that both have come from.
    ///
    /// # Errors
    ///
    /// [`GitError::Failed`] where they have none in common.
    pub fn merge_base(&self, one: &ObjectId, other: &ObjectId) -> Result<ObjectId, GitError> {
        let answer = self.git.output(&["merge-base", &one.to_string(), &other.to_string()]);
        let answer = answer.map_err(|error| match error {
            GitError::Failed { command, .. } => GitError::Failed {
                command,
                message: format!("{one} and {other} have no commit in common"),
            },
            other => other,
        })?;
        let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        ObjectId::from_hex(line).ok_or_else(|| GitError::Unexpected {
            command: "merge-base".to_owned(),
            detail: answer.escape_ascii().to_string(),
        })
    }

    /// What differs between the trees of two commits, sorted by the bytes of the path.
    ///
    /// # Errors
    ///
    /// [`GitError::MissingObject`] where a commit or a tree is not there.
    pub fn difference(&self, base: &ObjectId, head: &ObjectId) -> Result<Vec<Change>, GitError> {
        history::read_difference(&self.git, base, head)
    }

    /// Every file of the tree of `commit`, in all folders, sorted by the bytes of the path.
    ///
    /// # Errors
    ///
    /// [`GitError::MissingObject`] where the commit or one of its trees is not there.
    pub fn tree(&self, commit: &ObjectId) -> Result<Vec<TreeEntry>, GitError> {
        history::read_tree(&self.git, commit)
    }

    /// Starts one `git cat-file --batch`, which serves every [`BlobReader::read`] until the reader is dropped.
    ///
    /// # Errors
    ///
    /// What keeps git from starting.
    pub fn blobs(&self) -> Result<BlobReader, GitError> {
        BlobReader::start(&self.git)
    }

    /// As [`Repository::open`], with the program to call as git.
    fn open_with(program: &std::ffi::OsStr, path: &Path) -> Result<Repository, GitError> {
        let root = canonical(path)?;
        if !root.is_dir() {
            return Err(GitError::NotARepository { path: root });
        }
        let git = Git::new(program, root);
        // A git of before 2.25 knows SHA-1 alone and answers with the option itself.
        if git.output(&["rev-parse", "--show-object-format"])?.trim_ascii() == b"sha256" {
            return Err(GitError::Sha256 {
                path: git.root().to_path_buf(),
            });
        }
        Ok(Repository { git })
    }
}

fn canonical(path: &Path) -> Result<PathBuf, GitError> {
    path.canonicalize().map_err(|source| match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => GitError::PathMissing {
            path: path.to_path_buf(),
        },
        _ => GitError::Path {
            path: path.to_path_buf(),
            source,
        },
    })
}
