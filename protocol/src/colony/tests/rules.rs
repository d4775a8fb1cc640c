//! The version of the rules, promise by promise.

use super::*;
use crate::version::Versions;

fn raise(to: u32, after: u32) -> Body {
    Body::Topology(TopologyCommand::Rules { to, after })
}

fn rounds(rig: &mut Rig, bodies: &[Body]) -> Vec<Round> {
    vec![Round {
        node: NodeId(1),
        incarnation: 1,
        commands: bodies.iter().map(|body| rig.command(body.clone())).collect(),
    }]
}

#[test]
fn rules_are_raised_by_who_saw_those_in_force_and_never_lowered() {
    let mut rig = Rig::default();
    assert_eq!(rig.colony.rules_version(), 1);
    for wrong in [raise(2, 0), raise(3, 2), raise(1, 1), raise(0, 1)] {
        let refused = rig.run(wrong);
        assert!(
            matches!(refused, Outcome::Refused(Refusal::Malformed { .. })),
            "{refused:?}"
        );
        assert_eq!(rig.colony.rules_version(), 1);
    }
    let before = rig.colony.digest();
    assert!(matches!(rig.run(raise(2, 1)), Outcome::RulesRaised { version: 2, .. }));
    assert_eq!(rig.colony.rules_version(), 2);
    assert_ne!(rig.colony.digest(), before);
}

#[test]
fn a_build_that_does_not_know_the_rules_to_come_is_told_before_anything_is_applied() {
    let mut rig = Rig::default();
    let knows = |newest| Versions { oldest: 1, newest };
    let both = rounds(&mut rig, &[put("a", "1"), raise(2, 1), put("b", "2")]);
    assert_eq!(rig.colony.check_rules(&both, knows(2)), Ok(()));
    let refused = rig.colony.check_rules(&both, knows(1)).expect_err("refused");
    let expected = "version 2 of the rules is to be applied, this build knows version 1: it is too old, or too new";
    assert_eq!(refused.to_string(), expected);
    // What will be refused raises nothing.
    let late = rounds(&mut rig, &[raise(3, 2), raise(1, 1)]);
    assert_eq!(rig.colony.check_rules(&late, knows(1)), Ok(()));
    let twice = rounds(&mut rig, &[raise(2, 1), raise(3, 2)]);
    let refused = rig.colony.check_rules(&twice, knows(2)).expect_err("refused");
    assert_eq!(refused.version, 3);
}

#[test]
fn rules_that_a_build_no_longer_knows_are_refused_as_well() {
    let rig = Rig::default();
    let knows = Versions { oldest: 2, newest: 3 };
    assert!(rig.colony.check_rules(&[], knows).is_err());
}
