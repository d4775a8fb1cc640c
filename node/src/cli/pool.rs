//! `queenright pool`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::agent::{json, label, span, variable};
use super::value::mebibytes;
use super::{ClientArgs, ReadMode, TasksArgs};

/// `queenright pool`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright pool set builders --kind build --max 8 --per-node-max 4 -- ./build.sh
  queenright pool set labels --kind label --max 3 --slots 16 --url http://127.0.0.1:8080/label
  queenright pool status builders
  queenright pool drain builders      # no agents until --off
  queenright pool recycle builders    # replaces each of them
  queenright pool remove builders

A pool is agents of one sort that the cluster starts and stops by itself: as many as the tasks in their queue need, between \
two bounds, on the nodes with the lowest load. The leader decides how many each node has; a node that dies has its agents \
elsewhere. They are agents like others: `queenright agent list --label pool=builders`, on each node.")]
pub enum PoolCommand {
    /// Make a pool, or change it
    Set(Box<SetPoolArgs>),
    /// List the pools
    #[command(after_help = "\
Example:
  queenright pool list --json")]
    List {
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show the work of a pool and how its agents are on each node
    #[command(after_help = "\
Example:
  queenright pool status builders --json

READY is how many tasks its agents could claim now; those that wait for others, for a time or for a rate are not among them. \
Of each node: how many agents are wanted, and how many start (or warm up), are idle, are busy, and drain: they end what they \
have in hand, and then themselves. RECYCLED is how many were replaced since the node was started, FAILED how many could not be \
started or failed past the limits of restarts.")]
    Status {
        /// Its name
        name: String,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Let a pool have no agents: they end what they have in hand
    #[command(after_help = "\
Examples:
  queenright pool drain builders
  queenright pool drain builders --off")]
    Drain {
        /// Its name
        name: String,
        /// Let it have agents again
        #[arg(long)]
        off: bool,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Replace all agents of a pool, each once it has ended what it has in hand, half of a node's at a time
    #[command(after_help = "\
Example:
  queenright pool recycle builders")]
    Recycle {
        /// Its name
        name: String,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Let a pool be gone: its agents end what they have in hand
    #[command(after_help = "\
Example:
  queenright pool remove builders")]
    Remove {
        /// Its name
        name: String,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// `queenright pool set`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  queenright pool set builders --queue builds --max 8 --min-idle 1 -- ./build.sh
  queenright pool set reviewers --kind review --max 20 --per-node-max 8 --on gpu=yes --environment MODEL=small -- python3 review.py
  queenright pool set coders --kind code --max 4 --recycle-tasks 50 --recycle-memory 2G --recycle-age 6h -- ./edit.sh
  queenright pool set testers --kind test --max 6 --warm 'cargo fetch' --folder /srv/project -- cargo test
  queenright pool set labels --kind label --max 3 --slots 16 --url https://labels.example.com/run --secret-file /etc/labels.secret

There is an agent for each --slots tasks that are ready or under way, and --min-idle more, up to --max. More come at once; \
fewer stay when so many had no work for --idle. The command runs once for each task, as for `queenright agent exec`; with --url \
each task is posted, as for `queenright agent http`. Paths are paths of each node's host.

--on NAME=VALUE wants a label of a node: those of the cluster file, and node, its name. An agent over a --recycle limit takes no \
more tasks, ends what it has in hand, and is replaced. What has failed is started again after a pause that doubles.

The same settings change nothing. Others replace agents only where what an agent is has changed, not the bounds. \
Whoever sets a pool runs commands on the nodes: doors with tokens ask for scope admin.")]
pub struct SetPoolArgs {
    /// Its name: up to 64 letters, digits, `-`, `_` and `.`
    pub name: String,
    /// How many agents there are at most, up to 10000
    #[arg(long, value_name = "N")]
    pub max: u32,
    /// How many there are beyond those that have work, started before there is any
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub min_idle: u32,
    /// How many there are on one node at most
    #[arg(long, value_name = "N")]
    pub per_node_max: Option<u32>,
    /// For how long an agent must have had no work before it goes, such as 10, 90s or 5m; up to a day
    #[arg(long, value_name = "TIME", default_value = "10", value_parser = span)]
    pub idle: Duration,
    /// Which tasks its agents take.
    #[command(flatten)]
    pub tasks: TasksArgs,
    /// How many tasks at a time an agent works on, up to 1000
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1)]
    pub slots: u32,
    /// Only on nodes with this label; give it again for more
    #[arg(long = "on", value_name = "NAME=VALUE", value_parser = label)]
    pub placement: Vec<(String, String)>,
    /// A label that its agents have; give it again for more
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Replace an agent after so many tasks
    #[arg(long, value_name = "N")]
    pub recycle_tasks: Option<u64>,
    /// Replace an agent once a task had so much memory resident, such as 512M or 2G; on Linux
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    pub recycle_memory: Option<u64>,
    /// Replace an agent at this age, such as 90s, 5m or 6h; from a second to thirty days
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub recycle_age: Option<Duration>,
    /// Replace an agent after so many tasks that have failed
    #[arg(long, value_name = "N")]
    pub recycle_failures: Option<u64>,
    /// A task that fails has not failed for good: it is tried again as far as its retry policy says
    #[arg(long)]
    pub retry: bool,
    /// Run this by `sh -c` once before an agent takes its first task; if it fails, so does the agent
    #[arg(long, value_name = "COMMAND", conflicts_with = "url")]
    pub warm: Option<String>,
    /// Where commands run; where the node does if it is not given
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// What the environment of commands has besides that of the node; give it again for more
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub environment: Vec<(String, String)>,
    /// How long the command may run for one task, such as 90, 90s, 5m or 2h; up to seven days
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub max_runtime: Option<Duration>,
    /// How much memory all of its processes may have resident together, such as 512M or 2G; on Linux
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    pub memory: Option<u64>,
    /// Post each task to this address instead of running a command
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "command",
        required_unless_present = "command"
    )]
    pub url: Option<String>,
    /// Sign what is posted with the secret in this file, on each node
    #[arg(long, value_name = "FILE", requires = "url")]
    pub secret_file: Option<PathBuf>,
    /// How long an answer may take with all tries, such as 90, 90s, 5m or 2h; up to a day
    #[arg(long, value_name = "TIME", requires = "url", value_parser = span)]
    pub deadline: Option<Duration>,
    /// What else its agents are told, as for `queenright agent spawn`
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json)]
    pub arguments: serde_json::Value,
    /// Change nothing if there is a pool of this name
    #[arg(long)]
    pub if_absent: bool,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The node to ask.
    #[command(flatten)]
    pub client: ClientArgs,
    /// The program to run for each task, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
