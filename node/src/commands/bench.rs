//! `queenright bench`: workloads, measured here and now; results that are kept, compared and followed.

mod ab;
mod all;
mod claims;
mod compare;
mod drive;
mod page;
mod peers;
mod profile;
mod ramp;
mod run;
mod sitting;
mod stress;
mod topologies;
mod trend;

use std::path::{Path, PathBuf};

use queenright_bench::report::Report;
use queenright_bench::results::Results;
use queenright_bench::{Options, workloads};

use super::{CliError, Context};
use crate::cli::BenchCommand;
use crate::exit::Exit;

/// Runs or lists workloads, or looks at what was kept of them.
///
/// # Errors
/// [`CliError`]: no such workload, one of them failed or found a wrong result, or results are worse than others.
pub async fn run(command: BenchCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        BenchCommand::List => list(context),
        BenchCommand::Ab(args) => ab::run(args, context).await,
        BenchCommand::Peers(args) => peers::run(args, context).await,
        BenchCommand::PeerTcp => peers::serve_tcp().await,
        BenchCommand::Ramp(args) => ramp::run(args, context).await,
        BenchCommand::Stress(args) => stress::run(args, context).await,
        BenchCommand::All(args) => all::run(args, context).await,
        BenchCommand::Compare(args) => compare::run(&args, context),
        BenchCommand::Trend(args) => trend::run(&args, context),
        BenchCommand::Claims(args) => claims::run(&args, context),
        BenchCommand::Page(args) => page::run(&args, context),
        BenchCommand::Drive(args) => drive::run(*args, context).await,
        BenchCommand::Topologies(args) => topologies::run(*args, context).await,
        BenchCommand::Run {
            workloads,
            out,
            seed,
            data,
            repeats,
            churn,
            repo,
            profile,
        } => {
            let chosen: Vec<_> = workloads.iter().map(|id| find(id)).collect::<Result<_, _>>()?;
            if let Some(svg) = profile.filter(|_| !profile::is_inside()) {
                return profile::around(&svg, context);
            }
            let sizes = run::Sizes {
                seed,
                repeats,
                churn_ms: churn * 1_000,
                repository: repo,
            };
            run::run(&chosen, &data_folder(data)?, out, &sizes, context).await
        }
    }
}

/// Where clusters keep their state and workloads measure the disk: there from now on. Results name it, so it is named from
/// the working folder where it lies below that.
fn data_folder(data: Option<PathBuf>) -> Result<PathBuf, CliError> {
    let folder = match data {
        Some(folder) => folder,
        None => {
            let folder = super::build_folder()?.join("queenright-bench");
            let below = super::here()
                .ok()
                .and_then(|here| folder.strip_prefix(here).ok().map(PathBuf::from));
            below.unwrap_or(folder)
        }
    };
    match std::fs::create_dir_all(&folder) {
        Ok(()) => Ok(folder),
        Err(source) => Err(CliError::Failed {
            message: format!("cannot create {}", folder.display()),
            source: source.into(),
        }),
    }
}

/// The same run with shorter loads and fewer samples, for a look at what it does.
fn scaled(full: Options, scale: f64) -> Options {
    let sized = |size: u64| ((size as f64 * scale) as u64).max(1);
    Options {
        syncs: sized(full.syncs.into()) as u32,
        load_ms: sized(full.load_ms).max(20),
        gets: sized(full.gets.into()) as u32,
        signals: sized(full.signals),
        calls: sized(full.calls),
        saturated_ms: sized(full.saturated_ms).max(20),
        steady_ms: sized(full.steady_ms).max(20),
        churn_ms: sized(full.churn_ms).max(20),
        ..full
    }
}

/// Writes results to the file that was named, if one was.
fn keep(out: Option<&PathBuf>, reports: Vec<Report>) -> Result<(), CliError> {
    let Some(path) = out else { return Ok(()) };
    Results::new(reports).write(path).map_err(|source| CliError::Failed {
        message: "the results were not kept".to_owned(),
        source: source.into(),
    })
}

fn failed(what: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CliError {
    CliError::Failed {
        message: format!("bench {what}"),
        source: source.into(),
    }
}

/// Results that the command line names.
fn read(path: &Path) -> Result<Results, CliError> {
    Results::read(path).map_err(|error| {
        let mut line = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            line.push_str(&format!(": {cause}"));
        }
        CliError::Usage(line)
    })
}

fn find(id: &str) -> Result<&'static workloads::Workload, CliError> {
    workloads::workload(id).ok_or_else(|| {
        let known: Vec<&str> = workloads::workloads().iter().map(|workload| workload.id).collect();
        CliError::Usage(format!("no workload is called {id:?} (known: {})", known.join(", ")))
    })
}

/// A share as a percentage with its sign.
fn percent(change: f64) -> String {
    format!("{:+.1} %", 100.0 * change)
}

fn list(context: &Context) -> Result<Exit, CliError> {
    let all = workloads::workloads();
    let values: Vec<_> = all
        .iter()
        .map(|workload| serde_json::json!({"id": workload.id, "title": workload.title}))
        .collect();
    let lines: Vec<String> = all
        .iter()
        .map(|workload| format!("{:<5}{}", workload.id, workload.title))
        .collect();
    context.answer(&values, lines.join("\n"))?;
    Ok(Exit::Ok)
}
