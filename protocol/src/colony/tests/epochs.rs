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
        places: numbers
            .iter()
            .map(|number| (NodeId(*number), place(*number, 0)))
            .collect(),
        voters: None,
    })
}

fn place(number: u64, attempt: u64) -> Place {
    Place {
        name: format!("n{}", place_of(NodeId(number)) + 1),
        links: format!("h{number}:7101"),
        http: format!("h{number}:7201"),
        attempt,
    }
}

fn admit(number: u64, attempt: u64, replaces: bool) -> Body {
    Body::Topology(TopologyCommand::Admit {
        place: place(number, attempt),
        at: place_of(NodeId(number)) as u16,
        replaces,
    })
}

fn remove(node: u64) -> Body {
    let node = NodeId(node);
    Body::Topology(TopologyCommand::Remove { node })
}

fn drain(node: u64, on: bool) -> Body {
    let node = NodeId(node);
    Body::Topology(TopologyCommand::Drain { node, on })
}

fn number_of(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::NodeAdmitted { number, .. } => number.0,
        other => panic!("{other:?}"),
    }
}

fn problem_of(outcome: Outcome) -> String {
    match outcome {
        Outcome::Refused(Refusal::Malformed { field, problem }) => format!("{field}: {problem}"),
        other => panic!("{other:?}"),
    }
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
fn a_node_is_let_in_once_however_often_it_asks_and_its_number_comes_with_its_place() {
    let mut rig = Rig::default();
    let too_early = rig.run(admit(4, 1, false));
    assert_eq!(
        problem_of(too_early),
        "topology: nobody has named the members yet: try again"
    );
    rig.run(named(&[1, 2, 3], 0));
    assert_eq!(number_of(rig.run(admit(4, 1, false))), 4);
    assert_eq!(number_of(rig.run(admit(4, 1, false))), 4);
    let epoch = rig.colony.epoch().expect("it has begun");
    assert_eq!((epoch.number, epoch.last), (2, NodeId(4)));
    assert_eq!(epoch.coming().collect::<Vec<_>>(), [NodeId(4)]);
    assert_eq!(epoch.places[&NodeId(4)], place(4, 1));
    assert_eq!(
        problem_of(rig.run(admit(4, 2, false))),
        "name: a node of this name is a member"
    );
    rig.run(named(&[1, 2, 3, 4], 2));
    assert_eq!(rig.colony.epoch().expect("it has begun").coming().count(), 0);
    let other = TopologyCommand::Admit {
        place: Place {
            name: "other".into(),
            ..place(4, 3)
        },
        at: 3,
        replaces: true,
    };
    assert_eq!(
        problem_of(rig.run(Body::Topology(other))),
        "at: another node has this place"
    );
}

#[test]
fn who_replaces_a_member_gets_the_next_number_of_its_place_and_the_old_one_is_gone_for_good() {
    let mut rig = Rig::default();
    rig.run(named(&[1, 2, 3], 0));
    rig.run(admit(4, 1, false));
    assert_eq!(number_of(rig.run(admit(2, 1, true))), 66);
    rig.run(named(&[1, 2, 3, 66, 4], 3));
    rig.run(named(&[1, 3, 66, 4], 4));
    let epoch = rig.colony.epoch().expect("it has begun");
    assert_eq!(epoch.number_of("n2"), Some(NodeId(66)));
    assert_eq!(epoch.gone, [(NodeId(2), "n2".to_owned())].into());
}

#[test]
fn who_is_removed_stays_until_consensus_has_let_it_go_and_its_number_is_never_given_again() {
    let mut rig = Rig::default();
    rig.run(named(&[1, 2, 3, 4], 0));
    assert_eq!(epoch_of(rig.run(drain(4, true))), (2, true));
    assert_eq!(epoch_of(rig.run(drain(4, true))), (2, false));
    assert_eq!(epoch_of(rig.run(drain(4, false))), (3, true));
    assert_eq!(epoch_of(rig.run(remove(4))), (4, true));
    assert_eq!(epoch_of(rig.run(remove(4))), (4, false));
    assert_eq!(problem_of(rig.run(drain(4, false))), "node: is on its way out");
    let again = "name: a node of this name is on its way out: try again";
    assert_eq!(problem_of(rig.run(admit(4, 9, true))), again);
    let epoch = rig.colony.epoch().expect("it has begun");
    assert!(epoch.members.contains(&NodeId(4)) && epoch.drained.contains(&NodeId(4)));
    rig.run(named(&[1, 2, 3], 4));
    let epoch = rig.colony.epoch().expect("it has begun");
    assert_eq!(epoch.gone, [(NodeId(4), "n4".to_owned())].into());
    assert!(epoch.leaving.is_empty() && epoch.drained.is_empty() && !epoch.places.contains_key(&NodeId(4)));
    assert_eq!(problem_of(rig.run(remove(4))), "node: is no member");
    // The place is free, for a node of another name too.
    assert_eq!(number_of(rig.run(admit(4, 10, false))), 68);
    // It has not come yet, and need not.
    rig.run(remove(68));
    let epoch = rig.colony.epoch().expect("it has begun");
    assert_eq!(epoch.gone.len(), 2);
    assert_eq!(number_of(rig.run(admit(4, 11, false))), 132);
}

#[test]
fn the_last_member_that_stays_is_not_removed() {
    let mut rig = Rig::default();
    rig.run(named(&[1, 2], 0));
    rig.run(remove(1));
    assert_eq!(problem_of(rig.run(remove(2))), "node: is the only one that stays");
    assert_eq!(problem_of(rig.run(drain(9, true))), "node: is no member");
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

#[test]
fn in_a_recovered_colony_nobody_is_barred_whose_earlier_number_was_replaced() {
    let mut rig = Rig::default();
    rig.run(named(&[1, 2, 3], 0));
    assert_eq!(number_of(rig.run(admit(2, 1, true))), 66);
    rig.run(named(&[1, 3, 66], 2));
    let gone = |rig: &Rig| rig.colony.epoch().expect("it has begun").gone.clone();
    assert_eq!(gone(&rig), [(NodeId(2), "n2".to_owned())].into());
    let (ended, begun) = (ClusterId([1; 16]), ClusterId([2; 16]));
    rig.colony.recover(ended, begun, rig.colony.seq()).unwrap();
    rig.number = 0;
    rig.run(named(&[64_001], 3));
    // The one whose place has another number already.
    assert_eq!(gone(&rig), [(NodeId(1), "n1".to_owned())].into());
}

#[test]
fn the_start_that_has_its_number_from_the_beginning_asks_for_no_other() {
    let mut rig = Rig::default();
    let mut begins = named(&[1, 2, 3], 0);
    if let Body::Topology(TopologyCommand::Members { places, .. }) = &mut begins {
        places.insert(NodeId(3), place(3, 7));
    }
    rig.run(begins);
    assert_eq!(number_of(rig.run(admit(3, 7, true))), 3, "its hello came late");
    assert_eq!(number_of(rig.run(admit(3, 8, true))), 67, "its disk is lost");
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
