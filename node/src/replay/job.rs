//! The job of `queenright replay`, as a client of the cluster.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use queenright_actors::agent::{AgentSpec, RestartPolicy};
use queenright_actors::node::NodeFigures;
use queenright_bench::client::Client;
use queenright_bench::{disk, load};

use super::compare::{self, Differences};
use super::error::ReplayError;
use super::load::Known;
use super::report::{Disk, Latency, NodeReport, Report, Rounds};
use super::task::{Bytes, Sequence, Task};
use super::tree::StoredTree;
use super::watch::{Door, Swarm, Watch, until_done};
use super::{keys, load as loading, task};
use crate::git::{GitError, History, ObjectId, Repository, TreeEntry};

/// What the names of the agents begin with.
pub(super) const AGENT_PREFIX: &str = "replay-";
/// How long a node may take to apply everything and list what it stores.
const TREE_WITHIN: Duration = Duration::from_secs(60);
/// How long a node that does not answer is waited for before it counts as gone.
const NODE_WITHIN: Duration = Duration::from_secs(10);
/// How often loading is begun when nodes go away meanwhile.
const LOAD_TRIES: u32 = 5;
/// How many bytes each of them writes.
const PROBE_BYTES: usize = 4096;
/// How many fdatasyncs the probe of the disk makes.
const PROBE_SYNCS: u32 = 500;

/// What is replayed, and where.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// The repository.
    pub repository: PathBuf,
    /// What the report calls it.
    pub title: String,
    /// The commit whose first-parent history is replayed.
    pub revision: String,
    /// Only the oldest so many commits.
    pub commits: Option<usize>,
    /// How many agents work.
    pub agents: usize,
    /// The doors of all nodes: name and client in the project of the replay.
    pub nodes: Vec<(String, Client)>,
    /// The project.
    pub project: String,
    /// Where each node's tree is written.
    pub dump: Option<PathBuf>,
    /// For tests: each agent panics at the first attempt of every so-many-th commit.
    pub panic_every: Option<NonZeroU64>,
}

/// What a job is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Putting contents.
    Contents,
    /// Putting tasks.
    Tasks,
    /// Agents commit.
    Commits,
    /// Nodes are compared.
    Nodes,
}

/// Who is told how far a job is.
pub trait Progress: Send + Sync {
    /// A phase begins, with so many things to do.
    fn phase(&self, phase: Phase, total: u64);
    /// So many of them are done.
    fn advance(&self, steps: u64);
}

/// The job.
pub struct Job {
    options: JobOptions,
    doors: Vec<Door>,
    repository: Repository,
    history: History,
    git_tree: Vec<TreeEntry>,
}

impl Job {
    /// Reads the history. Nothing was sent to the cluster yet.
    ///
    /// # Errors
    /// When git cannot give it.
    pub async fn prepare(options: JobOptions) -> Result<Job, ReplayError> {
        let (path, revision, oldest) = (options.repository.clone(), options.revision.clone(), options.commits);
        let read = tokio::task::spawn_blocking(move || {
            let repository = Repository::open(&path)?;
            let history = repository.history(&revision, oldest)?;
            let last = history.commits.last().map(|commit| commit.id);
            let tree = last.map_or(Ok(Vec::new()), |last| repository.tree(&last))?;
            Ok::<_, GitError>((repository, history, tree))
        });
        let (repository, history, git_tree) = read.await??;
        let doors = options.nodes.iter().map(|(name, client)| Door {
            name: name.clone(),
            client: client.clone(),
        });
        Ok(Job {
            doors: doors.collect(),
            options,
            repository,
            history,
            git_tree,
        })
    }

    /// How many commits will be replayed.
    pub fn commits(&self) -> u64 {
        self.history.commits.len() as u64
    }

    /// Replays, compares and reports. `stop` breaks it off.
    ///
    /// # Errors
    /// [`ReplayError`]; that nodes differ from git is none, the report says so.
    pub async fn run(&self, progress: &dyn Progress, stop: impl Future<Output = ()>) -> Result<Report, ReplayError> {
        let mut stop = std::pin::pin!(stop);
        let commits = self.commits();
        let mut watch = Watch::new(&self.doors);
        let prepared = async {
            let bytes = loading::known(&self.repository, &self.history).await?;
            let (tasks, sequences) = task::tasks(&self.history, &bytes);
            watch.seen.know(self.load(&tasks, &bytes, progress).await?);
            while watch.look(Duration::ZERO).await? {}
            Ok::<_, ReplayError>((bytes, sequences, tasks))
        };
        let (bytes, sequences, tasks) = tokio::select! {
            prepared = prepared => prepared?,
            () = &mut stop => return Err(ReplayError::Interrupted { done: 0, commits }),
        };
        let committed_before = watch.seen.done.iter().filter(|place| **place < commits).count() as u64;
        let before = self.answering().await?.figures().await?;
        progress.phase(Phase::Commits, commits);
        progress.advance(committed_before);

        let started = Instant::now();
        let mut swarm = Swarm::start(&self.doors, self.specs(commits)).await?;
        let result = tokio::select! {
            result = until_done(&mut watch, &mut swarm, commits, progress) => result,
            () = &mut stop => Err(ReplayError::Interrupted { done: 0, commits }),
        };
        let seconds = started.elapsed().as_secs_f64();
        if let Err(error) = result {
            swarm.stop().await;
            let done = watch.seen.done.len() as u64;
            return Err(match error {
                ReplayError::Interrupted { .. } => ReplayError::Interrupted { done, commits },
                other => other,
            });
        }
        // The last commit was committed; its agent still has to say that it is done.
        self.collect(&mut swarm).await?;
        let after = self.answering().await?.figures().await?;

        let mut report = self.report(&watch, &swarm, (&before, &after), seconds).await?;
        report.committed_before = committed_before;
        self.attempts(&mut report, &tasks).await?;
        let (differences, compared) = compare::events(&watch.seen.told, &sequences, &bytes);
        report.events_expected = sequences.values().map(|sequence| sequence.len() as u64).sum();
        report.events_compared = compared;
        report.events_complete = watch.seen.from_the_start;
        report.event_differences = differences;
        progress.phase(Phase::Nodes, self.doors.len() as u64);
        for door in &self.doors {
            report.nodes.push(self.compare_node(door, &sequences).await?);
            progress.advance(1);
        }
        report.equal = self.is_equal(&report);
        Ok(report)
    }

    /// Loads contents and tasks through a node that answers; when that one goes away, another goes on with what is missing.
    async fn load(
        &self,
        tasks: &[Task],
        bytes: &HashMap<ObjectId, Bytes>,
        progress: &dyn Progress,
    ) -> Result<Known, ReplayError> {
        let mut tries = 1;
        loop {
            let loader = self.answering().await?;
            let loaded = async {
                let mut known = loading::known_tasks(loader, tasks).await?;
                loading::contents(loader, &self.repository, &self.history, bytes, progress).await?;
                loading::tasks(loader, tasks, &mut known, progress).await?;
                Ok(known)
            };
            match loaded.await {
                Err(ReplayError::Client(error)) if error.is_temporary() && tries < LOAD_TRIES => tries += 1,
                ended => return ended,
            }
        }
    }

    fn is_equal(&self, report: &Report) -> bool {
        let events = report.event_differences.count == 0
            && (!report.events_complete
                || report.events_compared == report.events_expected && report.proposals_committed == report.commits);
        events && report.nodes.iter().all(|node| node.equal)
    }

    /// A node that answers.
    async fn answering(&self) -> Result<&Client, ReplayError> {
        let started = Instant::now();
        loop {
            for door in &self.doors {
                if door.client.ready().await.is_ok() {
                    return Ok(&door.client);
                }
            }
            if started.elapsed() > NODE_WITHIN {
                return Err(ReplayError::NoNode);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn specs(&self, commits: u64) -> Vec<AgentSpec> {
        let run: u32 = rand::random();
        let spec = |number: usize| AgentSpec {
            name: format!("{AGENT_PREFIX}{run:08x}-{number:03}"),
            kind: "replay".to_string(),
            arguments: serde_json::json!({
                "project": self.options.project, "commits": commits, "panic_every": self.options.panic_every,
            }),
            restart: RestartPolicy::default(),
            ..AgentSpec::default()
        };
        (0..self.options.agents).map(spec).collect()
    }

    async fn collect(&self, swarm: &mut Swarm<'_>) -> Result<(), ReplayError> {
        let started = Instant::now();
        while swarm.reports.len() < self.options.agents && started.elapsed() < NODE_WITHIN {
            swarm.look_after().await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn report(
        &self,
        watch: &Watch<'_>,
        swarm: &Swarm<'_>,
        (before, after): (&NodeFigures, &NodeFigures),
        seconds: f64,
    ) -> Result<Report, ReplayError> {
        let mut latency = load::histogram();
        for status in swarm.reports.values() {
            let reported = status
                .report
                .get("latency_ns")
                .and_then(|report| load::add_report(&mut latency, report));
            if reported.is_none() {
                tracing::warn!(agent = status.name, "the agent reported no latency");
            }
        }
        let millis = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1e6;
        let disk = self.disk(PathBuf::from(&after.data)).await?;
        Ok(Report {
            repository: self.options.title.clone(),
            head: self
                .history
                .commits
                .last()
                .map_or_else(String::new, |commit| commit.id.to_string()),
            commits: self.commits(),
            committed_before: 0,
            agents: self.options.agents as u64,
            agents_moved: swarm.moved,
            proposals: 0,
            first_attempt_conflicts: BTreeMap::new(),
            retries_per_commit: 0.0,
            retries_max: 0,
            loser_bytes_logged: 0,
            seconds,
            proposals_per_second: 0.0,
            commit_latency: Latency {
                samples: latency.len(),
                p50_ms: millis(0.5),
                p99_ms: millis(0.99),
            },
            rounds: rounds(before, after),
            contents_kept: after.contents,
            content_bytes: after.content_bytes,
            events_compared: 0,
            events_expected: 0,
            events_complete: false,
            event_differences: Differences::default(),
            proposals_committed: watch.seen.committed,
            nodes: Vec::new(),
            disk,
            equal: false,
        })
    }

    /// What the commits needed, from the results of their tasks.
    async fn attempts(&self, report: &mut Report, tasks: &[Task]) -> Result<(), ReplayError> {
        let results = loading::results(self.answering().await?).await?;
        let mut of_this_run = 0;
        for task in tasks {
            let done = results.get(&task.place).filter(|done| done.commit == task.commit);
            let done = done.ok_or_else(|| ReplayError::OtherHistory {
                key: keys::task(task.place),
                commit: task.commit.clone(),
            })?;
            report.proposals += done.attempts;
            report.retries_max = report.retries_max.max(done.attempts.saturating_sub(1));
            report.loser_bytes_logged += done.lost_bytes;
            if let Some(kind) = done.first_conflict {
                *report.first_attempt_conflicts.entry(kind.to_string()).or_default() += 1;
            }
            of_this_run += done.attempts;
        }
        report.retries_per_commit = (report.proposals - report.commits) as f64 / report.commits.max(1) as f64;
        let share = (report.commits - report.committed_before) as f64 / report.commits.max(1) as f64;
        report.proposals_per_second = of_this_run as f64 * share / report.seconds.max(f64::MIN_POSITIVE);
        Ok(())
    }

    async fn disk(&self, data: PathBuf) -> Result<Disk, ReplayError> {
        let probed = tokio::task::spawn_blocking(move || {
            let probe = disk::fdatasync_probe(&data, PROBE_BYTES, PROBE_SYNCS).ok();
            (disk::file_system(&data), probe)
        });
        let (file_system, probe) = probed.await?;
        Ok(Disk {
            durability: if file_system.is_memory { "none" } else { "fdatasync" }.to_string(),
            file_system: file_system.name,
            fdatasync_p50_us: probe.map(|probe| probe.nanos.value_at_quantile(0.5) as f64 / 1e3),
        })
    }

    async fn compare_node(
        &self,
        door: &Door,
        sequences: &HashMap<Vec<u8>, Sequence>,
    ) -> Result<NodeReport, ReplayError> {
        let mut report = NodeReport {
            node: door.name.clone(),
            problem: None,
            seq: None,
            digest: None,
            tree_digest: None,
            paths: None,
            differences: Differences::default(),
            equal: false,
        };
        let stored = match self.stored_tree(door).await {
            Ok(stored) => stored,
            Err(error) => {
                report.problem = Some(error.to_string());
                return Ok(report);
            }
        };
        if let Some(folder) = &self.options.dump {
            compare::dump(folder, &stored)?;
        }
        report.differences = compare::tree(&stored, &self.git_tree, sequences);
        report.equal = report.differences.count == 0;
        report.seq = Some(stored.seq);
        report.paths = Some(stored.paths.len() as u64);
        report.digest = Some(stored.digest);
        report.tree_digest = Some(stored.tree_digest);
        Ok(report)
    }

    async fn stored_tree(&self, door: &Door) -> Result<StoredTree, ReplayError> {
        let started = Instant::now();
        loop {
            let asked = door.client.fetch_json("/v1/replay/tree", TREE_WITHIN).await;
            match asked {
                Ok(stored) => return Ok(stored),
                Err(error) if error.is_temporary() && started.elapsed() < NODE_WITHIN => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn rounds(before: &NodeFigures, after: &NodeFigures) -> Rounds {
    let rounds = after.rounds.saturating_sub(before.rounds);
    let commands = after.commands.saturating_sub(before.commands);
    let by_commands = after.rounds_by_commands.iter().zip(&before.rounds_by_commands);
    Rounds {
        rounds,
        entries: after.entries.saturating_sub(before.entries),
        commands,
        commands_per_round: commands as f64 / rounds.max(1) as f64,
        rounds_by_commands: by_commands
            .map(|(after, before)| after.saturating_sub(*before))
            .collect(),
    }
}
