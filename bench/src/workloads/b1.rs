//! B1, topology latency and throughput: ten agents send each other messages, one under way each, over every topology.

use queenright_protocol::topology::{FanOut, Kind};
use serde_json::json;

use super::spread::Spread;
use crate::report::{Counts, Percentiles, Report, Row};
use crate::rig::{Rig, Shape, block_on};
use crate::traffic::closed::{Closed, Exchange, To};
use crate::{BenchError, Options, claims, load};

/// The id of the workload.
pub const ID: &str = "B1";
/// What the workload is about.
pub const TITLE: &str = "messages over each topology: 10 agents on 5 nodes, one message under way each";

/// How many agents there are, on how many nodes.
const AGENTS: u64 = 10;
const NODES: usize = 5;
/// Bytes of each message.
const BYTES: [usize; 3] = [64, 256, 1024];
/// How long the agents send before they are measured, in milliseconds.
const WARM_UP_MS: u64 = 500;

impl To {
    fn words(self) -> &'static str {
        match self {
            To::Random => "random peer",
            To::Next => "next node",
        }
    }
}

/// What is measured: over which links, and who sends to whom.
const PATHS: [(Kind, To, &str); 5] = [
    (Kind::Mesh, To::Random, "mesh, random peer"),
    (Kind::Star, To::Random, "star, random peer"),
    (Kind::Ring, To::Next, "ring, next node"),
    (Kind::Ring, To::Random, "ring, random peer"),
    (
        Kind::Hierarchical {
            fan_out: FanOut::DEFAULT,
        },
        To::Random,
        "hierarchical, random peer",
    ),
];

/// Messages of 64 B, 256 B and 1 KiB in a closed loop: latency from sending to handling, rate, links that a message goes
/// over, bytes on links, and what it costs. Nothing may be lost.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a message is lost.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let mut rows = Vec::new();
    // One link is what a mesh has: what the others cost is told as a multiple of it.
    let mut one_link: Vec<f64> = Vec::new();
    for (kind, to, name) in PATHS {
        let runs = block_on(path(options, kind, to))?;
        if one_link.is_empty() {
            one_link = runs.iter().map(|sizes| sizes.medians_us().median()).collect();
        }
        for (size, one_link) in runs.iter().zip(&one_link) {
            let point = |row: Row| {
                row.at("topology", kind.to_string())
                    .at("to", to.words())
                    .at("bytes", size.bytes)
            };
            rows.extend(size.rows(name, *one_link).map(point));
        }
    }
    Ok(Report {
        config: json!({
            "nodes": NODES, "agents": AGENTS, "bytes": BYTES, "under_way": 1, "measured_ms": options.load_ms,
            "warm_up_ms": WARM_UP_MS, "repeats": options.cluster_repeats.max(1), "seed": options.seed,
            "random_peer": "an agent of another node, drawn for each message",
            "latency": "from sending to handling, by the one clock of the host; that it was handled is told by a signal back",
            "transport": "ractor_cluster over TCP on loopback", "durability": "none: signals are volatile",
            "data": options.data,
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

/// The runs with messages of one size.
struct Size {
    bytes: usize,
    runs: Vec<Exchange>,
}

/// All sizes on one cluster.
async fn path(options: &Options, kind: Kind, to: To) -> Result<Vec<Size>, BenchError> {
    let rig = Rig::start_shaped(options, ID, Shape { nodes: NODES, kind }).await?;
    let mut sizes = Vec::new();
    for bytes in BYTES {
        let mut runs = Vec::new();
        for repeat in 0..options.cluster_repeats.max(1) {
            runs.push(exchange(&rig, options, bytes, to, repeat).await?);
        }
        sizes.push(Size { bytes, runs });
    }
    rig.stop().await?;
    Ok(sizes)
}

async fn exchange(rig: &Rig, options: &Options, bytes: usize, to: To, repeat: u32) -> Result<Exchange, BenchError> {
    let load = Closed {
        workload: ID,
        agents: AGENTS,
        bytes,
        to,
        warm_up_ms: WARM_UP_MS,
        work_ms: options.load_ms,
        seed: options.seed,
    };
    let name = format!("b1.{to:?}.{bytes}.{repeat}").to_lowercase();
    load.run(rig.nodes(), &name).await
}

impl Size {
    fn medians_us(&self) -> Spread {
        Spread::of(
            self.runs
                .iter()
                .map(|run| run.latency.value_at_quantile(0.5) as f64 / 1e3),
        )
    }

    /// Latency and rate; `one_link_us` is the median latency over one link with messages of this size.
    fn rows(&self, name: &str, one_link_us: f64) -> [Row; 2] {
        let name = format!("{name}, {} B", self.bytes);
        let sum = |what: fn(&Exchange) -> u64| self.runs.iter().map(what).sum::<u64>();
        let (messages, signals) = (sum(|run| run.messages), sum(|run| run.signals).max(1));
        let mut latency = load::histogram();
        for run in &self.runs {
            latency
                .add(&run.latency)
                .expect("both have the bounds of a load's histogram");
        }
        let medians = self.medians_us();
        let median = medians.median();
        // Each signal goes over one link more than nodes that pass it on.
        let hops = 1.0 + sum(|run| run.cost.sum(|node| node.forwarded)) as f64 / signals as f64;
        let counts = Counts {
            sent: messages,
            delivered: messages,
            ..Counts::default()
        };
        let latency = Row::new(format!("{name}: send to handler"), median, "µs", messages)
            .repeats(medians.repeats())
            .percentiles(Percentiles::of(&latency, 1e3))
            .counts(counts)
            .note(format!(
                "{hops:.2} links a message, {:.2} times as long as over {hops:.2} links of a mesh; {} refused at first",
                median / (one_link_us * hops).max(f64::MIN_POSITIVE),
                sum(|run| run.busy),
            ))
            .at("what", "send to handler");
        let rates = Spread::of(self.runs.iter().map(|run| run.per_second));
        let rate = rates
            .row(format!("{name}: rate"), "messages/s")
            .note(format!(
                "{}; {} B on links for a message and its answer; {}",
                rates.note(),
                2 * sum(|run| run.cost.sum(|node| node.frame_bytes)) / signals,
                self.cost()
            ))
            .at("what", "message rate");
        [latency, rate]
    }

    /// What the nodes used in the last run.
    fn cost(&self) -> String {
        let run = self.runs.last().expect("every load is repeated at least once");
        let times = run.cost.processor_seconds().unwrap_or_default();
        let times: Vec<String> = times.iter().map(|seconds| format!("{seconds:.1}")).collect();
        let memory = run.cost.resident_mib().unwrap_or_default();
        let memory: Vec<String> = memory.iter().map(|mib| format!("{mib:.0}")).collect();
        format!(
            "by node {} s of processor, {} MiB resident",
            times.join(" "),
            memory.join(" ")
        )
    }
}
