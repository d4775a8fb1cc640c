//! `queenright bench compare`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::value;

/// `queenright bench compare`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright bench compare before.json after.json
  queenright bench compare before.json after.json --threshold 10%
  queenright bench compare bench/results/2c-amd-epyc-ext4.json after.json --throughput 25 --json

A row is worse when its value is worse by more than the threshold of its class. Where both files carry at least three \
repeats of it, the 95 % interval of the ratio of the medians must lie beyond the threshold as a whole (rule interval), \
else the value alone decides (rule threshold). A row that lost nothing before and does now is worse too (rule lost). \
Counts, ratios and what the disk does by itself are shown and not judged.

Exit codes:
  0  nothing is worse
  1  something is worse, or a row of the first file is missing in the second one or has no samples
  2  the command line is wrong, or a file holds no results")]
pub struct CompareArgs {
    /// The results before
    #[arg(value_name = "A.json")]
    pub before: PathBuf,
    /// The results after
    #[arg(value_name = "B.json")]
    pub after: PathBuf,
    /// By how much everything may be worse that has no threshold of its own here
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub threshold: Option<f64>,
    /// By how much the start of agents may be worse [default: 10%]
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub spawn: Option<f64>,
    /// By how much rates may be less [default: 15%]
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub throughput: Option<f64>,
    /// By how much memory may be more [default: 20%]
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub memory: Option<f64>,
    /// By how much times may be longer [default: 15%]
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub latency: Option<f64>,
    /// By how much processor times may be longer [default: 10%]
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub processor: Option<f64>,
    /// Compare these workloads only
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Compare a debug build with a release build all the same
    #[arg(long)]
    pub force: bool,
}

/// A percentage as a share.
fn share(text: &str) -> Result<f64, String> {
    Ok(value::percent(text, 0.01..=100.0)? / 100.0)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_threshold_is_a_percentage_within_bounds() {
        assert_eq!(share("10%"), Ok(0.1));
        assert_eq!(share("12.5"), Ok(0.125));
        for refused in ["0", "-1%", "101%", "NaN", "ten", "", "%"] {
            assert!(share(refused).is_err(), "{refused}");
        }
    }
}
