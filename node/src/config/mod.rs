//! The cluster file: who the nodes are, where they listen, and the limits that they keep.
//!
//! A file goes two ways: its TOML becomes a `ClusterFile` (the shape of the text, unknown keys refused), and that is
//! validated into a [`ClusterConfig`] (the meaning). Everything after this module works with the second one only.
//! What a key may hold, its default and why stands beside the key: nodes here, timing in [`Consensus`], sizes in [`Limits`] and [`Log`].

mod doors;
mod error;
mod exposure;
mod file;
mod free_ports;
mod limits;
mod locate;
mod log;
mod logging;
mod origin;
mod pools;
mod rounds;
#[cfg(test)]
mod tests;
mod tracing;
mod validate;
mod webhooks;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::tracing::Tracing;
pub use doors::Doors;
pub use error::ConfigError;
pub use exposure::Auth;
pub use limits::{Bound, Limits};
pub use log::Log;
pub use logging::{LogFormat, Logging};
pub use origin::Setting;
pub use pools::PoolConfig;
pub use rounds::Rounds;
pub use validate::FAN_OUT_MAX;
pub use webhooks::WebhookConfig;

/// Most nodes that one cluster file may list. Topologies are tested up to this size.
pub const NODES_MAX: usize = 64;

/// Largest cluster file that is read. 64 nodes with every key set take under 16 KiB; this only keeps a file given by
/// mistake from being read whole.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A validated cluster file.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// The file it came from, as the caller named it.
    pub file: PathBuf,
    /// `cluster.name`: 1 to 40 characters of `[a-z0-9-]`, not beginning with `-`. It names the folder of the cluster.
    pub name: String,
    /// `cluster.topology`: how the nodes are linked when the cluster begins; afterwards `queenright topology set` changes it.
    pub topology: Topology,
    /// `cluster.projects`: how projects begin.
    pub projects: Projects,
    /// `[[nodes]]`: 1 to [`NODES_MAX`], in the order of the file, with distinct names and addresses.
    pub nodes: Vec<NodeConfig>,
    /// `[consensus]`: the timing of leaders and elections.
    pub consensus: Consensus,
    /// `links.compression`: whether large envelopes leave compressed.
    pub compression: Compression,
    /// `[limits]`: what the nodes refuse to exceed.
    pub limits: Limits,
    /// `[rounds]`: where rounds are cut.
    pub rounds: Rounds,
    /// `[log]`: how much of the log is kept.
    pub log: Log,
    /// `[logging]`: what the nodes write of themselves.
    pub logging: Logging,
    /// `[tracing]`: which requests are followed.
    pub tracing: Tracing,
    /// `tls.dir`: the folder of the certificates, relative to the file; links and doors are in TLS if there is one.
    /// Absolute here.
    pub tls: Option<PathBuf>,
    /// `doors.auth`: who may use the doors.
    pub auth: Auth,
    /// `[doors]`: how many a door answers at a time.
    pub doors: Doors,
    /// `agents.commands`: whether hosted agents may run commands on the nodes: `exec` agents, and the checks of tasks. On by
    /// default: who may start agents is trusted with the cluster. A node that listens beyond loopback and asks for no tokens
    /// runs none, whatever this says.
    pub agent_commands: bool,
    /// `[[pools]]`: the pools that there are from the start on.
    pub pools: Vec<PoolConfig>,
    /// `[[webhooks]]`: who is told of what happens.
    pub webhooks: Vec<WebhookConfig>,
}

/// How projects begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Projects {
    /// `on-use`: the first use of a name makes a project of it. The default: nothing has to be prepared.
    #[default]
    OnUse,
    /// `listed`: only `queenright project create` makes them, so a mistyped name is an error.
    Listed,
}

impl Projects {
    /// What a cluster file may say.
    pub const NAMES: [&'static str; 2] = ["on-use", "listed"];
}

impl fmt::Display for Projects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Projects::OnUse => "on-use",
            Projects::Listed => "listed",
        })
    }
}

/// One node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// `name`: unique in its cluster, of the same form as the cluster's name. It names the folder of the node, so the
    /// names of that folder's neighbours (`cookie`, `logs`, `running`) are refused.
    pub name: String,
    /// `links`: where the node listens for others, by TCP, and for the datagrams of liveness, by UDP. `localhost` stands for
    /// 127.0.0.1. Beyond loopback it demands TLS.
    pub links: SocketAddr,
    /// `http`: the door of the node, for people and programs. Beyond loopback it demands TLS and tokens.
    pub http: SocketAddr,
    /// `advertise_links`: what the others dial, `host:port`, where that is not `links`: for a node that listens on all
    /// addresses of its host, or behind a translation of addresses.
    pub advertise_links: Option<String>,
    /// `advertise_http`: what people and programs dial, where that is not `http`.
    pub advertise_http: Option<String>,
    /// `labels`: by which pools choose it, up to 16; besides them it has `node`, its name.
    pub labels: BTreeMap<String, String>,
}

impl NodeConfig {
    /// Where others reach its links: `host:port`.
    pub fn links_advertised(&self) -> String {
        self.advertise_links.clone().unwrap_or_else(|| self.links.to_string())
    }

    /// Where others reach its door: `host:port`.
    pub fn http_advertised(&self) -> String {
        self.advertise_http.clone().unwrap_or_else(|| self.http.to_string())
    }
}

/// How the nodes of a cluster are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Every node is linked with every other.
    Mesh,
    /// One hub is linked with all the others.
    Star,
    /// Every node is linked with two others.
    Ring,
    /// A tree.
    Hierarchical {
        /// `cluster.fan_out`: most children of a node, 2 to 16; 2 by default, the deepest tree and so the one that shows
        /// the most about routing.
        fan_out: usize,
    },
}

impl Topology {
    /// The words of `cluster.topology`.
    pub const NAMES: [&'static str; 4] = ["mesh", "star", "ring", "hierarchical"];
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Topology::Mesh => Topology::NAMES[0],
            Topology::Star => Topology::NAMES[1],
            Topology::Ring => Topology::NAMES[2],
            Topology::Hierarchical { .. } => Topology::NAMES[3],
        })
    }
}

/// The timing of consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consensus {
    /// `heartbeat_ms`: the time between two signs of life of a leader, 20 to 5,000 ms.
    pub heartbeat: Duration,
    /// `election_ms[0]`: the shortest time that a node waits after the lease of a silent leader (see `election_max`) has
    /// run out before it asks for an election; at least three heartbeats, so that one lost heartbeat elects nobody.
    pub election_min: Duration,
    /// `election_ms[1]`: the longest such time, above the shortest and at most 60,000 ms. Each node draws its own time
    /// between the two; the wider the span, the rarer the split votes. It is also the lease: for as long after a
    /// leader's last sign of life nobody elects another, so a dead leader is replaced after the lease and a drawn time.
    pub election_max: Duration,
    /// `voters`: how many nodes vote, the first ones of the file; 3 or 5, and no more than there are. The others learn: they
    /// have everything and answer reads, and no write waits for them. By default 5 from five nodes on, 3 of three or four,
    /// all of one or two.
    pub voters: Option<usize>,
    /// `links`: which way consensus goes.
    pub links: ControlLinks,
}

/// Which way votes, log entries and their answers go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ControlLinks {
    /// `direct`: voters are linked with each other, whatever the topology, so that a hub that dies does not stop the election
    /// that follows. The default.
    #[default]
    Direct,
    /// `routed`: along the topology, like everything else. For comparison.
    Routed,
}

impl ControlLinks {
    /// The words of `consensus.links`.
    pub const NAMES: [&'static str; 2] = ["direct", "routed"];
}

impl fmt::Display for ControlLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ControlLinks::Direct => ControlLinks::NAMES[0],
            ControlLinks::Routed => ControlLinks::NAMES[1],
        })
    }
}

/// Whether envelopes of more than 1 KiB are compressed on their way from node to node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// `off`: they leave as they are. The default: between processes of one host, and over a fast network, compressing costs
    /// more time than it saves.
    #[default]
    Off,
    /// `lz4`: where that saves a tenth of their bytes; for links that are slower than a core compresses.
    Lz4,
}

impl Compression {
    /// The words of `links.compression`.
    pub const NAMES: [&'static str; 2] = ["off", "lz4"];
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Off => Compression::NAMES[0],
            Compression::Lz4 => Compression::NAMES[1],
        })
    }
}

impl Default for Consensus {
    /// 250 ms and 1,000 to 2,000 ms: a dead leader is replaced within three to four seconds, while the pauses of a busy
    /// host, an fdatasync of some hundred milliseconds among them, depose nobody.
    fn default() -> Self {
        Consensus {
            heartbeat: Duration::from_millis(250),
            election_min: Duration::from_millis(1000),
            election_max: Duration::from_millis(2000),
            voters: None,
            links: ControlLinks::Direct,
        }
    }
}

impl ClusterConfig {
    /// Reads and validates a cluster file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and, for what is in it, the key, the value and the bound.
    pub fn load(file: &Path) -> Result<ClusterConfig, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            file: file.to_path_buf(),
            source,
        };
        let mut bytes = Vec::new();
        let opened = File::open(file).map_err(unreadable)?;
        opened
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(ConfigError::TooLong {
                file: file.to_path_buf(),
                bytes_max: FILE_BYTES_MAX,
            });
        }
        let text = String::from_utf8(bytes).map_err(|_| ConfigError::NotText {
            file: file.to_path_buf(),
        })?;
        ClusterConfig::parse(file, &text)
    }

    /// Validates the text of a cluster file; `file` is what errors call it.
    ///
    /// # Errors
    /// As [`ClusterConfig::load`].
    pub fn parse(file: &Path, text: &str) -> Result<ClusterConfig, ConfigError> {
        validate::cluster(file, file::ClusterFile::parse(file, text)?)
    }

    /// The node of this name.
    ///
    /// # Errors
    /// [`ConfigError::NoSuchNode`] lists the names that there are.
    pub fn node(&self, name: &str) -> Result<&NodeConfig, ConfigError> {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .ok_or_else(|| ConfigError::NoSuchNode {
                file: self.file.clone(),
                name: name.to_owned(),
                names: self.nodes.iter().map(|node| node.name.clone()).collect(),
            })
    }

    /// The text of a cluster file that loads as this configuration.
    pub fn to_toml(&self) -> String {
        file::ClusterFile::of(self).to_toml()
    }
}

impl fmt::Display for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.nodes.len();
        write!(
            f,
            "{}: {} of {nodes} node{}",
            self.name,
            self.topology,
            if nodes == 1 { "" } else { "s" }
        )?;
        write!(
            f,
            ", heartbeat {} ms, election {} to {} ms",
            self.consensus.heartbeat.as_millis(),
            self.consensus.election_min.as_millis(),
            self.consensus.election_max.as_millis()
        )
    }
}
