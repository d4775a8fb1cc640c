//! `queenright bench ramp`.

use std::time::Duration;

use clap::Args;
use queenright_bench::ramp::Offered;

use super::{PlaceArgs, ShapeArgs, span};
use crate::cli::value;

/// `queenright bench ramp`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  queenright bench ramp
  queenright bench ramp --workload claim --p99 50ms --nodes 5 --topology star
  queenright bench ramp --workload signal --p99 5ms --from 10000 --seconds 5 --out ramp.json

Work is offered at a constant rate by an agent on each node, whatever becomes of what was offered before, and latency counts from \
the moment at which each piece was to begin. The rate doubles until p99 is above the bound, or something is refused or lost, and \
then the gap is halved until it is a twentieth; a rate that does not hold is tried once more. Puts are 256 B on disk at a \
majority; claims are of prepared tasks, each finished at once; signals and calls are 128 B to an agent of the next node. Ctrl-C \
ends with the steps so far.")]
pub struct RampArgs {
    /// What is offered: put, claim, signal or call
    #[arg(long, value_name = "WHAT", default_value = "put")]
    pub workload: Offered,
    /// What p99 may be, such as 500us, 20ms or 1s
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = span)]
    pub p99: Duration,
    /// The rate to begin with, a second
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub from: u64,
    /// The highest rate that is tried
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub to: u64,
    /// How long each rate is measured, in seconds, 0.1 to 600
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    pub seconds: Duration,
    /// On what.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Where the state and the results go.
    #[command(flatten)]
    pub place: PlaceArgs,
}

fn seconds(text: &str) -> Result<Duration, String> {
    value::time(text, 0.1..=600.0)
}
