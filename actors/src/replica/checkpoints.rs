//! The digests of this replica at positions where the replicas are compared.

use std::collections::VecDeque;
use std::fmt;

use queenright_protocol::colony::{Checkpoint, Digest};
use serde::{Deserialize, Serialize};

/// After how many log entries each replica takes its digest.
pub(crate) const CHECKPOINT_ENTRIES: u64 = 1_000;
/// How many digests are kept, for comparison with what a leader logs later or another node asks for.
const KEPT: usize = 64;

/// Two replicas that differ at one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Difference {
    /// The index of the last log entry that both had applied.
    pub(crate) index: u64,
    /// The digest here.
    pub(crate) ours: Digest,
    /// The digest there.
    pub(crate) theirs: Digest,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, ours, theirs } = self;
        write!(
            f,
            "after log entry {index} the digest is {ours} here and {theirs} elsewhere"
        )
    }
}

/// What this replica was at its checkpoints.
#[derive(Default)]
pub(super) struct Checkpoints {
    /// By index, ascending.
    ours: VecDeque<Checkpoint>,
    /// The highest index of a checkpoint that any leader has logged.
    logged: u64,
}

impl Checkpoints {
    /// Whether the digest after this entry is wanted.
    pub(super) fn wants(index: u64) -> bool {
        index.is_multiple_of(CHECKPOINT_ENTRIES)
    }

    pub(super) fn note(&mut self, checkpoint: Checkpoint) {
        if self.ours.len() >= KEPT {
            self.ours.pop_front();
        }
        self.ours.push_back(checkpoint);
    }

    /// The digest after this entry, if it was taken and is kept.
    pub(super) fn at(&self, index: u64) -> Option<Digest> {
        let found = self.ours.iter().find(|checkpoint| checkpoint.index == index);
        found.map(|checkpoint| checkpoint.digest)
    }

    /// The latest one, unless some leader has logged one as late.
    pub(super) fn unlogged(&self) -> Option<Checkpoint> {
        self.ours.back().copied().filter(|latest| latest.index > self.logged)
    }

    /// Compares with what a leader has logged. A position at which this replica has no digest says nothing.
    pub(super) fn compare(&mut self, logged: Checkpoint) -> Option<Difference> {
        let Checkpoint { index, digest: theirs } = logged;
        self.logged = self.logged.max(index);
        let ours = self.at(index)?;
        (ours != theirs).then_some(Difference { index, ours, theirs })
    }
}
