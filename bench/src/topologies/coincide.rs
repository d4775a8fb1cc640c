//! Which kinds of topology are the same over so many nodes: the same links, but for the names of the nodes. Found by
//! comparing what the functions of the topologies say.

use std::collections::BTreeSet;

use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{Kind, Topology};

/// The pairs of these kinds that are the same over so many nodes, in their order. It takes long where many nodes have the same
/// number of links in different places: up to 16 nodes it takes milliseconds.
pub fn coinciding(kinds: &[Kind], nodes: usize) -> Vec<(String, String)> {
    let links: Vec<Links> = kinds.iter().map(|kind| Links::of(*kind, nodes)).collect();
    let pairs = (0..kinds.len()).flat_map(|one| (one + 1..kinds.len()).map(move |other| (one, other)));
    pairs
        .filter(|(one, other)| links[*one].is_same_as(&links[*other]))
        .map(|(one, other)| (kinds[one].to_string(), kinds[other].to_string()))
        .collect()
}

/// For each node the set of those that it is linked with.
struct Links(Vec<BTreeSet<usize>>);

impl Links {
    fn of(kind: Kind, nodes: usize) -> Links {
        let members: BTreeSet<NodeId> = (1..=nodes as u64).map(NodeId).collect();
        let topology = Topology::new(kind, &members);
        let near = |me: &NodeId| {
            let neighbours = topology.neighbours(*me).into_iter();
            neighbours.map(|other| other.0 as usize - 1).collect()
        };
        Links(members.iter().map(near).collect())
    }

    /// Whether there are names under which these are the links of the other.
    fn is_same_as(&self, other: &Links) -> bool {
        let degrees = |links: &Links| {
            let mut degrees: Vec<usize> = links.0.iter().map(BTreeSet::len).collect();
            degrees.sort_unstable();
            degrees
        };
        degrees(self) == degrees(other) && self.has_names_in(other, &mut Vec::new())
    }

    /// Whether those that have a name in the other, by place, can be joined by all the rest.
    fn has_names_in(&self, other: &Links, named: &mut Vec<usize>) -> bool {
        let me = named.len();
        if me == self.0.len() {
            return true;
        }
        for name in 0..other.0.len() {
            let fits = !named.contains(&name)
                && self.0[me].len() == other.0[name].len()
                && named
                    .iter()
                    .enumerate()
                    .all(|(earlier, its)| self.0[me].contains(&earlier) == other.0[name].contains(its));
            if fits {
                named.push(name);
                if self.has_names_in(other, named) {
                    return true;
                }
                named.pop();
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::coinciding;

    #[test]
    fn below_five_nodes_some_kinds_are_the_same_and_from_five_on_none_of_the_four() {
        let check = |nodes: usize, expected: &[(&str, &str)]| {
            let kinds = super::super::all_kinds();
            let found = coinciding(&kinds, nodes);
            let found: Vec<(&str, &str)> = found.iter().map(|(one, other)| (&**one, &**other)).collect();
            assert_eq!(found, expected, "{nodes} nodes");
        };
        check(3, &[("mesh", "ring"), ("star", "hierarchical:2")]);
        check(4, &[]);
        for nodes in 5..=16 {
            check(nodes, &[]);
        }
    }

    #[test]
    fn a_tree_whose_root_has_all_others_as_children_is_a_star() {
        let kinds = ["star", "hierarchical:6", "hierarchical:7"].map(|kind| kind.parse().unwrap());
        assert_eq!(coinciding(&kinds, 7).len(), 3);
        assert_eq!(
            coinciding(&kinds, 8),
            [("star".to_owned(), "hierarchical:7".to_owned())]
        );
    }
}
