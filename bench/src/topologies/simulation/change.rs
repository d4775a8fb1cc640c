//! A change of the members over virtual time: how the news of the new epoch spreads, and what becomes of the links. See
//! [`MODEL`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{Pair, Topology};

/// What is assumed, for whoever reads a report.
pub const MODEL: &str = "the first member that stays knows of the epoch at 0; news goes over links that stand, a hop each; \
     a node that has lost its link with one that was killed asks the first one too, over a connection of its own, and knows \
     after 4 hops; one that joins knows after a hop; a new link is made 2 hops after both ends know; an old one is broken when both its ends have all new ones";

/// After how many hops a node that has lost a link knows: it connects, is greeted, asks and is answered.
const ASKS_AFTER: u64 = 4;
/// How many hops it takes to make a link: it is dialled and greeted.
const LINK_HOPS: u64 = 2;

/// Who comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node that is no member joins.
    Join(NodeId),
    /// A member leaves, and hands on until its links are broken.
    Leave(NodeId),
    /// A member is gone with all its links.
    Kill(NodeId),
}

/// What came of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// When each new link was made, in hops of virtual time.
    pub made_at: BTreeMap<Pair, u64>,
    /// When each old link was broken that is not in the new topology. Those of a node that was killed are not among them.
    pub broken_at: BTreeMap<Pair, u64>,
    /// How many nodes have learnt of it over a connection of their own.
    pub asked: usize,
    /// When everything was as the new topology wants it, in hops.
    pub hops: u64,
}

/// What happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A node knows of the epoch; it was told, or else has asked.
    Learns { node: NodeId, asked: bool },
    /// A link is made.
    Made(Pair),
}

/// A change under way.
struct Run<'a> {
    old: &'a Topology,
    /// Who hands news on: all that live.
    live: BTreeSet<NodeId>,
    /// For each node the ends of its new links.
    new_ends: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// For each node the ends of those that are to be broken.
    old_ends: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// The earliest moment at which each node is known to learn.
    learns_at: BTreeMap<NodeId, u64>,
    learnt: BTreeSet<NodeId>,
    /// How many of its new links each node that has learnt waits for.
    missing: BTreeMap<NodeId, usize>,
    ready: BTreeSet<NodeId>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    outcome: Outcome,
}

impl Change {
    /// Lets it happen to this topology; a node that leaves or is killed must be a member, and not the only one.
    ///
    /// # Panics
    /// If nobody would stay.
    pub fn run(self, old: &Topology) -> Outcome {
        let before: BTreeSet<NodeId> = old.members().iter().copied().collect();
        let mut after = before.clone();
        match self {
            Change::Join(node) => after.insert(node),
            Change::Leave(node) | Change::Kill(node) => after.remove(&node),
        };
        let new = Topology::new(old.kind(), &after);
        let live: BTreeSet<NodeId> = match self {
            Change::Join(_) => after.clone(),
            Change::Leave(_) => before.clone(),
            Change::Kill(_) => after.clone(),
        };
        let first = *before.intersection(&after).next().expect("somebody stays");
        let mut run = Run {
            old,
            new_ends: BTreeMap::new(),
            old_ends: BTreeMap::new(),
            learns_at: BTreeMap::new(),
            learnt: BTreeSet::new(),
            missing: BTreeMap::new(),
            ready: BTreeSet::new(),
            events: BinaryHeap::new(),
            outcome: Outcome::default(),
            live,
        };
        for node in &run.live {
            let (was, is) = (old.neighbours(*node), new.neighbours(*node));
            let stay = |ends: BTreeSet<NodeId>| ends.intersection(&run.live).copied().collect::<BTreeSet<_>>();
            run.new_ends.insert(*node, stay(is.difference(&was).copied().collect()));
            run.old_ends.insert(*node, stay(was.difference(&is).copied().collect()));
        }
        run.learns(first, 0, false);
        if let Change::Join(node) = self {
            run.learns(node, 1, false);
        }
        if let Change::Kill(node) = self {
            let lost = old.neighbours(node).into_iter();
            lost.for_each(|other| run.learns(other, ASKS_AFTER, true));
        }
        run.play()
    }
}

impl Run<'_> {
    /// A node learns of it at this moment, unless it is known to learn earlier.
    fn learns(&mut self, node: NodeId, at: u64, asked: bool) {
        let known = self.learns_at.get(&node);
        if known.is_none_or(|known| at < *known) {
            self.learns_at.insert(node, at);
            self.events.push(Reverse((at, Event::Learns { node, asked })));
        }
    }

    fn play(mut self) -> Outcome {
        while let Some(Reverse((at, event))) = self.events.pop() {
            match event {
                // One that was told in the meantime does not ask.
                Event::Learns { node, .. } if !self.learnt.insert(node) => continue,
                Event::Learns { node, asked } => self.learnt(node, at, asked),
                Event::Made(pair) => {
                    self.outcome.made_at.insert(pair, at);
                    for node in pair.ends() {
                        *self.missing.get_mut(&node).expect("both ends have learnt") -= 1;
                        self.ready_if_whole(node, at);
                    }
                }
            }
            self.outcome.hops = at;
        }
        self.outcome
    }

    fn learnt(&mut self, node: NodeId, at: u64, asked: bool) {
        self.outcome.asked += usize::from(asked);
        let ends = self.new_ends[&node].clone();
        self.missing.insert(node, ends.len());
        for other in ends.intersection(&self.learnt) {
            self.events
                .push(Reverse((at + LINK_HOPS, Event::Made(Pair::of(node, *other)))));
        }
        self.ready_if_whole(node, at);
        for other in self.old.neighbours(node) {
            if self.live.contains(&other) {
                self.learns(other, at + 1, false);
            }
        }
    }

    /// A node that has all its new links lets go of the old ones whose other end has so too.
    fn ready_if_whole(&mut self, node: NodeId, at: u64) {
        if self.missing[&node] > 0 || !self.ready.insert(node) {
            return;
        }
        for other in self.old_ends[&node].intersection(&self.ready) {
            self.outcome.broken_at.insert(Pair::of(node, *other), at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use queenright_protocol::topology::Kind;

    use super::super::members;
    use super::*;

    fn links(topology: &Topology) -> BTreeSet<Pair> {
        let near = |me: &NodeId| {
            let me = *me;
            topology
                .neighbours(me)
                .into_iter()
                .map(move |other| Pair::of(me, other))
        };
        topology.members().iter().flat_map(near).collect()
    }

    fn check(kind: Kind, nodes: usize, change: Change) {
        let before = members(nodes);
        let mut after = before.clone();
        let gone = match change {
            Change::Join(node) => {
                after.insert(node);
                None
            }
            Change::Leave(node) => {
                after.remove(&node);
                None
            }
            Change::Kill(node) => {
                after.remove(&node);
                Some(node)
            }
        };
        let (old, new) = (Topology::new(kind, &before), Topology::new(kind, &after));
        let outcome = change.run(&old);
        let what = format!("{kind} of {nodes}, {change:?}");
        let made: BTreeSet<Pair> = links(&new).difference(&links(&old)).copied().collect();
        let stands = |pair: &Pair| gone.is_none_or(|gone| pair.other(gone).is_none());
        let broken: BTreeSet<Pair> = links(&old).difference(&links(&new)).copied().filter(stands).collect();
        assert!(outcome.made_at.keys().eq(&made), "{what}: made {outcome:?}");
        assert!(outcome.broken_at.keys().eq(&broken), "{what}: broken {outcome:?}");
        for (pair, broken_at) in &outcome.broken_at {
            let of_its_ends = outcome.made_at.iter().filter(|(made, _)| {
                let ends = pair.ends();
                made.ends().iter().any(|end| ends.contains(end))
            });
            for (made, made_at) in of_its_ends {
                assert!(
                    made_at <= broken_at,
                    "{what}: {pair:?} is broken before {made:?} is made"
                );
            }
        }
        let moments = outcome.made_at.values().chain(outcome.broken_at.values());
        assert!(
            moments.max().copied().unwrap_or_default() <= outcome.hops,
            "{what}: {outcome:?}"
        );
        assert!(
            outcome.hops <= ASKS_AFTER + LINK_HOPS + nodes as u64,
            "{what}: {outcome:?}"
        );
    }

    proptest! {
        #[test]
        fn links_become_those_of_the_new_topology_and_are_made_before_others_are_broken(
            kind in proptest::sample::select(vec!["mesh", "star", "ring", "hierarchical:2", "hierarchical:4"]),
            nodes in 2..40_usize,
            drawn in any::<u64>(),
        ) {
            let kind = kind.parse().unwrap();
            let node = NodeId(drawn % nodes as u64 + 1);
            check(kind, nodes, Change::Join(NodeId(nodes as u64 + 1)));
            check(kind, nodes, Change::Leave(node));
            check(kind, nodes, Change::Kill(node));
        }
    }

    #[test]
    fn a_ring_is_closed_again_by_one_link_and_the_death_of_a_hub_makes_a_star_anew() {
        let ring = Topology::new(Kind::Ring, &members(10));
        let killed = Change::Kill(NodeId(4)).run(&ring);
        assert_eq!((killed.made_at.len(), killed.broken_at.len()), (1, 0));
        // The first one's news reach one neighbour of the dead after two hops; the other one asks.
        assert_eq!((killed.asked, killed.hops), (1, ASKS_AFTER + LINK_HOPS));
        let star = Topology::new(Kind::Star, &members(10));
        let killed = Change::Kill(NodeId(1)).run(&star);
        // No link is left to tell the others.
        assert_eq!((killed.made_at.len(), killed.asked), (8, 8));
        assert_eq!(killed.hops, ASKS_AFTER + LINK_HOPS);
    }
}
