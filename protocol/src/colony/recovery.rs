//! What becomes of the colony when the majority of its nodes is lost for good, and goes on from what one node had.
//!
//! No command does this, and no node does it while it runs: it is the first state of a new cluster. What the lost
//! majority may have handed out after that node's last entry is not known, so every number jumps over it: positions, and
//! with them ids and fences. How far follows from the id of the new cluster, so that two that begin at the same state have
//! no position in common: the lineage of a cursor is the range that it lies in. All nodes of the old cluster are gone,
//! and so are their dedup sessions, their agents, and the claims that waited there: nobody hears an answer. What lived on
//! them as a session has its grace to be re-opened, with what it holds and its places among those who wait for a
//! reservation. The nodes of the new one get numbers that were never used (see [`Colony::past`]), also those whose earlier
//! numbers were replaced: nobody is barred.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::event::{Cursor, CursorError};
use super::once::DedupSessions;
use super::{Applied, Colony};
use crate::id::{ClusterId, NodeId};

/// How far the position of the last command jumps at least, and less than twice as far: over all that the lost majority can
/// have accepted. At 20,000 commands a second that takes a year and a half.
pub const SEQ_JUMP: u64 = 1_000_000_000_000;

/// How often a colony can be recovered: so that its positions stay below 2^53, where JSON readers are exact.
pub const RECOVERIES_MAX: usize = 4_096;

const PAST_DIGEST: u8 = b'p';

/// A cluster that this one was recovered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Its id.
    pub cluster: ClusterId,
    /// Up to here it was the same on all its nodes: the position after the last entry that was known to be committed.
    pub certain: u64,
    /// Positions of the cluster that followed are greater than this.
    pub resumed: u64,
}

/// The colony was recovered so often that its positions would leave their range. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state was recovered {RECOVERIES_MAX} times, and cannot be once more")]
pub struct TooManyRecoveries;

impl Colony {
    /// Makes this the first state of the cluster `begun`, which follows `ended`, whose majority is lost for good. `certain`
    /// is the position after the last entry that was known to be committed; what was applied behind it is kept.
    ///
    /// # Errors
    /// [`TooManyRecoveries`].
    pub fn recover(&mut self, ended: ClusterId, begun: ClusterId, certain: u64) -> Result<(), TooManyRecoveries> {
        if self.past.len() >= RECOVERIES_MAX {
            return Err(TooManyRecoveries);
        }
        let nodes: BTreeSet<NodeId> = self.agents.nodes().chain(self.agents.sessions.homes()).collect();
        for node in nodes {
            self.lose_node(node);
        }
        self.dedup = DedupSessions::default();
        let certain = certain.min(self.seq);
        self.seq += SEQ_JUMP + offset_of(begun);
        self.past.push(Past {
            cluster: ended,
            certain,
            resumed: self.seq,
        });
        self.end_all_waits();
        if let Some(epoch) = &mut self.epoch {
            // Who comes back as one of these is told that their cluster has ended.
            epoch.gone.clear();
        }
        Ok(())
    }

    /// Makes this the first state of the cluster `begun`, which is built from a backup of `ended` and may have other nodes in
    /// other places: like [`Colony::recover`], and nothing is known of any node. The first leader names the members, and the
    /// cluster file says how they are linked, as at the start of any cluster.
    ///
    /// # Errors
    /// [`TooManyRecoveries`].
    pub fn begin_anew(&mut self, ended: ClusterId, begun: ClusterId, certain: u64) -> Result<(), TooManyRecoveries> {
        self.recover(ended, begun, certain)?;
        self.epoch = None;
        Ok(())
    }

    /// No claim waits any more: as when all nodes had said one by one that they are lost.
    fn end_all_waits(&mut self) {
        let nodes: BTreeSet<NodeId> = self.agents.nodes_of_waits().collect();
        if nodes.is_empty() {
            return;
        }
        // For the events of sessions that close with their claims.
        self.seq += 1;
        let (mut ordinal, mut applied) = (0, Applied::default());
        for node in nodes {
            self.end_waits_at(node, &mut ordinal, &mut applied);
        }
    }

    /// The clusters that this one was recovered from, the oldest first. How many they are says which numbers its nodes may
    /// have: those of the others are never used again.
    pub fn past(&self) -> &[Past] {
        &self.past
    }

    /// Whether events can be read from this cursor on: not if it lies in what a recovery has lost, or may have told anew.
    ///
    /// # Errors
    /// [`CursorError::Lost`].
    pub fn check_cursor(&self, after: Cursor) -> Result<(), CursorError> {
        let past = self.past.iter().find(|past| after.seq < past.resumed);
        match past.filter(|past| after.seq > past.certain) {
            Some(Past { certain, resumed, .. }) => Err(CursorError::Lost {
                after,
                certain: *certain,
                resumed: *resumed,
            }),
            None => Ok(()),
        }
    }

    /// The share of the digest.
    pub(super) fn past_digest(&self) -> Digest {
        let mut sum = Digest::default();
        for (place, past) in self.past.iter().enumerate() {
            sum.add(Digest::of(PAST_DIGEST, &(place as u64, past)));
        }
        sum
    }
}

/// Where the range of a cluster begins beyond the jump: ids are random, and so these are far from each other.
fn offset_of(cluster: ClusterId) -> u64 {
    (u128::from_le_bytes(cluster.0) % u128::from(SEQ_JUMP)) as u64
}
