//! `queenright bench`.

mod drive;
mod topologies;

use std::path::PathBuf;

use clap::Subcommand;

pub use self::drive::DriveArgs;
pub use self::topologies::TopologiesArgs;

/// `queenright bench`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright bench list
  queenright bench run B7 B8
  queenright bench run B3 --json > b3.json
  queenright bench run B4 --churn 600
  queenright bench run B16 --repo ~/src/project
  queenright bench topologies --nodes 5 --kinds ring,star
  queenright bench drive --node 10.0.0.1:7201")]
pub enum BenchCommand {
    /// Run workloads and print what was measured, with its conditions
    Run {
        /// The workloads, as `bench list` names them
        #[arg(required = true, value_name = "WORKLOAD")]
        workloads: Vec<String>,
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
    },
    /// Compare the topologies side by side, or simulate them
    Topologies(Box<TopologiesArgs>),
    /// Put a running cluster under load, and leave nothing behind
    Drive(Box<DriveArgs>),
    /// List the workloads
    List,
}
