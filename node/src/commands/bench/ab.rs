//! `queenright bench ab`: a workload under two settings.

use std::path::Path;
use std::time::Instant;

use queenright_bench::Options;
use queenright_bench::ab::{Experiment, Side};
use queenright_bench::interrupt::interrupt;
use queenright_bench::rig::Shape;

use super::{data_folder, failed, find, keep, scaled};
use crate::cli::AbArgs;
use crate::commands::replay::stop_signals;
use crate::commands::{CliError, Context};
use crate::config::ClusterConfig;
use crate::exit::Exit;

/// Runs all pairs, or those that are complete when Ctrl-C comes, and prints what differs.
///
/// # Errors
/// [`CliError`]: a setting that no cluster file may have, no such workload, or a run that failed.
pub(super) async fn run(args: AbArgs, context: &Context) -> Result<Exit, CliError> {
    let workload = find(&args.workload)?;
    let usage = |error: &dyn std::fmt::Display| CliError::Usage(error.to_string());
    let mut experiment = Experiment::new(workload, args.a, args.b, args.pairs).map_err(|error| usage(&error))?;
    for side in [Side::A, Side::B] {
        // The program's own check, on a file like those that the runs will have.
        let text = Shape::default().example(experiment.settings(side));
        ClusterConfig::parse(Path::new(&format!("side {side}")), &text).map_err(|error| usage(&error))?;
    }
    let folder = data_folder(args.place.data)?;
    let base = Options {
        seed: args.seed,
        repeats: 1,
        cluster_repeats: 1,
        agents_max: args.agents,
        ..scaled(Options::full(folder), args.scale)
    };
    let mut stop = stop_signals()?;
    while let Some((side, pair)) = experiment.next() {
        let started = Instant::now();
        let options = Options {
            settings: experiment.settings(side).to_vec(),
            ..base.clone()
        };
        let run = workload.run;
        let mut running = tokio::task::spawn_blocking(move || run(&options));
        let report = tokio::select! {
            biased;
            _ = stop.next() => {
                context.note(format_args!("ended in pair {pair} of {}", args.pairs));
                // Its cluster ends first; a second signal does not wait for that.
                interrupt();
                tokio::select! {
                    _ = &mut running => {}
                    _ = stop.next() => {}
                }
                break;
            }
            report = &mut running => report,
        };
        let report = report.map_err(|error| failed(workload.id, error))?;
        experiment.done(
            side,
            report.map_err(|error| failed(&format!("{} with side {side}", workload.id), error))?,
        );
        let took = started.elapsed().as_secs_f64();
        context.note(format_args!("pair {pair} of {}: {side} took {took:.1} s", args.pairs));
    }
    let comparison = experiment.report().ok_or_else(|| CliError::Failed {
        message: "bench ab".to_owned(),
        source: "ended before the first pair was complete".into(),
    })?;
    let report = comparison.report();
    keep(args.place.out.as_ref(), vec![report.clone()])?;
    context.answer(&report, comparison)?;
    Ok(Exit::Ok)
}
