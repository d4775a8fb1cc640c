//! The types with which openraft is instantiated.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The payload of one log entry: the rounds that the leader's queen joined, encoded once and never re-encoded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryBytes(pub Bytes);

impl fmt::Debug for EntryBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryBytes({} B)", self.0.len())
    }
}

impl fmt::Display for EntryBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.0.len())
    }
}

#[cfg(not(test))]
type Runtime = openraft::impls::TokioRuntime;
/// Tokio as well, unless a simulated node runs on the thread.
#[cfg(test)]
type Runtime = crate::sim::SimRuntime;

openraft::declare_raft_types!(
    /// openraft for the colony: entries are bytes, the state machine answers through the queen and not through the log.
    pub TypeConfig:
        D = EntryBytes,
        R = (),
        NodeId = u64,
        Node = openraft::EmptyNode,
        AsyncRuntime = Runtime,
);
