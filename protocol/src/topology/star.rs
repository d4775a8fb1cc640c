//! Each member is linked with the hub only.
//!
//! The hub is the smallest member: a choice that every node makes alike without a message, and that joins do not move,
//! since numbers of nodes only grow. An epoch that names another hub (the leader prefers to be it) needs no other
//! code than an order of ranks in which that node comes first.

const HUB: usize = 0;

pub(super) fn neighbours(n: usize, me: usize) -> Vec<usize> {
    if me == HUB { (1..n).collect() } else { vec![HUB] }
}

pub(super) fn next_hop(me: usize, to: usize) -> usize {
    if me == HUB { to } else { HUB }
}

pub(super) fn hops(from: usize, to: usize) -> u32 {
    if from == HUB || to == HUB { 1 } else { 2 }
}
