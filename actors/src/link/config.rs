//! What a node must know to open its links, and what can be wrong with it.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::version::Versions;
use queenright_protocol::wire::FRAME_BYTES_MAX;

use crate::tls::Tls;

/// Node names stand in addresses, process groups and logs: short and without separators.
const NAME_BYTES_MAX: usize = 64;

/// ractor_cluster answers a challenge with SHA-256(challenge, cookie), so that whoever a node dials can guess the
/// cookie offline. 32 random bytes put that out of reach.
const COOKIE_BYTES_MIN: usize = 32;

/// What the key of proofs is for: nothing else is keyed with it.
const PROOF_CONTEXT: &str = "queenright 2026-11-29 what is said at a door by who knows the cookie";

/// ractor_cluster pings at random intervals of 1 to 5 s. A shorter idle timeout would close healthy links.
const IDLE_TIMEOUT_MIN: Duration = Duration::from_secs(6);

/// Everything that [`super::Links::start`] needs.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The name of this node, unique in the cluster.
    pub name: String,
    /// The place of this node in the cluster's list; unique. Of two neighbours the one with the higher index dials.
    pub index: u16,
    /// Where neighbours connect to. Without TLS bind to loopback unless the network is trusted.
    pub listen: SocketAddr,
    /// All nodes that this one may be linked with, each by one connection.
    pub peers: Vec<PeerConfig>,
    /// Which of them, by index, are to be linked from the start, until [`super::Links::set_wanted`] says otherwise; all if absent.
    pub wanted: Option<BTreeSet<u16>>,
    /// The secret that all nodes of the cluster share.
    pub cookie: Cookie,
    /// Bounds and deadlines.
    pub limits: LinkLimits,
    /// The versions of frames that this node speaks: those of its build ([`queenright_protocol::wire::SPOKEN`]), but for
    /// tests of what other builds do.
    pub speaks: Versions,
    /// The certificates by which both sides of a link prove who they are; `None` for plain TCP.
    pub tls: Option<Arc<Tls>>,
}

/// A neighbour.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Its name, as it calls itself.
    pub name: String,
    /// Its index in the cluster's list.
    pub index: u16,
    /// Its `host:port`. Used only by the side that dials; resolved anew for each attempt.
    pub address: String,
}

/// The secret that nodes of a cluster share. Never shown.
#[derive(Clone)]
pub struct Cookie(String);

/// Whether large envelopes leave compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// They leave as they are.
    #[default]
    Off,
    /// Bodies of more than 1 KiB are compressed by lz4 where that saves a tenth. Each node on the way does so anew.
    Lz4,
}

/// Bounds and deadlines of links. Nodes of one cluster may differ in all of them.
#[derive(Clone, Debug)]
pub struct LinkLimits {
    /// Bytes that wait in the outbox of a link at most, over all lanes. Default 8 MiB; at least 1 MiB.
    pub outbox_bytes: usize,
    /// Bytes that are under way to a neighbour and not yet handled there. At least two frames. Default 128 KiB:
    /// what waits below this point can no longer be overtaken by a vote.
    pub window_bytes: usize,
    /// How long a new connection may take until it is authenticated. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a connection may stay silent before it is closed. ractor_cluster pings every 1 to 5 s, so silence
    /// means a dead or stopped peer. At least 6 s, default 15 s.
    pub idle_timeout: Duration,
    /// How long an attempt to connect may take. Default 5 s.
    pub connect_timeout: Duration,
    /// Connections that may be open without being authenticated; further ones are closed at once. Default 64.
    pub unauthenticated_max: usize,
    /// The pause after the first failed attempt to connect; doubled each time, with jitter. Default 20 ms.
    pub backoff_min: Duration,
    /// The longest pause between attempts: only one side of a link dials, so a node that comes back waits this long at
    /// most. Default 500 ms.
    pub backoff_max: Duration,
    /// Whether large envelopes leave compressed. Off by default. What comes compressed is read all the same.
    pub compression: Compression,
}

/// Why links were not started. Nothing runs and no port is bound after it.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address to listen on cannot be bound, for example because another process has it.
    #[error("cannot listen on {address}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A node name is empty, too long, or has other characters than letters, digits, `_`, `.` and `-`.
    #[error("node name {name:?}: expected 1 to {NAME_BYTES_MAX} letters, digits, '_', '.' or '-'")]
    Name {
        /// The name.
        name: String,
    },
    /// Two of this node and its peers have the same name or index.
    #[error("node {name:?} with index {index}: name and index must differ from those of all other nodes")]
    Twice {
        /// The name of the second one.
        name: String,
        /// The index of the second one.
        index: u16,
    },
    /// The cookie could be guessed.
    #[error("cookie of {bytes} B: expected at least {COOKIE_BYTES_MIN}")]
    Cookie {
        /// Its length. The cookie itself is not shown.
        bytes: usize,
    },
    /// A limit is below what links need.
    #[error("{field} = {value}: expected at least {min}")]
    Limit {
        /// The field of [`LinkLimits`].
        field: &'static str,
        /// Its value.
        value: String,
        /// The bound.
        min: String,
    },
    /// ractor did not start the actors that carry the links.
    #[error("cannot start the actors of the links")]
    Actors {
        /// What ractor says.
        source: ractor::SpawnErr,
    },
}

impl Cookie {
    /// Takes a secret of at least 32 bytes.
    ///
    /// # Errors
    /// [`LinkError::Cookie`] if it is shorter.
    pub fn new(secret: impl Into<String>) -> Result<Self, LinkError> {
        let secret = secret.into();
        if secret.len() < COOKIE_BYTES_MIN {
            return Err(LinkError::Cookie { bytes: secret.len() });
        }
        Ok(Cookie(secret))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Shows, to whoever knows the cookie as well, that it was known to who says `words`: BLAKE3 over them, keyed.
    pub fn proof(&self, words: &[u8]) -> [u8; 32] {
        let key = blake3::derive_key(PROOF_CONTEXT, self.0.as_bytes());
        *blake3::keyed_hash(&key, words).as_bytes()
    }

    /// Whether this is [`Cookie::proof`] of the words. Takes as long whether it is or not.
    pub fn is_proof(&self, proof: &[u8; 32], words: &[u8]) -> bool {
        blake3::Hash::from_bytes(self.proof(words)) == blake3::Hash::from_bytes(*proof)
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(hidden)")
    }
}

impl Default for LinkLimits {
    fn default() -> Self {
        LinkLimits {
            outbox_bytes: 8 * 1024 * 1024,
            window_bytes: 2 * FRAME_BYTES_MAX,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            unauthenticated_max: 64,
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(500),
            compression: Compression::Off,
        }
    }
}

impl LinkConfig {
    pub(super) fn validate(&self) -> Result<(), LinkError> {
        let (mut names, mut indices) = (HashSet::new(), HashSet::new());
        let me = (&self.name, self.index);
        for (name, index) in std::iter::once(me).chain(self.peers.iter().map(|peer| (&peer.name, peer.index))) {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
                return Err(LinkError::Name { name: name.clone() });
            }
            if !names.insert(name) || !indices.insert(index) {
                return Err(LinkError::Twice {
                    name: name.clone(),
                    index,
                });
            }
        }
        self.limits.validate()
    }
}

impl LinkLimits {
    fn validate(&self) -> Result<(), LinkError> {
        at_least("outbox_bytes", self.outbox_bytes, 1024 * 1024)?;
        at_least("window_bytes", self.window_bytes, 2 * FRAME_BYTES_MAX)?;
        at_least("handshake_timeout", self.handshake_timeout, Duration::from_millis(100))?;
        at_least("idle_timeout", self.idle_timeout, IDLE_TIMEOUT_MIN)?;
        at_least("connect_timeout", self.connect_timeout, Duration::from_millis(100))?;
        at_least("unauthenticated_max", self.unauthenticated_max, 1)?;
        at_least("backoff_min", self.backoff_min, Duration::from_millis(1))?;
        at_least("backoff_max", self.backoff_max, self.backoff_min)
    }
}

fn at_least<T: PartialOrd + fmt::Debug>(field: &'static str, value: T, min: T) -> Result<(), LinkError> {
    if value < min {
        return Err(LinkError::Limit {
            field,
            value: format!("{value:?}"),
            min: format!("{min:?}"),
        });
    }
    Ok(())
}
