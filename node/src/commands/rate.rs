//! `queenright rate`: how many tasks of a sort are begun in a time.

use queenright_bench::client::wire::{RateList, SetRate, WireRate};

use super::door::{client_of_project, of_read};
use super::table::{Table, or_dash, shown};
use super::{CliError, Context, dry};
use crate::cli::{Pace, RateCommand};
use crate::exit::Exit;

/// Carries out `queenright rate`.
///
/// # Errors
/// [`CliError`], such as a rate that is not there.
pub async fn run(command: RateCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        RateCommand::Set {
            name,
            rate: Pace { tokens, interval_ms },
            burst,
            dry_run,
            target,
        } => {
            let set = SetRate {
                tokens,
                interval_ms,
                burst,
            };
            if dry_run {
                return dry::work::set_rate(&client_of_project(&target)?, &name, set, context).await;
            }
            let changed = client_of_project(&target)?.set_rate(&name, &set).await?;
            let pace = pace_text(tokens, interval_ms);
            let burst = burst.unwrap_or(tokens);
            let text = format!("rate {} is {pace}, at most {burst} at once", shown(&name));
            context.answer(&changed, text)?;
        }
        RateCommand::List { consistency, target } => {
            let rates = client_of_project(&target)?.rates(consistency.into()).await;
            let rates = rates.map_err(of_read)?;
            context.answer(&rates, list_text(&rates))?;
        }
        RateCommand::Show {
            name,
            consistency,
            target,
        } => {
            let rate = client_of_project(&target)?.rate(&name, consistency.into()).await;
            let rate = rate.map_err(of_read)?;
            let rates = vec![rate.clone()];
            context.answer(&rate, list_text(&RateList { rates }))?;
        }
        RateCommand::Delete { name, dry_run, target } => {
            if dry_run {
                return dry::work::delete_rate(&client_of_project(&target)?, &name, context).await;
            }
            let deleted = client_of_project(&target)?.delete_rate(&name).await?;
            context.answer(&deleted, format!("rate {} is deleted", shown(&name)))?;
        }
    }
    Ok(Exit::Ok)
}

fn list_text(list: &RateList) -> String {
    let mut table = Table::new(["RATE", "PACE", "BURST", "LEFT", "NEXT IN"]);
    for WireRate {
        rate,
        tokens,
        interval_ms,
        burst,
        left,
        next_ms,
    } in &list.rates
    {
        table.row([
            shown(rate),
            pace_text(*tokens, *interval_ms),
            burst.to_string(),
            left.to_string(),
            or_dash(next_ms.map(|ms| format!("{ms} ms"))),
        ]);
    }
    table.to_string()
}

/// As it may be given to `rate set`.
pub(super) fn pace_text(tokens: u32, interval_ms: u64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
        (1, "ms"),
    ];
    let whole = units.into_iter().find(|(ms, _)| interval_ms.is_multiple_of(*ms));
    match whole {
        Some((ms, unit)) if ms == interval_ms => format!("{tokens}/{unit}"),
        Some((ms, unit)) => format!("{tokens}/{}{unit}", interval_ms / ms),
        None => format!("{tokens}/{interval_ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_printed_as_it_is_read() {
        for text in ["50/min", "10/s", "1/5s", "3/250ms", "1/d", "7/90s"] {
            let Pace { tokens, interval_ms } = text.parse().unwrap();
            assert_eq!(pace_text(tokens, interval_ms), text);
        }
    }
}
