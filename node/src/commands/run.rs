//! `queenright run`: any program as a worker.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use queenright_actors::process::{self, End};
use queenright_bench::client::wire::sorted;
use queenright_bench::client::{Client, ClientOptions};
use queenright_protocol::colony::{SESSION_TTL_MS_MAX, SESSION_TTL_MS_MIN};
use tokio::sync::{mpsc, watch};

use super::door::{Way, named, of_read};
use super::table::shown;
use super::{CliError, Context};
use crate::cli::RunArgs;
use crate::exit::Exit;
use crate::state::{Door, Registry};
use crate::up::StopSignals;
use crate::worker::{Commands, Doors, Happening, How, Plan, Summary, Wanted, Work, Worker, WorkerError, this_program};

/// How long one request may take before it is repeated at another door: longer than an election.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The range of a session's time to live, in milliseconds.
const LEASE: RangeInclusive<u64> = SESSION_TTL_MS_MIN..=SESSION_TTL_MS_MAX;

/// Runs a worker until it is told to end, or its work is over.
///
/// # Errors
/// [`CliError`]: the command is not there, no node answers at the start, or the cluster refuses its claims.
pub async fn run(args: RunArgs, context: &Context) -> Result<Exit, CliError> {
    if !LEASE.contains(&(args.takes.lease.as_millis() as u64)) {
        let (lease, least, most) = (
            args.takes.lease.as_secs_f64(),
            LEASE.start() / 1_000,
            LEASE.end() / 1_000,
        );
        return Err(CliError::Usage(format!(
            "--lease: {lease} is not within {least} to {most}"
        )));
    }
    // A command that is not there would fail every task.
    let program = Path::new(args.command.first().expect("clap demands it"));
    process::find_program(program).map_err(|source| CliError::Failed {
        message: format!("cannot run {}", program.display()),
        source: source.into(),
    })?;
    let doors = doors(&args).await?;
    let failed = |message: &str, source: std::io::Error| CliError::Failed {
        message: message.to_owned(),
        source: source.into(),
    };
    let mut signals = StopSignals::listen().map_err(|source| failed("cannot listen for signals", source))?;
    let takes = args.takes;
    let plan = Plan {
        work: Work::Command(args.command),
        commands: Commands {
            guard: this_program().map_err(|source| failed("cannot find this program", source))?,
            time_limit: args.max_runtime,
            checks: true,
            ..Commands::default()
        },
        name: args.name,
        program: "queenright run",
        project: takes.tasks.project,
        wanted: Wanted {
            queue: takes.tasks.queue.map(Into::into),
            kinds: takes.tasks.kinds.into_iter().map(Into::into).collect(),
            capabilities: sorted(takes.tasks.capabilities.into_iter().map(Into::into).collect()),
            labels: sorted(takes.labels.into_iter().map(Into::into).collect()),
        },
        retry: takes.retry,
        concurrency: args.concurrency.into(),
        lease: takes.lease,
        grace: args.grace,
        max_tasks: args.max_tasks,
        exit_when_empty: args.exit_when_empty,
        idle_for: None,
    };
    let (stop, stops) = mpsc::channel(2);
    let forward = tokio::spawn(async move {
        loop {
            signals.next().await;
            // More than two say no more.
            let _ = stop.try_send(());
        }
    });
    let line = Arc::new(Line::new(context));
    let teller = line.clone();
    let worker = Worker::new(plan, doors, Box::new(move |happening| teller.tell(happening)));
    // Nobody pauses it: whoever could has gone.
    let pauses = watch::Sender::new(false).subscribe();
    let summary = worker.run(stops, pauses).await;
    forward.abort();
    line.bar.finish_and_clear();
    let summary = summary.map_err(|error| match error {
        WorkerError::Claim(error) => error.into(),
        WorkerError::Process(_) | WorkerError::Worktree(_) | WorkerError::Post(_) | WorkerError::Warm(_) => {
            CliError::Failed {
                message: "commands cannot be run here; the tasks were given back".to_owned(),
                source: error.into(),
            }
        }
    })?;
    context.answer(
        &serde_json::json!({ "event": "ended", "summary": summary }),
        text(&summary),
    )?;
    Ok(match summary.taken {
        0 => Exit::Nothing,
        _ => Exit::Ok,
    })
}

/// The doors that were named, or else those of all nodes of the one cluster that runs here, beginning with one that
/// answers.
async fn doors(args: &RunArgs) -> Result<Doors, CliError> {
    let client = |door: &Door, way: &Way| -> Result<Client, CliError> {
        let options = ClientOptions {
            project: args.takes.tasks.project.clone(),
            agent: args.name.clone(),
            timeout: REQUEST_TIMEOUT,
            ..ClientOptions::default()
        };
        Ok(Client::new(&door.url(""), way.options(options))?)
    };
    if args.nodes.is_empty() {
        let node = Registry::of_user()?.find()?;
        let way = Way::to(&args.access, Some(&node))?;
        let first = client(&node.door(), &way)?;
        let status = first.status().await.map_err(of_read)?;
        let others = status.nodes.iter().filter_map(|node| Door::parse(&node.http).ok());
        let others = others.map(|door| door.in_tls(way.in_tls()));
        let others = others.filter(|door| door.url("") != first.base_url());
        let others: Vec<Client> = others.map(|door| client(&door, &way)).collect::<Result<_, _>>()?;
        return Ok(Doors::new([vec![first], others].concat()));
    }
    let named: Result<Vec<Client>, CliError> = args
        .nodes
        .iter()
        .map(|node| named(node, &args.access).and_then(|(door, way)| client(&door, &way)))
        .collect();
    let mut clients = named?;
    let mut problem = None;
    for place in 0..clients.len() {
        match clients[place].status().await {
            Ok(_) => {
                clients.rotate_left(place);
                return Ok(Doors::new(clients));
            }
            Err(error) => problem = Some(error),
        }
    }
    Err(of_read(problem.expect("clap gives no empty list")))
}

/// What a worker says: one line that changes on a terminal, else a line for each thing that happens.
struct Line {
    context: Context,
    bar: ProgressBar,
    /// Attempts tell from several threads.
    now: Mutex<(u64, Summary)>,
}

impl Line {
    fn new(context: &Context) -> Line {
        let bar = match context.shows_progress() {
            true => {
                let style =
                    ProgressStyle::with_template("{spinner} {msg} [{elapsed}]").expect("a template that is tested");
                let bar = ProgressBar::new_spinner().with_style(style).with_message("no task yet");
                bar.enable_steady_tick(Duration::from_millis(200));
                bar
            }
            false => ProgressBar::hidden(),
        };
        Line {
            context: *context,
            bar,
            now: Mutex::default(),
        }
    }

    fn tell(&self, happening: &Happening<'_>) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let (running, summary) = &mut *now;
        summary.note(running, happening);
        self.bar.set_message(format!("{running} running, {}", counts(summary)));
        if self.context.json {
            // Whoever reads this may have gone; the work goes on.
            let _ = self.context.answer(happening, "");
        } else if !self.context.shows_progress() {
            self.context.note(line(happening));
        } else if !matches!(
            happening,
            Happening::Started { .. } | Happening::Finished { how: How::Done, .. }
        ) {
            self.bar.println(line(happening));
        }
    }
}

fn line(happening: &Happening<'_>) -> String {
    match happening {
        Happening::Started { task, attempt, title } => format!("{task}: attempt {attempt}: {}", shown(title)),
        Happening::Finished {
            task, how, end, ran_ms, ..
        } => {
            let how = match how {
                How::Done => "done",
                How::Failed => "failed",
                How::Released => "given back",
            };
            let end = match end {
                Some(End::Exit(0)) | None => String::new(),
                Some(End::Exit(code)) => format!(", exit code {code}"),
                Some(End::Signal(signal)) => format!(", signal {signal}"),
            };
            format!("{task}: {how} after {:.1} s{end}", *ran_ms as f64 / 1_000.0)
        }
        Happening::GivenBack { task, reason, .. } => format!("{task}: given back: {}", shown(reason)),
        Happening::Lost { task, reason, .. } => format!("{task}: lost: {}", shown(reason)),
        Happening::Draining { running } => format!("no more tasks are taken, {running} under way"),
    }
}

fn counts(summary: &Summary) -> String {
    let Summary {
        done,
        failed,
        released,
        lost,
        ..
    } = summary;
    format!("{done} done, {failed} failed, {released} given back, {lost} lost")
}

fn text(summary: &Summary) -> String {
    format!("{} tasks taken: {}", summary.taken, counts(summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_one_line() {
        let task = "7-1".parse().unwrap();
        let title = "a\nb";
        let started = Happening::Started {
            task,
            attempt: 2,
            title,
        };
        assert_eq!(line(&started), "7-1: attempt 2: a\\nb");
        let json = serde_json::to_value(&started).unwrap();
        let expected = serde_json::json!({"event": "started", "task": "7-1", "attempt": 2, "title": title});
        assert_eq!(json, expected);
        let ended = |how, end| {
            line(&Happening::Finished {
                task,
                attempt: 2,
                how,
                end: Some(end),
                ran_ms: 1_250,
                memory_bytes: None,
            })
        };
        assert_eq!(ended(How::Done, End::Exit(0)), "7-1: done after 1.2 s");
        assert_eq!(ended(How::Failed, End::Signal(9)), "7-1: failed after 1.2 s, signal 9");
        assert_eq!(
            ended(How::Released, End::Exit(75)),
            "7-1: given back after 1.2 s, exit code 75"
        );
        let summary = Summary {
            taken: 3,
            done: 2,
            released: 1,
            ..Summary::default()
        };
        assert_eq!(text(&summary), "3 tasks taken: 2 done, 0 failed, 1 given back, 0 lost");
    }
}
