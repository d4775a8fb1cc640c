//! What the store gets of this copy, pass by pass, and the copy that is made of what it held.

use std::sync::Arc;

use openraft::type_config::alias::VoteOf;
use queenright_protocol::colony::{Colony, ImageError, Meta};
use queenright_protocol::id::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::dirty::{BACKLOG_STEP, Dirty, EventBlocks};
use super::{LogId, Membership, Replica, State};
use crate::consensus::types::TypeConfig;
use crate::store::Pass;

/// What is stored beside the pairs of the colony, in the same batch.
#[derive(Debug, Serialize, Deserialize)]
struct StoredMeta {
    last_applied: Option<LogId>,
    membership: Membership,
    /// What the log had on disk when this was written: the log must still have it.
    flushed: Option<Flushed>,
    colony: Meta,
}

/// What a pass is made of: what changed, in the state as it was then, and where that stood in the log unless it is the
/// state on its way from one that a snapshot replaced.
pub(crate) struct Taken {
    dirty: Dirty,
    colony: Colony,
    stored: Option<StoredMeta>,
}

/// A vote and an entry that the log has had on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flushed {
    /// Votes only grow.
    pub(crate) vote: VoteOf<TypeConfig>,
    /// A committed entry: no leader has it removed.
    pub(crate) committed: Option<LogId>,
}

/// Why a stored state was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The record that says how far the log was applied does not decode.
    #[error("the record of the applied position does not decode: {0}")]
    Meta(#[from] bincode::Error),
    /// The pairs are damaged.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The store was on its way to a state that a snapshot had brought.
    #[error("the store was being replaced by what a snapshot holds")]
    Unfinished,
}

impl Replica {
    /// The copy that a store held.
    ///
    /// # Errors
    /// When the stored bytes are damaged: the store must be set aside and the state rebuilt from the log.
    pub fn restore(me: NodeId, meta: &[u8], pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Arc<Replica>, RestoreError> {
        if meta.is_empty() {
            return Err(RestoreError::Unfinished);
        }
        let stored: StoredMeta = bincode::deserialize(meta)?;
        let blocks = EventBlocks::of(&pairs);
        let colony = Colony::restore(stored.colony, pairs)?;
        Ok(Replica::with(
            me,
            colony,
            stored.last_applied,
            stored.membership,
            blocks,
            stored.flushed,
        ))
    }
    /// How many changed records, or events, wait for the store, but for those that a snapshot brought: the greater number.
    pub fn dirty_records(&self) -> usize {
        self.state().dirty.len()
    }
    /// Follows how many changes the store has not taken yet, in steps of some thousand.
    pub(crate) fn follow_backlog(&self) -> watch::Receiver<usize> {
        self.backlog.subscribe()
    }
    pub(super) fn tell_backlog(&self, dirty: usize) {
        let steps = dirty / BACKLOG_STEP * BACKLOG_STEP;
        self.backlog
            .send_if_modified(|told| std::mem::replace(told, steps) != steps);
    }
    /// What changed since the last call, as one pass of the store; `None` when nothing did. What a snapshot brought comes
    /// in several passes. Called by the store thread.
    pub fn take_pass(&self) -> Option<Pass> {
        self.take_dirty().map(|taken| self.pass(taken))
    }
    /// What changed since the last call. All that a pass needs locks for that others wait for: see
    /// [`promptly`](crate::background::promptly).
    pub(crate) fn take_dirty(&self) -> Option<Taken> {
        let (dirty, colony, meta) = {
            let mut state = self.state();
            let index = state.last_applied.as_ref().map_or(0, |id| id.index);
            if state.dirty.is_clean(index) {
                return None;
            }
            let State { colony, dirty, .. } = &mut *state;
            let part = dirty.is_in_parts().then(|| dirty.take_part(colony));
            let meta = (state.last_applied, state.membership.clone());
            match part {
                Some(part) => (part, state.colony.clone(), None),
                None => (state.dirty.take(index), state.colony.clone(), Some(meta)),
            }
        };
        self.tell_backlog(0);
        let flushed = self.log_flushed.get().and_then(|flushed| flushed());
        let stored = meta.map(|(last_applied, membership)| StoredMeta {
            last_applied,
            membership,
            colony: colony.meta(),
            flushed: flushed.map(|(vote, last)| Flushed {
                vote,
                committed: last.min(last_applied),
            }),
        });
        Some(Taken { dirty, colony, stored })
    }
    /// The pass that writes what was taken.
    pub(crate) fn pass(&self, taken: Taken) -> Pass {
        let Taken { dirty, colony, stored } = taken;
        let mut blocks = self.blocks.lock().expect("only the store thread takes this lock");
        let changes = dirty.into_changes(&colony, &mut blocks);
        // A store without meta bytes holds no state.
        let meta = stored.as_ref().map_or_else(Vec::new, |stored| {
            bincode::serialize(stored).expect("plain data serialises into memory")
        });
        Pass {
            changes,
            meta,
            more: stored.is_none(),
        }
    }
}
