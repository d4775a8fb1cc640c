//! The folder in which the tests make repositories, and the checks that they share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::generate::{GenerateOptions, generate, hard};
use super::*;

mod generated;
mod reading;
mod refusals;

const SEED: u64 = 7;
const COMMITS: usize = 600;

/// A folder for the repositories of one test, which is also the empty home of the git that sets them up.
struct Rig(TempDir);

impl Rig {
    fn new() -> Rig {
        Rig(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The hard repository, opened.
    fn hard(&self, commits: usize) -> Repository {
        hard(&self.path("hard"), SEED, commits).unwrap();
        Repository::open(&self.path("hard")).unwrap()
    }

    /// A repository of two commits whose objects are loose: `a` holds `one`, then `two`; `b/c` stays.
    fn small(&self) -> PathBuf {
        let root = self.path("small");
        self.git(&["init", "--quiet", "--template=", "small"]);
        std::fs::create_dir(root.join("b")).unwrap();
        std::fs::write(root.join("b/c"), "stays").unwrap();
        for text in ["one", "two"] {
            std::fs::write(root.join("a"), text).unwrap();
            self.git(&["-C", "small", "add", "."]);
            self.git(&["-C", "small", "commit", "--quiet", "--message", text]);
        }
        root
    }

    fn url(&self, name: &str) -> String {
        format!("file://{}", self.path(name).display())
    }

    /// Runs git in the folder, which must succeed, and returns what it prints.
    fn git(&self, arguments: &[&str]) -> String {
        let output = self.git_with(arguments, &[]);
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn git_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_")) {
            command.env_remove(name);
        }
        command
            .current_dir(self.0.path())
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]);
        command
            .args(arguments)
            .env("HOME", self.0.path())
            .env_remove("XDG_CONFIG_HOME")
            .env("LC_ALL", "C");
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// The id that git gives to the object.
    fn id(&self, name: &str) -> ObjectId {
        self.git(&["-C", "small", "rev-parse", name]).parse().unwrap()
    }

    /// The file of a loose object of the small repository.
    fn loose(&self, id: &ObjectId) -> PathBuf {
        let digits = id.to_string();
        self.path("small/.git/objects").join(&digits[..2]).join(&digits[2..])
    }
}

type Tree = BTreeMap<Vec<u8>, FileState>;

fn tree(repository: &Repository, commit: &ObjectId) -> Tree {
    repository
        .tree(commit)
        .unwrap()
        .into_iter()
        .map(|entry| (entry.path, entry.state))
        .collect()
}

/// Applies every change to an empty tree, compares what was before, and compares with git after each of `points`.
fn check_replay(repository: &Repository, history: &History, points: &[usize]) {
    let mut now = Tree::new();
    for (count, commit) in (1..).zip(&history.commits) {
        assert!(
            commit.changes.is_sorted_by(|one, other| one.path < other.path),
            "{}",
            commit.id
        );
        for change in &commit.changes {
            assert_eq!(
                now.get(&change.path),
                change.before.as_ref(),
                "{} in commit {count}",
                change.path.escape_ascii()
            );
            assert_ne!(change.before, change.after);
            match change.after {
                Some(state) => now.insert(change.path.clone(), state),
                None => now.remove(&change.path),
            };
        }
        if points.contains(&count) {
            assert_eq!(now, tree(repository, &commit.id), "after {count} commits");
        }
    }
    assert_eq!(now, tree(repository, &history.commits.last().unwrap().id));
}

/// The error of reading the whole history and every blob of it.
fn read_all(path: &Path) -> Result<(), GitError> {
    let repository = Repository::open(path)?;
    let history = repository.history("HEAD", None)?;
    repository.tree(&history.head)?;
    let mut blobs = repository.blobs()?;
    let states = history
        .commits
        .iter()
        .flat_map(|commit| &commit.changes)
        .filter_map(|change| change.after);
    states
        .filter(|state| state.mode != Mode::Submodule)
        .try_for_each(|state| blobs.read(&state.id).map(drop))
}

fn check_error(path: &Path, expected: &str) {
    check_line(&read_all(path).unwrap_err(), expected);
}

/// The message is one line and contains what is expected.
fn check_line(error: &GitError, expected: &str) {
    let line = error.to_string();
    assert!(
        line.contains(expected) && !line.contains('\n'),
        "{line:?} instead of {expected:?}"
    );
}
