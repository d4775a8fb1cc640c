//! `queenright recover`.

use std::path::PathBuf;

use clap::Args;

use super::AccessArgs;

/// `queenright recover`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright recover --from n1 --config cluster-configs/mesh-3.toml --dry-run
  queenright recover --from n1 --config cluster-configs/mesh-3.toml

For a cluster whose majority is lost for good, on the host of a node that has its data; no node may run. Take the node that \
has the newest entry: --dry-run tells it. The node becomes the only voter of a new cluster of the same name. What the lost \
nodes acknowledged and this one never got is lost. Its data folder is set aside, not removed. The other nodes then start \
with empty folders, and join under new numbers.

Without a majority for a while only, do not recover: start the other nodes.")]
pub struct RecoverArgs {
    /// The node whose data is taken
    #[arg(long, value_name = "NODE")]
    pub from: String,
    /// The cluster file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The cluster's state is in DIR instead of the user's state folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Say what would be done, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// What it trusts and shows when it asks whether others run.
    #[command(flatten)]
    pub access: AccessArgs,
}
