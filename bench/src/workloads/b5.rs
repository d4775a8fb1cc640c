//! B5, tasks: agents on the nodes claim prepared tasks, say how far they have come and finish them; and races for one
//! task.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use queenright_actors::agent::AgentStatus;
use serde_json::json;

use super::spread::Spread;
use crate::disk::fdatasync_probe;
use crate::report::{Claim, Counts, Percentiles, Report, Row, unix_ms};
use crate::rig::{Rig, RigNode, block_on, for_all, late, reported};
use crate::{BenchError, Options, load};

/// The id of the workload.
pub const ID: &str = "B5";
/// What the workload is about.
pub const TITLE: &str = "tasks: claim, progress, finish, and races for one task, 3 nodes";

/// How many workers share the prepared tasks.
const WORKERS: [u64; 6] = [1, 2, 5, 10, 50, 200];
/// How many tasks are prepared for them, and at most one for each millisecond of a load of rates: short runs are small.
const TASKS: u64 = 1_000;
/// How many agents work when rates are measured, as many as the clients of the peers.
const AGENTS: u64 = 64;
/// How many agents race for one task.
const RACERS: [u64; 3] = [2, 16, 64];
/// How many tasks they race for, one after the other; a tenth of the tasks that workers share.
const RACES_MAX: u64 = 100;
/// From one race to the next: longer than a claim takes, so that all have come to the start.
const RACE_EVERY: Duration = Duration::from_millis(20);
/// Bytes of a task's payload.
const PAYLOAD_BYTES: u64 = 256;
/// How many tasks each agent may use up in a millisecond of a load of rates.
const TASKS_PER_MS: u64 = 1;
/// How many tasks a load of rates has at most: 29,000 a second, and a project keeps 1 GiB of open ones, of which one of
/// these counts 784 B.
const RATE_TASKS_MAX: u64 = 160_000;
/// How long the stores of the nodes may take to write prepared tasks behind.
const STORED_WITHIN: Duration = Duration::from_secs(60);
/// How often they are asked.
const STORED_LOOK: Duration = Duration::from_millis(200);
/// How many tasks are used for what must be refused.
const WRONG_TASKS: u64 = 20;
/// How long a load of rates runs before it is measured, and after; at most as long as it is measured.
const WARM_UP_MS: u64 = 1_000;
const COOL_DOWN_MS: u64 = 500;
/// From the order to begin to the beginning, for each agent that is started meanwhile.
const START_EACH: Duration = Duration::from_millis(10);
const START_ALL: Duration = Duration::from_millis(300);
/// How long an agent may take beyond its time.
const DONE_WITHIN: Duration = Duration::from_secs(120);
/// Bytes and number of the syncs of the probe.
const SYNC_BYTES: usize = 4096;
const SYNCS_MAX: u32 = 2_000;

/// 1,000 prepared tasks shared by 1, 2, 5, 10, 50 and 200 workers that claim, say "half", and finish; the rates of 64
/// workers that only claim, and that claim and finish; races of 2, 16 and 64 agents for one task after the other; and
/// what must be refused. Every command is on disk at a majority before it counts; rates are measured once the stores have
/// written the prepared tasks behind. After each load the tasks of its
/// project are counted on a node that follows.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a task was won twice or not at all, or is not as the agents say.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let syncs = options.syncs.clamp(1, SYNCS_MAX);
    let probe = fdatasync_probe(&options.data, SYNC_BYTES, syncs)?;
    let sync = Percentiles::of(&probe.nanos, 1e3);
    let mut rows = vec![
        Row::new("write and sync 4 KiB", sync.p50, "µs", probe.nanos.len())
            .percentiles(sync)
            .note("the same disk, before the cluster was started"),
    ];
    rows.extend(block_on(cluster(options))?);
    Ok(Report {
        config: json!({
            "nodes": 3, "topology": "mesh", "payload_bytes": PAYLOAD_BYTES, "shared_tasks": shared(options), "races": races(options),
            "race_every_ms": RACE_EVERY.as_millis() as u64, "warm_up_measured_cool_down_ms": spans(options),
            "repeats": repeats(options),
            "agents": "hosted on the nodes in turn, one command at a time each", "data": options.data,
        }),
        rows,
        claims: vec![Claim::new(
            "SwarmSH",
            "claim, progress, complete: 42.3 ms, 23.6 a second, 92.6 % succeed",
        )],
        ..report
    })
}

fn repeats(options: &Options) -> u32 {
    options.cluster_repeats.max(1)
}

/// How many tasks workers share.
fn shared(options: &Options) -> u64 {
    TASKS.min(options.load_ms.max(1))
}

/// How many tasks agents race for.
fn races(options: &Options) -> u64 {
    (shared(options) / 10).clamp(1, RACES_MAX)
}

/// How long a load of rates runs before it is measured, while it is, and after, in milliseconds.
fn spans(options: &Options) -> [u64; 3] {
    let measured = options.load_ms.max(1);
    [WARM_UP_MS.min(measured), measured, COOL_DOWN_MS.min(measured)]
}

async fn cluster(options: &Options) -> Result<Vec<Row>, BenchError> {
    let rig = Rig::start(options, ID).await?;
    let workers = WORKERS.into_iter().filter(|workers| *workers <= options.agents_max);
    let agents = AGENTS.min(options.agents_max);
    let mut loads: Vec<Load> = workers.map(|workers| Load::new(Work::Shared, workers)).collect();
    loads.extend([Work::Claim, Work::Finish].map(|work| Load::new(work, agents)));
    let races_each = races(options);
    let mut races: Vec<Race> = RACERS
        .into_iter()
        .filter(|racers| *racers <= options.agents_max)
        .map(|racers| Race {
            racers,
            claims: load::histogram(),
            counts: Counts::default(),
            late: 0,
        })
        .collect();
    // Each load once, then all again: a disturbance of the machine falls on different loads.
    for repeat in 0..repeats(options) {
        for load in &mut loads {
            let run = load.run(&rig, options, repeat).await?;
            load.runs.push(run);
        }
        for race in &mut races {
            race.run(&rig, races_each, repeat).await?;
        }
    }
    let mut rows: Vec<Row> = loads.iter().flat_map(Load::rows).collect();
    rows.extend(races.iter().map(Race::row));
    rows.extend(wrong(&rig).await?);
    rig.stop().await?;
    Ok(rows)
}

/// How far tasks are taken, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Through all three steps, until the prepared tasks are done.
    Shared,
    /// Claimed only, for a time.
    Claim,
    /// Claimed and finished, for a time.
    Finish,
}

/// A number of agents that work at the same time, and what was measured.
struct Load {
    work: Work,
    agents: u64,
    runs: Vec<Run>,
}

/// What one run of a load gave.
struct Run {
    per_second: f64,
    measured: u64,
    claim: Histogram<u64>,
    task: Histogram<u64>,
    counts: Counts,
}

impl Load {
    fn new(work: Work, agents: u64) -> Load {
        Load {
            work,
            agents,
            runs: Vec::new(),
        }
    }

    fn label(&self) -> String {
        let agents = if self.agents == 1 { "agent" } else { "agents" };
        let what = match self.work {
            Work::Shared => "claim, progress and finish",
            Work::Claim => "claim",
            Work::Finish => "claim and finish",
        };
        format!("{what} rate, {} {agents}", self.agents)
    }

    async fn run(&self, rig: &Rig, options: &Options, repeat: u32) -> Result<Run, BenchError> {
        let (extent, tasks) = match self.work {
            Work::Shared => ("progress", shared(options)),
            Work::Claim => ("claim", self.tasks(options)),
            Work::Finish => ("finish", self.tasks(options)),
        };
        // A project that no load before has used.
        let project = format!("b5-{extent}-{}-{repeat}", self.agents);
        prepare(rig, &project, tasks).await?;
        if self.work != Work::Shared {
            stored(rig).await?;
        }
        let mut arguments = json!({ "project": project, "extent": extent });
        if self.work != Work::Shared {
            let [warm_up_ms, work_ms, cool_down_ms] = spans(options);
            arguments["work_ms"] = work_ms.into();
            arguments["warm_up_ms"] = warm_up_ms.into();
            arguments["cool_down_ms"] = cool_down_ms.into();
        }
        let quiet = match self.work {
            Work::Shared => Duration::ZERO,
            Work::Claim | Work::Finish => Duration::from_millis(spans(options).iter().sum()),
        };
        let name = format!("{project}-worker");
        let workers = work(rig, &name, "load-task", self.agents, arguments, quiet).await?;
        let sum = |name: &str| sum(&workers, name);
        let (claimed, finished) = (sum("claimed")?, sum("finished")?);
        let counts = Counts {
            sent: sum("sent")?,
            delivered: sum("delivered")?,
            refused: sum("refused")?,
            lost: sum("unknown")?,
        };
        let (_, follower) = rig.leader_and_follower().await?;
        let found = look(follower, &project).await?;
        if counts.lost == 0 {
            let expected = Found {
                open: tasks - finished,
                done: finished,
                failed: 0,
                attempts: claimed,
            };
            BenchError::unless_equal(ID, format!("tasks of {project} on {}", follower.name), found, expected)?;
        }
        let measured = sum("tasks")?;
        let span_us = match self.work {
            Work::Shared => {
                BenchError::unless_equal(ID, format!("tasks of {project} finished"), finished, tasks)?;
                let first = all(&workers, "first_at_us")?.into_iter().min().unwrap_or_default();
                let last = all(&workers, "last_at_us")?.into_iter().max().unwrap_or_default();
                last.saturating_sub(first).max(1)
            }
            Work::Claim | Work::Finish => spans(options)[1] * 1_000,
        };
        Ok(Run {
            per_second: measured as f64 / (span_us as f64 / 1e6),
            measured,
            claim: histogram(&workers, "claim_ns")?,
            task: histogram(&workers, "task_ns")?,
            counts,
        })
    }

    fn tasks(&self, options: &Options) -> u64 {
        (spans(options).iter().sum::<u64>() * TASKS_PER_MS * self.agents).min(RATE_TASKS_MAX)
    }

    fn rows(&self) -> Vec<Row> {
        let rates = Spread::of(self.runs.iter().map(|run| run.per_second));
        let (mut claim, mut task) = (load::histogram(), load::histogram());
        let (mut counts, mut measured) = (Counts::default(), 0);
        for run in &self.runs {
            let added = claim.add(&run.claim).and_then(|()| task.add(&run.task));
            added.expect("all have the bounds of a load's histogram");
            counts.sent += run.counts.sent;
            counts.delivered += run.counts.delivered;
            counts.refused += run.counts.refused;
            counts.lost += run.counts.lost;
            measured += run.measured;
        }
        let label = self.label();
        let latency = |what: &str, histogram: &Histogram<u64>, note: &str| {
            let percentiles = Percentiles::of(histogram, 1e3);
            let name = label.replace(" rate,", &format!(", {what} latency,"));
            Row::new(name, percentiles.p50, "µs", measured)
                .percentiles(percentiles)
                .note(note)
        };
        let rate = Row::new(label.clone(), rates.median(), "tasks/s", rates.samples())
            .counts(counts)
            .note(format!("{}; counts are of commands", rates.note()));
        match self.work {
            Work::Claim => vec![rate, latency("claim", &claim, "of one claim")],
            Work::Finish | Work::Shared => vec![
                rate,
                latency("claim", &claim, "of one claim"),
                latency("task", &task, "from the claim's beginning to the finish"),
            ],
        }
    }
}

/// A number of agents that all want the same task.
struct Race {
    racers: u64,
    claims: Histogram<u64>,
    counts: Counts,
    /// Claims that came when the next race had begun.
    late: u64,
}

impl Race {
    async fn run(&mut self, rig: &Rig, races: u64, repeat: u32) -> Result<(), BenchError> {
        let project = format!("b5-race-{}-{repeat}", self.racers);
        let ids = prepare(rig, &project, races).await?;
        let arguments = json!({ "project": project, "ids": ids, "every_us": RACE_EVERY.as_micros() as u64 });
        let racers = work(
            rig,
            &format!("{project}-racer"),
            "load-task-race",
            self.racers,
            arguments,
            RACE_EVERY * races as u32,
        )
        .await?;
        self.late += sum(&racers, "late")?;
        let (won, lost) = (sum(&racers, "won")?, sum(&racers, "lost")?);
        let what = |what: &str| format!("{what} of {} racers for each of {races} tasks", self.racers);
        BenchError::unless_equal(ID, what("winners"), won, races)?;
        BenchError::unless_equal(ID, what("losers"), lost, races * (self.racers - 1))?;
        let (_, follower) = rig.leader_and_follower().await?;
        let expected = Found {
            open: 0,
            done: races,
            failed: 0,
            attempts: races,
        };
        BenchError::unless_equal(
            ID,
            what("tasks after the races"),
            look(follower, &project).await?,
            expected,
        )?;
        let claims = histogram(&racers, "claim_ns")?;
        self.claims
            .add(&claims)
            .expect("both have the bounds of a load's histogram");
        self.counts.sent += won + lost;
        self.counts.delivered += won;
        self.counts.refused += lost;
        Ok(())
    }

    fn row(&self) -> Row {
        let percentiles = Percentiles::of(&self.claims, 1e3);
        let name = format!("race of {} agents for one task", self.racers);
        Row::new(name, percentiles.p50, "µs", self.claims.len())
            .percentiles(percentiles)
            .counts(self.counts)
            .note(format!(
                "latency of all claims; delivered: exactly one of each race, refused: all others, who learn who holds it; \
                 {} claims came after the next race had begun",
                self.late
            ))
    }
}

/// What must be refused: all of it, or the workload fails.
async fn wrong(rig: &Rig) -> Result<Vec<Row>, BenchError> {
    let project = "b5-wrong";
    prepare(rig, project, WRONG_TASKS).await?;
    let told = work(
        rig,
        project,
        "load-task-wrong",
        1,
        json!({ "project": project }),
        Duration::ZERO,
    )
    .await?;
    let kinds = [
        ("second finish refused", "finished_twice"),
        ("finish under another fence refused", "fenced"),
        ("claim of an unknown id refused", "unknown_claims"),
        ("finish of an unknown id refused", "unknown_finishes"),
    ];
    let rows = kinds.into_iter().map(|(name, figure)| {
        let refused = sum(&told, figure)?;
        BenchError::unless_equal(ID, name, refused, WRONG_TASKS)?;
        let counts = Counts {
            sent: WRONG_TASKS,
            refused,
            ..Counts::default()
        };
        Ok(Row::new(name, refused as f64, "calls", WRONG_TASKS).counts(counts))
    });
    rows.collect()
}

/// Adds tasks; returns the ids of the first thousand.
async fn prepare(rig: &Rig, project: &str, tasks: u64) -> Result<Vec<serde_json::Value>, BenchError> {
    let arguments = json!({ "project": project, "tasks": tasks, "payload_bytes": PAYLOAD_BYTES });
    let (leader, _) = rig.leader_and_follower().await?;
    let name = format!("{project}-add");
    leader.spawn(&name, "load-task-add", arguments).await?;
    let status = leader.done(&name, DONE_WITHIN).await?;
    BenchError::unless_equal(
        ID,
        format!("tasks added to {project}"),
        reported(&status, "added")?,
        tasks,
    )?;
    let ids = status.report.get("ids").and_then(serde_json::Value::as_array);
    ids.cloned().ok_or_else(|| BenchError::Agent {
        name,
        problem: "reports no ids".to_owned(),
    })
}

/// Returns when the stores have written behind what was prepared, so that it is not measured beside the claims.
async fn stored(rig: &Rig) -> Result<(), BenchError> {
    let started = Instant::now();
    for node in rig.nodes() {
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

/// Starts agents on all nodes in turn, lets them begin together, and waits until all have done their work; for a time
/// after their beginning nobody is asked.
async fn work(
    rig: &Rig,
    name: &str,
    kind: &str,
    agents: u64,
    mut arguments: serde_json::Value,
    quiet: Duration,
) -> Result<Vec<AgentStatus>, BenchError> {
    let nodes = rig.nodes();
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
struct Found {
    /// Pending or leased: a worker that has ended holds nothing, what it held returns.
    open: u64,
    done: u64,
    failed: u64,
    attempts: u64,
}

async fn look(node: &RigNode, project: &str) -> Result<Found, BenchError> {
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

fn all(agents: &[AgentStatus], name: &str) -> Result<Vec<u64>, BenchError> {
    agents.iter().map(|agent| reported(agent, name)).collect()
}

fn sum(agents: &[AgentStatus], name: &str) -> Result<u64, BenchError> {
    Ok(all(agents, name)?.into_iter().sum())
}

fn histogram(agents: &[AgentStatus], name: &str) -> Result<Histogram<u64>, BenchError> {
    let mut histogram = load::histogram();
    for agent in agents {
        let pairs = agent.report.get(name);
        let added = pairs.and_then(|pairs| load::add_report(&mut histogram, pairs));
        added.ok_or_else(|| BenchError::Agent {
            name: agent.name.clone(),
            problem: format!("reports no {name}"),
        })?;
    }
    Ok(histogram)
}
