//! Workloads one after the other: progress while each runs, a file that holds all that have ended, and the way out by
//! Ctrl-C.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use queenright_bench::interrupt::interrupt;
use queenright_bench::repeated::{lacks_repeats, merged};
use queenright_bench::report::Report;
use queenright_bench::results::Results;
use queenright_bench::workloads::{Needs, Workload};
use queenright_bench::{BenchError, Options};
use tokio::task::{JoinError, JoinHandle};

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
    /// When no further run begins.
    until: Option<Instant>,
    out: Option<PathBuf>,
    results: Results,
}

/// What the thread of a workload gave.
type Gave = Result<Result<Report, BenchError>, JoinError>;

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
    /// Begins one that keeps its results in `out`, and begins no second run of a workload after `within`.
    ///
    /// # Errors
    /// [`CliError`] when a file could not be made there: that is known before hours have passed.
    pub(super) fn begin(
        context: &'c Context,
        out: Option<PathBuf>,
        within: Option<Duration>,
    ) -> Result<Sitting<'c>, CliError> {
        if let Some(out) = &out {
            may_be_written(out)?;
        }
        let started = Instant::now();
        Ok(Sitting {
            context,
            stop: stop_signals()?,
            started,
            until: within.map(|within| started + within),
            out,
            results: Results::new(Vec::new()),
        })
    }

    /// Since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs a workload, the first number of so many, and keeps its report; how it ended, and how long it took. One that
    /// measures things once in a run is run up to `runs` times, and its runs become one report.
    ///
    /// # Errors
    /// [`CliError::Failed`] when the file cannot be written.
    pub(super) async fn run(
        &mut self,
        place: (usize, usize),
        workload: &'static Workload,
        options: &Options,
        runs: u32,
    ) -> Result<(Ended, Duration), CliError> {
        let began = Instant::now();
        let mut reports = Vec::new();
        loop {
            let (ended, cause) = self.once(place, (reports.len() + 1, runs), workload, options).await;
            let report = match (ended, cause) {
                (Some(Ok(Ok(report))), _) => report,
                (_, Some(cause)) => return Ok((Ended::Interrupted(cause), began.elapsed())),
                (Some(Ok(Err(error))), None) => {
                    let error = self.failed(workload, &options.data, error);
                    return Ok((Ended::Failed(error), began.elapsed()));
                }
                (Some(Err(error)), None) => return Ok((Ended::Failed(failed(workload.id, error)), began.elapsed())),
                (None, None) => unreachable!("a workload that was not broken off has ended"),
            };
            if !reports.is_empty() {
                self.results.reports.pop();
            }
            reports.push(report);
            let merged = merged(&reports).expect("there is one at least");
            self.results.reports.push(merged.clone());
            self.write()?;
            if let Some(cause) = cause {
                return Ok((Ended::Interrupted(cause), began.elapsed()));
            }
            let is_late = self.until.is_some_and(|until| Instant::now() >= until);
            if reports.len() as u32 >= runs || !lacks_repeats(&reports[0]) || is_late {
                return Ok((Ended::Done(Box::new(merged)), began.elapsed()));
            }
        }
    }

    /// Runs a workload once. Without what it gave it was broken off and did not end in time.
    async fn once(
        &mut self,
        place: (usize, usize),
        run: (usize, u32),
        workload: &'static Workload,
        options: &Options,
    ) -> (Option<Gave>, Option<StopCause>) {
        let progress = Progress::begin(self.context, place, run, workload);
        let (work, given) = (workload.run, options.clone());
        let mut job = tokio::task::spawn_blocking(move || work(&given));
        let ended = tokio::select! {
            // First: a cluster that Ctrl-C has ended as well makes its workload fail.
            biased;
            cause = self.stop.next() => (self.broken_off(workload, &mut job).await, Some(cause)),
            gave = &mut job => (Some(gave), None),
        };
        progress.end(self.context);
        ended
    }

    /// Breaks off a workload and waits for its end, as long as that matters, or for a second signal.
    async fn broken_off(
        &mut self,
        workload: &Workload,
        job: &mut JoinHandle<Result<Report, BenchError>>,
    ) -> Option<Gave> {
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
    began: Instant,
}

impl Progress {
    fn begin(
        context: &Context,
        (place, of): (usize, usize),
        (run, runs): (usize, u32),
        workload: &'static Workload,
    ) -> Progress {
        let run = match run {
            1 => String::new(),
            _ => format!(", run {run} of {runs}"),
        };
        let what = format!("running {} ({place} of {of}{run}): {}", workload.id, workload.title);
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
        Progress {
            bar,
            id: workload.id,
            began: Instant::now(),
        }
    }

    fn end(self, context: &Context) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        context.note(format_args!(
            "{} took {:.1} s",
            self.id,
            self.began.elapsed().as_secs_f64()
        ));
    }
}
