//! Other systems beside Queenright: on one machine, on one disk, in one run.
//!
//! A driver of a peer lies in `bench/peers/<peer>`: `run.sh WORKLOAD STATE PROGRAM` measures what stands beside the rows of
//! that workload of ours and prints a [`Metric`] a line. Raw TCP has its driver in this program. A peer that is not installed
//! is left out, with what to install; so is one whose driver fails, with what it said. In each round all peers take their
//! turn, then our workloads: what disturbs the machine falls on all.

mod compared;
mod metric;
mod needs;
mod run;
mod table;
pub mod tcp;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use self::compared::{COMPARED, Compared};
pub use self::metric::{Metric, MetricError, metrics};
pub use self::table::{Pair, Table};
use crate::Options;

/// Workloads of ours that have peers.
pub const WORKLOADS: [&str; 5] = ["B3", "B4", "B5", "B12", "B13"];

/// A system that is measured beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// etcd, three nodes.
    Etcd,
    /// Redis, one server that syncs every write.
    Redis,
    /// NATS, three nodes with JetStream, or two without.
    Nats,
    /// Erlang/OTP, two nodes.
    Erlang,
    /// ractor_cluster as it is, two nodes.
    Ractor,
    /// pymdp, one thread.
    Pymdp,
    /// Two processes and a socket between them.
    Tcp,
}

impl Peer {
    /// All of them.
    pub const ALL: [Peer; 7] = [
        Peer::Etcd,
        Peer::Redis,
        Peer::Nats,
        Peer::Erlang,
        Peer::Ractor,
        Peer::Pymdp,
        Peer::Tcp,
    ];

    /// As drivers and command lines call it.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Etcd => "etcd",
            Peer::Redis => "redis",
            Peer::Nats => "nats",
            Peer::Erlang => "erlang",
            Peer::Ractor => "ractor_cluster",
            Peer::Pymdp => "pymdp",
            Peer::Tcp => "tcp",
        }
    }

    /// Where its driver lies; raw TCP has none.
    fn folder(self) -> Option<&'static str> {
        match self {
            Peer::Tcp => None,
            Peer::Ractor => Some("ractor"),
            other => Some(other.name()),
        }
    }

    /// Whether its driver is a program in Rust.
    fn is_built_by_cargo(self) -> bool {
        matches!(self, Peer::Etcd | Peer::Redis | Peer::Nats | Peer::Ractor)
    }

    /// Whether something of it stands beside a workload.
    pub fn has(self, workload: &str) -> bool {
        COMPARED
            .iter()
            .any(|pair| pair.peer == self && pair.workload == workload)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Peer, String> {
        let found = Peer::ALL
            .into_iter()
            .find(|peer| peer.name() == text || peer.folder() == Some(text));
        found.ok_or_else(|| {
            let names: Vec<&str> = Peer::ALL.iter().map(|peer| peer.name()).collect();
            format!("is none of {}", names.join(", "))
        })
    }
}

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct Peers {
    /// The drivers: `bench/peers` of a checkout. Without it only raw TCP is there.
    pub drivers: Option<PathBuf>,
    /// Where drivers in Rust are built.
    pub target: PathBuf,
    /// Which peers, in their order.
    pub peers: Vec<Peer>,
    /// Beside which of our workloads: of [`WORKLOADS`].
    pub workloads: Vec<&'static str>,
    /// How often each has its turn, at least 1.
    pub rounds: u32,
    /// What our workloads are told; how much is sent over raw TCP follows from it.
    pub options: Options,
}

/// The drivers of the checkout around a folder, or around the source that this program was built from.
pub fn find_drivers(around: &Path) -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let above = around.ancestors().map(|folder| folder.join("bench/peers"));
    above.chain([built]).find(|folder| folder.join("README.md").is_file())
}

#[cfg(test)]
mod tests {
    use super::{COMPARED, Peer, WORKLOADS, find_drivers};
    use crate::workloads::workload;

    #[test]
    fn every_peer_has_a_name_a_driver_and_a_workload_of_ours() {
        let drivers = find_drivers(std::path::Path::new("/")).unwrap();
        for peer in Peer::ALL {
            assert_eq!(peer.name().parse(), Ok(peer));
            assert!(WORKLOADS.iter().any(|workload| peer.has(workload)), "{peer}");
            if let Some(folder) = peer.folder() {
                assert!(drivers.join(folder).join("run.sh").is_file(), "{peer}");
                assert_eq!(folder.parse(), Ok(peer));
            }
        }
        assert!("oracle".parse::<Peer>().unwrap_err().contains("etcd, redis, nats"));
        for pair in COMPARED {
            assert!(
                WORKLOADS.contains(&pair.workload) && workload(pair.workload).is_some(),
                "{pair:?}"
            );
        }
    }
}
