//! `queenright bench trend`.

use std::path::PathBuf;

use clap::Args;

/// `queenright bench trend`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright bench trend queenright-bench-*.json
  queenright bench trend *.json --workload B3 --row 'put rate'")]
pub struct TrendArgs {
    /// Files of results, in any order
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Show this workload only
    #[arg(long, value_name = "WORKLOAD")]
    pub workload: Option<String>,
    /// Show only rows whose names have TEXT in them
    #[arg(long, value_name = "TEXT")]
    pub row: Option<String>,
}
