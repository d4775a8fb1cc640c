//! A thousand files hashed by fifty workers on three nodes while workers and a node are killed. It takes minutes, so it
//! runs by name: `cargo test -p queenright --test hash_files`.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;
#[allow(dead_code, reason = "its own tests run with all others")]
mod run;

use std::path::Path;
use std::process::{Command, Output};

use crate::run::Scale;

/// The binary, with a state folder and an environment of its own.
fn queenright(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_queenright"));
    command
        .env("XDG_STATE_HOME", state)
        .env_remove("QUEENRIGHT_NODE")
        .env_remove("QUEENRIGHT_LOG");
    command
}

/// As in the other test binary.
fn refused(command: &mut Command, code: i32) -> String {
    let Output { status, stderr, .. } = command.output().expect("the binary was built for this test");
    assert_eq!(status.code(), Some(code), "{command:?}");
    String::from_utf8_lossy(&stderr).trim_end().to_owned()
}

#[test]
fn a_thousand_files_are_hashed_once_by_fifty_workers_that_are_killed() {
    let scale = Scale {
        files: 1_000,
        workers: 50,
        kills: 30,
    };
    run::hash_files("hashed-1000", &scale);
}
