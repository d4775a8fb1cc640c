//! What is refused while too few disks have room, and that it is refused once.

use super::*;

fn low() -> DiskLow {
    DiskLow {
        node: "n2".into(),
        free_bytes: 7,
        watermark_bytes: 100,
    }
}

#[test]
fn what_adds_something_grows_and_what_only_reads_or_deletes_does_not() {
    let grows = [
        put("k", "v"),
        change("k", Op::Increment(1)),
        change("k", Op::Append(Bytes::from_static(b"x"))),
        change("k", Op::SetAdd("x".into())),
        Body::Propose(proposal(vec![], vec![write("a", Op::Delete), write("b", inline("v"))])),
        batch(Policy::First, vec![proposal(vec![], vec![write("b", inline("v"))])]),
    ];
    let dry = Proposal {
        dry_run: true,
        ..proposal(vec![], vec![write("b", inline("v"))])
    };
    let does_not = [
        change("k", Op::Delete),
        Body::Propose(proposal(vec![read("a", 1)], vec![write("a", Op::Delete)])),
        Body::Propose(proposal(vec![read("a", 1)], vec![])),
        Body::Propose(dry),
        Body::Withheld(low()),
    ];
    for body in grows {
        assert!(body.grows(), "{body:?}");
    }
    for body in does_not {
        assert!(!body.grows(), "{body:?}");
    }
}

#[test]
fn a_withheld_command_is_refused_once_and_its_first_copy_is_not_carried_out_afterwards() {
    let mut rig = Rig::default();
    let first = rig.command(put("k", "v"));
    let second = rig.command(change("k", Op::Delete));
    let mut round = Round {
        node: NodeId(1),
        incarnation: 1,
        commands: vec![first.clone(), second.clone()],
    };
    assert!(round.withhold_growing(&low()));
    assert!(!round.withhold_growing(&low()), "nothing is left to withhold");
    assert_eq!(round.commands[1], second);

    let refused = Outcome::Refused(Refusal::DiskLow(low()));
    assert_eq!(rig.send(round.commands[0].clone()).0, refused);
    // The round as it was sent first may arrive later.
    assert_eq!(rig.send(first).0, refused);
    assert_eq!(rig.value("k"), None);
    let Outcome::Refused(refusal) = refused else {
        unreachable!()
    };
    let expected = "the disk of node n2 has 7 B left, the watermark is 100 B";
    assert!(refusal.to_string().starts_with(expected), "{refusal}");
}

#[test]
fn a_command_that_was_withheld_may_be_tried_again_under_the_same_idempotency_key() {
    let mut rig = Rig::default();
    let keyed = |mut command: Command| {
        command.idempotency_key = Some("once".into());
        command
    };
    let withheld = keyed(rig.command(Body::Withheld(low())));
    assert_eq!(rig.send(withheld).0, Outcome::Refused(Refusal::DiskLow(low())));
    let again = keyed(rig.command(put("k", "v")));
    assert_eq!(rig.send(again).0, Outcome::Changed { seq: 2, revision: 1 });
}

#[test]
fn the_outcome_of_a_withheld_command_has_the_room_that_its_command_reserved() {
    let refused = Outcome::Refused(Refusal::DiskLow(DiskLow {
        node: "n".repeat(40).into(),
        ..low()
    }));
    let bytes = bincode::serialize(&refused).unwrap().len();
    for body in [
        put("", ""),
        Body::Propose(proposal(vec![], vec![write("", inline(""))])),
        batch(Policy::First, vec![]),
    ] {
        assert!(bytes <= body.outcome_bytes_max(), "{bytes}: {body:?}");
    }
}
