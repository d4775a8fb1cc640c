//! The races at full size, and with a node that is killed half-way. They take minutes, so they run by name:
//! `cargo test -p queenright --test race -- --nocapture`. `RACE_TASKS` says for how many tasks (1,000).

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;
#[allow(dead_code, reason = "its own test runs with all others")]
mod races;

use crate::colony::{Colony, NODES};

fn tasks() -> usize {
    match std::env::var("RACE_TASKS") {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("RACE_TASKS={text:?} is no number")),
        Err(_) => 1_000,
    }
}

#[test]
fn every_task_has_one_winner_and_63_losers() {
    let (mut colony, tasks) = (Colony::start("race-full"), tasks());
    let count = races::race(&mut colony, tasks, None);
    println!("{count:?}");
    assert_eq!((count.attempts, count.winners), (64 * tasks, tasks));
    assert_eq!((count.refusals, count.failed), (63 * tasks, 0));
}

/// Kills a node half-way that does not lead, or the one that does.
fn killed(name: &str, leader: bool) {
    let mut colony = Colony::start(name);
    let leads = colony.leader_at("n1", None);
    let node = NODES.into_iter().rev().find(|node| (*node == leads) == leader);
    let count = races::race(&mut colony, tasks(), node);
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
