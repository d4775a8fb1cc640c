//! `queenright run`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::{AccessArgs, TakesArgs, seconds};

/// `queenright run`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright run -- ./convert.sh
  queenright run --kind hash --concurrency 8 -- sh -c 'sha256sum \"$(jq -r .payload.file)\"'
  queenright run --kind review --exit-when-empty --json -- python3 review.py
  queenright run --queue gpu --concurrency 4 --capability cuda --label host=a -- ./train.sh

The command is started once for each task, in a process group of its own. It reads the task on stdin as one JSON object \
{task, attempt, fence, title, kind, payload, project}; its environment has QUEENRIGHT_TASK, QUEENRIGHT_ATTEMPT, \
QUEENRIGHT_FENCE, QUEENRIGHT_KIND, QUEENRIGHT_PROJECT, QUEENRIGHT_NODE, QUEENRIGHT_TOKEN and QUEENRIGHT_AGENT, the \
worker's name.

Exit code 0 of the command: the task is done, and what it printed on stdout is the result, JSON or else text, up to 48 KiB. \
Exit code 75: the task is given back for another try. Any other, a signal, or a time limit: the task has failed, for good, \
or with --retry as far as its own retry policy says. The result is kept as {exit, result, log, ran_ms}, where log is the end \
of what the command printed on stderr.

The checks of a task run after its command, each by `sh -c` with the same input and environment. Unless each exits with 0 the \
task is not done: it has failed with class `check`, and is tried again as far as its retry policy says.

When the task is lost the command is killed, with all that it has started; likewise when this worker dies. When no node \
answers for as long as the session surely lives it is killed too, and the task is given back once a node answers. Ctrl-C \
lets what runs end within the grace, a second one gives it back at once.

Exit code 0 when the worker has ended as it should, 5 if it found nothing to do, 7 if no node answers at its start.")]
pub struct RunArgs {
    /// Which tasks.
    #[command(flatten)]
    pub takes: TakesArgs,
    /// How many tasks at a time, up to 1000
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub concurrency: u16,
    /// End after so many tasks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_tasks: Option<u64>,
    /// End once no task is ready
    #[arg(long)]
    pub exit_when_empty: bool,
    /// How long a command may run, in seconds
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub max_runtime: Option<Duration>,
    /// How long commands may go on after Ctrl-C, in seconds
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = seconds)]
    pub grace: Duration,
    /// What this worker is called; another of the same name is another worker all the same
    #[arg(long, value_name = "NAME", default_value = "run")]
    pub name: String,
    /// A node to work for; give it again for others, which are asked when it does not answer; else all of the one cluster
    /// that runs on this host
    #[arg(
        long = "node",
        value_name = "HOST:PORT",
        env = "QUEENRIGHT_NODE",
        value_delimiter = ','
    )]
    pub nodes: Vec<String>,
    /// What it trusts and shows.
    #[command(flatten)]
    pub access: AccessArgs,
    /// The program to run for each task, and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
