//! `queenright bench peers`.

use std::path::PathBuf;

use clap::Args;
use queenright_bench::peers::{Peer, WORKLOADS};

use super::{PlaceArgs, share};

/// `queenright bench peers`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  queenright bench peers
  queenright bench peers --only etcd,redis --workloads B5 --rounds 5 --out peers.json
  queenright bench peers --only erlang,ractor_cluster --workloads B4
  queenright bench peers --only pymdp --workloads B12
  queenright bench peers --only tcp --workloads B13 --rounds 1

Peers: etcd (beside B3 and B5), redis (B5), nats (B3, B5 and B13), erlang (B13 and B4), ractor_cluster (B13 and B4), pymdp (B12), tcp (B13: one socket \
between two processes). In each round all peers have their turn, then our workloads. A peer that is not installed is left out, with \
what to install; so is one whose driver fails. Drivers in Rust are built by cargo. The exit code is 0 if all floors are met and \
nothing of ours was lost, else 1. Ctrl-C ends with what was measured.")]
pub struct PeersArgs {
    /// Only these peers
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    pub only: Vec<Peer>,
    /// Beside which of our workloads: B3, B4, B5, B12, B13
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',', default_values = ["B3", "B5", "B13"], value_parser = with_peers)]
    pub workloads: Vec<&'static str>,
    /// How often each has its turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub rounds: u32,
    /// The drivers: bench/peers of a checkout [default: that around the current folder, or that which this program was built from]
    #[arg(long, value_name = "DIR")]
    pub peers: Option<PathBuf>,
    /// Where drivers in Rust are built [default: queenright-peers in the user's cache folder]
    #[arg(long, value_name = "DIR", env = "PEERS_TARGET")]
    pub target: Option<PathBuf>,
    /// The share of the full size that our workloads and raw TCP have, 0.001 to 1; for a look, not for figures
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = share)]
    pub scale: f64,
    /// Where the state and the results go.
    #[command(flatten)]
    pub place: PlaceArgs,
}

fn with_peers(text: &str) -> Result<&'static str, String> {
    let found = WORKLOADS.into_iter().find(|id| id.eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("no peer has anything beside it (known: {})", WORKLOADS.join(", ")))
}
