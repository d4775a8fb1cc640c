//! Who lost to whom: what a look at a conflict needs. It follows from the state and is no part of it.

use std::sync::Arc;

use super::proposal::Conflict;
use crate::conflict::Kind;

/// A proposal that lost, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostTo {
    /// The project.
    pub project: Arc<str>,
    /// The position of its command; 0 for one that its node refused before it had any.
    pub seq: u64,
    /// Who proposed it.
    pub author: Arc<str>,
    /// The kind of its first conflict.
    pub kind: Kind,
    /// The key of that; of a phantom the folder or the glob.
    pub key: Arc<str>,
    /// How many conflicts there were.
    pub conflicts: u64,
    /// The position of the command that it lost to; 0 if nobody wrote the key.
    pub winner: u64,
    /// Who won: the author of that command, or the holder of the reservation; nothing if that is no longer known.
    pub to: Option<Arc<str>>,
    /// Cluster time in milliseconds.
    pub cluster_ms: u64,
    /// The leader's wall clock in milliseconds since 1970; 0 for one that its node refused.
    pub wall_ms: u64,
}

impl LostTo {
    /// What is to be said of conflicts, but for when; nothing if there are none. `author_at` says who caused what happened at
    /// a position.
    pub fn new(
        project: &Arc<str>,
        author: &Arc<str>,
        conflicts: &[Conflict],
        author_at: impl FnOnce(u64) -> Option<Arc<str>>,
    ) -> Option<LostTo> {
        let first = conflicts.first()?;
        let to = match &first.holder {
            Some(holder) => Some(holder.author.clone()),
            None => author_at(first.winner),
        };
        Some(LostTo {
            project: project.clone(),
            seq: 0,
            author: author.clone(),
            kind: first.kind,
            key: first.key.clone(),
            conflicts: conflicts.len() as u64,
            winner: first.winner,
            to,
            cluster_ms: 0,
            wall_ms: 0,
        })
    }
}
