//! `queenright reserve`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use queenright_bench::client::wire::{WireReservationId, WireTaskId};

use super::{ReadMode, TargetArgs, seconds};

/// `queenright reserve`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright reserve add 'src/parse/**' tests/parse.rs --reason 'move the parser'
  queenright reserve add key:plan/ --shared --wait 60
  queenright reserve check 'src/*/mod.rs'
  queenright reserve renew r17-0 --token 5f0c…
  queenright reserve release --all --token 5f0c…
  queenright reserve slots gpu 2
  queenright reserve list
  queenright reserve force r17-0 --reason 'its owner is gone'
  queenright reserve advisory on

A resource is file:PATTERN (*, ?, [a-z], {a,b} and ** for any number of folders; what has no kind is a file), key:KEY, \
key:PREFIX/ or slot:NAME. A path and a key of the same text are the same thing. What is added is had as a whole or not at \
all, and prints a token that releases and renews it and, with `memory put --token`, lets its owner write.

Exit code 3 if somebody holds a part of it, also when --wait is over: what stands in the way is printed, and the part that \
is free. Exit code 4 if the reservation has ended or is not yours.")]
pub enum ReserveCommand {
    /// Reserve resources: all of them or none
    Add {
        /// The resources
        #[arg(required = true, value_name = "RESOURCE")]
        resources: Vec<String>,
        /// How.
        #[command(flatten)]
        mode: ModeArgs,
        /// How long they are held, in seconds, from 1 to 86400
        #[arg(long, value_name = "SECS", default_value = "900", value_parser = seconds)]
        ttl: Duration,
        /// Wait so many seconds for those that are taken, up to 3600: first come, first served
        #[arg(long, value_name = "SECS", value_parser = seconds)]
        wait: Option<Duration>,
        /// What for: others can read it
        #[arg(long)]
        reason: Option<String>,
        /// For which task
        #[arg(long, value_name = "ID")]
        task: Option<WireTaskId>,
        /// The token of a session that is to have them, as another `add` or `session open` printed it
        #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// A name for this command: repeated under the same name it takes effect once; needs --token
        #[arg(long, value_name = "NAME", requires = "token")]
        idempotency_key: Option<String>,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Say what stands in the way of resources; exit code 3 if anything does
    Check {
        /// The resources
        #[arg(required = true, value_name = "RESOURCE")]
        resources: Vec<String>,
        /// How.
        #[command(flatten)]
        mode: ModeArgs,
        /// Whose own reservations are no hindrance
        #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// List what is reserved and who waits, oldest first
    List {
        /// Only what meets this resource
        #[arg(value_name = "RESOURCE")]
        resource: Option<String>,
        /// Only those who wait
        #[arg(long)]
        waiting: bool,
        /// At most this many, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
        limit: u64,
        /// Only those after this one: the last of the list before
        #[arg(long, value_name = "ID")]
        after: Option<WireReservationId>,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Give reservations back, or stop waiting
    Release {
        /// The ids of reservations, or resources as they were named
        #[arg(value_name = "ID|RESOURCE", required_unless_present = "all", conflicts_with = "all")]
        which: Vec<String>,
        /// All that the token has, up to 1000 at once
        #[arg(long)]
        all: bool,
        /// The token that `add` printed
        #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
        token: String,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Hold a reservation for longer
    Renew {
        /// Its id
        #[arg(value_name = "ID")]
        reservation: WireReservationId,
        /// The token that `add` printed
        #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
        token: String,
        /// For how long from now, in seconds; as long as at first unless it says otherwise
        #[arg(long, value_name = "SECS", value_parser = seconds)]
        ttl: Option<Duration>,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Take a reservation from its owner, who learns of it by an event and by the next call
    Force {
        /// Its id
        #[arg(value_name = "ID")]
        reservation: WireReservationId,
        /// Why: everybody can read it
        #[arg(long)]
        reason: String,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// List slots, or say how many places one has
    Slots {
        /// The slot
        #[arg(requires = "capacity")]
        name: Option<String>,
        /// How many places it has from now on, up to 1024; 0 closes it, who has a place keeps it
        capacity: Option<u32>,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Say what would be done, and change nothing
        #[arg(long, requires = "capacity")]
        dry_run: bool,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Say whether reservations leave the writes of others alone (on), or stop them (off, as at first)
    Advisory {
        /// Whether they do
        state: OnOff,
        /// Say what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// How resources are reserved: exclusively, unless one of these is given.
#[derive(Args, Clone, Copy, Debug)]
pub struct ModeArgs {
    /// Shared: others may share them, nobody takes them exclusively
    #[arg(long, conflicts_with = "intent")]
    pub shared: bool,
    /// Announce only: it stands in nobody's way
    #[arg(long)]
    pub intent: bool,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// Writes are left alone
    On,
    /// Writes of others lose
    Off,
}
