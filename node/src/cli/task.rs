//! `queenright task`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use queenright_bench::client::wire::WireTaskId;

use super::{ImportArgs, ReadMode, TargetArgs, WatchArgs, seconds};

/// `queenright task`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright task add 'Move the parser' --kind refactor --payload '{\"file\": \"src/parse.rs\"}'
  queenright task claim --kind refactor
  queenright task accept 17-0 --fence 18 --token 5f0c…
  queenright task finish 17-0 --fence 18 --token 5f0c… --result '\"moved\"'
  queenright task list --state leased

A claim opens a session, which holds the tasks, and prints its token, and for each task a fence; accept and finish take
both. The session lives for 90 s, or as long as --lease says, after each call with its token, and closes by itself when
it holds nothing any more; when it ends the task is for others, and its old fence is refused. With --token the claim is
that of a session that is open already: see `queenright session`.

Exit code 3 if somebody holds the task or it is finished, 4 if the fence is stale, 5 if no task is ready.")]
pub enum TaskCommand {
    /// Add a task, or those of a file, and print their ids
    Add {
        /// What is to be done
        #[arg(required_unless_present = "file")]
        title: Option<String>,
        /// What sort of work it is: claims may ask for kinds
        #[arg(long)]
        kind: Option<String>,
        /// What the owner needs to know: JSON, or else text
        #[arg(long, value_name = "JSON")]
        payload: Option<String>,
        /// A name that no other task of the project has; adding it again prints the id of the task that has it
        #[arg(long)]
        name: Option<String>,
        /// Take tasks from FILE, or from stdin if FILE is -: a JSON list of {title, kind, payload, name}
        #[arg(long, value_name = "FILE", conflicts_with_all = ["title", "kind", "payload", "name"])]
        file: Option<PathBuf>,
        /// A name for this command: repeated under the same name it takes effect once
        #[arg(long, value_name = "NAME")]
        idempotency_key: Option<String>,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Take tasks: these, or the oldest that wait
    Claim {
        /// The ids of tasks: all of them or none
        #[arg(value_name = "ID", conflicts_with_all = ["kinds", "limit"])]
        ids: Vec<WireTaskId>,
        /// Any task of this kind; give it again for more
        #[arg(long = "kind", value_name = "KIND")]
        kinds: Vec<String>,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        /// For how long the new session lives without a sign of life, in seconds, from 10 to 86400 [default: 90]
        #[arg(long, value_name = "SECS", value_parser = seconds, conflicts_with = "token")]
        lease: Option<Duration>,
        /// The token of an open session, instead of a new session
        #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// A name for this command: repeated under the same name it takes effect once; needs --token
        #[arg(long, value_name = "NAME", requires = "token")]
        idempotency_key: Option<String>,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Say that work on a task goes on
    Accept {
        /// The task.
        #[command(flatten)]
        held: HeldArgs,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// End the work on a task that was claimed
    Finish {
        /// The task.
        #[command(flatten)]
        held: HeldArgs,
        /// How it ends
        #[arg(long, value_enum, default_value_t = Ending::Done)]
        outcome: Ending,
        /// What came of it: JSON, or else text
        #[arg(long, value_name = "JSON")]
        result: Option<String>,
        /// A proposal as JSON: the task is done only if it commits; a file, or - for stdin
        #[arg(long, value_name = "FILE")]
        proposal: Option<PathBuf>,
        /// A name for this command: repeated under the same name it takes effect once
        #[arg(long, value_name = "NAME")]
        idempotency_key: Option<String>,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// List tasks, oldest first
    List {
        /// Only tasks in this state
        #[arg(long, value_enum)]
        state: Option<StateArg>,
        /// Only tasks of this kind
        #[arg(long)]
        kind: Option<String>,
        /// Only the task of this name
        #[arg(long)]
        name: Option<String>,
        /// At most this many, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
        limit: u64,
        /// Only tasks after this one: the last of the list before
        #[arg(long, value_name = "ID")]
        after: Option<WireTaskId>,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Show a task with its payload, its holder and its history
    Show {
        /// Its id
        #[arg(value_name = "ID")]
        task: WireTaskId,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Add the tasks of a file, a line of JSON each
    Import(ImportArgs),
    /// Show how far the work is, and how it goes on
    Watch(WatchArgs),
}

/// A task that the caller holds.
#[derive(Args, Clone, Debug)]
pub struct HeldArgs {
    /// Its id
    #[arg(value_name = "ID")]
    pub task: WireTaskId,
    /// The fence that the claim printed
    #[arg(long, value_name = "N")]
    pub fence: u64,
    /// The token of the session that holds it
    #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
    pub token: String,
}

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ending {
    /// It is done
    Done,
    /// It has failed for good
    Failed,
    /// It is given back for others
    Released,
}

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateArg {
    /// It waits to be claimed
    Pending,
    /// Somebody holds it
    Leased,
    /// It was done
    Done,
    /// It has failed
    Failed,
}
