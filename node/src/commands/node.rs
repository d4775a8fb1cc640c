//! `queenright node`: one node in the foreground.

use std::io;

use tracing_subscriber::EnvFilter;

use super::{CliError, Context};
use crate::cli::NodeArgs;
use crate::config::ClusterConfig;
use crate::exit::Exit;
use crate::server::{self, NodePlan};
use crate::state::{Registry, StateFolders};
use crate::up::{Announcement, StopSignals};

/// What is logged unless QUEENRIGHT_LOG says otherwise: this program's own words, and the warnings of the libraries
/// under it: at `info` each link tells its life, at `debug` ractor_cluster formats the content of every message.
const LOG_DEFAULT: &str = "info,ractor=warn,ractor_cluster=warn,openraft=warn,raft_log=warn,chunked_wal=warn,sled=warn";

/// Runs a node until it is told to end.
///
/// # Errors
/// [`CliError`] says why it could not start or go on. A process that started it with `--parent-pipe` is told too.
pub async fn run(args: NodeArgs, _context: &Context) -> Result<Exit, CliError> {
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
    let config = ClusterConfig::load(&args.config)?;
    config.node(&args.name)?;
    config.check_runnable()?;
    let StateFolders { cluster, registry } = StateFolders::find(&config.name, args.data.as_deref())?;
    cluster.create([args.name.as_str()])?;
    let plan = NodePlan {
        data_dir: cluster.node(&args.name),
        cookie: cluster.cookie()?,
        registry: args.registry.map_or(registry, Registry::at),
        parent_pipe: args.parent_pipe,
        name: args.name,
        config,
        stop,
    };
    server::run(plan).await?;
    Ok(Exit::Ok)
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
