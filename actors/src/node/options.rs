//! What a node is started with, and why one does not start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use queenright_protocol::colony::ImageError;
use queenright_protocol::topology;
use queenright_protocol::wire::SPOKEN;

use crate::agent::Kinds;
use crate::consensus::{CompactionOptions, ConsensusError, LogError, LogOptions, Timing};
use crate::disk::DiskLimits;
use crate::founding::FoundingError;
use crate::link::{Cookie, LinkConfig, LinkError, LinkLimits};
use crate::queen::RoundLimits;
use crate::roster::Roster;
use crate::store::StoreError;
use crate::tls::Tls;

/// A node of the cluster file.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where it listens for other nodes.
    pub links: SocketAddr,
    /// Where other nodes connect to: `host:port`.
    pub links_advertised: String,
    /// Its door, as others reach it: `host:port`.
    pub http_advertised: String,
}

/// What a node is started with.
#[derive(Debug)]
pub struct NodeOptions {
    /// The name of the cluster.
    pub cluster: String,
    /// The nodes that its cluster file lists, in its order: those of a cluster that begins; itself at least.
    pub nodes: Vec<Member>,
    /// The place of this node among them.
    pub me: usize,
    /// The topology of the first epoch; afterwards it is changed by a command.
    pub topology: topology::Kind,
    /// How many nodes vote; a number that goes with that of the nodes if absent.
    pub voters: Option<usize>,
    /// Whether consensus goes along the topology, without links of its own among voters.
    pub routed: bool,
    /// The folder of this node's data.
    pub data: PathBuf,
    /// The secret that all nodes of the cluster share.
    pub cookie: Cookie,
    /// The times of consensus.
    pub timing: Timing,
    /// How much log is kept, and how snapshots are sent.
    pub compaction: CompactionOptions,
    /// Bounds of rounds.
    pub rounds: RoundLimits,
    /// Bounds of links.
    pub links: LinkLimits,
    /// The kinds of agents that it hosts.
    pub kinds: Kinds,
    /// The labels by which pools choose it.
    pub labels: BTreeMap<String, String>,
    /// How much room it wants to have on its disk.
    pub disk: DiskLimits,
    /// How much memory it may have, in bytes; what its control group or its host has if nobody says.
    pub memory_bytes: Option<u64>,
    /// The certificates of its links; `None` for links in plain TCP.
    pub tls: Option<Arc<Tls>>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its data folder or store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Its links.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// The first start.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// Consensus.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    /// The queen did not start.
    #[error("the queen did not start")]
    Queen(#[source] ractor::SpawnErr),
    /// The state on its disk follows rules that this build does not know. Nothing was changed: start it with another build.
    #[error("the state in {data} was left as it is")]
    OtherRules {
        /// The folder.
        data: String,
        /// Which rules.
        source: ImageError,
    },
    /// The log holds what this build cannot apply. What it could apply before is on disk: start it with another build.
    #[error("the node cannot go on: {0}")]
    Unfit(String),
    /// A thread of this process was broken off.
    #[error("a part of the start was broken off")]
    BrokenOff(#[from] tokio::task::JoinError),
}

pub(super) fn link_config(options: &NodeOptions, roster: &Roster, wanted: Option<BTreeSet<u16>>) -> LinkConfig {
    let me = &options.nodes[options.me];
    LinkConfig {
        name: me.name.clone(),
        index: roster.me(),
        listen: me.links,
        peers: roster.peers(),
        wanted,
        cookie: options.cookie.clone(),
        limits: options.links.clone(),
        speaks: SPOKEN,
        tls: options.tls.clone(),
    }
}

/// The largest chunk of the log, in bytes, and the smallest: a chunk goes as a whole, and costs a file and some syncs.
const CHUNK_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(64 << 20);

pub(super) fn log_options(compaction: &CompactionOptions) -> LogOptions {
    // So that the log can shrink to about what is kept.
    let chunk = compaction.keep_bytes.clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end());
    LogOptions {
        chunk_bytes: chunk as usize,
        ..LogOptions::default()
    }
}
