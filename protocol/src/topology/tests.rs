use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::{Branch, FanOut, Kind, KindError, Pair, Topology, branches, neighbours};
use crate::id::NodeId;

const SIZE_MAX: usize = 64;

fn kinds() -> Vec<Kind> {
    let mut kinds = vec![Kind::Mesh, Kind::Star, Kind::Ring];
    kinds.extend([2, 3, 5, 64].map(|children| Kind::Hierarchical {
        fan_out: FanOut::new(children).unwrap(),
    }));
    kinds
}

/// Ids with gaps that differ, so that a rank is never mistaken for an id.
fn members(size: usize) -> BTreeSet<NodeId> {
    (0..size as u64).map(|i| NodeId(3 + 7 * i + i * i % 5)).collect()
}

fn each(mut check: impl FnMut(&Topology)) {
    for kind in kinds() {
        for size in 0..=SIZE_MAX {
            check(&Topology::new(kind, &members(size)));
        }
    }
}

type Links = BTreeMap<NodeId, BTreeSet<NodeId>>;

fn links(topology: &Topology) -> Links {
    topology
        .members()
        .iter()
        .map(|&me| (me, topology.neighbours(me)))
        .collect()
}

/// Distances from `from` by breadth-first search.
fn distances(links: &Links, from: NodeId) -> BTreeMap<NodeId, u32> {
    let mut found = BTreeMap::from([(from, 0)]);
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        for &next in &links[&node] {
            if !found.contains_key(&next) {
                found.insert(next, found[&node] + 1);
                queue.push_back(next);
            }
        }
    }
    found
}

#[test]
fn links_are_symmetric_and_never_lead_to_oneself() {
    each(|topology| {
        for &a in topology.members() {
            for b in topology.neighbours(a) {
                assert_ne!(a, b, "{topology:?}");
                assert!(topology.neighbours(b).contains(&a), "{topology:?}: {a} {b}");
            }
        }
    });
}

#[test]
fn every_member_reaches_every_other() {
    each(|topology| {
        if let Some(&first) = topology.members().first() {
            assert_eq!(
                distances(&links(topology), first).len(),
                topology.members().len(),
                "{topology:?}"
            );
        }
    });
}

#[test]
fn degrees_are_those_of_the_kind() {
    each(|topology| {
        let n = topology.members().len();
        let degrees: Vec<usize> = topology
            .members()
            .iter()
            .map(|&me| topology.neighbours(me).len())
            .collect();
        let expected = match topology.kind() {
            Kind::Mesh => vec![n.saturating_sub(1); n],
            Kind::Star => (0..n).map(|rank| if rank == 0 { n - 1 } else { 1 }).collect(),
            Kind::Ring => vec![n.saturating_sub(1).min(2); n],
            Kind::Hierarchical { fan_out } => {
                let k = usize::from(fan_out.get());
                let children = |rank: usize| (n - 1).saturating_sub(k * rank).min(k);
                (0..n).map(|rank| children(rank) + usize::from(rank > 0)).collect()
            }
        };
        assert_eq!(degrees, expected, "{topology:?}");
        if !matches!(topology.kind(), Kind::Mesh | Kind::Ring) {
            assert_eq!(
                degrees.iter().sum::<usize>(),
                2 * n.saturating_sub(1),
                "a tree: {topology:?}"
            );
        }
    });
}

#[test]
fn next_hop_follows_links_and_arrives_in_the_fewest_hops() {
    each(|topology| {
        let links = links(topology);
        for &from in topology.members() {
            let distances = distances(&links, from);
            for &to in topology.members() {
                let (mut at, mut steps) = (from, 0);
                while let Some(next) = topology.next_hop(at, to) {
                    assert!(links[&at].contains(&next), "{topology:?}: {at} {next}");
                    (at, steps) = (next, steps + 1);
                    assert!(steps <= SIZE_MAX as u32, "{topology:?}: {from} never reaches {to}");
                }
                assert_eq!(at, to, "{topology:?}");
                assert_eq!(topology.hops(from, to), Some(steps), "{topology:?}");
                assert_eq!(distances[&to], steps, "{topology:?}");
            }
        }
    });
}

#[test]
fn a_broadcast_reaches_every_member_once_along_links() {
    each(|topology| {
        for &root in topology.members() {
            let mut reached = BTreeSet::from([root]);
            let mut queue = VecDeque::from([root]);
            while let Some(me) = queue.pop_front() {
                for child in topology.broadcast_children(root, me) {
                    assert!(topology.neighbours(me).contains(&child), "{topology:?}");
                    assert!(reached.insert(child), "{topology:?}: {child} twice from {root}");
                    queue.push_back(child);
                }
            }
            assert_eq!(reached.len(), topology.members().len(), "{topology:?}");
        }
    });
}

/// Every node of a tree, with the one that hands on to it.
fn handed(tree: &[Branch], by: NodeId, found: &mut Vec<(NodeId, NodeId)>) {
    for (node, behind) in branches(tree) {
        found.push((node, by));
        handed(behind, node, found);
    }
}

#[test]
fn a_broadcast_that_is_written_down_goes_the_way_of_one_that_is_not() {
    each(|topology| {
        // Each fourth size: what is expected takes as long to find as all other tests of this file.
        if topology.members().len() % 4 != 0 {
            return;
        }
        for &root in topology.members() {
            let mut found = Vec::new();
            handed(&topology.broadcast_tree(root), root, &mut found);
            let children = topology.members().iter().flat_map(|&by| {
                let children = topology.broadcast_children(root, by).into_iter();
                children.map(move |node| (node, by))
            });
            let expected: BTreeSet<_> = children.collect();
            assert_eq!(found.len(), expected.len(), "{topology:?}");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{topology:?}");
        }
        assert!(topology.broadcast_tree(NodeId(1)).is_empty());
    });
}

proptest! {
    #[test]
    fn whatever_a_tree_says_each_of_its_nodes_is_reached_once(sizes in prop::collection::vec(any::<u32>(), 0..40)) {
        let tree: Vec<Branch> = sizes.iter().enumerate().map(|(place, size)| Branch {
            node: NodeId(place as u64),
            nodes: size % 9 * if size % 7 == 0 { u32::MAX / 9 } else { 1 },
        }).collect();
        let mut found = Vec::new();
        handed(&tree, NodeId(u64::MAX), &mut found);
        let nodes: Vec<u64> = found.iter().map(|(node, _)| node.0).collect();
        prop_assert_eq!(nodes, (0..tree.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn a_stranger_has_no_links_and_no_routes() {
    let stranger = NodeId(1);
    each(|topology| {
        assert!(topology.neighbours(stranger).is_empty());
        assert_eq!(topology.next_hop(stranger, stranger), None);
        assert_eq!(topology.hops(stranger, stranger), None);
        for &member in topology.members() {
            assert_eq!(topology.next_hop(member, stranger), None);
            assert_eq!(topology.next_hop(stranger, member), None);
            assert_eq!(topology.next_hop(member, member), None);
            assert_eq!(topology.hops(member, stranger), None);
            assert!(topology.broadcast_children(stranger, member).is_empty());
            assert!(topology.broadcast_children(member, stranger).is_empty());
        }
    });
}

#[test]
fn a_ring_breaks_ties_upwards() {
    let topology = Topology::new(Kind::Ring, &(1..=4).map(NodeId).collect());
    assert_eq!(topology.next_hop(NodeId(1), NodeId(3)), Some(NodeId(2)));
    assert_eq!(topology.next_hop(NodeId(4), NodeId(2)), Some(NodeId(1)));
}

proptest! {
    #[test]
    fn links_do_not_depend_on_the_order_of_insertion(
        (sorted, shuffled) in prop::collection::btree_set(any::<u64>(), 0..=SIZE_MAX)
            .prop_map(|ids| ids.into_iter().collect::<Vec<_>>())
            .prop_flat_map(|ids| (Just(ids.clone()), Just(ids).prop_shuffle())),
    ) {
        let sorted: BTreeSet<NodeId> = sorted.into_iter().map(NodeId).collect();
        let mut grown = BTreeSet::new();
        for id in shuffled {
            grown.insert(NodeId(id));
        }
        for kind in kinds() {
            for &me in &sorted {
                prop_assert_eq!(neighbours(kind, &sorted, me), neighbours(kind, &grown, me));
            }
        }
    }
}

#[test]
fn a_kind_is_read_as_it_is_written() {
    for kind in kinds() {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        let bytes = bincode::serialize(&kind).unwrap();
        assert_eq!(bincode::deserialize::<Kind>(&bytes).unwrap(), kind);
    }
    assert_eq!(
        "hierarchical".parse(),
        Ok(Kind::Hierarchical {
            fan_out: FanOut::DEFAULT
        })
    );
}

#[test]
fn a_text_that_is_no_kind_is_refused_by_name() {
    for text in [
        "",
        "Mesh",
        "tree",
        "hierarchical:",
        "hierarchical:x",
        "hierarchical:70000",
        "star:2",
    ] {
        assert_eq!(text.parse::<Kind>(), Err(KindError::Unknown { text: text.to_owned() }));
    }
    for children in [0, 1] {
        assert_eq!(
            format!("hierarchical:{children}").parse::<Kind>(),
            Err(KindError::FanOut { children })
        );
    }
}

/// Every kind with some of its links cut, and which.
fn any_cut() -> impl Strategy<Value = (Topology, BTreeSet<Pair>)> {
    let picks = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6);
    (prop::sample::select(kinds()), 2..20usize, picks).prop_map(|(kind, size, picks)| {
        let members = members(size);
        let whole = Topology::new(kind, &members);
        let cuts = picks.iter().map(|(one, other)| {
            let one = *one.get(whole.members());
            let near: Vec<NodeId> = whole.neighbours(one).into_iter().collect();
            Pair::of(one, *other.get(&near))
        });
        let cuts = cuts.collect();
        (Topology::around(kind, &members, &cuts), cuts)
    })
}

proptest! {
    #[test]
    fn a_cut_link_is_led_around_by_links_that_both_ends_know((topology, cuts) in any_cut()) {
        let links = links(&topology);
        for (&me, near) in &links {
            for &other in near {
                prop_assert!(me != other && links[&other].contains(&me));
                prop_assert!(!cuts.contains(&Pair::of(me, other)));
            }
        }
    }

    #[test]
    fn routes_around_cut_links_arrive_in_the_fewest_hops((topology, cuts) in any_cut()) {
        let links = links(&topology);
        let size = topology.members().len();
        // Otherwise there may be no pair left that is not cut.
        let connected = cuts.len() < size - 1;
        for &from in topology.members() {
            let distances = distances(&links, from);
            prop_assert!(!connected || distances.len() == size);
            for &to in topology.members() {
                let (mut at, mut steps) = (from, 0);
                while let Some(next) = topology.next_hop(at, to) {
                    (at, steps) = (next, steps + 1);
                    prop_assert!(steps <= size as u32);
                }
                let reached = distances.get(&to).copied();
                prop_assert_eq!((at == to).then_some(steps), reached);
                prop_assert_eq!(topology.hops(from, to), reached);
            }
        }
    }

    #[test]
    fn a_broadcast_goes_around_cut_links_and_reaches_every_member_once((topology, _) in any_cut()) {
        for &root in topology.members() {
            let reachable = distances(&links(&topology), root).len();
            let mut reached = BTreeSet::from([root]);
            let mut queue = VecDeque::from([root]);
            while let Some(me) = queue.pop_front() {
                for child in topology.broadcast_children(root, me) {
                    prop_assert!(reached.insert(child));
                    queue.push_back(child);
                }
            }
            prop_assert_eq!(reached.len(), reachable);
        }
    }
}

#[test]
fn what_is_led_around_a_cut_link_is_what_a_reader_would_draw() {
    let ids = |ids: &[u64]| -> BTreeSet<NodeId> { ids.iter().copied().map(NodeId).collect() };
    let around = |kind: &str, size: u64, cuts: &[(u64, u64)]| {
        let cuts = cuts.iter().map(|&(one, other)| Pair::of(NodeId(one), NodeId(other)));
        Topology::around(
            kind.parse().unwrap(),
            &(1..=size).map(NodeId).collect(),
            &cuts.collect(),
        )
    };
    // The other way round.
    let ring = around("ring", 5, &[(1, 2)]);
    assert_eq!(ring.neighbours(NodeId(1)), ids(&[5]));
    assert_eq!(ring.hops(NodeId(1), NodeId(2)), Some(4));
    // Over a third one.
    let mesh = around("mesh", 3, &[(2, 1)]);
    assert_eq!(mesh.next_hop(NodeId(1), NodeId(2)), Some(NodeId(3)));
    // Below another one, and its children with it.
    let star = around("star", 4, &[(1, 3)]);
    assert_eq!(star.neighbours(NodeId(3)), ids(&[2]));
    let tree = around("hierarchical:2", 7, &[(1, 3)]);
    assert_eq!(tree.neighbours(NodeId(3)), ids(&[2, 6, 7]));
    assert_eq!(tree.hops(NodeId(6), NodeId(1)), Some(3));
    // A pair that is no link changes nothing.
    assert_eq!(around("ring", 5, &[(1, 3)]), around("ring", 5, &[]));
    // Two who cannot be linked at all.
    let two = around("mesh", 2, &[(1, 2)]);
    assert_eq!(
        (two.neighbours(NodeId(1)), two.next_hop(NodeId(1), NodeId(2))),
        (ids(&[]), None)
    );
}
