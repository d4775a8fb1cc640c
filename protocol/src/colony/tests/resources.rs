//! Tasks that name resources: a claim reserves them, and whoever claims passes over what is taken.

use super::tasks::{agent, claim, ended, finish, new_task, ready, rig, started, token};
use super::*;

fn want(resource: &str) -> Want {
    Want {
        resource: resource.into(),
        mode: Mode::Exclusive,
    }
}

fn of(resources: &[&str]) -> NewTask {
    NewTask {
        terms: Terms {
            resources: resources.iter().map(|resource| want(resource)).collect(),
            ..Terms::default()
        },
        ..new_task("work")
    }
}

fn acquire(resource: &str, caller: Caller, wait_ms: u64) -> Body {
    Body::Reservation(ReservationCommand::Acquire(Acquire {
        resources: vec![want(resource)],
        caller,
        ttl_ms: None,
        wait_ms,
        reason: None,
        task: None,
    }))
}

impl Rig {
    fn all_reserved(&self) -> Vec<Arc<Reservation>> {
        let project = self.colony.project("p").expect("a task was added");
        project.reservations().after(None).cloned().collect()
    }

    fn lease_of(&self, task: TaskId) -> Lease {
        match &self.tasks().get(task).expect("it is kept").state {
            State::Leased(lease) => lease.clone(),
            state => panic!("{state:?}"),
        }
    }

    fn ready_for(&mut self, caller: &str, limit: u32) -> Vec<TaskId> {
        let claimed = self.claimed(ready(token(caller), limit));
        claimed.iter().map(|claimed| claimed.task).collect()
    }
}

#[test]
fn a_claim_reserves_what_its_task_names_until_the_lease_ends() {
    let mut rig = rig();
    let task = rig.add(vec![of(&["file:src/./parse/", "slot:gpu"])])[0];
    let fence = rig.claim_one(task, token("a"));
    let reserved = rig.all_reserved();
    let texts: Vec<&str> = reserved[0].resources.iter().map(|reserved| &*reserved.text).collect();
    assert_eq!(texts, ["file:src/parse/**", "slot:gpu"]);
    assert_eq!((reserved[0].task, reserved[0].fence()), (Some(task), Some(fence)));
    assert_eq!(rig.lease_of(task).reservation, Some(reserved[0].id));

    // A day later it is still held, and no round was due for it.
    assert_eq!(rig.colony.due_ms(), None);
    rig.now_ms += 86_400_001;
    let refused = rig.refused(acquire("file:src/parse/a.rs", token("b"), 0));
    assert!(
        matches!(&refused, Refusal::Held { blockers, .. } if blockers[0].task == Some(task)),
        "{refused:?}"
    );
    let write = |caller| {
        Body::Change(Change {
            key: "src/parse/a.rs".into(),
            op: inline("v"),
            tags: Vec::new(),
            condition: Condition::None,
            caller,
        })
    };
    assert!(matches!(rig.refused(write(Some(token("b")))), Refusal::Reserved { .. }));
    assert!(matches!(rig.run(write(Some(token("a")))), Outcome::Changed { .. }));

    let writes = vec![super::write("src/parse/b.rs", inline("v"))];
    let finished = rig.finish(Finish {
        proposal: Some(proposal(vec![], writes)),
        ..finish(task, fence, token("a"))
    });
    assert!(matches!(finished, Outcome::Finished { .. }), "{finished:?}");
    assert!(rig.all_reserved().is_empty());
    let last = rig.colony.project("p").unwrap().events().iter().last().unwrap();
    assert!(matches!(
        last.what,
        What::ReservationEnded {
            reason: ReservationEnd::LeaseEnded,
            ..
        }
    ));
}

#[test]
fn a_claim_passes_over_tasks_whose_resources_are_taken() {
    let mut rig = rig();
    let tasks = rig.add(vec![
        of(&["file:src/**"]),
        of(&["file:src/a.rs"]),
        of(&["slot:gpu"]),
        of(&["slot:gpu"]),
        of(&["file:doc/*"]),
        new_task("free"),
    ]);
    assert_eq!(rig.ready_for("a", 1), [tasks[0]]);
    assert_eq!(rig.ready_for("b", 10), [tasks[2], tasks[4], tasks[5]]);
    assert_eq!(rig.ready_for("b", 10), []);
    // What is its own stands in nobody's way, but for the places of a slot.
    assert_eq!(rig.ready_for("a", 10), [tasks[1]]);
    let fence = rig.lease_of(tasks[2]).fence;
    rig.finish(finish(tasks[2], fence, token("b")));
    assert_eq!(rig.ready_for("a", 10), [tasks[3]]);
}

#[test]
fn a_claim_of_ids_takes_all_with_their_resources_or_none() {
    let mut rig = rig();
    let tasks = rig.add(vec![
        of(&["slot:gpu"]),
        of(&["slot:gpu", "key:plan"]),
        of(&["key:plan"]),
    ]);
    let both = |caller| claim(Which::Ids(tasks[..2].to_vec()), token(caller));
    let digest = rig.colony.project("p").unwrap().tasks().digest;
    let refused = rig.refused(both("a"));
    assert!(
        matches!(&refused, Refusal::Held { free, .. } if free == &[1]),
        "{refused:?}"
    );
    assert_eq!(rig.colony.project("p").unwrap().tasks().digest, digest);
    assert!(rig.all_reserved().is_empty());
    rig.run(Body::Reservation(ReservationCommand::Slot {
        name: "gpu".into(),
        capacity: 2,
    }));
    assert_eq!(rig.claimed(both("a")).len(), 2);
    let refused = rig.refused(claim(Which::Ids(vec![tasks[2]]), token("b")));
    assert!(
        matches!(&refused, Refusal::Held { blockers, .. } if blockers[0].task == Some(tasks[1])),
        "{refused:?}"
    );
    // The owner itself takes it.
    rig.claim_one(tasks[2], token("a"));
}

#[test]
fn however_a_lease_ends_its_resources_are_free() {
    let mut rig = rig();
    let task = rig.add(vec![of(&["key:plan"])])[0];
    rig.run(started("w", 1));
    rig.claim_one(task, agent("w", 1));
    rig.run(ended("w", 1));
    assert!(rig.all_reserved().is_empty());

    let fence = rig.claim_one(task, token("a"));
    rig.finish(Finish {
        ending: Ending::Released,
        ..finish(task, fence, token("a"))
    });
    assert!(rig.all_reserved().is_empty());

    rig.claim_one(task, token("a"));
    rig.run(Body::Session(SessionCommand::Close {
        session: SessionId(1),
        token: TokenHash::of("a"),
    }));
    assert!(rig.all_reserved().is_empty());

    rig.claim_one(task, token("b"));
    let act = Act::Cancel {
        force: true,
        reason: None,
    };
    rig.run(Body::Task(TaskCommand::Control(Control { task, act })));
    assert!(rig.all_reserved().is_empty());
}

#[test]
fn who_waits_for_the_resources_of_a_task_has_them_when_it_is_finished() {
    let mut rig = rig();
    let task = rig.add(vec![of(&["key:plan"])])[0];
    let fence = rig.claim_one(task, token("a"));
    let Outcome::Reserved {
        reservation,
        fence: None,
        ..
    } = rig.run(acquire("key:plan", token("b"), 60_000))
    else {
        panic!("it waits")
    };
    // A task does not stand in line, and does not pass who stands there.
    let other = rig.add(vec![of(&["key:plan"])])[0];
    rig.finish(finish(task, fence, token("a")));
    assert!(rig.all_reserved()[0].fence().is_some());
    assert_eq!(rig.all_reserved()[0].id, reservation);
    let refused = rig.refused(claim(Which::Ids(vec![other]), token("a")));
    assert!(matches!(refused, Refusal::Held { .. }), "{refused:?}");
    // Who waits for something takes nothing else, so it claims no task that needs something.
    rig.run(acquire("key:plan", token("a"), 60_000));
    let free = rig.add(vec![of(&["key:x"])])[0];
    let refused = rig.refused(claim(Which::Ids(vec![free]), token("a")));
    assert!(matches!(refused, Refusal::Waits { .. }), "{refused:?}");
}

#[test]
fn a_task_that_is_taken_over_takes_its_resources_along() {
    let mut rig = rig();
    let task = rig.add(vec![of(&["slot:gpu", "key:plan"])])[0];
    let fence = rig.claim_one(task, token("a"));
    let act = Act::HandOff {
        fence,
        caller: token("a"),
        to: Some("b".into()),
    };
    rig.run(Body::Task(TaskCommand::Control(Control { task, act })));
    rig.claim_one(task, token("b"));
    let reserved = rig.all_reserved();
    assert_eq!(reserved.len(), 1);
    assert!(matches!(&reserved[0].holder.owner, Owner::Session { name, .. } if &**name == "b"));
}

#[test]
fn what_is_reserved_for_a_lease_may_be_given_back_before_it() {
    let mut rig = rig();
    let task = rig.add(vec![of(&["key:plan", "key:x"])])[0];
    let fence = rig.claim_one(task, token("a"));
    let release = |which| {
        let caller = token("a");
        Body::Reservation(ReservationCommand::Release(Release { which, caller }))
    };
    rig.run(release(Released::Resources(vec!["key:x".into()])));
    rig.run(acquire("key:x", token("b"), 0));
    let id = rig.lease_of(task).reservation.unwrap();
    let renewed = rig.run(Body::Reservation(ReservationCommand::Renew(Renew {
        ids: vec![id],
        caller: token("a"),
        ttl_ms: Some(5_000),
    })));
    assert!(
        matches!(
            renewed,
            Outcome::Renewed {
                until_ms: RESERVATION_OF_LEASE_MS,
                ..
            }
        ),
        "{renewed:?}"
    );
    rig.run(release(Released::All));
    assert_eq!(rig.all_reserved().len(), 1);
    let finished = rig.finish(finish(task, fence, token("a")));
    assert!(matches!(finished, Outcome::Finished { .. }), "{finished:?}");
}

#[test]
fn a_claim_finds_what_is_free_behind_many_tasks_that_want_the_same_and_looks_at_a_bounded_number() {
    let mut rig = rig();
    rig.run(acquire("slot:gpu", token("b"), 0));
    for _ in 0..2 {
        rig.add(vec![of(&["slot:gpu"]); ADD_TASKS_MAX / 2]);
    }
    let free = rig.add_one();
    assert_eq!(rig.ready_for("a", 1), [free]);
    rig.add(vec![of(&["slot:gpu"]); ADD_TASKS_MAX]);
    rig.add_one();
    assert_eq!(rig.ready_for("a", 1), [], "it is behind more than a claim looks at");
}

#[test]
fn resources_of_a_task_that_nobody_could_reserve_are_refused_when_it_is_added() {
    let mut rig = rig();
    let mut refusal = |task: NewTask| rig.refused(Body::Task(TaskCommand::Add(vec![task]))).to_string();
    assert!(refusal(of(&["plan"])).contains("begins with none of file:, key:, slot:"));
    assert!(refusal(of(&["key:a", "key:a"])).contains("key:a stands twice"));
    assert!(refusal(of(&["key:a"; TASK_RESOURCES_MAX + 1])).contains("resources"));
    let body = Body::Task(TaskCommand::Add(vec![of(&[&format!("key:{}", "\u{1}".repeat(500))])]));
    let (room, outcome) = (body.outcome_bytes_max(), rig.run(body));
    assert!(matches!(outcome, Outcome::Refused(Refusal::Malformed { .. })));
    assert!(bincode::serialize(&outcome).unwrap().len() <= room);
}

fn waits_for_one(rig: &mut Rig, name: &str) -> WaitId {
    let claim = Body::Task(TaskCommand::Claim(Claim {
        which: Which::Ready {
            kinds: Vec::new(),
            limit: 1,
        },
        caller: token(name),
        wants: Wants {
            wait_ms: Some(60_000),
            ..Wants::default()
        },
    }));
    match rig.run(claim) {
        Outcome::Waiting { seq, .. } => WaitId(seq),
        other => panic!("{other:?}"),
    }
}

fn offered(rig: &Rig, id: WaitId) -> Vec<TaskId> {
    let wait = rig.tasks().wait(id).expect("it waits or has an offer");
    wait.offered.iter().map(|claimed| claimed.task).collect()
}

#[test]
fn a_task_whose_resources_are_taken_is_offered_once_they_are_free() {
    let mut rig = rig();
    rig.run(Body::Session(SessionCommand::Open(NewSession::new(
        "c",
        TokenHash::of("c"),
    ))));
    rig.run(acquire("file:src/a.rs", token("a"), 0));
    let wait = waits_for_one(&mut rig, "b");
    let task = rig.add(vec![of(&["file:src/**"])])[0];
    assert!(offered(&rig, wait).is_empty(), "passed over");
    let free = rig.add_one();
    let second = waits_for_one(&mut rig, "c");
    assert_eq!(offered(&rig, wait), [free], "what needs nothing is offered past it");
    assert!(offered(&rig, second).is_empty());
    rig.run(Body::Reservation(ReservationCommand::Release(Release {
        caller: token("a"),
        which: Released::All,
    })));
    assert_eq!(offered(&rig, second), [task]);
    let reserved = rig.all_reserved();
    assert_eq!(rig.lease_of(task).reservation, Some(reserved[0].id));

    // Nobody takes the offer: what it reserved goes back with the task.
    rig.now_ms += OFFER_MS + 1;
    rig.empty_round();
    assert_eq!(rig.all_reserved(), []);
    assert_eq!(rig.tasks().ready(), 2);
}

#[test]
fn a_task_is_offered_to_the_claim_whose_owner_has_what_it_needs() {
    let mut rig = rig();
    let first = waits_for_one(&mut rig, "a");
    let second = waits_for_one(&mut rig, "b");
    rig.run(acquire("file:src/a.rs", token("b"), 0));
    let task = rig.add(vec![of(&["file:src/**"])])[0];
    assert_eq!((offered(&rig, first), offered(&rig, second)), (vec![], vec![task]));
}
