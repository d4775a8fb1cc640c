//! Epochs, promise by promise.

use std::collections::BTreeSet;

use super::*;
use crate::id::ClusterId;
use crate::topology::{Kind, Pair};

fn members(numbers: &[u64]) -> BTreeSet<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

fn named(numbers: &[u64], after: u64) -> Body {
    Body::Topology(TopologyCommand::Members {
        members: members(numbers),
        first: Kind::Star,
        after,
    })
}

fn set(kind: Kind) -> Body {
    Body::Topology(TopologyCommand::Set { kind })
}

fn epoch_of(outcome: Outcome) -> (u64, bool) {
    match outcome {
        Outcome::EpochSet { epoch, changed, .. } => (epoch, changed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_list_of_members_begins_the_first_epoch_with_its_kind() {
    let mut rig = Rig::default();
    assert_eq!(rig.colony.epoch(), None);
    let too_early = rig.run(set(Kind::Ring));
    assert!(
        matches!(too_early, Outcome::Refused(Refusal::Malformed { .. })),
        "{too_early:?}"
    );
    assert_eq!(epoch_of(rig.run(named(&[1, 2, 3], 0))), (1, true));
    let epoch = rig.colony.epoch().expect("it has begun");
    assert_eq!((epoch.kind, &epoch.members), (Kind::Star, &members(&[1, 2, 3])));
    assert_eq!(epoch.topology().neighbours(NodeId(2)), members(&[1]));
}

#[test]
fn the_number_grows_with_every_change_and_with_nothing_else() {
    let mut rig = Rig::default();
    rig.run(named(&[1, 2, 3], 0));
    assert_eq!(epoch_of(rig.run(set(Kind::Star))), (1, false));
    assert_eq!(epoch_of(rig.run(set(Kind::Ring))), (2, true));
    assert_eq!(epoch_of(rig.run(named(&[1, 2, 3], 2))), (2, false));
    assert_eq!(epoch_of(rig.run(named(&[1, 2, 3, 4], 2))), (3, true));
    let epoch = rig.colony.epoch().expect("it has begun");
    assert_eq!((epoch.kind, epoch.members.len()), (Kind::Ring, 4));
}

#[test]
fn a_leader_that_saw_another_epoch_changes_nothing() {
    let mut rig = Rig::default();
    rig.run(named(&[1, 2, 3], 0));
    let before = rig.colony.epoch().cloned();
    for late in [named(&[1], 0), named(&[1], 2), named(&[], 1), named(&[0, 1], 1)] {
        let refused = rig.run(late);
        assert!(
            matches!(refused, Outcome::Refused(Refusal::Malformed { .. })),
            "{refused:?}"
        );
    }
    let many: Vec<u64> = (1..=MEMBERS_MAX as u64 + 1).collect();
    let refused = rig.run(named(&many, 1));
    assert!(
        matches!(refused, Outcome::Refused(Refusal::OverLimit { .. })),
        "{refused:?}"
    );
    assert_eq!(rig.colony.epoch(), before.as_ref());
}

#[test]
fn a_recovered_colony_counts_its_epochs_on() {
    let mut rig = Rig::default();
    rig.run(named(&[1, 2, 3], 0));
    let (ended, begun) = (ClusterId([1; 16]), ClusterId([2; 16]));
    rig.colony.recover(ended, begun, rig.colony.seq()).unwrap();
    rig.number = 0;
    assert_eq!(epoch_of(rig.run(named(&[64_001], 1))), (2, true));
}

fn cut(pairs: &[(u64, u64)], after: u64) -> Body {
    let cuts = pairs.iter().map(|&(one, other)| Pair::of(NodeId(one), NodeId(other)));
    Body::Topology(TopologyCommand::Cuts {
        cuts: cuts.collect(),
        after,
    })
}

#[test]
fn cut_links_begin_an_epoch_that_leads_around_them_and_so_do_healed_ones() {
    let mut rig = Rig::default();
    rig.run(named(&[1, 2, 3], 0));
    assert_eq!(epoch_of(rig.run(cut(&[(2, 1)], 1))), (2, true));
    assert_eq!(epoch_of(rig.run(cut(&[(1, 2)], 2))), (2, false));
    let epoch = rig.colony.epoch().expect("it has begun").clone();
    assert_eq!(epoch.topology().next_hop(NodeId(1), NodeId(2)), Some(NodeId(3)));
    // What is linked otherwise leads around them too.
    assert_eq!(epoch_of(rig.run(set(Kind::Ring))), (3, true));
    assert_eq!(rig.colony.epoch().map(|epoch| epoch.cuts.len()), Some(1));
    assert_eq!(epoch_of(rig.run(cut(&[], 3))), (4, true));
    assert_eq!(rig.colony.epoch().map(|epoch| epoch.cuts.len()), Some(0));
}

#[test]
fn a_cut_goes_with_the_member_at_its_end() {
    let mut rig = Rig::default();
    rig.run(named(&[1, 2, 3], 0));
    rig.run(cut(&[(1, 2), (2, 3)], 1));
    rig.run(named(&[2, 3], 2));
    let epoch = rig.colony.epoch().expect("it has begun");
    assert_eq!(epoch.cuts, [Pair::of(NodeId(2), NodeId(3))].into());
}

#[test]
fn cuts_that_are_no_links_or_come_too_late_change_nothing() {
    let mut rig = Rig::default();
    assert!(matches!(
        rig.run(cut(&[], 0)),
        Outcome::Refused(Refusal::Malformed { .. })
    ));
    let many: Vec<u64> = (1..=12).collect();
    rig.run(named(&many, 0));
    for wrong in [cut(&[(1, 2)], 0), cut(&[(1, 1)], 1), cut(&[(1, 13)], 1)] {
        let refused = rig.run(wrong);
        assert!(
            matches!(refused, Outcome::Refused(Refusal::Malformed { .. })),
            "{refused:?}"
        );
    }
    let all: Vec<(u64, u64)> = (1..=12)
        .flat_map(|one| (one + 1..=12).map(move |other| (one, other)))
        .collect();
    let refused = rig.run(cut(&all, 1));
    assert!(
        matches!(refused, Outcome::Refused(Refusal::OverLimit { .. })),
        "{refused:?}"
    );
    assert_eq!(rig.colony.epoch().map(|epoch| epoch.number), Some(1));
}
