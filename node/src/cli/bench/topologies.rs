//! `queenright bench topologies`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use queenright_protocol::topology::Kind;

use crate::cli::value;

/// `queenright bench topologies`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright bench topologies
  queenright bench topologies --nodes 5 --kinds ring,star --rates 1000,20000 --seconds 10 --out topologies.json
  queenright bench topologies --kinds hierarchical:2,hierarchical:4 --repeats 5
  queenright bench topologies --netns --delay 20ms --loss 1%
  queenright bench topologies --simulate --nodes 1000
  queenright bench topologies --simulate --nodes 200 --hop-us 500 --json

It starts the nodes of each topology as processes of this host, one topology after the other, runs the same loads from the \
same seed on each, and stops them. Ctrl-C ends it with what was measured until then.

With --netns each node has a host of its own, a network namespace: as root, on Linux, with iproute2. No node joins then, but the \
net is split; what is made is removed at the end, also at Ctrl-C.

With --simulate nothing is started and nothing is measured: links, routes and trees of the topologies are followed over \
virtual time, for up to 1,000 nodes.")]
pub struct TopologiesArgs {
    /// How many nodes, 3 to 16; with --simulate 2 to 1,000 [default: 7, with --simulate 1000]
    #[arg(long, value_name = "N")]
    pub nodes: Option<usize>,
    /// The topologies: mesh, star, ring, hierarchical, hierarchical:FAN_OUT
    #[arg(
        long,
        value_name = "KIND",
        value_delimiter = ',',
        default_value = "mesh,star,ring,hierarchical"
    )]
    pub kinds: Vec<Kind>,
    /// How many agents, on all nodes in turn, 2 to 64 for each node [default: two for each node]
    #[arg(long, value_name = "N", conflicts_with = "simulate")]
    pub agents: Option<u64>,
    /// Bytes of each message, value and payload of a task, 41 to 1,048,576
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    pub payload: usize,
    /// How many messages a second are offered, all agents together: a load for each
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1000,5000",
        conflicts_with = "simulate"
    )]
    pub rates: Vec<u64>,
    /// How long each load is measured, 0.1 to 600
    #[arg(long, value_name = "SECS", default_value_t = 3.0, conflicts_with = "simulate")]
    pub seconds: f64,
    /// How often everything is done, each time on a new cluster
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "simulate")]
    pub repeats: u32,
    /// Kill no nodes and let none join: only the loads
    #[arg(long, conflicts_with = "simulate")]
    pub loads_only: bool,
    /// Give each node a host of its own, which is a network namespace
    #[arg(long, conflicts_with = "simulate")]
    pub netns: bool,
    /// How many packets between hosts are lost, 0% to 50%
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = percent, requires = "netns")]
    pub loss: f64,
    /// How much later packets between hosts arrive, 0 to 1000ms: a round trip takes twice that longer
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = delay, requires = "netns")]
    pub delay: Duration,
    /// What the random choices are made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Only follow the functions of the topologies over virtual time
    #[arg(long)]
    pub simulate: bool,
    /// How many messages are simulated
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "simulate")]
    pub messages: u64,
    /// How long a message takes over a link, in microseconds of virtual time
    #[arg(long, value_name = "US", default_value_t = 100, requires = "simulate")]
    pub hop_us: u64,
    /// Keep the state of the nodes in DIR instead of a folder below target/
    #[arg(long, value_name = "DIR", conflicts_with = "simulate")]
    pub data: Option<PathBuf>,
    /// Write the results to FILE as well
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

fn percent(text: &str) -> Result<f64, String> {
    value::percent(text, 0.0..=100.0)
}

fn delay(text: &str) -> Result<Duration, String> {
    value::time_with_unit(text, 0.0..=3_600.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weather_is_read_with_its_unit() {
        assert_eq!(percent("1.5%"), Ok(1.5));
        assert!(percent("little").is_err());
        assert_eq!(delay("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(delay("0.5s"), Ok(Duration::from_millis(500)));
        for text in ["20", "-1ms", "ms", "NaNms"] {
            assert!(delay(text).is_err(), "{text}");
        }
    }
}
