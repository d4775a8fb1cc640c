//! What the agents of all nodes have done, second by second.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::rig::{Rig, add_reported, for_all, reported};
use crate::{BenchError, load};

/// About one second of a cluster under load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Second {
    /// When it ended, in seconds since the first agent was started.
    pub at_s: f64,
    /// Agents at work then.
    pub agents: u64,
    /// Of each sort of work, how much was done, a second.
    pub rates: BTreeMap<&'static str, f64>,
    /// The median and the 99th percentile of the latency of commands, in milliseconds.
    pub p50_ms: f64,
    /// As `p50_ms`.
    pub p99_ms: f64,
    /// Commands that were not taken, or whose outcome is unknown.
    pub errors: u64,
    /// The resident memory of each node in MiB, where the system tells it.
    pub resident_mib: Vec<Option<f64>>,
}

/// One line.
impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |name: &str| self.rates.get(name).copied().unwrap_or_default();
        write!(
            f,
            "{:>4.0} s  {} agents  {:.0} puts/s  {:.0} reads/s  {:.0} tasks/s  {:.0} signals/s  {:.0} proposals/s ({:.0} lost)  ",
            self.at_s,
            self.agents,
            rate("puts") + rate("counted"),
            rate("reads"),
            rate("finished"),
            rate("signals"),
            rate("committed") + rate("conflicts"),
            rate("conflicts"),
        )?;
        write!(
            f,
            "p50 {:.1} ms  p99 {:.1} ms  {} errors  ",
            self.p50_ms, self.p99_ms, self.errors
        )?;
        let memory: Vec<String> = self
            .resident_mib
            .iter()
            .map(|mib| mib.map_or_else(|| "?".to_owned(), |mib| format!("{mib:.0}")))
            .collect();
        write!(f, "{} MiB", memory.join("+"))
    }
}

/// All that was done until it was last looked at.
pub(super) struct Totals {
    nodes: Vec<String>,
    looked: Instant,
    live: u64,
    counts: BTreeMap<&'static str, u64>,
    latency: Histogram<u64>,
}

impl Totals {
    pub(super) async fn new(rig: &Rig) -> Result<Totals, BenchError> {
        Ok(Totals {
            nodes: rig.nodes().iter().map(|node| node.name.clone()).collect(),
            looked: Instant::now(),
            live: 0,
            counts: BTreeMap::new(),
            latency: load::histogram(),
        })
    }

    /// Asks the tallies of all nodes.
    pub(super) async fn look(&mut self, rig: &Rig) -> Result<(), BenchError> {
        let tallies = for_all(rig.nodes(), async |node| node.agent("stress-tally").await).await?;
        self.looked = Instant::now();
        // One that was just started has said nothing yet.
        let said = || tallies.iter().filter(|tally| tally.report.contains_key("live"));
        self.live = said()
            .map(|tally| reported(tally, "live"))
            .sum::<Result<u64, BenchError>>()?;
        for name in load::COUNTED {
            let sum = said()
                .map(|tally| reported(tally, name))
                .sum::<Result<u64, BenchError>>()?;
            self.counts.insert(name, sum);
        }
        self.latency = load::histogram();
        for tally in said() {
            add_reported(&mut self.latency, tally, "latency_ns")?;
        }
        Ok(())
    }

    /// Looks again, and says what was done since the last time.
    pub(super) async fn second(&mut self, rig: &Rig, started: Instant) -> Result<Second, BenchError> {
        let (looked, counts, latency) = (self.looked, self.counts.clone(), self.latency.clone());
        self.look(rig).await?;
        let took = (self.looked - looked).as_secs_f64().max(1e-3);
        let done = |name: &str| self.count(name) - counts.get(name).copied().unwrap_or_default();
        let mut now = self.latency.clone();
        // Of the same counters, which only grow.
        now.subtract(&latency)
            .expect("what was counted before is counted still");
        let ms = |quantile| now.value_at_quantile(quantile) as f64 / 1e6;
        Ok(Second {
            at_s: started.elapsed().as_secs_f64(),
            agents: self.live,
            rates: load::COUNTED
                .into_iter()
                .map(|name| (name, done(name) as f64 / took))
                .collect(),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            errors: done("refused") + done("unknown"),
            resident_mib: rig.nodes().iter().map(|node| node.resident_mib()).collect(),
        })
    }

    pub(super) fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    pub(super) fn live(&self) -> u64 {
        self.live
    }

    pub(super) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    pub(super) fn nodes(&self) -> &[String] {
        &self.nodes
    }
}

#[cfg(test)]
mod tests {
    use super::Second;

    #[test]
    fn a_second_is_one_line() {
        let second = Second {
            at_s: 12.02,
            agents: 1_000,
            rates: [
                ("puts", 100.0),
                ("counted", 20.0),
                ("finished", 30.4),
                ("conflicts", 1.0),
            ]
            .into(),
            p50_ms: 9.14,
            p99_ms: 54.0,
            errors: 2,
            resident_mib: vec![Some(210.4), None],
        };
        let line = second.to_string();
        assert!(
            line.starts_with("  12 s  1000 agents  120 puts/s  0 reads/s  30 tasks/s"),
            "{line}"
        );
        assert!(line.ends_with("p50 9.1 ms  p99 54.0 ms  2 errors  210+? MiB"), "{line}");
    }
}
