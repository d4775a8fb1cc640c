//! `queenright replay`: the commits of a repository as the work of a swarm, on a cluster that runs already.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use queenright_bench::client::{Client, ClientOptions};

use super::door::Way;
use super::{CliError, Context, door};
use crate::cli::ReplayArgs;
use crate::config::ClusterConfig;
use crate::exit::Exit;
use crate::replay::{Job, JobOptions, Phase, Progress, ReplayError, Report};
use crate::state::{Door, StateFolders};
use crate::up::StopSignals;

/// Who loads a history, in the records.
const AUTHOR: &str = "replay";

/// Replays a repository and says whether every node ends with git's tree.
///
/// # Errors
/// [`CliError`]: the repository cannot be read, the cluster is not there, or the replay could not go on.
pub async fn run(args: ReplayArgs, context: &Context) -> Result<Exit, CliError> {
    if args.agents == 0 {
        return Err(CliError::Usage("--agents: 0 is below 1".to_owned()));
    }
    let nodes = match &args.cluster {
        Some(file) => of_file(&ClusterConfig::load(file)?, &args)?,
        None => of_door(&args).await?,
    };
    let job = Job::prepare(JobOptions {
        title: args.repo.display().to_string(),
        repository: args.repo,
        revision: args.revision,
        commits: args.commits,
        agents: args.agents,
        nodes,
        project: args.target.project,
        dump: args.dump,
        panic_every: args.panic_every,
    })
    .await?;
    let report = carry_out(&job, &mut stop_signals()?, context).await?;
    finish(&report, context)
}

/// Runs a job with a bar of progress, until it is done or Ctrl-C.
pub(super) async fn carry_out(job: &Job, stop: &mut StopSignals, context: &Context) -> Result<Report, CliError> {
    let bar = Bar::new(context);
    let report = job
        .run(&bar, async {
            let _ = stop.next().await;
        })
        .await;
    bar.clear();
    Ok(report?)
}

/// From here on a signal does not end this process by itself.
pub(super) fn stop_signals() -> Result<StopSignals, CliError> {
    StopSignals::listen().map_err(|source| CliError::Failed {
        message: "cannot listen for signals".to_owned(),
        source: source.into(),
    })
}

/// Prints a report; the exit code says whether all nodes are equal.
pub(super) fn finish(report: &Report, context: &Context) -> Result<Exit, CliError> {
    context.answer(report, report)?;
    Ok(if report.equal { Exit::Ok } else { Exit::Error })
}

fn options(args: &ReplayArgs) -> ClientOptions {
    ClientOptions {
        project: args.target.project.clone(),
        agent: AUTHOR.to_owned(),
        timeout: args.target.client.timeout,
        ..ClientOptions::default()
    }
}

fn of_file(config: &ClusterConfig, args: &ReplayArgs) -> Result<Vec<(String, Client)>, CliError> {
    let of_host = StateFolders::find(&config.name, None).map(|folders| folders.cluster.admin_token_path());
    let way = Way::of_file(config, &args.target.client.access, of_host.ok().as_deref())?;
    nodes_of(config, way.options(options(args)))
}

/// The doors of all nodes of a cluster file.
pub(super) fn nodes_of(config: &ClusterConfig, options: ClientOptions) -> Result<Vec<(String, Client)>, CliError> {
    let doors = config.nodes.iter().map(|node| {
        let door = Door::parse(&node.http_advertised())?.in_tls(config.tls.is_some());
        let client = Client::new(&door.url(""), options.clone())?;
        Ok((node.name.clone(), client))
    });
    doors.collect()
}

/// The doors of all nodes of the cluster that the local node belongs to.
async fn of_door(args: &ReplayArgs) -> Result<Vec<(String, Client)>, CliError> {
    let (door, way) = door::find(&args.target.client)?;
    let options = way.options(options(args));
    let status = Client::new(&door.url(""), options.clone())?
        .status()
        .await
        .map_err(door::of_read)?;
    let doors = status.nodes.iter().map(|node| {
        let door = Door::parse(&node.http)?.in_tls(way.in_tls());
        let client = Client::new(&door.url(""), options.clone())?;
        Ok((node.name.clone(), client))
    });
    doors.collect()
}

impl From<ReplayError> for CliError {
    fn from(error: ReplayError) -> CliError {
        match error {
            ReplayError::Client(error) => error.into(),
            ReplayError::NoNode => CliError::Refused {
                exit: Exit::Unavailable,
                code: "UNAVAILABLE".to_owned(),
                message: ReplayError::NoNode.to_string(),
            },
            ReplayError::OtherHistory { .. } => CliError::Refused {
                exit: Exit::Conflict,
                code: "OTHER_HISTORY".to_owned(),
                message: error.to_string(),
            },
            error => CliError::Failed {
                message: "the replay did not end".to_owned(),
                source: error.into(),
            },
        }
    }
}

/// A bar for each phase, on stderr.
struct Bar {
    shown: bool,
    // A mutex: the job tells its progress from several tasks. Held to draw.
    bar: Mutex<ProgressBar>,
}

impl Bar {
    fn new(context: &Context) -> Bar {
        Bar {
            shown: context.shows_progress(),
            bar: Mutex::new(ProgressBar::hidden()),
        }
    }

    fn clear(&self) {
        self.bar
            .lock()
            .expect("nothing panics under this lock")
            .finish_and_clear();
    }
}

impl Progress for Bar {
    fn phase(&self, phase: Phase, total: u64) {
        if !self.shown {
            return;
        }
        let name = match phase {
            Phase::Contents => "contents",
            Phase::Tasks => "tasks",
            Phase::Commits => "commits",
            Phase::Nodes => "nodes",
        };
        let style = ProgressStyle::with_template("{msg:9} [{bar:40}] {pos}/{len} {per_sec} {eta}");
        let style = style.expect("the template is a constant").progress_chars("=> ");
        let bar = ProgressBar::new(total).with_style(style).with_message(name);
        let mut shown = self.bar.lock().expect("nothing panics under this lock");
        shown.finish_and_clear();
        *shown = bar;
    }

    fn advance(&self, steps: u64) {
        self.bar.lock().expect("nothing panics under this lock").inc(steps);
    }
}
