//! Messages over a topology, hop by hop, as nodes hand them on.

use std::collections::BTreeMap;

use bytes::Bytes;
use hdrhistogram::Histogram;
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{Branch, Topology, branches};
use queenright_protocol::wire::{Envelope, ITEM_PREFIX_BYTES, Kind};
use rand::Rng as _;
use rand::rngs::StdRng;

/// What a broadcast says of each node behind the one that it is sent to: its number and how many there are, as
/// `actors::topic` writes it.
const BRANCH_BYTES: usize = 12;

/// Bytes of an envelope with so many of body, and of what stands before it in a frame.
pub fn envelope_bytes(body: usize) -> usize {
    let envelope = Envelope {
        kind: Kind::Signal,
        hops: 1,
        from: NodeId(1),
        to: NodeId(2),
        correlation: 0,
        epoch: 1,
        body: Bytes::from(vec![0; body]),
    };
    ITEM_PREFIX_BYTES + envelope.encoded_bytes()
}

/// Messages from nodes that were drawn to others that were drawn.
#[derive(Clone, Debug)]
pub struct Unicasts {
    /// The links that each went over.
    pub hops: Histogram<u64>,
    /// How many each node has sent and passed on, by rank.
    pub handed_on: Vec<u64>,
}

impl Unicasts {
    /// Sends so many messages.
    ///
    /// # Panics
    /// If a message does not arrive: the topology leads it nowhere, or in a circle.
    pub fn send(topology: &Topology, messages: u64, random: &mut StdRng) -> Unicasts {
        let members = topology.members();
        let mut sent = Unicasts {
            hops: Histogram::new_with_bounds(1, members.len().max(2) as u64, 3).expect("the bounds are in order"),
            handed_on: vec![0; members.len()],
        };
        for _ in 0..messages {
            let from = random.random_range(0..members.len());
            let other = random.random_range(0..members.len() - 1);
            // Any but itself.
            let to = other + usize::from(other >= from);
            let hops = sent.message(topology, members[from], members[to]);
            sent.hops.saturating_record(hops);
        }
        sent
    }

    /// One message; over how many links it went.
    fn message(&mut self, topology: &Topology, from: NodeId, to: NodeId) -> u64 {
        let (mut at, mut hops) = (from, 0);
        while at != to {
            assert!(
                hops <= self.handed_on.len() as u64,
                "from {from} to {to} it goes in a circle"
            );
            let rank = topology.members().binary_search(&at).expect("it is at a member");
            self.handed_on[rank] += 1;
            hops += 1;
            at = topology.next_hop(at, to).expect("every member is reached");
        }
        hops
    }

    /// How many times as much as the mean the busiest node hands on.
    pub fn busiest(&self) -> f64 {
        let sum: u64 = self.handed_on.iter().sum();
        let most = self.handed_on.iter().max().copied().unwrap_or_default();
        most as f64 * self.handed_on.len() as f64 / sum.max(1) as f64
    }
}

/// Broadcasts from nodes that were drawn, each to all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broadcasts {
    /// How many.
    pub broadcasts: u32,
    /// Envelopes on links, of all.
    pub envelopes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The links from the root to each other node, summed up.
    pub hops: u64,
    /// The most of them.
    pub depth_max: u64,
    /// The envelopes of the node that sent the most in each broadcast, summed up.
    pub busiest: u64,
}

impl Broadcasts {
    /// Sends so many.
    ///
    /// # Panics
    /// If a broadcast does not reach every other node once.
    pub fn send(topology: &Topology, broadcasts: u32, payload_bytes: usize, random: &mut StdRng) -> Broadcasts {
        let mut all = Broadcasts {
            broadcasts,
            ..Broadcasts::default()
        };
        let members = topology.members();
        for _ in 0..broadcasts {
            let root = members[random.random_range(0..members.len())];
            let tree = topology.broadcast_tree(root);
            let mut sent_by: BTreeMap<NodeId, u64> = BTreeMap::new();
            // What waits to be sent: by whom, at which depth, and the branches that it sends to.
            let mut waiting: Vec<(NodeId, u64, &[Branch])> = vec![(root, 0, &tree)];
            let mut reached = 1;
            while let Some((from, depth, tree)) = waiting.pop() {
                for (node, behind) in branches(tree) {
                    all.envelopes += 1;
                    all.bytes += envelope_bytes(payload_bytes + BRANCH_BYTES * behind.len()) as u64;
                    all.hops += depth + 1;
                    all.depth_max = all.depth_max.max(depth + 1);
                    *sent_by.entry(from).or_default() += 1;
                    reached += 1;
                    waiting.push((node, depth + 1, behind));
                }
            }
            assert_eq!(reached, members.len(), "a broadcast reaches every node once");
            all.busiest += sent_by.into_values().max().unwrap_or_default();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use queenright_protocol::topology::Kind as Topo;
    use rand::SeedableRng as _;

    use super::super::members;
    use super::*;

    /// The most links between two of so many nodes.
    fn hops_max(kind: Topo, nodes: u64) -> u64 {
        match kind {
            Topo::Mesh => 1,
            Topo::Star => 2.min(nodes - 1),
            Topo::Ring => nodes / 2,
            Topo::Hierarchical { fan_out } => {
                let (mut depth, mut rank) = (0, nodes - 1);
                while rank > 0 {
                    rank = (rank - 1) / u64::from(fan_out.get());
                    depth += 1;
                }
                2 * depth
            }
        }
    }

    fn kinds() -> impl Strategy<Value = Topo> {
        let kinds = ["mesh", "star", "ring", "hierarchical:2", "hierarchical:5"];
        proptest::sample::select(kinds.map(|kind| kind.parse::<Topo>().unwrap()).to_vec())
    }

    proptest! {
        #[test]
        fn every_pair_is_reached_over_no_more_links_than_the_kind_allows(kind in kinds(), nodes in 2..48_usize) {
            let topology = Topology::new(kind, &members(nodes));
            let mut sent = Unicasts::send(&topology, 1, &mut StdRng::seed_from_u64(1));
            let most = hops_max(kind, nodes as u64);
            for from in topology.members() {
                for to in topology.members() {
                    let hops = sent.message(&topology, *from, *to);
                    prop_assert!(hops <= most, "{hops} of at most {most}");
                    prop_assert_eq!(Some(hops), topology.hops(*from, *to).map(u64::from));
                }
            }
        }

        #[test]
        fn a_broadcast_is_one_envelope_for_each_other_node(kind in kinds(), nodes in 2..200_usize, seed in any::<u64>()) {
            let topology = Topology::new(kind, &members(nodes));
            let sent = Broadcasts::send(&topology, 3, 100, &mut StdRng::seed_from_u64(seed));
            prop_assert_eq!(sent.envelopes, 3 * (nodes as u64 - 1));
            prop_assert!(sent.depth_max <= hops_max(kind, nodes as u64));
            prop_assert!(sent.bytes >= sent.envelopes * 100 && sent.busiest >= 3);
        }
    }

    #[test]
    fn the_hub_hands_on_most_of_a_star_and_no_one_more_than_others_in_a_mesh() {
        let busiest = |kind: Topo| {
            let topology = Topology::new(kind, &members(100));
            Unicasts::send(&topology, 100_000, &mut StdRng::seed_from_u64(1)).busiest()
        };
        assert!(busiest(Topo::Star) > 45.0);
        assert!(busiest(Topo::Mesh) < 1.2);
        assert!(busiest(Topo::Ring) < 1.2);
    }
}
