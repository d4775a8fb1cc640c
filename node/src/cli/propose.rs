//! `queenright propose`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use queenright_bench::client::wire::WireTaskId;

use super::{TargetArgs, seconds};

/// `queenright propose`
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  echo '{\"reads\": [{\"key\": \"a\", \"revision\": 3}], \"writes\": [{\"key\": \"b\", \"put\": \"text\"}]}' | queenright propose -

  queenright propose --git main..feature --merge --check 'cargo test' --message 'Move the parser'

  queenright propose --git HEAD~..HEAD --task \"$QUEENRIGHT_TASK\" --fence \"$QUEENRIGHT_FENCE\"   # in a command of `run`

With --git, the paths that the branch has changed since it left BASE must be as it found them. Its files stand under the \
prefix, as `memory checkout` and `replay` have them; a replay's are under replay/tree/. With --check, the branch and what \
is committed are written into a folder together, the commands run there, and the proposal commits only if they end with \
code 0 and nothing below the prefix has changed meanwhile; else they run again.

Exit code 3 if the proposal loses or a check fails; the answer names the keys in conflict. Exit code 4 if the lease that it \
is made under, by --task, has ended: what a worker proposes after its task was given to another one changes nothing.")]
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
    /// Only as long as the session of --token holds this task, under --fence
    #[arg(long, value_name = "ID", requires_all = ["fence", "token"])]
    pub task: Option<WireTaskId>,
    /// The fence of its lease
    #[arg(long, value_name = "N", requires = "task")]
    pub fence: Option<u64>,
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
