//! Claims that wait, promise by promise; to which of them a task goes has a file of its own.

mod distributions;

use std::collections::{BTreeMap, BTreeSet};

use super::random::{Generator, Seeded, each_seed};
use super::tasks::{finish, new_task, rig, token};
use super::*;
use crate::colony::memory::over_limit;

/// Opens a session whose token is its name.
fn session(rig: &mut Rig, name: &str, labels: &[&str]) -> SessionId {
    let new = NewSession {
        labels: labels.iter().map(|label| Arc::from(*label)).collect(),
        ..NewSession::new(name, TokenHash::of(name))
    };
    match rig.run(Body::Session(SessionCommand::Open(new))) {
        Outcome::SessionOpen { session, .. } => session,
        other => panic!("{other:?}"),
    }
}

fn waiting_claim(caller: Caller, limit: u32, wants: Wants) -> Body {
    Body::Task(TaskCommand::Claim(Claim {
        which: Which::Ready {
            kinds: Vec::new(),
            limit,
        },
        caller,
        wants,
    }))
}

fn wants(wait_ms: u64) -> Wants {
    Wants {
        wait_ms: Some(wait_ms),
        ..Wants::default()
    }
}

/// A claim with this token begins to wait for a minute.
fn wait(rig: &mut Rig, name: &str) -> WaitId {
    begins(rig.run(waiting_claim(token(name), 1, wants(60_000))))
}

fn begins(outcome: Outcome) -> WaitId {
    match outcome {
        Outcome::Waiting { seq, .. } => WaitId(seq),
        other => panic!("{other:?}"),
    }
}

fn offered(rig: &Rig, id: WaitId) -> Vec<Claimed> {
    let wait = rig.tasks().wait(id);
    wait.map(|wait| wait.offered.clone()).unwrap_or_default()
}

fn waits(rig: &Rig) -> usize {
    rig.tasks().waits().filter(|(_, wait)| wait.is_waiting()).count()
}

fn accept(claimed: &Claimed, name: &str) -> Body {
    Body::Task(TaskCommand::Accept(Accept {
        task: claimed.task,
        fence: claimed.fence,
        caller: token(name),
    }))
}

fn leave(wait: WaitId, name: &str) -> Body {
    Body::Task(TaskCommand::Leave(Leave {
        wait,
        caller: token(name),
    }))
}

#[test]
fn of_two_hundred_claims_that_wait_one_gets_the_task_and_the_others_wait_on() {
    let mut rig = rig();
    let ids: Vec<WaitId> = (0..200)
        .map(|number| {
            let name = format!("s{number}");
            session(&mut rig, &name, &[]);
            wait(&mut rig, &name)
        })
        .collect();
    let task = rig.add_one();
    let got: Vec<&WaitId> = ids.iter().filter(|id| !offered(&rig, **id).is_empty()).collect();
    assert_eq!(got, [&ids[0]], "first come, first served");
    assert_eq!(offered(&rig, ids[0])[0].task, task);
    assert_eq!(waits(&rig), 199);
    // They are told apart by what changed: nobody else is woken.
    let (_, applied) = {
        let command = rig.command(Body::Task(TaskCommand::Add(vec![new_task("next")])));
        rig.send(command)
    };
    assert_eq!(applied.waits, vec![(Arc::<str>::from("p"), ids[1])]);
}

#[test]
fn an_offer_that_is_accepted_is_a_lease_and_one_that_is_not_was_no_attempt() {
    let mut rig = rig();
    let id = wait(&mut rig, "a");
    let task = rig.add_one();
    let first = offered(&rig, id)[0];
    assert_eq!((first.task, first.attempt), (task, 1));
    rig.now_ms += OFFER_MS;
    rig.empty_round();
    let returned = rig.tasks().get(task).unwrap();
    assert_eq!(
        (returned.state.name(), returned.attempts, returned.history.len()),
        (StateName::Pending, 0, 0)
    );
    assert!(rig.tasks().wait(id).is_none());
    let late = rig.refused(accept(&first, "a"));
    assert!(matches!(late, Refusal::Fenced { holder: None, .. }), "{late:?}");

    let second = rig.claimed(waiting_claim(token("a"), 1, wants(60_000)))[0];
    assert_eq!(second.attempt, 1, "there was a task: no offer, a lease at once");
    rig.finish(Finish {
        ending: Ending::Released,
        ..finish(task, second.fence, token("a"))
    });
    // The task is ready, so this one waits for the next.
    let third = rig.claimed(waiting_claim(token("a"), 1, wants(60_000)))[0];
    rig.finish(finish(task, third.fence, token("a")));
    let id = wait(&mut rig, "b");
    let task = rig.add_one();
    let offer = offered(&rig, id)[0];
    assert!(matches!(
        rig.run(accept(&offer, "b")),
        Outcome::Accepted { until_ms: None, .. }
    ));
    assert!(rig.tasks().wait(id).is_none(), "an answered offer is over");
    rig.now_ms += 10 * OFFER_MS;
    rig.empty_round();
    assert_eq!(rig.state(task), StateName::Leased);
}

#[test]
fn a_claim_that_leaves_gives_its_offer_to_the_next_one() {
    let mut rig = rig();
    let (first, second) = (wait(&mut rig, "a"), wait(&mut rig, "b"));
    let task = rig.add_one();
    assert_eq!(offered(&rig, first)[0].task, task);
    let foreign = rig.refused(leave(first, "b"));
    assert!(matches!(foreign, Refusal::Malformed { .. }), "{foreign:?}");
    assert!(matches!(rig.run(leave(first, "a")), Outcome::Left { returned: 1, .. }));
    let next = offered(&rig, second)[0];
    assert_eq!((next.task, next.attempt), (task, 1));
    assert!(matches!(rig.run(leave(first, "a")), Outcome::Left { returned: 0, .. }));
    assert_eq!(offered(&rig, second), [next], "what is over is left as it is");
}

#[test]
fn who_is_gone_waits_no_more() {
    let mut rig = rig();
    // Left, closed, over, and of a node that was lost or started anew.
    let left = wait(&mut rig, "a");
    rig.run(leave(left, "a"));
    let closing = session(&mut rig, "closing", &[]);
    wait(&mut rig, "closing");
    let close = SessionCommand::Close {
        session: closing,
        token: TokenHash::of("closing"),
    };
    rig.run(Body::Session(close));
    assert_eq!(waits(&rig), 0);
    rig.run(waiting_claim(token("a"), 1, wants(1_000)));
    rig.now_ms += 1_000;
    rig.empty_round();
    assert_eq!(waits(&rig), 0);
    wait(&mut rig, "a");
    let lost = AgentCommand::NodeLost {
        node: NodeId(1),
        incarnation: 1,
    };
    rig.run(Body::Agent(lost));
    assert_eq!(waits(&rig), 0);
    wait(&mut rig, "b");
    rig.number = 0;
    let round = Round {
        node: NodeId(1),
        incarnation: 2,
        commands: vec![rig.command(Body::Task(TaskCommand::Add(vec![new_task("t")])))],
    };
    rig.colony.apply(rig.now_ms, wall_ms(rig.now_ms), &[round], NodeId(1));
    assert_eq!(waits(&rig), 0);
    assert_eq!(rig.tasks().count(StateName::Pending), 1, "nobody is left to have it");
}

#[test]
fn a_claim_without_a_session_opens_one_to_wait_and_closes_it_when_it_gets_nothing() {
    let mut rig = rig();
    let opens = || {
        Caller::Opens(Box::new(NewSession {
            passing: true,
            ..NewSession::new("passing", TokenHash::of("passing"))
        }))
    };
    let outcome = rig.run(waiting_claim(opens(), 1, wants(1_000)));
    let Outcome::Waiting {
        session: Some(session), ..
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    let ended = |rig: &Rig| {
        rig.colony
            .sessions()
            .get(session)
            .unwrap()
            .ended
            .clone()
            .map(|ended| ended.why)
    };
    assert_eq!(ended(&rig), None);
    rig.now_ms += 1_000;
    rig.empty_round();
    assert_eq!(ended(&rig), Some(SessionEnd::Idle));
}

#[test]
fn many_ready_tasks_are_shared_by_the_claims_that_wait() {
    let mut rig = rig();
    session(&mut rig, "c", &[]);
    let ids: Vec<WaitId> = ["a", "b", "c"]
        .map(|name| begins(rig.run(waiting_claim(token(name), 5, wants(60_000)))))
        .into();
    rig.add(vec![new_task("t"); 8]);
    let counts: Vec<usize> = ids.iter().map(|id| offered(&rig, *id).len()).collect();
    assert_eq!(counts, [3, 3, 2]);
    assert_eq!(rig.tasks().ready(), 0);
}

#[test]
fn a_task_passes_over_claims_that_it_does_not_fit() {
    let mut rig = rig();
    let (any, capable) = (wait(&mut rig, "a"), {
        let wants = Wants {
            capabilities: vec!["gpu".into()],
            ..wants(60_000)
        };
        begins(rig.run(waiting_claim(token("b"), 1, wants)))
    });
    let terms = Terms {
        requires: vec!["gpu".into()],
        ..Terms::default()
    };
    let task = rig.add(vec![NewTask { terms, ..new_task("t") }])[0];
    assert_eq!((offered(&rig, any).len(), offered(&rig, capable)[0].task), (0, task));
}

#[test]
fn a_queue_that_is_opened_again_owes_what_became_ready_meanwhile() {
    let mut rig = rig();
    let id = wait(&mut rig, "a");
    let change = |paused: Option<bool>, breaker| {
        Body::Task(TaskCommand::Queue(QueueChange {
            queue: QUEUE_DEFAULT.into(),
            paused,
            breaker,
            distribution: None,
        }))
    };
    rig.run(change(Some(true), None));
    let task = rig.add_one();
    assert_eq!(offered(&rig, id), []);
    rig.run(change(Some(false), None));
    let offer = offered(&rig, id)[0];
    assert_eq!(offer.task, task);
    // A breaker that is open is looked at when its time is over, and gives one task for trial.
    let breaker = BreakerSettings {
        failures: 1,
        pause_ms: 5_000,
    };
    rig.run(change(None, Some(breaker)));
    rig.finish(Finish {
        ending: Ending::Failed,
        ..finish(task, offer.fence, token("a"))
    });
    let (first, second) = (wait(&mut rig, "a"), wait(&mut rig, "b"));
    rig.add(vec![new_task("t"); 2]);
    assert_eq!(waits(&rig), 2);
    assert_eq!(rig.colony.due_ms(), Some(5_000));
    rig.now_ms += 5_000;
    rig.empty_round();
    assert_eq!((offered(&rig, first).len(), offered(&rig, second).len()), (1, 0));
    let trial = offered(&rig, first)[0];
    rig.finish(finish(trial.task, trial.fence, token("a")));
    assert_eq!(offered(&rig, second).len(), 1, "the breaker is closed");
}

#[test]
fn claims_that_cannot_wait_are_refused_and_leave_nothing_behind() {
    let mut rig = rig();
    rig.add(vec![new_task("t")]);
    let held = rig.claimed(waiting_claim(token("a"), 1, Wants::default()))[0];
    let digest = |rig: &Rig| rig.colony.project("p").unwrap().digest("p");
    let before = digest(&rig);
    let refusal = rig.refused(waiting_claim(token("a"), 1, wants(WAIT_MS_MAX + 1)));
    assert_eq!(
        refusal,
        over_limit("wait_ms", WAIT_MS_MAX as usize + 1, WAIT_MS_MAX as usize)
    );
    let by_id = Body::Task(TaskCommand::Claim(Claim {
        which: Which::Ids(vec![held.task]),
        caller: token("a"),
        wants: wants(1),
    }));
    assert!(matches!(rig.refused(by_id), Refusal::Malformed { field, .. } if &*field == "wait_ms"));
    assert_eq!(digest(&rig), before);
    for _ in 0..WAITS_PER_OWNER_MAX {
        wait(&mut rig, "a");
    }
    let before = digest(&rig);
    let refusal = rig.refused(waiting_claim(token("a"), 1, wants(1)));
    assert_eq!(
        refusal,
        over_limit("waiting_claims_of_owner", WAITS_PER_OWNER_MAX + 1, WAITS_PER_OWNER_MAX)
    );
    assert_eq!(digest(&rig), before);
    for profile in 0..WAIT_PROFILES_MAX - 1 {
        let caller = Caller::Opens(Box::new(NewSession::new(
            "s",
            TokenHash::of(&format!("profile {profile}")),
        )));
        let wants = Wants {
            capabilities: vec![format!("c{profile}").into()],
            ..wants(60_000)
        };
        begins(rig.run(waiting_claim(caller, 1, wants)));
    }
    let sessions = rig.colony.sessions().all().count();
    let wants = Wants {
        capabilities: vec!["another".into()],
        ..wants(60_000)
    };
    let caller = Caller::Opens(Box::new(NewSession::new("s", TokenHash::of("another"))));
    let refusal = rig.refused(waiting_claim(caller, 1, wants));
    assert_eq!(
        refusal,
        over_limit("waiting_profiles", WAIT_PROFILES_MAX + 1, WAIT_PROFILES_MAX)
    );
    assert_eq!(rig.colony.sessions().all().count(), sessions, "no session was opened");
}

#[test]
fn no_task_is_offered_twice_and_none_is_lost() {
    each_seed(8_000..8_040, |seed| {
        let (mut generator, mut colony) = (Generator::new(seed), Colony::default());
        let mut fences: BTreeMap<(Arc<str>, TaskId), Fence> = BTreeMap::new();
        for _ in 0..100 {
            let applied = generator.next(&colony).apply(&mut colony);
            for (project, event) in &applied.events {
                if let What::TaskClaimed { task, fence, .. } = event.what {
                    // Each claim and each offer of a task has a fence greater than all before.
                    let before = fences.insert((project.clone(), task), fence);
                    assert!(
                        before.is_none_or(|before| before < fence),
                        "{task}: {before:?}, {fence}"
                    );
                }
            }
            check_offers(&colony);
        }
    });
}

/// Each offered task is one leased task, of one claim, whose caller holds it; and every task is counted once.
fn check_offers(colony: &Colony) {
    for (_, project) in colony.projects() {
        let tasks = project.tasks();
        let mut offered = BTreeSet::new();
        for (id, wait) in tasks.waits() {
            for claimed in &wait.offered {
                assert!(offered.insert(claimed.task), "{} is offered twice", claimed.task);
                let State::Leased(lease) = &tasks.get(claimed.task).expect("it is kept").state else {
                    panic!("{} is offered and not leased", claimed.task);
                };
                assert_eq!((lease.offer, lease.fence), (Some(id), claimed.fence));
                assert_eq!((&lease.holder, lease.accepted), (&wait.holder, false));
            }
        }
        let leases = tasks.after(None).filter_map(|task| match &task.state {
            State::Leased(lease) => lease.offer.map(|_| task.id),
            _ => None,
        });
        assert_eq!(leases.collect::<BTreeSet<_>>(), offered);
        let all: usize = StateName::ALL.into_iter().map(|state| tasks.count(state)).sum();
        assert_eq!(all, tasks.len());
        let waiting = tasks.waits().filter(|(_, wait)| wait.is_waiting()).count();
        assert_eq!(tasks.queues().map(|(_, queue)| queue.waiting()).sum::<usize>(), waiting);
    }
}

#[test]
fn what_is_more_than_one_command_may_hand_out_is_handed_out_by_later_rounds() {
    let mut rig = rig();
    let names: Vec<String> = (0..150).map(|number| format!("s{number}")).collect();
    for name in &names {
        session(&mut rig, name, &[]);
        wait(&mut rig, name);
    }
    rig.add(vec![new_task("t"); 150]);
    assert_eq!(waits(&rig), 150 - STEPS_PER_COMMAND);
    assert_eq!(rig.colony.due_ms(), Some(0), "the leader proposes a round for the rest");
    rig.empty_round();
    rig.empty_round();
    assert_eq!((waits(&rig), rig.tasks().ready()), (0, 0));
    assert!(rig.colony.due_ms().is_none_or(|due_ms| due_ms > 0));
}

#[test]
fn a_colony_read_back_in_the_middle_of_offers_goes_on_alike() {
    let mut rig = rig();
    let mut seeded = Seeded(1);
    let names: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    for name in &names {
        session(&mut rig, name, &[]);
        begins(rig.run(waiting_claim(token(name), 1 + seeded.below(3) as u32, wants(60_000))));
    }
    rig.add(vec![new_task("t"); 100]);
    let mut read = Rig {
        colony: Colony::from_bytes(&rig.colony.to_bytes()).unwrap(),
        ..rig.clone()
    };
    for _ in 0..4 {
        rig.empty_round();
        read.empty_round();
        assert_eq!(rig.colony.digest(), read.colony.digest());
    }
    assert_eq!(rig.tasks().ready(), 0);
}
