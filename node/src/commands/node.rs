//! `queenright node`: one node in the foreground; and `queenright node replace`, which lets one come back as a new one.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing_subscriber::EnvFilter;

use serde_json::json;

use super::door::client;
use super::{CliError, Context};
use crate::cli::{NodeArgs, NodeCommand, ReplaceArgs};
use crate::config::{Auth, ClusterConfig};
use crate::exit::Exit;
use crate::server::{self, NodePlan};
use crate::state::{Registry, StateFolders};
use crate::up::{Announcement, StopSignals};

/// What is logged unless QUEENRIGHT_LOG says otherwise: this program's own words, and the warnings of the libraries
/// under it: at `info` each link tells its life, at `debug` ractor_cluster formats the content of every message.
const LOG_DEFAULT: &str = "info,ractor=warn,ractor_cluster=warn,openraft=warn,sled=warn";

/// Runs a node until it is told to end.
///
/// # Errors
/// [`CliError`] says why it could not start or go on. A process that started it with `--parent-pipe` is told too.
pub async fn run(mut args: NodeArgs, context: &Context) -> Result<Exit, CliError> {
    if let Some(NodeCommand::Replace(args)) = args.command.take() {
        return replace(args, context).await;
    }
    let parent_pipe = args.parent_pipe;
    let result = run_node(args).await;
    if let Err(error) = &result
        && parent_pipe
    {
        // If the parent is gone, main still prints the error to the log.
        let _ = Announcement::Failed(error.line()).print();
    }
    result
}

async fn run_node(args: NodeArgs) -> Result<Exit, CliError> {
    // First of all, so that neither a signal nor the parent's end is missed.
    let stop = if args.parent_pipe {
        StopSignals::listen_with_parent_pipe()
    } else {
        StopSignals::listen()
    }
    .map_err(|source| CliError::Failed {
        message: "cannot listen for signals".to_owned(),
        source: source.into(),
    })?;
    start_log()?;
    let (file, name) = (
        args.config.expect("clap demands it"),
        args.name.expect("clap demands it"),
    );
    let config = ClusterConfig::load(&file)?;
    config.node(&name)?;
    for warning in config.check_exposure(args.insecure)? {
        tracing::warn!("{warning}");
    }
    let StateFolders { cluster, registry } = StateFolders::find(&config.name, args.data.as_deref())?;
    cluster.create([name.as_str()])?;
    let plan = NodePlan {
        data_dir: cluster.node(&name),
        cookie: cluster.cookie(config.tls.as_deref())?,
        admin_token: match config.auth {
            Auth::None => None,
            Auth::Token => Some(cluster.admin_token()?),
        },
        registry: args.registry.map_or(registry, Registry::at),
        parent_pipe: args.parent_pipe,
        name,
        config,
        stop,
    };
    server::run(plan).await?;
    Ok(Exit::Ok)
}

/// Lets a node come back with an empty folder, and sets aside what its folder holds if it is on this host.
async fn replace(args: ReplaceArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    let cluster = client.status().await?.cluster;
    let folder = StateFolders::find(&cluster, args.data.as_deref())?
        .cluster
        .node(&args.name);
    refuse_running(&folder, &args.name)?;
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

/// Renames the folder, if there is one with anything in it.
fn set_aside(folder: &Path) -> io::Result<Option<PathBuf>> {
    if !folder.is_dir() || fs::read_dir(folder)?.next().is_none() {
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

fn start_log() -> Result<(), CliError> {
    let directives = std::env::var("QUEENRIGHT_LOG").unwrap_or_else(|_| LOG_DEFAULT.to_owned());
    let filter = EnvFilter::try_new(&directives).map_err(|source| CliError::Failed {
        message: format!("QUEENRIGHT_LOG: {directives:?} is no log filter"),
        source: source.into(),
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .init();
    Ok(())
}
