//! Nodes that join a running cluster, and that leave it for good.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use queenright::certificates::{Validity, init};
use queenright::config::NodeConfig;
use queenright_actors::node::Role;
use queenright_bench::client::wire::{ClaimTasks, Code};
use queenright_bench::client::{Client, PutOptions};
use rustix::process::Signal;

use crate::colony::{Colony, NODES, refused, until};
use crate::joined::{Joined, Load, agreed, patient, work};

#[test]
fn two_nodes_join_a_running_cluster_and_are_members_also_after_a_restart() {
    let mut colony = Colony::start("joined");
    let load = Load::start(&colony, NODES.iter().map(|node| patient(&colony, node)).collect());
    load.goes_on();
    let (mut fourth, mut fifth) = (Joined::new(&colony, "n4"), Joined::new(&colony, "n5"));
    fourth.start(&colony, "n2");
    let (_, member) = fourth.step("member");
    assert_eq!(
        (&member["node"], &member["number"]),
        (&"n4".into(), &4.into()),
        "{member}"
    );
    fourth.step("caught_up");
    let (_, settled) = fourth.step("settled");
    assert_eq!(settled["role"], "learner", "{settled}");
    fifth.start(&colony, "n3");
    let (_, member) = fifth.step("member");
    assert_eq!(member["number"], 5, "{member}");
    load.goes_on();
    // With five members five vote.
    until("both vote", || {
        let settled = |node: &Joined| {
            node.said
                .lock()
                .unwrap()
                .iter()
                .any(|(_, line)| line["role"] == "voter")
        };
        (settled(&fourth) && settled(&fifth)).then_some(())
    });
    load.goes_on();
    load.end(&colony);
    let mut doors: Vec<Client> = NODES.iter().map(|node| patient(&colony, node)).collect();
    doors.extend([fourth.client(), fifth.client()]);
    let all = ["n1", "n2", "n3", "n4", "n5"];
    let before = agreed(&colony, &doors, 5, &all);
    // Work is done through a node that joined as through any other.
    colony.block_on(work(&fourth.client(), "through n4")).unwrap();

    // It is found again by those that were away meanwhile, and finds them.
    fourth.signal(Signal::TERM);
    colony.kill("n1");
    colony.start_node("n1");
    fourth.start(&colony, "n1");
    let (_, member) = fourth.step("member");
    assert_eq!(member["number"], 4, "{member}");
    let after = agreed(&colony, &doors, 5, &all);
    assert_eq!(after.cluster_id, before.cluster_id);
    // Its name is taken.
    let mut other = Joined::new(&colony, "n2");
    other.config.nodes[0].name = "n2".to_owned();
    let data = colony.folder().join("elsewhere");
    fs::create_dir(&data).unwrap();
    fs::copy(colony.folder().join("data/cookie"), data.join("cookie")).unwrap();
    let line = join_refused(&colony, &other, &data, 3);
    assert!(line.contains("node n2 is a member (#2): choose another name"), "{line}");
}

/// Runs `queenright join` with its data in `data`, which must end with this code. Returns the last line that it said.
fn join_refused(colony: &Colony, joined: &Joined, data: &Path, code: i32) -> String {
    let door = colony.config().nodes[1].http.to_string();
    join_refused_at(&door, colony, joined, data, code)
}

fn join_refused_at(door: &str, colony: &Colony, joined: &Joined, data: &Path, code: i32) -> String {
    let mut command = colony.command();
    command
        .args(["join", door, "--config"])
        .arg(&joined.config.file)
        .arg("--data")
        .arg(data);
    refused(&mut command, code)
}

#[test]
fn who_does_not_know_the_cookie_or_calls_the_cluster_otherwise_is_refused_and_counted() {
    let colony = Colony::start("stranger");
    let joined = Joined::new(&colony, "n4");
    let data = colony.folder().join("elsewhere");
    fs::create_dir(&data).unwrap();
    let line = join_refused(&colony, &joined, &data, 6);
    assert!(
        line.contains("copy that of a member to") && line.contains("cookie"),
        "{line}"
    );
    fs::write(data.join("cookie"), "ab".repeat(32)).unwrap();
    let line = join_refused(&colony, &joined, &data, 6);
    assert!(line.contains("does not know the cookie of this cluster"), "{line}");
    let status = colony.status("n2").unwrap();
    let asked = status.nodes.iter().find(|node| node.name == "n2").unwrap();
    assert_eq!(
        asked.refused.as_ref().map(|refused| refused.handshake),
        Some(1),
        "{asked:?}"
    );
    fs::copy(colony.folder().join("data/cookie"), data.join("cookie")).unwrap();
    let links = colony.config().nodes[1].links.to_string();
    let line = join_refused_at(&links, &colony, &joined, &data, 1);
    assert!(
        line.contains("under `http`") && line.contains("not that under `links`"),
        "{line}"
    );
    let mut renamed = Joined::new(&colony, "n4");
    renamed.config.name = "otherwise".to_owned();
    renamed.config = renamed.config.clone().write_to(&renamed.folder).unwrap();
    let line = join_refused(&colony, &renamed, &data, 3);
    assert!(
        line.contains("cluster.name \"otherwise\" is not that of this cluster, \"stranger\""),
        "{line}"
    );
    assert_eq!(colony.status("n1").unwrap().nodes.len(), 3);
}

#[test]
fn a_node_joins_a_cluster_in_tls_by_its_certificate_and_one_of_another_authority_does_not() {
    let colony = Colony::start_prepared("join-tls", |config, data| {
        config.tls = Some(data.with_file_name("certificates"));
        let mut all = config.clone();
        let fourth = NodeConfig {
            name: "n4".to_owned(),
            ..config.nodes[0].clone()
        };
        all.nodes.push(fourth);
        init(&all, config.tls.as_deref().unwrap(), Validity::days(30)).unwrap();
    });
    let mut stranger = Joined::new(&colony, "n4");
    let folder = colony.folder().join("others-certificates");
    init(&stranger.config, &folder, Validity::days(30)).unwrap();
    stranger.config.tls = Some(folder);
    stranger.config = stranger.config.clone().write_to(&stranger.folder).unwrap();
    let line = join_refused(&colony, &stranger, &colony.folder().join("elsewhere"), 1);
    assert!(line.contains("did not prove to be a node of this cluster"), "{line}");
    assert_eq!(colony.status("n1").unwrap().nodes.len(), 3);

    let mut fourth = Joined::new(&colony, "n4");
    fourth.start(&colony, "n3");
    fourth.step("settled");
    until("n4 is a member that answers", || {
        let status = colony.status("n1")?;
        let found = status.nodes.iter().find(|node| node.name == "n4")?;
        (found.role != Role::Unreachable).then_some(())
    });
}

#[test]
fn the_leader_leaves_under_load_and_its_folder_does_not_start_again() {
    let mut colony = Colony::start("left");
    let leader = colony.leader_at("n1", None);
    let others: Vec<&str> = NODES.into_iter().filter(|node| *node != leader).collect();
    let doors: Vec<Client> = others.iter().map(|node| patient(&colony, node)).collect();
    let load = Load::start(&colony, doors.clone());
    load.goes_on();
    let left = colony
        .at(&leader, &["leave", "--wait", "2", "--json"])
        .with_code(0)
        .json();
    assert_eq!((&left["node"], &left["left"]), (&leader.as_str().into(), &true.into()));
    let ended = colony.ended();
    assert_eq!((ended.name.as_str(), ended.status.code()), (leader.as_str(), Some(0)));
    load.goes_on();
    load.end(&colony);
    agreed(&colony, &doors, 2, &others);
    let again = colony.try_start_node(&leader).unwrap_err().to_string();
    assert!(
        again.contains("is no member of its cluster any more: it has left"),
        "{again}"
    );
    // The last two: one may go, the last one may not.
    let last = others[1];
    colony.at(others[0], &["leave", "--wait", "0"]).with_code(0);
    assert_eq!(colony.ended().name, others[0]);
    agreed(&colony, &doors[1..], 1, &[last]);
    let refused = colony.at(last, &["leave", "--wait", "0"]).with_code(3);
    assert!(refused.stderr.contains("is the only one that stays"), "{refused}");
    colony.block_on(work(&doors[1], "alone")).unwrap();
}

#[test]
fn a_dead_node_is_removed_and_is_told_so_when_it_comes_back() {
    let mut colony = Colony::start("removed");
    let mut fourth = Joined::new(&colony, "n4");
    fourth.start(&colony, "n1");
    fourth.step("settled");
    let leader = colony.leader_at("n1", None);
    let dead = NODES.into_iter().find(|node| *node != leader).unwrap();
    let left: Vec<&str> = NODES.into_iter().filter(|node| *node != dead).collect();
    let refused = colony.at(&leader, &["node", "remove", dead]).with_code(3);
    assert!(refused.stderr.contains("runs and answers"), "{refused}");
    let refused = colony.at(&leader, &["node", "remove", "n9"]).with_code(1);
    assert!(
        refused.stderr.contains("no node of this cluster is called \"n9\""),
        "{refused}"
    );
    colony.kill(dead);
    let removed = colony
        .at(&leader, &["node", "remove", dead, "--json"])
        .with_code(0)
        .json();
    assert_eq!(removed["removed"], true, "{removed}");
    // The learner takes its vote.
    let mut doors: Vec<Client> = left.iter().map(|node| patient(&colony, node)).collect();
    doors.push(fourth.client());
    let voting = [left[0], left[1], "n4"];
    agreed(&colony, &doors, 3, &voting);
    // One voter more is away: the other two are a majority, but one of two would be none.
    let away = left.iter().find(|node| **node != leader).unwrap();
    colony.kill(away);
    until("a leader of the two", || {
        colony.status(&leader).filter(|status| status.queenright)
    });
    until("n4 is not let go", || {
        let refused = fourth.run(&colony, &["leave", "--wait", "0"]);
        (refused.code == Some(3))
            .then_some(refused)
            .filter(|refused| refused.stderr.contains("no majority"))
    });
    colony.start_node(away);
    agreed(&colony, &doors, 3, &voting);

    colony.may_fail();
    if colony.try_start_node(dead).is_ok() {
        let ended = colony.ended();
        assert_eq!(ended.name, dead);
        let log = ended.log_tail.join("\n");
        assert!(log.contains("is no member any more: it was number"), "{log}");
    }
    let again = colony.try_start_node(dead).unwrap_err().to_string();
    assert!(
        again.contains("is no member of its cluster any more: it was number"),
        "{again}"
    );
}

#[test]
fn a_drained_node_hands_over_and_takes_no_new_work_until_it_does_again() {
    let colony = Colony::start("drained");
    let leader = colony.leader_at("n1", None);
    let other = NODES.into_iter().find(|node| *node != leader).unwrap();
    // A claim waits there far longer than this takes.
    let (begun, wait) = (Instant::now(), Duration::from_secs(60));
    let waits = patient(&colony, &leader);
    let waits = colony.spawn(async move {
        let claim = ClaimTasks {
            wait_ms: Some(wait.as_millis() as u64),
            ..ClaimTasks::default()
        };
        waits.claim_tasks(&claim, None).await
    });
    until("a claim waits", || {
        let queues = colony.at(other, &["queue", "list", "--json"]).with_code(0).json();
        (queues["queues"][0]["waiting"] == 1).then_some(())
    });
    let drained = colony
        .at(other, &["node", "drain", &leader, "--json"])
        .with_code(0)
        .json();
    assert_eq!(
        (&drained["node"], &drained["drained"]),
        (&leader.as_str().into(), &true.into())
    );
    let answered = colony.block_on(waits).unwrap().unwrap();
    assert!(
        answered.tasks.is_empty() && begun.elapsed() < wait,
        "it is told at once"
    );
    colony.leader_at(other, Some(&leader));
    let client = patient(&colony, &leader);
    let refused = until("it knows the epoch", || colony.block_on(work(&client, "here")).err());
    assert_eq!(refused.code(), Some(Code::Unavailable), "{refused}");
    assert!(refused.to_string().contains("is drained"), "{refused}");
    // It answers, and what is no work is done.
    let options = PutOptions::default();
    colony.block_on(client.put("k", "v".into(), &options)).unwrap();
    colony.block_on(work(&patient(&colony, other), "there")).unwrap();
    colony.at(other, &["node", "drain", &leader, "--off"]).with_code(0);
    until("it takes work again", || {
        colony.block_on(work(&client, "here again")).ok()
    });
}
