//! A topology without some of its links: those that cannot be made although both ends live. A function of the kind, the
//! members and the cut pairs, so every node that knows the same epoch leads around them alike.
//!
//! The links that are left stay. Where they no longer reach every member, those that are cut off are hung up anew: as long as
//! a member is not reached from the first one, the first such member, or the first of those that it still reaches, is linked
//! with the first member that is reached, if that pair is not cut. Routes are the shortest over what there is then, of two
//! equally short ones that over the smaller neighbour.

use std::collections::BTreeSet;

use super::Pair;
use crate::id::NodeId;

/// A hop that does not exist.
const NOWHERE: u16 = u16::MAX;

/// The links of all members, and the routes over them, by rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Around {
    near: Vec<BTreeSet<usize>>,
    /// By rank of the target: how far each member is from it.
    far: Vec<Vec<u16>>,
}

impl Around {
    /// The links `near` without those that are cut. None if none of them is cut.
    pub(super) fn new(members: &[NodeId], near: &dyn Fn(usize) -> Vec<usize>, cuts: &BTreeSet<Pair>) -> Option<Around> {
        let is_cut = |one: usize, other: usize| cuts.contains(&Pair::of(members[one], members[other]));
        let whole: Vec<Vec<usize>> = (0..members.len()).map(near).collect();
        let ranks = || 0..members.len();
        if !ranks().any(|me| whole[me].iter().any(|&other| is_cut(me, other))) {
            return None;
        }
        let left = |me: usize| -> BTreeSet<usize> {
            let near = whole[me].iter().copied();
            near.filter(|&other| !is_cut(me, other)).collect()
        };
        let mut near: Vec<BTreeSet<usize>> = ranks().map(left).collect();
        hang_up(&mut near, &is_cut);
        let far = ranks().map(|to| distances(&near, to)).collect();
        Some(Around { near, far })
    }

    pub(super) fn neighbours(&self, me: usize) -> Vec<usize> {
        self.near[me].iter().copied().collect()
    }

    /// The neighbour that is nearest to the target; none if nothing leads there.
    pub(super) fn next_hop(&self, me: usize, to: usize) -> Option<usize> {
        let far = &self.far[to];
        let nearer = |hop: &&usize| far[**hop] != NOWHERE && far[**hop] < far[me];
        self.near[me].iter().find(nearer).copied()
    }

    pub(super) fn hops(&self, from: usize, to: usize) -> Option<u32> {
        let hops = self.far[to][from];
        (hops != NOWHERE).then(|| hops.into())
    }
}

/// Links those that are not reached from the first member with some that are.
fn hang_up(near: &mut [BTreeSet<usize>], is_cut: &dyn Fn(usize, usize) -> bool) {
    loop {
        let from_first = distances(near, 0);
        let reached = |rank: usize| from_first[rank] != NOWHERE;
        let joint = (0..near.len()).filter(|rank| !reached(*rank)).find_map(|apart| {
            let to = (0..near.len()).find(|rank| reached(*rank) && !is_cut(apart, *rank))?;
            Some((apart, to))
        });
        // Nothing is left to try where every pair is cut.
        let Some((apart, to)) = joint else { return };
        near[apart].insert(to);
        near[to].insert(apart);
    }
}

/// How far each member is from one of them.
fn distances(near: &[BTreeSet<usize>], from: usize) -> Vec<u16> {
    let mut far = vec![NOWHERE; near.len()];
    let mut reached = vec![from];
    far[from] = 0;
    let mut at = 0;
    while at < reached.len() {
        let me = reached[at];
        at += 1;
        for &next in &near[me] {
            if far[next] == NOWHERE {
                far[next] = far[me] + 1;
                reached.push(next);
            }
        }
    }
    far
}
