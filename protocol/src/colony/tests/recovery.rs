//! A colony that goes on from what one node had, after the others were lost for good.

use std::cell::Cell;

use super::random::{Generator, each_seed, sequence};
use super::*;
use crate::id::ClusterId;

const OLD: ClusterId = ClusterId([1; 16]);
const NEW: ClusterId = ClusterId([2; 16]);
const NEWER: ClusterId = ClusterId([3; 16]);

fn recovered(seed: u64) -> (Colony, Colony) {
    let before = sequence(seed, 60).1;
    let mut colony = before.clone();
    colony.recover(OLD, NEW, before.seq()).unwrap();
    (before, colony)
}

fn cursor(seq: u64) -> Cursor {
    Cursor { seq, ordinal: 0 }
}

#[test]
fn what_it_had_stays_and_every_number_jumps() {
    each_seed(7_000..7_020, |seed| {
        let (before, mut colony) = recovered(seed);
        assert_ne!(colony.digest(), before.digest());
        assert!((SEQ_JUMP..2 * SEQ_JUMP).contains(&(colony.seq() - before.seq())));
        let first = colony.seq();
        assert_eq!(colony.cluster_ms(), before.cluster_ms());
        for (name, project) in before.projects() {
            let after = colony.project(name).unwrap();
            assert!(after.memory().range("", None).eq(project.memory().range("", None)));
            assert!(after.tasks().after(None).eq(project.tasks().after(None)));
        }
        assert_eq!(colony.dedup().nodes().count(), 0);
        let nodes: Vec<NodeId> = colony.agents().nodes().collect();
        assert!(nodes.iter().all(|node| !colony.agents().any_live(*node)));

        let mut generator = Generator::new(seed);
        for _ in 0..40 {
            let applied = generator.next(&colony).apply(&mut colony);
            let places = applied.events.iter().map(|(_, event)| event.cursor.seq);
            assert!(places.min().is_none_or(|seq| seq > first));
        }
    });
}

#[test]
fn it_is_read_back_with_its_past() {
    each_seed(7_100..7_110, |seed| {
        let (_, mut colony) = recovered(seed);
        colony.recover(NEW, NEWER, 0).unwrap();
        let restored = Colony::from_bytes(&colony.to_bytes()).unwrap();
        assert_eq!((restored.digest(), restored.past()), (colony.digest(), colony.past()));
        assert_eq!(
            restored.past().iter().map(|past| past.cluster).collect::<Vec<_>>(),
            [OLD, NEW]
        );
    });
}

#[test]
fn a_cursor_in_what_was_lost_is_refused_and_others_are_not() {
    let mut colony = Colony {
        seq: 50,
        ..Colony::default()
    };
    assert_eq!(
        colony.check_cursor(cursor(99)),
        Ok(()),
        "ahead, as far as this state can tell"
    );
    colony.recover(OLD, NEW, 40).unwrap();
    let first = colony.seq();
    colony.seq += 7;
    let second = colony.seq();
    colony.recover(NEW, NEWER, second).unwrap();
    let third = colony.seq();
    let check = |seq: u64, lost: Option<(u64, u64)>| {
        let found = colony.check_cursor(cursor(seq));
        let expected = lost.map_or(Ok(()), |(certain, resumed)| {
            let after = cursor(seq);
            Err(CursorError::Lost {
                after,
                certain,
                resumed,
            })
        });
        assert_eq!(found, expected, "{seq}");
    };
    check(0, None);
    check(40, None);
    for lost in [41, 50, 51, first - 1] {
        check(lost, Some((40, first)));
    }
    check(first, None);
    check(second, None);
    for lost in [second + 1, third - 1] {
        check(lost, Some((second, third)));
    }
    check(third, None);
}

#[test]
fn agents_have_ended_and_sessions_have_their_grace() {
    // The leases of agents, and those of open sessions.
    let held = |colony: &Colony| {
        let tasks = colony.projects().flat_map(|(_, project)| project.tasks().after(None));
        let (mut agents, mut sessions) = (0, 0);
        for task in tasks {
            let State::Leased(lease) = &task.state else { continue };
            // One whose time is over returns with the next command, whoever had it.
            if lease.until_ms.is_some_and(|until_ms| until_ms <= colony.cluster_ms()) {
                continue;
            }
            match &lease.holder.owner {
                Owner::Agent { .. } => agents += 1,
                Owner::Session { session, .. } => {
                    let session = colony.sessions().get(*session).unwrap();
                    let open = colony.sessions().end_of(session, colony.cluster_ms()).is_none();
                    sessions += u32::from(open);
                }
            }
        }
        (agents, sessions)
    };
    let seen = Cell::new((0, 0));
    each_seed(7_200..8_800, |seed| {
        let (before, mut colony) = recovered(seed);
        let had = held(&before);
        seen.set((seen.get().0 + had.0, seen.get().1 + had.1));
        let wait = |colony: &mut Colony, ms: u64| {
            for _ in 0..20 {
                let empty = Round {
                    node: NodeId(64_001),
                    incarnation: 1,
                    commands: Vec::new(),
                };
                colony.apply(before.cluster_ms() + ms, 0, &[empty], NodeId(64_001));
            }
        };
        wait(&mut colony, 0);
        assert_eq!(held(&colony), (0, had.1));
        assert_eq!(colony.agents().nodes().count(), 0);
        wait(&mut colony, SESSION_GRACE_MS);
        assert_eq!(held(&colony), (0, 0));
    });
    let seen = seen.get();
    assert!(seen.0 > 0 && seen.1 > 0, "{seen:?}");
}

/// Nobody is there any more who would hear that a claim got something, or who would give up a place in a line.
#[test]
fn claims_wait_no_more_and_reservations_wait_as_long_as_their_sessions_may_return() {
    let seen = Cell::new((0, 0));
    each_seed(7_700..7_900, |seed| {
        let (before, mut colony) = recovered(seed);
        let waiting = |colony: &Colony| {
            let (mut claims, mut reservations) = (0, 0);
            for (_, project) in colony.projects() {
                claims += project.tasks().waits().filter(|(_, wait)| wait.is_waiting()).count();
                reservations += project.reservations().count().1;
            }
            (claims, reservations)
        };
        let had = waiting(&before);
        seen.set((seen.get().0 + had.0, seen.get().1 + had.1));
        assert_eq!(waiting(&colony), (0, had.1));
        assert_eq!(colony.agents().nodes_of_waits().count(), 0);
        let restored = Colony::from_bytes(&colony.to_bytes()).unwrap();
        assert_eq!(restored.digest(), colony.digest());
        for _ in 0..40 {
            let empty = Round {
                node: NodeId(64_001),
                incarnation: 1,
                commands: Vec::new(),
            };
            colony.apply(before.cluster_ms() + SESSION_GRACE_MS, 0, &[empty], NodeId(64_001));
        }
        assert_eq!(waiting(&colony), (0, 0));
    });
    assert!(seen.get().0 > 0, "{seen:?}");
}

#[test]
fn so_often_and_no_oftener() {
    let mut colony = Colony::default();
    for _ in 0..RECOVERIES_MAX {
        colony.recover(OLD, ClusterId([0xff; 16]), 0).unwrap();
    }
    assert!(colony.seq() < 1 << 53);
    let before = colony.digest();
    assert_eq!(colony.recover(OLD, NEW, 0), Err(TooManyRecoveries));
    assert_eq!(colony.digest(), before);
}

#[test]
fn of_two_that_follow_the_same_cluster_neither_takes_a_cursor_of_the_other() {
    let old = sequence(3, 60).1;
    let [mut one, mut other] = [old.clone(), old.clone()];
    one.recover(OLD, NEW, old.seq()).unwrap();
    other.recover(OLD, NEWER, old.seq()).unwrap();
    let (low, high) = if one.seq() < other.seq() {
        (one, other)
    } else {
        (other, one)
    };
    for commands in [0, 1, 1_000_000] {
        assert!(high.check_cursor(cursor(low.seq() + commands)).is_err());
        assert!(low.seq() + commands < high.seq() + commands, "ahead of all that it has");
    }
}

#[test]
fn one_that_begins_anew_knows_no_members() {
    each_seed(7_300..7_310, |seed| {
        let (recovered, mut colony) = {
            let before = sequence(seed, 60).1;
            let mut recovered = before.clone();
            recovered.recover(OLD, NEW, before.seq()).unwrap();
            (recovered, before)
        };
        colony.begin_anew(OLD, NEW, colony.seq()).unwrap();
        assert_eq!((colony.seq(), colony.past()), (recovered.seq(), recovered.past()));
        assert!(colony.epoch().is_none());
        let restored = Colony::from_bytes(&colony.to_bytes()).unwrap();
        assert_eq!(restored.digest(), colony.digest());
    });
}
