//! `queenright replay` and `queenright demo`.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Args;

use super::TargetArgs;

/// `queenright replay`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright replay ~/src/project --commits 500 --agents 24
  queenright replay . --cluster cluster-configs/mesh-3.toml --dump /tmp/trees

Exit code 0 only if every node ends with the tree that git has. Run again, it goes on from what is committed.")]
pub struct ReplayArgs {
    /// The repository
    pub repo: PathBuf,
    /// The commit whose first-parent history is replayed
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub revision: String,
    /// Replay the oldest N commits only
    #[arg(long, value_name = "N")]
    pub commits: Option<usize>,
    /// How many agents work, spread over the nodes
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub agents: usize,
    /// Use the running cluster of this file, whatever --node says
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<PathBuf>,
    /// Write the path, mode and id that each node ends with to DIR/NODE
    #[arg(long, value_name = "DIR")]
    pub dump: Option<PathBuf>,
    /// Let an agent panic at the first attempt of every N-th commit, to see what follows
    #[arg(long, value_name = "N", hide = true)]
    pub panic_every: Option<NonZeroU64>,
    /// In which project.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// `queenright demo`
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  queenright demo --agents 24

With fewer than 50 commits at hand it replays a generated repository, and says so.")]
pub struct DemoArgs {
    /// Replay at most N commits
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub commits: usize,
    /// How many agents work, spread over the nodes
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub agents: usize,
    /// Keep the cluster's state in DIR instead of a folder below target/
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}
