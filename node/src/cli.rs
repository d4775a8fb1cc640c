//! The command line: names, types and help. Nothing is done here.

mod agent;
mod import;
mod project;
mod recover;
mod reserve;
mod run;
mod session;
mod task;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use queenright_bench::client::PRIME_BYTES;
use queenright_bench::client::wire::EventCursor;

pub use self::agent::AgentCommand;
pub use self::import::{ImportArgs, WatchArgs};
pub use self::project::{LimitArgs, ProjectCommand};
pub use self::recover::RecoverArgs;
pub use self::reserve::{ModeArgs, OnOff, ReserveCommand};
pub use self::run::RunArgs;
pub use self::session::{OwnArgs, SessionCommand};
pub use self::task::{
    ControlArgs, DlqCommand, Ending, HeldArgs, PolicyArg, PriorityArg, QueueCommand, StateArg, TaskCommand, TermsArgs,
    TierArg,
};
use crate::state::{Door, Registry, StateError};

const AFTER_HELP: &str = "\
Examples:
  queenright demo                             three nodes replay this checkout's history
  queenright up cluster-configs/mesh-3.toml   start a cluster on this host; Ctrl-C stops it
  queenright memory put greeting hello        in another terminal
  queenright status

A command finds its node by --node, then QUEENRIGHT_NODE, then the one cluster that runs on this host.

Exit codes:
    0  done
    1  failed
    2  usage: the command line is wrong
    3  conflict, or held by another
    4  fenced or expired
    5  nothing to do
    6  unauthorized
    7  unavailable: no node or no quorum
   75  temporary: try again
  124  timeout: the outcome is unknown";

/// A cluster for swarms of agents.
#[derive(Debug, Parser)]
#[command(name = "queenright", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Whether the command is to run a node in this process.
    pub fn runs_node(&self) -> bool {
        matches!(&self.command, Command::Node(args) if args.command.is_none())
    }
}

/// How to print; understood by every command.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct OutputArgs {
    /// Print JSON: results on stdout, an error as one object {code, message} on stderr
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results and errors only, no progress and no notes
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start all nodes of a cluster file as processes of this host
    Up(UpArgs),
    /// Run one node of a cluster file in the foreground, or replace one
    Node(NodeArgs),
    /// Make a new cluster of what one node has, when a majority is lost for good; offline
    Recover(RecoverArgs),
    /// Look at cluster files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show whether the cluster has a leader, and the state of each node
    Status(StatusArgs),
    /// Read and write the collective memory
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// Propose an atomic change of several keys
    Propose(ProposeArgs),
    /// Show what happened, from a cursor on
    Events(EventsArgs),
    /// Show what an agent needs to know when it starts: its tasks, what is pinned, what happened since its cursor
    Prime(PrimeArgs),
    /// Hand out work: add tasks, claim, accept and finish them
    #[command(subcommand)]
    Task(Box<TaskCommand>),
    /// Work on tasks with any program: claim them, run it for each, finish by its exit code
    Run(RunArgs),
    /// Look at the dead-letter list: tasks that used up what their terms allow
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Look at the queues of tasks, pause them, set their circuit breakers
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Make projects, limit them, destroy them
    #[command(subcommand)]
    Project(ProjectCommand),
    /// Open sessions for agents outside the nodes, keep them alive, close them
    #[command(subcommand)]
    Session(SessionCommand),
    /// Reserve files, keys and slots before work on them begins
    #[command(subcommand)]
    Reserve(ReserveCommand),
    /// Look at the agents of a node, start and stop them
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Replay the history of a git repository as the work of a swarm, and check every byte
    Replay(ReplayArgs),
    /// Start three nodes, replay this checkout's history, print the report, stop everything
    Demo(DemoArgs),
    /// Measure
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// How a command reaches a node, and how long it waits for it.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// The node to ask; else the first node of the one cluster that runs on this host
    #[arg(long, value_name = "HOST:PORT", env = "QUEENRIGHT_NODE")]
    pub node: Option<String>,
    /// How long to wait for the outcome, in seconds
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
}

impl ClientArgs {
    /// The door of the node that is meant.
    ///
    /// # Errors
    /// [`StateError`] says what is wrong with the name of the node, or why none was found.
    pub fn door(&self) -> Result<Door, StateError> {
        match &self.node {
            Some(text) => Door::parse(text),
            None => Registry::of_user()?.find_door(),
        }
    }
}

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

/// `queenright config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a cluster file: one line says what it describes, or what is wrong and where
    Check {
        /// The cluster file
        file: PathBuf,
    },
}

/// `queenright status`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright status
  queenright status --json --node 127.0.0.1:7202")]
pub struct StatusArgs {
    /// The node to ask.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `queenright memory`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright memory put plan/title 'Move the parser'
  queenright memory put plan/body --file plan.md --if-revision 3
  queenright memory get plan/title
  queenright memory list plan/
  queenright memory watch plan/
  queenright memory checkout ./agreed")]
pub enum MemoryCommand {
    /// Print the value of a key, byte for byte; exit code 1 if there is none
    Get {
        /// The key
        key: String,
        /// Write the value to FILE instead of stdout
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Whose memory.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Set the value of a key
    Put {
        /// The key
        key: String,
        /// The value, as text; - takes it from stdin
        #[arg(required_unless_present = "file")]
        value: Option<String>,
        /// Take the value from FILE, or from stdin if FILE is -
        #[arg(long, value_name = "FILE", conflicts_with = "value")]
        file: Option<PathBuf>,
        /// A tag of the value; give it again for more
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// On what condition.
        #[command(flatten)]
        condition: ConditionArgs,
        /// Only if the key is absent; else exit code 3
        #[arg(long, conflicts_with = "if_revision")]
        if_absent: bool,
        /// Whose memory.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Delete a key; its revision goes on counting
    Delete {
        /// The key
        key: String,
        /// On what condition.
        #[command(flatten)]
        condition: ConditionArgs,
        /// Whose memory.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Write the files that stand under a prefix into a folder, as `propose --git` and `replay` put them there
    #[command(after_help = "\
Example:
  queenright memory checkout /tmp/agreed --at local

Run again, it replaces and deletes what it wrote itself, and what nobody has changed since; else exit code 3.")]
    Checkout {
        /// The folder; it is made if it is not there
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Under which keys the files stand
        #[arg(long, value_name = "KEY/", default_value = crate::tree::PREFIX)]
        prefix: String,
        /// How fresh the files must be
        #[arg(long, value_enum, default_value_t = ReadMode::Linearizable)]
        at: ReadMode,
        /// Write into a folder that holds something else, and over what was changed there
        #[arg(long)]
        force: bool,
        /// Whose memory.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Put the files of a folder under a prefix; what is not in the folder stays
    #[command(after_help = "\
Example:
  queenright memory import ./site --prefix site/")]
    Import {
        /// The folder; what lies in a .git is left out
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Under which keys the files will stand
        #[arg(long, value_name = "KEY/", default_value = crate::tree::PREFIX)]
        prefix: String,
        /// The token of reservations that the written keys lie under, if they are yours
        #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// Whose memory.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// List keys with their revisions, in order
    List {
        /// Only keys that begin with this
        #[arg(default_value = "")]
        prefix: String,
        /// At most this many, up to 10000
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        limit: u64,
        /// All of them, however many there are
        #[arg(long, conflicts_with = "limit")]
        all: bool,
        /// Deleted keys too
        #[arg(long)]
        deleted: bool,
        /// Only keys after this one: the last of the list before
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Whose memory.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Show the keys with their revisions, then every change of them, until Ctrl-C
    #[command(after_help = "\
Examples:
  queenright memory watch plan/
  queenright memory watch plan/ --after 1500 --json

With --after it begins with the changes behind that cursor. Exit code 4, code COMPACTED, when some of those are no longer
kept: never a silent gap. Watch again without --after then.")]
    Watch {
        /// Only keys that begin with this
        #[arg(default_value = "")]
        prefix: String,
        /// Only changes after this cursor, as printed with each change
        #[arg(long, value_name = "CURSOR")]
        after: Option<EventCursor>,
        /// At most this many changes
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Whose memory.
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReadMode {
    /// As of a moment after the read began; needs a quorum
    Linearizable,
    /// What the asked node knows
    Local,
}

/// Which project of which cluster.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// The project
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub project: String,
    /// The node to ask.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// On what condition a key is changed, and under which name the command may be repeated.
#[derive(Args, Clone, Debug)]
pub struct ConditionArgs {
    /// Only if the key has this revision; else exit code 3
    #[arg(long, alias = "if-rev", value_name = "N")]
    pub if_revision: Option<u64>,
    /// The token of a reservation that the key lies under, if it is yours
    #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A name for this command: repeated under the same name it takes effect once
    #[arg(long, value_name = "NAME")]
    pub idempotency_key: Option<String>,
}

/// `queenright propose`
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  echo '{\"reads\": [{\"key\": \"a\", \"revision\": 3}], \"writes\": [{\"key\": \"b\", \"put\": \"text\"}]}' | queenright propose -

  queenright propose --git main..feature --merge --check 'cargo test' --message 'Move the parser'

With --git, the paths that the branch has changed since it left BASE must be as it found them. Its files stand under the
prefix, as `memory checkout` and `replay` have them; a replay's are under replay/tree/. With --check, the branch and what
is committed are written into a folder together, the commands run there, and the proposal commits only if they end with
code 0 and nothing below the prefix has changed meanwhile; else they run again.

Exit code 3 if the proposal loses or a check fails; the answer names the keys in conflict.")]
pub struct ProposeArgs {
    /// The proposal as JSON, or a batch of them in "proposals": a file, or - for stdin
    #[arg(value_name = "FILE", required_unless_present = "git")]
    pub file: Option<PathBuf>,
    /// What to make of a branch.
    #[command(flatten)]
    pub branch: BranchArgs,
    /// Judge only: say what would come of it, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The token of reservations that the written keys lie under, if they are yours
    #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A name for this command: repeated under the same name it takes effect once
    #[arg(long, value_name = "NAME")]
    pub idempotency_key: Option<String>,
    /// To which project.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// `queenright propose --git`
#[derive(Args, Clone, Debug)]
pub struct BranchArgs {
    /// Propose what HEAD has changed since it left BASE, or all files of one commit
    #[arg(long, value_name = "BASE..HEAD", conflicts_with = "file")]
    pub git: Option<String>,
    /// The repository
    #[arg(long, value_name = "DIR", default_value = ".", requires = "git")]
    pub repo: PathBuf,
    /// Under which keys the files stand
    #[arg(long, value_name = "KEY/", default_value = crate::tree::PREFIX, requires = "git")]
    pub prefix: String,
    /// Merge texts with what others have made of them meanwhile
    #[arg(long, requires = "git")]
    pub merge: bool,
    /// A command for `sh -c` that must succeed on the files as they would be committed; give it again for more
    #[arg(long = "check", value_name = "CMD", requires = "git")]
    pub checks: Vec<String>,
    /// How long each check may take, in seconds
    #[arg(long, value_name = "SECS", default_value = "600", value_parser = seconds, requires = "git")]
    pub check_timeout: Duration,
    /// How often to check again when something else was committed meanwhile
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100), requires = "git")]
    pub attempts: u32,
    /// A text about it, kept under proposals/git/ and the id of HEAD
    #[arg(long, value_name = "TEXT", requires = "git")]
    pub message: Option<String>,
}

/// `queenright events`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright events --limit 20
  queenright events --after 1500 --follow --json
  queenright events --since 1h --type changed --prefix plan/
  queenright events --subject task:17-0
  queenright events --snapshot memory --follow --json

A cursor behind which events are gone ends with exit code 4 (CURSOR_EXPIRED), one from another cluster with 1
(CURSOR_AHEAD): begin with --snapshot then. It prints the present state, the cursor of it, and with --follow what happens
from there on.")]
pub struct EventsArgs {
    /// Only events after this cursor, as printed with each event; else from the oldest that is kept
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<EventCursor>,
    /// Only changes of keys that begin with this
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// Only events of this type, such as changed or task_claimed; give it again for more
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only events about this, such as key:plan/title or task:17-0; a star at the end stands for anything
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Only events that this one caused
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
    /// Only events that this agent caused, or that name it
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Only events of this last time by the wall clock, such as 90s, 30m, 12h or 7d
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub since: Option<Duration>,
    /// Only events older than this by the wall clock
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub until: Option<Duration>,
    /// First the present state: memory, tasks, or both with a comma
    #[arg(long, value_name = "KINDS", conflicts_with = "after")]
    pub snapshot: Option<String>,
    /// Wait for more, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Of which project.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// `queenright prime`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright prime --agent ann
  queenright prime --agent ann --after 1500 --bytes 4096 --json

What has no room is counted: of the tasks those with the highest ids, of what is pinned (memory with the tag pinned) the
last keys, of what happened the oldest. The answer names the cursor for the next call.")]
pub struct PrimeArgs {
    /// Who asks: its tasks are shown
    #[arg(long, value_name = "NAME", default_value = "cli")]
    pub agent: String,
    /// Only the tasks of the session with this token
    #[arg(long, value_name = "TOKEN", env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Only what happened after this cursor
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<EventCursor>,
    /// How long the answer may be, in bytes
    #[arg(long, value_name = "N", default_value_t = PRIME_BYTES.0, value_parser = clap::value_parser!(u64).range(PRIME_BYTES.1))]
    pub bytes: u64,
    /// Of which project.
    #[command(flatten)]
    pub target: TargetArgs,
}

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

/// `queenright bench`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright bench list
  queenright bench run B7 B8
  queenright bench run B3 --json > b3.json
  queenright bench run B16 --repo ~/src/project")]
pub enum BenchCommand {
    /// Run workloads and print what was measured, with its conditions
    Run {
        /// The workloads, as `bench list` names them
        #[arg(required = true, value_name = "WORKLOAD")]
        workloads: Vec<String>,
        /// What the random choices are made from
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// Keep the state of clusters that are started in DIR instead of a folder below target/
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Repeat each timing N times instead of as often as the workload does
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        repeats: Option<u32>,
        /// The repository that B16 replays
        #[arg(long, value_name = "DIR", default_value = ".")]
        repo: PathBuf,
    },
    /// List the workloads
    List,
}

/// Longest `--timeout`: a day.
const TIMEOUT_SECONDS_MAX: f64 = 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    match text.strip_suffix('s').unwrap_or(text).parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= TIMEOUT_SECONDS_MAX => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("expected seconds, above 0 and at most {TIMEOUT_SECONDS_MAX}")),
    }
}

/// A span of time with its unit.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span of time (expected a number with s, m, h or d, such as 90s or 1h)");
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_lists_the_exit_codes_as_they_are() {
        let table: String = Exit::TABLE
            .iter()
            .map(|(exit, meaning)| format!("\n  {:3}  {meaning}", exit.code()))
            .collect();
        assert!(AFTER_HELP.ends_with(&format!("Exit codes:{table}")), "{table}");
    }

    #[test]
    fn flags_for_printing_may_follow_the_command() {
        let cli = Cli::try_parse_from(["queenright", "memory", "get", "k", "--json", "--timeout", "0.5"]).unwrap();
        assert!(cli.output.json);
        let Command::Memory(MemoryCommand::Get { target, .. }) = cli.command else {
            panic!("another command")
        };
        assert_eq!(
            (target.client.timeout, target.project.as_str()),
            (Duration::from_millis(500), "default")
        );
    }

    #[test]
    fn a_span_of_time_has_a_unit() {
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["", "1", "h", "-1h", "1.5h", "1ü", "99999999999s"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_go_together_is_refused() {
        let refused = |line: &str| assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        refused("queenright memory put k");
        refused("queenright memory put k v --file f");
        refused("queenright memory put k v --if-revision 1 --if-absent");
        refused("queenright memory get k --timeout 0");
        refused("queenright memory get k --timeout NaN");
        refused("queenright bench run");
        refused("queenright events --snapshot memory --after 5");
        refused("queenright prime --bytes 100");
    }
}
