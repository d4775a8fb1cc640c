//! Rates, promise by promise.

use super::random::{Seeded, each_seed};
use super::tasks::{claim, finish, new_task, ready, rig, token};
use super::*;

fn set(name: &str, tokens: u32, interval_ms: u64, burst: u32) -> Body {
    Body::Rate(RateCommand::Set {
        name: name.into(),
        settings: RateSettings {
            tokens,
            interval_ms,
            burst,
        },
    })
}

fn delete(name: &str) -> Body {
    Body::Rate(RateCommand::Delete { name: name.into() })
}

fn taking(wanted: &[(&str, u32)]) -> NewTask {
    let tokens = |(rate, count): &(&str, u32)| Tokens {
        rate: (*rate).into(),
        count: *count,
    };
    NewTask {
        terms: Terms {
            rates: wanted.iter().map(tokens).collect(),
            ..Terms::default()
        },
        ..new_task("work")
    }
}

fn waiting(caller: &str) -> Body {
    Body::Task(TaskCommand::Claim(Claim {
        which: Which::Ready {
            kinds: Vec::new(),
            limit: 1,
        },
        caller: token(caller),
        wants: Wants {
            wait_ms: Some(60_000),
            ..Wants::default()
        },
    }))
}

impl Rig {
    fn set_rate(&mut self, name: &str, tokens: u32, interval_ms: u64, burst: u32) {
        let outcome = self.run(set(name, tokens, interval_ms, burst));
        assert!(matches!(outcome, Outcome::Set { .. }), "{outcome:?}");
    }

    fn gets(&mut self, limit: u32) -> Vec<TaskId> {
        let claimed = self.claimed(ready(token("a"), limit));
        claimed.iter().map(|claimed| claimed.task).collect()
    }

    fn has(&self, name: &str) -> u64 {
        let rate = self.colony.project("p").and_then(|project| project.rates().get(name));
        rate.expect("it is set").tokens_at(self.now_ms)
    }

    fn attempts(&self, task: TaskId) -> u32 {
        self.tasks().get(task).expect("it is kept").attempts
    }
}

/// What a rate allows, said without a bucket: in no time that ends now more than its burst and what it brings meanwhile.
struct Allows {
    settings: RateSettings,
    taken: Vec<(u64, u32)>,
}

impl Allows {
    fn take(&self, count: u32, now_ms: u64) -> bool {
        let RateSettings {
            tokens,
            interval_ms,
            burst,
        } = self.settings;
        let since = self.taken.iter().map(|(at_ms, _)| *at_ms).chain([now_ms]);
        since.into_iter().all(|since_ms| {
            let within = self.taken.iter().filter(|(at_ms, _)| *at_ms >= since_ms);
            let sum: u64 = within.map(|(_, count)| u64::from(*count)).sum();
            let over = (sum + u64::from(count)).saturating_sub(burst.into());
            over * interval_ms <= (now_ms - since_ms) * u64::from(tokens)
        })
    }
}

fn random_settings(seeded: &mut Seeded) -> RateSettings {
    RateSettings {
        tokens: 1 + seeded.below(9) as u32,
        interval_ms: seeded.pick(&[7, 100, 1_000]),
        burst: 1 + seeded.below(4) as u32,
    }
}

/// A colony with a rate `r`, and the model of it.
fn with_a_rate(seeded: &mut Seeded) -> (Rig, Allows) {
    let settings = random_settings(seeded);
    let mut rig = rig();
    rig.set_rate("r", settings.tokens, settings.interval_ms, settings.burst);
    let taken = Vec::new();
    (rig, Allows { settings, taken })
}

#[test]
fn a_claim_gets_a_task_exactly_when_no_window_would_have_too_many_tokens() {
    each_seed(0..60, |seed| {
        let mut seeded = Seeded(seed);
        let (mut rig, mut allows) = with_a_rate(&mut seeded);
        let settings = allows.settings;
        let mean_ms = settings.interval_ms.div_ceil(settings.tokens.into());
        for _ in 0..60 {
            rig.now_ms += seeded.below(3 * mean_ms);
            let count = 1 + seeded.below(settings.burst.into()) as u32;
            let task = rig.add(vec![taking(&[("r", count)])])[0];
            let expected = allows.take(count, rig.now_ms);
            let got = !rig.gets(1).is_empty();
            assert_eq!(got, expected, "{count} at {} ms, {:?}", rig.now_ms, allows.taken);
            match got {
                true => allows.taken.push((rig.now_ms, count)),
                // So that the next is the only one.
                false => drop(rig.run(Body::Task(TaskCommand::Control(Control {
                    task,
                    act: Act::Cancel {
                        force: false,
                        reason: None,
                    },
                })))),
            }
        }
        assert!(allows.taken.len() > 5, "{allows:?}", allows = allows.taken);
    });
}

#[test]
fn a_claim_that_waits_gets_its_task_at_the_very_time_at_which_the_tokens_are_there() {
    each_seed(100..140, |seed| {
        let mut seeded = Seeded(seed);
        let (mut rig, mut allows) = with_a_rate(&mut seeded);
        let settings = allows.settings;
        for _ in 0..30 {
            let count = 1 + seeded.below(settings.burst.into()) as u32;
            // Either may come first.
            let task = if seeded.once_in(2) {
                let task = rig.add(vec![taking(&[("r", count)])])[0];
                rig.run(waiting("a"));
                task
            } else {
                rig.run(waiting("a"));
                rig.add(vec![taking(&[("r", count)])])[0]
            };
            let mut expected_ms = rig.now_ms;
            while !allows.take(count, expected_ms) {
                expected_ms += 1;
            }
            if expected_ms > rig.now_ms {
                assert_eq!(rig.attempts(task), 0);
                assert_eq!(rig.colony.due_ms(), Some(expected_ms), "{:?}", allows.taken);
                rig.now_ms = expected_ms;
                rig.empty_round();
            }
            assert_eq!(rig.attempts(task), 1, "at {} ms", rig.now_ms);
            allows.taken.push((rig.now_ms, count));
            let State::Leased(lease) = rig.tasks().get(task).unwrap().state.clone() else {
                unreachable!("it was claimed")
            };
            rig.finish(finish(task, lease.fence, token("a")));
        }
    });
}

#[test]
fn a_claim_passes_over_any_number_of_tasks_whose_tokens_are_not_there() {
    let mut rig = rig();
    rig.set_rate("r", 1, 1_000, 1);
    let many = || (0..1_000).map(|_| taking(&[("r", 1)])).collect::<Vec<_>>();
    let first = rig.add(many())[0];
    rig.add(many());
    let free = rig.add_one();
    assert_eq!(rig.gets(3), [first, free]);
    assert_eq!(rig.gets(3), []);
    rig.now_ms += 1_000;
    assert_eq!(rig.gets(3).len(), 1);
    // An idle cluster writes nothing: nobody waits, so nothing is due.
    assert_eq!(rig.colony.due_ms(), None);
}

#[test]
fn what_the_first_task_lacks_is_not_taken_by_those_behind_it() {
    let mut rig = rig();
    rig.set_rate("r", 1, 1_000, 3);
    rig.set_rate("s", 1, 1_000, 1);
    rig.add(vec![taking(&[("r", 2)])]);
    assert_eq!(rig.gets(1).len(), 1);
    let large = rig.add(vec![taking(&[("r", 3)])])[0];
    let small = rig.add(vec![taking(&[("r", 1)])])[0];
    let other = rig.add(vec![taking(&[("s", 1)])])[0];
    assert_eq!(rig.gets(5), [other], "one token of r is there, and it is kept");
    rig.now_ms += 2_000;
    assert_eq!(rig.gets(5), [large]);
    rig.now_ms += 1_000;
    assert_eq!(rig.gets(5), [small]);
}

#[test]
fn a_task_takes_tokens_of_all_its_rates_or_none() {
    let mut rig = rig();
    rig.set_rate("r", 1, 1_000, 1);
    rig.set_rate("s", 1, 5_000, 2);
    let tasks = rig.add(vec![taking(&[("r", 1), ("s", 2)]), taking(&[("r", 1), ("s", 2)])]);
    assert_eq!(rig.gets(5), [tasks[0]]);
    rig.run(waiting("a"));
    for (now_ms, attempts, of_r) in [(1_000, 0, 1), (9_999, 0, 1), (10_000, 1, 0)] {
        rig.now_ms = now_ms;
        rig.empty_round();
        assert_eq!((rig.attempts(tasks[1]), rig.has("r")), (attempts, of_r), "{now_ms} ms");
    }
}

#[test]
fn tokens_are_not_given_back_and_a_task_that_is_claimed_again_takes_them_again() {
    let mut rig = rig();
    rig.set_rate("r", 1, 1_000, 2);
    let task = rig.add(vec![taking(&[("r", 1)])])[0];
    for left in [1, 0] {
        let fence = rig.claim_one(task, token("a"));
        rig.finish(Finish {
            ending: Ending::Released,
            ..finish(task, fence, token("a"))
        });
        assert_eq!(rig.has("r"), left);
    }
    assert_eq!(rig.gets(1), []);
}

#[test]
fn a_claim_of_ids_takes_the_tokens_of_all_or_is_told_when_they_are_there() {
    let mut rig = rig();
    rig.set_rate("r", 2, 1_000, 3);
    let tasks = rig.add(vec![taking(&[("r", 2)]), taking(&[("r", 1)]), taking(&[("r", 1)])]);
    let of = |ids: &[TaskId]| claim(Which::Ids(ids.to_vec()), token("a"));
    let over = Refusal::OverLimit {
        field: "rate:r".into(),
        value: 4,
        limit: 3,
    };
    assert_eq!(rig.refused(of(&tasks)), over);
    assert_eq!(rig.claimed(of(&tasks[1..])).len(), 2);
    let digest = |rig: &Rig| {
        let project = rig.colony.project("p").unwrap();
        (project.tasks().digest, project.rates().digest)
    };
    let before = digest(&rig);
    let refused = rig.refused(of(&tasks[..1]));
    let spent = Refusal::RateSpent {
        rate: "r".into(),
        wanted: 2,
        wait_ms: 500,
    };
    assert_eq!((refused, digest(&rig)), (spent, before));
    rig.now_ms = 500;
    assert_eq!(rig.claimed(of(&tasks[..1])).len(), 1);
}

#[test]
fn a_changed_rate_keeps_its_tokens_and_those_who_wait_are_looked_at() {
    let mut rig = rig();
    rig.set_rate("r", 1, 60_000, 1);
    let tasks = rig.add(vec![taking(&[("r", 1)]), taking(&[("r", 1)])]);
    assert_eq!(rig.gets(1), [tasks[0]]);
    rig.run(waiting("b"));
    rig.now_ms = 30_000;
    assert_eq!(rig.colony.due_ms(), Some(60_000));
    rig.set_rate("r", 1, 1_000, 5);
    // Half a token was there, and is.
    assert_eq!((rig.has("r"), rig.attempts(tasks[1])), (0, 0));
    assert_eq!(rig.colony.due_ms(), Some(30_500));
    // To say the same again brings nothing.
    rig.now_ms = 30_400;
    rig.set_rate("r", 1, 1_000, 5);
    assert_eq!((rig.has("r"), rig.colony.due_ms()), (0, Some(30_500)));
    rig.now_ms = 30_500;
    rig.empty_round();
    assert_eq!(rig.attempts(tasks[1]), 1);
    rig.now_ms = 32_500;
    rig.set_rate("r", 1, 1_000, 1);
    assert_eq!(rig.has("r"), 1, "no more than fit");
}

#[test]
fn what_names_no_rate_or_is_out_of_bounds_is_refused_and_named() {
    let mut rig = rig();
    let add = |tasks| Body::Task(TaskCommand::Add(tasks));
    let unknown = Refusal::UnknownRate { rate: "r".into() };
    assert_eq!(rig.refused(add(vec![taking(&[("r", 1)])])), unknown);
    assert_eq!(rig.refused(delete("r")), unknown);
    let field = |rig: &mut Rig, body| match rig.refused(body) {
        Refusal::OverLimit { field, .. } | Refusal::Malformed { field, .. } => field.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(field(&mut rig, set("a=b", 1, 1, 1)), "rate");
    assert_eq!(field(&mut rig, set("r", 0, 1, 1)), "tokens");
    assert_eq!(field(&mut rig, set("r", 1, 0, 1)), "interval_ms");
    assert_eq!(field(&mut rig, set("r", 1, RATE_INTERVAL_MS.1 + 1, 1)), "interval_ms");
    assert_eq!(field(&mut rig, set("r", 1, 1, RATE_TOKENS_MAX + 1)), "burst");
    rig.set_rate("r", 1, 1_000, 3);
    assert_eq!(field(&mut rig, add(vec![taking(&[("r", 0)])])), "rates");
    assert_eq!(field(&mut rig, add(vec![taking(&[("r", 1), ("r", 1)])])), "rates");
    assert_eq!(field(&mut rig, add(vec![taking(&[("r", 4)])])), "rate:r");
    let task = rig.add(vec![taking(&[("r", 3)])])[0];
    assert_eq!(field(&mut rig, set("r", 1, 1_000, 2)), "burst");
    let (rate, tasks) = ("r".into(), 1);
    assert_eq!(rig.refused(delete("r")), Refusal::RateInUse { rate, tasks });
    let fence = rig.claim_one(task, token("a"));
    rig.finish(Finish {
        ending: Ending::Failed,
        ..finish(task, fence, token("a"))
    });
    assert!(matches!(rig.run(delete("r")), Outcome::Set { .. }));
    let requeue = Body::Task(TaskCommand::Control(Control {
        task,
        act: Act::Requeue,
    }));
    assert_eq!(rig.refused(requeue), unknown);
    for number in 0..RATES_MAX {
        rig.set_rate(&format!("r{number}"), 1, 1_000, 1);
    }
    assert_eq!(field(&mut rig, set("one more", 1, 1_000, 1)), "rates");
}

#[test]
fn the_greatest_rate_at_the_end_of_time_is_no_overflow() {
    let mut rig = rig();
    rig.set_rate("r", RATE_TOKENS_MAX, RATE_INTERVAL_MS.1, RATE_TOKENS_MAX);
    let tasks = rig.add(vec![
        taking(&[("r", RATE_TOKENS_MAX)]),
        taking(&[("r", RATE_TOKENS_MAX)]),
    ]);
    assert_eq!(rig.gets(2), [tasks[0]]);
    rig.now_ms = u64::MAX;
    rig.set_rate("r", RATE_TOKENS_MAX, 1, RATE_TOKENS_MAX);
    assert_eq!(rig.gets(2), [tasks[1]]);
    assert_eq!(rig.has("r"), 0);
}
