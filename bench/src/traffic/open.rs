//! Agents dealt out to the nodes in turn that send at a constant rate, whatever comes back: latency counts from the moment at
//! which a message was to be sent, so that one who sends late hides nothing (no coordinated omission).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentAddress, AgentOrder, AgentStatus};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;

use super::closed::{To, targets};
use super::meter::Meter;
use super::{address, latencies};
use crate::BenchError;
use crate::report::Counts;
use crate::rig::{RigNode, door, for_all, late, reported};

/// From the order to begin to the beginning, for each agent that is started meanwhile.
const START_EACH: Duration = Duration::from_millis(10);
const START_ALL: Duration = Duration::from_millis(300);
/// How long after the end what waits is still sent.
const GRACE: Duration = Duration::from_secs(1);
/// How long agents may take beyond their time, and how long nothing may arrive before what is missing counts as lost.
const DONE_WITHIN: Duration = Duration::from_secs(30);
const STILL: Duration = Duration::from_millis(500);
/// How often gauges are looked at.
const POLL: Duration = Duration::from_millis(100);
/// How many agents of one node have a clock: each may hold a thread of those that its runtime has for what blocks.
pub const AGENTS_PER_NODE_MAX: u64 = 64;

/// Up to where a message is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To the agent that it is for: sender and receiver share the clock of one host.
    Handled,
    /// To that agent and back to the node of its sender, by whose clock it is timed.
    Back,
}

/// A load at a constant rate.
#[derive(Clone, Copy, Debug)]
pub struct Offered {
    /// Who measures.
    pub workload: &'static str,
    /// How many agents, on all nodes in turn: up to [`AGENTS_PER_NODE_MAX`] of each.
    pub agents: u64,
    /// Bytes of each message, at least [`crate::load::PULSE_BYTES_MIN`].
    pub bytes: usize,
    /// How many messages a second they are to send, all together; at least 1.
    pub rate: u64,
    /// Up to where they are followed.
    pub until: Until,
    /// How long they send before they are measured, in milliseconds.
    pub warm_up_ms: u64,
    /// How long they are measured, in milliseconds.
    pub work_ms: u64,
    /// What they draw their targets from.
    pub seed: u64,
}

/// What one run gave.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Of the messages that were measured: refused are those that could not be sent in time, since too much waited.
    pub counts: Counts,
    /// Messages that arrived while it was measured.
    pub per_second: f64,
    /// From the moment at which a message was to be sent, in nanoseconds.
    pub latency: Histogram<u64>,
    /// How late they were sent: a part of that.
    pub late: Histogram<u64>,
    /// All messages that arrived, those of the warm-up included.
    pub arrived: u64,
    /// What the nodes counted and used, the warm-up included.
    pub cost: Meter,
}

impl Flow {
    /// Links that a message went over, on average. Only of messages that are followed until they are handled.
    pub fn hops(&self) -> f64 {
        self.cost.sum(|node| node.signal_envelopes) as f64 / self.cost.sum(|node| node.sent).max(1) as f64
    }
}

/// When a load begins, is measured, and ends, in nanoseconds of Unix time.
#[derive(Clone, Copy, Debug)]
struct Times {
    first_at: u64,
    measured_from: u64,
    measured_until: u64,
}

impl Offered {
    /// Runs the load on these nodes, with agents whose names begin with `name`, and stops them.
    ///
    /// # Errors
    /// [`BenchError`]; [`BenchError::Mismatch`] if a message came twice, or the counts do not add up.
    pub async fn run(&self, nodes: &[RigNode], name: &str) -> Result<Flow, BenchError> {
        let ran = self.flow(nodes, name).await;
        let stopped = for_all(0..self.agents, async |place| {
            let node = &nodes[place as usize % nodes.len()];
            // One that has done its work is there no more.
            let _ = node.client.stop_agent(&format!("{name}.pulse.{place}")).await;
            match node.client.stop_agent(&format!("{name}.gauge.{place}")).await {
                Err(error) if ran.is_ok() => Err(door("stop a gauge", error)),
                _ => Ok(()),
            }
        });
        stopped.await?;
        ran
    }

    async fn flow(&self, nodes: &[RigNode], name: &str) -> Result<Flow, BenchError> {
        let node = |place: u64| &nodes[place as usize % nodes.len()];
        let start = START_ALL + 2 * START_EACH * u32::try_from(self.agents).unwrap_or(u32::MAX);
        let milliseconds = |ms: u64| ms * 1_000_000;
        let first_at = unix_ns() + start.as_nanos() as u64;
        let times = Times {
            first_at,
            measured_from: first_at + milliseconds(self.warm_up_ms),
            measured_until: first_at + milliseconds(self.warm_up_ms + self.work_ms),
        };
        let gauges = for_all(0..self.agents, async |place| {
            let arguments = json!({
                "measured_from_ns": times.measured_from, "measured_until_ns": times.measured_until,
            });
            node(place)
                .spawn(&format!("{name}.gauge.{place}"), "load-gauge", arguments)
                .await
        })
        .await?;
        let gauges: Vec<AgentAddress> = gauges
            .iter()
            .zip(0..)
            .map(|(gauge, place)| address(node(place), gauge))
            .collect();
        let before = Meter::read(nodes).await?;
        self.begin(nodes, name, &gauges, times).await?;
        if unix_ns() > times.first_at {
            tracing::warn!(
                "agents were started so slowly that some began late: what they should have sent counts as late"
            );
        }
        let left = Duration::from_nanos(times.measured_until.saturating_sub(unix_ns()));
        tokio::time::sleep(left).await;
        let pulses = for_all(0..self.agents, async |place| {
            node(place).done(&format!("{name}.pulse.{place}"), DONE_WITHIN).await
        })
        .await?;
        let all: u64 = sum(&pulses, "all")?;
        let gauges = self.arrived(nodes, name, all).await?;
        let cost = Meter::read(nodes).await?.since(&before);
        self.account(&pulses, &gauges, cost)
    }

    /// Starts the pulses: the first signals of all are spread over the time from one to the next.
    async fn begin(
        &self,
        nodes: &[RigNode],
        name: &str,
        gauges: &[AgentAddress],
        times: Times,
    ) -> Result<(), BenchError> {
        let every_ns = (1_000_000_000 * self.agents / self.rate.max(1)).max(1);
        let mut random = StdRng::seed_from_u64(self.seed);
        let pulses: Vec<serde_json::Value> = (0..gauges.len())
            .map(|place| {
                json!({
                    "targets": targets(gauges, nodes.len(), place, To::Random, &mut random),
                    "back_to": (self.until == Until::Back).then_some(gauges[place]),
                    "bytes": self.bytes, "every_ns": every_ns,
                    "first_at_ns": times.first_at + every_ns * place as u64 / self.agents,
                    "measured_from_ns": times.measured_from, "measured_until_ns": times.measured_until,
                    "give_up_at_ns": times.measured_until + GRACE.as_nanos() as u64, "seed": self.seed + place as u64,
                })
            })
            .collect();
        for_all(pulses.into_iter().enumerate(), async |(place, arguments)| {
            let node = &nodes[place % nodes.len()];
            node.spawn(&format!("{name}.pulse.{place}"), "load-pulse", arguments)
                .await
        })
        .await
        .map(drop)
    }

    /// Waits until the gauges have all that was sent, or nothing arrives any more.
    async fn arrived(&self, nodes: &[RigNode], name: &str, all: u64) -> Result<Vec<AgentStatus>, BenchError> {
        let started = Instant::now();
        let mut progress = (0, Instant::now());
        loop {
            let gauges = for_all(0..self.agents, async |place| {
                let node = &nodes[place as usize % nodes.len()];
                let name = format!("{name}.gauge.{place}");
                let nudged = node.client.order_agent(&name, AgentOrder::Nudge).await;
                nudged.map_err(|error| door(format!("ask {name} what it has"), error))?;
                node.agent(&name).await
            })
            .await?;
            let arrived = sum(&gauges, "all")? + sum(&gauges, "repeated")?;
            if arrived > progress.0 {
                progress = (arrived, Instant::now());
            }
            if arrived >= all || progress.1.elapsed() > STILL {
                // Once more: one that was nudged reports a little later.
                tokio::time::sleep(POLL).await;
                let last = for_all(0..self.agents, async |place| {
                    let node = &nodes[place as usize % nodes.len()];
                    node.agent(&format!("{name}.gauge.{place}")).await
                })
                .await?;
                if sum(&last, "all")? + sum(&last, "repeated")? == arrived {
                    return Ok(last);
                }
            }
            if started.elapsed() > DONE_WITHIN {
                return Err(late("messages are still under way", started));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn account(&self, pulses: &[AgentStatus], gauges: &[AgentStatus], cost: Meter) -> Result<Flow, BenchError> {
        let equal = |what: &str, found: u64, expected: u64| {
            BenchError::unless_equal(
                self.workload,
                format!("{what}, {}/s offered", self.rate),
                found,
                expected,
            )
        };
        equal("messages that came twice", sum(gauges, "repeated")?, 0)?;
        equal("messages that nobody sent", sum(gauges, "strange")?, 0)?;
        let (sent, received) = (sum(pulses, "sent")?, sum(gauges, "received")?);
        let (all, arrived) = (sum(pulses, "all")?, sum(gauges, "all")?);
        if received > sent || arrived > all {
            equal("messages that arrived", received, sent)?;
            equal("messages that arrived, those of the warm-up included", arrived, all)?;
        }
        let latency = latencies(gauges, "latency_ns")?;
        equal("latencies", latency.len(), received)?;
        // Where messages come back the cluster may be somebody's, whose agents send meanwhile.
        if self.until == Until::Handled {
            cost.accounted(self.workload)?;
        }
        let counts = Counts {
            sent: sum(pulses, "planned")?,
            delivered: received,
            refused: sum(pulses, "given_up")?,
            lost: sent - received,
        };
        equal(
            "messages accounted for",
            counts.sent,
            counts.delivered + counts.refused + counts.lost,
        )?;
        Ok(Flow {
            counts,
            per_second: sum(gauges, "in_time")? as f64 / (self.work_ms.max(1) as f64 / 1e3),
            latency,
            late: latencies(pulses, "late_ns")?,
            arrived,
            cost,
        })
    }
}

fn sum(agents: &[AgentStatus], what: &str) -> Result<u64, BenchError> {
    agents.iter().map(|agent| reported(agent, what)).sum()
}

fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}
