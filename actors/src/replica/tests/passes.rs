//! What the store gets of a replica adds up to its state.

use queenright_protocol::colony::{
    Change, Cursor, KEPT_BYTES_MIN, KEY_BYTES_MAX, NAME_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX, record_key,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::rig::{Disk, ME, Rig, destroy, put};
use crate::replica::Replica;
use crate::replica::dirty::BACKLOG_STEP;
use crate::store;

#[test]
fn passes_add_up_to_the_state() {
    for seed in 0..8 {
        let (mut rig, mut disk, mut random) = (Rig::default(), Disk::default(), StdRng::seed_from_u64(seed));
        for _ in 0..60 {
            for _ in 0..random.random_range(1..6) {
                rig.random(&mut random);
            }
            let read = disk.check(&rig.replica);
            if random.random_bool(0.2) {
                // A restart.
                rig = Rig::of(read);
            }
        }
    }
}

#[test]
fn what_a_destroyed_project_held_leaves_the_store_in_steps() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    for key in 0..600 {
        rig.put(&format!("dir/{key}"), &"v".repeat(KEPT_BYTES_MIN + key % 7));
    }
    let of_p = |disk: &Disk| disk.pairs.keys().filter(|key| key[1..].starts_with(b"p\0")).count();
    disk.check(&rig.replica);
    assert!(of_p(&disk) > 600);
    while (rig.index + 1).is_multiple_of(5) {
        rig.blank();
    }
    rig.send_body(None, destroy());
    let mut passes = 0;
    while rig.replica.snapshot().colony.remains("p").is_some() {
        let before = of_p(&disk);
        rig.empty_round();
        // Read back amid it.
        disk.check(&rig.replica);
        assert!(of_p(&disk) <= before);
        passes += 1;
    }
    assert!(passes > 2, "{passes}");
    assert_eq!(of_p(&disk), 0);
    rig.put("dir/1", "new");
    let read = disk.check(&rig.replica);
    let snapshot = read.snapshot();
    let memory = snapshot.colony.project("p").expect("it was made again").memory();
    assert_eq!((memory.len(), memory.revision("dir/1")), (1, 1));
}

#[test]
fn a_project_that_is_made_again_between_two_passes_has_nothing_of_the_one_before() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    (0..20).for_each(|key| rig.put(&format!("dir/{key}"), "old"));
    disk.check(&rig.replica);
    while (rig.index + 1).is_multiple_of(5) {
        rig.blank();
    }
    rig.send_body(None, destroy());
    while rig.replica.snapshot().colony.remains("p").is_some() {
        rig.empty_round();
    }
    rig.put("dir/1", "new");
    let read = disk.check(&rig.replica);
    assert_eq!(read.snapshot().colony.project("p").unwrap().memory().len(), 1);
    assert_eq!(read.snapshot().colony.project("p").unwrap().events().len(), 1);
}

#[test]
fn a_pass_is_taken_only_when_something_changed() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    assert!(!disk.write(&rig.replica));
    rig.put("a", "1");
    assert!(disk.write(&rig.replica));
    assert!(!disk.write(&rig.replica));
    rig.blank();
    assert!(disk.write(&rig.replica));
}

#[test]
fn what_the_store_has_not_taken_is_told_in_steps() {
    let mut rig = Rig::default();
    let mut backlog = rig.replica.follow_backlog();
    for number in 0..BACKLOG_STEP {
        rig.put(&format!("k{number}"), "1");
    }
    assert_eq!(*backlog.borrow_and_update(), BACKLOG_STEP);
    rig.put("k0", "2");
    assert!(!backlog.has_changed().unwrap());
    rig.replica.take_pass();
    assert_eq!(*backlog.borrow_and_update(), 0);
}

#[test]
fn a_key_written_often_between_two_passes_is_written_once() {
    let mut rig = Rig::default();
    (0..40).for_each(|_| rig.put("a", "1"));
    let pass = rig.replica.take_pass().unwrap();
    let records = pass.changes.iter().filter(|(key, _)| *key == record_key("p", "a"));
    assert_eq!(records.count(), 1);
}

#[test]
fn the_store_follows_a_snapshot_that_replaces_the_state() {
    // It kept the pairs of events in its own grouping, and what went after the last pass before the snapshot.
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut rig, mut disk, mut leader) = (Rig::default(), Disk::default(), Rig::default());
        for _ in 0..4 {
            for _ in 0..random.random_range(1..25) {
                rig.random(&mut random);
                if random.random_bool(0.3) {
                    disk.check(&rig.replica);
                }
            }
            for _ in 0..random.random_range(1..60) {
                leader.random(&mut random);
            }
            rig.install(&leader);
            if random.random_bool(0.5) {
                disk.check(&rig.replica);
            }
            leader.random(&mut random);
            rig.install(&leader);
            let read = disk.check(&rig.replica);
            if random.random_bool(0.5) {
                rig = Rig::of(read);
            }
        }
    }
}

/// Changes `key` with as many bytes of tags as there may be: a large event.
fn send_large_event(rig: &mut Rig, key: &str) {
    let tags = (0..TAGS_MAX)
        .map(|tag| format!("{tag:0>TAG_BYTES_MAX$}").into())
        .collect();
    rig.send(None, Change { tags, ..put(key, "1") });
}

#[test]
fn the_store_follows_events_that_are_dropped() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    let key = "k".repeat(KEY_BYTES_MAX);
    let dropped = |rig: &Rig| {
        let project = rig
            .replica
            .snapshot()
            .colony
            .project("p")
            .map(|project| project.events().dropped());
        project.flatten().map_or(0, |cursor: Cursor| cursor.seq)
    };
    let mut passes = 0;
    while dropped(&rig) < 2_500 {
        (0..700).for_each(|_| send_large_event(&mut rig, &key));
        passes += 1;
        match passes % 10 {
            // Read back amid it: how the store groups events is told from its keys.
            0 => rig = Rig::of(disk.check(&rig.replica)),
            _ => assert!(disk.write(&rig.replica)),
        }
    }
    let read = disk.check(&rig.replica);
    let kept: usize = read
        .snapshot()
        .colony
        .projects()
        .map(|(_, project)| project.events().len())
        .sum();
    let blocks = disk.pairs.keys().filter(|key| key[0] == b'e').count();
    assert!(blocks <= kept / 100, "{blocks} pairs for {kept} events");
}

#[test]
fn the_longest_key_fits_the_store() {
    let key = record_key(&"p".repeat(NAME_BYTES_MAX), &"k".repeat(KEY_BYTES_MAX));
    assert!(key.len() <= store::KEY_BYTES_MAX, "{} bytes", key.len());
}

#[test]
fn damaged_meta_or_pairs_are_an_error() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    rig.put("a", "1");
    disk.check(&rig.replica);
    let pairs: Vec<_> = disk.pairs.clone().into_iter().collect();
    for end in 0..disk.meta.len() {
        assert!(Replica::restore(ME, &disk.meta[..end], pairs.clone()).is_err());
    }
    assert!(Replica::restore(ME, &[0xff; 200], pairs.clone()).is_err());
    assert!(Replica::restore(ME, &disk.meta, pairs[1..].to_vec()).is_err());
}
