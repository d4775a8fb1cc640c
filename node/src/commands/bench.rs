//! `queenright bench`: workloads, measured here and now.

mod drive;
mod topologies;

use queenright_bench::{BenchError, Options, workloads};

use super::{CliError, Context};
use crate::cli::BenchCommand;
use crate::exit::Exit;

/// Runs or lists workloads.
///
/// # Errors
/// [`CliError`]: no such workload, or one of them failed or found a wrong result.
pub async fn run(command: BenchCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        BenchCommand::List => list(context),
        BenchCommand::Drive(args) => drive::run(*args, context).await,
        BenchCommand::Topologies(args) => topologies::run(*args, context).await,
        BenchCommand::Run {
            workloads: ids,
            seed,
            data,
            repeats,
            churn,
            repo,
        } => {
            let chosen: Vec<_> = ids.iter().map(|id| find(id)).collect::<Result<_, _>>()?;
            let folder = match data {
                Some(folder) => folder,
                None => super::build_folder()?.join("queenright-bench"),
            };
            std::fs::create_dir_all(&folder).map_err(|source| CliError::Failed {
                message: format!("cannot create {}", folder.display()),
                source: source.into(),
            })?;
            for workload in chosen {
                context.note(format_args!("running {}: {}", workload.id, workload.title));
                let full = Options::full(folder.clone());
                let options = Options {
                    seed,
                    repeats: repeats.unwrap_or(full.repeats),
                    cluster_repeats: repeats.unwrap_or(full.cluster_repeats),
                    repository: repo.clone(),
                    churn_ms: churn * 1_000,
                    ..full
                };
                let run = workload.run;
                let report = tokio::task::spawn_blocking(move || run(&options)).await;
                let report = report.map_err(|error| failed(workload.id, error))?;
                let report = report.map_err(|error: BenchError| {
                    context.note(format_args!("what the run has left is in {}", folder.display()));
                    failed(workload.id, error)
                })?;
                context.answer(&report, &report)?;
            }
            Ok(Exit::Ok)
        }
    }
}

fn failed(id: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CliError {
    CliError::Failed {
        message: format!("workload {id}"),
        source: source.into(),
    }
}

fn find(id: &str) -> Result<&'static workloads::Workload, CliError> {
    workloads::workload(id).ok_or_else(|| {
        let known: Vec<&str> = workloads::workloads().iter().map(|workload| workload.id).collect();
        CliError::Usage(format!("no workload is called {id:?} (known: {})", known.join(", ")))
    })
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
