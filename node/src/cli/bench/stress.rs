//! `queenright bench stress`.

use std::time::Duration;

use clap::Args;
use queenright_bench::settings::Setting;

use super::{PlaceArgs, ShapeArgs, span};

/// `queenright bench stress`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  queenright bench stress
  queenright bench stress --agents 5000 --duration 10m --ramp-up 1m --nodes 5 --topology ring
  queenright bench stress --agents 100 --duration 20s --set limits.rounds_in_flight=1 --out stress.json

Agents on all nodes do one thing after the other: 30 % put 256 B, 10 % raise a counter of their own, 25 % read on their node, 15 % \
add a task, take the oldest one and finish it, 15 % send a signal, 5 % propose a change of a key that others change as well. Each \
second has a line. Then it is checked that every acknowledged put, increment, proposal and task is there, that no task was \
finished twice, and that all nodes have the same digest. Ctrl-C ends the load early; what was done until then is checked all the \
same. A second Ctrl-C does not wait for that.")]
pub struct StressArgs {
    /// How many agents, on all nodes in turn
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub agents: u64,
    /// How long all of them work, after the ramp-up
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span)]
    pub duration: Duration,
    /// Over which time they are started
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    pub ramp_up: Duration,
    /// A setting of the cluster file, SECTION.KEY=VALUE
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<Setting>,
    /// What the random choices are made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// On what.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Where the state and the results go.
    #[command(flatten)]
    pub place: PlaceArgs,
}
