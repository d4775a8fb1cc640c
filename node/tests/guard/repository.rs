//! A git repository of a test, in which git and its hooks find the cluster of the test.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::colony::{Colony, Ran};

/// A repository with a bare one beside it as its origin.
pub(crate) struct Repository<'a> {
    colony: &'a Colony,
    pub(crate) top: PathBuf,
}

impl<'a> Repository<'a> {
    pub(crate) fn new(colony: &'a Colony) -> Repository<'a> {
        let top = colony.folder().join("repository");
        let bare = colony.folder().join("bare.git");
        fs::create_dir_all(top.join("src")).unwrap();
        let repository = Repository { colony, top };
        repository.git(&["init", "--quiet", "--initial-branch=main", "."]).ok();
        repository
            .git(&["init", "--quiet", "--bare", bare.to_str().unwrap()])
            .ok();
        repository
            .git(&["remote", "add", "origin", bare.to_str().unwrap()])
            .ok();
        repository
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.top)
            .env("XDG_STATE_HOME", self.colony.folder())
            .env("HOME", self.colony.folder())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env_remove("QUEENRIGHT_NODE")
            .env_remove("QUEENRIGHT_TOKEN")
            .stdin(Stdio::null());
        for name in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{name}_NAME"), "ann")
                .env(format!("GIT_{name}_EMAIL"), "ann@example.org");
        }
        command
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> Git {
        Git(self.command("git").args(arguments).output().expect("git is there"))
    }

    /// `queenright guard` in the repository.
    pub(crate) fn guard(&self, arguments: &[&str]) -> Ran {
        let program = env!("CARGO_BIN_EXE_queenright");
        Ran::of(self.command(program).arg("guard").args(arguments))
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.top.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn hook(&self, name: &str) -> PathBuf {
        self.top.join(".git/hooks").join(name)
    }
}

/// How git ended.
pub(crate) struct Git(pub(crate) Output);

impl Git {
    #[track_caller]
    pub(crate) fn ok(self) {
        assert!(self.0.status.success(), "{}", self.text());
    }

    /// It must have failed; what it said.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert!(!self.0.status.success(), "{}", self.text());
        self.text()
    }

    pub(crate) fn text(&self) -> String {
        format!(
            "{}{}",
            String::from_utf8_lossy(&self.0.stdout),
            String::from_utf8_lossy(&self.0.stderr)
        )
    }
}
