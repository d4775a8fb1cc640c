//! Reservations, promise by promise; who waits for one has a file of its own.

mod waiting;

use super::*;

fn token(text: &str) -> Caller {
    Caller::Session(TokenHash::of(text))
}

fn agent(name: &str) -> Caller {
    Caller::Agent {
        name: name.into(),
        generation: 1,
    }
}

fn acquire(resources: &[(&str, Mode)], caller: &str, wait_ms: u64) -> Body {
    let want = |(resource, mode): &(&str, Mode)| Want {
        resource: (*resource).into(),
        mode: *mode,
    };
    Body::Reservation(ReservationCommand::Acquire(Acquire {
        resources: resources.iter().map(want).collect(),
        caller: match caller.strip_prefix('@') {
            Some(name) => agent(name),
            None => token(caller),
        },
        ttl_ms: Some(60_000),
        wait_ms,
        reason: None,
        task: None,
    }))
}

fn exclusive(resource: &str, caller: &str, wait_ms: u64) -> Body {
    acquire(&[(resource, Mode::Exclusive)], caller, wait_ms)
}

fn release(ids: &[ReservationId], caller: &str) -> Body {
    Body::Reservation(ReservationCommand::Release(Release {
        which: Released::Ids(ids.to_vec()),
        caller: token(caller),
    }))
}

fn renew(id: ReservationId, caller: &str) -> Body {
    Body::Reservation(ReservationCommand::Renew(Renew {
        ids: vec![id],
        caller: token(caller),
        ttl_ms: None,
    }))
}

fn slot(name: &str, capacity: u32) -> Body {
    let name = name.into();
    Body::Reservation(ReservationCommand::Slot { name, capacity })
}

/// With sessions whose tokens and names are these.
fn rig() -> Rig {
    let mut rig = Rig::default();
    for name in ["0", "1", "2", "3", "4", "5", "a", "b", "c", "d", "x"] {
        rig.opened(name);
    }
    rig
}

impl Rig {
    fn opened(&mut self, name: &str) {
        let new = NewSession::new(name, TokenHash::of(name));
        let opened = self.run(Body::Session(SessionCommand::Open(new)));
        assert!(matches!(opened, Outcome::SessionOpen { .. }), "{opened:?}");
    }

    #[track_caller]
    fn reserved(&mut self, body: Body) -> (ReservationId, Option<Fence>) {
        match self.run(body) {
            Outcome::Reserved { reservation, fence, .. } => (reservation, fence),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn held(&mut self, body: Body) -> ReservationId {
        let (reservation, fence) = self.reserved(body);
        assert!(fence.is_some(), "it is granted");
        reservation
    }

    #[track_caller]
    fn waits(&mut self, body: Body) -> ReservationId {
        let (reservation, fence) = self.reserved(body);
        assert_eq!(fence, None, "it waits");
        reservation
    }

    #[track_caller]
    fn says_no(&mut self, body: Body) -> Refusal {
        let digest = self.colony.project("p").map(|project| project.reservations().digest);
        let refusal = match self.run(body) {
            Outcome::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        };
        let after = self.colony.project("p").map(|project| project.reservations().digest);
        assert_eq!(after, digest, "a refusal changes nothing");
        refusal
    }

    fn reservation(&self, id: ReservationId) -> Option<&Arc<Reservation>> {
        self.colony
            .project("p")
            .expect("something was reserved")
            .reservations()
            .get(id)
    }

    fn is_held(&self, id: ReservationId) -> bool {
        self.reservation(id).is_some_and(|found| found.fence().is_some())
    }

    fn round_without_commands(&mut self) {
        let round = Round {
            node: NodeId(1),
            incarnation: 1,
            commands: Vec::new(),
        };
        self.colony
            .apply(self.now_ms, wall_ms(self.now_ms), &[round], NodeId(1));
    }
}

#[test]
fn a_refusal_names_the_holder_and_the_part_that_is_free() {
    let mut rig = rig();
    let id = rig.held(exclusive("file:src/*/mod.rs", "a", 0));
    let wanted = [
        ("file:docs/**", Mode::Exclusive),
        ("file:src/auth/*.rs", Mode::Shared),
        ("key:plan", Mode::Shared),
    ];
    let refusal = rig.says_no(acquire(&wanted, "b", 0));
    let text = refusal.to_string();
    assert!(
        text.starts_with("file:src/*/mod.rs is held (exclusive) by session"),
        "{text}"
    );
    let Refusal::Held { blockers, more, free } = refusal else {
        panic!("{text}")
    };
    assert_eq!((free, more), (vec![0, 2], false));
    let [blocker] = &blockers[..] else {
        panic!("{blockers:?}")
    };
    assert_eq!((blocker.wanted, blocker.reservation, blocker.until_ms), (1, id, 60_000));
    assert_eq!(&*blocker.holder.author, "ann");
    // What is free can be had.
    rig.held(acquire(&[wanted[0], wanted[2]], "b", 0));
}

#[test]
fn shared_ones_stand_beside_each_other_and_an_intent_stands_in_nobodys_way() {
    let mut rig = rig();
    rig.held(acquire(&[("file:src/", Mode::Shared)], "a", 0));
    rig.held(acquire(&[("file:src/a.rs", Mode::Shared)], "b", 0));
    rig.held(acquire(&[("file:**", Mode::Intent)], "c", 0));
    rig.says_no(exclusive("file:src/b.rs", "c", 0));
    rig.held(exclusive("file:doc", "d", 0));
    let project = rig.colony.project("p").unwrap();
    let want = [Want {
        resource: "file:doc2".into(),
        mode: Mode::Exclusive,
    }];
    let checked = project
        .reservations()
        .check(&want, None, rig.colony.agents(), 0)
        .unwrap();
    assert_eq!((checked.free, checked.blockers), (vec![0], Vec::new()));
    assert_eq!(&*checked.announced[0].resource, "file:**");
}

#[test]
fn a_key_and_a_path_of_the_same_text_are_the_same() {
    let mut rig = rig();
    rig.held(exclusive("key:src/a.rs", "a", 0));
    rig.says_no(exclusive("file:src/*.rs", "b", 0));
    rig.held(exclusive("key:src//a.rs", "b", 0));
    rig.held(exclusive("key:notes/", "b", 0));
    rig.says_no(exclusive("file:notes/today", "a", 0));
    // The folder itself is no key below it.
    rig.held(exclusive("key:notes", "a", 0));
}

#[test]
fn a_reservation_ends_with_its_time_and_its_owner_is_told() {
    let mut rig = rig();
    let id = rig.held(exclusive("file:a", "1", 0));
    rig.now_ms = 59_999;
    assert!(matches!(
        rig.run(renew(id, "1")),
        Outcome::Renewed { until_ms: 119_999, .. }
    ));
    assert!(matches!(
        rig.says_no(renew(id, "2")),
        Refusal::NotHeld { holder: Some(_), .. }
    ));
    rig.now_ms = 119_999;
    rig.held(exclusive("file:a", "2", 0));
    assert_eq!(
        rig.says_no(renew(id, "1")).to_string(),
        format!("reservation {id} has ended")
    );
    let unknown = ReservationId { seq: 999, ordinal: 0 };
    assert_eq!(
        rig.says_no(release(&[unknown], "1")),
        Refusal::UnknownReservation { reservation: unknown }
    );
}

#[test]
fn force_takes_it_away_for_a_reason_that_all_can_read() {
    let mut rig = rig();
    let id = rig.held(exclusive("file:a", "1", 0));
    let waits = rig.waits(exclusive("file:a", "2", 30_000));
    let force = |reason: &str| {
        Body::Reservation(ReservationCommand::Force(Force {
            ids: vec![id],
            reason: reason.into(),
        }))
    };
    assert!(matches!(rig.says_no(force("")), Refusal::Malformed { .. }));
    let command = rig.command(force("it is stuck"));
    let (outcome, applied) = rig.send(command);
    assert!(matches!(outcome, Outcome::Released { .. }) && rig.is_held(waits));
    let ended = applied.events.iter().find_map(|(_, event)| match &event.what {
        What::ReservationEnded { holder, reason, .. } => Some((holder.clone(), reason.to_string())),
        _ => None,
    });
    let (holder, reason) = ended.expect("an event tells of it");
    assert!(matches!(&holder.owner, Owner::Session { name, .. } if &**name == "1"));
    assert_eq!(reason, "ann took it away: it is stuck");
    assert!(matches!(
        rig.says_no(renew(id, "1")),
        Refusal::NotHeld { holder: None, .. }
    ));
}

#[test]
fn a_part_can_be_released_by_its_name() {
    let mut rig = rig();
    let id = rig.held(acquire(
        &[("file:a", Mode::Exclusive), ("file:b/", Mode::Exclusive)],
        "1",
        0,
    ));
    let by_name = |texts: &[&str]| {
        Body::Reservation(ReservationCommand::Release(Release {
            which: Released::Resources(texts.iter().map(|text| (*text).into()).collect()),
            caller: token("1"),
        }))
    };
    assert!(matches!(
        rig.says_no(by_name(&["file:b/", "file:x"])),
        Refusal::NotReserved { .. }
    ));
    // Named twice, in two ways.
    let released = rig.run(by_name(&["file:./b//", "file:b/"]));
    assert!(matches!(released, Outcome::Released { .. }), "{released:?}");
    assert_eq!(rig.reservation(id).unwrap().resources.len(), 1);
    rig.held(exclusive("file:b/c", "2", 0));
    rig.says_no(exclusive("file:a", "2", 0));
    // Naming it twice is naming it.
    let released = rig.run(by_name(&["file:a", "file:./a"]));
    assert!(matches!(released, Outcome::Released { left: 0, .. }), "{released:?}");
    assert!(rig.reservation(id).is_none());
}

#[test]
fn a_write_under_the_exclusive_reservation_of_another_loses() {
    let mut rig = rig();
    let id = rig.held(exclusive("file:src/*", "1", 0));
    rig.held(acquire(&[("key:plan", Mode::Shared)], "1", 0));
    let write_as = |caller: Option<Caller>| {
        Body::Change(Change {
            key: "src/a".into(),
            op: inline("v"),
            tags: Vec::new(),
            condition: Condition::None,
            caller,
        })
    };
    assert!(matches!(rig.says_no(write_as(None)), Refusal::Reserved { reservation, .. } if reservation == id));
    assert!(matches!(
        rig.says_no(write_as(Some(token("2")))),
        Refusal::Reserved { .. }
    ));
    assert!(matches!(rig.run(write_as(Some(token("1")))), Outcome::Changed { .. }));
    rig.run(put("plan", "shared reservations stop no write"));

    let propose = |caller: Option<Caller>| {
        let writes = vec![write("src/b", inline("v")), write("other", inline("v"))];
        Body::Propose(Proposal {
            caller,
            ..proposal(vec![], writes)
        })
    };
    let Outcome::Lost {
        conflicts, total: 1, ..
    } = rig.run(propose(None))
    else {
        panic!("it is reserved")
    };
    assert_eq!(conflicts[0].kind, crate::conflict::Kind::Reservation);
    let holder = conflicts[0].holder.as_ref().unwrap();
    assert!(matches!(&holder.owner, Owner::Session { name, .. } if &**name == "1"));
    assert!(matches!(rig.run(propose(Some(token("1")))), Outcome::Committed { .. }));

    rig.run(Body::Reservation(ReservationCommand::Advisory(true)));
    assert!(matches!(rig.run(propose(None)), Outcome::Committed { .. }));
    assert!(matches!(rig.run(write_as(None)), Outcome::Changed { .. }));
}

#[test]
fn a_task_is_finished_with_what_its_owner_has_reserved() {
    let mut rig = rig();
    rig.held(exclusive("key:built", "1", 0));
    let Outcome::Added { tasks, .. } = rig.run(Body::Task(TaskCommand::Add(vec![NewTask {
        title: "build".into(),
        ..NewTask::default()
    }]))) else {
        panic!("it is added")
    };
    let claim = |caller| {
        Body::Task(TaskCommand::Claim(Claim {
            which: Which::Ids(vec![tasks[0].task]),
            caller,
            wants: Wants::default(),
        }))
    };
    let Outcome::Claimed { tasks: claimed, .. } = rig.run(claim(token("1"))) else {
        panic!("it is claimed")
    };
    let finish = Finish {
        task: claimed[0].task,
        fence: claimed[0].fence,
        caller: token("1"),
        ending: Ending::Done,
        result: Bytes::new(),
        proposal: Some(proposal(vec![], vec![write("built", inline("yes"))])),
        with: FinishWith::default(),
    };
    let finished = rig.run(Body::Task(TaskCommand::Finish(finish)));
    assert!(matches!(finished, Outcome::Finished { .. }), "{finished:?}");
}

#[test]
fn the_bounds_are_those_that_are_written_down() {
    let mut rig = rig();
    let many: Vec<String> = (0..65).map(|number| format!("key:{number}")).collect();
    let many: Vec<(&str, Mode)> = many.iter().map(|text| (text.as_str(), Mode::Intent)).collect();
    let over = |refusal: Refusal| refusal.to_string();
    assert_eq!(
        over(rig.says_no(acquire(&many, "1", 0))),
        "resources: 65 is over the limit of 64"
    );
    let long = format!("file:{}", "x".repeat(513));
    assert_eq!(
        over(rig.says_no(exclusive(&long, "1", 0))),
        "resource bytes: 513 is over the limit of 512"
    );
    rig.held(exclusive("file:**", "0", 0));
    for number in 0..WAITING_MAX {
        rig.opened(&format!("w{number}"));
        rig.waits(exclusive(&format!("key:{number}"), &format!("w{number}"), 30_000));
    }
    let full = rig.says_no(exclusive("key:x", "x", 30_000));
    assert_eq!(over(full), "waiting_reservations: 1025 is over the limit of 1024");
}

#[test]
fn a_look_up_that_would_take_too_long_is_refused() {
    let mut rig = rig();
    for owner in 0..2 {
        for batch in 0..150 {
            let texts: Vec<String> = (0..64)
                .map(|place| format!("key:src/{owner}-{batch}-{place}.rs"))
                .collect();
            let wants: Vec<(&str, Mode)> = texts.iter().map(|text| (text.as_str(), Mode::Shared)).collect();
            rig.held(acquire(&wants, &owner.to_string(), 0));
        }
    }
    // All of them may match by what they begin and end with; none does.
    let refusal = rig.says_no(exclusive("file:src/**/*z*.rs", "x", 0)).to_string();
    assert!(
        refusal.starts_with("steps of a look-up among reservations"),
        "{refusal}"
    );
    rig.held(exclusive("file:src/**/z.txt", "x", 0));
    rig.held(exclusive("file:src/3*/z*.rs", "x", 0));
    rig.held(exclusive("file:doc/**/z.txt", "x", 0));
}

#[test]
fn every_outcome_has_the_room_that_its_command_reserved() {
    let mut rig = rig();
    let name = "n".repeat(NAME_BYTES_MAX);
    rig.run(Body::Agent(AgentCommand::Started {
        name: name.as_str().into(),
        generation: 1,
    }));
    let author: Arc<str> = "a".repeat(NAME_BYTES_MAX).into();
    let long = |place: usize| format!("file:{place:02}*/{}", "x".repeat(507));
    for place in 0..20 {
        let mut command = rig.command(exclusive(&long(place), &format!("@{name}"), 0));
        command.author = author.clone();
        assert!(matches!(rig.send(command).0, Outcome::Reserved { .. }));
    }
    let texts: Vec<String> = (0..20).map(long).collect();
    let wants: Vec<(&str, Mode)> = texts.iter().map(|text| (text.as_str(), Mode::Exclusive)).collect();
    let body = acquire(&wants, "x", 0);
    let room = body.outcome_bytes_max();
    let outcome = rig.run(body);
    let Outcome::Refused(Refusal::Held { blockers, more, .. }) = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((blockers.len(), more), (BLOCKERS_LISTED_MAX, &true));
    let bytes = bincode::serialize(&outcome).unwrap().len();
    assert!(bytes <= room, "{bytes} of {room}");

    let key = format!("00y/{}", "x".repeat(507));
    let writes = vec![write(&key, inline("v"))];
    for body in [put(&key, "v"), Body::Propose(proposal(vec![], writes))] {
        let room = body.outcome_bytes_max();
        let outcome = rig.run(body);
        let bytes = bincode::serialize(&outcome).unwrap().len();
        assert!(!matches!(outcome, Outcome::Changed { .. } | Outcome::Committed { .. }));
        assert!(bytes <= room, "{bytes} of {room}: {outcome:?}");
    }
}

#[test]
fn reservations_and_their_settings_come_back_from_the_image_and_none_may_be_missing() {
    let mut rig = rig();
    rig.run(slot("gpu", 2));
    rig.run(Body::Reservation(ReservationCommand::Advisory(true)));
    rig.held(acquire(
        &[("file:{a,b}//*", Mode::Shared), ("slot:gpu", Mode::Exclusive)],
        "1",
        0,
    ));
    rig.waits(exclusive("file:a/x", "2", 30_000));
    let pairs: Vec<Pair> = rig.colony.pairs().collect();
    let restored = Colony::restore(rig.colony.meta(), pairs.clone()).unwrap();
    assert_eq!(
        (restored.digest(), restored.to_bytes()),
        (rig.colony.digest(), rig.colony.to_bytes())
    );
    assert_eq!(restored.due_ms(), rig.colony.due_ms());
    assert_eq!(
        pairs.iter().filter(|(key, _)| key[0] == b'k' || key[0] == b'v').count(),
        3
    );
    for place in 0..pairs.len() {
        let mut fewer = pairs.clone();
        fewer.remove(place);
        assert!(Colony::restore(rig.colony.meta(), fewer).is_err());
    }
}

#[test]
fn an_acquisition_opens_a_session_that_closes_with_what_it_took() {
    let mut rig = rig();
    let opens = |token: &str, wait_ms: u64| {
        let new = NewSession {
            passing: true,
            ..NewSession::new("passing", TokenHash::of(token))
        };
        let Body::Reservation(ReservationCommand::Acquire(acquire)) = exclusive("file:a", "1", wait_ms) else {
            unreachable!()
        };
        Body::Reservation(ReservationCommand::Acquire(Acquire {
            caller: Caller::Opens(Box::new(new)),
            ..acquire
        }))
    };
    let sessions = rig.colony.sessions().all().count();
    let first = rig.held(opens("p", 0));
    rig.says_no(opens("q", 0));
    assert_eq!(
        rig.colony.sessions().all().count(),
        sessions + 1,
        "one that is refused opens none"
    );
    let waits = rig.waits(opens("q", 30_000));
    rig.run(release(&[first], "p"));
    assert!(rig.is_held(waits));
    let ended = rig.says_no(renew(first, "p"));
    assert!(
        matches!(
            ended,
            Refusal::SessionEnded {
                why: SessionEnd::Idle,
                ..
            }
        ),
        "{ended:?}"
    );
    assert!(matches!(rig.run(renew(waits, "q")), Outcome::Renewed { .. }));
}
