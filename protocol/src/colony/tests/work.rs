//! Tasks with terms, promise by promise. Here: lanes, retries, queues; needs and what others than owners do
//! have files of their own.

mod control;
mod needs;

use super::random::Seeded;
use super::tasks::{NODE, agent, claim, ended, finish, new_task, ready, rig, started, token};
use super::*;

fn with(terms: Terms) -> NewTask {
    NewTask {
        terms,
        ..new_task("work")
    }
}

fn lane(priority: Priority, tier: Tier) -> NewTask {
    with(Terms {
        priority,
        tier,
        ..Terms::default()
    })
}

fn named(name: &str, needs: &[&str]) -> NewTask {
    NewTask {
        name: Some(name.into()),
        ..with(Terms {
            needs: needs.iter().map(|need| Need::Name((*need).into())).collect(),
            ..Terms::default()
        })
    }
}

fn failure(retryable: bool) -> FinishWith {
    FinishWith {
        failure: Some(Failure {
            retryable,
            class: Some("io".into()),
            message: "no network".into(),
        }),
        ..FinishWith::default()
    }
}

impl Rig {
    fn act(&mut self, task: TaskId, act: Act) -> Outcome {
        self.run(Body::Task(TaskCommand::Control(Control { task, act })))
    }

    /// The state in which an act leaves its task.
    fn acted(&mut self, task: TaskId, act: Act) -> StateName {
        match self.act(task, act) {
            Outcome::TaskSet { state, .. } => state,
            other => panic!("{other:?}"),
        }
    }

    fn not_ready(&mut self, body: Body) -> String {
        match self.run(body) {
            Outcome::Refused(refusal @ Refusal::TaskNotReady { .. }) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, task: TaskId, fence: Fence, ending: Ending, with: FinishWith) -> Outcome {
        self.finish(Finish {
            ending,
            with,
            ..finish(task, fence, token("a"))
        })
    }

    /// Claims a task and lets it fail, to be tried again.
    fn fail(&mut self, task: TaskId) {
        let fence = self.claim_one(task, token("a"));
        let outcome = self.end(task, fence, Ending::Failed, failure(true));
        assert!(matches!(outcome, Outcome::Finished { .. }), "{outcome:?}");
    }

    fn finish_one(&mut self, task: TaskId) {
        let fence = self.claim_one(task, token("a"));
        let outcome = self.finish(finish(task, fence, token("a")));
        assert!(matches!(outcome, Outcome::Finished { .. }), "{outcome:?}");
    }

    fn task_of(&self, task: TaskId) -> &Task {
        self.tasks().get(task).expect("it is kept")
    }

    fn next_ready(&mut self) -> Option<TaskId> {
        self.claimed(ready(token("a"), 1)).first().map(|claimed| claimed.task)
    }
}

#[test]
fn a_claim_gets_the_best_lane_and_in_it_the_oldest() {
    let mut rig = rig();
    let tasks = rig.add(vec![
        lane(Priority::Low, Tier::Interactive),
        lane(Priority::Normal, Tier::Batch),
        lane(Priority::Normal, Tier::Standard),
        lane(Priority::Critical, Tier::Batch),
        lane(Priority::Normal, Tier::Standard),
    ]);
    let order: Vec<TaskId> = std::iter::from_fn(|| rig.next_ready()).collect();
    assert_eq!(order, [3, 2, 4, 1, 0].map(|place| tasks[place]));
}

#[test]
fn a_claim_gets_only_what_the_worker_is_capable_of_and_only_from_its_queue() {
    let mut rig = rig();
    let terms = Terms {
        queue: "gpu".into(),
        requires: vec!["cuda".into(), "linux".into()],
        ..Terms::default()
    };
    let task = rig.add(vec![with(terms)])[0];
    let claim = |queue: Option<&str>, capabilities: &[&str]| {
        Body::Task(TaskCommand::Claim(Claim {
            which: Which::Ready {
                kinds: Vec::new(),
                limit: 1,
            },
            caller: token("a"),
            wants: Wants {
                queue: queue.map(Into::into),
                capabilities: capabilities.iter().map(|name| Arc::from(*name)).collect(),
                ..Wants::default()
            },
        }))
    };
    assert_eq!(rig.claimed(claim(None, &["cuda", "linux"])), []);
    assert_eq!(rig.claimed(claim(Some("gpu"), &["linux"])), []);
    assert_eq!(rig.claimed(claim(Some("gpu"), &["cuda", "linux", "x"]))[0].task, task);
}

/// How many grants pass the oldest task of a low lane while claims fit it, in a queue whose better lanes never run empty.
#[test]
fn a_task_that_waits_is_passed_a_bounded_number_of_times() {
    random::each_seed(0..30, |seed| {
        let mut seeded = Seeded(seed);
        let mut rig = rig();
        let kinds: Vec<Option<Arc<str>>> = vec![None, Some("x".into()), Some("y".into())];
        let priorities = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];
        let mut passed: std::collections::BTreeMap<TaskId, u64> = std::collections::BTreeMap::new();
        let mut lines_most = 0;
        for _ in 0..1_500 {
            let before = |rig: &Rig| rig.colony.project("p").map_or(0, |project| project.tasks().ready());
            if before(&rig) < 40 {
                let task = NewTask {
                    kind: seeded.pick(&kinds),
                    ..lane(
                        seeded.pick(&[Priority::Critical, Priority::Critical, seeded_pick(&priorities, seed)]),
                        Tier::Standard,
                    )
                };
                rig.add(vec![task.clone(), task]);
            }
            // Claims of any kind fit every line.
            let queue = rig.tasks().queue(QUEUE_DEFAULT).expect("it has tasks");
            lines_most = lines_most.max(queue.turns().1.len() as u64);
            let ready: Vec<_> = rig
                .tasks()
                .after(None)
                .filter(|task| task.is_ready())
                .map(|task| (task.id, (task.terms.lane(), task.kind.clone())))
                .collect();
            let task = rig.next_ready().expect("some are ready");
            let mut lines_seen = Vec::new();
            for (id, line) in ready {
                // Only the head of a line is waited for; those behind it have it before them.
                let head = !lines_seen.contains(&line);
                lines_seen.push(line);
                if head && id != task {
                    *passed.entry(id).or_default() += 1;
                }
            }
            rig.now_ms += 1;
        }
        let most = passed.values().max().copied().unwrap_or_default();
        assert!(most <= (PASSES_MAX + 1) * lines_most, "{most} {lines_most}");
    });
}

fn of_cost(cost: u32) -> NewTask {
    with(Terms {
        cost,
        ..Terms::default()
    })
}

#[test]
fn of_one_lane_the_cheapest_goes_first_and_of_equals_the_oldest() {
    let mut rig = rig();
    // One that says nothing counts as 100.
    let tasks = rig.add([300, 0, 100, 99, 101, 1, 99].map(of_cost).to_vec());
    let low = rig.add(vec![NewTask {
        terms: Terms {
            cost: 1,
            ..lane(Priority::Low, Tier::Standard).terms
        },
        ..new_task("work")
    }]);
    let order: Vec<TaskId> = (0..8).filter_map(|_| rig.next_ready()).collect();
    let expected = [5, 3, 6, 1, 2, 4, 0].map(|place: usize| tasks[place]);
    assert_eq!((&order[..7], &order[7..]), (&expected[..], &low[..]));
}

#[test]
fn the_oldest_goes_first_after_so_many_cheaper_ones_that_came_later() {
    let mut rig = rig();
    let dear = rig.add(vec![of_cost(500), of_cost(500)]);
    for passes in [16, 16] {
        let mut grants = 0;
        loop {
            rig.add(vec![of_cost(1)]);
            let task = rig.next_ready().unwrap();
            if dear.contains(&task) {
                break;
            }
            grants += 1;
        }
        assert_eq!(grants, passes);
    }
    assert_eq!(CHEAPER_MAX, 16);
}

#[test]
fn grants_of_dearer_tasks_bring_nobody_nearer_to_its_turn() {
    let mut rig = rig();
    let oldest = rig.add(vec![of_cost(200)])[0];
    let dearer = rig.add((0..20).map(|_| of_cost(201)).collect());
    rig.claimed(claim(Which::Ids(dearer), token("a")));
    let cheap = rig.add(vec![of_cost(1)])[0];
    assert_eq!([rig.next_ready(), rig.next_ready()], [Some(cheap), Some(oldest)]);
}

/// A task that m of its line are older than is passed by at most (m + 1) · 16 cheaper ones that came later.
#[test]
fn no_task_starves_behind_cheaper_ones() {
    random::each_seed(0..20, |seed| {
        let mut seeded = Seeded(seed);
        let mut rig = rig();
        let mut passed: std::collections::BTreeMap<TaskId, (u64, u64)> = std::collections::BTreeMap::new();
        for _ in 0..400 {
            let ready = rig.colony.project("p").map_or(0, |project| project.tasks().ready());
            if ready < 20 {
                let before: Vec<TaskId> = passed.keys().copied().collect();
                let dear = seeded.pick(&[0, 7, 7, 1_000]);
                let new = rig.add(vec![of_cost(dear), of_cost(1)]);
                let older = before.len() as u64;
                passed.extend(
                    new.iter()
                        .enumerate()
                        .map(|(place, id)| (*id, (older + place as u64, 0))),
                );
            }
            let task = rig.next_ready().expect("some are ready");
            passed.remove(&task);
            for (_, (_, passes)) in passed.range_mut(..task) {
                *passes += 1;
            }
            let over = passed
                .iter()
                .find(|(_, (older, passes))| *passes > (older + 1) * CHEAPER_MAX);
            assert_eq!(over, None);
        }
    });
}

fn seeded_pick(priorities: &[Priority], seed: u64) -> Priority {
    priorities[(seed % 4) as usize]
}

#[test]
fn a_task_is_not_ready_before_its_time_by_the_wall_clock() {
    let mut rig = rig();
    let not_before_ms = Some(wall_ms(5_000));
    let task = rig.add(vec![with(Terms {
        not_before_ms,
        ..Terms::default()
    })])[0];
    assert_eq!((rig.next_ready(), rig.colony.due_ms()), (None, Some(5_000)));
    let line = rig.not_ready(claim(Which::Ids(vec![task]), token("a")));
    assert!(line.contains("it waits until 5000 ms of cluster time"), "{line}");
    // Another leader's clock is a second behind: it is looked at again when that second is over.
    let round = random::empty_round();
    rig.colony
        .apply(5_000, wall_ms(4_000), std::slice::from_ref(&round), NODE);
    assert_eq!(rig.colony.due_ms(), Some(6_000));
    rig.colony.apply(6_000, wall_ms(5_000), &[round], NODE);
    rig.now_ms = 6_000;
    assert_eq!(rig.next_ready(), Some(task));
}

#[test]
fn a_failure_is_tried_again_later_each_time_and_the_last_one_is_on_the_dead_letter_list() {
    let mut rig = rig();
    let task = rig.add_one();
    let mut waits = Vec::new();
    for _ in 0..2 {
        rig.fail(task);
        assert_eq!((rig.state(task), rig.next_ready()), (StateName::Pending, None));
        let wakes_ms = rig.task_of(task).wakes_ms.unwrap();
        waits.push(wakes_ms - rig.now_ms);
        rig.now_ms = wakes_ms;
    }
    assert!(
        (500..=1_000).contains(&waits[0]) && (1_000..=2_000).contains(&waits[1]),
        "{waits:?}"
    );
    rig.fail(task);
    assert_eq!((rig.state(task), rig.colony.due_ms()), (StateName::Dead, None));
    let dead = rig.task_of(task);
    assert_eq!((dead.history.len(), dead.counts.failures), (3, 3));
    assert!(
        matches!(&dead.state, State::Closed(closed) if *closed.reason == *"3 failures, the last: it failed: io: no network")
    );
    assert_eq!(rig.acted(task, Act::Requeue), StateName::Pending);
    let again = rig.task_of(task);
    assert_eq!(
        (again.attempts, again.counts, again.history.len()),
        (3, Counts::default(), 3)
    );
    rig.finish_one(task);
}

#[test]
fn an_error_that_is_not_to_be_tried_again_fails_at_once() {
    let mut rig = rig();
    let mut terms = Terms::default();
    terms.retry.never = vec!["io".into()];
    let tasks = rig.add(vec![with(terms), new_task("plain")]);
    rig.fail(tasks[0]);
    let fence = rig.claim_one(tasks[1], token("a"));
    rig.end(tasks[1], fence, Ending::Failed, failure(false));
    for task in tasks {
        assert_eq!(rig.state(task), StateName::Failed);
        let State::Finished(finished) = &rig.task_of(task).state else {
            panic!()
        };
        assert_eq!(finished.failure.as_ref().unwrap().to_string(), "io: no network");
    }
}

#[test]
fn a_worker_that_does_not_begin_in_time_or_works_for_too_long_loses_its_task() {
    let mut rig = rig();
    let task = rig.add(vec![with(Terms {
        start_ms: Some(2_000),
        run_ms: Some(40_000),
        ..Terms::default()
    })])[0];
    let why = |rig: &Rig| rig.task_of(task).history.last().unwrap().reason.clone();
    rig.run(started("a", 1));
    rig.claim_one(task, agent("a", 1));
    rig.now_ms = 2_000;
    rig.empty_round();
    assert_eq!((why(&rig), rig.task_of(task).counts.expiries), (Return::NotAccepted, 1));
    let fence = rig.claim_one(task, agent("a", 1));
    let caller = agent("a", 1);
    let accepted = rig.run(Body::Task(TaskCommand::Accept(Accept { task, fence, caller })));
    assert!(
        matches!(
            accepted,
            Outcome::Accepted {
                until_ms: Some(42_000),
                ..
            }
        ),
        "{accepted:?}"
    );
    rig.now_ms = 42_000;
    rig.empty_round();
    assert_eq!((why(&rig), rig.task_of(task).counts.failures), (Return::TooLong, 1));
}

#[test]
fn a_task_of_which_two_workers_died_while_their_node_lived_goes_to_nobody() {
    let mut rig = rig();
    let tasks = rig.add(vec![new_task("poison"), new_task("unlucky")]);
    for generation in [1, 3] {
        rig.run(started("a", generation));
        rig.claim_one(tasks[0], agent("a", generation));
        rig.run(ended("a", generation));
    }
    assert_eq!(rig.state(tasks[0]), StateName::Dead);
    // The same number of nodes that were lost proves nothing.
    for generation in [5, 7, 9] {
        rig.run(started("a", generation));
        rig.claim_one(tasks[1], agent("a", generation));
        let node = NODE;
        rig.run(Body::Agent(AgentCommand::NodeLost { node, incarnation: 1 }));
    }
    assert_eq!(
        (rig.state(tasks[1]), rig.task_of(tasks[1]).counts.deaths),
        (StateName::Pending, 0)
    );
}

#[test]
fn a_breaker_opens_after_failures_in_a_row_and_closes_after_one_success() {
    let mut rig = rig();
    let change = |paused, breaker| {
        Body::Task(TaskCommand::Queue(QueueChange {
            queue: QUEUE_DEFAULT.into(),
            paused,
            breaker,
            distribution: None,
        }))
    };
    let settings = BreakerSettings {
        failures: 2,
        pause_ms: 60_000,
    };
    rig.run(change(None, Some(settings)));
    let tasks = rig.add(vec![new_task("t"); 6]);
    let breaker = |rig: &Rig| rig.tasks().queue(QUEUE_DEFAULT).unwrap().breaker();
    for task in &tasks[..2] {
        let fence = rig.claim_one(*task, token("a"));
        rig.end(*task, fence, Ending::Failed, failure(false));
    }
    assert_eq!(
        (breaker(&rig), rig.next_ready()),
        (Breaker::Open { until_ms: 60_000 }, None)
    );
    let line = rig.not_ready(claim(Which::Ids(vec![tasks[3]]), token("a")));
    assert!(line.contains("is open until 60000 ms"), "{line}");
    rig.now_ms = 60_000;
    let both = rig.not_ready(claim(Which::Ids(vec![tasks[3], tasks[4]]), token("a")));
    assert!(both.contains("waits for task"), "{both}");
    let trial = rig.claimed(ready(token("a"), 5));
    assert_eq!(
        (trial.len(), breaker(&rig)),
        (1, Breaker::HalfOpen { trial: trial[0].task })
    );
    rig.finish(finish(trial[0].task, trial[0].fence, token("a")));
    assert_eq!(breaker(&rig), Breaker::Closed { failures: 0 });
    rig.run(change(Some(true), None));
    assert_eq!(rig.next_ready(), None);
    rig.run(change(Some(false), None));
    assert_eq!(rig.next_ready(), Some(tasks[3]));
}

#[test]
fn a_finish_brings_what_belongs_to_it() {
    let mut rig = rig();
    let checked = Terms {
        checks: vec!["cargo test".into()],
        ..Terms::default()
    };
    let tasks = rig.add(vec![with(checked), new_task("2")]);
    let fence = rig.claim_one(tasks[0], token("a"));
    let ended = |checks: &[i32], follow_ups: Vec<NewTask>| FinishWith {
        checks: checks.to_vec(),
        follow_ups,
        ..FinishWith::default()
    };
    let refused = |outcome: Outcome| match outcome {
        Outcome::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    };
    let none = rig.end(tasks[0], fence, Ending::Done, ended(&[], vec![]));
    assert_eq!(refused(none), "checks: the task has 1, and 0 exit codes came with it");
    let red = rig.end(tasks[0], fence, Ending::Done, ended(&[101], vec![]));
    assert_eq!(refused(red), "checks: the check in place 0 ended with exit code 101");
    let follow_up = with(Terms {
        needs: vec![Need::Id(tasks[0]), Need::Id(tasks[1])],
        ..Terms::default()
    });
    let Outcome::Finished { added, .. } = rig.end(tasks[0], fence, Ending::Done, ended(&[0], vec![follow_up])) else {
        panic!()
    };
    let more = rig.task_of(added[0].task);
    assert_eq!(
        (more.state.name(), &more.unmet[..]),
        (StateName::Blocked, &[tasks[1]][..])
    );
    let fence = rig.claim_one(tasks[1], token("a"));
    let third = rig.add_one();
    let on = FinishWith {
        needs: vec![Need::Id(third)],
        ..FinishWith::default()
    };
    rig.end(tasks[1], fence, Ending::Blocked, on);
    assert_eq!(
        (rig.state(tasks[1]), rig.next_ready()),
        (StateName::Blocked, Some(third))
    );
}

#[test]
fn finished_tasks_are_forgotten_after_a_month_with_the_next_that_finishes() {
    let mut rig = rig();
    let tasks = rig.add(vec![new_task("old"), new_task("new"), named("needed", &[])]);
    rig.finish_one(tasks[0]);
    let fence = rig.claim_one(tasks[2], token("a"));
    rig.end(tasks[2], fence, Ending::Failed, failure(false));
    rig.add(vec![named("blocked", &["needed"])]);
    rig.now_ms = FINISHED_KEPT_MS + 1;
    rig.finish_one(tasks[1]);
    assert!(rig.tasks().get(tasks[0]).is_none());
    assert!(rig.tasks().get(tasks[2]).is_some(), "another needs it");
}

#[test]
fn a_queue_has_a_bounded_number_of_kinds_and_requirements() {
    let mut rig = rig();
    let of_kind = |kind: usize| NewTask {
        kind: Some(format!("kind {kind}").into()),
        ..new_task("t")
    };
    rig.add((0..GROUPS_MAX).map(of_kind).collect());
    let over = rig.refused(Body::Task(TaskCommand::Add(vec![of_kind(GROUPS_MAX)])));
    assert_eq!(over.to_string(), "queue_groups: 129 is over the limit of 128");
    rig.add(vec![of_kind(7)]);
}
