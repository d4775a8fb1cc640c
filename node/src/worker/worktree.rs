//! A git worktree for each attempt at a task: made before the command, removed when the task is done, kept when it is not.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::task::spawn_blocking;

use super::hold::Held;
use crate::git::{GitError, Repository};

/// The variable of the environment with the folder of the worktree.
pub const WORKTREE: &str = "QUEENRIGHT_WORKTREE";

/// From what worktrees are made, and where.
#[derive(Clone, Debug)]
pub struct Worktrees {
    /// The repository, or a folder in it.
    pub repository: PathBuf,
    /// The commit that they begin with: a reference, looked up for each anew.
    pub base: String,
    /// The folder in which they are made: nothing else lies in it.
    pub folder: PathBuf,
    /// How many of those are kept whose task was not done, the last ones.
    pub keep: usize,
    // A mutex: attempts work side by side, and git changes its list of worktrees one at a time. Held by tasks that block.
    at_work: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// Why there is no worktree.
#[derive(Debug, thiserror::Error)]
pub enum WorktreeError {
    /// Git did not make it.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The folder for it cannot be made.
    #[error("cannot make the folder {folder}")]
    Folder {
        /// The folder.
        folder: String,
        /// Why.
        source: io::Error,
    },
}

/// A worktree of one attempt.
#[derive(Debug)]
pub(super) struct Worktree {
    pub(super) folder: PathBuf,
}

impl Worktrees {
    /// Worktrees of a repository. Nothing is looked at yet.
    pub fn new(repository: PathBuf, base: String, folder: PathBuf, keep: usize) -> Worktrees {
        Worktrees {
            repository,
            base,
            folder,
            keep,
            at_work: Arc::default(),
        }
    }

    /// A name as that of a folder: what is no letter, digit, `-` or `_` is a `_`.
    pub fn plain(name: &str) -> String {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
                c
            } else {
                '_'
            }
        };
        name.chars().map(plain).collect()
    }

    /// Looks whether the repository and the commit are there, and removes of what is left from before what is too much.
    ///
    /// # Errors
    /// [`WorktreeError`].
    pub async fn open(&self) -> Result<(), WorktreeError> {
        self.blocking(|trees, at_work| {
            let repository = Repository::open(&trees.repository)?;
            repository.commit(&trees.base)?;
            make_folder(&trees.folder)?;
            repository.prune_worktrees()?;
            trees.tidy(&repository, at_work);
            Ok(())
        })
        .await
    }

    /// Makes the worktree of an attempt. Its name is of its project, its task, its attempt and its fence.
    pub(super) async fn make(&self, project: &str, held: &Held) -> Result<Worktree, WorktreeError> {
        let name = name(project, &held.id().to_string(), held.task.attempt, held.task.fence);
        self.blocking(move |trees, at_work| {
            let repository = Repository::open(&trees.repository)?;
            let commit = repository.commit(&trees.base)?;
            make_folder(&trees.folder)?;
            let folder = trees.folder.join(name);
            repository.add_worktree(&folder, &commit)?;
            at_work.insert(folder.clone());
            Ok(Worktree { folder })
        })
        .await
    }

    /// Ends the worktree of an attempt. One that is not kept is removed; that it could not be is logged.
    pub(super) async fn end(&self, tree: Worktree, keep: bool) {
        let ended = self.blocking(move |trees, at_work| {
            at_work.remove(&tree.folder);
            let repository = Repository::open(&trees.repository)?;
            match keep {
                true => trees.tidy(&repository, at_work),
                false => remove(&repository, &tree.folder),
            }
            Ok(())
        });
        if let Err(error) = ended.await {
            tracing::warn!(%error, "a worktree stays behind");
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Worktrees, &mut BTreeSet<PathBuf>) -> Result<T, WorktreeError> + Send + 'static,
    ) -> Result<T, WorktreeError> {
        let trees = self.clone();
        let worked = spawn_blocking(move || {
            let mut at_work: MutexGuard<'_, _> = trees.at_work.lock().unwrap_or_else(PoisonError::into_inner);
            work(&trees, &mut at_work)
        });
        // A bug in there is one of the worker.
        worked
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Removes the oldest of those that nobody works in, until as many are left as are kept.
    fn tidy(&self, repository: &Repository, at_work: &BTreeSet<PathBuf>) {
        let found = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut kept: Vec<(SystemTime, PathBuf)> = found
            .map(|entry| entry.path())
            .filter(|path| !at_work.contains(path))
            .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
            .collect();
        kept.sort_unstable();
        let old = kept.len().saturating_sub(self.keep);
        for (_, path) in &kept[..old] {
            remove(repository, path);
        }
    }
}

fn make_folder(folder: &Path) -> Result<(), WorktreeError> {
    fs::create_dir_all(folder).map_err(|source| WorktreeError::Folder {
        folder: folder.display().to_string(),
        source,
    })
}

/// Removes a worktree, or what is left of one that git knows no more.
fn remove(repository: &Repository, folder: &Path) {
    let Err(error) = repository.remove_worktree(folder) else {
        return;
    };
    let removed = fs::remove_dir_all(folder);
    let _ = repository.prune_worktrees();
    if let Err(source) = removed {
        tracing::warn!(folder = %folder.display(), %error, %source, "a worktree stays behind");
    }
}

fn name(project: &str, task: &str, attempt: u32, fence: u64) -> String {
    let project = Worktrees::plain(project);
    format!("{project}-task-{task}-attempt-{attempt}-fence-{fence}")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(folder: &Path, arguments: &[&str]) {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(folder)
            .args(["-c", "user.name=t", "-c", "user.email=t@t"]);
        assert!(
            command.args(arguments).output().unwrap().status.success(),
            "{arguments:?}"
        );
    }

    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "--quiet"]);
        fs::write(folder.path().join("file"), "1").unwrap();
        git(folder.path(), &["add", "."]);
        git(folder.path(), &["commit", "--quiet", "-m", "first"]);
        folder
    }

    #[test]
    fn a_name_is_a_plain_one() {
        assert_eq!(name("a b.ü", "7-1", 2, 9), "a_b__-task-7-1-attempt-2-fence-9");
    }

    #[tokio::test]
    async fn as_many_are_kept_as_are_to_be_the_last_ones() {
        let repository = repository();
        let folder = tempfile::tempdir().unwrap();
        let trees = folder.path().join("trees");
        let worktrees = Worktrees::new(repository.path().to_owned(), "HEAD".to_owned(), trees.clone(), 2);
        worktrees.open().await.unwrap();
        let opened = Repository::open(repository.path()).unwrap();
        let head = opened.commit("HEAD").unwrap();
        for number in 0..4 {
            let tree = trees.join(number.to_string());
            opened.add_worktree(&tree, &head).unwrap();
            assert_eq!(fs::read(tree.join("file")).unwrap(), b"1");
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number);
            fs::File::open(&tree).unwrap().set_modified(time).unwrap();
        }
        // One that somebody works in is not looked at.
        worktrees.at_work.lock().unwrap().insert(trees.join("0"));
        worktrees.open().await.unwrap();
        let left = |number: usize| trees.join(number.to_string()).exists();
        assert_eq!([0, 1, 2, 3].map(left), [true, false, true, true]);
        worktrees
            .end(
                Worktree {
                    folder: trees.join("0"),
                },
                false,
            )
            .await;
        assert_eq!([0, 1, 2, 3].map(left), [false, false, true, true]);
        // A folder that somebody has removed is forgotten, and a name may come again.
        fs::remove_dir_all(trees.join("3")).unwrap();
        opened.remove_worktree(&trees.join("3")).unwrap();
        opened.add_worktree(&trees.join("3"), &head).unwrap();
    }

    #[tokio::test]
    async fn what_is_no_repository_and_what_names_no_commit_is_refused() {
        let repository = repository();
        let folder = tempfile::tempdir().unwrap();
        let open = |repository: &Path, base: &str| {
            let trees = Worktrees::new(repository.to_owned(), base.to_owned(), folder.path().join("t"), 0);
            async move { trees.open().await.unwrap_err().to_string() }
        };
        assert!(open(folder.path(), "HEAD").await.ends_with("not a git repository"));
        let problem = open(repository.path(), "--upload-pack=x").await;
        assert!(problem.contains("names no commit of the repository"), "{problem}");
    }
}
