//! What a node tells of itself and of its cluster, to those who look at it from outside.

use std::sync::atomic::Ordering;
use std::time::Duration;

use queenright_protocol::colony::Epoch;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Node;
use super::health::Health;
use super::inbox::Control;
use super::subscribers::SubscriberCounts;
use crate::agent::{AgentCounts, SignalCounts};
use crate::body::{decode, encode};
use crate::consensus::Recovery;
use crate::disk::DiskStatus;
use crate::latency::Latencies;
use crate::link::{BUILD, LaneStats, LinksStats, RefusedStats, RoundTrip};
use crate::liveness::{DatagramCounts, View};
use crate::router::TransitCounts;
use crate::store::StoreError;
use crate::topic::TopicCounts;

/// What a node does in consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It orders the rounds.
    Leader,
    /// It votes and follows.
    Follower,
    /// It stands for election.
    Candidate,
    /// It follows without a vote.
    Learner,
    /// It does not answer.
    Unreachable,
}

/// One node of the cluster, as the node that was asked sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u64,
    /// What it does.
    pub role: Role,
    /// The index of the last log entry that it has applied.
    pub applied: Option<u64>,
    /// The position of the last command that it has applied.
    pub seq: Option<u64>,
    /// The digest of its state at that position, in hexadecimal.
    pub digest: Option<String>,
    /// How many agents it hosts that work, or wait to be started again.
    pub agents: Option<u64>,
    /// Its door, as the cluster file has it.
    pub http: String,
    /// Its process.
    pub pid: Option<u32>,
    /// The room on its disk.
    pub disk: Option<DiskStatus>,
    /// By which way it came back to what the others have.
    pub recovery: Option<Recovery>,
    /// Those who follow events at its door.
    #[serde(default)]
    pub subscribers: Option<SubscriberCounts>,
    /// The connections of other nodes, and of strangers, that it refused.
    #[serde(default)]
    pub refused: Option<RefusedStats>,
    /// Its links, and what goes over them.
    #[serde(default)]
    pub traffic: Option<Traffic>,
    /// What it thinks of each other node, by number.
    #[serde(default)]
    pub opinions: Option<Vec<OpinionStatus>>,
    /// The datagrams by which it watches them.
    #[serde(default)]
    pub datagrams: Option<DatagramCounts>,
    /// What its build is called.
    #[serde(default)]
    pub build: Option<String>,
    /// What is to become of it, as the node that was asked knows it; absent for one that simply is a member.
    #[serde(default)]
    pub standing: Option<Standing>,
    /// How it is besides. Left out where a node tells another one its status, which one of an earlier build could not read then:
    /// it is asked for by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What is to become of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It takes no new work.
    Drained,
    /// It is to go for good.
    Leaving,
}

impl Standing {
    fn of(number: NodeId, epoch: &Epoch) -> Option<Standing> {
        match (epoch.leaving.contains(&number), epoch.drained.contains(&number)) {
            (true, _) => Some(Standing::Leaving),
            (false, true) => Some(Standing::Drained),
            (false, false) => None,
        }
    }
}

impl NodeStatus {
    /// That of a node that has not answered.
    pub fn unreachable(name: String, number: u64, http: String) -> NodeStatus {
        NodeStatus {
            name,
            number,
            role: Role::Unreachable,
            applied: None,
            seq: None,
            digest: None,
            agents: None,
            http,
            pid: None,
            disk: None,
            recovery: None,
            subscribers: None,
            refused: None,
            traffic: None,
            opinions: None,
            datagrams: None,
            build: None,
            standing: None,
            health: None,
        }
    }
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkRole {
    /// The node at the other end is a neighbour.
    Data,
    /// Both ends vote, and are no neighbours.
    Control,
    /// The other end has opened it although it is not wanted here: it will be closed.
    Guest,
    /// It is not wanted, and not up.
    Idle,
}

/// One link of a node. What was sent was received, lost or is in doubt, or still waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkStatus {
    /// The name of the node at the other end.
    pub peer: String,
    /// What it is for.
    pub role: LinkRole,
    /// Whether it is up.
    pub up: bool,
    /// How often it has come up again after it was lost.
    pub reconnects: u64,
    /// Envelopes taken for the other end.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Envelopes received.
    pub received: u64,
    /// Envelopes not taken, since the lane was full or the link down.
    pub refused: u64,
    /// Envelopes dropped before they left, when the link broke.
    pub lost: u64,
    /// Envelopes under way when the link broke: the other end may have them.
    pub in_doubt: u64,
    /// Bytes that wait now.
    pub queued_bytes: u64,
    /// The version of frames that both ends speak, while it is up.
    #[serde(default)]
    pub version: Option<u8>,
    /// Why it could not be linked, since it was up last.
    #[serde(default)]
    pub problem: Option<String>,
    /// How long the other end takes to answer; nothing until that was measured.
    #[serde(default)]
    pub round_trip: Option<RoundTrip>,
}

/// What goes over the links of a node and through it. Of the signals of all agents, those sent are those delivered, those
/// lost at an end, those lost in transit, and those lost or in doubt on links that broke; the same holds of copies of
/// messages of topics, where an envelope that a link has lost may have been for several nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Signals of its agents.
    pub signals: SignalCounts,
    /// What passed through it.
    pub transit: TransitCounts,
    /// Its links: those that are wanted or up, and those that ever carried anything.
    pub links: Vec<LinkStatus>,
    /// Messages of topics, at its agents and its door.
    #[serde(default)]
    pub topics: TopicCounts,
}

/// What one node thinks of another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpinionStatus {
    /// The name of the other one.
    pub node: String,
    /// Its number.
    pub number: u64,
    /// How it is.
    pub view: View,
    /// For how long that is thought, in milliseconds.
    pub for_ms: u64,
    /// Whether no datagrams come from it although its link is up.
    #[serde(default)]
    pub udp_blocked: bool,
}

/// The cluster, as the node that was asked sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterStatus {
    /// The name of the cluster.
    pub cluster: String,
    /// Its identity, in hexadecimal; absent until the first start is complete.
    pub cluster_id: Option<String>,
    /// The node that answers.
    pub node: String,
    /// Whether there is a leader that a quorum follows: whether the colony has a working queen.
    pub queenright: bool,
    /// The leader's name.
    pub leader: Option<String>,
    /// The term of the leader.
    pub term: u64,
    /// The topology of the links.
    pub topology: String,
    /// The number of the epoch: a list of the members and their topology; 0 while there is none.
    #[serde(default)]
    pub epoch: u64,
    /// The version of the rules in force.
    #[serde(default)]
    pub rules_version: u32,
    /// The links that the epoch leads around since they cannot be made, by the names of their ends.
    #[serde(default)]
    pub cuts: Vec<(String, String)>,
    /// All nodes, by number.
    pub nodes: Vec<NodeStatus>,
}

/// What one node counts and measures, since it started.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NodeFigures {
    /// Log entries applied.
    pub entries: u64,
    /// Rounds applied.
    pub rounds: u64,
    /// Commands applied.
    pub commands: u64,
    /// Bytes of the entries applied.
    pub bytes: u64,
    /// How many rounds had up to 1, 2, 4, … commands; the last place counts all larger ones.
    pub rounds_by_commands: Vec<u64>,
    /// How many entries joined up to 1, 2, 4, … commands.
    pub entries_by_commands: Vec<u64>,
    /// Contents kept by hash.
    pub contents: u64,
    /// Their bytes.
    pub content_bytes: u64,
    /// Commands that were refused before the log: by the pre-check, or for want of room on the disks.
    pub refused_early: u64,
    /// Rounds that were sent again.
    pub rounds_repeated: u64,
    /// Links of this node and their lanes.
    pub links: serde_json::Value,
    /// Envelopes that nobody here could take: answers that came too late, and what arrived before the node was ready.
    pub unclaimed: u64,
    /// Agents of this node that live: those that are active and those that are passive.
    #[serde(default)]
    pub agents: AgentCounts,
    /// Signals of this node's agents.
    pub signals: SignalCounts,
    /// Size of the log, in bytes.
    pub log_bytes: u64,
    /// fdatasyncs of the log.
    pub log_syncs: u64,
    /// Median of one of them, in microseconds.
    pub log_sync_p50_us: u64,
    /// Its 99th percentile, in microseconds.
    pub log_sync_p99_us: u64,
    /// The folder of its data.
    pub data: String,
    /// Bytes of the store on disk.
    pub store_bytes: u64,
    /// Changed records, or events, that wait for the store: the greater number.
    #[serde(default)]
    pub store_waits: u64,
    /// Those who follow events at its door.
    #[serde(default)]
    pub subscribers: SubscriberCounts,
    /// Messages of topics.
    #[serde(default)]
    pub topics: TopicCounts,
    /// How long what it does takes.
    #[serde(default)]
    pub latencies: Latencies,
}

/// How long a node waits for the status of another one.
pub(super) const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

impl Node {
    /// The cluster as this node sees it; asks the other nodes, and waits for those that do not answer no longer than a
    /// second.
    pub async fn cluster_status(&self) -> ClusterStatus {
        let others = self.router.members().into_iter().map(|number| async move {
            if number == self.router.me() {
                return NodeStatus {
                    health: Some(self.health()),
                    ..self.own_status()
                };
            }
            let question = encode(&Control::Status);
            let asked = self
                .router
                .ask(number, Lane::Command, Kind::Control, question, STATUS_TIMEOUT);
            let (answer, health) = futures::join!(asked, self.health_of(number));
            let status = answer.ok().and_then(|body| decode::<NodeStatus>(&body).ok());
            status.map(|status| NodeStatus { health, ..status }).unwrap_or_else(|| {
                let (name, http) = (
                    self.name_of(number).to_string(),
                    self.roster.of(number).map(|seat| seat.http).unwrap_or_default(),
                );
                NodeStatus::unreachable(name, number.0, http)
            })
        });
        let mut nodes = futures::future::join_all(others).await;
        let epoch = self.shaping.epochs.present();
        for node in &mut nodes {
            node.standing = epoch
                .as_ref()
                .and_then(|epoch| Standing::of(NodeId(node.number), epoch));
        }
        let leadership = self.consensus.current();
        let voters = self.consensus.members().borrow().voters();
        let votes = |node: &&NodeStatus| voters.contains(&NodeId(node.number));
        let reachable = nodes
            .iter()
            .filter(votes)
            .filter(|node| node.role != Role::Unreachable)
            .count();
        // A leader that cannot reach a majority may not know yet that it leads no more, and one that has died is followed
        // until the election.
        let answers = |leader: NodeId| {
            let mut reachable = nodes.iter().filter(|node| node.role != Role::Unreachable);
            reachable.any(|node| node.number == leader.0)
        };
        let queenright = leadership.leader.is_some_and(answers) && reachable > voters.len() / 2;
        let epoch = self.shaping.epochs.present();
        let cuts = epoch.iter().flat_map(|epoch| &epoch.cuts).map(|cut| {
            let [one, other] = cut.ends().map(|end| self.name_of(end).to_string());
            (one, other)
        });
        let cuts = cuts.collect();
        ClusterStatus {
            cluster: self.cluster.clone(),
            cluster_id: Some(self.cluster_id.to_string()),
            node: self.name().to_string(),
            queenright,
            leader: leadership.leader.map(|leader| self.name_of(leader).to_string()),
            term: leadership.term,
            topology: epoch.as_ref().map_or(self.topology, |epoch| epoch.kind).to_string(),
            epoch: epoch.map_or(0, |epoch| epoch.number),
            rules_version: self.replica.rules_version(),
            cuts,
            nodes,
        }
    }

    /// This node alone, as it shows in the status of its cluster; asks nobody.
    pub fn own_status(&self) -> NodeStatus {
        let (seq, applied, digest) = self.replica.digest();
        let me = self.router.me();
        NodeStatus {
            name: self.name().to_string(),
            number: me.0,
            role: self.consensus.current().role,
            applied: Some(applied),
            seq: Some(seq),
            digest: Some(digest.to_string()),
            agents: Some(self.agents.live()),
            http: self.roster.of(me).map(|seat| seat.http).unwrap_or_default(),
            pid: Some(std::process::id()),
            disk: Some(self.disk.status()),
            recovery: Some(self.consensus.recovered_by()),
            subscribers: Some(self.subscribers.counts()),
            refused: Some(self.router.link_stats().refused),
            traffic: Some(self.traffic()),
            opinions: Some(self.opinions()),
            datagrams: Some(self.liveness.counts()),
            build: Some(BUILD.to_owned()),
            standing: None,
            health: None,
        }
    }

    /// Whether this node knows a leader, and the term.
    pub fn leader_and_term(&self) -> (bool, u64) {
        let leadership = self.consensus.current();
        (leadership.leader.is_some(), leadership.term)
    }

    /// The number of the epoch; 0 while there is none.
    pub fn epoch(&self) -> u64 {
        self.shaping.epochs.present().map_or(0, |epoch| epoch.number)
    }

    /// Whether the state of this node differs from what the leader logged, and that is not settled yet.
    pub fn is_diverged(&self) -> bool {
        self.replica.difference().is_some()
    }

    /// What the links of this node count, lane by lane.
    pub fn link_stats(&self) -> LinksStats {
        self.router.link_stats()
    }

    fn traffic(&self) -> Traffic {
        let shaped = self.shaping.shaped();
        let links = self.router.link_stats().links.into_iter().map(|link| {
            let sum = |of: fn(&LaneStats) -> u64| link.lanes.iter().map(of).sum();
            LinkStatus {
                role: match link.index {
                    index if shaped.data.contains(&index) => LinkRole::Data,
                    index if shaped.control.contains(&index) => LinkRole::Control,
                    _ if link.up => LinkRole::Guest,
                    _ => LinkRole::Idle,
                },
                up: link.up,
                version: link.version,
                problem: link.problem,
                round_trip: link.round_trip,
                reconnects: link.reconnects,
                sent: sum(|lane| lane.sent),
                sent_bytes: sum(|lane| lane.sent_bytes),
                received: sum(|lane| lane.received),
                refused: sum(|lane| lane.refused),
                lost: sum(|lane| lane.lost),
                in_doubt: sum(|lane| lane.in_doubt),
                queued_bytes: sum(|lane| lane.queued_bytes),
                peer: link.peer,
            }
        });
        Traffic {
            signals: self.signals.counts(),
            topics: self.topics.counts(),
            transit: self.router.transit(),
            links: links
                .filter(|link| {
                    let said = link.sent + link.received + link.refused > 0 || link.problem.is_some();
                    link.role != LinkRole::Idle || said
                })
                .collect(),
        }
    }

    fn opinions(&self) -> Vec<OpinionStatus> {
        let opinions = self.liveness.opinions().borrow().clone();
        let status = opinions.iter().map(|(node, opinion)| OpinionStatus {
            node: self.name_of(*node).to_string(),
            number: node.0,
            view: opinion.view,
            for_ms: opinion.since.elapsed().as_millis() as u64,
            udp_blocked: opinion.udp_blocked,
        });
        status.collect()
    }

    /// What this node counts and measures.
    ///
    /// # Errors
    /// When its store has failed.
    pub async fn figures(&self) -> Result<NodeFigures, StoreError> {
        let counts = self.replica.counts();
        let snapshot = self.replica.snapshot();
        let kept = snapshot.colony.projects().map(|(_, project)| project.memory().kept());
        let (contents, content_bytes) = kept.fold((0, 0), |sum, kept| (sum.0 + kept.0, sum.1 + kept.1));
        drop(snapshot);
        let log = self.log.metrics().unwrap_or_default();
        Ok(NodeFigures {
            entries: counts.entries,
            rounds: counts.rounds,
            commands: counts.commands,
            bytes: counts.bytes,
            rounds_by_commands: counts.rounds_by_commands.to_vec(),
            entries_by_commands: counts.entries_by_commands.to_vec(),
            contents,
            content_bytes,
            refused_early: self.queen_counts.refused_early.load(Ordering::Relaxed),
            rounds_repeated: self.queen_counts.rounds_repeated.load(Ordering::Relaxed),
            links: serde_json::to_value(self.router.link_stats()).unwrap_or_default(),
            unclaimed: self.router.unclaimed(),
            agents: self.agents.counts(),
            signals: self.signals.counts(),
            log_bytes: log.bytes_on_disk,
            log_syncs: log.syncs,
            log_sync_p50_us: log.sync_p50.as_micros() as u64,
            log_sync_p99_us: log.sync_p99.as_micros() as u64,
            data: self.folder.path().display().to_string(),
            store_bytes: self.store.size_on_disk()?,
            store_waits: self.replica.dirty_records() as u64,
            subscribers: self.subscribers.counts(),
            topics: self.topics.counts(),
            latencies: Latencies {
                commands: self.meters.commands.latency(),
                claims: self.meters.claims.latency(),
                rounds: self.meters.rounds.latency(),
                commits: self.meters.commits.latency(),
                log_syncs: self.log.sync_latency(),
                store_passes: self.store.pass_latency(),
            },
        })
    }
}
