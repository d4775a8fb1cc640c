//! B13, message routing: signals one way and calls between agents of two nodes, signals on one node, and topics.

mod topics;

use std::time::{Duration, Instant};

use bytes::Bytes;
use queenright_actors::agent::{AgentAddress, AgentStatus, SignalCounts};
use queenright_actors::node::NodeFigures;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Envelope, Kind};
use serde_json::{Value, json};

use super::spread::Spread;
use crate::report::{Counts, Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, add_reported, block_on, for_all, late, reported};
use crate::timing::Timing;
use crate::{BenchError, Options, claims, load};

/// The id of the workload.
pub const ID: &str = "B13";
/// What the workload is about.
pub const TITLE: &str = "message routing: signals and calls, 2 nodes of 3";

/// Bytes of each payload.
const BYTES: usize = 128;
/// Calls before those that are measured.
const WARM_UP_CALLS: u64 = 500;
/// Callers at the same time, and how many times the calls of one alone they make together.
const CALLERS: (u64, u64) = (100, 20);
/// FreeAgentics' own amount: messages to this many other agents of one node.
const LOCAL: (u64, u64) = (1_000, 10);
/// How long nothing may arrive before what is missing counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long an agent may take to end when all has arrived, and how long callers may take.
const DONE_WITHIN: Duration = Duration::from_secs(20);
const CALLS_WITHIN: Duration = Duration::from_secs(300);
/// How often the sinks are looked at: seldom enough to cost nothing.
const POLL: Duration = Duration::from_millis(100);

/// Signals of 128 B from agents of one node to agents of another, as fast as they go; calls (a signal and its echo) by
/// one caller and by a hundred; FreeAgentics' 1,000 messages to 10 agents of one node, and its 100 agents with 5 of 20 topics
/// each; messages of topics from one node to subscribers of another; encoding and decoding. No signal may be lost or out of
/// order, and of messages of topics what a mailbox had no room for is counted.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a signal is lost or out of order, or the counts of agents, nodes and links
/// differ.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let mut rows = block_on(cluster(options))?;
    rows.extend(topics::look_ups(options)?);
    rows.push(round_trip(options));
    Ok(Report {
        config: json!({
            "nodes": 3, "topology": "mesh", "from": "n1", "to": "n2", "bytes": BYTES, "signals": options.signals,
            "calls": options.calls, "warm_up_calls": WARM_UP_CALLS, "repeats": options.cluster_repeats.max(1),
            "transport": "ractor_cluster over TCP on loopback", "durability": "none: signals are volatile",
            "data": options.data, "topics": topics::config(),
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

async fn cluster(options: &Options) -> Result<Vec<Row>, BenchError> {
    let rig = Rig::start(options, ID).await?;
    let (from, to) = (&rig.nodes()[0], &rig.nodes()[1]);
    let one_way = |name: &str, senders: u64, sinks: u64| OneWay {
        name: name.to_owned(),
        from: from.clone(),
        to: to.clone(),
        senders,
        sinks,
        count: (options.signals / senders).max(1) * senders,
    };
    let mut loads = vec![
        (one_way("one way, 1 sender", 1, 1), Vec::new()),
        (one_way("one way, 8 senders to 8 agents", 8, 8), Vec::new()),
        (one_way("one way, 8 senders to 1 agent", 8, 1), Vec::new()),
    ];
    let (messages, agents) = LOCAL;
    for (name, count) in [
        ("on one node, 1,000 to 10 agents", messages),
        ("on one node, many to 10 agents", options.signals),
    ] {
        let local = OneWay {
            name: name.to_owned(),
            from: from.clone(),
            to: from.clone(),
            senders: 1,
            sinks: agents,
            count: count.div_ceil(agents) * agents,
        };
        loads.push((local, Vec::new()));
    }
    let mut published: Vec<_> = topics::loads(options)
        .into_iter()
        .map(|load| (load, Vec::new()))
        .collect();
    let mut alone = Vec::new();
    let mut together = Vec::new();
    let (callers, times) = CALLERS;
    for repeat in 0..options.cluster_repeats.max(1) {
        for (load, runs) in &mut loads {
            runs.push(load.run(repeat).await?);
        }
        for (load, runs) in &mut published {
            runs.push(load.run(from, to, repeat).await?);
        }
        alone.push(calls(from, to, 1, options.calls, repeat).await?);
        together.push(calls(from, to, callers, options.calls * times / callers, repeat).await?);
    }
    let mut rows: Vec<Row> = loads.iter().map(|(load, runs)| load.row(runs)).collect();
    rows.extend(published.iter().flat_map(|(load, runs)| load.rows(runs)));
    rows.extend(call_rows("1 caller", &alone));
    rows.extend(call_rows(&format!("{callers} callers"), &together));
    rig.stop().await?;
    Ok(rows)
}

/// Signals as fast as they go.
struct OneWay {
    name: String,
    from: RigNode,
    to: RigNode,
    senders: u64,
    /// As many as senders, each with one of its own; or else all senders send to all of them in turn.
    sinks: u64,
    /// Signals of all senders together.
    count: u64,
}

/// What one run gave.
struct Arrived {
    per_second: f64,
    counts: Counts,
}

impl OneWay {
    async fn run(&self, repeat: u32) -> Result<Arrived, BenchError> {
        let label = self.name.replace([' ', ','], "-");
        let sink = |place: u64| format!("b13.{label}.{repeat}.sink.{place}");
        let source = |place: u64| format!("b13.{label}.{repeat}.source.{place}");
        let before = (self.from.figures().await?, self.to.figures().await?);
        let expect = self.count / self.sinks;
        let sinks = for_all(0..self.sinks, async |place| {
            self.to
                .spawn(&sink(place), "load-sink", json!({ "expect": expect }))
                .await
        })
        .await?;
        let addresses: Vec<AgentAddress> = sinks.iter().map(|sink| address(&self.to, sink)).collect();
        for_all(0..self.senders, async |place| {
            let targets = if self.senders == self.sinks {
                &addresses[place as usize..=place as usize]
            } else {
                &addresses[..]
            };
            let arguments = json!({
                "to": targets[0], "also_to": targets[1..], "count": self.count / self.senders, "bytes": BYTES,
            });
            self.from.spawn(&source(place), "load-source", arguments).await
        })
        .await?;
        let sinks = self.arrived(&sink).await?;
        let sources = for_all(0..self.senders, async |place| {
            self.from.done(&source(place), DONE_WITHIN).await
        })
        .await?;
        let after = (self.from.figures().await?, self.to.figures().await?);
        // They hold no more than a count, but a run of many should not leave hundreds behind.
        for_all(0..self.sinks, async |place| {
            let stopped = self.to.client.stop_agent(&sink(place)).await;
            stopped.map_err(|error| crate::rig::door("stop a sink", error))
        })
        .await?;
        self.check(&sinks, &sources, &before, &after)
    }

    /// Waits until all sinks have all, or nothing arrives any more.
    async fn arrived(&self, sink: &impl Fn(u64) -> String) -> Result<Vec<AgentStatus>, BenchError> {
        let mut progress = (0, Instant::now());
        loop {
            let sinks = for_all(0..self.sinks, async |place| self.to.agent(&sink(place)).await).await?;
            // A sink has reported nothing before its first signals.
            let received: u64 = sinks
                .iter()
                .map(|sink| reported(sink, "received").unwrap_or_default())
                .sum();
            if received > progress.0 {
                progress = (received, Instant::now());
            }
            if received >= self.count {
                return Ok(sinks);
            }
            if progress.1.elapsed() > SILENCE_MAX {
                // What is missing may be lost, or a sink that expects more has not reported its last ones: the counts of
                // the nodes tell.
                return Err(BenchError::Mismatch {
                    workload: ID,
                    what: format!("signals, {}, reported by those who receive them", self.name),
                    found: format!(
                        "{received}; counts of the receiving node {:?}",
                        self.to.figures().await?.signals
                    ),
                    expected: self.count.to_string(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Compares what agents, nodes and links have counted.
    fn check(
        &self,
        sinks: &[AgentStatus],
        sources: &[AgentStatus],
        before: &(NodeFigures, NodeFigures),
        after: &(NodeFigures, NodeFigures),
    ) -> Result<Arrived, BenchError> {
        let sum = |agents: &[AgentStatus], name: &str| -> Result<u64, BenchError> {
            agents.iter().map(|agent| reported(agent, name)).sum()
        };
        let equal = |what: &str, found: u64, expected: u64| {
            BenchError::unless_equal(ID, format!("{what}, {}", self.name), found, expected)
        };
        let (sent, busy) = (sum(sources, "sent")?, sum(sources, "busy")?);
        let received = sum(sinks, "received")?;
        equal("signals received", received, sent)?;
        equal("signals out of order", sum(sinks, "out_of_order")?, 0)?;
        let at_source = since(&before.0.signals, &after.0.signals);
        let at_sink = since(&before.1.signals, &after.1.signals);
        equal("signals that the sending node has taken", at_source.sent, sent)?;
        equal("signals that the sending node has refused", at_source.refused, busy)?;
        equal(
            "signals that the receiving node has handed over",
            at_sink.delivered,
            received,
        )?;
        equal("signals lost on the receiving node", at_sink.lost, 0)?;
        if self.from.name != self.to.name {
            for gone in ["lost", "in_doubt"] {
                let on_link = |figures: &NodeFigures| lane(figures, &self.to.name, gone);
                let here = on_link(&after.0).zip(on_link(&before.0));
                let (after, before) = here.ok_or_else(|| BenchError::Mismatch {
                    workload: ID,
                    what: format!("the lane of signals to {}", self.to.name),
                    found: "not in the figures".to_owned(),
                    expected: format!("its count of {gone}"),
                })?;
                equal(&format!("signals {gone} on the link"), after - before, 0)?;
            }
        }
        let bound = |agents: &[AgentStatus], name: &str| -> Result<Vec<u64>, BenchError> {
            agents.iter().map(|agent| reported(agent, name)).collect()
        };
        // From the first signal that is sent to the last that is handled, over all agents: the clock of one host.
        let first = bound(sources, "started_at_us")?.into_iter().min().unwrap_or_default();
        let last = bound(sinks, "last_at_us")?.into_iter().max().unwrap_or_default();
        Ok(Arrived {
            per_second: received as f64 / (last.saturating_sub(first).max(1) as f64 / 1e6),
            counts: Counts {
                sent: sent + busy,
                delivered: received,
                refused: busy,
                lost: sent - received,
            },
        })
    }

    fn row(&self, runs: &[Arrived]) -> Row {
        let rates = Spread::of(runs.iter().map(|run| run.per_second));
        let mut counts = Counts::default();
        for run in runs {
            counts.sent += run.counts.sent;
            counts.delivered += run.counts.delivered;
            counts.refused += run.counts.refused;
            counts.lost += run.counts.lost;
        }
        rates.row(self.name.clone(), "signals/s").counts(counts).note(format!(
            "{}; {} signals each; a refused one is sent again when there is room",
            rates.note(),
            self.count
        ))
    }
}

fn address(node: &RigNode, agent: &AgentStatus) -> AgentAddress {
    AgentAddress {
        node: node.id,
        number: agent.number,
        generation: agent.generation,
    }
}

fn since(before: &SignalCounts, after: &SignalCounts) -> SignalCounts {
    SignalCounts {
        sent: after.sent - before.sent,
        delivered: after.delivered - before.delivered,
        refused: after.refused - before.refused,
        lost: after.lost - before.lost,
        late: after.late - before.late,
    }
}

/// A count of the lane of signals on the link to a node.
fn lane(figures: &NodeFigures, peer: &str, count: &str) -> Option<u64> {
    let named = |list: &'_ Value, field: &str, name: &str| -> Option<Value> {
        let found = list.as_array()?.iter().find(|item| item[field] == name);
        found.cloned()
    };
    let link = named(&figures.links["links"], "peer", peer)?;
    named(&link["lanes"], "lane", "signal")?[count].as_u64()
}

/// What one run of calls gave.
struct Calls {
    per_second: f64,
    calls: u64,
    latency: hdrhistogram::Histogram<u64>,
}

/// Calls by `callers` agents of one node to as many of another, `each` calls by each.
async fn calls(from: &RigNode, to: &RigNode, callers: u64, each: u64, repeat: u32) -> Result<Calls, BenchError> {
    let name = |role: &str, place: u64| format!("b13.{callers}-callers.{repeat}.{role}.{place}");
    let each = each.max(1);
    // One echo for all, as one server has many clients.
    let echo = to.spawn(&name("echo", 0), "load-echo", Value::Null).await?;
    let started = Instant::now();
    for_all(0..callers, async |place| {
        let arguments = json!({
            "to": address(to, &echo), "calls": each, "warm_up_calls": WARM_UP_CALLS.min(each), "bytes": BYTES,
        });
        from.spawn(&name("caller", place), "load-caller", arguments).await
    })
    .await?;
    let mut run = Calls {
        per_second: 0.0,
        calls: 0,
        latency: load::histogram(),
    };
    let (mut first, mut last) = (u64::MAX, 0);
    for place in 0..callers {
        let left = CALLS_WITHIN.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(late("calls are still open", started));
        }
        let caller = from.done(&name("caller", place), left).await?;
        run.calls += reported(&caller, "calls")?;
        BenchError::unless_equal(
            ID,
            "answers that nobody waited for",
            reported(&caller, "unexpected")?,
            0,
        )?;
        first = first.min(reported(&caller, "first_at_us")?);
        last = last.max(reported(&caller, "last_at_us")?);
        add_reported(&mut run.latency, &caller, "latency_ns")?;
    }
    BenchError::unless_equal(ID, "calls answered", run.calls, callers * each)?;
    run.per_second = run.calls as f64 / (last.saturating_sub(first).max(1) as f64 / 1e6);
    let stopped = to.client.stop_agent(&echo.name).await;
    stopped.map_err(|error| crate::rig::door("stop an echo", error))?;
    Ok(run)
}

/// The rate and the latency over all runs.
fn call_rows(name: &str, runs: &[Calls]) -> [Row; 2] {
    let rates = Spread::of(runs.iter().map(|run| run.per_second));
    let medians = runs.iter().map(|run| run.latency.value_at_quantile(0.5) as f64 / 1e3);
    let medians = Spread::of(medians);
    let mut all = load::histogram();
    for run in runs {
        all.add(&run.latency)
            .expect("both have the bounds of a load's histogram");
    }
    let calls = runs.iter().map(|run| run.calls).sum();
    let counts = Counts {
        sent: calls,
        delivered: calls,
        ..Counts::default()
    };
    [
        rates
            .row(format!("call rate, {name}"), "calls/s")
            .counts(counts)
            .note(rates.note()),
        Row::new(format!("call latency, {name}"), medians.median(), "µs", calls)
            .repeats(medians.repeats())
            .percentiles(Percentiles::of(&all, 1e3))
            .note(format!("medians: {}", medians.note())),
    ]
}

/// The envelope of a signal, to bytes and back.
fn round_trip(options: &Options) -> Row {
    let envelope = Envelope {
        kind: Kind::Signal,
        hops: 0,
        from: NodeId(1),
        to: NodeId(2),
        correlation: 0,
        epoch: 0,
        body: Bytes::from(vec![7; BYTES]),
    };
    let timing = Timing::of(options.repeats, 1, || {
        let mut bytes = Vec::with_capacity(envelope.encoded_bytes());
        std::hint::black_box(&envelope).encode_into(&mut bytes);
        Envelope::decode(&Bytes::from(bytes))
    });
    let (least, greatest) = timing.spread();
    timing.row("msgpack round trip of an envelope", "ns", 1.0).note(format!(
        "encoded and decoded, {BYTES} B of payload; {least:.0} to {greatest:.0}"
    ))
}
