//! B2, a swarm begins: its project is created, its agents are started, and tasks are handed to several of them at once.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream;
use hdrhistogram::Histogram;
use queenright_actors::agent::AgentStatus;
use queenright_protocol::colony::ProjectLimits;
use serde_json::json;

use crate::report::{Counts, Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, add_reported, block_on, door, reported};
use crate::{BenchError, Options, claims, load};

/// The id of the workload.
pub const ID: &str = "B2";
/// What the workload is about.
pub const TITLE: &str = "swarm init, agent spawn and orchestration: a task handled by 5 agents and committed";

/// Projects that are created, one after the other.
const PROJECTS: u64 = 50;
/// Agents that are started one after the other.
const IN_TURN: u64 = 500;
/// How many agents are being started at the same time, each agent counted.
const AT_ONCE: [u64; 9] = [4, 8, 10, 16, 20, 32, 50, 60, 100];
/// Tasks that are handed out one after the other.
const TASKS: u64 = 200;
/// Bytes of their input.
const INPUT_BYTES: usize = 4_096;
/// How many agents work on many tasks at the same time.
const WORKERS: [u64; 4] = [1, 10, 50, 100];
/// Tasks of each of these.
const TASKS_OF_MANY: u64 = 2_000;
/// How long a foreman may take.
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// All of it on the node of the leader of three.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a task was not handled or not committed.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let rows = block_on(swarm(options))?;
    Ok(Report {
        config: json!({
            "nodes": 3, "projects": PROJECTS, "in_turn": IN_TURN, "at_once": AT_ONCE, "tasks": TASKS,
            "input_bytes": INPUT_BYTES, "workers": WORKERS, "tasks_of_many": TASKS_OF_MANY,
            "spawn": "over HTTP to the started actor; a hosted agent is not on disk until it claims",
            "handler": "half of the tasks: BLAKE3 of the input; half: its bytes counted, and BLAKE3 of the counts",
            "durability": "projects and results by fdatasync on a majority", "data": options.data,
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

async fn swarm(options: &Options) -> Result<Vec<Row>, BenchError> {
    let rig = Rig::start(options, ID).await?;
    let (leader, _) = rig.leader_and_follower().await?;
    let mut rows = vec![projects(leader).await?, spawned(leader, "in-turn", IN_TURN, 1).await?];
    for at_once in AT_ONCE {
        rows.push(spawned(leader, &format!("at-once-{at_once}"), at_once, at_once as usize).await?);
    }
    rows.push(latency(
        "a task to 5 agents, committed",
        &foreman(leader, 5, TASKS, 1).await?,
    )?);
    for workers in WORKERS {
        let status = foreman(leader, workers, TASKS_OF_MANY, workers as usize).await?;
        let seconds = reported(&status, "micros")?.max(1) as f64 / 1e6;
        let handled = reported(&status, "handled")?;
        let name = format!("tasks handled and committed, {workers} agents");
        let row = Row::new(name, TASKS_OF_MANY as f64 / seconds, "tasks/s", TASKS_OF_MANY);
        let counts = Counts {
            sent: TASKS_OF_MANY,
            delivered: reported(&status, "tasks")?,
            ..Counts::default()
        };
        let row = row.counts(counts).note(format!(
            "{workers} under way at once, each to {} agents",
            handled / TASKS_OF_MANY
        ));
        rows.push(row.at("what", "tasks handled and committed").at("agents", workers));
    }
    rig.stop().await?;
    Ok(rows)
}

async fn projects(node: &RigNode) -> Result<Row, BenchError> {
    let mut latency = load::histogram();
    for number in 0..PROJECTS {
        let asked = Instant::now();
        let created = node
            .client
            .create_project(&format!("b2-{number}"), ProjectLimits::default())
            .await;
        created.map_err(|error| door("create a project", error))?;
        latency.saturating_record(asked.elapsed().as_nanos() as u64);
    }
    Ok(row("project created and committed", &latency))
}

/// Starts agents over HTTP, so many at the same time.
async fn spawned(node: &RigNode, name: &str, agents: u64, at_once: usize) -> Result<Row, BenchError> {
    let started = Instant::now();
    let each = (0..agents).map(async |number| {
        let asked = Instant::now();
        node.spawn(&format!("b2.{name}.{number}"), "load-member", json!({ "rests": false }))
            .await?;
        Ok::<Duration, BenchError>(asked.elapsed())
    });
    let mut all = stream::iter(each).buffer_unordered(at_once);
    let mut latency = load::histogram();
    while let Some(took) = all.next().await {
        latency.saturating_record(took?.as_nanos() as u64);
    }
    let rate = agents as f64 / started.elapsed().as_secs_f64();
    let what = match at_once {
        1 => format!("agent spawned over HTTP, {agents} in turn"),
        _ => format!("agent spawned over HTTP, {agents} at once"),
    };
    let row = row(&what, &latency).note(format!("{rate:.0} agents/s"));
    Ok(row.at("what", "agent spawned over HTTP").at("at_once", at_once))
}

async fn foreman(node: &RigNode, workers: u64, tasks: u64, at_once: usize) -> Result<AgentStatus, BenchError> {
    let name = format!("b2.foreman-{workers}-{at_once}");
    let arguments = json!({
        "project": "b2-0", "workers": workers, "tasks": tasks, "at_once": at_once, "input_bytes": INPUT_BYTES,
    });
    node.spawn(&name, "load-foreman", arguments).await?;
    let status = node.done(&name, DONE_WITHIN).await?;
    BenchError::unless_equal(ID, "tasks committed", reported(&status, "tasks")?, tasks)?;
    let hands = workers.min(5) * tasks;
    BenchError::unless_equal(
        ID,
        "times that a task was handled",
        reported(&status, "handled")?,
        hands,
    )?;
    Ok(status)
}

fn latency(name: &str, status: &AgentStatus) -> Result<Row, BenchError> {
    let mut latency = load::histogram();
    add_reported(&mut latency, status, "task_ns")?;
    Ok(row(name, &latency))
}

fn row(name: &str, latency: &Histogram<u64>) -> Row {
    let percentiles = Percentiles::of(latency, 1e3);
    Row::new(name, percentiles.p50, "µs", latency.len()).percentiles(percentiles)
}
