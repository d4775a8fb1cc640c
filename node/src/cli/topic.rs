//! `queenright topic`.

use std::path::PathBuf;

use clap::Subcommand;
use queenright_protocol::topic::Pattern;

use super::TargetArgs;

/// `queenright topic`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright topic follow 'swarm.*.state'
  queenright topic follow '#' --json --limit 10
  queenright topic publish swarm.red.state ready
  echo '{\"done\": 3}' | queenright topic publish swarm.red.state -

A topic is words with dots between; in a pattern * stands for any one word and # for any words, also none. A message is \
not kept: only those who follow when it is published have it, on whatever node. Too many on the way end publish with exit \
code 75.")]
pub enum TopicCommand {
    /// Publish a message to all who follow its topic, or have subscribed to it
    Publish {
        /// What it is about, such as swarm.red.state
        topic: String,
        /// The message, as text; - takes it from stdin; nothing is a message too
        #[arg(default_value = "")]
        payload: String,
        /// Take the message from FILE
        #[arg(long, value_name = "FILE", conflicts_with = "payload")]
        file: Option<PathBuf>,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Show what is published from now on, until Ctrl-C
    Follow {
        /// Which topics, such as swarm.*.state or #
        pattern: Pattern,
        /// At most this many messages
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// Of which project.
        #[command(flatten)]
        target: TargetArgs,
    },
}
