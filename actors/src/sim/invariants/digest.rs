//! Two nodes that have applied the same entries have the same state, whenever they did and after whatever restarts: Raft's
//! State Machine Safety, seen through the colony's digest.

use std::collections::BTreeMap;

use queenright_protocol::colony::Digest;

use crate::sim::node::SimNode;

/// The digest after each index, and where it was seen first.
#[derive(Default)]
pub(super) struct Digests {
    by_index: BTreeMap<u64, (Digest, usize)>,
    /// How far each node was looked at.
    seen: BTreeMap<usize, u64>,
}

impl Digests {
    pub(super) fn look(&mut self, place: usize, node: &SimNode) -> Vec<String> {
        let applied = node.applied();
        if applied == self.seen.get(&place).copied() || applied == Some(0) {
            return Vec::new();
        }
        let Some((index, digest)) = node.digest() else {
            return Vec::new();
        };
        let before = self.seen.insert(place, index);
        let mut problems = Vec::new();
        if before.is_some_and(|before| before > index) {
            problems.push(format!("n{} went back from {before:?} to {index}", place + 1));
        }
        let (first, other) = *self.by_index.entry(index).or_insert((digest, place));
        if first != digest {
            problems.push(format!(
                "after entry {index} n{} has {first}, n{} has {digest}",
                other + 1,
                place + 1
            ));
        }
        problems
    }

    pub(super) fn crashed(&mut self, place: usize) {
        self.seen.remove(&place);
    }
}
