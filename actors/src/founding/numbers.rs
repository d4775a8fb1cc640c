//! The numbers of nodes: which belong to a place of the configuration, and which comes next.

use std::collections::{BTreeMap, BTreeSet};

use queenright_protocol::id::NodeId;

/// The places that numbers have: as many as a configuration may list.
const PLACES: u64 = 64;

/// The place of a node in the configuration.
pub(crate) fn place_of(number: NodeId) -> usize {
    (number.0.saturating_sub(1) % PLACES) as usize
}

/// How far the numbers of a place jump when a cluster is recovered: over all that the lost majority can have given out. A
/// node is replaced by hand, a thousand times hardly.
const NUMBERS_JUMP: u64 = 1_000 * PLACES;

/// The first number that a place may have after so many recoveries.
pub(crate) fn first_number(place: usize, recoveries: usize) -> NodeId {
    NodeId(number_of(place).0 + recoveries as u64 * NUMBERS_JUMP)
}

/// The first number of a place that is above all that were ever used.
pub(crate) fn next_number(place: usize, recoveries: usize, used: impl IntoIterator<Item = NodeId>) -> NodeId {
    let last = used.into_iter().filter(|number| place_of(*number) == place).max();
    let next = last.map_or(NodeId::NONE, |last| NodeId(last.0 + PLACES));
    next.max(first_number(place, recoveries))
}

pub(super) fn number_of(place: usize) -> NodeId {
    NodeId(place as u64 + 1)
}

/// The link to each of these nodes but this one: links are numbered by place in the configuration. An earlier number of
/// this node's own place is nobody's.
pub(crate) fn links_of(numbers: &BTreeSet<NodeId>, me: NodeId) -> BTreeMap<NodeId, u16> {
    let others = numbers.iter().filter(|number| place_of(**number) != place_of(me));
    others.map(|number| (*number, place_of(*number) as u16)).collect()
}
