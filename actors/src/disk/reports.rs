//! What the nodes say of their disks, and what follows for growing commands.

use std::collections::{BTreeMap, BTreeSet};

use queenright_protocol::id::NodeId;

use super::DiskReport;

/// After how long without a report a node does not count among those with room, while another one is low: reports come
/// each second then, and what cannot be reached takes no part in a majority either.
pub(super) const SILENT_MS: u64 = 5_000;

/// What each voter said last.
pub(super) struct Reports {
    me: NodeId,
    voters: BTreeSet<NodeId>,
    /// With the time at which it was heard.
    heard: BTreeMap<NodeId, (DiskReport, u64)>,
    /// Since when some voter is low.
    low_since_ms: Option<u64>,
}

impl Reports {
    pub(super) fn new(me: NodeId, voters: BTreeSet<NodeId>) -> Reports {
        Reports {
            me,
            voters,
            heard: BTreeMap::new(),
            low_since_ms: None,
        }
    }

    pub(super) fn me(&self) -> NodeId {
        self.me
    }

    /// These vote from now on; what others said is forgotten.
    pub(super) fn set_voters(&mut self, voters: BTreeSet<NodeId>) {
        self.heard.retain(|node, _| voters.contains(node) || *node == self.me);
        self.voters = voters;
    }

    /// Takes a report. Times come from any clock that does not go back.
    pub(super) fn note(&mut self, from: NodeId, report: DiskReport, now_ms: u64) {
        if from != self.me && !self.voters.contains(&from) {
            return;
        }
        self.heard.insert(from, (report, now_ms));
        self.low_since_ms = match self.low_since_ms {
            _ if !self.any_low() => None,
            None => Some(now_ms),
            since => since,
        };
    }

    /// Whether any node is low.
    pub(super) fn any_low(&self) -> bool {
        self.heard.values().any(|(report, _)| report.low)
    }

    /// The voter with the least room when growing commands must be refused; `None` while they are admitted. A cluster
    /// without a low node never refuses: whether it has a majority is for consensus to say.
    pub(super) fn verdict(&self, now_ms: u64) -> Option<(NodeId, DiskReport)> {
        let since = self.low_since_ms?;
        let voters = || self.voters.iter().map(|voter| (*voter, self.heard.get(voter)));
        let (lowest, (report, _)) = voters()
            .filter_map(|(voter, heard)| Some((voter, heard?)))
            .filter(|(_, (report, _))| report.low)
            .min_by_key(|(_, (report, _))| report.free_bytes)?;
        let roomy = voters().filter(|(voter, heard)| {
            // From the moment when somebody got low everybody has as long to be heard.
            let heard_ms = heard.map_or(since, |(_, heard_ms)| (*heard_ms).max(since));
            let silent = *voter != self.me && now_ms.saturating_sub(heard_ms) > SILENT_MS;
            !silent && !heard.is_some_and(|(report, _)| report.low)
        });
        (roomy.count() * 2 <= self.voters.len()).then_some((lowest, *report))
    }
}
