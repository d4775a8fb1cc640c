//! `queenright status`: whether the cluster has a leader, and how its nodes are.

use queenright_actors::node::{ClusterStatus, NodeStatus, Role};

use super::door::{client, of_read};
use super::table::{Table, or_dash};
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
        "queenright: {leader}, term {}, cluster {} (id {id})\n\n{table}",
        status.term, status.cluster
    );
    for (node, disk) in status.nodes.iter().filter_map(|node| Some((node, node.disk?))) {
        if disk.low {
            let (name, free, watermark) = (&node.name, disk.free_bytes, disk.watermark_bytes);
            text.push_str(&format!(
                "\n{name}: {free} B left on its disk, the watermark is {watermark} B"
            ));
        }
    }
    text
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

    use super::*;

    fn node(number: u64, role: Role, seq: Option<u64>) -> NodeStatus {
        NodeStatus {
            name: format!("n{number}"),
            number,
            role,
            applied: seq.map(|seq| seq + 5),
            seq,
            digest: seq.map(|_| "0123456789abcdef0123456789abcdef".to_owned()),
            agents: seq.map(|_| 8),
            http: format!("127.0.0.1:720{number}"),
            pid: None,
            disk: None,
        }
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
            topology: "mesh".to_owned(),
            nodes: vec![node(1, Role::Leader, Some(7)), node(2, Role::Unreachable, None)],
        };
        let expected = "\
queenright: yes, leader n1, term 3, cluster mesh-3 (id 00ff)

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
