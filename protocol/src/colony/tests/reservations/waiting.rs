//! Who waits for a reservation, promise by promise: when it is granted, and to whom first.

use super::*;

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
