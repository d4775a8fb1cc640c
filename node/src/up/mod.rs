//! All nodes of a cluster as processes of this host.
//!
//! | what | how |
//! |---|---|
//! | a node is started | this program again, as `queenright node --config FILE --name NAME --parent-pipe`, in a process group of its own, so that Ctrl-C in a terminal reaches the parent only |
//! | it says that it is ready, or why not | one line of JSON on its stdout, an [`Announcement`] |
//! | it says anything else | on its stderr, which is its log file |
//! | it is stopped | SIGTERM to its process, and SIGKILL after five seconds |
//! | its parent is gone, however | its stdin, a pipe that nobody writes to, ends; the node then ends within [`parent_pipe::GRACE`] |

mod announcement;
mod error;
mod log;
pub mod parent_pipe;
mod process;
pub mod service;
mod stop;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use tokio::time::Instant;

pub use announcement::Announcement;
pub use error::UpError;
use process::NodeProcess;
pub use stop::{StopCause, StopSignals};

use crate::config::{Auth, ClusterConfig};
use crate::state::StateFolders;

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// The cluster. Its file must be on disk, for each node reads it.
    pub config: ClusterConfig,
    /// Where its state lies and its nodes are recorded.
    pub folders: StateFolders,
    /// The program to run: `queenright` itself.
    pub executable: PathBuf,
    /// How long all nodes together may take until they are ready.
    pub ready_within: Duration,
    /// How long a node may take to end after SIGTERM before it is killed.
    pub stop_within: Duration,
    /// Whether what others can reach may be open without TLS or tokens.
    pub insecure: bool,
}

impl UpOptions {
    /// The cluster of `config` run by the current executable, with its state in `data` or else in the user's folder.
    /// 30 seconds until all are ready: a first start takes well under one, and a recovery reads the log. 5 seconds to end.
    ///
    /// # Errors
    /// [`UpError::State`] if there is no folder for the state, [`UpError::Executable`] if the running program cannot be
    /// found again.
    pub fn new(config: ClusterConfig, data: Option<&Path>) -> Result<UpOptions, UpError> {
        Ok(UpOptions {
            folders: StateFolders::find(&config.name, data)?,
            config,
            executable: std::env::current_exe().map_err(UpError::Executable)?,
            ready_within: Duration::from_secs(30),
            stop_within: Duration::from_secs(5),
            insecure: false,
        })
    }
}

/// A running cluster. Dropping it kills the nodes that are left; [`Cluster::stop`] lets them end cleanly.
#[derive(Debug)]
pub struct Cluster {
    options: UpOptions,
    nodes: Vec<NodeProcess>,
}

/// A node of a [`Cluster`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its process, or none if it has ended.
    pub pid: Option<u32>,
    /// Its door, as a URL.
    pub door: String,
    /// Its log file.
    pub log: PathBuf,
    /// The folder of its data.
    pub data: PathBuf,
}

/// A node that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// The last lines that it logged.
    pub log_tail: Vec<String>,
}

impl Cluster {
    /// Starts all nodes and waits until all are ready.
    ///
    /// # Errors
    /// [`UpError`] says what went wrong first; by then no node runs any more.
    pub async fn start(options: UpOptions) -> Result<Cluster, UpError> {
        Cluster::start_with(options, |_, _| {}).await
    }

    /// As [`Cluster::start`]; `progress(ready, all)` is called whenever a node has become ready.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start_with(options: UpOptions, mut progress: impl FnMut(usize, usize)) -> Result<Cluster, UpError> {
        let name = &options.config.name;
        if let Some(running) = options
            .folders
            .registry
            .running()?
            .into_iter()
            .find(|node| node.cluster == *name)
        {
            return Err(UpError::AlreadyRunning {
                running: Box::new(running),
            });
        }
        options
            .folders
            .cluster
            .create(options.config.nodes.iter().map(|node| node.name.as_str()))?;
        // Made before there are nodes: nobody has to wait for anybody else's.
        options.folders.cluster.cookie(options.config.tls.as_deref())?;
        if options.config.auth == Auth::Token {
            options.folders.cluster.admin_token()?;
        }
        let deadline = Instant::now() + options.ready_within;
        // From here on an early return drops the nodes started so far, which kills them.
        let mut cluster = Cluster {
            nodes: Vec::with_capacity(options.config.nodes.len()),
            options,
        };
        for node in &cluster.options.config.nodes {
            cluster.nodes.push(NodeProcess::spawn(&cluster.options, node)?);
        }
        let all = cluster.nodes.len();
        let mut waiting: FuturesUnordered<_> = cluster.nodes.iter_mut().map(|node| node.ready(deadline)).collect();
        let mut failed = None;
        while let Some(result) = waiting.next().await {
            match result {
                Ok(()) => progress(all - waiting.len(), all),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(waiting);
        match failed {
            None => Ok(cluster),
            Some(error) => {
                cluster.stop().await;
                Err(error)
            }
        }
    }

    /// The configuration that the nodes run with.
    pub fn config(&self) -> &ClusterConfig {
        &self.options.config
    }

    /// The nodes, in the order of the cluster file.
    pub fn nodes(&self) -> Vec<NodeView> {
        self.nodes.iter().map(NodeProcess::view).collect()
    }

    /// Kills a node with SIGKILL, as a crash would, and waits for its end. Nothing happens if it has ended already.
    ///
    /// # Errors
    /// [`UpError::Config`] if there is no such node, [`UpError::Signal`] if the system refuses.
    pub async fn kill(&mut self, name: &str) -> Result<(), UpError> {
        let index = self.index(name)?;
        self.nodes[index].kill().await
    }

    /// Starts a node that has ended once more, on its old data, and waits until it is ready.
    ///
    /// # Errors
    /// [`UpError::StillRunning`], and those of [`Cluster::start`]; the other nodes run on.
    pub async fn start_node(&mut self, name: &str) -> Result<(), UpError> {
        let index = self.index(name)?;
        if let Some(pid) = self.nodes[index].running() {
            return Err(UpError::StillRunning {
                name: name.to_owned(),
                pid,
            });
        }
        let mut node = NodeProcess::spawn(&self.options, &self.options.config.nodes[index])?;
        node.ready(Instant::now() + self.options.ready_within).await?;
        self.nodes[index] = node;
        Ok(())
    }

    /// Waits until a node ends by itself and says how; `None` once none runs. Safe to cancel.
    pub async fn next_ended(&mut self) -> Option<Ended> {
        let mut running: FuturesUnordered<_> = self.nodes.iter_mut().filter_map(NodeProcess::ended).collect();
        running.next().await
    }

    /// Stops all nodes: SIGTERM, and SIGKILL for those that have not ended in time; waits for all. Returns the names of
    /// those that had to be killed.
    pub async fn stop(&mut self) -> Vec<String> {
        let within = self.options.stop_within;
        let mut stopping: FuturesUnordered<_> = self.nodes.iter_mut().map(|node| node.stop(within)).collect();
        let mut killed = Vec::new();
        while let Some(name) = stopping.next().await {
            killed.extend(name);
        }
        killed.sort();
        killed
    }

    fn index(&self, name: &str) -> Result<usize, UpError> {
        let node = self.options.config.node(name)?;
        let found = self
            .options
            .config
            .nodes
            .iter()
            .position(|other| other.name == node.name);
        Ok(found.expect("the node was found in this list"))
    }
}
