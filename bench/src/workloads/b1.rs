//! B1, topology latency and throughput: ten agents send each other messages, one under way each, over every topology.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentAddress, AgentStatus};
use queenright_protocol::topology::{FanOut, Kind};
use serde_json::json;

use super::spread::Spread;
use crate::report::{Counts, Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, Shape, block_on, door, for_all, late, reported};
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
/// How long the last messages may take to be handled.
const HANDLED_WITHIN: Duration = Duration::from_secs(20);
/// How often it is looked: seldom enough to cost nothing.
const POLL: Duration = Duration::from_millis(100);

/// Whom an agent sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// Any agent of another node, drawn for each message.
    Random,
    /// The agent of its own place on the next node.
    Next,
}

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

/// What one run gave.
struct Exchange {
    /// Those that are measured, and all with their answers.
    messages: u64,
    signals: u64,
    busy: u64,
    per_second: f64,
    latency: Histogram<u64>,
    /// What all nodes passed on, and sent over links.
    forwarded: u64,
    link_bytes: u64,
    /// What each node used and had, where the system tells it.
    processor: Vec<Duration>,
    resident_mib: Vec<f64>,
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
    let name = |place: u64| format!("b1.{to:?}.{bytes}.{repeat}.{place}").to_lowercase();
    let node = |place: u64| &rig.nodes()[place as usize % NODES];
    let peers = for_all(0..AGENTS, async |place| {
        let arguments = json!({
            "bytes": bytes, "warm_up_ms": WARM_UP_MS, "work_ms": options.load_ms, "seed": options.seed + place,
        });
        node(place).spawn(&name(place), "load-peer", arguments).await
    })
    .await?;
    let addresses: Vec<AgentAddress> = peers
        .iter()
        .zip(0..)
        .map(|(peer, place)| address(node(place), peer))
        .collect();
    let plan: Vec<_> = (0..AGENTS as usize)
        .map(|place| (addresses[place], targets(&addresses, place, to)))
        .collect();
    let before = Meter::read(rig).await?;
    let conductor = format!("{}.conductor", name(0));
    node(0)
        .spawn(&conductor, "load-conductor", json!({ "peers": plan }))
        .await?;
    let peers = handled(
        node,
        &name,
        Duration::from_millis(WARM_UP_MS + options.load_ms) + HANDLED_WITHIN,
    )
    .await?;
    let after = Meter::read(rig).await?;
    for_all(0..AGENTS, async |place| {
        let stopped = node(place).client.stop_agent(&name(place)).await;
        stopped.map_err(|error| door("stop a peer", error))
    })
    .await?;
    let sum = |what: &str| -> Result<u64, BenchError> { peers.iter().map(|peer| reported(peer, what)).sum() };
    let (sent, received) = (sum("sent")?, sum("received")?);
    BenchError::unless_equal(ID, format!("messages handled, {bytes} B"), received, sent)?;
    BenchError::unless_equal(
        ID,
        format!("messages told to be handled, {bytes} B"),
        sum("handled")?,
        sent,
    )?;
    let mut latency = load::histogram();
    for peer in &peers {
        let added = peer
            .report
            .get("latency_ns")
            .and_then(|pairs| load::add_report(&mut latency, pairs));
        added.ok_or_else(|| BenchError::Agent {
            name: peer.name.clone(),
            problem: "reports no latency".to_owned(),
        })?;
    }
    Ok(Exchange {
        messages: received,
        signals: 2 * sum("all")?,
        busy: sum("busy")?,
        per_second: received as f64 / (options.load_ms.max(1) as f64 / 1e3),
        latency,
        forwarded: after.forwarded - before.forwarded,
        link_bytes: after.link_bytes - before.link_bytes,
        processor: after
            .processor
            .iter()
            .zip(&before.processor)
            .map(|(after, before)| *after - *before)
            .collect(),
        resident_mib: after.resident_mib,
    })
}

/// Whom the agent at this place sends to. Agents are dealt out to the nodes in turn.
fn targets(addresses: &[AgentAddress], place: usize, to: To) -> Vec<AgentAddress> {
    let own = addresses[place].node;
    match to {
        To::Random => addresses
            .iter()
            .filter(|address| address.node != own)
            .copied()
            .collect(),
        To::Next => {
            let row = place / NODES * NODES;
            vec![addresses[row + (place + 1 - row) % NODES]]
        }
    }
}

/// Waits until the time of all peers is over and everything that they sent was handled.
async fn handled<'n>(
    node: impl Fn(u64) -> &'n RigNode,
    name: &impl Fn(u64) -> String,
    within: Duration,
) -> Result<Vec<AgentStatus>, BenchError> {
    let started = Instant::now();
    loop {
        let peers = for_all(0..AGENTS, async |place| node(place).agent(&name(place)).await).await?;
        // A peer has reported nothing while it works.
        let sum = |what: &str| -> u64 { peers.iter().map(|peer| reported(peer, what).unwrap_or_default()).sum() };
        if sum("over") == AGENTS && sum("received") >= sum("sent") {
            return Ok(peers);
        }
        if started.elapsed() > within {
            return Err(late(
                format!("{} of {} messages are handled", sum("received"), sum("sent")),
                started,
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn address(node: &RigNode, agent: &AgentStatus) -> AgentAddress {
    AgentAddress {
        node: node.id,
        number: agent.number,
        generation: agent.generation,
    }
}

/// What all nodes have counted and used.
struct Meter {
    forwarded: u64,
    link_bytes: u64,
    processor: Vec<Duration>,
    resident_mib: Vec<f64>,
}

impl Meter {
    async fn read(rig: &Rig) -> Result<Meter, BenchError> {
        let figures = for_all(rig.nodes(), RigNode::figures).await?;
        let links = figures.iter().filter_map(|figures| figures.links["links"].as_array());
        let bytes = links.flatten().filter_map(|link| link["frame_bytes_sent"].as_u64());
        let status = rig.status().await?;
        let traffic = status.nodes.iter().filter_map(|node| node.traffic.as_ref());
        Ok(Meter {
            forwarded: traffic.map(|traffic| traffic.transit.signals_forwarded).sum(),
            link_bytes: bytes.sum(),
            processor: rig.nodes().iter().filter_map(RigNode::processor_time).collect(),
            resident_mib: rig.nodes().iter().filter_map(RigNode::resident_mib).collect(),
        })
    }
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
        let hops = 1.0 + sum(|run| run.forwarded) as f64 / signals as f64;
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
                2 * sum(|run| run.link_bytes) / signals,
                self.cost()
            ))
            .at("what", "message rate");
        [latency, rate]
    }

    /// What the nodes used in the last run.
    fn cost(&self) -> String {
        let run = self.runs.last().expect("every load is repeated at least once");
        let times: Vec<String> = run
            .processor
            .iter()
            .map(|time| format!("{:.1}", time.as_secs_f64()))
            .collect();
        let memory: Vec<String> = run.resident_mib.iter().map(|mib| format!("{mib:.0}")).collect();
        format!(
            "by node {} s of processor, {} MiB resident",
            times.join(" "),
            memory.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    use queenright_actors::agent::AgentAddress;
    use queenright_protocol::id::NodeId;

    use super::{AGENTS, NODES, To, targets};

    fn addresses() -> Vec<AgentAddress> {
        let address = |place: u64| AgentAddress {
            node: NodeId(place % NODES as u64 + 1),
            number: place,
            generation: 1,
        };
        (0..AGENTS).map(address).collect()
    }

    #[test]
    fn a_random_peer_is_any_of_another_node() {
        let addresses = addresses();
        for place in 0..addresses.len() {
            let targets = targets(&addresses, place, To::Random);
            assert_eq!(targets.len(), 8);
            assert!(targets.iter().all(|target| target.node != addresses[place].node));
        }
    }

    #[test]
    fn the_next_one_is_on_the_next_node_and_each_is_next_to_one() {
        let addresses = addresses();
        let mut seen: Vec<u64> = Vec::new();
        for place in 0..addresses.len() {
            let next = targets(&addresses, place, To::Next)[0];
            assert_eq!(next.node.0 as usize, (place + 1) % NODES + 1);
            seen.push(next.number);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..AGENTS).collect::<Vec<_>>());
    }
}
