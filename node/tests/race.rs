//! The races at full size, and with a node that is killed half-way. They take minutes, so they run by name:
//! `cargo test -p queenright --test race -- --nocapture`.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;
#[allow(dead_code, reason = "its own test runs with all others")]
mod races;

use std::path::Path;
use std::process::Command;

use crate::colony::{Colony, NODES};

const TASKS: usize = 1_000;

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
fn a_thousand_tasks_have_a_thousand_winners() {
    let mut colony = Colony::start("race-1000");
    let count = races::race(&mut colony, TASKS, None);
    println!("{count:?}");
    assert_eq!((count.attempts, count.winners), (64 * TASKS, TASKS));
    assert_eq!((count.refusals, count.failed), (63 * TASKS, 0));
}

/// Kills a node half-way that does not lead, or the one that does.
fn killed(name: &str, leader: bool) {
    let mut colony = Colony::start(name);
    let leads = colony.leader_at("n1", None);
    let node = NODES.into_iter().rev().find(|node| (*node == leads) == leader);
    let count = races::race(&mut colony, TASKS, node);
    println!("{count:?}");
    // Those of the killed node: one third of the racers, and what they won is known from who was named.
    assert_eq!(count.failed, 0);
    assert_eq!(count.attempts, count.winners + count.refusals);
}

#[test]
fn with_a_follower_killed_half_way_no_task_has_two_owners() {
    killed("race-follower", false);
}

#[test]
fn with_the_leader_killed_half_way_no_task_has_two_owners() {
    killed("race-leader", true);
}
