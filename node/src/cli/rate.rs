//! `queenright rate`.

use std::str::FromStr;

use clap::Subcommand;

use super::{ReadMode, TargetArgs};

/// `queenright rate`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright rate set claude 50/min
  queenright rate set search 10/s --burst 30
  queenright task add 'Review the parser' --resource rate:claude --resource rate:search=3
  queenright rate list
  queenright rate show claude
  queenright rate delete claude

A rate bounds how many tasks that name it are begun in a time, by all workers on all nodes together. Its bucket holds BURST \
tokens, begins full, and fills evenly. A claim takes the tokens that its task names, one unless it says how many, or passes \
over the task while they are not there; `--wait` gets it when they are. Tokens are not given back when an attempt fails. \
How many tasks run at the same time is bounded by a slot: --resource slot:NAME and `queenright reserve slots NAME N`.")]
pub enum RateCommand {
    /// Make a rate, or change it: then it keeps the tokens that it has, as far as they fit
    Set {
        /// Its name: what tasks say behind rate:
        name: String,
        /// COUNT/INTERVAL, such as 50/min, 10/s, 1000/h, 1/5s or 3/250ms: up to 1,000,000 in up to a day
        #[arg(value_name = "RATE")]
        rate: Pace,
        /// How many tokens it may have at once, up to 1000000 [default: COUNT]
        #[arg(long, value_name = "N")]
        burst: Option<u32>,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// List the rates of the project
    List {
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Show a rate and how many tokens it has
    Show {
        /// Its name
        name: String,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Delete a rate that no open task names
    Delete {
        /// Its name
        name: String,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// So many tokens in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// So many …
    pub tokens: u32,
    /// … in so many milliseconds.
    pub interval_ms: u64,
}

/// A text that is no pace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no rate (expected COUNT/INTERVAL, such as 50/min, 10/s or 1/5s; units are ms, s, min, h and d)")]
pub struct PaceError {
    text: String,
}

impl FromStr for Pace {
    type Err = PaceError;

    fn from_str(text: &str) -> Result<Pace, PaceError> {
        let parse = || {
            let (tokens, interval) = text.split_once('/')?;
            let unit = interval.trim_start_matches(|letter: char| letter.is_ascii_digit());
            let count: u64 = match &interval[..interval.len() - unit.len()] {
                "" => 1,
                count => count.parse().ok()?,
            };
            let unit_ms = match unit {
                "ms" => 1,
                "s" | "sec" => 1_000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            Some(Pace {
                tokens: tokens.parse().ok()?,
                interval_ms: count.checked_mul(unit_ms)?,
            })
        };
        parse().ok_or_else(|| PaceError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_and_an_interval() {
        let check = |text: &str, expected: Option<(u32, u64)>| {
            let expected = expected.map(|(tokens, interval_ms)| Pace { tokens, interval_ms });
            assert_eq!(text.parse::<Pace>().ok(), expected, "{text}");
        };
        check("50/min", Some((50, 60_000)));
        check("10/s", Some((10, 1_000)));
        check("1000/h", Some((1_000, 3_600_000)));
        check("1/5s", Some((1, 5_000)));
        check("3/250ms", Some((3, 250)));
        check("1/d", Some((1, 86_400_000)));
        for wrong in [
            "",
            "5",
            "5/",
            "/s",
            "5/year",
            "-5/s",
            "5/99999999999999999999s",
            "5/18446744073709551615d",
        ] {
            check(wrong, None);
        }
    }
}
