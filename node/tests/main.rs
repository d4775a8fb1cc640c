//! Tests of the real binary, one module for each subject.

mod acknowledged;
mod bench;
mod branches;
mod colony;
mod config;
mod counter;
mod damage;
mod demo;
mod disturbed;
mod divergence;
mod failures;
mod git;
mod histories;
mod landing;
mod leader_change;
mod processes;
mod projects;
mod proposals;
mod races;
mod recover;
mod recovery;
mod refusals;
mod replacement;
mod replay;
mod reservations;
mod run;
mod sessions;
mod slow_snapshot;
mod subscribers;
mod supervision;
mod tasks;
mod waits;

use std::path::Path;
use std::process::{Command, Output};

/// The binary, with a state folder and an environment of its own.
fn queenright(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_queenright"));
    command
        .env("XDG_STATE_HOME", state)
        .env_remove("QUEENRIGHT_NODE")
        .env_remove("QUEENRIGHT_LOG");
    command
}

/// The command must end with this code, print nothing on stdout, and say why in one line on stderr, which is returned.
fn refused(command: &mut Command, code: i32) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the binary was built for this test");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{command:?}\n{stderr}");
    assert_eq!(stdout, "", "{command:?}");
    let line = stderr.strip_suffix('\n').unwrap_or(&stderr);
    assert!(!line.is_empty() && !line.contains('\n'), "{command:?}\n{stderr}");
    line.to_owned()
}
