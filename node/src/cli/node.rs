//! `queenright up` and `queenright node`: nodes as processes of this host.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ClientArgs;

/// `queenright up`
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  queenright up cluster-configs/mesh-3.toml

Each node has a log file, which the summary names. Ctrl-C or SIGTERM stops all nodes.
If `up` itself is killed, its nodes end within five seconds.")]
pub struct UpArgs {
    /// The cluster file
    pub file: PathBuf,
    /// Keep the cluster's state in DIR instead of the user's state folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Open what others can reach without TLS or tokens all the same: for networks that you trust
    #[arg(long)]
    pub insecure: bool,
    /// Stop the nodes when stdin ends
    #[arg(long, hide = true)]
    pub parent_pipe: bool,
}

/// `queenright node`
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  queenright node --config cluster-configs/mesh-3.toml --name n1
  queenright node replace n2

QUEENRIGHT_LOG sets what is logged on stderr, for instance QUEENRIGHT_LOG=debug."
)]
pub struct NodeArgs {
    /// What else to do than to run one.
    #[command(subcommand)]
    pub command: Option<NodeCommand>,
    /// The cluster file
    #[arg(long, value_name = "FILE", required = true)]
    pub config: Option<PathBuf>,
    /// Which of its nodes to run
    #[arg(long, required = true)]
    pub name: Option<String>,
    /// Keep the cluster's state in DIR instead of the user's state folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Open what others can reach without TLS or tokens all the same: for networks that you trust
    #[arg(long)]
    pub insecure: bool,
    /// End when stdin ends, and say on stdout in one line of JSON that the node is ready or why not
    #[arg(long, hide = true)]
    pub parent_pipe: bool,
    /// Record the running node in DIR
    #[arg(long, value_name = "DIR", hide = true)]
    pub registry: Option<PathBuf>,
}

/// `queenright node …`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Let a node that has lost its disk, or whose log is damaged, come back as a new one
    Replace(ReplaceArgs),
}

/// `queenright node replace`
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  queenright node replace n2

The cluster runs, the node does not. What its folder on this host still holds is set aside beside it; then start the node
as ever. It gets a new number, learns, and votes once it has caught up; `queenright status` shows it. The permission holds
for ten minutes.")]
pub struct ReplaceArgs {
    /// The node
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The cluster's state is in DIR instead of the user's state folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Another node, which is asked.
    #[command(flatten)]
    pub client: ClientArgs,
}
