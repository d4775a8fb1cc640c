//! A cluster under mixed load: agents are started over a ramp-up, all of them work for a time, and what they were told must
//! then be so on every node.

mod second;
mod verdict;

use std::time::{Duration, Instant};

use queenright_actors::agent::AgentAddress;
use serde_json::json;

pub use self::second::Second;
use self::second::Totals;
use self::verdict::verdict;
use crate::report::{Counts, Percentiles, Report, Row};
use crate::rig::{Rig, Shape, for_all, late};
use crate::{BenchError, Options};

/// The name of the verb, in errors, and the project of the load.
const ID: &str = "stress";
/// Bytes of a value.
const VALUE_BYTES: usize = 256;
/// Keys that the proposals of all agents share.
const HOT_KEYS: u64 = 64;
/// How often it is looked at the cluster.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the agents may take to end: longer than a command may.
const END_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// What is done to a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Stress {
    /// How many agents, on all nodes in turn.
    pub agents: u64,
    /// Over which time they are started.
    pub ramp_up: Duration,
    /// How long all of them work after that.
    pub duration: Duration,
    /// On what.
    pub shape: Shape,
}

impl Stress {
    /// Works until the time is over or `stop` comes; each second is said to `each`. Then everything is checked.
    ///
    /// # Errors
    /// [`BenchError`]; [`BenchError::Mismatch`] if something acknowledged is missing, something was done twice, or nodes differ.
    pub async fn run(
        &self,
        options: &Options,
        stop: impl Future<Output = ()>,
        mut each: impl FnMut(&Second),
    ) -> Result<Report, BenchError> {
        tokio::pin!(stop);
        let title = format!("{} agents under mixed load, {}", self.agents, self.shape);
        let report = Report::begin(ID, &title, &options.data);
        let rig = Rig::start_shaped(options, ID, self.shape).await?;
        let ears = self.prepare(&rig).await?;
        let started = Instant::now();
        let mut seconds = Vec::new();
        let mut totals = Totals::new(&rig).await?;
        let is_whole = tokio::select! {
            worked = self.work(&rig, options, &ears) => worked.map(|()| true)?,
            watched = watch(&rig, started, &mut totals, &mut seconds, &mut each) => watched.map(|()| true)?,
            () = &mut stop => false,
        };
        let worked = started.elapsed();
        self.end(&rig, &mut totals).await?;
        let checks = verdict(&rig, &totals).await?;
        rig.stop().await?;
        let mut rows = self.rows(&totals, &seconds, worked);
        rows.extend(checks);
        Ok(Report {
            config: json!({
                "agents": self.agents, "ramp_up_ms": self.ramp_up.as_millis() as u64,
                "duration_ms": self.duration.as_millis() as u64, "worked_ms": worked.as_millis() as u64, "complete": is_whole,
                "nodes": self.shape.nodes, "topology": self.shape.kind.to_string(), "seed": options.seed,
                "value_bytes": VALUE_BYTES, "hot_keys": HOT_KEYS,
                "mix_percent": {"put": 30, "count": 10, "local read": 25, "task added, claimed and finished": 15, "signal": 15,
                    "proposal": 5},
                "settings": options.settings.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "data": options.data, "seconds": seconds,
            }),
            rows,
            ..report
        })
    }

    /// Starts what each node has one of; who hears signals.
    async fn prepare(&self, rig: &Rig) -> Result<Vec<AgentAddress>, BenchError> {
        for_all(rig.nodes(), async |node| {
            node.spawn("stress-tally", "load-tally", serde_json::Value::Null)
                .await?;
            let ear = node.spawn("stress-ear", "load-ear", serde_json::Value::Null).await?;
            Ok(AgentAddress {
                node: node.id,
                number: ear.number,
                generation: ear.generation,
            })
        })
        .await
    }

    /// Starts the agents over the ramp-up, and returns when their time is over.
    async fn work(&self, rig: &Rig, options: &Options, ears: &[AgentAddress]) -> Result<(), BenchError> {
        let (nodes, began) = (rig.nodes(), Instant::now());
        let due = |agent: u64| self.ramp_up.mul_f64(agent as f64 / self.agents.max(1) as f64);
        for_all(0..self.agents, async |agent| {
            tokio::time::sleep(due(agent).saturating_sub(began.elapsed())).await;
            let arguments = json!({
                "project": ID, "seed": options.seed.wrapping_add(agent), "bytes": VALUE_BYTES, "hot_keys": HOT_KEYS,
                "ears": ears,
            });
            let node = &nodes[agent as usize % nodes.len()];
            node.spawn(&format!("stress-{agent}"), "load-mixed", arguments).await
        })
        .await?;
        let all_at = began.elapsed();
        if all_at > self.ramp_up + LOOK_EVERY {
            tracing::warn!(?all_at, "the agents took longer to start than the ramp-up");
        }
        tokio::time::sleep(self.duration).await;
        Ok(())
    }

    /// Tells all agents to end, and waits until they have.
    async fn end(&self, rig: &Rig, totals: &mut Totals) -> Result<(), BenchError> {
        for_all(rig.nodes(), async |node| {
            node.spawn("stress-halt", "load-halt", serde_json::Value::Null).await
        })
        .await?;
        let started = Instant::now();
        loop {
            // Signals on their way are heard, or lost.
            totals.look(rig).await?;
            if totals.live() == 0
                && (totals.count("heard") >= totals.count("signals") || started.elapsed() > END_WITHIN / 12)
            {
                return Ok(());
            }
            if started.elapsed() > END_WITHIN {
                return Err(late(format!("{} agents still work", totals.live()), started));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn rows(&self, totals: &Totals, seconds: &[Second], worked: Duration) -> Vec<Row> {
        let count = |name| totals.count(name);
        let rate = |name: &str, unit: &str, done: u64| Row::new(name, done as f64 / worked.as_secs_f64(), unit, done);
        let percentiles = Percentiles::of(totals.latency(), 1e3);
        let commands = count("puts") + count("counted") + count("added") + count("claimed") + count("finished");
        let proposals = count("committed") + count("conflicts");
        let done = commands + proposals;
        let mut rows = vec![
            rate("commands", "commands/s", done).counts(Counts {
                sent: done + count("refused") + count("unknown"),
                delivered: done,
                refused: count("refused"),
                lost: count("unknown"),
            }).note("puts, increments, tasks added, claimed and finished, proposals; lost: those whose outcome nobody learned"),
            Row::new("command latency", percentiles.p50, "µs", totals.latency().len()).percentiles(percentiles),
            rate("puts", "puts/s", count("puts")),
            rate("local reads", "reads/s", count("reads")),
            rate("tasks finished", "tasks/s", count("finished")),
            rate("proposals", "proposals/s", proposals),
            rate("signals", "signals/s", count("signals")).counts(Counts {
                sent: count("signals"),
                delivered: count("heard").min(count("signals")),
                refused: 0,
                lost: count("signals").saturating_sub(count("heard")),
            }),
        ];
        if proposals > 0 {
            let share = 100.0 * count("conflicts") as f64 / proposals as f64;
            rows.push(Row::new("proposals that lost", share, "%", proposals));
        }
        for (place, node) in totals.nodes().iter().enumerate() {
            let memory: Vec<(f64, f64)> = seconds
                .iter()
                .filter_map(|second| Some((second.at_s, (*second.resident_mib.get(place)?)?)))
                .collect();
            let Some((_, last)) = memory.last().copied() else {
                continue;
            };
            let peak = memory.iter().map(|(_, mib)| *mib).fold(0.0, f64::max);
            // Of the second half: the first one has the ramp-up in it.
            let (half_at, half) = memory[memory.len() / 2];
            let minutes = (memory[memory.len() - 1].0 - half_at) / 60.0;
            let growth = match minutes > 0.0 {
                true => format!("{:+.1} MiB a minute in the second half", (last - half) / minutes),
                false => "too short to say how it grows".to_owned(),
            };
            rows.push(
                Row::new(format!("resident memory, {node}"), last, "MiB", memory.len() as u64)
                    .note(format!("at the end; {peak:.0} at most; {growth}")),
            );
        }
        rows
    }
}

/// Looks at the cluster each second, for as long as it is polled.
async fn watch(
    rig: &Rig,
    started: Instant,
    totals: &mut Totals,
    seconds: &mut Vec<Second>,
    each: &mut impl FnMut(&Second),
) -> Result<(), BenchError> {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first one comes at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let second = totals.second(rig, started).await?;
        each(&second);
        seconds.push(second);
    }
}
