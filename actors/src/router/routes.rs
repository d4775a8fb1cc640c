//! Which way an envelope goes, as this node sees it: a function of the epoch, of those who are suspected, and of which
//! links are up. A way is the link to the next node.
//!
//! The first choice is the next hop of the topology over the members without the suspects; for consensus the direct link,
//! unless it is to be routed too. While that link is down, in this order:
//!
//! 1. the next hop of the topology, where the first choice was a direct link;
//! 2. the next hop of the epoch before, while the links of the new one are not all up;
//! 3. the link to the target itself, if there is one: a control link, or one of a node that has just joined;
//! 4. the next hop over the members without those whose links turn out to be down: a detour around a dead neighbour before
//!    anybody suspects it.
//!
//! 5. in a mesh or a ring another neighbour, the one that is nearest to the target: its link is cut, and no epoch leads around
//!    it yet. In a star or a hierarchy nothing else leads there. One that is suspected has no cut link: the others do not
//!    reach it either, and whoever sends to it is told so.
//!
//! An envelope never goes back over the link that it came on, but at the end of a ring that is cut: the other way round begins
//! there. Nodes with different epochs or suspects may pass one on in a
//! longer circle; how many hops it may take ends that (see [`hops_max`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{self, Branch, Pair, Topology};
use queenright_protocol::wire::Kind;

use crate::founding::links_of;

/// The most hops that any envelope may take, whatever the size of the cluster.
const HOPS_MAX: usize = 64;
/// How many dead neighbours a detour leads around at most: each costs a topology.
const DETOURS_MAX: usize = 3;

/// The members, and how they are linked, as routes are made of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The number of this node.
    pub(crate) me: NodeId,
    /// The number of the epoch; 0 while there is none.
    pub(crate) epoch: u64,
    /// How the members of the epoch are linked.
    pub(crate) kind: topology::Kind,
    /// The members of the epoch.
    pub(crate) linked: BTreeSet<NodeId>,
    /// The links that the epoch leads around.
    pub(crate) cuts: BTreeSet<Pair>,
    /// All members that are known, those too that have just joined.
    pub(crate) members: BTreeSet<NodeId>,
    /// The epoch before, while not all links of this one are up.
    pub(crate) before: Option<(topology::Kind, BTreeSet<NodeId>)>,
    /// Whether consensus goes along the topology like everything else.
    pub(crate) routed: bool,
}

impl View {
    /// Everybody is linked with everybody: as long as nobody has agreed on anything else.
    pub(crate) fn mesh(me: NodeId, members: &BTreeSet<NodeId>) -> View {
        View {
            me,
            epoch: 0,
            kind: topology::Kind::Mesh,
            linked: members.clone(),
            cuts: BTreeSet::new(),
            members: members.clone(),
            before: None,
            routed: false,
        }
    }
}

/// The routes of this node. Replaced as a whole.
pub(super) struct Routes {
    view: View,
    members: Vec<NodeId>,
    suspects: BTreeSet<NodeId>,
    /// Over the members of the epoch without the suspects.
    topology: Topology,
    /// Over all of them: a suspect itself is still sent to.
    whole: Topology,
    before: Option<Topology>,
    /// The link to each member but this one.
    links: BTreeMap<NodeId, u16>,
    /// From this node to all other members.
    broadcast: Arc<[Branch]>,
}

impl Routes {
    pub(super) fn new(view: View, suspects: &BTreeSet<NodeId>) -> Routes {
        let mut suspects = suspects.clone();
        suspects.remove(&view.me);
        let believed = view.linked.difference(&suspects).copied().collect();
        let before = view.before.as_ref();
        let topology = Topology::around(view.kind, &believed, &view.cuts);
        Routes {
            members: view.members.iter().copied().collect(),
            broadcast: broadcast_tree(&topology, &view).into(),
            topology,
            whole: Topology::around(view.kind, &view.linked, &view.cuts),
            before: before.map(|(kind, members)| Topology::new(*kind, members)),
            links: links_of(&view.members, view.me),
            suspects,
            view,
        }
    }

    pub(super) fn me(&self) -> NodeId {
        self.view.me
    }

    pub(super) fn epoch(&self) -> u64 {
        self.view.epoch
    }

    pub(super) fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// How many nodes may pass an envelope on.
    pub(super) fn hops_max(&self) -> u8 {
        hops_max(self.members.len())
    }

    /// The link to a member itself; none to oneself.
    pub(super) fn link(&self, node: NodeId) -> Option<u16> {
        self.links.get(&node).copied()
    }

    /// The member at the other end of a link.
    pub(super) fn at_end_of(&self, link: u16) -> Option<NodeId> {
        // The latest that came to the place.
        let mut links = self.links.iter().rev();
        links.find(|(_, known)| **known == link).map(|(node, _)| *node)
    }

    /// Whether there is such a member beside this node.
    pub(super) fn knows(&self, node: NodeId) -> bool {
        self.links.contains_key(&node)
    }

    /// The link to take; none when there is no way. `stands` says which links can be taken.
    pub(super) fn choose(&self, to: NodeId, kind: Kind, stands: impl Fn(u16) -> bool) -> Option<u16> {
        let direct = is_consensus(kind) && !self.view.routed;
        let first = if direct { self.link(to) } else { self.hop(to) };
        match first.filter(|link| stands(*link)) {
            Some(link) => Some(link),
            None => self.other(to, stands),
        }
    }

    /// The tree of a broadcast of this node: along the topology of those who are believed to live, and straight to each
    /// other member.
    pub(super) fn broadcast_tree(&self) -> Arc<[Branch]> {
        self.broadcast.clone()
    }

    /// Whether an envelope for `to` that came on this link may go back over it, since no other way is left: the next node of a
    /// ring cannot be reached.
    pub(super) fn may_turn_back(&self, to: NodeId, came: u16) -> bool {
        self.view.kind == topology::Kind::Ring && self.hop(to).is_some_and(|hop| hop != came)
    }

    fn hop(&self, to: NodeId) -> Option<u16> {
        let topology = match self.suspects.contains(&to) {
            true => &self.whole,
            false => &self.topology,
        };
        self.link(topology.next_hop(self.view.me, to)?)
    }

    fn other(&self, to: NodeId, stands: impl Fn(u16) -> bool) -> Option<u16> {
        let before = self
            .before
            .as_ref()
            .and_then(|before| self.link(before.next_hop(self.view.me, to)?));
        let mut ways = [self.hop(to), before, self.link(to)].into_iter().flatten();
        ways.find(|link| stands(*link)).or_else(|| self.detour(to, stands))
    }

    fn detour(&self, to: NodeId, stands: impl Fn(u16) -> bool) -> Option<u16> {
        let mut left = self.view.linked.clone();
        left.retain(|node| *node == to || !self.suspects.contains(node));
        for _ in 0..=DETOURS_MAX {
            let Some(hop) = Topology::new(self.view.kind, &left).next_hop(self.view.me, to) else {
                break;
            };
            if let Some(link) = self.link(hop).filter(|link| stands(*link)) {
                return Some(link);
            }
            if hop == to {
                break;
            }
            left.remove(&hop);
        }
        self.past_it(to, stands)
    }

    /// The neighbour whose link stands that is nearest to the target, which is not reached the way it should be.
    fn past_it(&self, to: NodeId, stands: impl Fn(u16) -> bool) -> Option<u16> {
        let may = matches!(self.view.kind, topology::Kind::Mesh | topology::Kind::Ring) && self.knows(to);
        if !may || self.suspects.contains(&to) {
            return None;
        }
        let near = self.topology.neighbours(self.view.me).into_iter();
        let near = near.filter(|node| *node != to && self.link(*node).is_some_and(&stands));
        let nearest = near.min_by_key(|node| self.topology.hops(*node, to).unwrap_or(u32::MAX))?;
        self.link(nearest)
    }
}

/// Along the topology, and for a suspect, or one that has just joined, a branch of its own: nobody else depends on it.
fn broadcast_tree(topology: &Topology, view: &View) -> Vec<Branch> {
    let mut tree = topology.broadcast_tree(view.me);
    let reached: BTreeSet<NodeId> = tree.iter().map(|branch| branch.node).collect();
    let others = view.members.difference(&reached).filter(|node| **node != view.me);
    tree.extend(others.map(|node| Branch { node: *node, nodes: 1 }));
    tree
}

/// How many nodes may pass an envelope on in a cluster of so many: more than any route of one epoch takes, and enough for
/// one that changes its epoch on the way.
fn hops_max(members: usize) -> u8 {
    (members + 2).min(HOPS_MAX) as u8
}

/// Whether voters have links of their own for this.
fn is_consensus(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::VoteRequest
            | Kind::VoteReply
            | Kind::AppendRequest
            | Kind::AppendReply
            | Kind::ReadIndexRequest
            | Kind::ReadIndexReply
            | Kind::LeadRequest
            | Kind::LeadReply
    )
}
