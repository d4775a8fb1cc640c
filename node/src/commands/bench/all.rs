//! `queenright bench all`: every workload in quick sizes, a file, its page and a summary.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use queenright_bench::Options;
use queenright_bench::conditions::Conditions;
use queenright_bench::report::{Report, number};
use queenright_bench::workloads::{Needs, Workload, workloads};
use serde::Serialize;

use super::sitting::{Ended, Sitting};
use crate::cli::AllArgs;
use crate::commands::table::Table;
use crate::commands::{CliError, Context};
use crate::exit::Exit;
use crate::git::Repository;
use crate::wall_time::rfc3339;

/// How many rows of each workload the summary shows.
const ROWS_SHOWN: usize = 3;
/// Where baselines are kept in a checkout.
const BASELINES: &str = "bench/results";

/// What became of one workload.
#[derive(Debug, Serialize)]
struct Summary {
    workload: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    /// How many rows it gave.
    rows: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<String>,
    #[serde(skip)]
    first: Vec<[String; 3]>,
}

impl Summary {
    fn left_out(workload: &Workload, why: String) -> Summary {
        Summary {
            workload: workload.id,
            seconds: None,
            rows: 0,
            error: None,
            left_out: Some(why),
            first: Vec::new(),
        }
    }

    fn ended(workload: &Workload, took: Duration, report: Result<&Report, &CliError>) -> Summary {
        let rows = report.map_or(&[][..], |report| &report.rows);
        Summary {
            workload: workload.id,
            seconds: Some(took.as_secs_f64()),
            rows: rows.len(),
            error: report.err().map(CliError::line),
            left_out: None,
            first: rows
                .iter()
                .take(ROWS_SHOWN)
                .map(|row| [row.name.clone(), number(row.value), row.unit.clone()])
                .collect(),
        }
    }
}

pub(super) async fn run(args: AllArgs, context: &Context) -> Result<Exit, CliError> {
    let chosen = chosen(&args.only)?;
    let data = super::data_folder(args.data)?;
    let repository = repository(args.repo)?;
    let out = match args.out {
        Some(out) => out,
        None if args.baseline => baseline(&data),
        None => PathBuf::from(format!("queenright-bench-{}.json", stamp(SystemTime::now()))),
    };
    let sizes = match args.full {
        true => Options::full(data),
        false => Options::quick(data),
    };
    let options = Options {
        seed: args.seed,
        repeats: args.repeats.unwrap_or(sizes.repeats),
        cluster_repeats: args.repeats.unwrap_or(sizes.cluster_repeats),
        repository: repository.clone().unwrap_or_default(),
        ..sizes
    };
    let mut sitting = Sitting::begin(context, Some(out.clone()), args.budget.map(Duration::from_secs))?;
    let mut summaries = Vec::new();
    let mut broken_off = None;
    for (place, workload) in chosen.iter().enumerate() {
        if let Some(why) = left_out(workload, &repository, args.budget, sitting.elapsed()) {
            summaries.push(Summary::left_out(workload, why));
            continue;
        }
        // As often as the loads on clusters are repeated.
        let runs = options.cluster_repeats;
        let (ended, took) = sitting.run((place + 1, chosen.len()), workload, &options, runs).await?;
        match ended {
            Ended::Done(report) => summaries.push(Summary::ended(workload, took, Ok(&report))),
            Ended::Failed(error) => {
                context.note(error.report(false));
                summaries.push(Summary::ended(workload, took, Err(&error)));
            }
            Ended::Interrupted(cause) => {
                broken_off = Some(sitting.interrupted(workload.id, cause));
                break;
            }
        }
    }
    let elapsed = sitting.elapsed();
    let written = summaries.iter().any(|summary| summary.rows > 0);
    let files = written.then(|| Files::of(&out, args.baseline)).transpose()?;
    answer(&summaries, files.as_ref(), elapsed, context)?;
    if let Some(error) = broken_off {
        return Err(error);
    }
    let failed: Vec<&str> = summaries
        .iter()
        .filter(|summary| summary.error.is_some())
        .map(|summary| summary.workload)
        .collect();
    if failed.is_empty() {
        return Ok(Exit::Ok);
    }
    Err(CliError::Refused {
        exit: Exit::Error,
        code: "WORKLOAD_FAILED".to_owned(),
        message: format!(
            "{} of {} workloads failed: {}",
            failed.len(),
            chosen.len(),
            failed.join(", ")
        ),
    })
}

/// All workloads, or those that are named, in the order of the table.
fn chosen(only: &[String]) -> Result<Vec<&'static Workload>, CliError> {
    let named: Vec<_> = only.iter().map(|id| super::find(id)).collect::<Result<_, _>>()?;
    let is_chosen = |workload: &&Workload| named.is_empty() || named.iter().any(|named| named.id == workload.id);
    Ok(workloads().iter().filter(is_chosen).collect())
}

/// Why a workload does not run.
fn left_out(
    workload: &Workload,
    repository: &Result<PathBuf, String>,
    budget: Option<u64>,
    elapsed: Duration,
) -> Option<String> {
    match (budget, repository) {
        (Some(budget), _) if elapsed >= Duration::from_secs(budget) => Some(format!("--budget {budget} s was used up")),
        (_, Err(why)) if workload.needs == Needs::Repository => Some(why.clone()),
        _ => None,
    }
}

/// The repository to replay, or why there is none.
///
/// # Errors
/// [`CliError::Usage`] when the command line names one that cannot be replayed.
fn repository(named: Option<PathBuf>) -> Result<Result<PathBuf, String>, CliError> {
    let folder = named.clone().unwrap_or_else(|| PathBuf::from("."));
    let opened = Repository::open(&folder).and_then(|repository| repository.history("HEAD", Some(0)));
    match (opened, named) {
        (Ok(_), _) => Ok(Ok(folder)),
        (Err(error), Some(named)) => Err(CliError::Usage(format!("--repo {}: {error}", named.display()))),
        (Err(error), None) => Ok(Err(format!(
            "no --repo, and the current folder has no history: {error}"
        ))),
    }
}

/// Where the baseline of this machine is kept.
fn baseline(data: &Path) -> PathBuf {
    let name = Conditions::of(data).baseline_name();
    let folder = Path::new(BASELINES);
    match folder.is_dir() {
        true => folder.join(name),
        false => PathBuf::from(name),
    }
}

/// A time as part of a file's name, such as `20260301T120000Z`.
fn stamp(time: SystemTime) -> String {
    let mut stamp: String = rfc3339(time)
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .take_while(|c| *c != '.')
        .collect();
    stamp.push('Z');
    stamp
}

/// What a sitting leaves.
struct Files {
    results: PathBuf,
    /// The page of the results; none of a baseline, nor of results whose own name ends so.
    page: Option<PathBuf>,
}

impl Files {
    /// Those beside the results in `out`; writes the page.
    fn of(out: &Path, is_baseline: bool) -> Result<Files, CliError> {
        let page = Some(out.with_extension("html")).filter(|page| !is_baseline && page != out);
        if let Some(page) = &page {
            super::page::write(&[out.to_owned()], page)?;
        }
        Ok(Files {
            results: out.to_owned(),
            page,
        })
    }
}

fn answer(summaries: &[Summary], files: Option<&Files>, elapsed: Duration, context: &Context) -> Result<(), CliError> {
    let value = serde_json::json!({
        "file": files.map(|files| &files.results), "page": files.and_then(|files| files.page.as_ref()),
        "seconds": elapsed.as_secs_f64(), "workloads": summaries,
    });
    let mut table = Table::new(["WORKLOAD", "TOOK", "FIRST ROWS", "VALUE", "UNIT"]);
    for summary in summaries {
        let took = summary
            .seconds
            .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"));
        let said = match (&summary.error, &summary.left_out) {
            (Some(error), _) => Some(format!("failed: {error}")),
            (_, Some(why)) => Some(format!("left out: {why}")),
            _ => None,
        };
        let mut lines: Vec<[String; 3]> = said
            .map(|said| [said, String::new(), String::new()])
            .into_iter()
            .collect();
        lines.extend(summary.first.iter().cloned());
        for (place, [row, value, unit]) in lines.into_iter().enumerate() {
            let head = match place {
                0 => [summary.workload.to_owned(), took.clone()],
                _ => [String::new(), String::new()],
            };
            let [workload, took] = head;
            table.row([workload, took, row, value, unit]);
        }
    }
    let seconds = elapsed.as_secs_f64();
    let end = match files {
        Some(Files { results, page: None }) => {
            format!("{seconds:.0} s in all; the results are in {}", results.display())
        }
        Some(Files {
            results,
            page: Some(page),
        }) => format!(
            "{seconds:.0} s in all; the results are in {}, to be looked at in {}",
            results.display(),
            page.display()
        ),
        None => format!("{seconds:.0} s in all; there are no results"),
    };
    context.answer(&value, format_args!("{table}\n{end}"))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_file_is_named_after_the_second_in_utc() {
        assert_eq!(
            stamp(UNIX_EPOCH + Duration::from_millis(951_782_399_750)),
            "20000228T235959Z"
        );
    }

    #[test]
    fn workloads_are_left_out_with_the_reason() {
        let no = Err("none here".to_owned());
        let run = |id, budget, seconds| {
            left_out(
                super::super::find(id).unwrap(),
                &no,
                budget,
                Duration::from_secs(seconds),
            )
        };
        assert_eq!(run("B16", None, 0).as_deref(), Some("none here"));
        assert_eq!(run("B3", Some(60), 59), None);
        assert!(run("B3", Some(60), 60).is_some_and(|why| why.contains("--budget 60 s")));
    }

    #[test]
    fn the_workloads_that_are_named_run_in_the_order_of_the_table() {
        let ids = |only: &[&str]| -> Vec<&str> {
            let only: Vec<String> = only.iter().map(|id| (*id).to_owned()).collect();
            chosen(&only).unwrap().iter().map(|workload| workload.id).collect()
        };
        assert_eq!(ids(&["b8", "B3"]), ["B3", "B8"]);
        assert_eq!(ids(&[]).len(), workloads().len());
        assert!(chosen(&["B99".to_owned()]).is_err());
    }
}
