//! One node, from its start to its end.

use std::io::{self, Write};
use std::path::PathBuf;

use thiserror::Error;

use crate::config::{ClusterConfig, NodeConfig};
use crate::state::{Cookie, Registration, Registry, RunningNode, StateError};
use crate::up::{Announcement, StopSignals};

/// What a node needs to run.
#[derive(Debug)]
pub struct NodePlan {
    /// Its cluster.
    pub config: ClusterConfig,
    /// Its name, which the cluster file lists.
    pub name: String,
    /// The folder of its data, which exists.
    pub data_dir: PathBuf,
    /// What the nodes of the cluster prove to each other that they know.
    pub cookie: Cookie,
    /// Where its running is recorded.
    pub registry: Registry,
    /// Whether another process started it, waits for one line on stdout, and holds the pipe on stdin.
    pub parent_pipe: bool,
    /// What tells it to end.
    pub stop: StopSignals,
}

impl NodePlan {
    /// The node in the cluster file.
    ///
    /// # Panics
    /// If the plan was made for a name that the file does not list.
    pub fn node(&self) -> &NodeConfig {
        self.config
            .node(&self.name)
            .expect("a plan is made for a node of its file")
    }

    /// Says that the door is open: records the node and tells the process that started it, or the person who did. The
    /// record goes when the returned value is dropped.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn announce_ready(&self) -> Result<Registration, StateError> {
        let node = self.node();
        let running = RunningNode::this_process(
            &self.config.name,
            &self.name,
            node.http,
            node.links,
            self.data_dir.clone(),
        );
        let registration = self.registry.record(running.clone())?;
        // Whoever started the node may have stopped reading; the record says the same.
        let _ = if self.parent_pipe {
            Announcement::Ready(running).print()
        } else {
            let (name, cluster, door) = (&self.name, &self.config.name, running.door());
            writeln!(
                io::stdout(),
                "node {name} of {cluster} is ready at {door} (stop with Ctrl-C)"
            )
        };
        Ok(registration)
    }
}

/// Why a node could not run, or not go on.
#[derive(Debug, Error)]
pub enum ServerError {
    /// This version has no node to run.
    #[error("running a node is not available yet")]
    NotYet,
}

/// Runs a node until it is told to end.
///
/// # Errors
/// [`ServerError`] says why it could not start or go on.
pub async fn run(plan: NodePlan) -> Result<(), ServerError> {
    drop(plan);
    Err(ServerError::NotYet)
}
