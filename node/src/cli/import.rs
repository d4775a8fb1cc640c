//! `queenright task import` and `queenright task watch`.

use std::path::PathBuf;

use clap::Args;

use super::TargetArgs;

/// `queenright task import`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright task import tasks.jsonl
  ls *.png | jq -Rc '{title: ., kind: \"convert\", name: .}' | queenright task import -

Each line is one task: {\"title\": …, \"kind\": …, \"payload\": …, \"name\": …}, of which only the title must be there. Blank \
lines are passed over. A task whose name is there already is not added again: run again after an interruption, an import \
goes on where it was. A line without a name gets one from --names, or else is added each time.")]
pub struct ImportArgs {
    /// The file, or - for stdin
    pub file: PathBuf,
    /// What lines without a name are called: PREFIX-LINE
    #[arg(long, value_name = "PREFIX")]
    pub names: Option<String>,
    /// In which project.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// `queenright task watch`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright task watch
  queenright task watch --until-empty --json

One line that changes on a terminal, else a line whenever something has changed, at most one a second.")]
pub struct WatchArgs {
    /// End once no task is pending and none is leased
    #[arg(long)]
    pub until_empty: bool,
    /// Of which project.
    #[command(flatten)]
    pub target: TargetArgs,
}
