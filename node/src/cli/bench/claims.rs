//! `queenright bench claims`.

use std::path::PathBuf;

use clap::Args;

/// `queenright bench claims`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright bench claims
  queenright bench claims results.json
  queenright bench claims results.json --markdown > claims.md

For each figure that the five systems before this one published: where it stands, what is known about how it came about, \
the best other system that was measured at the same work, and the rows of the given results that answer it. What the \
results do not hold is said to be not measured, with the command that measures it.")]
pub struct ClaimsArgs {
    /// Files of results; of several reports of one workload the last one counts
    #[arg(value_name = "FILE.json")]
    pub files: Vec<PathBuf>,
    /// Print a table for a document
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
}
