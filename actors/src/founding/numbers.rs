//! The links to nodes, by their numbers.

use std::collections::{BTreeMap, BTreeSet};

use queenright_protocol::colony::place_of;
use queenright_protocol::id::NodeId;

/// The link to each of these nodes but this one: links are numbered by place. An earlier number of this node's own place
/// is nobody's.
pub(crate) fn links_of(numbers: &BTreeSet<NodeId>, me: NodeId) -> BTreeMap<NodeId, u16> {
    let others = numbers.iter().filter(|number| place_of(**number) != place_of(me));
    others.map(|number| (*number, place_of(*number) as u16)).collect()
}
