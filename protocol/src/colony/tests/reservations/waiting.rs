//! Who waits for a reservation, promise by promise: when it is granted, and to whom first.

use super::*;
use crate::id::ClusterId;

#[test]
fn who_waits_is_granted_in_the_order_of_coming_and_nobody_passes_who_would_delay_it() {
    let mut rig = rig();
    let first = rig.held(exclusive("file:a", "1", 0));
    let both = rig.waits(acquire(
        &[("file:a", Mode::Exclusive), ("file:b", Mode::Exclusive)],
        "2",
        30_000,
    ));
    // The second resource is free, but somebody waits for it.
    rig.says_no(exclusive("file:b", "3", 0));
    let behind = rig.waits(exclusive("file:b", "3", 30_000));
    rig.held(exclusive("file:c", "4", 0));
    rig.run(release(&[first], "1"));
    assert!(rig.is_held(both) && !rig.is_held(behind));
    rig.run(release(&[both], "2"));
    assert!(rig.is_held(behind));
}

#[test]
fn who_gives_up_or_ends_lets_those_behind_it_go() {
    let mut rig = rig();
    rig.run(Body::Agent(AgentCommand::Started {
        name: "w".into(),
        generation: 1,
    }));
    let held = rig.held(acquire(&[("file:a", Mode::Shared)], "1", 0));
    let waits = rig.waits(exclusive("file:a", "@w", 30_000));
    let behind = rig.waits(acquire(&[("file:a", Mode::Shared)], "3", 30_000));
    rig.run(Body::Agent(AgentCommand::Ended {
        name: "w".into(),
        generation: 1,
        reason: "panicked".into(),
    }));
    assert!(rig.is_held(behind) && rig.is_held(held) && rig.reservation(waits).is_none());

    let next = rig.waits(exclusive("file:a", "4", 10_000));
    let last = rig.waits(exclusive("file:a", "5", 50_000));
    rig.now_ms = 10_000;
    rig.round_without_commands();
    assert!(rig.reservation(next).is_none() && !rig.is_held(last));
    rig.now_ms = 49_999;
    rig.round_without_commands();
    assert!(rig.reservation(last).is_some());
    rig.now_ms = 50_000;
    rig.round_without_commands();
    assert!(rig.reservation(last).is_none(), "it waited as long as it would");
}

#[test]
fn what_an_agent_holds_goes_to_who_waits_when_it_ends() {
    let mut rig = rig();
    rig.run(Body::Agent(AgentCommand::Started {
        name: "w".into(),
        generation: 1,
    }));
    rig.held(exclusive("slot:gpu", "@w", 0));
    let waits = rig.waits(exclusive("slot:gpu", "2", 30_000));
    rig.run(Body::Agent(AgentCommand::NodeLost {
        node: NodeId(1),
        incarnation: 1,
    }));
    assert!(rig.is_held(waits));
}

#[test]
fn owners_never_wait_for_one_another() {
    let mut rig = rig();
    let a = rig.held(exclusive("file:a", "1", 0));
    let b = rig.held(exclusive("file:b", "2", 0));
    let waits = rig.waits(exclusive("file:b", "1", 30_000));
    let refusal = rig.says_no(exclusive("file:a", "1", 0));
    assert_eq!(refusal, Refusal::Waits { reservation: waits });
    rig.held(exclusive("file:c", "2", 0));
    rig.held(exclusive("file:d", "3", 0));
    let Refusal::Deadlock {
        reservation, waiter, ..
    } = rig.says_no(exclusive("file:d", "2", 30_000))
    else {
        panic!("it waits while somebody waits for it")
    };
    assert_eq!((reservation, waiter), (b, waits));
    rig.run(release(&[b], "2"));
    assert!(rig.is_held(waits) && rig.is_held(a));
    rig.waits(exclusive("file:d", "2", 30_000));
}

#[test]
fn a_slot_has_places_and_those_who_wait_for_one_come_first() {
    let mut rig = rig();
    rig.run(slot("gpu", 2));
    let first = rig.held(exclusive("slot:gpu", "1", 0));
    rig.held(exclusive("slot:gpu", "2", 0));
    let waits = rig.waits(exclusive("slot:gpu", "3", 30_000));
    rig.says_no(exclusive("slot:gpu", "4", 0));
    rig.run(release(&[first], "1"));
    assert!(rig.is_held(waits));
    let next = rig.waits(exclusive("slot:gpu", "4", 30_000));
    rig.run(slot("gpu", 3));
    assert!(rig.is_held(next));
    // One who waits for itself would wait for ever.
    assert!(matches!(
        rig.says_no(exclusive("slot:gpu", "4", 30_000)),
        Refusal::Deadlock { .. }
    ));
    rig.run(slot("gpu", 0));
    assert!(rig.is_held(next), "who has a place keeps it");
    assert!(matches!(
        rig.says_no(acquire(&[("slot:gpu", Mode::Shared)], "5", 0)),
        Refusal::Malformed { .. }
    ));
}

#[test]
fn mass_release_is_done_a_few_at_a_time_and_everybody_gets_in() {
    let mut rig = rig();
    let held = rig.held(exclusive("file:**", "0", 0));
    (100..300).for_each(|number| rig.opened(&number.to_string()));
    let waiters: Vec<ReservationId> = (100..300)
        .map(|number| rig.waits(exclusive(&format!("file:f{number}"), &number.to_string(), 30_000)))
        .collect();
    rig.run(release(&[held], "0"));
    let granted = |rig: &Rig| waiters.iter().filter(|id| rig.is_held(**id)).count();
    assert_eq!(granted(&rig), 8);
    let mut rounds = 0;
    while granted(&rig) < 200 {
        assert_eq!(rig.colony.due_ms(), Some(0));
        rig.round_without_commands();
        rounds += 1;
        assert!(rounds <= 24, "{} of 200", granted(&rig));
    }
    assert_eq!(rig.colony.due_ms(), Some(60_000));
}

#[test]
fn what_a_session_reserved_goes_to_who_waits_when_it_is_closed() {
    let mut rig = rig();
    rig.held(exclusive("file:a", "1", 0));
    let waits = rig.waits(exclusive("file:a", "2", 30_000));
    rig.run(Body::Session(SessionCommand::Close {
        session: SessionId(2),
        token: TokenHash::of("1"),
    }));
    assert!(rig.is_held(waits));
    assert!(matches!(
        rig.says_no(exclusive("file:b", "1", 0)),
        Refusal::SessionEnded { .. }
    ));
}

/// The records that a release writes and the steps of a look at the last who waits, for a line of this length.
fn costs_of_a_line(resource: &str, waiters: usize) -> (usize, u64) {
    let mut rig = rig();
    let mut held = rig.held(exclusive(resource, "0", 0));
    let names: Vec<String> = (100..100 + waiters).map(|number| number.to_string()).collect();
    names.iter().for_each(|name| rig.opened(name));
    let line: Vec<ReservationId> = names
        .iter()
        .map(|name| rig.waits(exclusive(resource, name, 3_600_000)))
        .collect();
    let mut records = Vec::new();
    let mut holder = "0";
    for (next, name) in line.iter().zip(&names).take(10) {
        let command = rig.command(release(&[held], holder));
        records.push(rig.send(command).1.reservations.len());
        assert!(rig.is_held(*next), "the first of the line is let in at once");
        (held, holder) = (*next, name);
    }
    let last = *line.last().expect("somebody waits");
    let reservations = rig.colony.project("p").expect("it is used").reservations();
    let steps = reservations.steps_of_a_look(last, rig.colony.agents(), rig.now_ms);
    (records.into_iter().max().unwrap_or_default(), steps)
}

#[test]
fn what_a_release_costs_does_not_grow_with_the_line() {
    for resource in ["slot:gpu", "file:src/a.rs", "file:src/**", "key:dir/"] {
        let (short, long) = (costs_of_a_line(resource, 12), costs_of_a_line(resource, 1_000));
        assert_eq!(short, long, "{resource}");
        // The one that was held, and the one that is marked, looked at and granted.
        assert!(long.0 <= 4, "{resource}: {long:?}");
    }
}

#[test]
fn all_who_share_are_let_in_up_to_the_first_who_wants_it_alone() {
    let mut rig = rig();
    let held = rig.held(exclusive("file:a", "0", 0));
    let share = |who: &str| acquire(&[("file:a", Mode::Shared)], who, 30_000);
    let before = [rig.waits(share("1")), rig.waits(share("2"))];
    let alone = rig.waits(exclusive("file:a", "3", 30_000));
    let behind = rig.waits(share("4"));
    rig.run(release(&[held], "0"));
    assert!(before.iter().all(|id| rig.is_held(*id)) && !rig.is_held(alone) && !rig.is_held(behind));
    rig.run(release(&[before[0]], "1"));
    assert!(!rig.is_held(alone));
    rig.run(release(&[before[1]], "2"));
    assert!(rig.is_held(alone) && !rig.is_held(behind));
    rig.run(release(&[alone], "3"));
    assert!(rig.is_held(behind));
}

#[test]
fn places_of_a_slot_that_come_back_go_to_the_next_also_behind_one_who_waits_for_something_else() {
    let mut rig = rig();
    rig.run(slot("gpu", 2));
    let file = rig.held(exclusive("file:a", "0", 0));
    let places = ["1", "2"].map(|who| rig.held(exclusive("slot:gpu", who, 0)));
    let both = rig.waits(acquire(
        &[("file:a", Mode::Exclusive), ("slot:gpu", Mode::Exclusive)],
        "3",
        30_000,
    ));
    let next = rig.waits(exclusive("slot:gpu", "4", 30_000));
    rig.run(release(&[places[0]], "1"));
    assert!(
        !rig.is_held(both) && !rig.is_held(next),
        "the free place is of the first"
    );
    rig.run(release(&[places[1]], "2"));
    assert!(!rig.is_held(both) && rig.is_held(next));
    rig.run(release(&[file], "0"));
    assert!(rig.is_held(both));
}

#[test]
fn who_waits_when_the_cluster_is_lost_keeps_its_place_as_long_as_its_session_may_return() {
    let mut rig = rig();
    let held = rig.held(exclusive("file:a", "1", 0));
    let waits = rig.waits(exclusive("file:a", "2", 3_600_000));
    let certain = rig.colony.seq();
    let recovered = rig.colony.recover(ClusterId([1; 16]), ClusterId([2; 16]), certain);
    assert_eq!(recovered, Ok(()));
    rig.now_ms += SESSION_GRACE_MS - 1;
    rig.round_without_commands();
    assert!(rig.is_held(held) && rig.reservation(waits).is_some());
    rig.now_ms += 1;
    (0..4).for_each(|_| rig.round_without_commands());
    assert!(rig.reservation(held).is_none() && rig.reservation(waits).is_none());
}
