//! `queenright guard`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{AccessArgs, seconds};

/// `queenright guard`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright guard install --project parser            # hooks of git before commits and pushes
  queenright guard install --editor claude --dry-run   # and one of Claude Code before each edit
  queenright guard check src/parse.rs tests/           # exit code 3 if somebody else has a part of it
  queenright guard uninstall

What somebody else has reserved exclusively is refused, and the holder is named. QUEENRIGHT_TOKEN says whose own reservations \
are no hindrance. A hook that is there is kept, and called first. When no node answers, the guard warns and lets through, \
unless --strict. An editor or a script without a hook of its own can call `guard check PATH` before it writes.")]
pub enum GuardCommand {
    /// Put the hooks into a repository
    Install(GuardInstallArgs),
    /// Say whether others have reserved paths; exit code 3 if they have
    Check(GuardCheckArgs),
    /// Take the hooks out again
    Uninstall(GuardUninstallArgs),
}

/// An editor that has hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Editor {
    /// Claude Code: .claude/settings.local.json of the repository
    Claude,
}

/// Which node is asked, and about which project.
#[derive(Args, Clone, Debug)]
pub struct GuardedArgs {
    /// The project whose reservations count
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub project: String,
    /// The node to ask; else the first node of the one cluster that runs on this host
    #[arg(long, value_name = "HOST:PORT", env = "QUEENRIGHT_NODE")]
    pub node: Option<String>,
    /// How long the node may take, in seconds
    #[arg(long, value_name = "SECS", default_value = "5", value_parser = seconds)]
    pub timeout: Duration,
    /// Refuse also when no node answers
    #[arg(long)]
    pub strict: bool,
    /// What it trusts and shows.
    #[command(flatten)]
    pub access: AccessArgs,
}

/// `queenright guard install`
#[derive(Args, Debug)]
pub struct GuardInstallArgs {
    /// The repository; else the one of this folder
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// A hook of this editor too
    #[arg(long, value_enum)]
    pub editor: Option<Editor>,
    /// No hooks of git: that of the editor alone
    #[arg(long, requires = "editor")]
    pub no_git: bool,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What the hooks ask.
    #[command(flatten)]
    pub guarded: GuardedArgs,
}

/// `queenright guard check`
#[derive(Args, Debug)]
pub struct GuardCheckArgs {
    /// Files or folders, from this folder
    #[arg(value_name = "PATH", required_unless_present_any = ["staged", "pushed", "hook"])]
    pub paths: Vec<PathBuf>,
    /// What the commit under way changes: for a pre-commit hook
    #[arg(long, conflicts_with_all = ["paths", "pushed", "hook"])]
    pub staged: bool,
    /// What is pushed, as a pre-push hook is told on stdin
    #[arg(long, conflicts_with_all = ["paths", "hook"])]
    pub pushed: bool,
    /// What this editor asks on stdin; it is answered in its own way, with exit code 0
    #[arg(long, value_enum, conflicts_with = "paths")]
    pub hook: Option<Editor>,
    /// Whose own reservations are no hindrance
    #[arg(long, env = "QUEENRIGHT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// What is asked.
    #[command(flatten)]
    pub guarded: GuardedArgs,
}

/// `queenright guard uninstall`
#[derive(Args, Debug)]
pub struct GuardUninstallArgs {
    /// The repository; else the one of this folder
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}
