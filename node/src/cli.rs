//! The command line: names, types and help. Nothing is done here.

mod agent;
mod backup;
mod bench;
mod budget;
mod config;
mod doctor;
mod events;
mod explore;
mod guard;
mod import;
mod mcp;
mod memory;
mod node;
mod pool;
mod project;
mod propose;
mod rate;
mod recover;
mod replay;
mod reserve;
mod run;
mod session;
mod takes;
mod task;
mod tls;
mod token;
mod top;
mod topic;
mod topology;
mod trace;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub use self::agent::{AgentCommand, ExecArgs, HttpArgs, WorkerArgs};
pub use self::backup::{BackupArgs, ExportArgs, ImportProjectArgs, RestoreArgs};
pub use self::bench::{
    AbArgs, AllArgs, BenchCommand, ClaimsArgs, CompareArgs, DriveArgs, PageArgs, PeersArgs, PlaceArgs, RampArgs,
    ShapeArgs, StressArgs, TopologiesArgs, TrendArgs,
};
pub use self::budget::{BudgetCommand, SpentArgs, UsageArgs};
pub use self::config::{ConfigCommand, ShowConfigArgs};
pub use self::doctor::DoctorArgs;
pub use self::events::{EventsArgs, PrimeArgs};
pub use self::explore::ExploreArgs;
pub use self::guard::{Editor, GuardCheckArgs, GuardCommand, GuardInstallArgs, GuardUninstallArgs, GuardedArgs};
pub use self::import::{ImportArgs, WatchArgs};
pub use self::mcp::{McpArgs, Program, Scope, SetupArgs};
pub use self::memory::{ConditionArgs, MemoryCommand};
pub use self::node::{
    DrainArgs, JoinArgs, LeaveArgs, LogLevelArgs, NodeArgs, NodeCommand, ProcessArgs, RemoveArgs, ReplaceArgs, UpArgs,
};
pub use self::pool::{PoolCommand, SetPoolArgs};
pub use self::project::{LimitArgs, LimitedArgs, ProjectCommand};
pub use self::propose::{BranchArgs, ProposeArgs};
pub use self::rate::{Pace, RateCommand};
pub use self::recover::RecoverArgs;
pub use self::replay::{DemoArgs, ReplayArgs};
pub use self::reserve::{ModeArgs, OnOff, ReserveCommand};
pub use self::run::RunArgs;
pub use self::session::{OwnArgs, SessionCommand};
pub use self::takes::{TakesArgs, TasksArgs};
pub use self::task::{
    ControlArgs, DlqCommand, Ending, HeldArgs, PolicyArg, PriorityArg, QueueCommand, StateArg, TaskCommand, TermsArgs,
    TierArg,
};
pub use self::tls::{FolderArgs, IssueArgs, TlsCommand};
pub use self::token::TokenCommand;
pub use self::top::TopArgs;
pub use self::topic::TopicCommand;
pub use self::topology::TopologyCommand;
pub use self::trace::TraceArgs;

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
    /// The command line as it is: each command has an example in its help, its own or, from the help of the one above it, those
    /// in which it is used.
    pub fn definition() -> clap::Command {
        with_examples(Cli::command(), "queenright")
    }

    /// Reads the arguments of this process.
    ///
    /// # Errors
    /// What is wrong with them, or the help that they ask for.
    pub fn read() -> Result<Cli, clap::Error> {
        let mut definition = Cli::definition();
        let matches = definition.try_get_matches_from_mut(std::env::args_os())?;
        Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))
    }

    /// Whether the command is to run a node in this process.
    pub fn runs_node(&self) -> bool {
        match &self.command {
            Command::Node(args) => args.command.is_none(),
            command => matches!(command, Command::Join(_)),
        }
    }
}

/// Gives the commands below this one, which is called by `path`, the examples of its own help.
fn with_examples(command: clap::Command, path: &str) -> clap::Command {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    command.mut_subcommands(|below| {
        let path = format!("{path} {}", below.get_name());
        let uses = |line: &&str| {
            line.strip_prefix("  ")
                .is_some_and(|line| format!("{line} ").starts_with(&format!("{path} ")))
        };
        let lines: Vec<&str> = examples.lines().filter(uses).collect();
        let below = match below.get_after_help() {
            None if lines.len() == 1 => below.after_help(format!("Example:\n{}", lines[0])),
            None if !lines.is_empty() => below.after_help(format!("Examples:\n{}", lines.join("\n"))),
            _ => below,
        };
        with_examples(below, &path)
    })
}

/// How to print; understood by every command.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct OutputArgs {
    /// Print JSON: results on stdout, an error as one object {code, message, next} on stderr
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
    /// Run one node of a cluster file in the foreground; replace, drain or remove one
    Node(NodeArgs),
    /// Run a node that is new to its cluster in the foreground: a member lets it in
    Join(JoinArgs),
    /// Let a node go for good: it finishes its work, hands over, and ends
    Leave(LeaveArgs),
    /// Make a new cluster of what one node has, when a majority is lost for good; offline
    Recover(RecoverArgs),
    /// Write the state of the whole cluster into a file
    Backup(BackupArgs),
    /// Begin a new cluster with what a backup holds; offline
    Restore(RestoreArgs),
    /// Write a project as lines of JSON
    Export(ExportArgs),
    /// Bring what an export holds into a project
    Import(ImportProjectArgs),
    /// Look for what may be wrong on this host and in its cluster, and what to do about it
    Doctor(DoctorArgs),
    /// Look at cluster files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show whether the cluster has a leader, and the state of each node
    Status(StatusArgs),
    /// Show the cluster in the terminal, what needs somebody first
    Top(TopArgs),
    /// Show how long a request took in each part of each node that had a share in it
    Trace(TraceArgs),
    /// Show how the nodes are linked, or link them in another way
    #[command(subcommand)]
    Topology(TopologyCommand),
    /// Read and write the collective memory
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// Propose an atomic change of several keys
    Propose(ProposeArgs),
    /// Show what happened, from a cursor on
    Events(EventsArgs),
    /// Publish messages about topics, or follow them
    #[command(subcommand)]
    Topic(TopicCommand),
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
    /// Refuse edits of what somebody else has reserved: hooks of git and of editors
    #[command(subcommand)]
    Guard(GuardCommand),
    /// Set how many tasks that name a rate are begun in a time, such as 50/min
    #[command(subcommand)]
    Rate(RateCommand),
    /// Bound what may be used: tokens, money, time
    #[command(subcommand)]
    Budget(BudgetCommand),
    /// Show what was used: tokens, money, time
    Usage(UsageArgs),
    /// Look at the agents of a node, start and stop them
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Let the cluster start and stop agents by itself, as many as a queue of tasks needs
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Let models in by the Model Context Protocol, on stdin and stdout
    Mcp(McpArgs),
    /// Tell Claude Code, Codex, Gemini CLI or Cursor to start `queenright mcp`
    Setup(SetupArgs),
    /// Make the certificates of a cluster, renew them, show them
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Let callers in at doors that ask for tokens, or no longer
    #[command(subcommand)]
    Token(TokenCommand),
    /// Replay the history of a git repository as the work of a swarm, and check every byte
    Replay(ReplayArgs),
    /// Start three nodes, replay this checkout's history, print the report, stop everything
    Demo(DemoArgs),
    /// Let explorers find a goal on a grid by active inference, show them, draw the run
    Explore(Box<ExploreArgs>),
    /// Measure
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Print the OpenAPI document of the doors: what every route takes and answers
    Openapi(OpenapiArgs),
    /// Print what a shell needs to complete the commands of this program
    Completions(CompletionsArgs),
    /// Write the manual, a page for each command
    Man(ManArgs),
}

/// `queenright openapi`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright openapi > queenright.json                  what every door serves at /openapi.json
  openapi-python-client generate --path queenright.json")]
pub struct OpenapiArgs {}

/// `queenright completions`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright completions bash > ~/.local/share/bash-completion/completions/queenright
  queenright completions zsh > ~/.zfunc/_queenright     # a folder in fpath
  queenright completions fish > ~/.config/fish/completions/queenright.fish")]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `queenright man`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright man ~/.local/share/man/man1 && man queenright-task-claim
  queenright man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Into which folder: it is made, and its pages of the same names are replaced
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
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
    /// Who does it, for others to read: up to 128 bytes
    #[arg(long = "as", value_name = "NAME", env = "QUEENRIGHT_AGENT", default_value = AUTHOR, value_parser = value::name)]
    pub acts_as: String,
    /// What it trusts and shows.
    #[command(flatten)]
    pub access: AccessArgs,
}

/// Who does something that was done from the command line, unless it says otherwise.
pub const AUTHOR: &str = "cli";

/// How a command knows a node, and how a node knows it. For nodes of this host both are found beside their state.
#[derive(Args, Clone, Debug, Default)]
pub struct AccessArgs {
    /// Trust doors whose certificates come from this authority, and speak TLS with them
    #[arg(long, value_name = "FILE", env = "QUEENRIGHT_CA")]
    pub ca: Option<PathBuf>,
    /// Show the token in FILE to the door (that of `queenright token create`, not that of a session); without it the one
    /// in QUEENRIGHT_AUTH_TOKEN
    #[arg(long, value_name = "FILE", env = "QUEENRIGHT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
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

/// Longest `--timeout`: a day.
const TIMEOUT_SECONDS_MAX: f64 = 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    value::time(text, 0.001..=TIMEOUT_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_an_example() {
        fn look(command: &clap::Command, path: &str, without: &mut Vec<String>) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if !help.lines().any(|line| line.starts_with("Example")) {
                without.push(path.to_owned());
            }
            for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
                look(below, &format!("{path} {}", below.get_name()), without);
            }
        }
        let mut without = Vec::new();
        look(&Cli::definition(), "queenright", &mut without);
        assert_eq!(without, [""; 0]);
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
        refused("queenright topic follow a..b");
        refused("queenright topic publish a b --file c");
    }
}
