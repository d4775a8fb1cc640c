//! A snapshot of 1 GiB goes to a node that was away: `cargo test -p queenright --test large_snapshot -- --nocapture`. Takes
//! some minutes, 4 GiB of memory and 6 GiB of disk.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;
mod slow_snapshot;

use std::path::Path;
use std::process::Command;

use crate::slow_snapshot::{Sending, check};

/// The binary, with a state folder and an environment of its own.
fn queenright(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_queenright"));
    command
        .env("XDG_STATE_HOME", state)
        .env_remove("QUEENRIGHT_NODE")
        .env_remove("QUEENRIGHT_LOG");
    command
}

#[test]
fn a_gibibyte_goes_to_a_node_that_was_away_and_nobody_is_elected() {
    let seen = check(&Sending {
        name: "large-snapshot",
        values: 256,
        value_bytes: 4 << 20,
        bytes_per_s: 64 << 20,
    });
    println!("{seen:?}");
    assert!(seen.snapshot_bytes > 1 << 30, "{seen:?}");
    assert!(seen.puts > 10, "{seen:?}");
}
