//! What was asked at one moment, and what follows from two of them.

use std::collections::BTreeMap;

use queenright_actors::agent::{AgentFilter, AgentState, AgentStatus};
use queenright_actors::node::{ClusterStatus, Consistency};
use queenright_bench::client::wire::WireQueue;
use queenright_bench::client::{Client, ClientError, ProjectQuery, TaskQuery};
use queenright_protocol::colony::{Holdings, StateName};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How many projects are looked at: those with the most open tasks.
const PROJECTS_MAX: usize = 8;

/// The cluster at one moment, as one node tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// When, in milliseconds by the clock of whoever asked, from any moment on.
    pub at_ms: u64,
    /// The nodes.
    pub status: ClusterStatus,
    /// How many projects there are.
    pub projects_total: u64,
    /// Those with the most open tasks.
    pub projects: Vec<ProjectSample>,
    /// The agents of the node that was asked.
    pub agents: AgentsSample,
}

/// A project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectSample {
    /// Its name.
    pub project: String,
    /// What it holds.
    pub holds: Holdings,
    /// Its tasks by state.
    pub states: BTreeMap<StateName, u64>,
    /// Its queues.
    pub queues: Vec<WireQueue>,
}

impl ProjectSample {
    /// How many of its tasks are in this state.
    pub fn count(&self, state: StateName) -> u64 {
        self.states.get(&state).copied().unwrap_or_default()
    }
}

/// The agents of a node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AgentsSample {
    /// Up to 1,000 of them, by name.
    pub agents: Vec<AgentStatus>,
    /// Whether there are more.
    pub more: bool,
}

impl AgentsSample {
    /// How many there are in each state, of those that were looked at.
    pub fn by_state(&self) -> Vec<(AgentState, usize)> {
        let count = |state| self.agents.iter().filter(|agent| agent.state == state).count();
        let counts = AgentState::ALL.into_iter().map(|state| (state, count(state)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Sample {
    /// Asks a node.
    ///
    /// # Errors
    /// [`ClientError`] of the first question that was not answered.
    pub async fn take(client: &Client, started: Instant) -> Result<Sample, ClientError> {
        let query = ProjectQuery {
            consistency: Consistency::Local,
            ..ProjectQuery::default()
        };
        let filter = AgentFilter::default();
        let (status, projects, agents) =
            futures::try_join!(client.status(), client.projects(&query), client.agents_page(&filter))?;
        let mut busiest = projects.projects;
        let projects_total = busiest.len() as u64;
        busiest.sort_by_key(|project| std::cmp::Reverse(project.holds.open_tasks));
        busiest.truncate(PROJECTS_MAX);
        let mut projects = Vec::with_capacity(busiest.len());
        for project in busiest {
            let of_project = client.in_project(&project.project);
            let one = TaskQuery {
                limit: Some(1),
                consistency: Consistency::Local,
                ..TaskQuery::default()
            };
            let (queues, tasks) = futures::join!(of_project.queues(Consistency::Local), of_project.tasks(&one));
            // One that is destroyed in this moment is left out.
            let (Ok(queues), Ok(tasks)) = (queues, tasks) else {
                continue;
            };
            projects.push(ProjectSample {
                project: project.project.to_string(),
                holds: project.holds,
                states: tasks.states,
                queues: queues.queues,
            });
        }
        Ok(Sample {
            at_ms: started.elapsed().as_millis() as u64,
            status,
            projects_total,
            projects,
            agents: AgentsSample {
                more: agents.next.is_some(),
                agents: agents.agents,
            },
        })
    }
}

/// What happened each second between two samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// Commands that each node applied, by its number.
    pub commands: BTreeMap<u64, f64>,
    /// Rounds that each node applied.
    pub rounds: BTreeMap<u64, f64>,
    /// Bytes that each node sent over each of its links, by number and name of the other end.
    pub sent_bytes: BTreeMap<(u64, String), f64>,
}

impl Rates {
    /// From one sample to a later one; nothing of a node that was not there, or has started again meanwhile.
    pub fn between(before: &Sample, after: &Sample) -> Rates {
        let seconds = after.at_ms.saturating_sub(before.at_ms) as f64 / 1e3;
        let mut rates = Rates::default();
        if seconds <= 0.0 {
            return rates;
        }
        let each_second = |before: u64, after: u64| Some(after.checked_sub(before)? as f64 / seconds);
        for node in &after.status.nodes {
            let same =
                |known: &&queenright_actors::node::NodeStatus| known.number == node.number && known.pid == node.pid;
            let Some(known) = before.status.nodes.iter().find(same) else {
                continue;
            };
            if let (Some(old), Some(new)) = (&known.health, &node.health) {
                rates
                    .commands
                    .extend(each_second(old.commands, new.commands).map(|rate| (node.number, rate)));
                rates
                    .rounds
                    .extend(each_second(old.rounds, new.rounds).map(|rate| (node.number, rate)));
            }
            let links = node.traffic.iter().flat_map(|traffic| &traffic.links);
            for link in links {
                let mut old = known.traffic.iter().flat_map(|traffic| &traffic.links);
                let old = old.find(|old| old.peer == link.peer).map_or(0, |old| old.sent_bytes);
                let rate = each_second(old, link.sent_bytes);
                rates
                    .sent_bytes
                    .extend(rate.map(|rate| ((node.number, link.peer.clone()), rate)));
            }
        }
        rates
    }
}
