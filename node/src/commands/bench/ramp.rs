//! `queenright bench ramp`: the highest rate that holds.

use queenright_bench::Options;
use queenright_bench::ramp::Ramp;

use super::{data_folder, failed, keep};
use crate::cli::RampArgs;
use crate::commands::replay::stop_signals;
use crate::commands::{CliError, Context};
use crate::exit::Exit;

/// Says each step as it is made, and the report at the end.
///
/// # Errors
/// [`CliError`].
pub(super) async fn run(args: RampArgs, context: &Context) -> Result<Exit, CliError> {
    if args.to < args.from {
        return Err(CliError::Usage(format!(
            "--to: {} is below --from = {}",
            args.to, args.from
        )));
    }
    let ramp = Ramp {
        offered: args.workload,
        p99: args.p99,
        from: args.from,
        to: args.to,
        measured: args.seconds,
        shape: args.shape.shape(),
    };
    let options = Options::full(data_folder(args.place.data)?);
    let mut signals = stop_signals()?;
    let stop = async move {
        let _ = signals.next().await;
    };
    let report = ramp.run(&options, stop, |step| context.note(step)).await;
    let report = report.map_err(|error| failed("ramp", error))?;
    if report.rows.is_empty() {
        return Err(failed("ramp", "ended before the first step was complete"));
    }
    keep(args.place.out.as_ref(), vec![report.clone()])?;
    context.answer(&report, &report)?;
    Ok(Exit::Ok)
}
