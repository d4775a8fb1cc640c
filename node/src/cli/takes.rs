//! What all workers are told of the tasks that they take: `queenright run`, `agent exec`, `agent http` and `pool set`.

use std::time::Duration;

use clap::Args;

use super::agent::span;

/// Which tasks a worker takes.
#[derive(Args, Clone, Debug)]
pub struct TasksArgs {
    /// In which project
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub project: String,
    /// Tasks of this queue instead of `default`
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// Only tasks of this kind; give it again, or several with commas, for more
    #[arg(long = "kind", alias = "kinds", value_name = "KIND", value_delimiter = ',')]
    pub kinds: Vec<String>,
    /// What the worker is capable of; give it again, or several with commas, for more
    #[arg(
        long = "capability",
        alias = "capabilities",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub capabilities: Vec<String>,
}

/// Which tasks a worker takes, and how it holds them.
#[derive(Args, Clone, Debug)]
pub struct TakesArgs {
    /// Which ones.
    #[command(flatten)]
    pub tasks: TasksArgs,
    /// Where and what it is, for a queue whose policy is locality; give it again, or several with commas, for more
    #[arg(long = "label", alias = "labels", value_name = "LABEL", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// A task that fails has not failed for good: it is tried again as far as its retry policy says
    #[arg(long)]
    pub retry: bool,
    /// For how long the tasks are held without contact to a quorum of the nodes, from 10 seconds to a day
    #[arg(long, value_name = "TIME", default_value = "30", value_parser = span)]
    pub lease: Duration,
}
