//! A replica by itself: who is told of what, and what its readers see. In `passes`: what the store gets.

mod passes;
mod rig;
mod rules;

use std::sync::atomic::AtomicBool;

use queenright_protocol::colony::{
    Acquire, Body, Caller, Mode, NewSession, Outcome, Release, Released, ReservationCommand, TokenHash, Want,
};
use tokio::sync::oneshot::error::TryRecvError;

use self::rig::{Disk, Rig, log_id, put};
use super::checkpoints::CHECKPOINT_ENTRIES;
use super::*;

#[tokio::test]
async fn who_waits_for_a_reservation_is_woken_when_it_settles_and_not_before() {
    let mut rig = Rig::default();
    let token = |text: &str| Caller::Session(TokenHash::of(text));
    let acquire = |caller: &str, wait_ms| {
        Body::Reservation(ReservationCommand::Acquire(Acquire {
            resources: vec![Want {
                resource: "slot:s".into(),
                mode: Mode::Exclusive,
            }],
            caller: Caller::Opens(Box::new(NewSession::new(caller, TokenHash::of(caller)))),
            ttl_ms: None,
            wait_ms,
            reason: None,
            task: None,
        }))
    };
    rig.send_body(None, acquire("a", 0));
    rig.send_body(None, acquire("b", 30_000));
    let waiter = {
        let snapshot = rig.replica.snapshot();
        let reservations = snapshot.colony.project("p").unwrap().reservations();
        reservations.waiting().next().expect("one waits")
    };
    let mut settled = rig.replica.wait_reservation("p", waiter);
    rig.send_body(None, acquire("c", 30_000));
    assert_eq!(settled.try_recv(), Err(TryRecvError::Empty));
    let release = Release {
        which: Released::All,
        caller: token("a"),
    };
    rig.send_body(None, Body::Reservation(ReservationCommand::Release(release)));
    settled.await.expect("it is granted");
    // What is settled already wakes at once.
    rig.replica.wait_reservation("p", waiter).await.expect("it is held");
}

#[test]
fn a_waiter_is_told_of_a_change_before_and_of_one_after() {
    let mut rig = Rig::default();
    let key: Key = "a".into();
    rig.put("a", "1");
    let mut before = rig.replica.wait_revision("p", &key, 1);
    assert_eq!(before.try_recv(), Ok(1));
    let mut after = rig.replica.wait_revision("p", &key, 3);
    rig.put("a", "2");
    rig.put("b", "2");
    assert_eq!(after.try_recv(), Err(TryRecvError::Empty));
    rig.put("a", "3");
    assert_eq!(after.try_recv(), Ok(3));
}

#[test]
fn a_waiter_is_told_of_a_change_that_comes_with_a_snapshot() {
    let (mut leader, mut rig) = (Rig::default(), Rig::default());
    let mut waiter = rig.replica.wait_revision("p", &"a".into(), 2);
    leader.put("a", "1");
    leader.put("a", "2");
    rig.install(&leader);
    assert_eq!(waiter.try_recv(), Ok(2));
}

#[test]
fn a_waiter_is_told_however_it_meets_the_change() {
    let key: Key = "a".into();
    for _ in 0..50 {
        let mut rig = Rig::default();
        let replica = rig.replica.clone();
        let waiting = std::thread::spawn({
            let key = key.clone();
            move || replica.wait_revision("p", &key, 1).blocking_recv()
        });
        rig.put("a", "1");
        assert_eq!(waiting.join().expect("the waiter ends"), Ok(1));
    }
}

#[test]
fn waiters_that_gave_up_do_not_pile_up() {
    let rig = Rig::default();
    let _kept = rig.replica.wait_revision("p", &"kept".into(), 1);
    for number in 0..5_000 {
        drop(rig.replica.wait_revision("p", &format!("never {number}").into(), 1));
    }
    let keys = rig.replica.waiters.keys();
    assert!(keys.len() < 200, "{} keys", keys.len());
    assert!(keys.iter().any(|(_, key)| &**key == "kept"));
}

#[test]
fn stale_is_only_what_the_state_has_gone_past() {
    let mut rig = Rig::default();
    for number in 0..400 {
        (0..=number % 3).for_each(|_| rig.put(&format!("k{number}"), "1"));
    }
    for number in 0..400 {
        let (key, revision) = (format!("k{number}"), number % 3 + 1);
        assert_eq!(stale(&rig.replica, "p", &key, revision), None);
        assert_eq!(stale(&rig.replica, "p", &key, revision + 1), None);
        let known = stale(&rig.replica, "p", &key, revision - 1);
        // A key that lost its slot is not known to be stale: that is allowed.
        assert!(known == Some(revision) || known.is_none());
        assert_eq!(stale(&rig.replica, "q", &key, 0), None);
    }
}

#[test]
fn a_key_confused_with_another_is_not_stale() {
    let mut rig = Rig::default();
    rig.put("a", "1");
    // As if another key with the same hash had come far.
    rig.replica.revisions.note("p", "a", 1_000);
    rig.replica.revisions.note("p", "never", 1_000);
    assert_eq!(stale(&rig.replica, "p", "a", 1), None);
    assert_eq!(stale(&rig.replica, "p", "a", 0), Some(1));
    assert_eq!(stale(&rig.replica, "p", "never", 0), None);
}

/// The revision that makes `revision` of a key stale.
fn stale(replica: &Replica, project: &str, key: &str, revision: u64) -> Option<u64> {
    replica
        .newer_record(project, key, revision)
        .map(|record| record.revision)
}

#[test]
fn a_restored_replica_knows_what_is_stale() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    rig.put("a", "1");
    assert_eq!(stale(&disk.check(&rig.replica), "p", "a", 0), Some(1));
}

#[test]
fn a_snapshot_is_the_same_one_while_nothing_is_applied() {
    let mut rig = Rig::default();
    rig.put("a", "1");
    let first = rig.replica.snapshot();
    assert!(Arc::ptr_eq(&first, &rig.replica.snapshot()));
    rig.put("a", "2");
    let second = rig.replica.snapshot();
    assert!(!Arc::ptr_eq(&first, &second));
    let revision = |snapshot: &Snapshot| snapshot.colony.project("p").unwrap().memory().revision("a");
    assert_eq!((revision(&first), revision(&second)), (1, 2));
}

#[test]
fn outcomes_go_to_the_queen_of_this_node_only() {
    let mut rig = Rig::default();
    let told: Arc<Mutex<Vec<Answer>>> = Arc::default();
    let sink = told.clone();
    let take = move |answers: Vec<Answer>| sink.lock().unwrap().extend(answers);
    rig.replica.answer_to(Box::new(take));
    rig.put("a", "1");
    rig.node = NodeId(2);
    rig.put("a", "2");
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].outcome, Outcome::Changed { seq: 1, revision: 1 });
}

#[test]
fn cluster_time_as_estimated_does_not_follow_a_clock_that_is_behind() {
    let mut rig = Rig {
        cluster_ms: 5_000,
        ..Rig::default()
    };
    rig.put("a", "1");
    rig.cluster_ms = 100;
    rig.put("a", "2");
    assert!(rig.replica.cluster_ms_estimate() >= 5_000);
}

#[test]
fn an_entry_that_does_not_decode_changes_nothing() {
    let mut rig = Rig::default();
    rig.put("a", "1");
    let before = rig.replica.digest();
    let refused = rig.replica.apply(log_id(9), Payload::Rounds(b"no rounds"));
    assert!(matches!(refused, Err(ApplyError::Undecodable { index: 9, .. })));
    assert_eq!((rig.replica.digest(), rig.replica.applied_index()), (before, 1));
}

/// A replica with as many entries as lie between two checkpoints; one of them may be another than elsewhere.
fn up_to_a_checkpoint(planted: Option<u64>) -> Rig {
    let mut rig = Rig::default();
    while rig.index < CHECKPOINT_ENTRIES {
        let value = if Some(rig.index) == planted { "flipped" } else { "v" };
        rig.send(None, put("k", format!("{value}{}", rig.index % 7)));
    }
    rig
}

#[test]
fn a_replica_that_differs_from_what_the_leader_logged_is_found_and_no_other() {
    let (mut leader, mut same) = (up_to_a_checkpoint(None), up_to_a_checkpoint(None));
    // The key is written again afterwards, but an event tells.
    let mut differs = up_to_a_checkpoint(Some(500));
    let logged = leader.replica.unlogged_checkpoint().expect("one was taken");
    assert_eq!(logged.index, CHECKPOINT_ENTRIES);
    for rig in [&mut leader, &mut same, &mut differs] {
        assert_eq!(rig.replica.difference(), None);
        rig.checkpoint = Some(logged);
        rig.send(None, put("next", "v"));
        assert_eq!(rig.replica.unlogged_checkpoint(), None, "it is logged");
    }
    assert_eq!(leader.replica.difference(), None);
    assert_eq!(same.replica.difference(), None);
    let found = differs.replica.difference().expect("it differs");
    assert_eq!((found.index, found.theirs), (CHECKPOINT_ENTRIES, logged.digest));
    assert_eq!(Some(found.ours), differs.replica.digest_at(CHECKPOINT_ENTRIES));

    // One that has not applied the position itself says nothing of it.
    let mut later = Rig {
        checkpoint: Some(logged),
        ..Rig::default()
    };
    later.send(None, put("next", "v"));
    assert_eq!(later.replica.difference(), None);

    differs.replica.settle_difference(CHECKPOINT_ENTRIES - 1);
    assert_eq!(differs.replica.difference(), Some(found), "another one was settled");
    differs.replica.settle_difference(CHECKPOINT_ENTRIES);
    assert_eq!(differs.replica.difference(), None);
}

#[test]
fn a_snapshot_that_nobody_holds_is_not_kept_over_a_change() {
    let mut rig = Rig::default();
    rig.put("a", "1");
    let unheld = Arc::downgrade(&rig.replica.snapshot());
    assert!(unheld.upgrade().is_some(), "published for the next reader");
    rig.put("a", "2");
    assert!(unheld.upgrade().is_none());
    // An entry without commands moves the position alone, which readers see too.
    let before = rig.replica.snapshot();
    rig.blank();
    assert_eq!(rig.replica.snapshot().index, before.index + 1);
}

#[test]
fn no_reader_ever_finds_less_than_was_applied() {
    let mut rig = Rig::default();
    let applied = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (replica, applied, over) = (rig.replica.clone(), &applied, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Acquire) {
                    let before = applied.load(Ordering::Acquire);
                    let snapshot = replica.snapshot();
                    let memory = snapshot
                        .colony
                        .project("p")
                        .map(|project| project.memory().revision("a"));
                    assert!(memory.unwrap_or_default() >= before);
                }
            });
        }
        for revision in 1..=2_000 {
            rig.put("a", "x");
            applied.store(revision, Ordering::Release);
        }
        over.store(true, Ordering::Release);
    });
}
