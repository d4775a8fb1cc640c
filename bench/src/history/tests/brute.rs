//! The search against the plainest one that there is: every order of every choice of unanswered calls.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::generate::{Mix, Simulation};
use crate::history::{
    Answer, Budget, Call, End, Guard, Operation, Outcome, Refusal, Spec, State, TaskStage, Verdict, Write, check,
    partitions,
};

const SECOND_NS: u64 = 1_000_000_000;

/// Whether the calls that are left can follow in some order, real time and the specification permitting.
fn some_order(spec: &Spec, calls: &[Call], taken: &mut Vec<usize>, state: &State) -> bool {
    let left: Vec<usize> = (0..calls.len()).filter(|place| !taken.contains(place)).collect();
    let Some(before_ns) = left.iter().filter_map(|place| calls[*place].returned_ns).min() else {
        return true;
    };
    left.iter().any(|&next| {
        let others = left.iter().filter(|other| **other != next);
        let is_early = |other: &usize| {
            calls[*other]
                .returned_ns
                .is_some_and(|end| end < calls[next].invoked_ns)
        };
        if others.into_iter().any(is_early) {
            return false;
        }
        let mut states = Vec::new();
        spec.steps(state, &calls[next], before_ns, &mut states);
        states.iter().any(|state| {
            taken.push(next);
            let found = some_order(spec, calls, taken, state);
            taken.pop();
            found
        })
    })
}

/// Compares both on the partitions of a history; returns whether all of it has an order.
#[track_caller]
fn compare(calls: &[Call]) -> bool {
    let mut all = true;
    for calls in partitions(calls) {
        let spec = Spec::of(&calls);
        let expected = some_order(&spec, &calls, &mut Vec::new(), &spec.initial());
        let verdict = check(&spec, &calls, Budget::default());
        assert!(!matches!(verdict, Verdict::Unknown { .. }));
        assert_eq!(verdict.is_linearizable(), expected, "{verdict:?}\n{calls:#?}");
        all &= expected;
    }
    all
}

/// A session that is opened before anything else.
fn opened(session: &str) -> Call {
    let session = session.to_owned();
    Call {
        number: 0,
        process: 1,
        operation: Operation::Open { session },
        outcome: Outcome::Ok(Answer::Opened),
        invoked_ns: 0,
        returned_ns: Some(1),
        seq: None,
    }
}

/// Some call with some answer, whether they fit or not.
fn random_call(random: &mut StdRng, number: u64) -> Call {
    let key = ["a", "b"].choose(random).unwrap().to_string();
    let text = ["x", "1"].choose(random).unwrap().to_string();
    let revision = random.random_range(0..3);
    let write = match random.random_range(0..4) {
        0 => Write::Delete,
        1 => Write::Increment(1),
        _ => Write::Put(text.clone()),
    };
    let (operation, outcome) = match random.random_range(0..9) {
        0..3 => {
            let value = random.random_bool(0.7).then_some(text);
            (Operation::Get { key }, Outcome::Ok(Answer::Value { revision, value }))
        }
        3..6 => {
            let guard = *[Guard::None, Guard::None, Guard::Absent, Guard::Revision(1)]
                .choose(random)
                .unwrap();
            let outcome = match random.random_range(0..4) {
                0 => Outcome::Refused(Refusal::Condition {
                    revision,
                    present: random.random(),
                }),
                1 => Outcome::Refused(Refusal::WrongType),
                _ => Outcome::Ok(Answer::Changed { revision: revision + 1 }),
            };
            (Operation::Change { key, write, guard }, outcome)
        }
        6 => {
            let reads = vec![("a".to_owned(), revision)];
            let outcome = match random.random_range(0..3) {
                0 => {
                    let keys = vec![("a".to_owned(), random.random_range(0..3))];
                    Outcome::Refused(Refusal::Lost {
                        early: random.random(),
                        keys,
                    })
                }
                _ => Outcome::Ok(Answer::Committed {
                    revisions: vec![random.random_range(1..3)],
                }),
            };
            (
                Operation::Propose {
                    reads,
                    writes: vec![(key, write)],
                },
                outcome,
            )
        }
        _ => random_task(random),
    };
    // Seconds, so that sessions may end by themselves on the way.
    let invoked_ns = random.random_range(1..40) * SECOND_NS;
    let unknown = random.random_bool(0.2);
    Call {
        number,
        process: 1,
        operation,
        outcome: if unknown { Outcome::Unknown } else { outcome },
        invoked_ns,
        returned_ns: (!unknown).then(|| invoked_ns + random.random_range(1..20) * SECOND_NS),
        seq: None,
    }
}

/// Something about one of two tasks or one of two sessions.
fn random_task(random: &mut StdRng) -> (Operation, Outcome) {
    let task = ["t", "t", "u"].choose(random).unwrap().to_string();
    let by = ["p", "q"].choose(random).unwrap().to_string();
    let (attempt, fence) = (random.random_range(1..3), random.random_range(1..3));
    let among = ["t", "u"].map(str::to_owned).to_vec();
    let refusal = match random.random_range(0..6) {
        0 => Refusal::Held { by: "p".to_owned() },
        1 => Refusal::Fenced,
        2 => Refusal::Over,
        3 => Refusal::Exists,
        4 => Refusal::SessionOver,
        _ => Refusal::NoSuchTask,
    };
    let (operation, answer) = match random.random_range(0..10) {
        0 | 1 => {
            let kind = "k".to_owned();
            (Operation::AddTask { task, kind }, Answer::Added)
        }
        2 | 3 => (Operation::Claim { task, by }, Answer::Claimed { attempt, fence }),
        4 => {
            let claim = Operation::ClaimReady {
                kind: "k".to_owned(),
                among,
                by,
            };
            let none = random.random_bool(0.3);
            let given = Answer::Given { task, attempt, fence };
            (claim, if none { Answer::NoneReady } else { given })
        }
        5 => (Operation::Accept { task, by, fence }, Answer::Accepted),
        6 => {
            let stage = match random.random_range(0..3) {
                0 => TaskStage::Waiting,
                1 => TaskStage::Leased { by, fence },
                _ => TaskStage::Over { done: true, fence },
            };
            let attempts = attempt - random.random_range(0..2);
            (Operation::Look { task }, Answer::Task { attempts, stage })
        }
        7 => (Operation::Close { session: by, among }, Answer::Closed),
        _ => {
            let end = *[End::Done, End::Released].choose(random).unwrap();
            (Operation::Finish { task, by, fence, end }, Answer::Finished)
        }
    };
    let refused = random.random_bool(0.3);
    (
        operation,
        if refused {
            Outcome::Refused(refusal)
        } else {
            Outcome::Ok(answer)
        },
    )
}

#[test]
fn the_search_finds_an_order_whenever_trying_all_of_them_does() {
    let mut counts = [0; 2];
    for seed in 0..6_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(1..=7);
        let opened = ["p", "q"].into_iter().map(opened);
        let calls = opened.chain((0..count).map(|number| random_call(&mut random, number)));
        let calls: Vec<Call> = calls.collect();
        counts[usize::from(compare(&calls))] += 1;
    }
    assert!(counts.iter().all(|count| *count > 300), "{counts:?}");
}

#[test]
fn they_agree_on_short_runs_too_true_and_spoiled() {
    let mut counts = [0; 2];
    for seed in 0..3_000 {
        let mut calls = Simulation::new(seed, Mix::small()).run();
        assert!(compare(&calls), "seed {seed}: {calls:#?}");
        // One answer is given to another call.
        let mut random = StdRng::seed_from_u64(seed);
        let answered: Vec<usize> = (0..calls.len())
            .filter(|place| calls[*place].returned_ns.is_some())
            .collect();
        let (Some(&one), Some(&other)) = (answered.choose(&mut random), answered.choose(&mut random)) else {
            continue;
        };
        calls[one].outcome = calls[other].outcome.clone();
        counts[usize::from(compare(&calls))] += 1;
    }
    assert!(counts.iter().all(|count| *count > 300), "{counts:?}");
}
