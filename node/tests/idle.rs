//! A cluster that nobody commands anything for longer than a command lives. It takes over a minute, so it runs by name:
//! `cargo test -p queenright --test idle`.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;

use std::thread;
use std::time::Duration;

use crate::colony::{Colony, NODES};

/// Commands live for a minute.
const IDLE: Duration = Duration::from_secs(65);

#[test]
fn a_node_that_starts_when_nothing_was_commanded_for_long_takes_its_first_command() {
    let mut colony = Colony::start("idle");
    let leader = colony.leader_at("n1", None);
    let node = NODES.into_iter().find(|node| *node != leader).unwrap();
    colony.at(node, &["memory", "put", "before", "1"]).with_code(0);
    colony.stop_node(node);
    thread::sleep(IDLE);
    colony.start_node(node);
    colony.at(node, &["memory", "put", "after", "1"]).with_code(0);
    colony.same_digest();
}
