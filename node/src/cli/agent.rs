//! `queenright agent`.

use clap::Subcommand;

use super::ClientArgs;

/// `queenright agent`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright agent list
  queenright agent spawn e1 --kind load-echo
  queenright agent show e1
  queenright agent stop e1")]
pub enum AgentCommand {
    /// List the agents of a node
    List {
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show an agent and what it reports
    Show {
        /// Its name
        name: String,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Start an agent on a node
    Spawn {
        /// Its name; no other agent of the node may have it
        name: String,
        /// Its kind
        #[arg(long)]
        kind: String,
        /// What it is told at the start; its kind says what this must hold
        #[arg(long, value_name = "JSON", default_value = "null", value_parser = json)]
        arguments: serde_json::Value,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Stop an agent
    Stop {
        /// Its name
        name: String,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
}

fn json(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(text)
}
