//! `queenright up` and `queenright node`: nodes as processes of this host.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{ClientArgs, value};

/// `queenright up`
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  queenright up cluster-configs/mesh-3.toml

Each node has a log file, which the summary names. Ctrl-C or SIGTERM stops all nodes. \
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
    /// Start each node by this program, which takes the arguments of `queenright` and is to become a node
    #[arg(long, value_name = "PROGRAM", hide = true)]
    pub starter: Option<PathBuf>,
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
  queenright node drain n2
  queenright node remove n2
  queenright node log-level debug --node 127.0.0.1:7202

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
    /// How it runs.
    #[command(flatten)]
    pub run: ProcessArgs,
}

/// How a node runs in this process.
#[derive(Args, Debug)]
pub struct ProcessArgs {
    /// Keep the cluster's state in DIR instead of the user's state folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Open what others can reach without TLS or tokens all the same: for networks that you trust
    #[arg(long)]
    pub insecure: bool,
    /// Log to FILE, which is rotated as `[logging]` of the cluster file says, instead of to stderr
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
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
    /// Let a node take no new work, or take some again
    Drain(DrainArgs),
    /// Let a dead node go for good
    Remove(RemoveArgs),
    /// Show what a node logs, or let it log more or less while it runs
    LogLevel(LogLevelArgs),
}

/// `queenright node drain`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright node drain n2
  queenright node drain n2 --dry-run
  queenright node drain n2 --off

Its door takes no claims, sessions and agents any more, and says so; claims that wait there are answered, and what it has \
goes on. If it leads it hands over, and if another node can vote in its stead, that one does. It lasts over restarts, until \
--off.")]
pub struct DrainArgs {
    /// The node
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Let it take work again
    #[arg(long)]
    pub off: bool,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// A node, which is asked.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `queenright node remove`
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  queenright node remove n2

Refused while the node answers (let it leave), and while the others would have no majority without it. Its number is never \
used again, its sessions end, its place is free. If it comes back it is told so, and ends.")]
pub struct RemoveArgs {
    /// The node
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Another node, which is asked.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `queenright node log-level`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright node log-level
  queenright node log-level debug --node 127.0.0.1:7202
  queenright node log-level info,queenright_actors::link=trace
  queenright node log-level --reset

It is changed at the node that is asked, and no other, until that ends: QUEENRIGHT_LOG says what is logged from the start on. \
Levels are off, error, warn, info, debug and trace. At debug the libraries say much: name the parts that you mean.")]
pub struct LogLevelArgs {
    /// A level, or several with parts of the program: LEVEL,PART=LEVEL,…
    #[arg(value_name = "FILTER", conflicts_with = "reset")]
    pub filter: Option<String>,
    /// Log what was logged at the start
    #[arg(long)]
    pub reset: bool,
    /// The node, which is asked.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `queenright join`
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  queenright join 10.0.0.1:7201 --config n4.toml

The file is a cluster file that lists the new node, and may list no other:

  [cluster]
  name = \"mesh-3\"          # as the cluster is called
  topology = \"mesh\"        # the cluster has one already
  [[nodes]]
  name = \"n4\"
  links = \"10.0.0.4:7101\"
  http = \"10.0.0.4:7201\"

[consensus], [limits], [tls] and [doors] are as in the file of the others. The cookie of the cluster is the permission: copy \
that of a member, with the certificates or to where the error says. The same command starts the node again later; so does \
`queenright node --config n4.toml --name n4`.")]
pub struct JoinArgs {
    /// The door of any member
    #[arg(value_name = "HOST:PORT")]
    pub door: String,
    /// The cluster file with the new node
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Which of its nodes joins, if it lists several
    #[arg(long)]
    pub name: Option<String>,
    /// How it runs.
    #[command(flatten)]
    pub run: ProcessArgs,
}

/// `queenright leave`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright leave --node 10.0.0.4:7201
  queenright leave --node 10.0.0.4:7201 --wait 60

The node takes no new work, waits until its sessions hold nothing, hands over what it has in consensus, and ends with \
code 0. Its folder then says that it has left, and does not start as that node again.")]
pub struct LeaveArgs {
    /// How long the work of its sessions may take to be done, in seconds
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = patience)]
    pub wait: Duration,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The node that leaves.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Longest `--wait`: what a request may take.
const WAIT_SECONDS_MAX: f64 = 100.0;

fn patience(text: &str) -> Result<Duration, String> {
    value::time(text, 0.0..=WAIT_SECONDS_MAX)
}

/// `queenright node replace`
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  queenright node replace n2

The cluster runs, the node does not. What its folder on this host still holds is set aside beside it; then start the node \
as ever. It gets a new number, learns, and votes once it has caught up; `queenright status` shows it. The permission holds \
for ten minutes.")]
pub struct ReplaceArgs {
    /// The node
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The cluster's state is in DIR instead of the user's state folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Another node, which is asked.
    #[command(flatten)]
    pub client: ClientArgs,
}
