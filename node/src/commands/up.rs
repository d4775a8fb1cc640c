//! `queenright up`: a cluster on this host, until Ctrl-C.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde::Serialize;

use super::{CliError, Context};
use crate::cli::UpArgs;
use crate::config::{Auth, ClusterConfig};
use crate::exit::Exit;
use crate::up::{Cluster, Ended, NodeView, StopCause, StopSignals, UpOptions, service};

/// What `up --json` prints once all nodes are ready.
#[derive(Serialize)]
struct Summary<'a> {
    cluster: &'a str,
    nodes: &'a [NodeView],
}

/// Starts all nodes of a cluster file and stops them when told to.
///
/// # Errors
/// [`CliError::Up`] if not all nodes became ready, [`CliError::AllEnded`] if all ended later.
pub async fn run(args: UpArgs, context: &Context) -> Result<Exit, CliError> {
    let listening = if args.parent_pipe {
        StopSignals::listen_with_parent_pipe()
    } else {
        StopSignals::listen()
    };
    let mut stop = listening.map_err(|source| CliError::Failed {
        message: "cannot listen for signals".to_owned(),
        source: source.into(),
    })?;
    let config = ClusterConfig::load(&args.file)?;
    for warning in config.check_exposure(args.insecure)? {
        // Aloud: also to those who want no notes.
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    let options = UpOptions::new(config, args.data.as_deref())?;
    let options = UpOptions {
        insecure: args.insecure,
        executable: args.starter.unwrap_or(options.executable),
        ..options
    };
    let admin_token = match options.config.auth {
        Auth::None => None,
        Auth::Token => Some(options.folders.cluster.admin_token_path()),
    };
    let name = options.config.name.clone();
    let progress = Progress {
        name: &name,
        shown: context.shows_progress(),
    };
    progress.show(0, options.config.nodes.len());
    let mut cluster = tokio::select! {
        started = Cluster::start_with(options, |ready, all| progress.show(ready, all)) => {
            progress.clear();
            started?
        }
        // Dropping the start kills the nodes that have started; they hold nothing that anybody was promised.
        cause = stop.next() => {
            progress.clear();
            return Err(interrupted(&name, cause));
        }
    };
    let nodes = cluster.nodes();
    // A reader of the summary that goes away must not take the cluster with it.
    let printed = context.answer(
        &Summary {
            cluster: &name,
            nodes: &nodes,
        },
        summary(&name, &nodes),
    );
    if let Err(error) = printed
        && error.exit() != Exit::Ok
    {
        context.note(error.report(false));
    }
    if let Some(path) = admin_token {
        context.note(format_args!(
            "the doors ask for tokens; commands on this host show the one in {}",
            path.display()
        ));
    }
    service::ready();
    let all_ended = loop {
        tokio::select! {
            ended = cluster.next_ended() => match ended {
                Some(ended) => context.note(ending(&ended)),
                None => break true,
            },
            cause = stop.next() => {
                context.note(format_args!("stopping {name} after {cause}"));
                break false;
            }
        }
    };
    service::stopping();
    for node in cluster.stop().await {
        context.note(format_args!("node {node} did not end in time and was killed"));
    }
    if all_ended {
        Err(CliError::AllEnded { cluster: name })
    } else {
        Ok(Exit::Ok)
    }
}

/// What is said of a cluster that was ended before it did anything.
pub(super) fn interrupted(cluster: &str, cause: StopCause) -> CliError {
    CliError::Refused {
        exit: Exit::Error,
        code: "INTERRUPTED".to_owned(),
        message: format!("{cause} while {cluster} was starting; its nodes were killed"),
    }
}

fn summary(cluster: &str, nodes: &[NodeView]) -> String {
    let rows: Vec<[String; 4]> = nodes
        .iter()
        .map(|node| {
            let pid = node.pid.map_or_else(|| "ended".to_owned(), |pid| pid.to_string());
            [
                node.name.clone(),
                pid,
                node.door.clone(),
                node.log.display().to_string(),
            ]
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let (name, pid, door) = (width(0), width(1), width(2));
    let mut text = format!("{cluster} is up (stop with Ctrl-C)\n");
    for row in &rows {
        let _ = write!(
            text,
            "\n  {:name$}  process {:>pid$}  {:door$}  log {}",
            row[0], row[1], row[2], row[3]
        );
    }
    text
}

fn ending(ended: &Ended) -> String {
    let mut text = format!("node {} ended by itself: {}", ended.name, ended.status);
    for line in &ended.log_tail {
        let _ = write!(text, "\n  | {line}");
    }
    text
}

/// One line that is redrawn while the nodes start.
struct Progress<'a> {
    name: &'a str,
    shown: bool,
}

impl Progress<'_> {
    fn show(&self, ready: usize, all: usize) {
        if self.shown {
            let _ = write!(io::stderr(), "\rstarting {}: {ready} of {all} nodes ready", self.name);
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
