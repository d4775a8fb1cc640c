//! `queenright bench all`.

use std::path::PathBuf;

use clap::Args;

/// `queenright bench all`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright bench all                          every workload in quick sizes, about half an hour on two cores
  queenright bench all --only B1,B3 --out a.json
  queenright bench all --budget 600             begin no workload after ten minutes
  queenright bench all --baseline               name the file after the machine

A workload that measures things once in a run is run three times (or as often as --repeats says), and its runs become \
one report. One that fails is listed with its error, and the others go on; the exit code is 1 then. One that is left out \
is listed with the reason.")]
pub struct AllArgs {
    /// Run the sizes of `bench run` instead of the quick ones: hours
    #[arg(long)]
    pub full: bool,
    /// Run these workloads only
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Begin no workload once so many seconds have passed
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub budget: Option<u64>,
    /// Keep the results in FILE, in place of what it holds, instead of queenright-bench-TIME.json in the current folder
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Keep the results as the baseline of this kind of machine, such as 2c-intel-xeon-processor-ext4.json: in bench/results
    /// of the current folder if that is there, else in the current folder
    #[arg(long, conflicts_with = "out")]
    pub baseline: bool,
    /// What the random choices are made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Keep the state of clusters that are started in DIR instead of a folder below target/
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Repeat each timing N times instead of as often as the workload does
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: Option<u32>,
    /// The repository that B16 replays; else that of the current folder, if there is one
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
}
