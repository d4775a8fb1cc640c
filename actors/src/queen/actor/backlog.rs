//! How far the stores are behind, as the leader knows it: what is due, such as the tasks of a session that ended, waits for
//! the slowest of them, and commands slow down before a node must apply nothing until its store has caught up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use queenright_protocol::id::NodeId;

use crate::replica::DIRTY_RECORDS_MAX;

/// With more changes than these that its store has not taken yet, a node would soon apply nothing until it has: commands
/// slow down.
const UNSTORED_MAX: u64 = DIRTY_RECORDS_MAX as u64 / 2;
/// With more than these nothing that is due is done: what it brings while the others tell of their stores must not slow
/// down commands.
const UNSTORED_BY_DUE_MAX: u64 = UNSTORED_MAX / 2;
/// How long the next entry waits when a store is as far behind as it may be. With many entries of large commands on the way
/// this still can be too little, and the node waits for its store after all.
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// For how long counts what a node said: it says so again each second while there is much.
const COUNTS: Duration = Duration::from_secs(3);

/// What the other nodes said of their stores, and when.
#[derive(Default)]
pub(super) struct Backlogs(BTreeMap<NodeId, (u64, Instant)>);

impl Backlogs {
    pub(super) fn note(&mut self, from: NodeId, records: u64, now: Instant) {
        self.0.insert(from, (records, now));
    }

    /// Whether the store of a node should first catch up; that of this one is behind by `own`.
    pub(super) fn are_long(&self, own: usize, now: Instant) -> bool {
        self.longest(own, now) > UNSTORED_BY_DUE_MAX
    }

    /// How long the next entry should wait: the longer, the further a store is behind.
    pub(super) fn pause(&self, own: usize, now: Instant) -> Duration {
        let over = self.longest(own, now).saturating_sub(UNSTORED_MAX).min(UNSTORED_MAX);
        PAUSE_MAX.mul_f64(over as f64 / UNSTORED_MAX as f64)
    }

    fn longest(&self, own: usize, now: Instant) -> u64 {
        let others = self.0.values();
        let others = others.filter(|(_, told)| now.duration_since(*told) < COUNTS);
        let most = others.map(|(records, _)| *records).max().unwrap_or_default();
        most.max(own as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_store_counts_until_its_node_is_silent() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let much = UNSTORED_BY_DUE_MAX + 1;
        let mut backlogs = Backlogs::default();
        assert!(!backlogs.are_long(UNSTORED_BY_DUE_MAX as usize, start));
        assert!(backlogs.are_long(much as usize, start));
        backlogs.note(NodeId(2), much, start);
        backlogs.note(NodeId(3), 0, at(1));
        assert!(backlogs.are_long(0, at(2_999)));
        assert!(!backlogs.are_long(0, at(3_000)), "it has said nothing since");
        backlogs.note(NodeId(2), much, at(4_000));
        backlogs.note(NodeId(2), 4_096, at(4_010));
        assert!(!backlogs.are_long(0, at(4_010)), "it has caught up");
    }

    #[test]
    fn the_further_a_store_is_behind_the_longer_the_next_entry_waits() {
        let now = Instant::now();
        let mut backlogs = Backlogs::default();
        assert_eq!(backlogs.pause(UNSTORED_MAX as usize, now), Duration::ZERO);
        backlogs.note(NodeId(2), UNSTORED_MAX * 3 / 2, now);
        assert_eq!(backlogs.pause(0, now), PAUSE_MAX / 2);
        assert_eq!(backlogs.pause(DIRTY_RECORDS_MAX, now), PAUSE_MAX);
        assert_eq!(backlogs.pause(DIRTY_RECORDS_MAX * 9, now), PAUSE_MAX);
    }
}
