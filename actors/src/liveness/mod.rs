//! Who is alive: SWIM (Das, Gupta, Motivala 2002, by the foca crate) over authenticated UDP, and what this node makes of it.
//!
//! | file | what |
//! |---|---|
//! | `pace` | all times, from the heartbeat of consensus |
//! | `datagram` | the form of a datagram; which are taken |
//! | `identity` | who a member is for foca; the form of its messages |
//! | `clock` | the time that this process lived through |
//! | `opinion` | what is thought of one member |
//! | `detector` | the machine of all that, without socket, clock and randomness |
//! | `places` | where members are reached; look-ups of names |
//! | `shell` | the task that drives it: one socket, one timer |
//!
//! Each beat (200 ms) a node probes one member, which must answer within the beat, itself or to one of three others that
//! are asked to try. One that does not is suspect, everybody is told, and unless it denies that it is down 2.4 s later.
//! A dead node is so suspect within 2 s and down within 5 s, on all that are left. Members are those of consensus: nobody
//! becomes one by a datagram.
//!
//! What an opinion is good for is said where it is used: [`Liveness::opinions`]. It decides nothing that nodes must agree on.
//!
//! Datagrams go to where links are dialled, and come to where the node listens for links.
//!
//! Limits: whoever has the cookie is believed. Where no datagrams pass (a firewall), a link that is up counts for its
//! neighbour, with longer times, and members without a link of this node are down to it.

mod clock;
mod counts;
mod datagram;
mod detector;
mod identity;
mod opinion;
mod pace;
mod places;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_protocol::id::NodeId;
use tokio::sync::watch;
use tokio::time::Instant;

pub use counts::DatagramCounts;
pub(crate) use detector::Who;
pub use opinion::View;
pub(crate) use pace::Pace;
pub(crate) use shell::{Shell, ShellOptions};

/// What this node thinks of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opinion {
    /// How it is.
    pub(crate) view: View,
    /// Since when that is thought.
    pub(crate) since: Instant,
    /// Whether no datagrams come from it although its link is up: then it is alive by its link alone.
    pub(crate) udp_blocked: bool,
}

/// What this node thinks of all others.
pub(crate) type Opinions = Arc<BTreeMap<NodeId, Opinion>>;

/// What the shell tells.
pub(crate) struct Liveness {
    opinions: watch::Receiver<Opinions>,
    counts: watch::Receiver<DatagramCounts>,
}

impl Liveness {
    /// Follows what this node thinks of the others.
    pub(crate) fn opinions(&self) -> watch::Receiver<Opinions> {
        self.opinions.clone()
    }

    /// What was counted since the start.
    pub(crate) fn counts(&self) -> DatagramCounts {
        *self.counts.borrow()
    }
}
