//! `queenright config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::AccessArgs;

/// `queenright config`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright config check cluster-configs/mesh-3.toml
  queenright config show cluster-configs/mesh-3.toml             a cluster file that says everything
  queenright config show cluster-configs/mesh-3.toml --origin    each setting, and who says so
  queenright config show --origin                                what commands use on this host")]
pub enum ConfigCommand {
    /// Check a cluster file: one line says what it describes, or what is wrong and where
    Check {
        /// The cluster file
        file: PathBuf,
        /// What others can reach may be open without TLS or tokens
        #[arg(long)]
        insecure: bool,
    },
    /// Show all settings that are in force, those included that nobody has said
    Show(ShowConfigArgs),
}

/// `queenright config show`
#[derive(Args, Debug)]
pub struct ShowConfigArgs {
    /// The cluster file
    #[arg(required_unless_present = "origin")]
    pub file: Option<PathBuf>,
    /// With each setting, whether a flag, the environment, the file or nobody says so
    #[arg(long)]
    pub origin: bool,
    /// As nodes are started: the cluster's state is in DIR instead of the user's state folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// As nodes are started: what others can reach may be open without TLS or tokens
    #[arg(long)]
    pub insecure: bool,
    /// As commands are called: the node to ask
    #[arg(long, value_name = "HOST:PORT", env = "QUEENRIGHT_NODE")]
    pub node: Option<String>,
    /// As commands are called: what they trust and show.
    #[command(flatten)]
    pub access: AccessArgs,
}
