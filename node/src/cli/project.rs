//! `queenright project`.

use clap::{Args, Subcommand};
use queenright_protocol::colony::ProjectLimits;

use super::{ClientArgs, ReadMode};

/// `queenright project`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright project create parser --tasks 1000 --memory-bytes 64000000 --commands-per-second 50
  queenright project list
  queenright project status parser
  queenright project limits parser --tasks 5000
  queenright project destroy parser          # says what would be lost
  queenright project destroy parser --yes

A project is made by its first use, unless the cluster file says projects = \"listed\". At a limit a command is refused \
with the limit, what there is and what was asked for, and exit code 75; what takes something away goes on.")]
pub enum ProjectCommand {
    /// Make a project; exit code 3 if it is there already
    #[command(after_help = "\
Example:
  queenright project create parser --tasks 1000 --memory-keys 100000")]
    Create(LimitedArgs),
    /// List projects by name, with what they hold
    #[command(after_help = "\
Example:
  queenright project list --json")]
    List {
        /// At most this many, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
        limit: u64,
        /// Only projects after this one: the last of the list before
        #[arg(long, value_name = "NAME")]
        after: Option<String>,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show what a project holds, and its limits
    #[command(
        alias = "show",
        after_help = "\
Example:
  queenright project status parser"
    )]
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
    /// Give a project these limits, in place of those that it has; what is not said is not limited
    #[command(after_help = "\
Example:
  queenright project limits parser --tasks 5000 --agents 20

A project that has more than a new limit allows keeps it, and gets no more.")]
    Limits(LimitedArgs),
    /// Say what is lost with a project; with --yes destroy it
    #[command(after_help = "\
Example:
  queenright project destroy parser --yes

It is gone at once for everybody. What it held is cleared away in the background; until that is done its name is refused.")]
    Destroy {
        /// Its name
        name: String,
        /// Destroy it: nothing of it can be had back
        #[arg(long)]
        yes: bool,
        /// Say what would be lost, which is what it does without --yes
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// A project and its limits.
#[derive(Args, Debug)]
pub struct LimitedArgs {
    /// Its name
    pub name: String,
    /// What it may have at most.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The node to ask.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What a project may have at most.
#[derive(Args, Clone, Copy, Debug)]
pub struct LimitArgs {
    /// So many agents: open sessions, and hosted ones that hold something of it
    #[arg(long, value_name = "N")]
    pub agents: Option<u64>,
    /// So many tasks that are not finished
    #[arg(long, value_name = "N")]
    pub tasks: Option<u64>,
    /// So many keys that have a value
    #[arg(long, value_name = "N")]
    pub memory_keys: Option<u64>,
    /// So many bytes of memory
    #[arg(long, value_name = "N")]
    pub memory_bytes: Option<u64>,
    /// So many commands in a second of cluster time
    #[arg(long, value_name = "N")]
    pub commands_per_second: Option<u64>,
}

impl From<LimitArgs> for ProjectLimits {
    fn from(args: LimitArgs) -> ProjectLimits {
        ProjectLimits {
            agents: args.agents,
            tasks: args.tasks,
            memory_keys: args.memory_keys,
            memory_bytes: args.memory_bytes,
            commands_per_s: args.commands_per_second,
        }
    }
}
