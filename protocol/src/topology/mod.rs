//! Which nodes are linked, and which way a message goes: pure functions of (kind, members).
//!
//! Nothing is stored but the kind and the sorted members, so every node that knows the same epoch computes the same
//! edges, routes and trees, in whatever order it learnt of the members. A detour around suspects is the same function
//! over (members − suspects).
//!
//! Members are numbered 0..n in ascending order of [`NodeId`]: the *rank*. Each kind is written over ranks.
//!
//! | kind | linked | degree | longest route | next hop from a to b | cost of a next hop |
//! |---|---|---|---|---|---|
//! | mesh | every two | n − 1 | 1 | b | O(log n) |
//! | star | each with rank 0, the hub | hub n − 1, others 1 | 2 | b from the hub, else the hub | O(log n) |
//! | ring | ranks that differ by 1, and the last with rank 0 | 2 (n = 2: 1) | ⌊n/2⌋ | the shorter way round; of two equal ones the ascending | O(log n) |
//! | hierarchical | rank r with ranks k·r + 1 to k·r + k (k = fan-out) | ≤ k + 1 | 2·⌊log_k n⌋ + 2 at most | the child above b if b is below a, else the parent | O(log n) |
//!
//! O(log n) is the search for the rank of an id in the sorted members.
//!
//! Links that cannot be made although both ends live are led around (see `around`): the same function over the pairs that
//! are cut.
//!
//! A broadcast follows reverse paths: a node hands it to those of its neighbours whose next hop towards the root is
//! that node. Every member but the root has exactly one next hop towards the root, and each hop is one nearer to it, so
//! every member is reached exactly once, over shortest paths, in every kind.

mod around;
mod broadcast;
mod hierarchical;
mod kind;
mod mesh;
mod ring;
mod star;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::around::Around;
use crate::id::NodeId;

pub use self::broadcast::{Branch, branches};
pub use self::kind::{FanOut, Kind, KindError};

/// Two nodes, in ascending order: a link, whichever end looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pair(NodeId, NodeId);

impl Pair {
    /// The pair of these two.
    pub fn of(one: NodeId, other: NodeId) -> Pair {
        Pair(one.min(other), one.max(other))
    }

    /// Both, the smaller first.
    pub fn ends(self) -> [NodeId; 2] {
        [self.0, self.1]
    }

    /// The other one, if `me` is one of them.
    pub fn other(self, me: NodeId) -> Option<NodeId> {
        match me {
            _ if me == self.0 => Some(self.1),
            _ if me == self.1 => Some(self.0),
            _ => None,
        }
    }
}

/// The nodes that `me` is linked with; none if `me` is not a member. Never contains `me`.
pub fn neighbours(kind: Kind, members: &BTreeSet<NodeId>, me: NodeId) -> BTreeSet<NodeId> {
    Topology::new(kind, members).neighbours(me)
}

/// One kind over one set of members, with the members in an order in which a rank is found in O(log n).
///
/// Built in O(n) once per epoch or set of suspects, then asked for every message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    kind: Kind,
    /// Ascending, without repeats.
    members: Box<[NodeId]>,
    /// The links and routes where some links are cut.
    around: Option<Arc<Around>>,
}

impl Topology {
    /// The topology of `kind` over `members`.
    pub fn new(kind: Kind, members: &BTreeSet<NodeId>) -> Self {
        Self {
            kind,
            members: members.iter().copied().collect(),
            around: None,
        }
    }

    /// The topology of `kind` over `members`, led around the links of these pairs. Built in O(n · links) where one of them is
    /// a link.
    pub fn around(kind: Kind, members: &BTreeSet<NodeId>, cuts: &BTreeSet<Pair>) -> Self {
        let mut topology = Topology::new(kind, members);
        if !cuts.is_empty() {
            let around = Around::new(&topology.members, &|me| topology.neighbour_ranks(me), cuts);
            topology.around = around.map(Arc::new);
        }
        topology
    }

    /// The kind that links the members.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The members in ascending order.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// The nodes that `me` is linked with; none if `me` is not a member. Never contains `me`.
    pub fn neighbours(&self, me: NodeId) -> BTreeSet<NodeId> {
        match self.rank(me) {
            Some(me) => self
                .neighbour_ranks(me)
                .into_iter()
                .map(|rank| self.members[rank])
                .collect(),
            None => BTreeSet::new(),
        }
    }

    /// The neighbour to which `me` hands a message for `to`, on a shortest route. `None` if `me` is `to`, one of them is
    /// not a member, or so much is cut that nothing leads there.
    pub fn next_hop(&self, me: NodeId, to: NodeId) -> Option<NodeId> {
        if me == to {
            return None;
        }
        let (me, to) = (self.rank(me)?, self.rank(to)?);
        Some(self.members[self.next_rank(me, to)?])
    }

    /// The number of links between `from` and `to` on the route of [`Topology::next_hop`]; 0 from a member to itself.
    /// `None` if one of them is not a member, or nothing leads there.
    pub fn hops(&self, from: NodeId, to: NodeId) -> Option<u32> {
        let (from, to) = (self.rank(from)?, self.rank(to)?);
        if let Some(around) = &self.around {
            return around.hops(from, to);
        }
        let n = self.members.len();
        Some(match self.kind {
            _ if from == to => 0,
            Kind::Mesh => mesh::hops(),
            Kind::Star => star::hops(from, to),
            Kind::Ring => ring::hops(n, from, to),
            Kind::Hierarchical { fan_out } => hierarchical::hops(fan_out.get().into(), from, to),
        })
    }

    /// The nodes to which `me` forwards a broadcast that started at `root`. Over all members each one but the root
    /// appears exactly once. Empty if one of the two is not a member.
    pub fn broadcast_children(&self, root: NodeId, me: NodeId) -> BTreeSet<NodeId> {
        let (Some(root), Some(me)) = (self.rank(root), self.rank(me)) else {
            return BTreeSet::new();
        };
        self.neighbour_ranks(me)
            .into_iter()
            .filter(|&child| child != root && self.next_rank(child, root) == Some(me))
            .map(|child| self.members[child])
            .collect()
    }

    fn rank(&self, node: NodeId) -> Option<usize> {
        self.members.binary_search(&node).ok()
    }

    fn neighbour_ranks(&self, me: usize) -> Vec<usize> {
        if let Some(around) = &self.around {
            return around.neighbours(me);
        }
        let n = self.members.len();
        match self.kind {
            Kind::Mesh => mesh::neighbours(n, me),
            Kind::Star => star::neighbours(n, me),
            Kind::Ring => ring::neighbours(n, me),
            Kind::Hierarchical { fan_out } => hierarchical::neighbours(fan_out.get().into(), n, me),
        }
    }

    /// For `me` ≠ `to`, both ranks of members. None only where so much is cut that nothing leads there.
    fn next_rank(&self, me: usize, to: usize) -> Option<usize> {
        if let Some(around) = &self.around {
            return around.next_hop(me, to);
        }
        Some(match self.kind {
            Kind::Mesh => mesh::next_hop(to),
            Kind::Star => star::next_hop(me, to),
            Kind::Ring => ring::next_hop(self.members.len(), me, to),
            Kind::Hierarchical { fan_out } => hierarchical::next_hop(fan_out.get().into(), me, to),
        })
    }
}
