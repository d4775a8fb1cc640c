//! The loads of the comparison against a cluster that runs already, on whatever hosts: through its doors, in projects of its
//! own, and nothing is left. Hosts have clocks of their own, so messages are timed to their target and back.

use std::time::{Duration, Instant};

use queenright_actors::agent::AgentFilter;
use queenright_protocol::topology::Kind;
use serde_json::json;

use super::cell::{Cell, Stage};
use super::rows::{self, Measured};
use super::{PAYLOAD_BYTES, Plan, PlanError, Progress, RATES, RATES_MAX, Told, WORK_MS, twice};
use crate::client::ClientError;
use crate::client::wire::Code;
use crate::report::{Report, unix_ms};
use crate::rig::{RigNode, door, for_all};
use crate::traffic::open::{AGENTS_PER_NODE_MAX, Until};
use crate::workloads::tasks::{Tasks, Work};
use crate::{BenchError, Options};

/// The id of the reports.
pub const ID: &str = "drive";
/// What they are about.
pub const TITLE: &str = "signals, puts and tasks of agents on a running cluster";

/// How long what was begun may take to be ended, and how often it is tried.
const CLEAN_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// A load on a running cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// How many agents, on all nodes that answer in turn: 2 to 64 for each node.
    pub agents: u64,
    /// Bytes of each message, value and payload.
    pub payload_bytes: usize,
    /// How many messages a second are offered, all agents together, one load for each.
    pub rates: Vec<u64>,
    /// How long each load is measured, in milliseconds.
    pub work_ms: u64,
    /// What is drawn is drawn from this.
    pub seed: u64,
}

impl Drive {
    /// Whether that can be done with so many nodes.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn check(&self, nodes: usize) -> Result<(), PlanError> {
        PlanError::unless_within("nodes that answer", nodes as u64, &(2..=1_000))?;
        let agents_max = AGENTS_PER_NODE_MAX * nodes as u64;
        PlanError::unless_within("agents", self.agents, &(2..=agents_max))?;
        let payload = *PAYLOAD_BYTES.start() as u64..=*PAYLOAD_BYTES.end() as u64;
        PlanError::unless_within("payload", self.payload_bytes as u64, &payload)?;
        PlanError::unless_within("number of rates", self.rates.len() as u64, &(1..=RATES_MAX as u64))?;
        for rate in &self.rates {
            PlanError::unless_within("rates", *rate, &RATES)?;
        }
        twice("rates", &self.rates)?;
        PlanError::unless_within("milliseconds", self.work_ms, &WORK_MS)
    }

    /// Runs all loads on these nodes, of which the first is asked for the state of the cluster, and removes what they have made;
    /// also when `stop` comes: then there is nothing to report.
    ///
    /// # Errors
    /// [`BenchError`]; [`BenchError::Mismatch`] if a message came twice, or is not accounted for.
    ///
    /// # Panics
    /// If that cannot be done: see [`Drive::check`].
    pub async fn run(
        &self,
        nodes: &[RigNode],
        mut progress: impl FnMut(Progress),
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Report>, BenchError> {
        self.check(nodes.len()).expect("the caller has checked it");
        let status = nodes[0].client.status().await;
        let status =
            status.map_err(|error| door(format!("ask {} for the state of the cluster", nodes[0].name), error))?;
        let kind: Kind = status.topology.parse().unwrap_or(Kind::Mesh);
        let plan = self.plan(nodes.len(), kind);
        let mut report = Report::begin(ID, TITLE, &std::env::temp_dir());
        report.config = self.config(nodes, kind, &plan);
        // No other run of this or another host is called so.
        let label = format!("{}-{}", std::process::id(), unix_ms());
        let stage = Stage {
            id: ID,
            nodes,
            name: format!("drive-{label}"),
            project: format!("drive-put-{label}"),
            label,
            until: Until::Back,
        };
        let options = Options {
            seed: self.seed,
            ..Options::full(std::env::temp_dir())
        };
        let mut told = Told {
            done: 0,
            of: Cell::steps(&plan) - 1,
            progress: &mut progress,
        };
        let measured = tokio::select! {
            measured = Cell::measure(&plan, &options, &stage, |what| told.begins(what.to_owned())) => Some(measured),
            () = stop => None,
        };
        let tasks = Tasks::project(ID, Work::Finish, self.agents, &stage.label);
        let left = clean(nodes, &[&stage.name, &tasks], &[&stage.project, &tasks]).await;
        let Some(measured) = measured else {
            return left.map(|()| None);
        };
        let measured = [Measured {
            loads: measured?,
            converged: None,
        }];
        left?;
        report.rows = rows::rows(&plan, stage.until, &[(kind, &measured)]);
        Ok(Some(report))
    }

    fn plan(&self, nodes: usize, kind: Kind) -> Plan {
        Plan {
            nodes,
            kinds: vec![kind],
            agents: self.agents,
            payload_bytes: self.payload_bytes,
            rates: self.rates.clone(),
            work_ms: self.work_ms,
            repeats: 1,
            seed: self.seed,
            changes: false,
            weather: None,
        }
    }

    fn config(&self, nodes: &[RigNode], kind: Kind, plan: &Plan) -> serde_json::Value {
        let doors: Vec<&str> = nodes.iter().map(|node| node.client.base_url()).collect();
        json!({
            "nodes": nodes.len(), "doors": doors, "topology": kind.to_string(), "agents": self.agents,
            "payload_bytes": self.payload_bytes, "rates": self.rates, "measured_ms": self.work_ms,
            "warm_up_ms": plan.warm_up_ms(), "seed": self.seed,
            "latency": "of messages from the moment when one was to be sent to its target and back to the node of its sender, by whose clock it is timed; of commands at the agent that waits",
            "bytes": "of frames of all lanes, handed to links by all nodes: of others who use the cluster too",
            "conditions": "those above are of the host that this was started on, not of the nodes",
        })
    }
}

/// Stops all agents whose names begin with one of these words, and destroys these projects, as far as they are there.
async fn clean(nodes: &[RigNode], agents: &[&str], projects: &[&str]) -> Result<(), BenchError> {
    for_all(nodes, async |node| {
        for word in agents {
            stop_agents(node, word).await?;
        }
        Ok(())
    })
    .await?;
    for project in projects {
        let destroyed = until_known(|| nodes[0].client.destroy_project(project, false)).await;
        match destroyed {
            Ok(_) => {}
            Err(error) if error.code() == Some(Code::NotFound) => {}
            Err(error) => return Err(door(format!("destroy project {project}"), error)),
        }
    }
    Ok(())
}

/// Stops the agents of a node whose names begin with this word. One that was asked for just before the end may come later: it is
/// looked until there is none twice.
async fn stop_agents(node: &RigNode, word: &str) -> Result<(), BenchError> {
    let started = Instant::now();
    let mut looks_without = 0;
    loop {
        let mut filter = AgentFilter::default();
        let mut live = 0;
        loop {
            let page = until_known(|| node.client.agents_page(&filter)).await;
            let page = page.map_err(|error| door(format!("list the agents of {}", node.name), error))?;
            let ours = page
                .agents
                .iter()
                .filter(|agent| agent.name.starts_with(word) && agent.state.is_live());
            for agent in ours {
                live += 1;
                // One that has ended by itself is stopped.
                let _ = node.client.stop_agent(&agent.name).await;
            }
            match page.next {
                Some(next) => filter.after = Some(next),
                None => break,
            }
        }
        looks_without = if live == 0 { looks_without + 1 } else { 0 };
        if looks_without == 2 || started.elapsed() > CLEAN_WITHIN {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Asks until the answer is known, or for long enough: what is asked may be repeated.
async fn until_known<T, F: Future<Output = Result<T, ClientError>>>(ask: impl Fn() -> F) -> Result<T, ClientError> {
    let started = Instant::now();
    loop {
        match ask().await {
            Err(error) if (error.is_temporary() || error.outcome_unknown()) && started.elapsed() < CLEAN_WITHIN => {
                tokio::time::sleep(POLL).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_driven_is_named() {
        let check = |nodes: usize, change: fn(&mut Drive), expected: &str| {
            let mut drive = Drive {
                agents: 6,
                payload_bytes: 256,
                rates: vec![100],
                work_ms: 1_000,
                seed: 1,
            };
            assert_eq!(drive.check(3), Ok(()));
            change(&mut drive);
            assert_eq!(drive.check(nodes).unwrap_err().to_string(), expected);
        };
        check(1, |_| {}, "nodes that answer: 1 is not 2 to 1000");
        check(3, |drive| drive.agents = 193, "agents: 193 is not 2 to 192");
        check(3, |drive| drive.rates = vec![7, 7], "rates: 7 is named twice");
        check(3, |drive| drive.work_ms = 0, "milliseconds: 0 is not 100 to 600000");
    }
}
