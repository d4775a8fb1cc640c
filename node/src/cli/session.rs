//! `queenright session`.

use std::time::Duration;

use clap::{Args, Subcommand};
use queenright_bench::client::wire::WireSessionId;

use super::{ReadMode, TargetArgs, seconds};

/// `queenright session`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright session open --name ann --capability rust
  queenright task claim --token 5f0c…
  queenright session heartbeat s42 --token 5f0c…
  queenright session list
  queenright session show s42
  queenright session reopen s42 --token 5f0c… --node 127.0.0.1:7202
  queenright session close s42 --token 5f0c…

A session is one agent at work; what it claims is its own while it is open. It lives for 90 s, or as long as --ttl says, \
after its last sign of life: a heartbeat, or any call with its token. When its node is lost, it has 30 s to be heard of at \
another one.

Exit code 4 if the session has ended; the message says why.")]
pub enum SessionCommand {
    /// Open a session, and print its id and its token
    Open {
        /// What it is called, for people; others may be called the same
        #[arg(long)]
        name: Option<String>,
        /// Which program works in it, for people
        #[arg(long)]
        program: Option<String>,
        /// What it can do; give it again for more
        #[arg(long = "capability", value_name = "WORD")]
        capabilities: Vec<String>,
        /// Where or what it is; give it again for more
        #[arg(long = "label", value_name = "WORD")]
        labels: Vec<String>,
        /// For how long it lives without a sign of life, in seconds, from 10 to 86400
        #[arg(long, value_name = "SECS", default_value = "90", value_parser = seconds)]
        ttl: Duration,
        /// A secret of your own instead of a new one; it must be hard to guess
        #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// A name for this command: repeated under the same name it takes effect once; needs --token
        #[arg(long, value_name = "NAME", requires = "token")]
        idempotency_key: Option<String>,
        /// In which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// List sessions, oldest first
    List {
        /// Those that have ended too
        #[arg(long)]
        ended: bool,
        /// Only sessions of this name
        #[arg(long)]
        name: Option<String>,
        /// At most this many, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
        limit: u64,
        /// Only sessions after this one: the last of the list before
        #[arg(long, value_name = "ID")]
        after: Option<WireSessionId>,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Show a session
    Show {
        /// Its id
        #[arg(value_name = "ID")]
        session: WireSessionId,
        /// How fresh the answer must be
        #[arg(long, alias = "read", value_enum, default_value_t = ReadMode::Linearizable)]
        consistency: ReadMode,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Give a sign of life, and print what the session holds
    Heartbeat {
        /// The session.
        #[command(flatten)]
        own: OwnArgs,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Let a session live on the node that is asked
    Reopen {
        /// The session.
        #[command(flatten)]
        own: OwnArgs,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// End a session: what it holds returns
    Close {
        /// The session.
        #[command(flatten)]
        own: OwnArgs,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// A session whose token the caller has.
#[derive(Args, Clone, Debug)]
pub struct OwnArgs {
    /// Its id
    #[arg(value_name = "ID")]
    pub session: WireSessionId,
    /// Its token
    #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
    pub token: String,
}
