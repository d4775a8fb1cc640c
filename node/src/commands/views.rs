//! How the nodes see each other, as `queenright status` shows it.

use queenright_actors::node::{ClusterStatus, OpinionStatus, View};

use super::table::{Table, or_dash};

/// A table of how each node is seen by the others, and of its datagrams; nothing when no node says anything.
pub(super) fn views(status: &ClusterStatus) -> Option<String> {
    let answer = |number: u64| seen(status, number);
    if status.nodes.iter().all(|node| answer(node.number).is_none()) {
        return None;
    }
    let mut table = Table::new(["NODE", "SENT", "RECEIVED", "REFUSED", "SEEN BY THE OTHERS"]);
    for node in &status.nodes {
        let counts = node.datagrams;
        table.row([
            node.name.clone(),
            or_dash(counts.map(|counts| counts.sent)),
            or_dash(counts.map(|counts| counts.received)),
            or_dash(counts.map(|counts| counts.refused())),
            or_dash(answer(node.number)),
        ]);
    }
    Some(table.to_string())
}

/// How a node is seen: in a word if all agree that it is alive, else by whom and for how long.
fn seen(status: &ClusterStatus, number: u64) -> Option<String> {
    let mut groups: Vec<(String, u64, Vec<&str>)> = Vec::new();
    for node in &status.nodes {
        let opinions = node.opinions.iter().flatten();
        for opinion in opinions.filter(|opinion| opinion.number == number) {
            let word = word(opinion);
            match groups.iter_mut().find(|(known, ..)| *known == word) {
                Some((_, for_ms, names)) => {
                    *for_ms = (*for_ms).max(opinion.for_ms);
                    names.push(&node.name);
                }
                None => groups.push((word, opinion.for_ms, vec![&node.name])),
            }
        }
    }
    let alive = View::Alive.to_string();
    if let [(word, ..)] = &groups[..]
        && *word == alive
    {
        return Some(alive);
    }
    let shown = groups.iter().map(|(word, for_ms, names)| {
        let names = names.join(", ");
        match *word == alive {
            true => format!("{word} ({names})"),
            false => format!("{word} for {} s ({names})", for_ms / 1_000),
        }
    });
    let shown: Vec<String> = shown.collect();
    (!shown.is_empty()).then(|| shown.join("; "))
}

fn word(opinion: &OpinionStatus) -> String {
    match opinion.udp_blocked {
        true => format!("{} by its link alone, udp blocked?", opinion.view),
        false => opinion.view.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use queenright_actors::node::{DatagramCounts, NodeStatus, Role};

    use super::*;

    fn opinion(number: u64, view: View, for_ms: u64, udp_blocked: bool) -> OpinionStatus {
        OpinionStatus {
            node: format!("n{number}"),
            number,
            view,
            for_ms,
            udp_blocked,
        }
    }

    fn node(number: u64, opinions: Option<Vec<OpinionStatus>>) -> NodeStatus {
        let datagrams = DatagramCounts {
            sent: 10 * number,
            received: number,
            forged: 2,
            ..DatagramCounts::default()
        };
        NodeStatus {
            role: Role::Follower,
            datagrams: opinions.is_some().then_some(datagrams),
            opinions,
            ..NodeStatus::unreachable(format!("n{number}"), number, String::new())
        }
    }

    fn cluster(nodes: Vec<NodeStatus>) -> ClusterStatus {
        ClusterStatus {
            cluster: "mesh-3".to_owned(),
            cluster_id: None,
            node: "n1".to_owned(),
            queenright: true,
            leader: None,
            term: 1,
            topology: "mesh".to_owned(),
            epoch: 1,
            rules_version: 1,
            cuts: Vec::new(),
            nodes,
        }
    }

    #[test]
    fn each_node_is_shown_as_the_others_see_it() {
        let by_n1 = vec![
            opinion(2, View::Down, 12_900, false),
            opinion(3, View::Alive, 9_000, true),
        ];
        let by_n3 = vec![
            opinion(1, View::Alive, 500, false),
            opinion(2, View::Down, 11_000, false),
        ];
        let status = cluster(vec![node(1, Some(by_n1)), node(2, None), node(3, Some(by_n3))]);
        let expected = "\
NODE  SENT  RECEIVED  REFUSED  SEEN BY THE OTHERS
n1    10    1         2        alive
n2    -     -         -        down for 12 s (n1, n3)
n3    30    3         2        alive by its link alone, udp blocked? for 9 s (n1)";
        assert_eq!(views(&status).as_deref(), Some(expected));
    }

    #[test]
    fn those_who_disagree_are_named_and_silence_shows_nothing() {
        let by_n1 = vec![opinion(3, View::Suspect, 1_000, false)];
        let by_n2 = vec![opinion(3, View::Alive, 70_000, false)];
        let status = cluster(vec![node(1, Some(by_n1)), node(2, Some(by_n2)), node(3, None)]);
        let shown = views(&status).unwrap();
        assert!(shown.ends_with("suspect for 1 s (n1); alive (n2)"), "{shown}");
        assert_eq!(views(&cluster(vec![node(1, None), node(2, None)])), None);
    }
}
