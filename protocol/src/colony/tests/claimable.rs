//! What could be claimed, against what claims get.

use super::random::{Generator, each_seed, empty_round};
use super::tasks::{new_task, ready, rig, token};
use super::*;

fn serves(project: &str, queue: &str, capabilities: &[&str]) -> Serves {
    Serves {
        project: project.into(),
        queue: queue.into(),
        kinds: Vec::new(),
        capabilities: capabilities.iter().map(|name| Arc::from(*name)).collect(),
    }
}

fn default_of(rig: &Rig) -> Claimable {
    rig.colony.claimable(&serves("p", QUEUE_DEFAULT, &[]), rig.now_ms, 10)
}

/// What a claim of somebody who was never there before gets; nothing if it is refused.
fn claimed(colony: &mut Colony, serves: &Serves) -> Option<Vec<TaskId>> {
    let caller = Caller::Opens(Box::new(NewSession::new("new", TokenHash::of("of nobody else"))));
    let body = Body::Task(TaskCommand::Claim(Claim {
        which: Which::Ready {
            kinds: serves.kinds.clone(),
            limit: 1,
        },
        caller,
        wants: Wants {
            queue: Some(serves.queue.clone()),
            capabilities: serves.capabilities.clone(),
            ..Wants::default()
        },
    }));
    let command = Command {
        number: 1,
        settled: 1,
        expires_ms: u64::MAX,
        project: serves.project.clone(),
        author: "ann".into(),
        idempotency_key: None,
        body,
        listed: false,
    };
    let round = Round {
        node: NodeId(100),
        incarnation: 1,
        commands: vec![command],
    };
    let now_ms = colony.cluster_ms();
    let mut applied = colony.apply(now_ms, wall_ms(now_ms), &[round], NodeId(100));
    match applied.outcomes.remove(0).outcome {
        Outcome::Claimed { tasks, .. } => Some(tasks.iter().map(|claimed| claimed.task).collect()),
        _ => None,
    }
}

#[test]
fn a_task_could_be_claimed_if_and_only_if_a_claim_gets_one() {
    let (found, nothing) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    each_seed(9_000..9_060, |seed| {
        let (mut generator, mut colony) = (Generator::new(seed), Colony::default());
        generator.of_rates = seed % 3 == 0;
        for number in 0..90 {
            generator.next(&colony).apply(&mut colony);
            if number % 6 != 0 {
                continue;
            }
            // What is due at this time is done before it is looked at.
            let mut settled = colony.clone();
            let now_ms = settled.cluster_ms();
            while settled.due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
                settled.apply(now_ms, wall_ms(now_ms), &[empty_round()], NodeId(1));
            }
            let projects: Vec<Arc<str>> = settled.projects().map(|(name, _)| name.clone()).collect();
            for project in &projects {
                for (queue, capabilities) in [("default", &[][..]), ("default", &["arm", "gpu"]), ("q2", &["arm"])] {
                    let serves = serves(project, queue, capabilities);
                    let could = settled.claimable(&serves, now_ms, 10).tasks;
                    let Some(got) = claimed(&mut settled.clone(), &serves) else {
                        continue;
                    };
                    assert_eq!(could.is_empty(), got.is_empty(), "{serves:?}: {could:?}, {got:?}");
                    let count = if got.is_empty() { &nothing } else { &found };
                    count.set(count.get() + 1);
                }
            }
        }
    });
    assert!(found.get() > 500 && nothing.get() > 500, "{found:?}, {nothing:?}");
}

#[test]
fn of_tasks_that_take_the_same_one_could_be_claimed_and_no_more_than_are_asked_for() {
    let mut rig = rig();
    let with = |resource: &str| NewTask {
        terms: Terms {
            resources: vec![Want {
                resource: resource.into(),
                mode: Mode::Exclusive,
            }],
            ..Terms::default()
        },
        ..new_task("work")
    };
    let tasks = rig.add(vec![with("file:a"), with("file:a"), with("file:b"), new_task("work")]);
    let could = |rig: &Rig| {
        let mut tasks = default_of(rig).tasks;
        tasks.sort_unstable();
        tasks
    };
    assert_eq!(could(&rig), [tasks[0], tasks[2], tasks[3]]);
    let two = rig.colony.claimable(&serves("p", QUEUE_DEFAULT, &[]), rig.now_ms, 2);
    assert_eq!(two.tasks.len(), 2);
    rig.claim_one(tasks[0], token("a"));
    assert_eq!(could(&rig), [tasks[2], tasks[3]]);
    rig.claimed(ready(token("a"), 10));
    assert_eq!(default_of(&rig), Claimable::default());
}

#[test]
fn what_waits_for_tokens_says_when_it_can_be_claimed() {
    let mut rig = rig();
    let settings = RateSettings {
        tokens: 1,
        interval_ms: 1_000,
        burst: 1,
    };
    rig.run(Body::Rate(RateCommand::Set {
        name: "r".into(),
        settings,
    }));
    let taking = NewTask {
        terms: Terms {
            rates: vec![Tokens {
                rate: "r".into(),
                count: 1,
            }],
            ..Terms::default()
        },
        ..new_task("work")
    };
    let tasks = rig.add(vec![taking.clone(), taking]);
    // There is one token: it is for one of them.
    assert_eq!(default_of(&rig).tasks, tasks[..1]);
    rig.claimed(ready(token("a"), 1));
    let next_ms = Some(rig.now_ms + 1_000);
    let expected = Claimable {
        tasks: Vec::new(),
        next_ms,
    };
    assert_eq!(default_of(&rig), expected);
    rig.now_ms += 1_000;
    assert_eq!(default_of(&rig).tasks, tasks[1..]);
}
