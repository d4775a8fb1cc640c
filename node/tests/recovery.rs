//! What a node comes back by: its log, its snapshot, or a snapshot of another node; and what is damaged is never used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use queenright_actors::node::{RecoveredBy, Recovery};
use queenright_bench::client::PutOptions;

use crate::colony::{Colony, NODES, until};
use crate::slow_snapshot::{Comer, Sending, check};

/// So many puts of so many bytes go several times past what is kept of the log.
const PUTS: usize = 48;
const PUT_BYTES: usize = 64 << 10;
const KEPT_BYTES: u64 = 128 << 10;

fn start(name: &str) -> Colony {
    Colony::start_prepared(name, |config, _| {
        config.log.snapshot_bytes = 4 * KEPT_BYTES;
        config.log.keep_bytes = KEPT_BYTES;
    })
}

/// A node that does not lead.
fn follower(colony: &Colony) -> &'static str {
    let leader = colony.leader_at("n1", None);
    NODES.into_iter().find(|node| *node != leader).unwrap()
}

/// Puts values that are all different, under few keys.
fn put(colony: &Colony, node: &str, round: usize) {
    let client = colony.client(node, "test");
    for number in 0..PUTS {
        let (key, options) = (format!("k{}", number % 20), PutOptions::default());
        let value = vec![(round * PUTS + number) as u8; PUT_BYTES];
        colony
            .block_on(client.put(&key, value.into(), &options))
            .unwrap_or_else(|error| panic!("{key}: {error}"));
    }
}

fn log_bytes(colony: &Colony, node: &str) -> u64 {
    let client = colony.client(node, "test");
    colony.block_on(async { client.figures().await.unwrap().log_bytes })
}

fn recovery(colony: &Colony, node: &str) -> Recovery {
    until("the node tells how it came back", || {
        let status = colony.status(node)?;
        let own = status.nodes.into_iter().find(|other| other.name == node)?;
        own.recovery
    })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn flip(file: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = std::fs::read(file).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_node_that_was_away_past_the_kept_log_comes_back_by_a_snapshot() {
    let mut colony = start("behind");
    let away = follower(&colony);
    let there = NODES.into_iter().find(|node| *node != away).unwrap();
    colony.at(there, &["memory", "put", "before", "1"]).with_code(0);
    colony.same_digest();
    let term = colony.status(there).unwrap().term;
    colony.kill(away);
    put(&colony, there, 0);
    for node in NODES.into_iter().filter(|node| *node != away) {
        until("the log is cut", || {
            (log_bytes(&colony, node) < 12 * KEPT_BYTES).then_some(())
        });
    }

    colony.start_node(away);
    colony.same_digest();
    let back = recovery(&colony, away);
    assert_eq!(back.by, RecoveredBy::Peer, "{back:?}");
    assert!(back.bytes as usize > 20 * PUT_BYTES, "{back:?}");
    assert_eq!(colony.status(there).unwrap().term, term, "an election was held");
    let line = String::from_utf8(colony.at(there, &["status"]).with_code(0).stdout).unwrap();
    let expected = format!("{away} came back by another node's snapshot at entry {}", back.index);
    assert!(line.contains(&expected), "{line}");

    // What is put now reaches it by the log, and a restart needs nobody.
    put(&colony, there, 1);
    let before = colony.same_digest();
    colony.kill_all();
    colony.start_all();
    assert_eq!(colony.same_digest(), before);
    for node in NODES {
        let back = recovery(&colony, node);
        assert_ne!(back.by, RecoveredBy::Peer, "{node}: {back:?}");
        assert!(back.index > 0 && back.set_aside.is_empty(), "{node}: {back:?}");
    }
}

#[test]
fn a_node_without_store_and_snapshots_gets_its_state_from_another_and_one_with_a_damaged_log_does_not_start() {
    let mut colony = start("damaged");
    let away = follower(&colony);
    put(&colony, away, 0);
    until("the log is cut", || {
        (log_bytes(&colony, away) < 12 * KEPT_BYTES).then_some(())
    });
    let before = colony.same_digest();
    let data = colony.data(away);
    colony.kill(away);
    let snapshots = files(&data.join("snapshot"));
    assert!(!snapshots.is_empty());
    for snapshot in &snapshots {
        flip(snapshot, |length| length / 2);
    }
    std::fs::write(data.join("store/sled/db"), b"no store").unwrap();

    colony.start_node(away);
    assert_eq!(colony.same_digest(), before);
    let back = recovery(&colony, away);
    assert_eq!(back.by, RecoveredBy::Peer, "{back:?}");
    assert!(back.set_aside.len() >= 2, "{back:?}");
    for place in &back.set_aside {
        assert!(Path::new(place).join("note.txt").exists(), "{place}");
    }

    colony.kill(away);
    // Its first chunk is behind the torn tail, however the log ends.
    let mut chunks = files(&data.join("log"));
    chunks.retain(|file| file.extension().is_some_and(|end| end == "wal"));
    flip(&chunks[0], |length| length / 2);
    let refused = colony.try_start_node(away).expect_err("it must not start").to_string();
    assert!(refused.contains("damaged at byte"), "{refused}");
    assert!(refused.contains("queenright node replace"), "{refused}");
    // The others go on without it.
    let there = NODES.into_iter().find(|node| *node != away).unwrap();
    colony.at(there, &["memory", "put", "after", "1"]).with_code(0);
}

#[test]
fn while_a_snapshot_takes_longer_than_an_election_nobody_is_elected_and_puts_go_on() {
    snapshot_that_takes_longer_than_an_election("slow-snapshot", Comer::WasAway);
}

#[test]
fn a_node_that_joins_gets_a_snapshot_from_before_it_was_let_in() {
    snapshot_that_takes_longer_than_an_election("slow-snapshot-new", Comer::IsNew);
}

fn snapshot_that_takes_longer_than_an_election(name: &'static str, to: Comer) {
    let seen = check(&Sending {
        name,
        to,
        values: 12,
        value_bytes: 512 << 10,
        bytes_per_s: 1 << 20,
        within: Duration::from_secs(90),
    });
    // A lease of two seconds and an election of one to two have had the time.
    assert!(seen.took > Duration::from_secs(4), "{seen:?}");
    assert!(seen.puts > 10 && seen.slowest_put < seen.took, "{seen:?}");
    assert!(seen.snapshot_bytes > 6 << 20, "{seen:?}");
}
