//! `queenright task`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use queenright_bench::client::wire::WireTaskId;

use super::{ImportArgs, ReadMode, SpentArgs, TargetArgs, WatchArgs, seconds};

/// `queenright task`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright task add 'Move the parser' --kind refactor --payload '{\"file\": \"src/parse.rs\"}'
  queenright task claim --kind refactor
  queenright task claim --wait 30
  queenright task accept 17-0 --fence 18 --token 5f0c…
  queenright task finish 17-0 --fence 18 --token 5f0c… --result '\"moved\"'
  queenright task list --state leased
  queenright task show 17-0
  queenright task add 'Deploy' --queue ops --priority high --need 4-0 --approval --retries 5
  queenright task approve 12-0
  queenright task finish 17-0 --fence 18 --token 5f0c… --outcome failed --retry --message 'no network'
  queenright task cancel 17-0 --reason 'not needed any more'
  queenright task add 'Ask the model' --resource rate:claude=2
  queenright task add 'Train' --resource slot:gpu --resource 'models/**' --shared-resource 'data/**'

A claim opens a session, which holds the tasks, and prints its token, and for each task a fence; accept and finish take \
both. The session lives for 90 s, or as long as --lease says, after each call with its token, and closes by itself when \
it holds nothing any more; when it ends the task is for others, and its old fence is refused. A claim with --wait that \
finds nothing gets the next task that becomes ready and falls to it, and accepts it at once. With --token the claim is \
that of a session that is open already: see `queenright session`.

Exit code 3 if somebody holds the task, it is finished or in no state for it, 4 if the fence is stale, 5 if no task is \
ready.")]
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
        /// Take tasks from FILE, or from stdin if FILE is -: a JSON list of {title, kind, payload, name, …}, with all
        /// that the flags here say, and more
        #[arg(long, value_name = "FILE", conflicts_with_all = ["title", "kind", "payload", "name", "terms"])]
        file: Option<PathBuf>,
        /// Its terms.
        #[command(flatten)]
        terms: TermsArgs,
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
        #[arg(value_name = "ID", conflicts_with_all = ["kinds", "limit", "queue"])]
        ids: Vec<WireTaskId>,
        /// From this queue instead of `default`
        #[arg(long)]
        queue: Option<String>,
        /// What the worker is capable of; give it again for more
        #[arg(long = "capability", value_name = "NAME")]
        capabilities: Vec<String>,
        /// Any task of this kind; give it again for more
        #[arg(long = "kind", value_name = "KIND")]
        kinds: Vec<String>,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        /// For how long the new session lives without a sign of life, in seconds, from 10 to 86400 [default: 90]
        #[arg(long, value_name = "SECS", value_parser = seconds, conflicts_with = "token")]
        lease: Option<Duration>,
        /// Wait for a task for so many seconds, up to 60, if none is ready
        #[arg(long, value_name = "SECS", value_parser = seconds, conflicts_with = "ids")]
        wait: Option<Duration>,
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
    /// Take tasks away from owners that have marked them for it, or that were silent for 15 minutes
    #[command(after_help = "Example:\n  queenright task steal 17-0")]
    Steal {
        /// The ids of tasks: all of them or none
        #[arg(value_name = "ID", required = true)]
        ids: Vec<WireTaskId>,
        /// For how long the new session lives without a sign of life, in seconds, from 10 to 86400 [default: 90]
        #[arg(long, value_name = "SECS", value_parser = seconds, conflicts_with = "token")]
        lease: Option<Duration>,
        /// The token of an open session, instead of a new session
        #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Say that work on a task goes on
    #[command(after_help = "Example:\n  queenright task accept 17-0 --fence 18 --token 5f0c…")]
    Accept {
        /// The task.
        #[command(flatten)]
        held: HeldArgs,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Say how far work on a task has come
    #[command(after_help = "\
Example:
  queenright task update 17-0 --fence 18 --token 5f0c… --progress 50 --note 'half of the files' --checkpoint '{\"file\": 12}'
  queenright task update 17-0 --fence 18 --token 5f0c… --tokens-in 1200 --tokens-out 300 --cost 0.03

What was used is added to what was said before. The checkpoint is given to whoever claims the task next, should this attempt not finish it.")]
    Update {
        /// The task.
        #[command(flatten)]
        held: HeldArgs,
        /// How much is done, in hundredths
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(..=100))]
        progress: Option<u8>,
        /// In words
        #[arg(long)]
        note: Option<String>,
        /// What the next attempt needs to go on from here: JSON, or else text
        #[arg(long, value_name = "JSON")]
        checkpoint: Option<String>,
        /// Whether others may take the task away
        #[arg(long, value_name = "YES")]
        stealable: Option<bool>,
        /// What was used.
        #[command(flatten)]
        used: SpentArgs,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Give a task back for others
    #[command(after_help = "Example:\n  queenright task release 17-0 --fence 18 --token 5f0c…")]
    Release {
        /// The task.
        #[command(flatten)]
        held: HeldArgs,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Offer a task to somebody by name, who takes it by claiming its id
    #[command(after_help = "\
Example:
  queenright task handoff 17-0 --fence 18 --token 5f0c… --to ann

It stays with its owner until then. Without --to the offer is taken back.")]
    Handoff {
        /// The task.
        #[command(flatten)]
        held: HeldArgs,
        /// To whom: the name of an agent or of a session
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Cancel a task; one that is leased by telling its owner, or at once with --force
    #[command(after_help = "Example:\n  queenright task cancel 17-0 --reason 'not needed any more'")]
    Cancel {
        /// The task.
        #[command(flatten)]
        control: ControlArgs,
        /// Why
        #[arg(long)]
        reason: Option<String>,
        /// Take it from its owner
        #[arg(long)]
        force: bool,
    },
    /// Keep a task that waits from being claimed
    #[command(after_help = "Example:\n  queenright task pause 17-0")]
    Pause(ControlArgs),
    /// Let a paused task go on
    #[command(after_help = "Example:\n  queenright task resume 17-0")]
    Resume(ControlArgs),
    /// Approve of a task that waits for it
    #[command(after_help = "Example:\n  queenright task approve 17-0")]
    Approve(ControlArgs),
    /// Reject a task that waits for an approval: it is cancelled
    #[command(after_help = "Example:\n  queenright task reject 17-0 --reason 'too dear'")]
    Reject {
        /// The task.
        #[command(flatten)]
        control: ControlArgs,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Have a task done again that has failed, was cancelled or is dead
    #[command(after_help = "Example:\n  queenright task requeue 17-0")]
    Requeue(ControlArgs),
    /// Forget a finished task that no other needs
    #[command(after_help = "Example:\n  queenright task drop 17-0")]
    Drop(ControlArgs),
    /// List the tasks that a claim may take now
    #[command(after_help = "Example:\n  queenright task ready --queue ops")]
    Ready {
        /// Only those of this queue
        #[arg(long)]
        queue: Option<String>,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Show which open tasks need which, and how those are
    #[command(after_help = "Example:\n  queenright task graph")]
    Graph {
        /// Of which project.
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
        /// With --outcome failed: it may be tried again, if its terms allow that
        #[arg(long, requires = "message")]
        retry: bool,
        /// With --outcome failed: the class of the error
        #[arg(long, value_name = "CLASS", requires = "message")]
        class: Option<String>,
        /// With --outcome failed: what happened
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
        /// With --outcome blocked: a task that it needs first, by id or name; give it again for more
        #[arg(long = "need", value_name = "TASK")]
        needs: Vec<String>,
        /// Tasks to add in the same step: a file with a JSON list as for `task add --file`
        #[arg(long, value_name = "FILE")]
        follow_ups: Option<PathBuf>,
        /// The exit code of a check of the task; once for each, in their order
        #[arg(long = "check", value_name = "CODE")]
        checks: Vec<i32>,
        /// What was used.
        #[command(flatten)]
        used: SpentArgs,
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
        /// Only tasks of this queue
        #[arg(long)]
        queue: Option<String>,
        /// Only tasks with this label
        #[arg(long)]
        label: Option<String>,
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

/// `queenright dlq`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright dlq list
  queenright dlq show 17-0
  queenright dlq requeue 17-0
  queenright dlq drop 17-0

A task is dead when it used up what its terms allow: too many failures, leases that ended by themselves, or workers that \
died of it while their node lived.")]
pub enum DlqCommand {
    /// List the dead tasks, oldest first
    List {
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Show a dead task with every attempt that is kept
    Show {
        /// Its id
        #[arg(value_name = "ID")]
        task: WireTaskId,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Have a dead task done again: its failures are forgotten
    Requeue(ControlArgs),
    /// Forget a dead task
    Drop(ControlArgs),
}

/// `queenright queue`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright queue list
  queenright queue set ops --paused true
  queenright queue set ops --breaker-failures 5 --breaker-pause 60
  queenright queue set ops --policy least-loaded

A breaker opens after so many failures in a row: the queue hands out nothing for the pause, then one task for trial, and \
goes on when that one is done. 0 failures are no breaker.

The policy says which of the claims that wait for a task, and that a task fits, gets it; no claim starves by it.")]
pub enum QueueCommand {
    /// List the queues that have open tasks or settings
    List {
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Change the settings of a queue; what is not said stays
    Set {
        /// The queue
        #[arg(value_name = "NAME")]
        queue: String,
        /// Whether it hands out nothing until it is told to go on
        #[arg(long, value_name = "YES", required_unless_present_any = ["breaker_failures", "policy"])]
        paused: Option<bool>,
        /// After how many failures in a row its breaker opens; 0 for none
        #[arg(long, value_name = "N")]
        breaker_failures: Option<u32>,
        /// For how long the breaker stays open, in seconds
        #[arg(long, value_name = "SECS", default_value = "60", value_parser = seconds, requires = "breaker_failures")]
        breaker_pause: Duration,
        /// Which of the claims that wait gets a task
        #[arg(long, value_enum)]
        policy: Option<PolicyArg>,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// Where a task queues, what it asks of a worker, what it waits for, and what happens when it fails.
#[derive(Args, Clone, Debug, Default)]
#[group(id = "terms", multiple = true)]
pub struct TermsArgs {
    /// The queue in which it waits [default: default]
    #[arg(long)]
    pub queue: Option<String>,
    /// What it is about; give it again for more
    #[arg(long = "label", value_name = "LABEL")]
    pub labels: Vec<String>,
    /// What a worker must be capable of; give it again for more
    #[arg(long = "require", value_name = "CAPABILITY")]
    pub requires: Vec<String>,
    /// How much it matters [default: normal]
    #[arg(long, value_enum)]
    pub priority: Option<PriorityArg>,
    /// Who waits for it [default: standard]
    #[arg(long, value_enum)]
    pub tier: Option<TierArg>,
    /// What it may cost, in a unit of your own: of equal priority and tier the cheapest go first [default: counts as 100]
    #[arg(long, value_name = "N")]
    pub cost: Option<u32>,
    /// A task that must be done before, by id or name; give it again for more
    #[arg(long = "need", value_name = "TASK")]
    pub needs: Vec<String>,
    /// Cancel it if one of those fails, instead of leaving it blocked
    #[arg(long)]
    pub cancel_on_failed_need: bool,
    /// Not to be claimed for so many seconds
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub delay: Option<Duration>,
    /// How long a claim holds it until it is accepted, in seconds
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub start_timeout: Option<Duration>,
    /// How long an attempt may take, in seconds
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub max_runtime: Option<Duration>,
    /// After how many failures it is dead [default: 3]
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// It waits for somebody's approval
    #[arg(long)]
    pub approval: bool,
    /// A command that the worker runs before the task may be done; give it again for more
    #[arg(long = "check", value_name = "COMMAND")]
    pub checks: Vec<String>,
    /// A file pattern, key:KEY or slot:NAME that a claim reserves with it, for its owner alone, or rate:NAME or rate:NAME=N,
    /// tokens that a claim takes (see `queenright rate`); give it again for more
    #[arg(long = "resource", value_name = "RESOURCE")]
    pub resources: Vec<String>,
    /// The same, shared with others who share it
    #[arg(long = "shared-resource", value_name = "RESOURCE")]
    pub shared_resources: Vec<String>,
}

/// A task that need not be the caller's.
#[derive(Args, Clone, Debug)]
pub struct ControlArgs {
    /// Its id
    #[arg(value_name = "ID")]
    pub task: WireTaskId,
    /// A name for this command: repeated under the same name it takes effect once
    #[arg(long, value_name = "NAME")]
    pub idempotency_key: Option<String>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// In which project.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// How much a task matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PriorityArg {
    /// Before everything else
    Critical,
    /// Before what is normal
    High,
    /// As most tasks
    Normal,
    /// When nothing else is to be done
    Low,
}

/// Who waits for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TierArg {
    /// Somebody looks on
    Interactive,
    /// Somebody waits
    Standard,
    /// Nobody waits
    Batch,
}

/// Which of the claims that wait, and that a task fits, gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PolicyArg {
    /// The oldest
    FirstCome,
    /// The one whose owner holds the fewest tasks
    LeastLoaded,
    /// The one with the fewest capabilities
    CapabilityFit,
    /// The owners in turn
    RoundRobin,
    /// One that is drawn
    Random,
    /// The one whose session shares the most labels with the task
    Locality,
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
    /// It has failed: for good, or to be tried again with --retry
    Failed,
    /// It is given back for others
    Released,
    /// It cannot go on until others are done
    Blocked,
    /// It is not to be done
    Cancelled,
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
    /// It needs others that are not done
    Blocked,
    /// Somebody must approve of it
    AwaitingApproval,
    /// Somebody has paused it
    Paused,
    /// It was cancelled
    Cancelled,
    /// It is on the dead-letter list
    Dead,
}
