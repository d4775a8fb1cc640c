//! `queenright tls`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `queenright tls`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  queenright tls init cluster-configs/mesh-3.toml
  queenright tls show cluster-configs/mesh-3.toml
  queenright tls renew cluster-configs/mesh-3.toml

The folder holds authority.pem and authority.key, and NODE.pem and NODE.key for each node. A host needs authority.pem and the \
two files of its own nodes. authority.key makes new certificates: keep it where no node runs.")]
pub enum TlsCommand {
    /// Make the authority of a cluster, and a certificate for each of its nodes
    #[command(after_help = "\
Example:
  queenright tls init cluster-configs/mesh-3.toml --dir tls

Then say [tls] dir = \"tls\" in the cluster file. What is there already is never overwritten: exit code 3.")]
    Init(IssueArgs),
    /// Make new certificates for the nodes, by the same authority
    #[command(after_help = "\
Example:
  queenright tls renew cluster-configs/mesh-3.toml --node n1

Running nodes take them within seconds, or at once on SIGHUP. A node that was added to the file gets its first one.")]
    Renew {
        /// For which cluster, where, and for how long.
        #[command(flatten)]
        issue: IssueArgs,
        /// Only for this node; give it again for others
        #[arg(long = "node", value_name = "NAME")]
        nodes: Vec<String>,
    },
    /// Show the certificates: for whom, until when, and their fingerprints
    #[command(after_help = "\
Example:
  queenright tls show cluster-configs/mesh-3.toml --json")]
    Show(FolderArgs),
}

/// Which certificates.
#[derive(Args, Clone, Debug)]
pub struct FolderArgs {
    /// The cluster file
    #[arg(value_name = "CLUSTER.toml")]
    pub file: PathBuf,
    /// Their folder; else the one of `[tls]` in the cluster file, else `tls` beside it
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Which certificates are made.
#[derive(Args, Clone, Debug)]
pub struct IssueArgs {
    /// For which cluster, and where.
    #[command(flatten)]
    pub folder: FolderArgs,
    /// For how many days the certificates of nodes hold
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub days: u32,
}
