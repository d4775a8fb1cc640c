//! B5, tasks: agents on the nodes claim prepared tasks, say how far they have come and finish them; and races for one
//! task.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;

use super::spread::Spread;
use super::tasks::{Found, PAYLOAD_BYTES, Run, Tasks, Work, look, shared, spans, sum, work};
use crate::disk::fdatasync_probe;
use crate::report::{Counts, Percentiles, Report, Row};
use crate::rig::{Rig, block_on, leader_and_follower};
use crate::traffic::latencies;
use crate::{BenchError, Options, claims, load};

/// The id of the workload.
pub const ID: &str = "B5";
/// What the workload is about.
pub const TITLE: &str = "tasks: claim, progress, finish, and races for one task, 3 nodes";

/// How many workers share the prepared tasks.
const WORKERS: [u64; 6] = [1, 2, 5, 10, 50, 200];
/// How many agents work when rates are measured, as many as the clients of the peers.
const AGENTS: u64 = 64;
/// How many agents race for one task.
const RACERS: [u64; 3] = [2, 16, 64];
/// How many tasks they race for, one after the other; a tenth of the tasks that workers share.
const RACES_MAX: u64 = 100;
/// From one race to the next: longer than a claim takes, so that all have come to the start.
const RACE_EVERY: Duration = Duration::from_millis(20);
/// How many tasks are used for what must be refused.
const WRONG_TASKS: u64 = 20;
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
        claims: claims::of(ID),
        ..report
    })
}

fn repeats(options: &Options) -> u32 {
    options.cluster_repeats.max(1)
}

/// How many tasks agents race for.
fn races(options: &Options) -> u64 {
    (shared(options) / 10).clamp(1, RACES_MAX)
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
            medians_us: Vec::new(),
            counts: Counts::default(),
            late: 0,
        })
        .collect();
    let tasks = Tasks {
        id: ID,
        nodes: rig.nodes(),
        options,
    };
    // Each load once, then all again: a disturbance of the machine falls on different loads.
    for repeat in 0..repeats(options) {
        for load in &mut loads {
            let run = tasks.run(load.work, load.agents, &repeat.to_string()).await?;
            load.runs.push(run);
        }
        for race in &mut races {
            race.run(&tasks, races_each, repeat).await?;
        }
    }
    let mut rows: Vec<Row> = loads.iter().flat_map(Load::rows).collect();
    rows.extend(races.iter().map(Race::row));
    rows.extend(wrong(&tasks).await?);
    rig.stop().await?;
    Ok(rows)
}

/// A number of agents that work at the same time, and what was measured.
struct Load {
    work: Work,
    agents: u64,
    runs: Vec<Run>,
}

impl Load {
    fn new(work: Work, agents: u64) -> Load {
        Load {
            work,
            agents,
            runs: Vec::new(),
        }
    }

    fn what(&self) -> &'static str {
        match self.work {
            Work::Shared => "claim, progress and finish",
            Work::Claim => "claim",
            Work::Finish => "claim and finish",
        }
    }

    fn label(&self) -> String {
        let agents = if self.agents == 1 { "agent" } else { "agents" };
        format!("{} rate, {} {agents}", self.what(), self.agents)
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
        let latency = |what: &str, histogram: &Histogram<u64>, of: fn(&Run) -> &Histogram<u64>, note: &str| {
            let percentiles = Percentiles::of(histogram, 1e3);
            let name = label.replace(" rate,", &format!(", {what} latency,"));
            let medians = self.runs.iter().map(|run| Percentiles::of(of(run), 1e3).p50);
            Row::new(name, percentiles.p50, "µs", measured)
                .percentiles(percentiles)
                .repeats(medians)
                .note(note)
                .at("what", format!("latency of a {what}"))
                .at("work", self.what())
                .at("agents", self.agents)
        };
        let rate = rates
            .row(label.clone(), "tasks/s")
            .counts(counts)
            .note(format!("{}; counts are of commands", rates.note()))
            .at("what", "task rate")
            .at("work", self.what())
            .at("agents", self.agents);
        match self.work {
            Work::Claim => vec![rate, latency("claim", &claim, |run| &run.claim, "of one claim")],
            Work::Finish | Work::Shared => vec![
                rate,
                latency("claim", &claim, |run| &run.claim, "of one claim"),
                latency(
                    "task",
                    &task,
                    |run| &run.task,
                    "from the claim's beginning to the finish",
                ),
            ],
        }
    }
}

/// A number of agents that all want the same task.
struct Race {
    racers: u64,
    claims: Histogram<u64>,
    /// Of each repeat.
    medians_us: Vec<f64>,
    counts: Counts,
    /// Claims that came when the next race had begun.
    late: u64,
}

impl Race {
    async fn run(&mut self, tasks: &Tasks<'_>, races: u64, repeat: u32) -> Result<(), BenchError> {
        let project = format!("b5-race-{}-{repeat}", self.racers);
        let ids = tasks.prepare(&project, races).await?;
        let arguments = json!({ "project": project, "ids": ids, "every_us": RACE_EVERY.as_micros() as u64 });
        let racers = work(
            tasks.nodes,
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
        let (_, follower) = leader_and_follower(tasks.nodes).await?;
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
        let claims = latencies(&racers, "claim_ns")?;
        self.claims
            .add(&claims)
            .expect("both have the bounds of a load's histogram");
        self.medians_us.push(Percentiles::of(&claims, 1e3).p50);
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
            .repeats(self.medians_us.iter().copied())
            .counts(self.counts)
            .note(format!(
                "latency of all claims; delivered: exactly one of each race, refused: all others, who learn who holds it; \
                 {} claims came after the next race had begun",
                self.late
            ))
            .at("what", "race for one task")
            .at("agents", self.racers)
    }
}

/// What must be refused: all of it, or the workload fails.
async fn wrong(tasks: &Tasks<'_>) -> Result<Vec<Row>, BenchError> {
    let project = "b5-wrong";
    tasks.prepare(project, WRONG_TASKS).await?;
    let told = work(
        tasks.nodes,
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
