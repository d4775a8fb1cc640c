//! Projects themselves, promise by promise.

use super::tasks::{NODE, claim, finish, new_task, ready, started};
use super::*;

fn create(limits: ProjectLimits) -> Body {
    Body::Project(ProjectCommand::Create(limits))
}

fn destroy(dry_run: bool) -> Body {
    Body::Project(ProjectCommand::Destroy { dry_run })
}

fn opens(token: &str) -> Caller {
    Caller::Opens(Box::new(NewSession::new("ann", TokenHash::of(token))))
}

fn add(tasks: usize) -> Body {
    Body::Task(TaskCommand::Add(vec![new_task("work"); tasks]))
}

fn hosted() -> Caller {
    Caller::Agent {
        name: "hosted".into(),
        generation: 1,
    }
}

/// The project `p` with these limits.
fn limited(limits: ProjectLimits) -> Rig {
    let mut rig = Rig::default();
    let created = rig.run(create(limits));
    assert!(matches!(created, Outcome::ProjectSet { .. }), "{created:?}");
    rig
}

/// A command of another project.
fn elsewhere(rig: &mut Rig, body: Body) -> Outcome {
    let command = Command {
        project: "q".into(),
        ..rig.command(body)
    };
    rig.send(command).0
}

impl Rig {
    #[track_caller]
    fn done(&mut self, body: Body) {
        let outcome = self.run(body);
        assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    }

    /// The command is refused with these words, and changes nothing but what counts commands.
    #[track_caller]
    fn at_limit(&mut self, body: Body, words: &str) {
        let before = self.colony.project("p").unwrap().digest("p");
        let refusal = self.refused(body);
        assert!(matches!(refusal, Refusal::Quota { .. }), "{refusal:?}");
        assert_eq!(refusal.to_string(), words);
        assert_eq!(self.colony.project("p").unwrap().digest("p"), before);
    }

    fn lost(&mut self, dry_run: bool) -> Holdings {
        match self.run(destroy(dry_run)) {
            Outcome::ProjectDestroyed { lost, .. } => lost,
            other => panic!("{other:?}"),
        }
    }

    fn left(&self) -> u64 {
        self.colony.left_of(&"p".into())
    }
}

#[test]
fn a_project_is_created_once_or_made_by_its_first_use_unless_it_must_be_listed() {
    let mut rig = limited(ProjectLimits::default());
    let again = rig.refused(create(ProjectLimits::default()));
    assert_eq!(again.to_string(), "project p is there already");
    let listed = Command {
        project: "q".into(),
        listed: true,
        ..rig.command(put("k", "v"))
    };
    let refused = rig.send(listed.clone()).0;
    let unknown = Refusal::UnknownProject { project: "q".into() };
    assert_eq!(refused, Outcome::Refused(unknown));
    assert!(matches!(
        elsewhere(&mut rig, put("k", "v")),
        Outcome::Changed { revision: 1, .. }
    ));
    let listed = Command {
        number: rig.number + 1,
        ..listed
    };
    assert!(matches!(rig.send(listed).0, Outcome::Changed { revision: 2, .. }));
    let about = rig.colony.project("q").unwrap().about();
    assert_eq!((about.limits, &*about.author), (ProjectLimits::default(), "ann"));
}

#[test]
fn what_is_wanted_of_a_project_that_is_not_there_is_refused_by_name() {
    let mut rig = Rig::default();
    for body in [
        destroy(true),
        destroy(false),
        Body::Project(ProjectCommand::Limit(ProjectLimits::default())),
    ] {
        let refusal = rig.refused(body);
        assert_eq!(refusal.to_string(), "there is no project p, and this does not make it");
    }
    assert!(rig.colony.projects().next().is_none());
}

#[test]
fn at_a_limit_a_command_is_refused_with_the_limit_what_there_is_and_what_was_asked() {
    let mut rig = limited(ProjectLimits {
        agents: Some(1),
        tasks: Some(3),
        ..ProjectLimits::default()
    });
    rig.at_limit(
        add(4),
        "tasks: the project has 0 and may have 3, 4 more would be too many",
    );
    rig.done(add(2));
    rig.at_limit(
        add(2),
        "tasks: the project has 2 and may have 3, 2 more would be too many",
    );

    let agents = "agents: the project has 1 and may have 1, 1 more would be too many";
    let task = rig.claimed(ready(opens("1"), 1))[0];
    rig.at_limit(ready(opens("2"), 1), agents);
    let session = NewSession::new("bob", TokenHash::of("3"));
    rig.at_limit(Body::Session(SessionCommand::Open(session)), agents);
    rig.run(started("hosted", 1));
    rig.at_limit(claim(Which::Ids(vec![]), hosted()), agents);
    // Whoever works there goes on, and makes room.
    let own = Caller::Session(TokenHash::of("1"));
    rig.claimed(ready(own.clone(), 1));
    rig.done(Body::Task(TaskCommand::Finish(finish(task.task, task.fence, own))));
    rig.done(add(2));
}

#[test]
fn a_hosted_agent_counts_while_it_holds_something_of_the_project() {
    let mut rig = limited(ProjectLimits {
        agents: Some(1),
        ..ProjectLimits::default()
    });
    rig.run(started("hosted", 1));
    rig.done(add(2));
    let held = rig.claimed(ready(hosted(), 1))[0];
    let count = |rig: &Rig| rig.colony.agents().working_in(&"p".into());
    assert_eq!(rig.claimed(ready(hosted(), 1)).len(), 1, "it is one agent still");
    assert_eq!(count(&rig), 1);
    rig.done(Body::Task(TaskCommand::Finish(finish(held.task, held.fence, hosted()))));
    assert_eq!(count(&rig), 1);
    rig.run(tasks::ended("hosted", 1));
    rig.empty_round();
    assert_eq!(count(&rig), 0);
    rig.claimed(ready(opens("1"), 1));
}

#[test]
fn the_memory_of_a_project_has_a_limit_of_keys_and_of_bytes() {
    let mut rig = limited(ProjectLimits {
        memory_keys: Some(2),
        memory_bytes: Some(1_000),
        ..ProjectLimits::default()
    });
    rig.done(put("a", &"x".repeat(600)));
    let before = rig.memory().bytes();
    assert_eq!(before, 128 + 1 + 600);
    rig.at_limit(
        put("b", &"x".repeat(200)),
        "memory_bytes: the project has 729 and may have 1000, 329 more would be too many",
    );
    // The same key with a value as long costs nothing.
    rig.done(put("a", &"y".repeat(600)));
    rig.done(put("b", "1"));
    let third = vec![write("b", Op::Delete), write("c", inline("1")), write("d", inline("1"))];
    let keys = "memory_keys: the project has 2 and may have 2, 1 more would be too many";
    rig.at_limit(Body::Propose(proposal(vec![], third.clone())), keys);
    let dry = Proposal {
        dry_run: true,
        ..proposal(vec![], third.clone())
    };
    rig.at_limit(Body::Propose(dry), keys);
    rig.at_limit(batch(Policy::First, vec![proposal(vec![], third)]), keys);
    rig.at_limit(put("c", "1"), keys);
    let moved = vec![write("b", Op::Delete), write("c", inline("1"))];
    rig.done(Body::Propose(proposal(vec![], moved)));
    // A key that was deleted has its revision still, and that counts.
    assert_eq!((rig.memory().live(), rig.memory().len()), (2, 3));
    assert_eq!(rig.memory().bytes(), 729 + 129 + 130);
    rig.done(change("a", Op::Delete));
    rig.done(put("b", "1"));
}

#[test]
fn content_that_several_keys_hold_counts_once() {
    let mut rig = limited(ProjectLimits {
        memory_bytes: Some(3_000),
        ..ProjectLimits::default()
    });
    rig.done(change("a", inline(large(1))));
    rig.done(change("b", kept(&large(1))));
    assert_eq!(rig.memory().bytes(), 2 * 129 + large(1).len() as u64);
    let other = vec![write("a", inline(large(2))), write("b", inline(large(2)))];
    rig.done(Body::Propose(proposal(vec![], other)));
    assert_eq!(rig.memory().bytes(), 2 * 129 + large(1).len() as u64);
    rig.done(change("c", inline(large(3))));
    rig.at_limit(
        change("d", inline(large(4))),
        "memory_bytes: the project has 2435 and may have 3000, 1153 more would be too many",
    );
}

#[test]
fn a_lower_limit_takes_nothing_away_and_bounds_what_comes() {
    let mut rig = Rig::default();
    rig.run(put("a", "1"));
    rig.run(put("b", "1"));
    rig.done(Body::Project(ProjectCommand::Limit(ProjectLimits {
        memory_keys: Some(1),
        ..ProjectLimits::default()
    })));
    rig.at_limit(
        put("c", "1"),
        "memory_keys: the project has 2 and may have 1, 1 more would be too many",
    );
    rig.done(put("a", "2"));
    rig.done(change("a", Op::Delete));
}

#[test]
fn the_rate_of_a_project_is_counted_in_cluster_time() {
    let mut rig = limited(ProjectLimits {
        commands_per_s: Some(2),
        ..ProjectLimits::default()
    });
    let words = "commands_per_s: the project has 2 and may have 2, 1 more would be too many";
    rig.done(put("k", "v"));
    rig.done(put("k", "v"));
    rig.now_ms = 499;
    rig.at_limit(put("k", "v"), words);
    assert!(matches!(elsewhere(&mut rig, put("k", "v")), Outcome::Changed { .. }));
    rig.now_ms = 500;
    rig.done(put("k", "v"));
    rig.at_limit(put("k", "v"), words);
    // However long it was silent, it has the commands of one second.
    rig.now_ms = 60_000;
    rig.done(put("k", "v"));
    rig.done(put("k", "v"));
    rig.at_limit(put("k", "v"), words);
}

#[test]
fn what_an_owner_says_of_its_work_is_never_refused_by_the_rate() {
    let mut rig = Rig::default();
    let task = rig.add_one();
    let claimed = rig.claimed(claim(Which::Ids(vec![task]), opens("1")))[0];
    let own = || Caller::Session(TokenHash::of("1"));
    rig.done(Body::Project(ProjectCommand::Limit(ProjectLimits {
        commands_per_s: Some(1),
        ..ProjectLimits::default()
    })));
    rig.done(put("k", "v"));
    let words = "commands_per_s: the project has 1 and may have 1, 1 more would be too many";
    rig.at_limit(put("k", "v"), words);
    let accept = Accept {
        task,
        fence: claimed.fence,
        caller: own(),
    };
    rig.done(Body::Task(TaskCommand::Accept(accept)));
    rig.done(Body::Task(TaskCommand::Finish(finish(task, claimed.fence, own()))));
}

#[test]
fn a_refusal_at_a_limit_is_not_remembered_under_an_idempotency_key() {
    let mut rig = limited(ProjectLimits {
        commands_per_s: Some(1),
        ..ProjectLimits::default()
    });
    rig.run(put("k", "1"));
    let mut keyed = |now_ms| {
        rig.now_ms = now_ms;
        let command = Command {
            idempotency_key: Some("once".into()),
            ..rig.command(put("k", "2"))
        };
        rig.send(command).0
    };
    assert!(matches!(keyed(0), Outcome::Refused(Refusal::Quota { .. })));
    assert!(matches!(keyed(1_000), Outcome::Changed { revision: 2, .. }));
}

#[test]
fn the_limits_of_a_project_have_bounds() {
    let mut rig = Rig::default();
    let none = ProjectLimits {
        tasks: Some(0),
        ..ProjectLimits::default()
    };
    assert_eq!(rig.refused(create(none)).to_string(), "tasks: 0 is under the least, 1");
    let fast = ProjectLimits {
        commands_per_s: Some(COMMANDS_PER_S_MAX + 1),
        ..ProjectLimits::default()
    };
    let words = "commands_per_s: 1000001 is over the limit of 1000000";
    assert_eq!(rig.refused(create(fast)).to_string(), words);
}

/// The project `p` with something in every part.
fn full(keys: usize) -> Rig {
    let mut rig = Rig::default();
    let tasks = rig.add(vec![new_task("work"); 4]);
    rig.claimed(claim(Which::Ids(vec![tasks[0]]), opens("1")));
    rig.run(started("hosted", 1));
    rig.claim_one(tasks[1], hosted());
    let needing = NewTask {
        terms: Terms {
            needs: vec![Need::Id(tasks[2])],
            queue: "other".into(),
            ..Terms::default()
        },
        ..new_task("later")
    };
    rig.add(vec![needing]);
    rig.run(Body::Task(TaskCommand::Queue(QueueChange {
        queue: "other".into(),
        paused: Some(true),
        breaker: None,
        distribution: None,
    })));
    let want = |resource: &str| Want {
        resource: resource.into(),
        mode: Mode::Exclusive,
    };
    let reserving = NewTask {
        terms: Terms {
            resources: vec![want("file:src/**")],
            ..Terms::default()
        },
        ..new_task("reserving")
    };
    let reserving = rig.add(vec![reserving]);
    rig.claim_one(reserving[0], hosted());
    rig.run(Body::Reservation(ReservationCommand::Slot {
        name: "gpu".into(),
        capacity: 2,
    }));
    // One has it, the other waits.
    for caller in [tasks::token("1"), hosted()] {
        rig.run(Body::Reservation(ReservationCommand::Acquire(Acquire {
            resources: vec![want("slot:build")],
            caller,
            ttl_ms: None,
            wait_ms: 600_000,
            reason: None,
            task: None,
        })));
    }
    assert_eq!(rig.colony.project("p").unwrap().reservations().count(), (3, 1));
    // One is offered a task, the other waits on.
    for _ in 0..2 {
        rig.run(Body::Task(TaskCommand::Claim(Claim {
            which: Which::Ready {
                kinds: Vec::new(),
                limit: 1,
            },
            caller: tasks::token("1"),
            wants: Wants {
                queue: Some("waited".into()),
                wait_ms: Some(WAIT_MS_MAX),
                ..Wants::default()
            },
        })));
    }
    let terms = Terms {
        queue: "waited".into(),
        ..Terms::default()
    };
    rig.add(vec![NewTask {
        terms,
        ..new_task("waited")
    }]);
    let waits = rig.tasks().waits().map(|(_, wait)| wait.is_waiting());
    assert_eq!(waits.collect::<Vec<bool>>(), [false, true]);
    rig.run(change("large", inline(large(1))));
    for key in 0..keys {
        rig.run(put(&format!("dir/{key}/file"), "v"));
    }
    // Lost three times: its keys are held.
    let mut follows = None;
    for _ in 0..HOLD_AFTER_LOSSES {
        let losing = Proposal {
            follows,
            ..proposal(vec![read("large", 9)], vec![write("large", inline("v"))])
        };
        rig.run(Body::Propose(losing));
        follows = Some(rig.colony.seq());
    }
    assert_eq!(rig.colony.project("p").unwrap().holds().iter().count(), 1);
    let remembered = Command {
        idempotency_key: Some("once".into()),
        ..rig.command(put("k", "v"))
    };
    rig.send(remembered);
    rig
}

#[test]
fn what_would_be_lost_is_said_and_nothing_is_changed() {
    let mut rig = full(3);
    let digest = rig.colony.project("p").unwrap().digest("p");
    let lost = rig.lost(true);
    let project = rig.colony.project("p").unwrap();
    assert_eq!(project.digest("p"), digest);
    let expected = Holdings {
        agents: 2,
        sessions: 1,
        open_tasks: 7,
        finished_tasks: 0,
        task_bytes: project.tasks().bytes().0,
        memory_keys: 5,
        memory_bytes: project.memory().bytes(),
        events: project.events().len() as u64,
        idempotency_keys: 1,
        reservations: 3,
        waiting_claims: 2,
    };
    assert_eq!(lost, expected);
    rig.now_ms = HOLD_MS;
    assert_eq!(rig.lost(false), lost);
}

#[test]
fn a_destroyed_project_is_refused_by_name_until_it_is_cleared_away_and_its_name_is_free_then() {
    let mut rig = full(3 * STEPS_PER_EMPTY_ROUND);
    rig.lost(false);
    assert!(rig.colony.project("p").is_none());
    for body in [
        put("k", "v"),
        create(ProjectLimits::default()),
        destroy(false),
        ready(opens("9"), 1),
    ] {
        let refusal = rig.refused(body);
        assert!(matches!(&refusal, Refusal::ProjectClearing { left, .. } if *left == rig.left()));
        assert!(
            refusal.to_string().starts_with("project p is destroyed, and "),
            "{refusal}"
        );
    }
    while rig.colony.due_ms() == Some(0) {
        rig.empty_round();
    }
    assert!(rig.colony.remains("p").is_none());
    assert_eq!(rig.colony.clearing().count(), 0);
    assert_eq!(rig.colony.sessions().all().count(), 0);
    let (_, life) = rig.colony.agents().lives().next().expect("the agent lives on");
    assert!(life.held.is_empty());
    assert_eq!(rig.colony.agents().timers().count(), 0);
    assert_eq!(rig.colony.due_ms(), None);
    rig.done(put("k", "v"));
    assert_eq!((rig.memory().len(), rig.memory().kept()), (1, (0, 0)));
    assert_eq!(rig.memory().revision("k"), 1);
    let again = rig.colony.project("p").unwrap();
    assert!(again.events().len() == 1 && again.reservations().is_empty());
}

#[test]
fn no_command_waits_for_more_than_its_steps_of_clearing_and_a_restored_replica_goes_on_alike() {
    let mut rig = full(2 * STEPS_PER_EMPTY_ROUND);
    rig.lost(false);
    let mut rounds = 0;
    while rig.colony.remains("p").is_some() {
        let before = rig.left();
        let mut restored = Colony::from_bytes(&rig.colony.to_bytes()).unwrap();
        let steps = match rounds % 2 {
            0 => {
                assert!(matches!(elsewhere(&mut rig, put("k", "v")), Outcome::Changed { .. }));
                STEPS_PER_COMMAND
            }
            _ => {
                rig.empty_round();
                restored.apply(0, wall_ms(0), &[random::empty_round()], NODE);
                assert_eq!(restored.to_bytes(), rig.colony.to_bytes());
                STEPS_PER_EMPTY_ROUND
            }
        };
        // Events are small: sixteen of them go in a step.
        assert!(before - rig.left() <= 16 * steps as u64, "{before} {}", rig.left());
        assert!(rig.left() < before || before == 0);
        rounds += 1;
    }
    assert!(rounds > 5, "{rounds}");
}

#[test]
fn what_time_brings_to_others_does_not_wait_for_a_clearing() {
    let mut rig = full(STEPS_PER_EMPTY_ROUND);
    let terms = Terms {
        run_ms: Some(100),
        ..Terms::default()
    };
    let short = NewTask {
        terms,
        ..new_task("short")
    };
    elsewhere(&mut rig, Body::Task(TaskCommand::Add(vec![short])));
    elsewhere(&mut rig, ready(opens("1"), 1));
    rig.lost(false);
    rig.now_ms = 100;
    elsewhere(&mut rig, put("k", "v"));
    let tasks = rig.colony.project("q").unwrap().tasks();
    assert_eq!(tasks.count(StateName::Leased), 0);
    assert!(rig.left() > 0);
}

#[test]
fn finished_tasks_that_are_forgotten_with_others_count_as_steps() {
    let mut rig = tasks::rig();
    for task in rig.add(vec![new_task("old"); 3 * STEPS_PER_EMPTY_ROUND]) {
        let (force, reason) = (false, None);
        let act = Act::Cancel { force, reason };
        rig.done(Body::Task(TaskCommand::Control(Control { task, act })));
    }
    // A month later many expire at once, each for the last time.
    rig.now_ms = FINISHED_KEPT_MS + 1;
    let many = STEPS_PER_EMPTY_ROUND;
    let terms = Terms {
        start_ms: Some(10),
        retry: Retry {
            expiries_max: 1,
            ..Retry::default()
        },
        ..Terms::default()
    };
    let short = NewTask {
        terms,
        ..new_task("short")
    };
    let added = rig.add(vec![short; many]);
    for some in added.chunks(CLAIM_TASKS_MAX) {
        rig.claimed(claim(Which::Ids(some.to_vec()), tasks::token("a")));
    }
    rig.now_ms += 10;
    let before = (rig.tasks().len(), rig.tasks().count(StateName::Dead));
    rig.empty_round();
    let forgotten = before.0 - rig.tasks().len();
    let ended = rig.tasks().count(StateName::Dead) - before.1;
    assert!(forgotten > 0 && ended > 0, "{forgotten} {ended}");
    assert!(forgotten + ended <= STEPS_PER_EMPTY_ROUND + 64, "{forgotten} {ended}");
}
