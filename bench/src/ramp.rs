//! The highest rate at which a cluster still answers in time: work is offered at a constant rate, step by step, and
//! latency counts from the moment at which each piece was to begin.

mod search;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentAddress, AgentStatus};
use serde_json::json;

use self::search::Search;
use crate::report::{Counts, Percentiles, Report, Row, unix_ms};
use crate::rig::{Rig, RigNode, Shape, add_reported, for_all, late, reported};
use crate::workloads::tasks;
use crate::{BenchError, Options, load};

/// The name of the verb, in errors.
const ID: &str = "ramp";
/// Bytes of a value and of a payload.
const VALUE_BYTES: usize = 256;
const PAYLOAD_BYTES: usize = 128;
/// Keys that each agent writes in turn.
const KEYS: u64 = 1_000;
/// How long each rate is offered before it is measured; at most as long as it is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// From the order to begin to the beginning.
const START: Duration = Duration::from_millis(300);
/// How long an agent may take beyond its time: longer than one waits for room and for an outcome.
const DONE_WITHIN: Duration = Duration::from_secs(60);
/// How long signals may take after the last was sent before they are lost.
const SIGNALS_WITHIN: Duration = Duration::from_secs(5);
/// How often a meter is asked.
const POLL: Duration = Duration::from_millis(50);
/// The most tasks of a step: a project keeps 1 GiB of open ones.
const TASKS_MAX: u64 = 160_000;
/// The knee: up to there p99 is at most so many times that of the lightest step.
const KNEE: f64 = 2.0;

/// What is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// Durable puts of 256 B.
    Put,
    /// Claims of prepared tasks, each finished at once.
    Claim,
    /// Signals of 128 B to an agent of another node.
    Signal,
    /// Questions of 128 B to an agent of another node.
    Call,
}

impl Offered {
    /// What a command line may say.
    pub const NAMES: [&'static str; 4] = ["put", "claim", "signal", "call"];
}

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Offered::NAMES[*self as usize])
    }
}

impl FromStr for Offered {
    type Err = String;

    fn from_str(text: &str) -> Result<Offered, String> {
        match text {
            "put" => Ok(Offered::Put),
            "claim" => Ok(Offered::Claim),
            "signal" => Ok(Offered::Signal),
            "call" => Ok(Offered::Call),
            _ => Err(format!("is none of {}", Offered::NAMES.join(", "))),
        }
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    /// What is offered.
    pub offered: Offered,
    /// What p99 may be.
    pub p99: Duration,
    /// The rate to begin with, a second, at least 1.
    pub from: u64,
    /// The highest rate that is tried, at least `from`.
    pub to: u64,
    /// How long each rate is measured.
    pub measured: Duration,
    /// On what.
    pub shape: Shape,
}

/// One rate that was tried.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The rate, a second.
    pub rate: u64,
    /// What was delivered of what is measured, a second.
    pub delivered: f64,
    /// From the moment at which each was to begin to its end.
    pub latency: Histogram<u64>,
    /// What became of all that is measured. What was never begun is refused.
    pub counts: Counts,
    /// Whether p99 held the bound, and nothing was refused or lost.
    pub held: bool,
}

/// One line: `1000/s: p50 0.41 ms, p99 1.20 ms: holds`.
impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e6;
        let Counts { refused, lost, .. } = self.counts;
        write!(f, "{}/s: {:.0}/s delivered, ", self.rate, self.delivered)?;
        write!(f, "p50 {:.2} ms, p99 {:.2} ms", ms(0.5), ms(0.99))?;
        if refused + lost > 0 {
            write!(f, ", {refused} refused, {lost} lost")?;
        }
        f.write_str(if self.held { ": holds" } else { ": does not hold" })
    }
}

impl Ramp {
    /// Tries rate after rate, each said to `each` when it is done, until the highest is found or `stop` comes. A rate that
    /// does not hold is tried once more. The report has a row for each step, and the answer.
    ///
    /// # Errors
    /// [`BenchError`]; [`BenchError::Mismatch`] if something acknowledged is missing.
    pub async fn run(
        &self,
        options: &Options,
        stop: impl Future<Output = ()>,
        mut each: impl FnMut(&Tried),
    ) -> Result<Report, BenchError> {
        tokio::pin!(stop);
        let title = format!(
            "highest rate of {}s with p99 up to {:?}, {}",
            self.offered, self.p99, self.shape
        );
        let report = Report::begin(&format!("{ID} {}", self.offered), &title, &options.data);
        let starting = Rig::start_shaped(options, ID, self.shape);
        let rig = starting.await?;
        let mut search = Search::new(self.from, self.to());
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            let step = tokio::select! {
                step = self.step(&rig, rate, tried.len()) => step?,
                () = &mut stop => break,
            };
            search.done(rate, step.held);
            each(&step);
            tried.push(step);
        }
        rig.stop().await?;
        let mut rows: Vec<Row> = tried.iter().map(Tried::row).collect();
        rows.extend(self.answer(&search, &tried));
        Ok(Report {
            config: json!({
                "offered": self.offered.to_string(), "p99_ms": self.p99.as_secs_f64() * 1e3, "from": self.from, "to": self.to(),
                "nodes": self.shape.nodes, "topology": self.shape.kind.to_string(), "value_bytes": VALUE_BYTES,
                "payload_bytes": PAYLOAD_BYTES, "keys": KEYS, "warm_up_ms": self.warm_up().as_millis() as u64,
                "measured_ms": self.measured.as_millis() as u64, "complete": search.next().is_none(),
                "agents": "one on each node, hosted", "data": options.data,
            }),
            rows,
            ..report
        })
    }

    /// The highest rate: of claims no more than there can be tasks for.
    fn to(&self) -> u64 {
        if self.offered != Offered::Claim {
            return self.to;
        }
        let span = (self.warm_up() + self.measured).as_secs_f64();
        self.to.min(((TASKS_MAX as f64 / span) as u64).max(self.from))
    }

    fn warm_up(&self) -> Duration {
        WARM_UP.min(self.measured)
    }

    /// Offers a rate, from all nodes in turn.
    async fn step(&self, rig: &Rig, rate: u64, step: usize) -> Result<Tried, BenchError> {
        let nodes = rig.nodes();
        let label = format!("{ID}-{step}");
        let span = self.warm_up() + self.measured;
        if self.offered == Offered::Claim {
            // Each node begins once more than its share at most.
            let tasks = (rate as f64 * span.as_secs_f64()) as u64 + nodes.len() as u64;
            tasks::prepare(ID, rig.nodes(), &label, tasks).await?;
        }
        let targets = for_all(nodes.iter().enumerate(), async |(place, _)| {
            // On the next node: in a cluster of one, on the same.
            let node = &nodes[(place + 1) % nodes.len()];
            self.target(node, &format!("{label}-to-{place}")).await
        })
        .await?;
        let start_at_us = (unix_ms() + START.as_millis() as u64) * 1_000;
        let between_ns = 1e9 / rate as f64;
        let name = |place: usize| format!("{label}-{place}");
        for_all(nodes.iter().enumerate(), async |(place, node)| {
            let arguments = json!({
                "what": self.offered.to_string(), "project": label, "prefix": name(place), "keys": KEYS,
                "bytes": if self.offered == Offered::Put { VALUE_BYTES } else { PAYLOAD_BYTES },
                "to": targets[place].as_ref().map(|target| target.1),
                "start_at_us": start_at_us + (between_ns * place as f64 / 1e3) as u64,
                "every_ns": ((between_ns * nodes.len() as f64) as u64).max(1),
                "warm_up_ms": self.warm_up().as_millis() as u64, "work_ms": self.measured.as_millis() as u64,
            });
            node.spawn(&name(place), "load-offer", arguments).await
        })
        .await?;
        // Nobody is asked while they are measured.
        tokio::time::sleep(START + span).await;
        let offers = for_all(nodes.iter().enumerate(), async |(place, node)| {
            node.done(&name(place), DONE_WITHIN).await
        })
        .await?;
        let sum = |name: &str| {
            offers
                .iter()
                .map(|offer| reported(offer, name))
                .sum::<Result<u64, BenchError>>()
        };
        let mut counts = Counts {
            sent: sum("planned_measured")?,
            delivered: sum("delivered_measured")?,
            refused: sum("refused_measured")?,
            lost: sum("unknown_measured")?,
        };
        let mut latency = load::histogram();
        if self.offered == Offered::Signal {
            for (place, offer) in offers.iter().enumerate() {
                let (name, _) = targets[place].as_ref().expect("signals have a target");
                let meter = &nodes[(place + 1) % nodes.len()];
                let heard = heard(meter, name, reported(offer, "delivered")?).await?;
                add_reported(&mut latency, &heard, "latency_ns")?;
                let lost = reported(offer, "delivered_measured")? - reported(&heard, "received_measured")?;
                counts.delivered -= lost;
                counts.lost += lost;
            }
        } else {
            offers
                .iter()
                .try_for_each(|offer| add_reported(&mut latency, offer, "latency_ns"))?;
        }
        self.check(rig, &label, sum("delivered")?, sum("unknown")?).await?;
        let p99 = Duration::from_nanos(latency.value_at_quantile(0.99));
        Ok(Tried {
            rate,
            delivered: counts.delivered as f64 / self.measured.as_secs_f64(),
            held: p99 <= self.p99 && counts.sent == counts.delivered && counts.sent > 0,
            latency,
            counts,
        })
    }

    /// The agent that is called, or that times signals; with its name.
    async fn target(&self, node: &RigNode, name: &str) -> Result<Option<(String, AgentAddress)>, BenchError> {
        let kind = match self.offered {
            Offered::Put | Offered::Claim => return Ok(None),
            Offered::Signal => "load-meter",
            Offered::Call => "load-worker",
        };
        let status = node.spawn(name, kind, serde_json::Value::Null).await?;
        let address = AgentAddress {
            node: node.id,
            number: status.number,
            generation: status.generation,
        };
        Ok(Some((name.to_owned(), address)))
    }

    /// What was acknowledged must be there.
    async fn check(&self, rig: &Rig, label: &str, delivered: u64, unknown: u64) -> Result<(), BenchError> {
        let witness = rig.nodes().last().expect("a rig has nodes");
        let found = match self.offered {
            Offered::Put => witness.revisions(&format!("{label}-")).await?,
            Offered::Claim => tasks::look(witness, label).await?.done,
            Offered::Signal | Offered::Call => return Ok(()),
        };
        if (delivered..=delivered + unknown).contains(&found) {
            return Ok(());
        }
        Err(BenchError::Mismatch {
            workload: ID,
            what: format!("{}s of {label} on {}", self.offered, witness.name),
            found: found.to_string(),
            expected: format!("{delivered} acknowledged, {unknown} unknown"),
        })
    }

    fn answer(&self, search: &Search, tried: &[Tried]) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some(held) = search.held() {
            let times = tried
                .iter()
                .filter(|step| step.rate == held)
                .map(|step| step.counts.sent);
            let row = Row::new("highest rate that holds", held as f64, "ops/s", times.sum());
            let bound = format!("p99 up to {:?}, nothing refused or lost", self.p99);
            rows.push(row.note(match (search.next(), search.is_at_end()) {
                (None, true) => format!("{bound}; the highest rate that was to be tried: the limit was not found"),
                (None, false) => format!("{bound}; within a twentieth"),
                (Some(_), _) => format!("{bound}; of those that were tried: broken off"),
            }));
        }
        if let Some(knee) = knee(tried) {
            rows.push(
                Row::new("knee", knee.rate as f64, "ops/s", knee.counts.sent).note(format!(
                    "the highest rate whose p99 is at most {KNEE} times that of the lightest step"
                )),
            );
        }
        rows
    }
}

/// The highest rate that held before p99 began to rise.
fn knee(tried: &[Tried]) -> Option<&Tried> {
    let p99 = |step: &Tried| step.latency.value_at_quantile(0.99) as f64;
    let mut held: Vec<&Tried> = tried.iter().filter(|step| step.held).collect();
    held.sort_by_key(|step| step.rate);
    let bound = p99(held.first()?) * KNEE;
    held.into_iter().take_while(|step| p99(step) <= bound).last()
}

impl Tried {
    fn row(&self) -> Row {
        let percentiles = Percentiles::of(&self.latency, 1e3);
        Row::new(
            format!("{}/s offered", self.rate),
            percentiles.p99,
            "µs",
            self.latency.len(),
        )
        .percentiles(percentiles)
        .counts(self.counts)
        .note(format!(
            "p99; {:.0}/s delivered; {}",
            self.delivered,
            if self.held { "holds" } else { "does not hold" }
        ))
    }
}

/// The report of a meter once it has received so many signals, or nothing comes any more.
async fn heard(node: &RigNode, name: &str, expected: u64) -> Result<AgentStatus, BenchError> {
    let started = Instant::now();
    loop {
        let status = node.agent(name).await?;
        let received = status.report.get("received").and_then(serde_json::Value::as_u64);
        match received {
            Some(received) if received >= expected || started.elapsed() > SIGNALS_WITHIN => return Ok(status),
            None if started.elapsed() > DONE_WITHIN => return Err(late(format!("{name} has heard no end"), started)),
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(rate: u64, p99_ms: u64, held: bool) -> Tried {
        let mut latency = load::histogram();
        latency.record_n(p99_ms * 1_000_000, 100).unwrap();
        Tried {
            rate,
            delivered: rate as f64,
            latency,
            counts: Counts {
                sent: 100,
                delivered: 100,
                ..Counts::default()
            },
            held,
        }
    }

    #[test]
    fn the_knee_is_where_p99_begins_to_rise() {
        let steps = [
            tried(100, 2, true),
            tried(400, 19, true),
            tried(200, 3, true),
            tried(800, 90, false),
        ];
        assert_eq!(knee(&steps).unwrap().rate, 200);
        assert!(knee(&steps[3..]).is_none());
    }

    #[test]
    fn a_step_says_whether_it_holds() {
        let line = tried(100, 2, true).to_string();
        assert!(
            line.starts_with("100/s: 100/s delivered, p50 2.0") && line.ends_with(": holds"),
            "{line}"
        );
        assert_eq!("call".parse::<Offered>().unwrap().to_string(), "call");
        assert!(
            "calls"
                .parse::<Offered>()
                .unwrap_err()
                .contains("put, claim, signal, call")
        );
    }
}
