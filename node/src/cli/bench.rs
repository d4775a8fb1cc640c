//! `queenright bench`.

mod ab;
mod all;
mod claims;
mod compare;
mod drive;
mod page;
mod peers;
mod ramp;
mod stress;
mod topologies;
mod trend;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use queenright_bench::rig::Shape;
use queenright_protocol::topology::Kind;

use super::value;

pub use self::ab::AbArgs;
pub use self::all::AllArgs;
pub use self::compare::CompareArgs;
pub use self::peers::PeersArgs;
pub use self::ramp::RampArgs;
pub use self::stress::StressArgs;
pub use self::trend::TrendArgs;

pub use self::claims::ClaimsArgs;
pub use self::page::PageArgs;

pub use self::drive::DriveArgs;
pub use self::topologies::TopologiesArgs;

/// `queenright bench`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright bench list
  queenright bench run B7 B8
  queenright bench run B3 --json > b3.json
  queenright bench run B3 B3 B3 --out before.json
  queenright bench run B4 --churn 600
  queenright bench run B16 --repo ~/src/project
  queenright bench all --budget 1800
  queenright bench compare before.json after.json
  queenright bench trend queenright-bench-*.json --workload B3
  queenright bench ramp --workload put --p99 20ms
  queenright bench ab --a 'rounds.max=1' --b 'rounds.max=512' --workload B3
  queenright bench run B8 --profile b8.svg
  queenright bench page results.json --out page.html
  queenright bench topologies --nodes 5 --kinds ring,star
  queenright bench peers --only etcd,erlang --rounds 3
  queenright bench stress --agents 1000 --duration 60s --ramp-up 10s
  queenright bench drive --node 10.0.0.1:7201")]
pub enum BenchCommand {
    /// Run workloads and print what was measured, with its conditions
    Run {
        /// The workloads, as `bench list` names them; one that is named several times is repeated
        #[arg(required = true, value_name = "WORKLOAD")]
        workloads: Vec<String>,
        /// Keep the results in FILE, in place of what it holds: all that have ended, also after Ctrl-C
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// What the random choices are made from
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// Keep the state of clusters that are started in DIR instead of a folder below target/
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Repeat each timing N times instead of as often as the workload does
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        repeats: Option<u32>,
        /// How long B4 starts short-lived agents: 600 shows what ten minutes leave behind
        #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
        churn: u64,
        /// The repository that B16 replays
        #[arg(long, value_name = "DIR", default_value = ".")]
        repo: PathBuf,
        /// Record the run and its nodes with perf, and draw the stacks that took the time (Linux)
        #[arg(long, value_name = "FILE.svg")]
        profile: Option<PathBuf>,
    },
    /// Run a workload under two settings, alternately, and say what differs
    Ab(AbArgs),
    /// Find the highest rate at which latency holds a bound
    Ramp(RampArgs),
    /// Run all workloads in quick sizes, keep the results in a file and print a summary
    All(AllArgs),
    /// Compare two files of results: what got worse by more than its threshold
    Compare(CompareArgs),
    /// Show each row over several files of results
    Trend(TrendArgs),
    /// Show what others claim of the same work, what is known about it, the best peers, and what was measured here
    Claims(ClaimsArgs),
    /// Compare the topologies side by side, or simulate them
    Topologies(Box<TopologiesArgs>),
    /// Put many agents with mixed work on a cluster, and check that it kept its promises
    Stress(StressArgs),
    /// Measure other systems that are installed here beside ours, and print ratios
    Peers(PeersArgs),
    /// The other end of raw TCP of `bench peers`
    #[command(hide = true)]
    PeerTcp,
    /// Put a running cluster under load, and leave nothing behind
    Drive(Box<DriveArgs>),
    /// List the workloads
    List,
    /// Make one page of files of results: plots, tables and conditions
    Page(PageArgs),
}

/// The cluster of a run.
#[derive(Clone, Copy, Debug, Args)]
pub struct ShapeArgs {
    /// How many nodes the cluster has
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=64))]
    nodes: u64,
    /// How they are linked: mesh, star, ring, hierarchical or hierarchical:FAN-OUT
    #[arg(long, value_name = "KIND", default_value = "mesh")]
    topology: Kind,
}

impl ShapeArgs {
    /// The shape that they say.
    pub fn shape(self) -> Shape {
        Shape {
            nodes: self.nodes as usize,
            kind: self.topology,
        }
    }
}

/// A share of the full size.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.001..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0.001 to 1".to_owned()),
    }
}

/// A time from 1 us to an hour, with its unit: 500us, 20ms, 60s, 10m.
fn span(text: &str) -> Result<Duration, String> {
    value::time_with_unit(text, 1e-6..=3_600.0)
}

/// Where a run keeps its clusters, and its results.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// Keep the state of clusters that are started in DIR instead of a folder below target/
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Write the results to FILE as well, for `bench compare`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::span;

    #[test]
    fn a_time_has_a_unit_and_bounds() {
        for (text, micros) in [
            ("20ms", 20_000),
            ("1.5s", 1_500_000),
            ("500us", 500),
            ("10m", 600_000_000),
        ] {
            assert_eq!(span(text).unwrap(), Duration::from_micros(micros));
        }
        for text in ["", "20", "ms", "0s", "-1s", "2h", "1.2.3s", "5 s", "NaNs"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
