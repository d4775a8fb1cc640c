//! A node of a rig: what it is asked and told, and how it is read from the summary of `up`.

use std::time::{Duration, Instant};

use queenright_actors::agent::{AgentSpec, AgentState, AgentStatus, RestartPolicy};
use queenright_actors::node::{Consistency, NodeFigures};
use queenright_protocol::id::NodeId;
use serde::Deserialize;

use super::{POLL, REQUEST_WITHIN, door, late};
use crate::BenchError;

use crate::client::{Client, ClientError, ClientOptions, ListQuery};

/// Who works, in the records.
const AUTHOR: &str = "bench";
/// How many keys are asked for in one list.
const LIST_KEYS: u64 = 1_000;

/// A node of a rig.
#[derive(Clone, Debug)]
pub struct RigNode {
    /// Its name.
    pub name: String,
    /// Its number, by which agents address it.
    pub id: NodeId,
    /// Its process; 0 if that is not known.
    pub pid: u32,
    /// The client of its door.
    pub client: Client,
}

/// What `up --json` prints once all nodes are ready; it prints more than this.
#[derive(Debug, Deserialize)]
pub(super) struct Summary {
    nodes: Vec<SummaryNode>,
}

#[derive(Debug, Deserialize)]
struct SummaryNode {
    name: String,
    pid: Option<u32>,
    door: String,
}

impl RigNode {
    /// A node whose number is not known yet.
    pub(super) fn new(name: String, pid: u32, door: &str) -> Result<RigNode, ClientError> {
        let options = ClientOptions {
            agent: AUTHOR.to_owned(),
            timeout: REQUEST_WITHIN,
            ..ClientOptions::default()
        };
        Ok(RigNode {
            name,
            id: NodeId::NONE,
            pid,
            client: Client::new(door, options)?,
        })
    }

    /// The revisions of all keys below a prefix, added up, by a linearizable read: each put has raised one by one.
    ///
    /// # Errors
    /// [`BenchError::Door`].
    pub async fn revisions(&self, prefix: &str) -> Result<u64, BenchError> {
        let mut query = ListQuery {
            prefix: prefix.to_owned(),
            limit: Some(LIST_KEYS),
            consistency: Consistency::Linearizable,
            ..ListQuery::default()
        };
        let mut revisions = 0;
        loop {
            let page = self.client.list(&query).await;
            let page = page.map_err(|error| door(format!("list the keys of {prefix}"), error))?;
            revisions += page.keys.iter().map(|key| key.revision).sum::<u64>();
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(revisions),
            }
        }
    }

    /// A node of a cluster that somebody else has started, perhaps on another host: what its process uses is not known.
    pub fn elsewhere(name: String, id: NodeId, client: Client) -> RigNode {
        RigNode {
            name,
            id,
            pid: 0,
            client,
        }
    }

    /// The resident memory of its process in MiB, where the system tells it.
    pub fn resident_mib(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kib / 1024.0)
    }

    /// The processor time that it has used, where the system tells it.
    pub fn processor_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name, which is the second field, may hold anything, but ends with the last bracket; see proc_pid_stat(5).
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks = fields.split_ascii_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse().unwrap_or(0)).sum();
        let a_second = rustix::param::clock_ticks_per_second();
        Some(Duration::from_millis(ticks * 1_000 / a_second))
    }

    /// What the node counts.
    ///
    /// # Errors
    /// [`BenchError::Door`].
    pub async fn figures(&self) -> Result<NodeFigures, BenchError> {
        let figures = self.client.figures().await;
        figures.map_err(|error| door(format!("read the figures of {}", self.name), error))
    }

    /// Starts an agent of a kind.
    ///
    /// # Errors
    /// [`BenchError::Door`].
    pub async fn spawn(&self, name: &str, kind: &str, arguments: serde_json::Value) -> Result<AgentStatus, BenchError> {
        spawn((&self.client, &self.name), name, kind, arguments).await
    }

    /// How an agent is.
    ///
    /// # Errors
    /// [`BenchError::Door`], and [`BenchError::Agent`] for one that failed or was stopped.
    pub async fn agent(&self, name: &str) -> Result<AgentStatus, BenchError> {
        let asked = self.client.agent(name).await;
        let status = asked.map_err(|error| door(format!("ask for agent {name} on {}", self.name), error))?;
        match status.state {
            AgentState::Recovering | AgentState::Failed | AgentState::Stopped => Err(BenchError::Agent {
                name: status.name,
                problem: status.reason.unwrap_or_else(|| "was stopped".to_owned()),
            }),
            _ => Ok(status),
        }
    }

    /// Waits until an agent has done its work, and gives its report.
    ///
    /// # Errors
    /// As [`RigNode::agent`], and [`BenchError::Late`].
    pub async fn done(&self, name: &str, within: Duration) -> Result<AgentStatus, BenchError> {
        let started = Instant::now();
        while started.elapsed() < within {
            let status = self.agent(name).await?;
            if status.state == AgentState::Done {
                return Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
        Err(late(format!("agent {name} still works"), started))
    }
}

/// Starts an agent of a kind on the node of this client and name, never again once it has ended: a load that begins again in
/// the middle would measure something else.
///
/// # Errors
/// [`BenchError::Door`].
pub(crate) async fn spawn(
    (client, node): (&Client, &str),
    name: &str,
    kind: &str,
    arguments: serde_json::Value,
) -> Result<AgentStatus, BenchError> {
    let spec = AgentSpec {
        name: name.to_owned(),
        kind: kind.to_owned(),
        arguments,
        restart: RestartPolicy::never(),
        ..AgentSpec::default()
    };
    let spawned = client.spawn_agent(&spec).await;
    spawned.map_err(|error| door(format!("start agent {name} on {node}"), error))
}

/// Why a summary is none of the cluster that was to be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadSummary {
    #[error("{found} nodes instead of {expected}")]
    Nodes { found: usize, expected: usize },
    #[error("node {name} has no process")]
    NoProcess { name: String },
    #[error(transparent)]
    Door(#[from] ClientError),
}

/// The nodes of a summary, of which there must be `expected`.
pub(super) fn nodes(summary: Summary, expected: usize) -> Result<Vec<RigNode>, BadSummary> {
    let nodes = summary
        .nodes
        .into_iter()
        .map(node)
        .collect::<Result<Vec<RigNode>, _>>()?;
    match nodes.len() {
        found if found == expected => Ok(nodes),
        found => Err(BadSummary::Nodes { found, expected }),
    }
}

fn node(SummaryNode { name, pid, door }: SummaryNode) -> Result<RigNode, BadSummary> {
    match pid {
        Some(pid) => Ok(RigNode::new(name, pid, &door)?),
        None => Err(BadSummary::NoProcess { name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_must_have_all_nodes_with_their_processes() {
        let check = |json: &str| nodes(serde_json::from_str(json).unwrap(), 3);
        let one =
            |name: &str| format!(r#"{{"name":"{name}","pid":7,"door":"http://127.0.0.1:72","log":"l","data":"d"}}"#);
        let three = format!(
            r#"{{"cluster":"c","nodes":[{},{},{}]}}"#,
            one("n1"),
            one("n2"),
            one("n3")
        );
        let nodes = check(&three).unwrap();
        assert_eq!(nodes[2].name, "n3");
        assert_eq!(nodes[0].client.base_url(), "http://127.0.0.1:72");
        assert!(check(&three.replacen("\"pid\":7", "\"pid\":null", 1)).is_err());
        assert!(check(&format!(r#"{{"nodes":[{}]}}"#, one("n1"))).is_err());
    }
}
