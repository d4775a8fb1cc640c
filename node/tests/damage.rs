//! Each kind of damage in each kind of file of a node: what is lost is noticed, and either comes back or stops the node.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use queenright_bench::client::PutOptions;

use crate::colony::{Colony, NODES, until};

/// So much is put that the log has several chunks and is cut behind a snapshot.
const PUTS: usize = 40;
const PUT_BYTES: usize = 64 << 10;
const KEPT_BYTES: u64 = 512 << 10;

const DAMAGES: [&str; 3] = ["flipped", "truncated", "torn"];

/// The bytes of a record's head, and its kinds: see `consensus::log::record`.
const HEAD_BYTES: usize = 40;
const VOTE: u8 = 3;

fn damage(file: &Path, at: usize, how: &str) {
    let mut bytes = fs::read(file).unwrap();
    match how {
        "flipped" => bytes[at] ^= 1,
        "truncated" => bytes.truncate(at),
        "torn" => bytes[at..].fill(0),
        _ => unreachable!("{how} is no damage"),
    }
    fs::write(file, bytes).unwrap();
}

/// The files of a folder that end like this.
fn paths(folder: &Path, end: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == end))
        .collect()
}

/// The files of a folder that end like this, in order, with their bytes. The node must not run: it removes old ones.
fn files(folder: &Path, end: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    paths(folder, end).into_iter().map(read).collect()
}

/// Waits for a snapshot of a node that runs.
fn until_a_snapshot(data: &Path) {
    until("it has a snapshot", || {
        (!paths(&data.join("snapshot"), "snapshot").is_empty()).then_some(())
    });
}

/// Puts back the chunks of a log.
fn restore(folder: &Path, chunks: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in paths(folder, "wal") {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in chunks {
        fs::write(path, bytes).unwrap();
    }
}

/// Where the records of a chunk begin, with their kinds.
fn records(bytes: &[u8]) -> Vec<(usize, u8)> {
    let mut found = Vec::new();
    let mut at = 0;
    while bytes.get(at..at + 4) == Some(b"QRL1") {
        found.push((at, bytes[at + 4]));
        let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        at += HEAD_BYTES + (length + 1).next_multiple_of(8);
    }
    found
}

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

/// A cluster, and a node of it that does not run, has a snapshot, and has voted and then written more.
fn prepared() -> (Colony, &'static str) {
    let mut colony = Colony::start_prepared("each-damage", |config, _| {
        config.log.snapshot_bytes = 2 * KEPT_BYTES;
        config.log.keep_bytes = KEPT_BYTES;
    });
    let first = colony.leader_at("n1", None);
    put(&colony, &first, 0);
    let others: Vec<&str> = NODES.into_iter().filter(|node| *node != first).collect();
    colony.kill(&first);
    colony.leader_at(others[0], Some(&first));
    colony.start_node(&first);
    let leader = colony.leader_at(&first, None);
    let node = others.into_iter().find(|node| *node != leader).unwrap();
    colony.same_digest();
    until_a_snapshot(&colony.data(node));
    // What the vote stands in front of.
    colony.at(node, &["memory", "put", "last", "1"]).with_code(0);
    colony.same_digest();
    // Its store has what the log had then: that the end of a log is gone is known from there.
    colony.stop_node(node);
    (colony, node)
}

#[test]
fn a_damaged_log_or_vote_stops_the_node_and_a_damaged_snapshot_or_store_comes_back() {
    let (mut colony, node) = prepared();
    // On some damage sled panics where it is opened; the store catches that, and takes it for damage.
    colony.expect_panics("/sled-");
    let data = colony.data(node);
    let log = data.join("log");
    let chunks = files(&log, "wal");
    let mut places: Vec<(&str, PathBuf, usize)> = Vec::new();
    let (first, bytes) = chunks.first_key_value().unwrap();
    let inside = records(bytes);
    let middle = inside[inside.len() / 2].0;
    places.push(("the log", first.clone(), middle + HEAD_BYTES + 1));
    let votes = chunks.iter().flat_map(|(path, bytes)| {
        let votes = records(bytes).into_iter().filter(|(_, kind)| *kind == VOTE);
        votes.map(move |(at, _)| (path, at))
    });
    let (path, at) = votes.last().expect("it has voted");
    places.push(("the vote", path.clone(), at + HEAD_BYTES + 1));
    for (what, path, at) in places {
        for how in DAMAGES {
            damage(&path, at, how);
            let refused = match colony.try_start_node(node) {
                Err(error) => error.to_string(),
                Ok(()) => panic!("{what}, {how}: it must not start"),
            };
            assert!(refused.contains("queenright node replace"), "{what}, {how}: {refused}");
            let named = ["damaged at byte", "contradicts itself", "not there any more"];
            assert!(
                named.iter().any(|name| refused.contains(name)),
                "{what}, {how}: {refused}"
            );
            restore(&log, &chunks);
        }
    }
    colony.start_node(node);
    let mut digest = colony.same_digest();

    for (round, how) in DAMAGES.into_iter().enumerate() {
        colony.kill(node);
        let snapshots = files(&data.join("snapshot"), "snapshot");
        let (newest, bytes) = snapshots.last_key_value().unwrap();
        damage(newest, bytes.len() / 2, how);
        colony.start_node(node);
        assert_eq!(colony.same_digest(), digest, "a snapshot, {how}");
        let recovery = until("the node tells how it came back", || {
            let status = colony.status(node)?;
            status.nodes.into_iter().find(|other| other.name == node)?.recovery
        });
        let aside = recovery.set_aside;
        let notes = aside
            .iter()
            .map(|place| fs::read_to_string(Path::new(place).join("note.txt")).unwrap());
        assert!(
            notes.into_iter().any(|note| note.contains(".snapshot")),
            "a snapshot, {how}: {aside:?}"
        );

        // In the store's file there may be nothing at that place; what it holds is right in any case.
        colony.kill(node);
        let db = data.join("store/sled/db");
        let length = fs::metadata(&db).unwrap().len() as usize;
        damage(&db, length / 2, how);
        colony.start_node(node);
        assert_eq!(colony.same_digest(), digest, "the store, {how}");

        // There is a whole snapshot again.
        put(&colony, node, round + 1);
        digest = colony.same_digest();
        until_a_snapshot(&data);
    }
}
