//! `queenright explore`.

use std::path::PathBuf;

use clap::Args;
use queenright_protocol::topology::Kind;

use super::ClientArgs;

/// `queenright explore`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright explore --grid 20 --agents 200
  queenright explore --agents 50 --policy-length 2 --nodes 3 --topology star --svg run.svg
  queenright explore --agents 50 --trust 0             nobody listens: how much longer does it take?
  queenright explore --grid 8 --agents 10 --learn --steps 400
  queenright explore --free --json --node 127.0.0.1:7201

Explorers stand on a grid with obstacles. One of some sites is the goal; which one they do not know, nor where they are. \
They read their place with noise and a scent that tells about how far the goal is, act by active inference, and tell their \
neighbours what they believe of the goal. In lock-step, which is the default, a run follows from its seed on any number of \
nodes.

It starts nodes of its own and stops them at the end, or else uses those of the cluster that --node belongs to.")]
pub struct ExploreArgs {
    /// Places of a row and of a column of the grid
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub grid: usize,
    /// How many explorers, spread over the nodes
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub agents: usize,
    /// How many steps each does
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub steps: u64,
    /// What the world and all that is drawn in it follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many steps they look ahead, 1 to 4: 5, 25, 125 or 625 policies
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub policy_length: usize,
    /// Which share of the grid is obstacles, 0 to 0.4
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    pub obstacles: f64,
    /// How many sites may be the goal, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub sites: usize,
    /// How probable it is that they read a neighbouring place instead of their own, 0 to 0.9
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    pub noise: f64,
    /// How much what neighbours believe of the goal counts beside one's own belief, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub trust: f64,
    /// Who is a neighbour: as the nodes of such a topology (mesh, star, ring, hierarchical, hierarchical:K)
    #[arg(long, value_name = "KIND", default_value = "ring")]
    pub neighbours: Kind,
    /// They take notice of what they read in every N-th step
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub update_every: u32,
    /// Each goes at its own pace, instead of all in lock-step
    #[arg(long)]
    pub free: bool,
    /// They must learn where moves lead and how noisy readings are; on a grid of 10 at most
    #[arg(long)]
    pub learn: bool,
    /// Draw the run to FILE
    #[arg(long, value_name = "FILE", default_value = "explore.svg")]
    pub svg: PathBuf,
    /// How many nodes are started
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// How those are linked
    #[arg(long, value_name = "KIND", default_value = "mesh")]
    pub topology: Kind,
    /// Keep their state in DIR instead of a folder below target/
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The node to ask.
    #[command(flatten)]
    pub client: ClientArgs,
}
