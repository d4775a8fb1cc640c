//! Who lost to whom of late, for those who look on. What apply decides is told by every node; what a node refuses before the
//! log, by that one alone.

use std::sync::Arc;

use queenright_protocol::colony::{Conflict, LostTo};

use super::Replica;

/// How many proposals that lost a node tells of.
pub const LOSSES_KEPT: usize = 256;

impl Replica {
    /// The last proposals of a project that lost since this node started, at most [`LOSSES_KEPT`] of all projects, the newest
    /// first.
    pub fn losses(&self, project: &str) -> Vec<LostTo> {
        let kept = self.losses.lock().expect("nothing panics under this lock");
        let of_project = kept.iter().rev().filter(|lost| *lost.project == *project);
        of_project.cloned().collect()
    }

    /// Keeps what is to be said of proposals that lost.
    pub(crate) fn note_losses(&self, losses: impl IntoIterator<Item = LostTo>) {
        let mut kept = self.losses.lock().expect("nothing panics under this lock");
        kept.extend(losses);
        let over = kept.len().saturating_sub(LOSSES_KEPT);
        kept.drain(..over);
    }

    /// A proposal that this node refuses since it has lost already.
    pub(crate) fn note_early_loss(&self, project: &Arc<str>, author: &Arc<str>, conflicts: &[Conflict]) {
        let author_at = |seq| {
            let state = self.state();
            let found = state.colony.project(project)?.events().author_at(seq);
            found.cloned()
        };
        let lost = LostTo::new(project, author, conflicts, author_at);
        let cluster_ms = self.cluster_ms_estimate();
        self.note_losses(lost.map(|lost| LostTo { cluster_ms, ..lost }));
    }
}
