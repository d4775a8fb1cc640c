//! B20, a ring of five at saturation: every node sends as many signals as it can over two links, and commands go on.

use std::time::{Duration, Instant};

use queenright_actors::agent::{AgentAddress, AgentStatus};
use queenright_actors::node::NodeFigures;
use queenright_protocol::topology::Kind;
use serde_json::{Value, json};

use crate::report::{Counts, Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, Shape, add_reported, block_on, for_all, late, reported};
use crate::{BenchError, Options, load};

/// The id of the workload.
pub const ID: &str = "B20";
/// What the workload is about.
pub const TITLE: &str = "a ring of 5 at saturation: every node sends over two links";

const NODES: usize = 5;
/// How many nodes further the target of each node is.
const HOPS: usize = 2;
/// Bytes of each signal.
const BYTES: usize = 128;
/// The most by which the memory of a node may grow: its outboxes of 8 MiB for each lane and link, the mailbox of its sink,
/// and what the allocator keeps of them.
const GROWTH_MIB_MAX: f64 = 192.0;
/// How long agents may take to end, and the last signals to arrive.
const END_WITHIN: Duration = Duration::from_secs(30);
/// How often memory is looked at, and how long nothing may have changed when all has arrived.
const POLL: Duration = Duration::from_millis(100);
const STILL: Duration = Duration::from_millis(500);
/// How many calls each node makes afterwards.
const CALLS: u64 = 200;

/// Signals from every node to the one after the next, for as long as the options say, while one agent puts; what is in the
/// way of others is dropped and counted. Then calls over the same links.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a signal is not accounted for, or the memory of a node grows too far;
/// [`BenchError::Late`] if something is locked up.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let rows = block_on(ring(options))?;
    Ok(Report {
        config: json!({
            "nodes": NODES, "topology": "ring", "links_of_a_signal": HOPS, "bytes": BYTES, "senders": "one on each node",
            "saturated_ms": options.saturated_ms, "growth_mib_max": GROWTH_MIB_MAX,
            "counts": "refused: the sender was told at once; lost: in the way of others, at a node between or at the target",
            "transport": "ractor_cluster over TCP on loopback", "durability": "none of signals; puts by fdatasync",
            "data": options.data,
        }),
        rows,
        ..report
    })
}

async fn ring(options: &Options) -> Result<Vec<Row>, BenchError> {
    let shape = Shape {
        nodes: NODES,
        kind: Kind::Ring,
    };
    let rig = Rig::start_shaped(options, ID, shape).await?;
    let mut rows = saturated(&rig, options).await?;
    rows.push(calls(&rig).await?);
    rig.stop().await?;
    Ok(rows)
}

/// The node that the one at this place sends to.
fn target(rig: &Rig, place: usize) -> &RigNode {
    &rig.nodes()[(place + HOPS) % NODES]
}

async fn saturated(rig: &Rig, options: &Options) -> Result<Vec<Row>, BenchError> {
    let sinks = for_all(rig.nodes(), async |node| {
        node.spawn("b20.sink", "load-sink", json!({})).await
    })
    .await?;
    let before: Vec<Option<f64>> = rig.nodes().iter().map(RigNode::resident_mib).collect();
    let started = Instant::now();
    for_all(0..NODES, async |place| {
        let to = address(target(rig, place), &sinks[(place + HOPS) % NODES]);
        let arguments = json!({ "to": to, "count": u64::MAX, "bytes": BYTES, "for_ms": options.saturated_ms });
        rig.nodes()[place].spawn("b20.source", "load-source", arguments).await
    })
    .await?;
    let put = json!({
        "prefix": "b20", "keys": 100, "value_bytes": 256, "warm_up_ms": 0, "work_ms": options.saturated_ms,
    });
    rig.nodes()[NODES - 1].spawn("b20.put", "load-put", put).await?;
    let mut most = before.clone();
    while started.elapsed() < Duration::from_millis(options.saturated_ms) {
        for (most, node) in most.iter_mut().zip(rig.nodes()) {
            *most = most.zip(node.resident_mib()).map(|(most, now)| most.max(now)).or(*most);
        }
        tokio::time::sleep(POLL).await;
    }
    let sources = for_all(rig.nodes(), async |node| node.done("b20.source", END_WITHIN).await).await?;
    let put = rig.nodes()[NODES - 1].done("b20.put", END_WITHIN).await?;
    let count = Account::when_still(rig).await?;
    let mut rows = vec![count.row(&sources, options)?, puts(&put)?];
    for ((node, before), most) in rig.nodes().iter().zip(before).zip(most) {
        if let Some((before, most)) = before.zip(most) {
            rows.push(memory(node, before, most)?);
        }
    }
    Ok(rows)
}

fn memory(node: &RigNode, before: f64, most: f64) -> Result<Row, BenchError> {
    let row = Row::new(format!("resident memory at most, {}", node.name), most, "MiB", 1);
    match most - before <= GROWTH_MIB_MAX {
        true => Ok(row.note(format!("{before:.0} MiB before"))),
        false => Err(BenchError::Mismatch {
            workload: ID,
            what: format!("resident memory of {} beyond its {before:.0} MiB", node.name),
            found: format!("{:.0} MiB", most - before),
            expected: format!("at most {GROWTH_MIB_MAX} MiB"),
        }),
    }
}

fn puts(put: &AgentStatus) -> Result<Row, BenchError> {
    let mut latency = load::histogram();
    add_reported(&mut latency, put, "latency_ns")?;
    let percentiles = Percentiles::of(&latency, 1e3);
    let row = Row::new("put latency meanwhile, 1 agent", percentiles.p50, "µs", latency.len());
    Ok(row.percentiles(percentiles).counts(Counts {
        sent: reported(put, "sent")?,
        delivered: reported(put, "delivered")?,
        refused: reported(put, "refused")?,
        lost: reported(put, "unknown")?,
    }))
}

fn address(node: &RigNode, agent: &AgentStatus) -> AgentAddress {
    AgentAddress {
        node: node.id,
        number: agent.number,
        generation: agent.generation,
    }
}

/// What all nodes together have counted of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    sent: u64,
    refused: u64,
    delivered: u64,
    /// Lost where they were to be delivered.
    lost_at_end: u64,
    /// Lost at a node that should have passed them on.
    lost_in_transit: u64,
    forwarded: u64,
    /// Lost, or perhaps lost, with a link that broke.
    lost_on_links: u64,
    in_doubt: u64,
    /// Bytes of signals that wait for links.
    waiting_bytes: u64,
}

impl Account {
    async fn read(rig: &Rig) -> Result<Account, BenchError> {
        let mut account = Account::default();
        for figures in for_all(rig.nodes(), RigNode::figures).await? {
            account.sent += figures.signals.sent;
            account.refused += figures.signals.refused;
            account.delivered += figures.signals.delivered;
            account.lost_at_end += figures.signals.lost;
            account.lost_on_links += of_lanes(&figures, "lost");
            account.in_doubt += of_lanes(&figures, "in_doubt");
            account.waiting_bytes += of_lanes(&figures, "queued_bytes");
        }
        for node in rig.status().await?.nodes {
            let transit = node.traffic.map(|traffic| traffic.transit).unwrap_or_default();
            account.lost_in_transit += transit.signals_lost;
            account.forwarded += transit.signals_forwarded;
        }
        Ok(account)
    }

    /// Reads until nothing waits and nothing changes any more.
    async fn when_still(rig: &Rig) -> Result<Account, BenchError> {
        let started = Instant::now();
        let mut last = Account::read(rig).await?;
        while started.elapsed() < END_WITHIN {
            tokio::time::sleep(STILL).await;
            let now = Account::read(rig).await?;
            if now == last && now.waiting_bytes == 0 {
                return Ok(now);
            }
            last = now;
        }
        Err(late("signals are still under way", started))
    }

    fn lost(&self) -> u64 {
        self.lost_at_end + self.lost_in_transit + self.lost_on_links
    }

    /// All that the sources have sent must be accounted for.
    fn row(&self, sources: &[AgentStatus], options: &Options) -> Result<Row, BenchError> {
        let sum = |what: &str| -> Result<u64, BenchError> { sources.iter().map(|agent| reported(agent, what)).sum() };
        let equal = |what: &str, found: u64, expected: u64| BenchError::unless_equal(ID, what, found, expected);
        equal("signals that the nodes have taken", self.sent, sum("sent")?)?;
        equal(
            "signals that they have refused",
            self.refused,
            sum("busy")? + sum("unreachable")?,
        )?;
        let known = self.delivered + self.lost();
        if !(known..=known + self.in_doubt).contains(&self.sent) {
            return Err(BenchError::Mismatch {
                workload: ID,
                what: "signals accounted for".to_owned(),
                found: format!("{self:?}"),
                expected: "sent = delivered + lost, but for those in doubt".to_owned(),
            });
        }
        let seconds = options.saturated_ms.max(1) as f64 / 1e3;
        let row = Row::new(
            "signals over two links, all nodes",
            self.delivered as f64 / seconds,
            "signals/s",
            self.delivered,
        );
        let counts = Counts {
            sent: self.sent + self.refused,
            delivered: self.delivered,
            refused: self.refused,
            lost: self.sent - self.delivered,
        };
        Ok(row.counts(counts).note(format!(
            "{} passed on; lost: {} in transit, {} at the target, {} on links, {} in doubt",
            self.forwarded, self.lost_in_transit, self.lost_at_end, self.lost_on_links, self.in_doubt
        )))
    }
}

/// The sum of a count of the lanes of signals of all links of a node.
fn of_lanes(figures: &NodeFigures, count: &str) -> u64 {
    let links = figures.links["links"].as_array().into_iter().flatten();
    let lanes = links.filter_map(|link| link["lanes"].as_array()).flatten();
    let signals = lanes.filter(|lane| lane["lane"] == "signal");
    signals.filter_map(|lane| lane[count].as_u64()).sum()
}

/// One caller on each node calls over the same links, all at the same time: nothing is locked up.
async fn calls(rig: &Rig) -> Result<Row, BenchError> {
    let echos = for_all(rig.nodes(), async |node| {
        node.spawn("b20.echo", "load-echo", Value::Null).await
    })
    .await?;
    for_all(0..NODES, async |place| {
        let to = address(target(rig, place), &echos[(place + HOPS) % NODES]);
        let arguments = json!({ "to": to, "calls": CALLS, "bytes": BYTES });
        rig.nodes()[place].spawn("b20.caller", "load-caller", arguments).await
    })
    .await?;
    let callers = for_all(rig.nodes(), async |node| node.done("b20.caller", END_WITHIN).await).await?;
    let mut latency = load::histogram();
    for caller in &callers {
        add_reported(&mut latency, caller, "latency_ns")?;
    }
    let percentiles = Percentiles::of(&latency, 1e3);
    let row = Row::new("call over two links afterwards", percentiles.p50, "µs", latency.len());
    Ok(row
        .percentiles(percentiles)
        .note("5 callers at the same time, one on each node"))
}
