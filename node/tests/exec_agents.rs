//! A thousand tasks by `exec` agents on three nodes that are killed at random: each result is committed once, and no process
//! stays behind. It takes minutes, so it runs by name: `cargo test -p queenright --test exec_agents a_thousand`; a short form
//! of it in about one: `cargo test -p queenright --test exec_agents a_hundred`.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;
#[allow(dead_code, reason = "its own tests run with all others")]
mod hosted;
#[allow(dead_code, reason = "its own tests run with all others")]
mod run;

use crate::hosted::Kills;

#[test]
fn a_thousand_tasks_are_done_once_by_agents_of_nodes_that_are_killed() {
    let scale = Kills {
        tasks: 1_000,
        kills: 10,
        seed: 1_000,
    };
    hosted::tasks_and_kills("exec-1000", &scale);
}

#[test]
fn a_hundred_tasks_are_done_once_by_agents_of_nodes_that_are_killed() {
    let scale = Kills {
        tasks: 100,
        kills: 2,
        seed: 100,
    };
    hosted::tasks_and_kills("exec-100", &scale);
}
