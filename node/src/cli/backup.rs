//! `queenright backup` and `queenright restore`, `queenright export` and `queenright import`.

use std::path::PathBuf;

use clap::Args;

use super::{ClientArgs, TargetArgs};

/// `queenright backup`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright backup /backups/monday.qrb
  queenright backup /backups/monday.qrb --local                              without a quorum: what the node knows
  queenright backup last.qrb --from n1 --config cluster-configs/mesh-3.toml  no node runs

The whole state of the cluster at one moment: all projects with memory, tasks, events and settings, and the tokens of the \
doors. The file is checked before it gets its name, and its owner alone may read it. Nobody is held up by it.")]
pub struct BackupArgs {
    /// The file to make; it must not be there
    pub file: PathBuf,
    /// What the node knows, without asking whether a majority knows more
    #[arg(long, conflicts_with = "from")]
    pub local: bool,
    /// From the data of this node, which is on this host and does not run
    #[arg(long, value_name = "NAME", requires = "config")]
    pub from: Option<String>,
    /// The cluster file, for --from
    #[arg(long, value_name = "FILE", requires = "from")]
    pub config: Option<PathBuf>,
    /// The cluster's state is in DIR instead of the user's state folder, for --from
    #[arg(long, value_name = "DIR", requires = "from")]
    pub data: Option<PathBuf>,
    /// The node to ask.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `queenright restore`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright restore /backups/monday.qrb --config cluster-configs/mesh-3.toml --dry-run
  queenright restore /backups/monday.qrb --config cluster-configs/mesh-3.toml && queenright up cluster-configs/mesh-3.toml

Makes the data folder of one node, which begins a new cluster: another cluster id, positions that jump, hosted agents ended. \
The other nodes start with empty folders and join it. The cluster file may have other nodes at other addresses than the one \
before. Nothing is made where a node of the file has something, and nothing of a file that is not whole.")]
pub struct RestoreArgs {
    /// The backup
    pub file: PathBuf,
    /// The cluster file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The node that begins; else the first one of the file
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The cluster's state goes to DIR instead of the user's state folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Read and check all of it, say what it holds, and make nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `queenright export`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright export project.jsonl --project p
  queenright export - | jq 'select(.type == \"task\" and .state == \"dead\")'

A line of JSON for each rate, slot, budget, queue and pool with settings, each record of the memory and each task, all of one \
moment. The last line says how many there are. The environment of the agents of a pool is left out: there may be secrets in it.")]
pub struct ExportArgs {
    /// The file to make, which must not be there, or - for stdout
    pub file: PathBuf,
    /// What the node knows, without asking whether a majority knows more
    #[arg(long)]
    pub local: bool,
    /// Which project.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// `queenright import`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright import project.jsonl --project copy
  queenright import project.jsonl --project copy --overwrite --dry-run

What `queenright export` wrote. A key that has another value already keeps it, unless --overwrite says otherwise. Tasks that \
are still to be done are added, under their names or names made of their ids, so that none is added twice; those that have \
ended are not. Rates, slots, budgets, queues and pools that are otherwise already stay so too; pools come in drained, so that \
nothing starts by an import, and a pool of the same name that works for another project stays. A file that is not whole is refused before anything is written; an import that was interrupted goes on when \
it is run again. Tasks alone, without an export, come in by `queenright task import`.")]
pub struct ImportProjectArgs {
    /// The file, or - for stdin
    pub file: PathBuf,
    /// Replace other values and settings
    #[arg(long)]
    pub overwrite: bool,
    /// Say what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Into which project.
    #[command(flatten)]
    pub target: TargetArgs,
}
