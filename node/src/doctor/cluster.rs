//! The cluster, as its doors tell.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use queenright_actors::node::{ClusterStatus, NodeStatus, Role, Standing, View};
use queenright_bench::client::{Client, ClientError};

use super::{Finding, Level};

/// Clocks that are further apart are told of: times that people set, such as the end of a token, are that far off.
const CLOCKS_WARNING: Duration = Duration::from_secs(2);
/// Certificates and tokens begin to be refused.
const CLOCKS_PROBLEM: Duration = Duration::from_secs(60);

/// The doors of the nodes, by name.
pub struct Doors(pub Vec<(String, Client)>);

/// What one door has said.
struct Answer {
    node: String,
    status: Result<ClusterStatus, ClientError>,
    /// How far its clock is ahead of that of this host, and how exactly that is known.
    clock: Option<(i64, u64)>,
}

impl Doors {
    /// Asks all of them.
    pub async fn look(&self) -> Vec<Finding> {
        let asked = self.0.iter().map(|(node, client)| async move {
            Answer {
                node: node.clone(),
                status: client.status().await,
                clock: clock(client).await,
            }
        });
        let answers = futures::future::join_all(asked).await;
        findings(&answers)
    }
}

async fn clock(client: &Client) -> Option<(i64, u64)> {
    let before = wall_ms();
    let theirs = client.health().await.ok()?.wall_ms?;
    let after = wall_ms();
    let (middle, unsure) = (before.midpoint(after), after.saturating_sub(before) / 2);
    Some((theirs as i64 - middle as i64, unsure))
}

fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as u64
}

fn findings(answers: &[Answer]) -> Vec<Finding> {
    if answers.is_empty() {
        return Vec::new();
    }
    let heard: Vec<(&str, &ClusterStatus)> = answers
        .iter()
        .filter_map(|answer| Some((answer.node.as_str(), answer.status.as_ref().ok()?)))
        .collect();
    if heard.is_empty()
        && answers
            .iter()
            .all(|answer| matches!(answer.status, Err(ClientError::Unreachable { .. })))
    {
        let next = "start it: queenright up FILE, or queenright node on each host";
        return vec![Finding::warning(
            "doors",
            "",
            "no node answers: the cluster is not running",
            next,
        )];
    }
    let mut found: Vec<Finding> = answers.iter().map(door).collect();
    let Some((_, best)) = heard.iter().max_by_key(|(_, status)| (status.queenright, status.epoch)) else {
        return found;
    };
    found.push(quorum(best));
    found.extend(ids(&heard));
    found.extend(clocks(answers));
    found.push(builds(best));
    found.extend(best.nodes.iter().flat_map(|node| of_node(node, best.queenright)));
    found.extend(digests(best));
    found
}

fn door(answer: &Answer) -> Finding {
    match &answer.status {
        Ok(_) => Finding::ok("doors", &answer.node, "answers"),
        Err(error @ ClientError::Unreachable { .. }) => Finding::problem(
            "doors",
            &answer.node,
            error.to_string(),
            "start the node, or look whether its host is up",
        ),
        Err(error @ ClientError::Untrusted { .. }) => {
            let next = "name the authority of the cluster with --ca, and look at `queenright tls show`";
            Finding::problem("doors", &answer.node, error.to_string(), next)
        }
        Err(ClientError::Problem(problem)) => {
            let next = "show a token with --token-file that may read";
            Finding::problem("doors", &answer.node, problem.to_string(), next)
        }
        Err(error) => Finding::problem("doors", &answer.node, error.to_string(), "look at the log of the node"),
    }
}

fn quorum(status: &ClusterStatus) -> Finding {
    let nodes = status.nodes.len();
    let answer = status
        .nodes
        .iter()
        .filter(|node| node.role != Role::Unreachable)
        .count();
    match (&status.leader, status.queenright) {
        (Some(leader), true) => Finding::ok(
            "quorum",
            "",
            format!("{leader} leads term {}, {answer} of {nodes} nodes answer", status.term),
        ),
        _ => Finding::problem(
            "quorum",
            "",
            format!("no leader has a majority: {answer} of {nodes} nodes answer"),
            "start the nodes that are down; if a majority is lost for good: queenright recover",
        ),
    }
}

/// Nodes that belong to different clusters under one name.
fn ids(heard: &[(&str, &ClusterStatus)]) -> Option<Finding> {
    let (first, of_first) = heard.first()?;
    let (other, of_other) = heard
        .iter()
        .find(|(_, status)| status.cluster_id != of_first.cluster_id)?;
    let id = |status: &ClusterStatus| status.cluster_id.clone().unwrap_or_else(|| "none".to_owned());
    Some(Finding::problem(
        "cluster_id",
        "",
        format!(
            "{first} belongs to cluster {}, {other} to {}",
            id(of_first),
            id(of_other)
        ),
        "one of them has the data folder of another cluster: stop it, and look which",
    ))
}

/// How far the clocks are from that of this host.
fn clocks(answers: &[Answer]) -> Vec<Finding> {
    let known = answers.iter().filter_map(|answer| Some((&answer.node, answer.clock?)));
    let findings = known.map(|(node, (ahead_ms, unsure_ms))| {
        let off = Duration::from_millis(ahead_ms.unsigned_abs().saturating_sub(unsure_ms));
        let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
        let text = format!(
            "its clock is {} ms (± {unsure_ms}) {side} this host's",
            ahead_ms.unsigned_abs()
        );
        let next = "let all hosts follow a time server (chrony, systemd-timesyncd)";
        match off {
            off if off >= CLOCKS_PROBLEM => Finding::problem("clocks", node, text, next),
            off if off >= CLOCKS_WARNING => Finding::warning("clocks", node, text, next),
            _ => Finding::ok("clocks", node, text),
        }
    });
    findings.collect()
}

fn builds(status: &ClusterStatus) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    let named = status
        .nodes
        .iter()
        .filter_map(|node| Some((&node.name, node.build.as_deref()?)));
    let named: Vec<(&String, &str)> = named.collect();
    let rules = status.rules_version;
    let list = || {
        named
            .iter()
            .map(|(name, build)| format!("{name} {build}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match named.iter().all(|(_, build)| *build == own) {
        true => Finding::ok(
            "versions",
            "",
            format!("all nodes that answer are {own}, as this program; rules {rules}"),
        ),
        false => Finding::warning(
            "versions",
            "",
            format!("{}; this program is {own}; rules {rules} are in force", list()),
            "restart the others with the newest build, one after the other",
        ),
    }
}

fn of_node(node: &NodeStatus, queenright: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let name = &node.name;
    if node.role == Role::Unreachable {
        let level = if queenright { Level::Warning } else { Level::Problem };
        let mut finding = Finding::new("nodes", name, level, "does not answer the node that was asked");
        let next = "start it; gone for good: queenright node remove, its disk lost: queenright node replace";
        finding.next = Some(next.to_owned());
        return vec![finding];
    }
    if let Some(disk) = node.disk.filter(|disk| disk.low) {
        let text = format!(
            "{} MiB left on its disk, the watermark is {} MiB",
            disk.free_bytes >> 20,
            disk.watermark_bytes >> 20
        );
        found.push(Finding::problem("disk_room", name, text, "make room on its disk"));
    }
    if let Some(recovery) = node.recovery.as_ref().filter(|recovery| !recovery.set_aside.is_empty()) {
        let text = format!(
            "at its last start it set aside as damaged: {}",
            recovery.set_aside.join(", ")
        );
        let next = "look at the disk (smartctl, dmesg); the state was made anew, remove what was set aside";
        found.push(Finding::warning("store", name, text, next));
    }
    let links = node.traffic.iter().flat_map(|traffic| &traffic.links);
    for link in links.filter(|link| !link.up) {
        if let Some(problem) = &link.problem {
            let text = format!("its link to {} is down: {problem}", link.peer);
            found.push(Finding::warning(
                "links",
                name,
                text,
                "look at the network between them, and at their certificates",
            ));
        }
    }
    let opinions = node.opinions.iter().flatten();
    for opinion in opinions.filter(|opinion| opinion.udp_blocked && opinion.view == View::Alive) {
        let text = format!("no datagrams come from {} although its link is up", opinion.node);
        found.push(Finding::warning(
            "links",
            name,
            text,
            "let UDP through on the port of links",
        ));
    }
    if let Some(standing) = node.standing {
        let text = match standing {
            Standing::Drained => "is drained: it takes no new work",
            Standing::Leaving => "is on its way out",
        };
        found.push(Finding::warning(
            "nodes",
            name,
            text,
            format!("queenright node drain {name} --off, if that is over"),
        ));
    }
    found
}

/// Two nodes that have applied the same and hold different states.
fn digests(status: &ClusterStatus) -> Option<Finding> {
    let known = |node: &NodeStatus| Some((node.applied?, node.digest.clone()?));
    let nodes: Vec<(&String, (u64, String))> = status
        .nodes
        .iter()
        .filter_map(|node| Some((&node.name, known(node)?)))
        .collect();
    for (place, (name, (applied, digest))) in nodes.iter().enumerate() {
        let other = nodes[place + 1..]
            .iter()
            .find(|(_, (at, theirs))| at == applied && theirs != digest);
        if let Some((other, _)) = other {
            return Some(Finding::problem(
                "store",
                name.as_str(),
                format!("its state at log entry {applied} is not that of {other}"),
                "look again: a node that differs from the majority stops serving and makes its state anew by itself",
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(queenright: bool, nodes: Vec<NodeStatus>) -> ClusterStatus {
        ClusterStatus {
            cluster: "c".to_owned(),
            cluster_id: Some("00".to_owned()),
            node: "n1".to_owned(),
            queenright,
            leader: queenright.then(|| "n1".to_owned()),
            term: 3,
            topology: "mesh".to_owned(),
            epoch: 1,
            rules_version: 1,
            cuts: Vec::new(),
            nodes,
        }
    }

    fn node(name: &str, role: Role, digest: &str) -> NodeStatus {
        NodeStatus {
            role,
            applied: Some(7),
            digest: Some(digest.to_owned()),
            build: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..NodeStatus::unreachable(name.to_owned(), 1, "h:1".to_owned())
        }
    }

    fn answer(node: &str, status: Result<ClusterStatus, ClientError>, clock: Option<(i64, u64)>) -> Answer {
        Answer {
            node: node.to_owned(),
            status,
            clock,
        }
    }

    fn levels(findings: &[Finding], check: &str) -> Vec<Level> {
        findings
            .iter()
            .filter(|found| found.check == check)
            .map(|found| found.level)
            .collect()
    }

    fn unreachable() -> ClientError {
        ClientError::Unreachable {
            url: "http://h:1".to_owned(),
        }
    }

    #[test]
    fn a_cluster_that_is_well_has_nothing_but_ok() {
        let nodes = vec![node("n1", Role::Leader, "a"), node("n2", Role::Follower, "a")];
        let answers = [answer("n1", Ok(status(true, nodes)), Some((-12, 3)))];
        let found = findings(&answers);
        assert!(found.iter().all(|found| found.level == Level::Ok), "{found:?}");
        for check in ["doors", "quorum", "clocks", "versions"] {
            assert_eq!(levels(&found, check), [Level::Ok], "{check}");
        }
    }

    #[test]
    fn whoever_does_not_answer_differs_or_has_another_time_is_named() {
        let nodes = vec![
            node("n1", Role::Leader, "a"),
            node("n2", Role::Follower, "b"),
            NodeStatus::unreachable("n3".to_owned(), 3, "h:3".to_owned()),
        ];
        let answers = [
            answer("n1", Ok(status(true, nodes.clone())), Some((2_500, 3))),
            answer("n2", Ok(status(true, nodes.clone())), Some((-90_000, 3))),
            answer("n3", Err(unreachable()), None),
        ];
        let found = findings(&answers);
        assert_eq!(levels(&found, "doors"), [Level::Ok, Level::Ok, Level::Problem]);
        assert_eq!(levels(&found, "clocks"), [Level::Warning, Level::Problem]);
        assert_eq!(levels(&found, "nodes"), [Level::Warning]);
        assert_eq!(levels(&found, "store"), [Level::Problem]);
        let without = findings(&[answer("n1", Ok(status(false, nodes)), None)]);
        assert_eq!(levels(&without, "quorum"), [Level::Problem]);
        assert_eq!(levels(&without, "nodes"), [Level::Problem]);
    }

    #[test]
    fn a_cluster_that_does_not_run_is_no_problem() {
        let found = findings(&[
            answer("n1", Err(unreachable()), None),
            answer("n2", Err(unreachable()), None),
        ]);
        assert_eq!(levels(&found, "doors"), [Level::Warning]);
        assert!(findings(&[]).is_empty());
    }
}
