//! `queenright budget` and `queenright usage`.

use std::str::FromStr;

use clap::{Args, Subcommand};
use queenright_protocol::colony::{AccountName, BudgetLimits, Spent};

use super::{ReadMode, TargetArgs};

/// `queenright budget`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright budget set project --tokens 5000000 --cost 25.00 --time 10h
  queenright budget set queue:review --cost 3
  queenright budget list
  queenright budget reset queue:review
  queenright budget remove project

NAME is `project` for all tasks of the project, or `queue:NAME` for those of a queue. Workers say what they use when they \
update or finish a task, and by their results; the time for which tasks are held is measured. A budget counts from when it \
is set. At 80 % of a limit the event budget_warned tells so, at all of it budget_spent: from then on nobody gets a task from \
there, and what runs goes on. It goes on when the budget is raised, reset or removed.")]
pub enum BudgetCommand {
    /// Make a budget, or change its limits: then what it has counted stays; what is not said is not bounded
    #[command(after_help = "Example:\n  queenright budget set queue:review --tokens 2000000 --cost 10.00")]
    Set {
        /// Of what: project or queue:NAME
        name: AccountName,
        /// How much may be used.
        #[command(flatten)]
        limits: LimitsArgs,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// List the budgets of the project
    #[command(after_help = "Example:\n  queenright budget list --json")]
    List {
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Show a budget and what it has counted
    #[command(after_help = "Example:\n  queenright budget show project")]
    Show {
        /// Of what: project or queue:NAME
        name: AccountName,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Bound it no longer; what was used stays known
    #[command(after_help = "Example:\n  queenright budget remove queue:review")]
    Remove {
        /// Of what: project or queue:NAME
        name: AccountName,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Count from 0 again
    #[command(after_help = "Example:\n  queenright budget reset project")]
    Reset {
        /// Of what: project or queue:NAME
        name: AccountName,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// `queenright usage`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright usage
  queenright usage --project parser --json

What was used in the project, by each of its queues, and by each agent: a session counts under its name, a hosted agent under \
its own. `queenright task show` shows what a task and each of its attempts have used.")]
pub struct UsageArgs {
    /// How fresh the answer must be
    #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
    pub consistency: ReadMode,
    /// Of which project.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// How much may be used.
#[derive(Args, Clone, Copy, Debug)]
#[group(required = true, multiple = true)]
pub struct LimitsArgs {
    /// So many tokens of models, read and written
    #[arg(long, value_name = "N")]
    pub tokens: Option<u64>,
    /// So much money, such as 25.00, in the unit in which the workers count
    #[arg(long, value_name = "AMOUNT")]
    pub cost: Option<Amount>,
    /// So much time for which tasks are held, such as 10h, 90min, 3d or 30s
    #[arg(long, value_name = "TIME")]
    pub time: Option<Span>,
}

impl From<LimitsArgs> for BudgetLimits {
    fn from(args: LimitsArgs) -> BudgetLimits {
        BudgetLimits {
            tokens: args.tokens,
            cost_micros: args.cost.map(|cost| cost.micros),
            time_ms: args.time.map(|time| time.ms),
        }
    }
}

/// What an attempt has used since its owner said so last.
#[derive(Args, Clone, Copy, Debug)]
pub struct SpentArgs {
    /// So many tokens that models have read since that was said last
    #[arg(long, value_name = "N")]
    pub tokens_in: Option<u64>,
    /// So many tokens that models have written since that was said last
    #[arg(long, value_name = "N")]
    pub tokens_out: Option<u64>,
    /// So much money since that was said last, such as 0.12
    #[arg(long, value_name = "AMOUNT")]
    pub cost: Option<Amount>,
}

impl SpentArgs {
    /// What is said, if anything is.
    pub fn spent(self) -> Option<Spent> {
        let said = self.tokens_in.is_some() || self.tokens_out.is_some() || self.cost.is_some();
        said.then(|| Spent {
            tokens_in: self.tokens_in.unwrap_or_default(),
            tokens_out: self.tokens_out.unwrap_or_default(),
            cost_micros: self.cost.map_or(0, |cost| cost.micros),
        })
    }
}

/// An amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// In millionths of a unit.
    pub micros: u64,
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Amount, String> {
        let parse = || {
            let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(whole) || !digits(part) || part.len() > 6 {
                return None;
            }
            let part: u64 = format!("{part:0<6}").parse().ok()?;
            let micros = whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)?;
            Some(Amount { micros })
        };
        parse().ok_or_else(|| format!("{text:?} is no amount (expected up to six decimals, such as 25.00)"))
    }
}

/// A time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// In milliseconds.
    pub ms: u64,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let parse = || {
            let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
            let count: u64 = text[..text.len() - unit.len()].parse().ok()?;
            let ms = match unit {
                "s" | "sec" => 1_000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            Some(Span {
                ms: count.checked_mul(ms)?,
            })
        };
        parse().ok_or_else(|| format!("{text:?} is no time (expected a whole number and s, min, h or d, such as 10h)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_without_rounding() {
        let check = |text: &str, expected: Option<u64>| {
            let found = text.parse::<Amount>().ok().map(|amount| amount.micros);
            assert_eq!(found, expected, "{text}");
        };
        check("25.00", Some(25_000_000));
        check("0.12", Some(120_000));
        check("3", Some(3_000_000));
        check("0.000001", Some(1));
        check("0.1", Some(100_000));
        for wrong in ["", ".", "1.", ".5", "-1", "1.0000001", "1e3", "99999999999999999999"] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_time_has_a_unit() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(text.parse::<Span>().ok().map(|span| span.ms), expected, "{text}");
        };
        check("10h", Some(36_000_000));
        check("90min", Some(5_400_000));
        check("2d", Some(172_800_000));
        check("30s", Some(30_000));
        for wrong in ["", "10", "h", "1.5h", "99999999999999999999d", "18446744073709551615d"] {
            check(wrong, None);
        }
    }
}
