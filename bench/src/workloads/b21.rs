//! B21, small workloads of the systems that swarms were built with before: the same work by threads of one process and by
//! processes, tasks one by one and in tens, how well agents are used, and what a kept message costs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use queenright_protocol::topology::Kind;
use serde_json::json;

use super::spread::Spread;
use super::tasks::{all, look, prepare, sum, work};
use crate::client::PutOptions;
use crate::load::hash;
use crate::report::{Report, Row};
use crate::rig::{Rig, Shape, block_on, door, for_all, reported};
use crate::{BenchError, Options};

/// The id of the workload.
pub const ID: &str = "B21";
/// What the workload is about.
pub const TITLE: &str = "threads against processes, batches, utilisation, kept messages";

/// Threads of one process, and nodes.
const WIDTHS: [usize; 3] = [1, 2, 3];
/// How many tasks they share, and how often each hashes 64 KiB: a third of a millisecond of a processor.
const SHARED: u64 = 2_000;
const SHARED_TIMES: u64 = 10;
/// How many tasks are added and done one by one, and in tens.
const SINGLE: u64 = 1_000;
const BATCHES: [(u64, &str); 2] = [(1, "one by one"), (10, "in tens")];
/// How many tasks for how many agents, and how often each hashes: some tens of milliseconds.
const FEW: u64 = 20;
const AGENTS: u64 = 10;
const FEW_TIMES: u64 = 1_000;
/// How many messages are kept, and before that to warm up; bytes of each.
const KEPT: u64 = 10_000;
const KEPT_BEFORE: u64 = 1_000;
const KEPT_BYTES: usize = 256;
const PAYLOAD_BYTES: u64 = 256;
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// Runs all four. Tasks are claimed and finished durably; what was finished is counted on a node.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a task was not finished once.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let rows = block_on(measure(options))?;
    Ok(Report {
        config: json!({
            "shared_tasks": sized(SHARED, options), "hashes_of_64_KiB_per_task": SHARED_TIMES, "batched_tasks": sized(SINGLE, options),
            "few_tasks": FEW, "agents": AGENTS, "hashes_per_few_task": few_times(options), "kept": sized(KEPT, options),
            "kept_bytes": KEPT_BYTES, "repeats": options.cluster_repeats.max(1), "topology": "mesh", "data": options.data,
        }),
        rows,
        ..report
    })
}

/// A number of the full run, or less in a run with short loads.
fn sized(full: u64, options: &Options) -> u64 {
    (full * options.load_ms / 4_000).clamp(full.min(50), full)
}

fn few_times(options: &Options) -> u64 {
    sized(FEW_TIMES, options)
}

async fn measure(options: &Options) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::new();
    for width in WIDTHS {
        let shape = Shape {
            nodes: width,
            kind: Kind::Mesh,
        };
        let rig = Rig::start_shaped(options, ID, shape).await?;
        rows.extend(widths(&rig, options, width).await?);
        if width == WIDTHS[WIDTHS.len() - 1] {
            rows.extend(batches(&rig, options).await?);
            rows.extend(utilisation(&rig, options).await?);
            rows.extend(kept(&rig, options).await?);
        }
        rig.stop().await?;
    }
    Ok(rows)
}

/// The same tasks by so many threads of this process, and by an agent on each of so many nodes.
async fn widths(rig: &Rig, options: &Options, width: usize) -> Result<Vec<Row>, BenchError> {
    let tasks = sized(SHARED, options);
    let (mut threads, mut nodes) = (Vec::new(), Vec::new());
    for repeat in 0..options.cluster_repeats.max(1) {
        let took = tokio::task::spawn_blocking(move || by_threads(width, tasks)).await;
        threads.push(tasks as f64 / took.expect("hashing does not panic").as_secs_f64());
        let project = format!("b21-{width}-{repeat}");
        prepare(ID, rig.nodes(), &project, tasks).await?;
        let arguments = json!({ "project": project, "times": SHARED_TIMES });
        let workers = work(
            rig.nodes(),
            &project,
            "load-hash",
            width as u64,
            arguments,
            Duration::ZERO,
        )
        .await?;
        BenchError::unless_equal(ID, format!("tasks of {project}"), sum(&workers, "tasks")?, tasks)?;
        let done = look(&rig.nodes()[width - 1], &project).await?.done;
        BenchError::unless_equal(ID, format!("finished tasks of {project}"), done, tasks)?;
        let first = all(&workers, "first_at_us")?.into_iter().min().unwrap_or_default();
        let last = all(&workers, "last_at_us")?.into_iter().max().unwrap_or_default();
        nodes.push(tasks as f64 / (last.saturating_sub(first).max(1) as f64 / 1e6));
    }
    let (threads, nodes) = (Spread::of(threads), Spread::of(nodes));
    let ratio = threads.median() / nodes.median();
    let plural = if width == 1 { "" } else { "s" };
    Ok(vec![
        threads
            .row(format!("{width} thread{plural} of one process"), "tasks/s")
            .at("what", "hashing by threads of one process")
            .at("threads", width)
            .note(threads.note()),
        nodes
            .row(
                format!("{width} node process{}", if width == 1 { "" } else { "es" }),
                "tasks/s",
            )
            .at("what", "hashing by node processes")
            .at("nodes", width)
            .note(format!(
                "one agent each, every task claimed and finished durably; {}",
                nodes.note()
            )),
        Row::new(
            format!("overhead, {width} thread{plural} against as many nodes"),
            ratio,
            "×",
            nodes.samples(),
        )
        .note("how many times as long the processes take"),
    ])
}

fn by_threads(width: usize, tasks: u64) -> Duration {
    let next = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= tasks {
                        break;
                    }
                    std::hint::black_box(hash(number, SHARED_TIMES));
                }
            });
        }
    });
    began.elapsed()
}

/// Tasks of one agent, one with each command and ten.
async fn batches(rig: &Rig, options: &Options) -> Result<Vec<Row>, BenchError> {
    let tasks = sized(SINGLE, options);
    let (leader, _) = rig.leader_and_follower().await?;
    let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
    for repeat in 0..options.cluster_repeats.max(1) {
        for (place, (batch, _)) in BATCHES.iter().enumerate() {
            let name = format!("b21-batch-{batch}-{repeat}");
            let arguments = json!({ "project": name, "tasks": tasks, "batch": batch, "payload_bytes": PAYLOAD_BYTES });
            leader.spawn(&name, "load-batches", arguments).await?;
            let status = leader.done(&name, DONE_WITHIN).await?;
            BenchError::unless_equal(ID, format!("tasks of {name}"), reported(&status, "finished")?, tasks)?;
            for (rates, figure) in rates[place].iter_mut().zip(["add_us", "work_us"]) {
                rates.push(tasks as f64 / (reported(&status, figure)?.max(1) as f64 / 1e6));
            }
        }
    }
    let mut rows = Vec::new();
    for ((_, how), rates) in BATCHES.into_iter().zip(rates) {
        for (what, rates) in ["added", "claimed and finished"].into_iter().zip(rates) {
            let rates = Spread::of(rates);
            rows.push(
                rates
                    .row(format!("tasks {what}, {how}"), "tasks/s")
                    .note(format!("{tasks} by one agent of the leader's node; {}", rates.note())),
            );
        }
    }
    Ok(rows)
}

/// Few tasks for several agents: for how much of the time they had work.
async fn utilisation(rig: &Rig, options: &Options) -> Result<Vec<Row>, BenchError> {
    let (mut used, mut spans) = (Vec::new(), Vec::new());
    for repeat in 0..options.cluster_repeats.max(1) {
        let project = format!("b21-few-{repeat}");
        prepare(ID, rig.nodes(), &project, FEW).await?;
        let arguments = json!({ "project": project, "times": few_times(options) });
        let workers = work(rig.nodes(), &project, "load-hash", AGENTS, arguments, Duration::ZERO).await?;
        BenchError::unless_equal(ID, format!("tasks of {project}"), sum(&workers, "tasks")?, FEW)?;
        let first = all(&workers, "first_at_us")?.into_iter().min().unwrap_or_default();
        let last = all(&workers, "last_at_us")?.into_iter().max().unwrap_or_default();
        let span_us = last.saturating_sub(first).max(1) as f64;
        used.push(100.0 * sum(&workers, "busy")? as f64 / (span_us * AGENTS as f64));
        spans.push(span_us / 1e3);
    }
    let (used, spans) = (Spread::of(used), Spread::of(spans));
    Ok(vec![
        used.row(format!("utilisation, {FEW} tasks over {AGENTS} agents"), "%")
            .note(format!(
                "of the agents' time from the first claim to the last finish, with a task in hand; {}",
                used.note()
            )),
        spans
            .row(format!("{FEW} tasks over {AGENTS} agents"), "ms")
            .note(spans.note()),
    ])
}

/// What the nodes' memory grows by for each message that is kept.
async fn kept(rig: &Rig, options: &Options) -> Result<Vec<Row>, BenchError> {
    let put = async |prefix: &str, count: u64| {
        for_all(0..count, async |number| {
            let node = &rig.nodes()[number as usize % rig.nodes().len()];
            let value = Bytes::from(vec![b'm'; KEPT_BYTES]);
            let put = node
                .client
                .put(&format!("{prefix}/{number}"), value, &PutOptions::default())
                .await;
            put.map_err(|error| door("keep a message", error))
        })
        .await
    };
    let count = sized(KEPT, options);
    put("b21/before", KEPT_BEFORE.min(count)).await?;
    rig.whole().await?;
    let before: Vec<Option<f64>> = rig.nodes().iter().map(|node| node.resident_mib()).collect();
    put("b21/kept", count).await?;
    rig.whole().await?;
    let rows = rig.nodes().iter().zip(before).filter_map(|(node, before)| {
        let growth = (node.resident_mib()? - before?) * 1024.0 * 1024.0;
        Some(
            Row::new(
                format!("resident memory per kept message, {}", node.name),
                growth / count as f64,
                "B",
                count,
            )
            .note(format!(
                "{count} keys of the memory with {KEPT_BYTES} B each, their log and their store: there is no mail yet"
            )),
        )
    });
    Ok(rows.collect())
}
