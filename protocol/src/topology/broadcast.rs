//! A broadcast as its root sees it: the whole tree, written down so that those on the way need no view of their own.

use super::Topology;
use crate::id::NodeId;

/// One node of a broadcast's tree. The tree is a list in which each node stands before those that it hands on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The node.
    pub node: NodeId,
    /// How many nodes the branch has: this one, and all that are reached through it.
    pub nodes: u32,
}

/// The branches of a list, each with what lies behind its first node. Whatever the list says, each of its nodes stands in
/// exactly one place of what this gives, and of what it gives for that.
pub fn branches(mut tree: &[Branch]) -> impl Iterator<Item = (NodeId, &[Branch])> {
    std::iter::from_fn(move || {
        let (first, rest) = tree.split_first()?;
        let behind = (first.nodes as usize).saturating_sub(1).min(rest.len());
        let (behind, others) = rest.split_at(behind);
        tree = others;
        Some((first.node, behind))
    })
}

impl Topology {
    /// The tree of a broadcast that starts at `root`, without the root itself; empty if it is no member. It has every other
    /// member once, behind the same nodes as [`Topology::broadcast_children`] says.
    pub fn broadcast_tree(&self, root: NodeId) -> Vec<Branch> {
        let mut tree = Vec::with_capacity(self.members().len());
        self.add_branches(root, root, &mut tree);
        tree
    }

    fn add_branches(&self, root: NodeId, me: NodeId, tree: &mut Vec<Branch>) {
        for node in self.broadcast_children(root, me) {
            let place = tree.len();
            tree.push(Branch { node, nodes: 1 });
            self.add_branches(root, node, tree);
            tree[place].nodes = (tree.len() - place) as u32;
        }
    }
}
