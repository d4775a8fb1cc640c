//! What liveness counts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::datagram::Refused;

/// Datagrams of a node, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatagramCounts {
    /// Sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Not sent: the system had no room for them, or it is not known where their receiver is reached.
    pub unsent: u64,
    /// Received from members and taken.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Refused: no datagrams of liveness, or such that do not add up.
    pub malformed: u64,
    /// Refused: of another version of the program.
    pub other_version: u64,
    /// Refused: of another cluster.
    pub foreign: u64,
    /// Refused: for another node.
    pub misdirected: u64,
    /// Refused: made with another cookie.
    pub forged: u64,
    /// Refused: taken before.
    pub replayed: u64,
    /// Refused: of a node that is no member.
    pub strangers: u64,
    /// How often this node found that it had not been running for a while.
    pub asleep: u64,
}

impl DatagramCounts {
    /// All that were refused, for whatever reason.
    pub fn refused(&self) -> u64 {
        let DatagramCounts {
            malformed,
            other_version,
            foreign,
            misdirected,
            forged,
            replayed,
            strangers,
            ..
        } = self;
        malformed + other_version + foreign + misdirected + forged + replayed + strangers
    }

    pub(super) fn refuse(&mut self, refused: Refused) {
        let count = match refused {
            Refused::Malformed => &mut self.malformed,
            Refused::Version => &mut self.other_version,
            Refused::Foreign => &mut self.foreign,
            Refused::Misdirected => &mut self.misdirected,
            Refused::Forged => &mut self.forged,
            Refused::Replayed => &mut self.replayed,
            Refused::Stranger => &mut self.strangers,
        };
        *count += 1;
    }
}
