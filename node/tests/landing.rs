//! Three processes agree, lose one of them, lose all of them, and know everything that was acknowledged.

use crate::colony::{Colony, NODES, Ran, until};

/// A node that is none of these.
fn other_than(nodes: &[&str]) -> &'static str {
    NODES.into_iter().find(|node| !nodes.contains(node)).unwrap()
}

#[test]
fn what_was_put_at_one_node_is_got_at_another_after_the_leader_was_killed() {
    let mut colony = Colony::start("landing");
    let leader = colony.leader_at("n1", None);
    let writer = other_than(&[&leader]);
    let reader = other_than(&[&leader, writer]);
    colony.at(writer, &["memory", "put", "plan/title", "Move"]).with_code(0);

    colony.kill(&leader);
    let got = colony.at(reader, &["memory", "get", "plan/title"]).with_code(0);
    assert_eq!(got.stdout, b"Move");
    let next = colony.leader_at(reader, Some(&leader));
    let status = colony.at(reader, &["status", "--json"]).with_code(0).json();
    assert_eq!((&status["queenright"], &status["leader"]), (&true.into(), &next.into()));
    colony.at(reader, &["memory", "put", "plan/title", "On"]).with_code(0);

    colony.start_node(&leader);
    let got = until("the node that was away answers", || {
        Some(colony.at(&leader, &["memory", "get", "plan/title"])).filter(|ran| ran.code == Some(0))
    });
    assert_eq!(got.stdout, b"On");
    colony.same_digest();
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_are_killed_at_once() {
    let mut colony = Colony::start("all-killed");
    let large = "x".repeat(100_000);
    for number in 0..12 {
        let (node, key) = (NODES[number % 3], format!("k{number}"));
        let value = format!("{number}{}", if number == 7 { &large } else { "" });
        colony.at(node, &["memory", "put", &key, &value]).with_code(0);
    }
    colony.at("n2", &["memory", "delete", "k3"]).with_code(0);
    let before = colony.same_digest();

    colony.kill_all();
    colony.start_all();
    for number in 0..12 {
        let got = colony.at(NODES[(number + 1) % 3], &["memory", "get", &format!("k{number}")]);
        let expected = format!("{number}{}", if number == 7 { &large } else { "" });
        match number {
            3 => assert!(got.with_code(1).stderr.contains("was deleted at revision 2")),
            _ => assert_eq!(got.with_code(0).stdout, expected.as_bytes()),
        }
    }
    assert_eq!(colony.same_digest(), before);
}

#[test]
fn a_command_without_node_finds_the_one_cluster_that_runs() {
    let colony = Colony::start("found");
    let status = Ran::of(colony.command().args(["status", "--json"])).with_code(0).json();
    assert_eq!(status["cluster"], "found");
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(3));
}
