//! A running node, as its doors see it.

use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::colony::{Key, Outcome};
use serde::{Deserialize, Serialize};

use crate::agent::{AgentError, AgentSpec, AgentStatus};
use crate::queen::{Request, SubmitError};
use crate::replica::{Replica, Snapshot};
use crate::store::StoreError;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// It sees every write that was acknowledged before it was asked for, on whatever node.
    #[default]
    Linearizable,
    /// It sees what this node has applied.
    Local,
}

/// Why a read was not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed the position of the read in time.
    #[error("no quorum confirmed the read within {waited_ms} ms")]
    NoQuorum {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

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
    /// How many agents it hosts.
    pub agents: Option<u64>,
    /// Its door, as the cluster file has it.
    pub http: String,
    /// Its process.
    pub pid: Option<u32>,
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
    /// Commands that the pre-check refused before the log.
    pub refused_early: u64,
    /// Rounds that were sent again.
    pub rounds_repeated: u64,
    /// Links of this node and their lanes.
    pub links: serde_json::Value,
    /// The folder of its data.
    pub data: String,
    /// Bytes of the store on disk.
    pub store_bytes: u64,
}

/// A running node.
pub struct Node {
    replica: Arc<Replica>,
}

impl Node {
    /// Carries out a command: returns its outcome once a majority has it on disk.
    ///
    /// # Errors
    /// When the queen does not take it, or no outcome came before the deadline: then it is unknown.
    pub async fn submit(&self, request: Request, deadline: Duration) -> Result<Outcome, SubmitError> {
        let _ = (request, deadline);
        Err(SubmitError::Stopping)
    }

    /// The state, as fresh as asked for. Drop it when done.
    ///
    /// # Errors
    /// When no quorum confirmed the read before the deadline.
    pub async fn read(&self, consistency: Consistency, deadline: Duration) -> Result<Arc<Snapshot>, ReadError> {
        let _ = (consistency, deadline);
        Err(ReadError::Stopping)
    }

    /// This node's copy of the colony.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// The cluster as this node sees it; asks the other nodes, and waits for those that do not answer no longer than a
    /// second.
    pub async fn cluster_status(&self) -> ClusterStatus {
        unreachable!()
    }

    /// What this node counts and measures.
    pub async fn figures(&self) -> NodeFigures {
        unreachable!()
    }

    /// Starts an agent on this node.
    ///
    /// # Errors
    /// When its kind is unknown, its name is taken or its arguments do not fit.
    pub async fn spawn_agent(&self, spec: AgentSpec) -> Result<AgentStatus, AgentError> {
        let _ = spec;
        Err(AgentError::Stopping)
    }

    /// The agents of this node, by name.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn agents(&self) -> Result<Vec<AgentStatus>, AgentError> {
        Err(AgentError::Stopping)
    }

    /// One agent, with its report.
    ///
    /// # Errors
    /// When there is no such agent.
    pub async fn agent(&self, name: &str) -> Result<AgentStatus, AgentError> {
        Err(AgentError::NotFound { name: name.to_string() })
    }

    /// Stops an agent.
    ///
    /// # Errors
    /// When there is no such agent.
    pub async fn stop_agent(&self, name: &str) -> Result<(), AgentError> {
        Err(AgentError::NotFound { name: name.to_string() })
    }

    /// The records whose keys begin with `prefix`, as the store on disk holds them once everything applied so far has
    /// been written to it: (key, tags, bytes), by key; deleted keys are left out.
    ///
    /// # Errors
    /// When the store has failed.
    pub async fn stored(&self, project: &str, prefix: &str) -> Result<Vec<(Key, Vec<Arc<str>>, Vec<u8>)>, StoreError> {
        let _ = (project, prefix);
        Ok(Vec::new())
    }
}
