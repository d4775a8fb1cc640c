//! What somebody who looks on is told: the cluster, its traffic, and the work of one project, each part when it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_actors::agent::AgentSummary;
use queenright_actors::disk::DiskStatus;
use queenright_actors::node::{ClusterStatus, LinkRole, NodeStatus, Recovery, Role, Standing, View};
use queenright_protocol::colony::{LostTo, Project, State, StateName, Task};
use queenright_protocol::conflict::Kind;
use serde::{Deserialize, Serialize};

use super::{LinkState, WireQueue, WireTask, WireTopology};

/// How many tasks of one sort are named.
pub const OVERVIEW_TASKS_MAX: usize = 50;

/// The nodes and how they stand to each other: what changes seldom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverviewCluster {
    /// The name of the cluster.
    pub cluster: String,
    /// Its identity, in hexadecimal.
    pub cluster_id: Option<String>,
    /// The node that tells this.
    pub node: String,
    /// Whether there is a leader that a quorum follows.
    pub queenright: bool,
    /// The leader's name.
    pub leader: Option<String>,
    /// The term of the leader.
    pub term: u64,
    /// How the members are linked.
    pub topology: String,
    /// The number of the epoch.
    pub epoch: u64,
    /// The version of the rules in force.
    pub rules_version: u32,
    /// The nodes, by number.
    pub nodes: Vec<OverviewNode>,
    /// The links: those that should be there, and those that are.
    pub links: Vec<OverviewLink>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverviewNode {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u64,
    /// What it does.
    pub role: Role,
    /// Its door.
    pub http: String,
    /// Its process.
    pub pid: Option<u32>,
    /// What its build is called.
    pub build: Option<String>,
    /// What is to become of it.
    pub standing: Option<Standing>,
    /// Whether its disk is low.
    pub disk_low: bool,
    /// By which way it came back.
    pub recovery: Option<Recovery>,
    /// How many agents it hosts that work, or wait to be started again.
    pub agents: Option<u64>,
    /// Those agents by state.
    pub agents_by_state: Option<AgentSummary>,
    /// Who does not think that it is alive.
    pub doubts: Vec<OverviewDoubt>,
}

/// What a node thinks of another one that it does not think alive, or not reached by datagrams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewDoubt {
    /// Who thinks so.
    pub by: String,
    /// How it is.
    pub view: View,
    /// Whether no datagrams come from it although its link is up.
    pub udp_blocked: bool,
}

/// A link between two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewLink {
    /// The name of the node with the smaller number.
    pub one: String,
    /// The name of the other.
    pub other: String,
    /// What it is for.
    pub role: LinkRole,
    /// How it is.
    pub state: LinkState,
    /// Why it is not up, if an end knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What changes all the time, also when nobody does anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverviewTraffic {
    /// How long the node that tells this has told of traffic, in milliseconds: what lies between two of them.
    pub at_ms: u64,
    /// The best that the node knows of cluster time, in milliseconds.
    pub cluster_ms: u64,
    /// The nodes, by number.
    pub nodes: Vec<TrafficNode>,
    /// The links, in the order of [`OverviewCluster::links`] of the same time.
    pub links: Vec<TrafficLink>,
}

/// How far a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficNode {
    /// Its name.
    pub name: String,
    /// The index of the last log entry that it has applied.
    pub applied: Option<u64>,
    /// The position of the last command that it has applied.
    pub seq: Option<u64>,
    /// The digest of its state there.
    pub digest: Option<String>,
    /// The room on its disk.
    pub disk: Option<DiskStatus>,
    /// How many follow events at its door.
    pub subscribers: Option<u64>,
    /// How many subscribers it has dropped: they did not read, or fell behind what is kept.
    pub dropped: Option<u64>,
    /// How many connections of links it refused.
    pub refused: Option<u64>,
}

/// What went over a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficLink {
    /// The name of the node with the smaller number.
    pub one: String,
    /// The name of the other.
    pub other: String,
    /// Envelopes sent by the first one.
    pub sent: Option<u64>,
    /// Envelopes sent by the other one.
    pub sent_back: Option<u64>,
    /// Bytes sent both ways.
    pub bytes: u64,
    /// The median of the last round trips, in microseconds.
    pub round_trip_us: Option<u64>,
}

impl OverviewCluster {
    /// What of a status changes seldom.
    pub fn of(status: &ClusterStatus) -> OverviewCluster {
        let topology = WireTopology::of(status);
        let mut nodes: Vec<&NodeStatus> = status.nodes.iter().collect();
        nodes.sort_by_key(|node| node.number);
        let shown = nodes.iter().map(|node| OverviewNode {
            name: node.name.clone(),
            number: node.number,
            role: node.role,
            http: node.http.clone(),
            pid: node.pid,
            build: node.build.clone(),
            standing: node.standing,
            disk_low: node.disk.is_some_and(|disk| disk.low),
            recovery: node.recovery.clone(),
            agents: node.agents,
            agents_by_state: node.health.as_ref().map(|health| health.agents.clone()),
            doubts: doubts(&nodes, node.number),
        });
        OverviewCluster {
            cluster: status.cluster.clone(),
            cluster_id: status.cluster_id.clone(),
            node: status.node.clone(),
            queenright: status.queenright,
            leader: status.leader.clone(),
            term: status.term,
            topology: status.topology.clone(),
            epoch: status.epoch,
            rules_version: status.rules_version,
            nodes: shown.collect(),
            links: topology
                .links
                .into_iter()
                .map(|link| OverviewLink {
                    one: link.one,
                    other: link.other,
                    role: link.role,
                    state: link.state,
                    problem: link.problem,
                })
                .collect(),
        }
    }
}

fn doubts(nodes: &[&NodeStatus], number: u64) -> Vec<OverviewDoubt> {
    let said = nodes.iter().flat_map(|node| {
        let opinions = node.opinions.iter().flatten();
        opinions.map(|opinion| (&node.name, opinion))
    });
    let doubted =
        said.filter(|(_, opinion)| opinion.number == number && (opinion.view != View::Alive || opinion.udp_blocked));
    let shown = doubted.map(|(by, opinion)| OverviewDoubt {
        by: by.clone(),
        view: opinion.view,
        udp_blocked: opinion.udp_blocked,
    });
    shown.collect()
}

impl OverviewTraffic {
    /// What of a status changes all the time.
    pub fn of(status: &ClusterStatus, at_ms: u64, cluster_ms: u64) -> OverviewTraffic {
        let mut nodes: Vec<&NodeStatus> = status.nodes.iter().collect();
        nodes.sort_by_key(|node| node.number);
        let nodes = nodes.into_iter().map(|node| TrafficNode {
            name: node.name.clone(),
            applied: node.applied,
            seq: node.seq,
            digest: node.digest.clone(),
            disk: node.disk,
            subscribers: node.subscribers.map(|counts| counts.open),
            dropped: node.subscribers.map(|counts| counts.slow + counts.expired),
            refused: node.refused.map(|refused| refused.total()),
        });
        let links = WireTopology::of(status).links.into_iter().map(|link| TrafficLink {
            one: link.one,
            other: link.other,
            sent: link.sent,
            sent_back: link.sent_back,
            bytes: link.bytes,
            round_trip_us: link.round_trip_us,
        });
        OverviewTraffic {
            at_ms,
            cluster_ms,
            nodes: nodes.collect(),
            links: links.collect(),
        }
    }
}

/// The work of a project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OverviewWork {
    /// How many tasks are in each state; none where there is none.
    pub states: BTreeMap<StateName, u64>,
    /// The queues, by name.
    pub queues: Vec<WireQueue>,
    /// Tasks that somebody should look at, and those at work: of each sort the oldest, at most [`OVERVIEW_TASKS_MAX`].
    pub tasks: Vec<OverviewTask>,
    /// Whether all tasks were looked at.
    pub complete: bool,
}

/// Why a task is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverviewSort {
    /// Somebody holds it, and has said nothing of it for long.
    Stalled,
    /// It used up what its terms allow.
    Dead,
    /// Somebody must approve of it.
    AwaitingApproval,
    /// It has failed.
    Failed,
    /// Somebody has paused it.
    Paused,
    /// Somebody works on it.
    AtWork,
}

/// A task that is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverviewTask {
    /// Why.
    pub sort: OverviewSort,
    /// Cluster time in milliseconds at which its owner was last heard of it, while somebody holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_ms: Option<u64>,
    /// The task, as a line of a list.
    #[serde(flatten)]
    pub task: WireTask,
}

impl OverviewWork {
    /// The work of a project at a cluster time. An owner is silent that was not heard of its task for `stalled_ms`. At most
    /// `looked_at_max` tasks are looked at.
    pub fn of(project: &Project, now_ms: u64, stalled_ms: u64, looked_at_max: usize) -> OverviewWork {
        let tasks = project.tasks();
        let counted = StateName::ALL
            .into_iter()
            .map(|state| (state, tasks.count(state) as u64));
        let states: BTreeMap<StateName, u64> = counted.filter(|(_, count)| *count > 0).collect();
        let queues = tasks.queues().map(|(name, queue)| WireQueue::new(name, queue, project));
        let mut work = OverviewWork {
            queues: queues.collect(),
            tasks: Vec::new(),
            complete: tasks.len() <= looked_at_max,
            states,
        };
        let shown = [
            StateName::Leased,
            StateName::Dead,
            StateName::AwaitingApproval,
            StateName::Failed,
            StateName::Paused,
        ];
        let mut left: u64 = shown.iter().filter_map(|state| work.states.get(state)).sum();
        let mut named: BTreeMap<OverviewSort, usize> = BTreeMap::new();
        for task in tasks.after(None).take(looked_at_max) {
            if left == 0 {
                work.complete = true;
                break;
            }
            let Some((sort, heard_ms)) = sort_of(task, now_ms, stalled_ms) else {
                continue;
            };
            left -= 1;
            let count = named.entry(sort).or_default();
            if *count < OVERVIEW_TASKS_MAX {
                *count += 1;
                work.tasks.push(OverviewTask {
                    sort,
                    heard_ms,
                    task: WireTask::line(task, project),
                });
            }
        }
        work.tasks.sort_by_key(|task| task.sort);
        work
    }
}

fn sort_of(task: &Task, now_ms: u64, stalled_ms: u64) -> Option<(OverviewSort, Option<u64>)> {
    let sort = match &task.state {
        State::Leased(lease) => {
            let silent = now_ms.saturating_sub(lease.heard_ms) >= stalled_ms;
            let sort = if silent {
                OverviewSort::Stalled
            } else {
                OverviewSort::AtWork
            };
            return Some((sort, Some(lease.heard_ms)));
        }
        State::AwaitingApproval => OverviewSort::AwaitingApproval,
        State::Paused { .. } => OverviewSort::Paused,
        State::Finished(finished) if !finished.done => OverviewSort::Failed,
        State::Closed(closed) if closed.dead => OverviewSort::Dead,
        State::Finished(_) | State::Closed(_) | State::Pending | State::Blocked => return None,
    };
    Some((sort, None))
}

/// A proposal that lost, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewLoss {
    /// The position of its command; 0 for one that its node refused before it had any.
    pub seq: u64,
    /// Who proposed it.
    pub author: Arc<str>,
    /// The kind of its first conflict.
    pub kind: Kind,
    /// The key of that; of a phantom the folder or the glob.
    pub key: Arc<str>,
    /// How many conflicts there were.
    pub conflicts: u64,
    /// The position of the command that it lost to; 0 if nobody wrote the key.
    pub winner: u64,
    /// Who won, if that is still known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Arc<str>>,
    /// Cluster time in milliseconds.
    pub cluster_ms: u64,
}

impl From<LostTo> for OverviewLoss {
    fn from(lost: LostTo) -> OverviewLoss {
        OverviewLoss {
            seq: lost.seq,
            author: lost.author,
            kind: lost.kind,
            key: lost.key,
            conflicts: lost.conflicts,
            winner: lost.winner,
            to: lost.to,
            cluster_ms: lost.cluster_ms,
        }
    }
}
