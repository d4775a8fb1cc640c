//! `queenright bench drive`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::ClientArgs;

/// `queenright bench drive`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright bench drive
  queenright bench drive --node 10.0.0.1:7201 --ca ca.pem --token-file admin.token --rates 1000,10000
  queenright bench drive --config cluster.toml --agents 30 --seconds 30 --out drive.json

It starts agents on all nodes that answer, which may be on several hosts: signals at constant rates and in a closed loop, \
puts and tasks. Their keys and tasks are in projects of its own. At the end, and at Ctrl-C, it stops the agents and destroys \
the projects. It needs a token that may start agents and destroy projects, where the doors ask for one.")]
pub struct DriveArgs {
    /// Whom to ask, and how.
    #[command(flatten)]
    pub client: ClientArgs,
    /// Use the nodes of this cluster file, whatever --node says
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How many agents, on all nodes in turn, 2 to 64 for each node [default: two for each node]
    #[arg(long, value_name = "N")]
    pub agents: Option<u64>,
    /// Bytes of each message, value and payload of a task, 41 to 1,048,576
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    pub payload: usize,
    /// How many messages a second are offered, all agents together: a load for each
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1000,5000")]
    pub rates: Vec<u64>,
    /// How long each load is measured, 0.1 to 600
    #[arg(long, value_name = "SECS", default_value_t = 3.0)]
    pub seconds: f64,
    /// What the random choices are made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write the results to FILE as well
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
