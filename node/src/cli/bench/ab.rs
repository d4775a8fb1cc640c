//! `queenright bench ab`.

use clap::Args;
use queenright_bench::settings::Setting;

use super::{PlaceArgs, share};

/// `queenright bench ab`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  queenright bench ab --a 'rounds.max=1' --b 'rounds.max=512'
  queenright bench ab --b 'limits.rounds_in_flight=1' --workload B5 --pairs 7
  queenright bench ab --a links.compression=off --b links.compression=lz4 --workload B13 --out ab.json
  queenright bench ab --b 'rounds.max=1' --scale 0.25 --agents 64

A setting is a key of the cluster file, SECTION.KEY=VALUE; each side may have several, and one without any has the defaults. The \
order is a, b, b, a, a, b, …: a machine that becomes slower meanwhile is so for both. Each row of the workload has the median of \
each side, their ratio with a 95 % bootstrap interval, and differs if that leaves out 1. Ctrl-C ends after the \
pairs that are complete.")]
pub struct AbArgs {
    /// A setting of side a, such as rounds.max=1
    #[arg(long, value_name = "KEY=VALUE")]
    pub a: Vec<Setting>,
    /// A setting of side b
    #[arg(long, value_name = "KEY=VALUE")]
    pub b: Vec<Setting>,
    /// The workload, as `bench list` names it: one that starts clusters
    #[arg(long, value_name = "WORKLOAD", default_value = "B3")]
    pub workload: String,
    /// How many times each side runs; an interval needs 3
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub pairs: u32,
    /// The share of the full size that the workload has, 0.001 to 1: shorter loads, fewer samples
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = share)]
    pub scale: f64,
    /// The most agents or clients that work at the same time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    pub agents: u64,
    /// What the random choices are made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Where the state and the results go.
    #[command(flatten)]
    pub place: PlaceArgs,
}
