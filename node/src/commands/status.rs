//! `queenright status`: whether the cluster has a leader, and how its nodes are.

use queenright_actors::memory::MemoryLevel;
use queenright_actors::node::{ClusterStatus, NodeStatus, RecoveredBy, Recovery, Role, Standing};

use super::door::{client, of_read};
use super::table::{Table, or_dash};
use super::views::views;
use super::{CliError, Context};
use crate::cli::StatusArgs;
use crate::exit::Exit;

/// How many digits of a digest are shown to people: enough to tell two states apart.
const DIGEST_DIGITS: usize = 16;

/// Shows the cluster as one node sees it; exit code 7 when it has no leader that a quorum follows.
///
/// # Errors
/// [`CliError`] when the node does not answer.
pub async fn run(args: StatusArgs, context: &Context) -> Result<Exit, CliError> {
    let status = client(&args.client)?.status().await.map_err(of_read)?;
    context.answer(&status, text(&status))?;
    Ok(if status.queenright { Exit::Ok } else { Exit::Unavailable })
}

fn text(status: &ClusterStatus) -> String {
    let leader = match &status.leader {
        _ if !status.queenright => "no".to_owned(),
        Some(leader) => format!("yes, leader {leader}"),
        None => "yes".to_owned(),
    };
    let id = status.cluster_id.as_deref().unwrap_or("not minted yet");
    let mut table = Table::new(["NODE", "ROLE", "APPLIED", "SEQ", "DIGEST", "AGENTS", "DOOR"]);
    for node in &status.nodes {
        table.row(row(node));
    }
    let mut text = format!(
        "queenright: {leader}, term {}, cluster {} (id {id}), {} of epoch {}\n\n{table}",
        status.term, status.cluster, status.topology, status.epoch
    );
    if let Some(views) = views(status) {
        text.push_str("\n\n");
        text.push_str(&views);
    }
    for (node, disk) in status.nodes.iter().filter_map(|node| Some((node, node.disk?))) {
        if disk.low {
            let (name, free, watermark) = (&node.name, disk.free_bytes, disk.watermark_bytes);
            text.push_str(&format!(
                "\n{name}: {free} B left on its disk, the watermark is {watermark} B"
            ));
        }
    }
    for (node, memory) in status
        .nodes
        .iter()
        .filter_map(|node| Some((node, node.health.as_ref()?.memory?)))
    {
        let (name, used, limit) = (&node.name, memory.used_bytes, memory.limit_bytes);
        match memory.level {
            MemoryLevel::Fine => {}
            MemoryLevel::High => text.push_str(&format!("\n{name}: uses {used} B of {limit} B of memory")),
            MemoryLevel::Full => text.push_str(&format!(
                "\n{name}: uses {used} B of {limit} B of memory, refuses new work; {} refused so far",
                memory.refused
            )),
        }
    }
    for (node, counts) in status.nodes.iter().filter_map(|node| Some((node, node.subscribers?))) {
        if counts.slow + counts.expired > 0 {
            let (name, slow, expired) = (&node.name, counts.slow, counts.expired);
            text.push_str(&format!(
                "\n{name}: subscribers dropped: {slow} did not read, {expired} fell behind what is kept"
            ));
        }
    }
    text.extend(builds(status));
    for node in &status.nodes {
        let name = &node.name;
        match node.standing {
            None => {}
            Some(Standing::Drained) => text.push_str(&format!("\n{name}: drained, takes no new work")),
            Some(Standing::Leaving) => text.push_str(&format!("\n{name}: on its way out")),
        }
    }
    for line in status.nodes.iter().filter_map(refused) {
        text.push('\n');
        text.push_str(&line);
    }
    let came_back = status.nodes.iter().filter_map(came_back);
    for (place, line) in came_back.enumerate() {
        text.push_str(if place == 0 { "\n\n" } else { "\n" });
        text.push_str(&line);
    }
    text
}

/// Which builds the nodes have and which rules they follow, as a line of its own, while they have different ones.
fn builds(status: &ClusterStatus) -> Option<String> {
    let builds = status
        .nodes
        .iter()
        .filter_map(|node| Some((&node.name, node.build.as_ref()?)));
    let builds: Vec<(&String, &String)> = builds.collect();
    let (_, first) = builds.first()?;
    if builds.iter().all(|(_, build)| build == first) {
        return None;
    }
    let named: Vec<String> = builds.iter().map(|(name, build)| format!("{name} {build}")).collect();
    let rules = status.rules_version;
    Some(format!(
        "\nbuilds: {}; version {rules} of the rules is in force",
        named.join(", ")
    ))
}

/// Which connections a node refused; `None` if there were none.
fn refused(node: &NodeStatus) -> Option<String> {
    let refused = node.refused.filter(|refused| refused.total() > 0)?;
    let counts = refused.named().into_iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(why, count)| format!("{why} {count}")).collect();
    Some(format!(
        "{}: connections of links refused: {}",
        node.name,
        counts.join(", ")
    ))
}

/// By which way a node came back; `None` for one that was never away.
fn came_back(node: &NodeStatus) -> Option<String> {
    let recovery = node.recovery.as_ref()?;
    let Recovery { index, bytes, .. } = recovery;
    let way = match recovery.by {
        RecoveredBy::Log if *index == 0 && recovery.set_aside.is_empty() => return None,
        RecoveredBy::Log => format!("its log behind entry {index}, {bytes} B"),
        RecoveredBy::Snapshot => format!("its snapshot at entry {index}, {bytes} B, and the log behind it"),
        RecoveredBy::Peer => format!("another node's snapshot at entry {index}, {bytes} B, and the log behind it"),
    };
    let mut line = format!("{} came back by {way}", node.name);
    if !recovery.set_aside.is_empty() {
        line += &format!("; set aside as damaged: {}", recovery.set_aside.join(", "));
    }
    Some(line)
}

fn row(node: &NodeStatus) -> [String; 7] {
    let digest = node.digest.as_deref();
    [
        node.name.clone(),
        role(node.role).to_owned(),
        or_dash(node.applied),
        or_dash(node.seq),
        or_dash(digest.map(|digest| digest.get(..DIGEST_DIGITS).unwrap_or(digest))),
        or_dash(node.agents),
        node.http.clone(),
    ]
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Unreachable => "unreachable",
    }
}

#[cfg(test)]
mod tests {
    use queenright_actors::disk::DiskStatus;
    use queenright_actors::node::SubscriberCounts;

    use super::*;

    fn node(number: u64, role: Role, seq: Option<u64>) -> NodeStatus {
        NodeStatus {
            role,
            applied: seq.map(|seq| seq + 5),
            seq,
            digest: seq.map(|_| "0123456789abcdef0123456789abcdef".to_owned()),
            agents: seq.map(|_| 8),
            ..NodeStatus::unreachable(format!("n{number}"), number, format!("127.0.0.1:720{number}"))
        }
    }

    #[test]
    fn whoever_was_away_is_named_with_the_way_back() {
        let recovered = |by, index, set_aside: &[&str]| {
            let recovery = Recovery {
                by,
                index,
                bytes: 77,
                set_aside: set_aside.iter().map(|place| (*place).to_owned()).collect(),
            };
            came_back(&NodeStatus {
                recovery: Some(recovery),
                ..node(2, Role::Follower, Some(7))
            })
        };
        let log = "n2 came back by its log behind entry 5, 77 B";
        assert_eq!(recovered(RecoveredBy::Log, 5, &[]).as_deref(), Some(log));
        assert_eq!(recovered(RecoveredBy::Log, 0, &[]), None);
        let peer =
            "n2 came back by another node's snapshot at entry 0, 77 B, and the log behind it; set aside as damaged: /d";
        assert_eq!(recovered(RecoveredBy::Peer, 0, &["/d"]).as_deref(), Some(peer));
        assert_eq!(came_back(&node(1, Role::Unreachable, None)), None);
    }

    #[test]
    fn one_line_and_a_table() {
        let status = ClusterStatus {
            cluster: "mesh-3".to_owned(),
            cluster_id: Some("00ff".to_owned()),
            node: "n1".to_owned(),
            queenright: true,
            leader: Some("n1".to_owned()),
            term: 3,
            topology: "ring".to_owned(),
            epoch: 4,
            rules_version: 1,
            cuts: Vec::new(),
            nodes: vec![node(1, Role::Leader, Some(7)), node(2, Role::Unreachable, None)],
        };
        let expected = "\
queenright: yes, leader n1, term 3, cluster mesh-3 (id 00ff), ring of epoch 4

NODE  ROLE         APPLIED  SEQ  DIGEST            AGENTS  DOOR
n1    leader       12       7    0123456789abcdef  8       127.0.0.1:7201
n2    unreachable  -        -    -                 -       127.0.0.1:7202";
        assert_eq!(text(&status), expected);
        let mut low = status.clone();
        low.nodes[1].disk = Some(DiskStatus {
            free_bytes: 7,
            watermark_bytes: 100,
            ballast_bytes: 0,
            low: true,
        });
        let line = "\nn2: 7 B left on its disk, the watermark is 100 B";
        assert_eq!(text(&low), format!("{expected}{line}"));
        let mut slow = status.clone();
        slow.nodes[0].subscribers = Some(SubscriberCounts {
            open: 1,
            opened: 4,
            slow: 2,
            expired: 1,
        });
        let line = "\nn1: subscribers dropped: 2 did not read, 1 fell behind what is kept";
        assert_eq!(text(&slow), format!("{expected}{line}"));
        let mut mixed = status.clone();
        mixed.nodes[0].build = Some("0.1.0".to_owned());
        assert_eq!(text(&mixed), expected);
        mixed.nodes[1].build = Some("0.2.0".to_owned());
        let line = "\nbuilds: n1 0.1.0, n2 0.2.0; version 1 of the rules is in force";
        assert_eq!(text(&mixed), format!("{expected}{line}"));
        let mut going = status.clone();
        going.nodes[0].standing = Some(Standing::Drained);
        going.nodes[1].standing = Some(Standing::Leaving);
        let lines = "\nn1: drained, takes no new work\nn2: on its way out";
        assert_eq!(text(&going), format!("{expected}{lines}"));
        let alone = ClusterStatus {
            queenright: false,
            cluster_id: None,
            nodes: Vec::new(),
            ..status
        };
        let line = "queenright: no, term 3, cluster mesh-3 (id not minted yet)";
        assert!(text(&alone).starts_with(line), "{}", text(&alone));
    }
}
