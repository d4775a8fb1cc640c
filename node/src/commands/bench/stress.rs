//! `queenright bench stress`: a cluster under mixed load.

use std::path::Path;

use queenright_bench::Options;
use queenright_bench::stress::Stress;

use super::{data_folder, failed, keep};
use crate::cli::StressArgs;
use crate::commands::replay::stop_signals;
use crate::commands::{CliError, Context};
use crate::config::ClusterConfig;
use crate::exit::Exit;

/// Says each second, and the report at the end.
///
/// # Errors
/// [`CliError`]: a setting that no cluster file may have, or a promise that was not kept.
pub(super) async fn run(args: StressArgs, context: &Context) -> Result<Exit, CliError> {
    let shape = args.shape.shape();
    // The program's own check, on a file like the one that the run will have.
    let checked = ClusterConfig::parse(Path::new("--set"), &shape.example(&args.settings));
    checked.map_err(|error| CliError::Usage(error.to_string()))?;
    let stress = Stress {
        agents: args.agents,
        ramp_up: args.ramp_up,
        duration: args.duration,
        shape,
    };
    let options = Options {
        seed: args.seed,
        settings: args.settings,
        ..Options::full(data_folder(args.place.data)?)
    };
    let mut signals = stop_signals()?;
    let (tell, told) = tokio::sync::oneshot::channel();
    let again = async move {
        signals.next().await;
        // Nobody listens once the run is over.
        let _ = tell.send(());
        signals.next().await
    };
    let stop = async {
        let _ = told.await;
    };
    let report = tokio::select! {
        report = stress.run(&options, stop, |second| context.note(second)) => report,
        _ = again => return Err(failed("stress", "ended before it was checked what became of the load")),
    };
    let report = report.map_err(|error| failed("stress", error))?;
    keep(args.place.out.as_ref(), vec![report.clone()])?;
    context.answer(&report, &report)?;
    Ok(Exit::Ok)
}
