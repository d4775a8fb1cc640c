//! Workloads one after the other: progress while each runs, a file that holds all that have ended, and the way out by
//! Ctrl-C.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use queenright_bench::interrupt::interrupt;
use queenright_bench::report::Report;
use queenright_bench::results::Results;
use queenright_bench::workloads::{Needs, Workload};
use queenright_bench::{BenchError, Options};

use crate::commands::replay::stop_signals;
use crate::commands::{CliError, Context};
use crate::exit::Exit;
use crate::up::{StopCause, StopSignals};

/// How long a workload that is broken off may take to stop its cluster, or to remove a file.
const CLUSTER_ENDS_WITHIN: Duration = Duration::from_secs(60);
const FILE_ENDS_WITHIN: Duration = Duration::from_secs(2);
/// How often the line of progress is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(200);

/// One sitting. From its beginning on a signal does not end this process by itself.
pub(super) struct Sitting<'c> {
    context: &'c Context,
    stop: StopSignals,
    started: Instant,
    out: Option<PathBuf>,
    results: Results,
}

/// How a workload ended.
pub(super) enum Ended {
    /// With a report, which is in the file now.
    Done(Box<Report>),
    /// Without.
    Failed(CliError),
    /// It was broken off; what its cluster was is gone.
    Interrupted(StopCause),
}

impl<'c> Sitting<'c> {
    /// Begins one that keeps its results in `out`.
    ///
    /// # Errors
    /// [`CliError`] when a file could not be made there: that is known before hours have passed.
    pub(super) fn begin(context: &'c Context, out: Option<PathBuf>) -> Result<Sitting<'c>, CliError> {
        if let Some(out) = &out {
            may_be_written(out)?;
        }
        Ok(Sitting {
            context,
            stop: stop_signals()?,
            started: Instant::now(),
            out,
            results: Results::new(Vec::new()),
        })
    }

    /// Since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs a workload, the first number of so many, and keeps its report; how it ended, and how long it took.
    ///
    /// # Errors
    /// [`CliError::Failed`] when the file cannot be written.
    pub(super) async fn run(
        &mut self,
        place: (usize, usize),
        workload: &'static Workload,
        options: &Options,
    ) -> Result<(Ended, Duration), CliError> {
        let progress = Progress::begin(self.context, place, workload);
        let began = Instant::now();
        let (run, given) = (workload.run, options.clone());
        let mut job = tokio::task::spawn_blocking(move || run(&given));
        let (ended, cause) = tokio::select! {
            // First: a cluster that Ctrl-C has ended as well makes its workload fail.
            biased;
            cause = self.stop.next() => (self.broken_off(workload, &mut job).await, Some(cause)),
            ended = &mut job => (Some(ended), None),
        };
        let took = began.elapsed();
        progress.end(self.context, took);
        let ended = match (ended, cause) {
            (Some(Ok(Ok(report))), cause) => {
                self.results.reports.push(report.clone());
                self.write()?;
                match cause {
                    None => Ended::Done(Box::new(report)),
                    Some(cause) => Ended::Interrupted(cause),
                }
            }
            (_, Some(cause)) => Ended::Interrupted(cause),
            (Some(Ok(Err(error))), None) => Ended::Failed(self.failed(workload, &options.data, error)),
            (Some(Err(error)), None) => Ended::Failed(failed(workload.id, error)),
            (None, None) => unreachable!("a workload that was not broken off has ended"),
        };
        Ok((ended, took))
    }

    /// Breaks off a workload and waits for its end, as long as that matters, or for a second signal.
    async fn broken_off(
        &mut self,
        workload: &Workload,
        job: &mut tokio::task::JoinHandle<Result<Report, BenchError>>,
    ) -> Option<Result<Result<Report, BenchError>, tokio::task::JoinError>> {
        interrupt();
        let within = match workload.needs {
            // Its thread ends with this process.
            Needs::Nothing => Duration::ZERO,
            Needs::Disk => FILE_ENDS_WITHIN,
            Needs::Cluster | Needs::Repository => CLUSTER_ENDS_WITHIN,
        };
        tokio::select! {
            ended = tokio::time::timeout(within, job) => ended.ok(),
            _ = self.stop.next() => None,
        }
    }

    fn failed(&self, workload: &Workload, data: &Path, error: BenchError) -> CliError {
        if workload.needs != Needs::Nothing {
            self.context
                .note(format_args!("what the run has left is in {}", data.display()));
        }
        failed(workload.id, error)
    }

    /// The error of a sitting that was broken off during a workload.
    pub(super) fn interrupted(&self, id: &str, cause: StopCause) -> CliError {
        let kept = match (&self.out, self.results.reports.len()) {
            (_, 0) => "nothing was measured".to_owned(),
            (Some(out), ended) => format!("{ended} ended and are in {}", out.display()),
            (None, ended) => format!("{ended} ended"),
        };
        CliError::Refused {
            exit: Exit::Error,
            code: "INTERRUPTED".to_owned(),
            message: format!("{cause} during {id}; {kept}"),
        }
    }

    fn write(&self) -> Result<(), CliError> {
        let Some(out) = &self.out else {
            return Ok(());
        };
        self.results.write(out).map_err(|error| CliError::Failed {
            message: "cannot keep the results".to_owned(),
            source: error.into(),
        })
    }
}

fn failed(id: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CliError {
    CliError::Failed {
        message: format!("workload {id}"),
        source: source.into(),
    }
}

/// Whether a file can be made there.
fn may_be_written(out: &Path) -> Result<(), CliError> {
    if out.is_dir() {
        return Err(CliError::Usage(format!("--out {}: it is a folder", out.display())));
    }
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match tempfile::NamedTempFile::new_in(folder) {
        Ok(_) => Ok(()),
        Err(error) => Err(CliError::Usage(format!(
            "--out {}: no file can be made in that folder: {error}",
            out.display()
        ))),
    }
}

/// Which workload runs: on a terminal a line that is redrawn, else one at its beginning and one at its end.
struct Progress {
    bar: Option<ProgressBar>,
    id: &'static str,
}

impl Progress {
    fn begin(context: &Context, (place, of): (usize, usize), workload: &'static Workload) -> Progress {
        let what = format!("running {} ({place} of {of}): {}", workload.id, workload.title);
        let bar = context.shows_progress().then(|| {
            let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}");
            let bar = ProgressBar::new_spinner()
                .with_style(style.expect("the template is a constant"))
                .with_message(what.clone());
            bar.enable_steady_tick(DRAWN_EVERY);
            bar
        });
        if bar.is_none() {
            context.note(what);
        }
        Progress { bar, id: workload.id }
    }

    fn end(self, context: &Context, took: Duration) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        context.note(format_args!("{} took {:.1} s", self.id, took.as_secs_f64()));
    }
}
