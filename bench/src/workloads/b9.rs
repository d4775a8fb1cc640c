//! B9, snapshot reads: what it costs to take the present state of a node in hand, alone and beside a writer.
//!
//! First the original's loop, N times on one thread. Then readers that are tasks in the process of a node of three, a thousand reads
//! at a time, while an agent beside them puts one value after the other, each on disk at a majority before the next. Between
//! two batches a reader looks at the value: how old it is, and that it is not older than the last acknowledged one.

use std::slice;
use std::time::Duration;

use queenright_actors::agent::AgentStatus;
use queenright_actors::replica::Replica;
use queenright_protocol::id::NodeId;
use serde_json::json;

use crate::load::BATCH_READS;
use crate::report::{Claim, Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, block_on, reported};
use crate::timing::Timing;
use crate::traffic::latencies;
use crate::{BenchError, Options};

/// The id of the workload.
pub const ID: &str = "B9";
/// What the workload is about.
pub const TITLE: &str = "snapshot reads: alone, and by tasks of a node while a writer commits";

/// How many reads the loop makes, and how many tasks read.
const READERS: [u64; 3] = [10, 100, 1_000];
/// The part of a load that goes before, as one over this.
const WARM_UP_PART: u64 = 4;
/// How long an agent may take beyond its load.
const PATIENCE: Duration = Duration::from_secs(60);

/// The loop, then the readers without and with a writer, and what is seen of the writer on its node and on another.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a reader on the writer's node sees less than was acknowledged.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let mut rows: Vec<Row> = READERS.into_iter().map(|reads| alone(options, reads)).collect();
    rows.extend(block_on(cluster(options))?);
    Ok(Report {
        config: json!({
            "nodes": 3, "topology": "mesh", "readers": READERS, "reads_of_a_batch": BATCH_READS,
            "warm_up_measured_ms": [options.load_ms / WARM_UP_PART, options.load_ms], "repeats": options.repeats,
            "one read": "the present state taken, its position read, and let go",
            "readers are": "tasks in the process of the node, on as many threads of their own as there are processors",
            "durability": "each put by fdatasync on a majority", "data": options.data,
        }),
        rows,
        claims: vec![Claim::new(
            "ggen",
            "below 1 µs p99 a read (elsewhere below 100 ns p50); a loop on one thread, during which nobody can write",
        )],
        ..report
    })
}

fn alone(options: &Options, reads: u64) -> Row {
    let replica = Replica::new(NodeId(1));
    let timing = Timing::of(options.repeats, reads as usize, || {
        (0..reads).fold(0, |sum: u64, _| sum.wrapping_add(replica.snapshot().index))
    });
    let (least, greatest) = timing.spread();
    Row::new(
        format!("{reads} × current(), one thread, nobody writes"),
        timing.median(),
        "ns",
        timing.samples(),
    )
    .note(format!("{least:.1} to {greatest:.1} ns over the samples"))
}

async fn cluster(options: &Options) -> Result<Vec<Row>, BenchError> {
    let rig = Rig::start(options, ID).await?;
    let (leader, follower) = rig.leader_and_follower().await?;
    let mut rows = Vec::new();
    for readers in READERS {
        let quiet = reads(options, leader, "quiet", (readers, false)).await?;
        rows.extend(batch_rows(&format!("read, {readers} readers, nobody writes"), &quiet)?);
        let written = reads(options, leader, "written", (readers, true)).await?;
        let seconds = reported(&written, "micros")?.max(1) as f64 / 1e6;
        let puts = reported(&written, "puts")? as f64 / seconds;
        let [whole, on_cpu] = batch_rows(&format!("read, {readers} readers, a writer commits"), &written)?;
        let note = whole.note.clone().unwrap_or_default();
        rows.extend([whole.note(format!("{note}; {puts:.0} puts/s beside them")), on_cpu]);
        rows.push(latency_row(
            &format!("put beside {readers} readers"),
            &written,
            "latency_ns",
        )?);
    }
    // Both at once: what a reader elsewhere sees of the writer, and what one beside it sees.
    let (here, there) = (
        reads(options, leader, "here", (READERS[0], true)),
        reads(options, follower, "there", (READERS[0], false)),
    );
    let (here, there) = futures::future::try_join(here, there).await?;
    let what = "age of the newest put that a reader sees";
    rows.push(latency_row(&format!("{what}, writer's node"), &here, "age_ns")?);
    rows.push(
        latency_row(&format!("{what}, another node"), &there, "age_ns")?
            .note("from its submission to the look; the clocks are one host's"),
    );
    rig.stop().await?;
    Ok(rows)
}

/// Runs readers on a node, with a writer or without.
async fn reads(
    options: &Options,
    node: &RigNode,
    what: &str,
    (readers, writes): (u64, bool),
) -> Result<AgentStatus, BenchError> {
    let name = format!("b9.{what}.{readers}");
    let arguments = json!({
        // The readers on another node look at the key of the writer.
        "project": "b9", "key": "newest", "readers": readers, "writes": writes,
        "warm_up_ms": options.load_ms / WARM_UP_PART, "work_ms": options.load_ms,
    });
    node.spawn(&name, "load-reads", arguments).await?;
    let status = node
        .done(&name, Duration::from_millis(2 * options.load_ms) + PATIENCE)
        .await?;
    BenchError::unless_equal(ID, format!("stale reads of {name}"), reported(&status, "stale")?, 0)?;
    Ok(status)
}

/// The mean of a read in each batch, in nanoseconds: by the clock, and by what the reader had of a processor.
fn batch_rows(name: &str, status: &AgentStatus) -> Result<[Row; 2], BenchError> {
    let row = |name: &str, what: &str, note: &str| {
        let batches = latencies(slice::from_ref(status), what)?;
        let percentiles = Percentiles::of(&batches, BATCH_READS as f64);
        let row = Row::new(name, percentiles.p50, "ns", batches.len()).percentiles(percentiles);
        Ok::<Row, BenchError>(row.note(note))
    };
    let mean = format!("mean of a read in each batch of {BATCH_READS}, over all batches of all readers");
    let without = "the same, without the time in which a batch had no processor";
    Ok([
        row(name, "batch_ns", &mean)?,
        row(&format!("{name}: processor time"), "batch_cpu_ns", without)?,
    ])
}

fn latency_row(name: &str, status: &AgentStatus, what: &str) -> Result<Row, BenchError> {
    let latency = latencies(slice::from_ref(status), what)?;
    let percentiles = Percentiles::of(&latency, 1e3);
    Ok(Row::new(name, percentiles.p50, "µs", latency.len()).percentiles(percentiles))
}
