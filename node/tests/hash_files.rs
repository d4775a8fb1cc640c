//! A thousand files hashed by fifty workers on three nodes while workers and a node are killed. It takes minutes, so it
//! runs by name: `cargo test -p queenright --test hash_files`.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;
#[allow(dead_code, reason = "its own tests run with all others")]
mod run;

use crate::run::Scale;

#[test]
fn a_thousand_files_are_hashed_once_by_fifty_workers_that_are_killed() {
    let scale = Scale {
        files: 1_000,
        workers: 50,
        kills: 30,
    };
    run::hash_files("hashed-1000", &scale);
}
