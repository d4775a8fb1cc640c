//! A cluster for a workload: nodes on this host, three in a mesh unless it says otherwise, started as a user starts them, by
//! `queenright up`.
//!
//! Everything lies in one folder of its own below the data folder: the cluster file, the state of the nodes and their
//! logs. [`Rig::stop`] removes it; after a failure it stays. The cluster ends with the process that started it, however
//! that ends, since `up` watches a pipe that this process holds. A rig that is dropped without [`Rig::stop`] stops its
//! cluster and waits for its end, so that what runs next has the machine to itself.

mod join;
mod kills;
mod node;
mod shape;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream;
use hdrhistogram::Histogram;
use queenright_actors::agent::AgentStatus;
use queenright_actors::node::{ClusterStatus, LinkRole, LinkStatus, Role};
use queenright_protocol::id::NodeId;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

pub use self::join::Joined;
pub use self::node::RigNode;
pub(crate) use self::node::spawn;
use self::node::{Summary, nodes};
pub use self::shape::Shape;
use crate::client::ClientError;
use crate::hosts::Hosts;
use crate::interrupt::{interrupted, is_interrupted};
use crate::settings::Setting;
use crate::{BenchError, Options};

/// How often a cluster is started when another process takes one of its ports in between.
const STARTS_MAX: u32 = 3;
/// How long the nodes may take until they are ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long they may take to stop before they are killed.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long a cluster may take to be whole, and how many entries its nodes may be apart then.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);
const BEHIND_MAX: u64 = 16;
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
    parent_pipe: Option<ChildStdin>,
    program: PathBuf,
    /// What starts a node: the program itself, or what starts it on its host; and whether its door may be open there.
    starter: PathBuf,
    insecure: bool,
    /// The name of the cluster.
    name: String,
    settings: Vec<Setting>,
    folder: PathBuf,
    file: PathBuf,
    nodes: Vec<RigNode>,
    /// Nodes that were killed and started again, by hand: each with its standard input, which ends it when it is closed.
    restarted: BTreeMap<String, (Child, Option<ChildStdin>)>,
    /// Nodes that have joined.
    joined: Vec<Joined>,
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
        Rig::start_on(options, workload, shape, None).await
    }

    /// The same on hosts, one for each node; without them all are on this one.
    ///
    /// # Errors
    /// As [`Rig::start`], and [`BenchError::Hosts`].
    pub async fn start_on(
        options: &Options,
        workload: &str,
        shape: Shape,
        hosts: Option<&Hosts>,
    ) -> Result<Rig, BenchError> {
        let mut starts = 0;
        loop {
            starts += 1;
            match Self::start_once(options, workload, shape, hosts).await {
                // Drawn while it was free; see `Shape::cluster_file`. Nothing failed that somebody would look at.
                Err(BenchError::Program { problem, folder, .. })
                    if starts < STARTS_MAX && problem.contains("in use") =>
                {
                    remove(&folder)?;
                }
                started => return started,
            }
        }
    }

    async fn start_once(
        options: &Options,
        workload: &str,
        shape: Shape,
        hosts: Option<&Hosts>,
    ) -> Result<Rig, BenchError> {
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
        let text = match hosts {
            None => shape
                .cluster_file(&name, &options.settings)
                .map_err(disk("draw ports for", &file))?,
            Some(hosts) => shape.cluster_file_on(&name, hosts, &options.settings),
        };
        let starter = match hosts {
            None => options.program.clone(),
            Some(hosts) => {
                // It is started by a shell in a folder of its own.
                let program = options.program.canonicalize();
                let program = program.map_err(disk("find", &options.program))?;
                hosts.starter(&program, &folder).map_err(BenchError::Hosts)?
            }
        };
        std::fs::write(&file, text).map_err(disk("write", &file))?;
        let log_path = folder.join("up.log");
        let log = std::fs::File::create(&log_path).map_err(disk("create", &log_path))?;
        let problem = |problem: String| BenchError::Program {
            program: options.program.display().to_string(),
            problem,
            folder: folder.clone(),
        };
        let mut up = Command::new(&options.program);
        if hosts.is_some() {
            // Its own net is nobody else's.
            up.args(["up", "--insecure", "--starter"]).arg(&starter);
        } else {
            up.arg("up");
        }
        let mut up = up
            .arg(&file)
            .arg("--data")
            .arg(folder.join("state"))
            .args(["--json", "--parent-pipe"])
            // Where running nodes are recorded: a command that looks for the user's one cluster must not find this one.
            .env("XDG_STATE_HOME", folder.join("registry"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // A signal of the terminal is for the run, which still has to look at its cluster.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| problem(format!("cannot be started: {error}")))?;
        let parent_pipe = up.stdin.take();
        let mut rig = Rig {
            parent_pipe,
            program: options.program.clone(),
            settings: options.settings.clone(),
            starter,
            insecure: hosts.is_some(),
            folder: folder.clone(),
            file,
            nodes: Vec::new(),
            restarted: BTreeMap::new(),
            joined: Vec::new(),
            name,
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
        // What goes over links while the first epoch begins may be lost.
        self.whole().await?;
        Ok(())
    }

    /// Waits until all nodes answer, know the epoch, have their links and are at nearly the same place, and one leads.
    /// Returns its name.
    ///
    /// # Errors
    /// [`BenchError::Door`], or [`BenchError::Late`].
    pub async fn whole(&self) -> Result<String, BenchError> {
        let started = Instant::now();
        while started.elapsed() < WHOLE_WITHIN {
            let asked = for_all(&self.nodes, async |node| Ok(node.client.status().await.ok())).await?;
            let told: Option<Vec<ClusterStatus>> = asked.into_iter().collect();
            if let Some([first, ..]) = told.as_deref().filter(|told| told.iter().all(is_whole))
                && let Some(leader) = &first.leader
            {
                return Ok(leader.clone());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(late("the cluster is not whole", started))
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
        leader_and_follower(&self.nodes).await
    }

    /// Stops the cluster by SIGTERM, waits for its end and removes what it wrote.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it does not end well; it is killed then and its folder stays.
    pub async fn stop(mut self) -> Result<(), BenchError> {
        self.stop_joined().await?;
        if let Some(pid) = self.up.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            kill_process(pid, Signal::TERM).map_err(|error| self.problem(format!("cannot be stopped: {error}")))?;
        }
        match timeout(STOP_WITHIN, self.up.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            // None of the nodes that it started is left: it has ended with the last of them.
            Ok(Ok(_)) if self.restarted.len() == self.nodes.len() => {}
            Ok(Ok(status)) => return Err(self.problem(format!("ended with {status}"))),
            Ok(Err(error)) => return Err(self.problem(format!("cannot be waited for: {error}"))),
            Err(_) => {
                let waited = STOP_WITHIN.as_secs();
                return Err(self.problem(format!("did not stop within {waited} s")));
            }
        }
        for (mut child, pipe) in std::mem::take(&mut self.restarted).into_values() {
            drop(pipe);
            if timeout(STOP_WITHIN, child.wait()).await.is_err() {
                return Err(self.problem("left a node that was started again".to_owned()));
            }
        }
        remove(&self.folder)
    }

    fn problem(&self, problem: String) -> BenchError {
        BenchError::Program {
            program: self.program.display().to_string(),
            problem,
            folder: self.folder.clone(),
        }
    }
}

/// Removes what a cluster wrote.
fn remove(folder: &Path) -> Result<(), BenchError> {
    std::fs::remove_dir_all(folder).map_err(|source| BenchError::Disk {
        what: "remove",
        path: folder.to_owned(),
        source,
    })
}

/// The end of a cluster whose workload failed or was broken off. Its folder stays to be looked at after a failure only.
impl Drop for Rig {
    fn drop(&mut self) {
        // `up` stops its nodes and ends; those that were started by hand or have joined end by themselves or are killed.
        drop(self.parent_pipe.take());
        let joined = std::mem::take(&mut self.joined);
        let mut others: Vec<Child> = joined.into_iter().map(Joined::killed).collect();
        others.extend(
            std::mem::take(&mut self.restarted)
                .into_values()
                .map(|(child, _)| child),
        );
        let started = Instant::now();
        let ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        while !(ended(&mut self.up) && others.iter_mut().all(ended)) {
            if started.elapsed() > STOP_WITHIN {
                // Killed when they are dropped.
                return;
            }
            std::thread::sleep(POLL);
        }
        if is_interrupted() {
            // It is missing already after `stop`.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
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

/// Of the nodes of a cluster the one that leads now, and one that follows.
///
/// # Errors
/// [`BenchError::Door`], or [`BenchError::Late`] when no node leads for long.
pub async fn leader_and_follower(nodes: &[RigNode]) -> Result<(&RigNode, &RigNode), BenchError> {
    let started = Instant::now();
    while started.elapsed() < READY_WITHIN {
        let status = nodes[0].client.status().await;
        let status = status.map_err(|error| door("ask for the state of the cluster", error))?;
        let leads = |node: &&RigNode| status.leader.as_deref() == Some(&node.name);
        let leader = nodes.iter().find(leads).filter(|_| status.queenright);
        let follower = nodes.iter().find(|node| !leads(node));
        if let (Some(leader), Some(follower)) = (leader, follower) {
            return Ok((leader, follower));
        }
        tokio::time::sleep(POLL).await;
    }
    Err(late("no node leads", started))
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

/// Adds the latencies in the report of an agent to others.
///
/// # Errors
/// [`BenchError::Agent`] when they are not there.
pub fn add_reported(latencies: &mut Histogram<u64>, status: &AgentStatus, name: &str) -> Result<(), BenchError> {
    let pairs = status.report.get(name);
    let added = pairs.and_then(|pairs| crate::load::add_report(latencies, pairs));
    added.ok_or_else(|| BenchError::Agent {
        name: status.name.clone(),
        problem: format!("reports no {name}"),
    })
}

/// Runs the work of a workload to its end, on threads of its own, or until it is broken off.
///
/// # Errors
/// [`BenchError::Threads`], [`BenchError::Interrupted`], and those of the work.
pub fn block_on<T>(work: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(BenchError::Threads)?;
    threads.block_on(async {
        tokio::select! {
            biased;
            () = interrupted() => Err(BenchError::Interrupted),
            done = work => done,
        }
    })
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

/// Whether nothing is missing as one node sees it.
pub fn is_whole(status: &ClusterStatus) -> bool {
    let applied = || status.nodes.iter().filter_map(|node| node.applied);
    let answer = status.nodes.iter().all(|node| node.role != Role::Unreachable);
    let is_so = |link: &LinkStatus| link.up == matches!(link.role, LinkRole::Data | LinkRole::Control);
    let linked = status.nodes.iter().all(|node| {
        let traffic = node.traffic.as_ref();
        traffic.is_some_and(|traffic| traffic.links.iter().all(is_so))
    });
    let behind = applied().max().unwrap_or_default() - applied().min().unwrap_or_default();
    status.queenright && status.epoch > 0 && answer && linked && behind < BEHIND_MAX
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// What is said of a program that does `script` instead of starting a cluster.
    fn refusal(script: &str) -> String {
        refusal_in(tempfile::tempdir().unwrap().path(), script)
    }

    fn refusal_in(folder: &Path, script: &str) -> String {
        let program = folder.join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let options = Options {
            program,
            ..Options::full(folder.to_owned())
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
    fn a_start_that_is_tried_again_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        refusal_in(folder.path(), "echo port 7401 is in use >&2; exit 1");
        let listed = std::fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<String> = listed
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        // Of three starts the last, which failed.
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].starts_with("b0-") && left[1] == "program", "{left:?}");
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
