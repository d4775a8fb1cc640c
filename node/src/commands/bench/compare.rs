//! `queenright bench compare`: two files of results beside each other, as a table or as JSON.

use queenright_bench::compare::{Comparison, Line, Rule, Thresholds, Verdict, compare};
use queenright_bench::report::number;
use queenright_bench::results::Results;

use super::percent;
use crate::cli::CompareArgs;
use crate::commands::table::{Table, or_dash, shown};
use crate::commands::{CliError, Context};
use crate::exit::Exit;

/// How many rows an error names.
const NAMED_MAX: usize = 5;

pub(super) fn run(args: &CompareArgs, context: &Context) -> Result<Exit, CliError> {
    let only: Vec<&str> = args
        .only
        .iter()
        .map(|id| super::find(id).map(|workload| workload.id))
        .collect::<Result<_, _>>()?;
    let read = |path| -> Result<Results, CliError> {
        let mut results = super::read(path)?;
        let is_wanted = |id: &str| only.is_empty() || only.contains(&id);
        results.reports.retain(|report| is_wanted(&report.workload));
        match results.reports.is_empty() {
            true => Err(CliError::Usage(format!(
                "{}: there is nothing to compare in it",
                path.display()
            ))),
            false => Ok(results),
        }
    };
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let comparison = compare(&before, &after, &thresholds(args));
    if !comparison.same_build && !args.force {
        return Err(CliError::Usage(format!(
            "{} and {} are of debug and of release builds, which are not to be compared (--force does it all the same)",
            args.before.display(),
            args.after.display()
        )));
    }
    for difference in &comparison.differences {
        context.note(format_args!("warning: other conditions: {}", shown(difference)));
    }
    context.answer(&comparison, table(&comparison))?;
    verdict(&comparison)
}

fn thresholds(args: &CompareArgs) -> Thresholds {
    let default = Thresholds::default();
    let of = |own: Option<f64>, default: f64| own.or(args.threshold).unwrap_or(default);
    Thresholds {
        spawn: of(args.spawn, default.spawn),
        throughput: of(args.throughput, default.throughput),
        memory: of(args.memory, default.memory),
        latency: of(args.latency, default.latency),
        processor: of(args.processor, default.processor),
    }
}

fn table(comparison: &Comparison) -> Table<9> {
    let mut table = Table::new([
        "", "ROW", "UNIT", "BEFORE", "AFTER", "CHANGE", "INTERVAL", "RULE", "VERDICT",
    ]);
    for line in &comparison.lines {
        let interval = line
            .interval
            .map(|interval| format!("{} to {}", percent(interval.low - 1.0), percent(interval.high - 1.0)));
        let rule = match line.rule {
            Rule::Interval => "interval",
            Rule::Threshold => "threshold",
            Rule::Lost => "lost",
            Rule::None => "-",
        };
        table.row([
            shown(&line.workload),
            shown(&line.row),
            shown(&line.unit),
            or_dash(line.before.map(number)),
            or_dash(line.after.map(number)),
            or_dash(line.change.map(percent)),
            or_dash(interval),
            match line.threshold {
                Some(threshold) if rule != "-" => format!("{rule} {:.0} %", 100.0 * threshold),
                _ => rule.to_owned(),
            },
            word(line.verdict).to_owned(),
        ]);
    }
    table
}

/// Regressions stand out in a long table.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Same => "same",
        Verdict::Better => "better",
        Verdict::Unclear => "unclear",
        Verdict::Worse => "WORSE",
        Verdict::Shown => "-",
        Verdict::New => "new",
        Verdict::Missing => "MISSING",
        Verdict::NoSamples => "NO SAMPLES",
    }
}

/// What the exit code says: rows that are worse, and apart from them those that are not there to be judged.
fn verdict(comparison: &Comparison) -> Result<Exit, CliError> {
    let said = [
        (Verdict::Worse, "worse by more than the threshold"),
        (Verdict::Missing, "missing in the second file"),
        (Verdict::NoSamples, "without samples"),
    ]
    .map(|(verdict, what)| named(comparison.with(verdict), what));
    let code = match &said {
        [Some(_), ..] => "REGRESSION",
        [None, None, None] => return Ok(Exit::Ok),
        _ => "ROWS_MISSING",
    };
    let said: Vec<String> = said.into_iter().flatten().collect();
    Err(CliError::Refused {
        exit: Exit::Error,
        code: code.to_owned(),
        message: said.join("; "),
    })
}

fn named<'l>(lines: impl Iterator<Item = &'l Line>, what: &str) -> Option<String> {
    let names: Vec<String> = lines
        .map(|line| format!("{} {:?}", shown(&line.workload), line.row))
        .collect();
    let first = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let rows = if names.len() == 1 { "row" } else { "rows" };
    match names.len() {
        0 => None,
        number if number > NAMED_MAX => Some(format!("{number} {rows} {what}: {first} …")),
        number => Some(format!("{number} {rows} {what}: {first}")),
    }
}
