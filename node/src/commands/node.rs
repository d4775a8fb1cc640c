//! `queenright node`: one node in the foreground; and what becomes of members: `queenright node replace`, which lets one
//! come back as a new one, `node drain` and `node remove`.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::door::client;
use super::{CliError, Context, dry};
use crate::cli::{DrainArgs, LogLevelArgs, NodeArgs, NodeCommand, ProcessArgs, RemoveArgs, ReplaceArgs};
use crate::config::{Auth, ClusterConfig};
use crate::exit::Exit;
use crate::logging::{self, LogFilter};
use crate::server::{self, NodePlan};
use crate::state::{Registry, StateFolders};
use crate::up::{Announcement, StopSignals};

/// How long `node remove` waits until the node is gone.
const GONE_WITHIN: Duration = Duration::from_secs(60);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Runs a node until it is told to end.
///
/// # Errors
/// [`CliError`] says why it could not start or go on. A process that started it with `--parent-pipe` is told too.
pub async fn run(mut args: NodeArgs, context: &Context) -> Result<Exit, CliError> {
    match args.command.take() {
        None => {}
        Some(NodeCommand::Replace(args)) => return replace(args, context).await,
        Some(NodeCommand::Drain(args)) => return drain(args, context).await,
        Some(NodeCommand::Remove(args)) => return remove(args, context).await,
        Some(NodeCommand::LogLevel(args)) => return log_level(args, context).await,
    }
    let parent_pipe = args.run.parent_pipe;
    tell_parent(parent_pipe, run_node(args).await)
}

/// Tells the parent, if that waits for word, why a node does not run.
pub(super) fn tell_parent(waits: bool, result: Result<Exit, CliError>) -> Result<Exit, CliError> {
    if let Err(error) = &result
        && waits
    {
        // If the parent is gone, main still prints the error to the log.
        let _ = Announcement::Failed(error.line()).print();
    }
    result
}

async fn run_node(args: NodeArgs) -> Result<Exit, CliError> {
    let (file, name) = (
        args.config.expect("clap demands it"),
        args.name.expect("clap demands it"),
    );
    let plan = plan(ClusterConfig::load(&file)?, name, args.run, true)?;
    server::run(plan).await?;
    Ok(Exit::Ok)
}

/// Prepares a node of a cluster file to run in this process; one that `makes_cookie` makes that of its cluster if there is
/// none.
pub(super) fn plan(
    config: ClusterConfig,
    name: String,
    run: ProcessArgs,
    makes_cookie: bool,
) -> Result<NodePlan, CliError> {
    // First of all, so that neither a signal nor the parent's end is missed.
    let stop = if run.parent_pipe {
        StopSignals::listen_with_parent_pipe()
    } else {
        StopSignals::listen()
    }
    .map_err(|source| CliError::Failed {
        message: "cannot listen for signals".to_owned(),
        source: source.into(),
    })?;
    start_log(&config, run.log_file.as_deref())?;
    config.node(&name)?;
    for warning in config.check_exposure(run.insecure)? {
        tracing::warn!("{warning}");
    }
    let StateFolders { cluster, registry } = StateFolders::find(&config.name, run.data.as_deref())?;
    if !makes_cookie {
        let path = cluster.cookie_path(config.tls.as_deref());
        if !path.exists() {
            return Err(CliError::Refused {
                exit: Exit::Unauthorized,
                code: "NO_COOKIE".to_owned(),
                message: format!(
                    "the cookie of cluster {} is not here: copy that of a member to {}",
                    config.name,
                    path.display()
                ),
            });
        }
    }
    cluster.create([name.as_str()])?;
    Ok(NodePlan {
        data_dir: cluster.node(&name),
        cookie: cluster.cookie(config.tls.as_deref())?,
        admin_token: match config.auth {
            Auth::None => None,
            Auth::Token => Some(cluster.admin_token()?),
        },
        registry: run.registry.map_or(registry, Registry::at),
        parent_pipe: run.parent_pipe,
        name,
        config,
        stop,
        quiet: false,
    })
}

/// Lets a node take no new work, or take some again.
async fn drain(args: DrainArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    if args.dry_run {
        return dry::drain(&client, &args.name, args.off, context).await;
    }
    let (changed, text) = match args.off {
        false => (client.drain_node(&args.name).await?, "takes no new work"),
        true => (client.undrain_node(&args.name).await?, "takes work again"),
    };
    let text = format!("node {} {text}, from epoch {} on", changed.node, changed.epoch);
    let value = json!({ "node": changed.node, "epoch": changed.epoch, "drained": !args.off });
    context.answer(&value, text)?;
    Ok(Exit::Ok)
}

/// Lets a dead node go for good, and waits until it is gone.
async fn remove(args: RemoveArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    if args.dry_run {
        return dry::remove(&client, &args.name, context).await;
    }
    let changed = client.remove_node(&args.name).await?;
    let until = tokio::time::Instant::now() + GONE_WITHIN;
    loop {
        let status = client.status().await?;
        if !status.nodes.iter().any(|node| node.name == changed.node) {
            let text = format!("node {} is removed: epoch {} is without it", changed.node, status.epoch);
            let value = json!({ "node": changed.node, "epoch": status.epoch, "removed": true });
            context.answer(&value, text)?;
            return Ok(Exit::Ok);
        }
        if tokio::time::Instant::now() >= until {
            return Err(CliError::Refused {
                exit: Exit::Timeout,
                code: "UNKNOWN_OUTCOME".to_owned(),
                message: format!(
                    "node {} is to go by epoch {}, and is still there after {GONE_WITHIN:?}: whoever leads goes on with it",
                    changed.node, changed.epoch
                ),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets a node come back with an empty folder, and sets aside what its folder holds if it is on this host.
async fn replace(args: ReplaceArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    let cluster = client.status().await?.cluster;
    let folder = StateFolders::find(&cluster, args.data.as_deref())?
        .cluster
        .node(&args.name);
    refuse_running(&folder, &args.name)?;
    if args.dry_run {
        let aside = Some(&*folder).filter(|folder| holds_something(folder));
        return dry::replace(&client, &args.name, aside, context).await;
    }
    client.replace_node(&args.name).await?;
    let aside = set_aside(&folder).map_err(|source| CliError::Failed {
        message: format!("cannot set {} aside", folder.display()),
        source: source.into(),
    })?;
    let name = &args.name;
    let kept = match &aside {
        Some(aside) => format!("; what it had is in {}", aside.display()),
        None => String::new(),
    };
    let text = format!("{name} may come back as a new node: start it within ten minutes{kept}");
    context.answer(&json!({ "node": name, "may_join": true, "set_aside": aside }), text)?;
    Ok(Exit::Ok)
}

/// A node whose process holds its folder has not lost it.
fn refuse_running(folder: &Path, name: &str) -> Result<(), CliError> {
    let lock = File::open(folder.join("lock"));
    match lock.map(|lock| lock.try_lock()) {
        Ok(Err(TryLockError::WouldBlock)) => Err(CliError::Refused {
            exit: Exit::Conflict,
            code: "CONFLICT".to_owned(),
            message: format!("node {name} runs: {} is in use; stop it first", folder.display()),
        }),
        _ => Ok(()),
    }
}

fn holds_something(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Renames the folder, if there is one with anything in it.
fn set_aside(folder: &Path) -> io::Result<Option<PathBuf>> {
    if !holds_something(folder) {
        return Ok(None);
    }
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let free = (1..).find_map(|count| {
        let mut name = folder.file_name().unwrap_or_default().to_owned();
        // A name that no node can have, and that was not given within this second.
        let again = if count > 1 { format!("-{count}") } else { String::new() };
        name.push(format!(".replaced-{seconds}{again}"));
        let aside = folder.with_file_name(name);
        (!aside.exists()).then_some(aside)
    });
    let aside = free.expect("some number is free");
    fs::rename(folder, &aside)?;
    Ok(Some(aside))
}

/// Says what a node logs, after that was changed if it is to be.
async fn log_level(args: LogLevelArgs, context: &Context) -> Result<Exit, CliError> {
    let filter = args.filter.as_deref().map(LogFilter::parse).transpose();
    let filter = filter.map_err(|error| CliError::Usage(format!("FILTER: {error}")))?;
    let client = client(&args.client)?;
    let level = match (filter, args.reset) {
        (None, false) => client.log_level().await?,
        (filter, _) => client.set_log_level(filter.map(|filter| filter.to_string())).await?,
    };
    let at_start = match level.filter == level.at_start {
        true => String::new(),
        false => format!("; at its start it was {}", level.at_start),
    };
    let text = format!("node {} logs {}{at_start}", level.node, level.filter);
    context.answer(&level, text)?;
    Ok(Exit::Ok)
}

fn start_log(config: &ClusterConfig, file: Option<&Path>) -> Result<(), CliError> {
    logging::start(config.logging, file).map_err(|source| CliError::Failed {
        message: "the log of this node does not start".to_owned(),
        source: source.into(),
    })
}
