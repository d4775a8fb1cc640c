//! `queenright topology`.

use clap::Subcommand;

use super::ClientArgs;

/// `queenright topology`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright topology show
  queenright topology set ring --dry-run     # says which links would open and close
  queenright topology set hierarchical --fan-out 3

The cluster file says how a cluster begins; after that only `set` changes it. A change is a new epoch: commands go on \
meanwhile, new links are made before old ones are closed.")]
pub enum TopologyCommand {
    /// Show which nodes are linked, how each link is, and what has gone over it
    #[command(after_help = "\
Example:
  queenright topology show --json

A data link joins neighbours, a control link two voters that are none; a guest is a link that will be closed.")]
    Show {
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Link the nodes in another way
    #[command(after_help = "\
Example:
  queenright topology set star --dry-run")]
    Set {
        /// mesh, star, ring or hierarchical
        #[arg(value_name = "KIND", value_parser = ["mesh", "star", "ring", "hierarchical"])]
        kind: String,
        /// For hierarchical: most children of a node, 2 to 16; 2 if it is not said
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=16))]
        fan_out: Option<u16>,
        /// Only say which links would open and close
        #[arg(long)]
        dry_run: bool,
        /// The node to ask.
        #[command(flatten)]
        client: ClientArgs,
    },
}
