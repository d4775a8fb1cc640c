//! A cluster for a workload: nodes on this host, three in a mesh unless it says otherwise, started as a user starts them, by
//! `queenright up`.
//!
//! Everything lies in one folder of its own below the data folder: the cluster file, the state of the nodes and their
//! logs. [`Rig::stop`] removes it; after a failure it stays. The cluster ends with the process that started it, however
//! that ends, since `up` watches a pipe that this process holds.

mod kills;
mod shape;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream;
use queenright_actors::agent::{AgentSpec, AgentState, AgentStatus, RestartPolicy};
use queenright_actors::node::{ClusterStatus, NodeFigures};
use queenright_protocol::id::NodeId;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

pub use self::shape::Shape;
use crate::client::{Client, ClientError, ClientOptions};
use crate::{BenchError, Options};

/// Who works, in the records.
const AUTHOR: &str = "bench";
/// How often a cluster is started when another process takes one of its ports in between.
const STARTS_MAX: u32 = 3;
/// How long the nodes may take until they are ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long they may take to stop before they are killed.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long a request may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked at what is waited for: seldom enough to cost nothing.
const POLL: Duration = Duration::from_millis(50);
/// How many agents are asked for, or about, at the same time.
const REQUESTS_IN_FLIGHT: usize = 16;
/// The longest summary of `up` that is read.
const SUMMARY_BYTES_MAX: u64 = 64 * 1024;
/// How much of what `up` said is shown when it fails.
const LOG_SHOWN_CHARS: usize = 500;

/// A running cluster.
#[derive(Debug)]
pub struct Rig {
    up: Child,
    /// Never written to: `up` stops its nodes and ends when this is closed.
    _parent_pipe: Option<ChildStdin>,
    program: PathBuf,
    folder: PathBuf,
    file: PathBuf,
    nodes: Vec<RigNode>,
    /// Nodes that were killed and started again, by hand: each with its standard input, which ends it when it is closed.
    restarted: BTreeMap<String, (Child, Option<ChildStdin>)>,
}

/// A node of a rig.
#[derive(Clone, Debug)]
pub struct RigNode {
    /// Its name.
    pub name: String,
    /// Its number, by which agents address it.
    pub id: NodeId,
    /// Its process.
    pub pid: u32,
    /// The client of its door.
    pub client: Client,
}

/// What `up --json` prints once all nodes are ready; it prints more than this.
#[derive(Debug, Deserialize)]
struct Summary {
    nodes: Vec<SummaryNode>,
}

#[derive(Debug, Deserialize)]
struct SummaryNode {
    name: String,
    pid: Option<u32>,
    door: String,
}

impl Rig {
    /// Starts three nodes for a workload and waits until all are ready.
    ///
    /// # Errors
    /// [`BenchError::Disk`], or [`BenchError::Program`] with what `up` said.
    pub async fn start(options: &Options, workload: &str) -> Result<Rig, BenchError> {
        Rig::start_shaped(options, workload, Shape::default()).await
    }

    /// Starts the nodes of a shape for a workload and waits until all are ready.
    ///
    /// # Errors
    /// As [`Rig::start`].
    pub async fn start_shaped(options: &Options, workload: &str, shape: Shape) -> Result<Rig, BenchError> {
        let mut starts = 0;
        loop {
            starts += 1;
            match Self::start_once(options, workload, shape).await {
                // Drawn while it was free; see `Shape::cluster_file`.
                Err(BenchError::Program { problem, .. }) if starts < STARTS_MAX && problem.contains("in use") => {}
                started => return started,
            }
        }
    }

    async fn start_once(options: &Options, workload: &str, shape: Shape) -> Result<Rig, BenchError> {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let place = STARTED.fetch_add(1, Ordering::Relaxed);
        // A process has one name for each: `up` refuses a second cluster of one name on a host.
        let name = format!("{}-{}-{place}", workload.to_lowercase(), std::process::id());
        let folder = options.data.join(&name);
        let disk = |what, path: &Path| {
            let path = path.to_owned();
            move |source| BenchError::Disk { what, path, source }
        };
        std::fs::create_dir(&folder).map_err(disk("create", &folder))?;
        // `up` and its nodes may run elsewhere.
        let folder = folder.canonicalize().map_err(disk("find", &folder))?;
        let file = folder.join("cluster.toml");
        let text = shape.cluster_file(&name).map_err(disk("draw ports for", &file))?;
        std::fs::write(&file, text).map_err(disk("write", &file))?;
        let log_path = folder.join("up.log");
        let log = std::fs::File::create(&log_path).map_err(disk("create", &log_path))?;
        let problem = |problem: String| BenchError::Program {
            program: options.program.display().to_string(),
            problem,
            folder: folder.clone(),
        };
        let mut up = Command::new(&options.program)
            .arg("up")
            .arg(&file)
            .arg("--data")
            .arg(folder.join("state"))
            .args(["--json", "--parent-pipe"])
            // Where running nodes are recorded: a command that looks for the user's one cluster must not find this one.
            .env("XDG_STATE_HOME", folder.join("registry"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| problem(format!("cannot be started: {error}")))?;
        let parent_pipe = up.stdin.take();
        let mut rig = Rig {
            _parent_pipe: parent_pipe,
            program: options.program.clone(),
            folder: folder.clone(),
            file,
            nodes: Vec::new(),
            restarted: BTreeMap::new(),
            up,
        };
        let summary = match timeout(READY_WITHIN, rig.summary()).await {
            Ok(Some(summary)) => summary,
            Ok(None) => {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                let end = log.trim().chars().rev().take(LOG_SHOWN_CHARS).collect::<Vec<_>>();
                let end: String = end.into_iter().rev().collect();
                return Err(problem(format!("started no cluster: {end}")));
            }
            Err(_) => {
                let waited = READY_WITHIN.as_secs();
                return Err(problem(format!("started no cluster within {waited} s")));
            }
        };
        rig.nodes = nodes(summary, shape.nodes).map_err(|what| problem(format!("printed no good summary: {what}")))?;
        rig.ready().await?;
        Ok(rig)
    }

    /// The line of JSON that `up` prints; `None` when it ends without, or prints something else.
    async fn summary(&mut self) -> Option<Summary> {
        let stdout = self.up.stdout.take()?;
        let mut line = String::new();
        let read = BufReader::new(stdout.take(SUMMARY_BYTES_MAX))
            .read_line(&mut line)
            .await;
        read.ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Waits until every node has a leader and serves reads.
    async fn ready(&mut self) -> Result<(), BenchError> {
        let started = Instant::now();
        for node in &self.nodes {
            loop {
                match node.client.ready().await {
                    Ok(()) => break,
                    Err(error) if error.is_temporary() && started.elapsed() < READY_WITHIN => {
                        tokio::time::sleep(POLL).await;
                    }
                    Err(error) => return Err(door(format!("start node {}", node.name), error)),
                }
            }
        }
        let status = self.status().await?;
        for node in &mut self.nodes {
            let listed = status.nodes.iter().find(|listed| listed.name == node.name);
            node.id = NodeId(listed.map_or(0, |listed| listed.number));
        }
        Ok(())
    }

    /// The nodes, in the order of the cluster file.
    pub fn nodes(&self) -> &[RigNode] {
        &self.nodes
    }

    /// The cluster file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Everything that the cluster writes, on the disk that is measured.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The cluster as its first node sees it.
    ///
    /// # Errors
    /// [`BenchError::Door`].
    pub async fn status(&self) -> Result<ClusterStatus, BenchError> {
        let status = self.nodes[0].client.status().await;
        status.map_err(|error| door("ask for the state of the cluster", error))
    }

    /// The node that leads now, and one that follows.
    ///
    /// # Errors
    /// [`BenchError::Door`], or [`BenchError::Late`] when no node leads for long.
    pub async fn leader_and_follower(&self) -> Result<(&RigNode, &RigNode), BenchError> {
        let started = Instant::now();
        while started.elapsed() < READY_WITHIN {
            let status = self.status().await?;
            let leads = |node: &&RigNode| status.leader.as_deref() == Some(&node.name);
            let leader = self.nodes.iter().find(leads).filter(|_| status.queenright);
            let follower = self.nodes.iter().find(|node| !leads(node));
            if let (Some(leader), Some(follower)) = (leader, follower) {
                return Ok((leader, follower));
            }
            tokio::time::sleep(POLL).await;
        }
        Err(late("no node leads", started))
    }

    /// Stops the cluster by SIGTERM, waits for its end and removes what it wrote.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it does not end well; it is killed then and its folder stays.
    pub async fn stop(mut self) -> Result<(), BenchError> {
        let problem = |rig: &Rig, problem: String| BenchError::Program {
            program: rig.program.display().to_string(),
            problem,
            folder: rig.folder.clone(),
        };
        if let Some(pid) = self.up.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            kill_process(pid, Signal::TERM).map_err(|error| problem(&self, format!("cannot be stopped: {error}")))?;
        }
        match timeout(STOP_WITHIN, self.up.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            // None of the nodes that it started is left: it has ended with the last of them.
            Ok(Ok(_)) if self.restarted.len() == self.nodes.len() => {}
            Ok(Ok(status)) => return Err(problem(&self, format!("ended with {status}"))),
            Ok(Err(error)) => return Err(problem(&self, format!("cannot be waited for: {error}"))),
            Err(_) => {
                let waited = STOP_WITHIN.as_secs();
                return Err(problem(&self, format!("did not stop within {waited} s")));
            }
        }
        for (mut child, pipe) in std::mem::take(&mut self.restarted).into_values() {
            drop(pipe);
            if timeout(STOP_WITHIN, child.wait()).await.is_err() {
                return Err(problem(&self, "left a node that was started again".to_owned()));
            }
        }
        std::fs::remove_dir_all(&self.folder).map_err(|source| BenchError::Disk {
            what: "remove",
            path: self.folder.clone(),
            source,
        })
    }
}

impl RigNode {
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
        let spec = AgentSpec {
            name: name.to_owned(),
            kind: kind.to_owned(),
            arguments,
            // A load that begins again in the middle would measure something else.
            restart: RestartPolicy::never(),
        };
        let spawned = self.client.spawn_agent(&spec).await;
        spawned.map_err(|error| door(format!("start agent {name} on {}", self.name), error))
    }

    /// How an agent is.
    ///
    /// # Errors
    /// [`BenchError::Door`], and [`BenchError::Agent`] for one that failed or was stopped.
    pub async fn agent(&self, name: &str) -> Result<AgentStatus, BenchError> {
        let asked = self.client.agent(name).await;
        let status = asked.map_err(|error| door(format!("ask for agent {name} on {}", self.name), error))?;
        match status.state {
            AgentState::Starting | AgentState::Working | AgentState::Done => Ok(status),
            AgentState::Restarting | AgentState::Failed | AgentState::Stopped => Err(BenchError::Agent {
                name: status.name,
                problem: status.reason.unwrap_or_else(|| "was stopped".to_owned()),
            }),
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

/// Does the same for all of `items`, some at a time; the answers come in the order of the items.
///
/// # Errors
/// The first error; what is under way then is broken off.
pub async fn for_all<I, T, F: Future<Output = Result<T, BenchError>>>(
    items: impl IntoIterator<Item = I>,
    work: impl FnMut(I) -> F,
) -> Result<Vec<T>, BenchError> {
    let mut answers = Vec::new();
    let mut all = stream::iter(items).map(work).buffered(REQUESTS_IN_FLIGHT);
    while let Some(answer) = all.next().await {
        answers.push(answer?);
    }
    Ok(answers)
}

/// A number in the report of an agent.
///
/// # Errors
/// [`BenchError::Agent`] when it is not there.
pub fn reported(status: &AgentStatus, name: &str) -> Result<u64, BenchError> {
    let number = status.report.get(name).and_then(serde_json::Value::as_u64);
    number.ok_or_else(|| BenchError::Agent {
        name: status.name.clone(),
        problem: format!("reports no {name}"),
    })
}

/// Runs the work of a workload to its end, on threads of its own.
///
/// # Errors
/// [`BenchError::Threads`], and those of the work.
pub fn block_on<T>(work: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(BenchError::Threads)?;
    threads.block_on(work)
}

/// The error of a door, with what was tried.
pub fn door(what: impl Into<String>, source: ClientError) -> BenchError {
    BenchError::Door {
        what: what.into(),
        source: Box::new(source),
    }
}

/// What did not happen since `started`.
pub fn late(what: impl Into<String>, started: Instant) -> BenchError {
    BenchError::Late {
        what: what.into(),
        waited: started.elapsed(),
    }
}

/// Why a summary is none of the cluster that was to be started.
#[derive(Debug, thiserror::Error)]
enum BadSummary {
    #[error("{found} nodes instead of {expected}")]
    Nodes { found: usize, expected: usize },
    #[error("node {name} has no process")]
    NoProcess { name: String },
    #[error(transparent)]
    Door(#[from] ClientError),
}

fn nodes(summary: Summary, expected: usize) -> Result<Vec<RigNode>, BadSummary> {
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
    let options = ClientOptions {
        agent: AUTHOR.to_owned(),
        timeout: REQUEST_WITHIN,
        ..ClientOptions::default()
    };
    let client = Client::new(&door, options)?;
    let Some(pid) = pid else {
        return Err(BadSummary::NoProcess { name });
    };
    Ok(RigNode {
        name,
        id: NodeId::NONE,
        pid,
        client,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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

    /// What is said of a program that does `script` instead of starting a cluster.
    fn refusal(script: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let options = Options {
            program,
            ..Options::full(folder.path().to_owned())
        };
        let error = block_on(Rig::start(&options, "B0")).unwrap_err();
        assert!(matches!(error, BenchError::Program { .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn a_program_that_starts_no_cluster_is_quoted() {
        assert!(refusal("echo it cannot >&2; exit 1").contains("started no cluster: it cannot; what it wrote is in"));
        assert!(refusal("echo '{\"nodes\":[]}'; cat >/dev/null").contains("0 nodes instead of 3"));
    }

    #[test]
    fn answers_come_in_order_and_the_first_error_ends() {
        let doubled = block_on(for_all(0..100u64, |number| async move { Ok(number * 2) })).unwrap();
        assert_eq!(doubled, (0..100).map(|number| number * 2).collect::<Vec<u64>>());
        let failing = for_all(0..100u64, |number| async move {
            match number {
                50 => Err(late("nothing", Instant::now())),
                _ => Ok(()),
            }
        });
        assert!(matches!(block_on(failing), Err(BenchError::Late { .. })));
    }
}
