//! Minutes of clients on a cluster that is killed, stopped and cut: `cargo test -p queenright --test chaos -- --nocapture`.
//!
//! `CHAOS_SECONDS` says for how long (300), `CHAOS_SEED` draws what is asked for and what is done (chance if absent; it is
//! printed), `CHAOS_CLIENTS` how many ask (20). A seed repeats the script, not the interleaving: processes and disks have
//! their own time.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;
#[allow(dead_code, reason = "other tests use the rest of it")]
mod histories;

use std::time::Duration;

use crate::histories::Run;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text:?} is no number")),
        Err(_) => default,
    }
}

#[test]
fn the_history_of_a_disturbed_cluster_is_linearizable() {
    let run = Run {
        name: "chaos".to_owned(),
        seed: number("CHAOS_SEED", rand::random()),
        duration: Duration::from_secs(number("CHAOS_SECONDS", 300)),
        clients: number("CHAOS_CLIENTS", 20) as usize,
        script: Vec::new(),
        environment: Vec::new(),
        may_fail: false,
    };
    run.must_hold();
}
