//! What a node tells of itself and of its cluster, to those who look at it from outside.

use serde::{Deserialize, Serialize};

use super::subscribers::SubscriberCounts;
use crate::agent::SignalCounts;
use crate::consensus::Recovery;
use crate::disk::DiskStatus;

/// What a node does in consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// The cluster, as the node that was asked sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// All nodes, by number.
    pub nodes: Vec<NodeStatus>,
}

/// What one node counts and measures, since it started.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
}
