//! A snapshot on its way to a node that was away: nobody is elected, and puts go on.

use std::time::{Duration, Instant};

use queenright_actors::node::RecoveredBy;
use queenright_bench::client::{Client, PutOptions};

use crate::colony::{Colony, NODES, until};

/// What is sent, and how fast.
pub(crate) struct Sending {
    pub(crate) name: &'static str,
    /// So many values of so many bytes are the state.
    pub(crate) values: usize,
    pub(crate) value_bytes: usize,
    pub(crate) bytes_per_s: u64,
}

/// What was seen meanwhile.
#[derive(Debug)]
pub(crate) struct Seen {
    /// From the start of the node until it had the snapshot.
    pub(crate) took: Duration,
    pub(crate) snapshot_bytes: u64,
    /// Puts that were acknowledged in that time, and how long the slowest one took.
    pub(crate) puts: usize,
    pub(crate) slowest_put: Duration,
}

fn put(colony: &Colony, client: &Client, key: &str, value: Vec<u8>) {
    colony
        .block_on(client.put(key, value.into(), &PutOptions::default()))
        .unwrap_or_else(|error| panic!("{key}: {error}"));
}

/// Kills a follower, fills the cluster until its log is cut behind that, starts the follower again, and puts small values
/// until it has the snapshot.
pub(crate) fn check(sending: &Sending) -> Seen {
    let mut colony = Colony::start_prepared(sending.name, |config, _| {
        config.log.snapshot_bytes = 1 << 20;
        config.log.keep_bytes = 256 << 10;
        config.log.sent_bytes_per_s = sending.bytes_per_s;
    });
    let leader = colony.leader_at("n1", None);
    let away = NODES.into_iter().find(|node| *node != leader).unwrap();
    colony.same_digest();
    colony.kill(away);
    let client = colony.client(&leader, "test");
    for number in 0..sending.values {
        // Each with content of its own.
        let mut value = vec![0; sending.value_bytes];
        rand::fill(&mut value[..]);
        put(&colony, &client, &format!("large/{number}"), value);
    }
    let state_bytes = (sending.values * sending.value_bytes) as u64;
    until("the log is cut", || {
        let figures = colony.block_on(async { client.figures().await.unwrap() });
        (figures.log_bytes < state_bytes * 3 / 4).then_some(())
    });
    let term = colony.status(&leader).unwrap().term;

    let began = Instant::now();
    colony.start_node(away);
    let (mut puts, mut slowest_put) = (0, Duration::ZERO);
    let snapshot_bytes = until("the node comes back by a snapshot", || {
        let started = Instant::now();
        put(&colony, &client, &format!("small/{puts}"), vec![1; 100]);
        slowest_put = slowest_put.max(started.elapsed());
        puts += 1;
        let status = colony.status(away)?;
        let own = status.nodes.into_iter().find(|node| node.name == away)?;
        let recovery = own.recovery.filter(|recovery| recovery.by == RecoveredBy::Peer)?;
        Some(recovery.bytes)
    });
    let took = began.elapsed();
    colony.same_digest();
    let status = colony.status(&leader).unwrap();
    assert_eq!(
        (status.term, status.leader),
        (term, Some(leader)),
        "an election was held"
    );
    Seen {
        took,
        snapshot_bytes,
        puts,
        slowest_put,
    }
}
