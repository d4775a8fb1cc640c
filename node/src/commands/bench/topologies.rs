//! `queenright bench topologies`: the same loads over each topology, measured or simulated.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use queenright_bench::Options;
use queenright_bench::hosts::{self, Weather};
use queenright_bench::report::Report;
use queenright_bench::results::Results;
use queenright_bench::topologies::simulation::Simulation;
use queenright_bench::topologies::table::SideBySide;
use queenright_bench::topologies::{ID, Plan, PlanError, Progress, compare};

use super::super::replay::stop_signals;
use super::super::{CliError, Context};
use super::{data_folder, failed};
use crate::cli::TopologiesArgs;
use crate::exit::Exit;

/// Compares or simulates topologies.
///
/// # Errors
/// [`CliError`] says what cannot be, could not be started or was wrong.
pub(super) async fn run(args: TopologiesArgs, context: &Context) -> Result<Exit, CliError> {
    let report = if args.simulate {
        simulated(&args)?
    } else {
        match measured(&args, context).await? {
            Some(report) => report,
            None => {
                return Err(CliError::Refused {
                    exit: Exit::Error,
                    code: "INTERRUPTED".to_owned(),
                    message: "interrupted before anything was measured".to_owned(),
                });
            }
        }
    };
    if let Some(file) = &args.out {
        write(&report, file)?;
    }
    context.answer(&report, format_args!("{report}\n{}", SideBySide(&report)))?;
    Ok(Exit::Ok)
}

fn simulated(args: &TopologiesArgs) -> Result<Report, CliError> {
    let default = Simulation::default();
    let simulation = Simulation {
        nodes: args.nodes.unwrap_or(default.nodes),
        kinds: args.kinds.clone(),
        messages: args.messages,
        payload_bytes: args.payload,
        hop_us: args.hop_us,
        seed: args.seed,
    };
    simulation.check().map_err(|error| usage(&error))?;
    Ok(simulation.run())
}

fn plan(args: &TopologiesArgs) -> Plan {
    let default = Plan::default();
    let nodes = args.nodes.unwrap_or(default.nodes);
    Plan {
        nodes,
        kinds: args.kinds.clone(),
        agents: args.agents.unwrap_or(2 * nodes as u64),
        payload_bytes: args.payload,
        rates: args.rates.clone(),
        // What is no number, or below 0, is out of the bounds of a plan.
        work_ms: (args.seconds * 1e3) as u64,
        repeats: args.repeats,
        seed: args.seed,
        changes: !args.loads_only,
        weather: args.netns.then_some(Weather {
            delay: args.delay,
            loss_percent: args.loss,
        }),
    }
}

async fn measured(args: &TopologiesArgs, context: &Context) -> Result<Option<Report>, CliError> {
    let plan = plan(args);
    plan.check().map_err(|error| usage(&error))?;
    if let Some(weather) = plan.weather {
        hosts::check(plan.nodes, weather).map_err(|error| CliError::Usage(format!("--{error}")))?;
        hosts::may_be().map_err(|source| CliError::Failed {
            message: "--netns".to_owned(),
            source: source.into(),
        })?;
    }
    let folder = data_folder(args.data.clone())?;
    let options = Options {
        seed: plan.seed,
        ..Options::full(folder.clone())
    };
    let mut stop = stop_signals()?;
    let bar = Bar::new(context);
    let compared = compare(&plan, &options, |progress| bar.shows(&progress), async {
        let cause = stop.next().await;
        context.note(format_args!("{cause}: what was measured until now is reported"));
    })
    .await;
    bar.clear();
    compared.map_err(|error| {
        context.note(format_args!("what the run has left is in {}", folder.display()));
        failed(ID, error)
    })
}

/// A problem of a plan, with the flag that its field comes from.
pub(super) fn usage(error: &PlanError) -> CliError {
    let (PlanError::Bound { field, .. } | PlanError::Twice { field, .. }) = error;
    let flag = match *field {
        "number of kinds" => "--kinds",
        "number of rates" => "--rates",
        "milliseconds" => "--seconds",
        "hop" => "--hop-us",
        "nodes that answer" => return CliError::Usage(error.to_string()),
        _ => return CliError::Usage(format!("--{error}")),
    };
    CliError::Usage(format!("{flag}: {error}"))
}

/// Writes a report to a file of results.
pub(super) fn write(report: &Report, file: &Path) -> Result<(), CliError> {
    let results = Results::new(vec![report.clone()]);
    results.write(file).map_err(|source| CliError::Failed {
        message: "--out".to_owned(),
        source: source.into(),
    })
}

/// A bar of progress, or a line for each cluster where no bar can be drawn.
pub(super) struct Bar<'a> {
    bar: ProgressBar,
    context: &'a Context,
}

impl<'a> Bar<'a> {
    pub(super) fn new(context: &'a Context) -> Bar<'a> {
        let bar = match context.shows_progress() {
            true => ProgressBar::no_length(),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {elapsed}");
        bar.set_style(style.expect("the template is a constant"));
        Bar { bar, context }
    }

    pub(super) fn shows(&self, progress: &Progress) {
        self.bar.set_length(progress.of);
        self.bar.set_position(progress.done);
        self.bar.set_message(progress.what.clone());
        if let Some(cluster) = progress.what.strip_suffix(": start")
            && !self.context.shows_progress()
        {
            self.context.note(format_args!("measuring {cluster}"));
        }
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
