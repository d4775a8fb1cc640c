//! `queenright budget` and `queenright usage`: what work uses, and how much of it may be used.

use queenright_bench::client::wire::WireAccount;
use queenright_protocol::colony::{BudgetLimits, Usage};

use super::door::{client_of_project, of_read};
use super::table::{Table, or_dash, shown};
use super::{CliError, Context, dry};
use crate::cli::{BudgetCommand, UsageArgs};
use crate::exit::Exit;

/// Carries out `queenright budget`.
///
/// # Errors
/// [`CliError`], such as a budget that is not there.
pub async fn run(command: BudgetCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        BudgetCommand::Set {
            name,
            limits,
            dry_run,
            target,
        } => {
            let limits = limits.into();
            if dry_run {
                return dry::work::set_budget(&client_of_project(&target)?, &name, &limits, context).await;
            }
            let set = client_of_project(&target)?.set_budget(&name, &limits).await?;
            let name = shown(&name.to_string());
            context.answer(&set, format!("budget {name}: {}", limits_text(&limits)))?;
        }
        BudgetCommand::List { consistency, target } => {
            let budgets = client_of_project(&target)?.budgets(consistency.into()).await;
            let budgets = budgets.map_err(of_read)?;
            context.answer(&budgets, budgets_text(&budgets.budgets))?;
        }
        BudgetCommand::Show {
            name,
            consistency,
            target,
        } => {
            let budget = client_of_project(&target)?.budget(&name, consistency.into()).await;
            let budget = budget.map_err(of_read)?;
            context.answer(&budget, budgets_text(std::slice::from_ref(&budget)))?;
        }
        BudgetCommand::Remove { name, dry_run, target } => {
            if dry_run {
                let would = "would bound nothing any more";
                return dry::work::change_budget(&client_of_project(&target)?, &name, would, context).await;
            }
            let removed = client_of_project(&target)?.remove_budget(&name).await?;
            context.answer(&removed, format!("budget {} is removed", shown(&name.to_string())))?;
        }
        BudgetCommand::Reset { name, dry_run, target } => {
            if dry_run {
                let would = "would count from 0";
                return dry::work::change_budget(&client_of_project(&target)?, &name, would, context).await;
            }
            let reset = client_of_project(&target)?.reset_budget(&name).await?;
            context.answer(&reset, format!("budget {} counts from 0", shown(&name.to_string())))?;
        }
    }
    Ok(Exit::Ok)
}

/// Carries out `queenright usage`.
///
/// # Errors
/// [`CliError`].
pub async fn usage(args: UsageArgs, context: &Context) -> Result<Exit, CliError> {
    let usage = client_of_project(&args.target)?.usage(args.consistency.into()).await;
    let usage = usage.map_err(of_read)?;
    let mut table = Table::new(["ACCOUNT", "TOKENS IN", "TOKENS OUT", "COST", "TIME"]);
    for WireAccount { account, usage, .. } in &usage.accounts {
        table.row([
            shown(account),
            usage.tokens_in.to_string(),
            usage.tokens_out.to_string(),
            amount_text(usage.cost_micros),
            time_text(usage.time_ms),
        ]);
    }
    context.answer(&usage, table.to_string())?;
    Ok(Exit::Ok)
}

fn budgets_text(budgets: &[WireAccount]) -> String {
    let mut table = Table::new(["BUDGET", "TOKENS", "COST", "TIME", "REACHED"]);
    for WireAccount { account, budget, .. } in budgets {
        let Some(budget) = budget else { continue };
        let (used, limits) = (&budget.used, &budget.limits);
        let of = |used: String, limit: Option<String>| limit.map(|limit| format!("{used} of {limit}"));
        let tokens = used.tokens_in.saturating_add(used.tokens_out);
        table.row([
            shown(account),
            or_dash(of(tokens.to_string(), limits.tokens.map(|tokens| tokens.to_string()))),
            or_dash(of(amount_text(used.cost_micros), limits.cost_micros.map(amount_text))),
            or_dash(of(time_text(used.time_ms), limits.time_ms.map(time_text))),
            match budget.reached.is_empty() {
                true => "-".to_owned(),
                false => budget.reached.join(", "),
            },
        ]);
    }
    table.to_string()
}

pub(super) fn limits_text(limits: &BudgetLimits) -> String {
    let parts = [
        limits.tokens.map(|tokens| format!("{tokens} tokens")),
        limits
            .cost_micros
            .map(|micros| format!("a cost of {}", amount_text(micros))),
        limits.time_ms.map(|ms| format!("{} of work", time_text(ms))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What a task or an attempt has used.
pub(super) fn usage_text(usage: &Usage) -> String {
    let Usage {
        tokens_in,
        tokens_out,
        cost_micros,
        time_ms,
    } = *usage;
    let (cost, time) = (amount_text(cost_micros), time_text(time_ms));
    format!("{tokens_in} tokens in, {tokens_out} out, a cost of {cost}, {time}")
}

/// What was used of a limit, or the limit, by the field that it is of.
fn field_text(field: &str, value: u64) -> String {
    match field {
        "cost_micros" => format!("a cost of {}", amount_text(value)),
        "time_ms" => format!("{} of work", time_text(value)),
        _ => format!("{value} tokens"),
    }
}

/// How much of a limit is used.
pub(super) fn of_limit(field: &str, used: u64, limit: u64) -> String {
    format!("{} of {}", field_text(field, used), field_text(field, limit))
}

/// Millionths as a number with two decimals at least.
fn amount_text(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let keep = text.len() - 4;
    let zeros = text[keep..].bytes().rev().take_while(|byte| *byte == b'0').count();
    text[..text.len() - zeros].to_owned()
}

fn time_text(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_and_time_are_printed_for_people() {
        assert_eq!(
            [25_000_000, 120_000, 1, 1_234_500].map(amount_text),
            ["25.00", "0.12", "0.000001", "1.2345"]
        );
        assert_eq!(
            [900, 1_900, 61_000, 36_000_000].map(time_text),
            ["900 ms", "1 s", "1 min 1 s", "10 h 0 min"]
        );
    }
}
