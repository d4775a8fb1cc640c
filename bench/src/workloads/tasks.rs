//! Loads of tasks, which B5, B15 and the comparison of topologies share: tasks are prepared, agents on all nodes take them, and afterwards they are
//! counted.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use queenright_actors::agent::AgentStatus;
use serde_json::json;

use crate::report::{Counts, unix_ms};
use crate::rig::{RigNode, for_all, late, leader_and_follower, reported};
use crate::traffic::latencies;
use crate::traffic::meter::Meter;
use crate::{BenchError, Options};

/// How many tasks are prepared for them, and at most one for each millisecond of a load of rates: short runs are small.
const TASKS: u64 = 1_000;
/// Bytes of a task's payload.
pub(crate) const PAYLOAD_BYTES: u64 = 256;
/// How many tasks each agent may use up in a millisecond of a load of rates.
const TASKS_PER_MS: u64 = 1;
/// How many tasks a load of rates has at most: 29,000 a second, and a project keeps 1 GiB of open ones, of which one of
/// these counts 784 B.
const RATE_TASKS_MAX: u64 = 160_000;
/// How long the stores of the nodes may take to write prepared tasks behind.
const STORED_WITHIN: Duration = Duration::from_secs(60);
/// How often they are asked.
const STORED_LOOK: Duration = Duration::from_millis(200);
/// How long a load of rates runs before it is measured, and after; at most as long as it is measured.
const WARM_UP_MS: u64 = 1_000;
const COOL_DOWN_MS: u64 = 500;
/// From the order to begin to the beginning, for each agent that is started meanwhile.
const START_EACH: Duration = Duration::from_millis(10);
const START_ALL: Duration = Duration::from_millis(300);
/// How long an agent may take beyond its time.
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// How many tasks workers share.
pub(crate) fn shared(options: &Options) -> u64 {
    TASKS.min(options.load_ms.max(1))
}

/// How long a load of rates runs before it is measured, while it is, and after, in milliseconds.
pub(crate) fn spans(options: &Options) -> [u64; 3] {
    let measured = options.load_ms.max(1);
    [WARM_UP_MS.min(measured), measured, COOL_DOWN_MS.min(measured)]
}

/// How far tasks are taken, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Through all three steps, until the prepared tasks are done.
    Shared,
    /// Claimed only, for a time.
    Claim,
    /// Claimed and finished, for a time.
    Finish,
}

impl Work {
    fn extent(self) -> &'static str {
        match self {
            Work::Shared => "progress",
            Work::Claim => "claim",
            Work::Finish => "finish",
        }
    }
}

/// What one run of a load gave.
pub(crate) struct Run {
    pub(crate) per_second: f64,
    pub(crate) measured: u64,
    pub(crate) claim: Histogram<u64>,
    pub(crate) task: Histogram<u64>,
    pub(crate) counts: Counts,
    /// All that were finished, those of the warm-up included.
    pub(crate) finished: u64,
    /// What the nodes counted and used meanwhile.
    pub(crate) cost: Meter,
}

/// A load of a workload on a cluster.
#[derive(Clone, Copy)]
pub(crate) struct Tasks<'a> {
    /// The id of the workload.
    pub(crate) id: &'static str,
    pub(crate) nodes: &'a [RigNode],
    pub(crate) options: &'a Options,
}

impl Tasks<'_> {
    /// Lets so many agents on all nodes take tasks of a project that no load before has used: its name ends with `label`.
    ///
    /// # Errors
    /// [`BenchError`]; [`BenchError::Mismatch`] if the tasks are not as the agents say.
    pub(crate) async fn run(self, kind: Work, agents: u64, label: &str) -> Result<Run, BenchError> {
        let Tasks { id, nodes, options } = self;
        let tasks = match kind {
            Work::Shared => shared(options),
            Work::Claim | Work::Finish => {
                (spans(options).iter().sum::<u64>() * TASKS_PER_MS * agents).min(RATE_TASKS_MAX)
            }
        };
        let project = Tasks::project(id, kind, agents, label);
        self.prepare(&project, tasks).await?;
        if kind != Work::Shared {
            self.stored().await?;
        }
        let mut arguments = json!({ "project": project, "extent": kind.extent() });
        let mut quiet = Duration::ZERO;
        if kind != Work::Shared {
            let [warm_up_ms, work_ms, cool_down_ms] = spans(options);
            arguments["work_ms"] = work_ms.into();
            arguments["warm_up_ms"] = warm_up_ms.into();
            arguments["cool_down_ms"] = cool_down_ms.into();
            quiet = Duration::from_millis(spans(options).iter().sum());
        }
        let name = format!("{project}-worker");
        let before = Meter::read(nodes).await?;
        let workers = work(nodes, &name, "load-task", agents, arguments, quiet).await?;
        let cost = Meter::read(nodes).await?.since(&before);
        let sum = |name: &str| sum(&workers, name);
        let (claimed, finished) = (sum("claimed")?, sum("finished")?);
        let counts = Counts {
            sent: sum("sent")?,
            delivered: sum("delivered")?,
            refused: sum("refused")?,
            lost: sum("unknown")?,
        };
        let witness = self.witness().await?;
        let found = look(witness, &project).await?;
        if counts.lost == 0 {
            let expected = Found {
                open: tasks - finished,
                done: finished,
                failed: 0,
                attempts: claimed,
            };
            BenchError::unless_equal(id, format!("tasks of {project} on {}", witness.name), found, expected)?;
        }
        let measured = sum("tasks")?;
        let span_us = match kind {
            Work::Shared => {
                BenchError::unless_equal(id, format!("tasks of {project} finished"), finished, tasks)?;
                let first = all(&workers, "first_at_us")?.into_iter().min().unwrap_or_default();
                let last = all(&workers, "last_at_us")?.into_iter().max().unwrap_or_default();
                last.saturating_sub(first).max(1)
            }
            Work::Claim | Work::Finish => spans(options)[1] * 1_000,
        };
        Ok(Run {
            per_second: measured as f64 / (span_us as f64 / 1e6),
            measured,
            claim: latencies(&workers, "claim_ns")?,
            task: latencies(&workers, "task_ns")?,
            counts,
            finished,
            cost,
        })
    }

    /// The project that such a load uses; all its agents have names that begin so too.
    pub(crate) fn project(id: &str, kind: Work, agents: u64, label: &str) -> String {
        format!("{}-{}-{agents}-{label}", id.to_lowercase(), kind.extent())
    }

    /// Who counts the tasks: a node that follows, where there is one.
    pub(crate) async fn witness(&self) -> Result<&RigNode, BenchError> {
        match self.nodes {
            [alone] => Ok(alone),
            nodes => Ok(leader_and_follower(nodes).await?.1),
        }
    }

    /// Adds tasks; returns the ids of the first thousand.
    pub(crate) async fn prepare(&self, project: &str, tasks: u64) -> Result<Vec<serde_json::Value>, BenchError> {
        prepare(self.id, self.nodes, project, tasks).await
    }

    /// Returns when the stores have written behind what was prepared, so that it is not measured beside the claims.
    async fn stored(&self) -> Result<(), BenchError> {
        let started = Instant::now();
        for node in self.nodes {
            while node.figures().await?.store_waits > 0 {
                if started.elapsed() > STORED_WITHIN {
                    return Err(late(
                        format!("the store of {} to write prepared tasks", node.name),
                        started,
                    ));
                }
                tokio::time::sleep(STORED_LOOK).await;
            }
        }
        Ok(())
    }
}

/// Adds tasks to a project for a workload; returns the ids of the first thousand.
pub(crate) async fn prepare(
    id: &'static str,
    nodes: &[RigNode],
    project: &str,
    tasks: u64,
) -> Result<Vec<serde_json::Value>, BenchError> {
    let arguments = json!({ "project": project, "tasks": tasks, "payload_bytes": PAYLOAD_BYTES });
    let node = match nodes {
        [alone] => alone,
        _ => leader_and_follower(nodes).await?.0,
    };
    let name = format!("{project}-add");
    node.spawn(&name, "load-task-add", arguments).await?;
    let status = node.done(&name, DONE_WITHIN).await?;
    let added = reported(&status, "added")?;
    BenchError::unless_equal(id, format!("tasks added to {project}"), added, tasks)?;
    let ids = status.report.get("ids").and_then(serde_json::Value::as_array);
    ids.cloned().ok_or_else(|| BenchError::Agent {
        name,
        problem: "reports no ids".to_owned(),
    })
}

/// Starts agents on all nodes in turn, lets them begin together, and waits until all have done their work; for a time
/// after their beginning nobody is asked.
pub(crate) async fn work(
    nodes: &[RigNode],
    name: &str,
    kind: &str,
    agents: u64,
    mut arguments: serde_json::Value,
    quiet: Duration,
) -> Result<Vec<AgentStatus>, BenchError> {
    let each = (0..agents).map(|agent| (format!("{name}-{agent}"), &nodes[agent as usize % nodes.len()]));
    let spawning = Instant::now();
    let start = START_ALL + START_EACH * agents as u32;
    if kind != "load-task-wrong" {
        arguments["start_at_us"] = (unix_ms() * 1_000 + start.as_micros() as u64).into();
    }
    for_all(each.clone(), async |(name, node)| {
        node.spawn(&name, kind, arguments.clone()).await
    })
    .await?;
    let spawned = spawning.elapsed();
    if spawned > start {
        tracing::warn!(?spawned, "agents were started so slowly that some began alone");
    }
    if quiet > Duration::ZERO {
        tokio::time::sleep(start.saturating_sub(spawned) + quiet).await;
    }
    for_all(each, async |(name, node): (String, &RigNode)| {
        node.done(&name, DONE_WITHIN).await
    })
    .await
}

/// The tasks of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Pending or leased: a worker that has ended holds nothing, what it held returns.
    pub(crate) open: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) attempts: u64,
}

pub(crate) async fn look(node: &RigNode, project: &str) -> Result<Found, BenchError> {
    let name = format!("{project}-look");
    node.spawn(&name, "load-task-look", json!({ "project": project }))
        .await?;
    let status = node.done(&name, DONE_WITHIN).await?;
    Ok(Found {
        open: reported(&status, "pending")? + reported(&status, "leased")?,
        done: reported(&status, "done")?,
        failed: reported(&status, "failed")?,
        attempts: reported(&status, "attempts")?,
    })
}

pub(crate) fn all(agents: &[AgentStatus], name: &str) -> Result<Vec<u64>, BenchError> {
    agents.iter().map(|agent| reported(agent, name)).collect()
}

pub(crate) fn sum(agents: &[AgentStatus], name: &str) -> Result<u64, BenchError> {
    Ok(all(agents, name)?.into_iter().sum())
}
