//! `queenright memory`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use queenright_bench::client::wire::EventCursor;

use super::{ReadMode, TargetArgs};

/// `queenright memory`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright memory put plan/title 'Move the parser'
  queenright memory put plan/body --file plan.md --if-revision 3
  queenright memory get plan/title
  queenright memory list plan/
  queenright memory delete plan/title --if-revision 4
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

Run again, it replaces and deletes what it wrote itself, and what nobody has changed since; else exit code 3. In a work tree \
of git it may also replace and delete what the last commit has: git keeps it. What is neither is never touched.")]
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

With --after it begins with the changes behind that cursor. Exit code 4, code COMPACTED, when some of those are no longer \
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
