//! A node that lost its disk comes back as a new one.

use std::fs;

use crate::colony::{Colony, NODES, until};

/// The number and the role of a node as another one sees them; nothing while it has several numbers or none.
fn number(colony: &Colony, of: &str, at: &str) -> Option<(u64, String)> {
    let status = colony.status(at)?;
    let mut nodes = status.nodes.iter().filter(|node| node.name == of);
    let node = nodes.next()?;
    nodes
        .next()
        .is_none()
        .then(|| (node.number, format!("{:?}", node.role)))
}

#[test]
fn a_node_with_an_empty_disk_comes_back_under_a_new_number_and_votes() {
    let mut colony = Colony::start("replaced");
    let data = colony.folder().join("data");
    let folder = data.to_str().unwrap().to_owned();
    let leader = colony.leader_at("n1", None);
    let lost = NODES.into_iter().find(|node| *node != leader).unwrap();
    let third = NODES.into_iter().find(|node| ![lost, &leader].contains(node)).unwrap();
    let (old, _) = number(&colony, lost, third).unwrap();
    colony.at(third, &["memory", "put", "k", "before"]).with_code(0);
    let replace = ["node", "replace", lost, "--data", &folder];

    let refused = colony.at(third, &replace).with_code(3);
    assert!(refused.stderr.contains("runs"), "{refused}");
    let refused = colony
        .at(third, &["node", "replace", "n9", "--data", &folder])
        .with_code(1);
    assert!(
        refused.stderr.contains("no node of this cluster is called \"n9\""),
        "{refused}"
    );

    colony.kill(lost);
    fs::remove_dir_all(data.join(lost)).unwrap();
    fs::create_dir(data.join(lost)).unwrap();
    // Nobody has said that it may be a new one.
    let refused = colony.try_start_node(lost).unwrap_err().to_string();
    assert!(
        refused.contains(&format!("run `queenright node replace {lost}`")),
        "{refused}"
    );

    let allowed = colony.at(third, &replace).with_code(0);
    assert!(
        String::from_utf8_lossy(&allowed.stdout).contains("may come back as a new node"),
        "{allowed}"
    );
    colony.start_node(lost);
    let (new, _) = until("it votes under its new number", || {
        number(&colony, lost, third).filter(|(new, role)| *new != old && role == "Follower")
    });
    assert_eq!(new, old + 64);
    let got = until("it answers", || {
        Some(colony.at(lost, &["memory", "get", "k"])).filter(|ran| ran.code == Some(0))
    });
    assert_eq!(got.stdout, b"before");
    colony.same_digest();

    // It counts: with one of the others away, the two are a majority.
    colony.kill(third);
    until("the two go on", || {
        let put = colony.at(lost, &["memory", "put", "k", "after"]);
        (put.code == Some(0)).then_some(())
    });
    colony.start_node(third);
    colony.leader_at(third, None);
    colony.same_digest();

    // Again, the other way: its log is damaged, and what is left is set aside.
    colony.kill(lost);
    colony.at(third, &replace).with_code(0);
    let aside = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
    let aside = aside.filter(|name| name.to_string_lossy().starts_with(&format!("{lost}.replaced-")));
    assert_eq!(aside.count(), 2, "what the refused start had made, and this");
    fs::create_dir(data.join(lost)).unwrap();
    colony.start_node(lost);
    until("it votes under its third number", || {
        number(&colony, lost, third).filter(|(new, role)| *new == old + 128 && role == "Follower")
    });
    // All of them know their members after a start.
    colony.same_digest();
    colony.kill_all();
    colony.start_all();
    assert_eq!(number(&colony, lost, lost).map(|(number, _)| number), Some(old + 128));
    colony.same_digest();
}
