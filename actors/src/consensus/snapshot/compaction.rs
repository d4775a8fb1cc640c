//! When a snapshot is built, and how much of the log goes behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::alias::SnapshotMetaOf;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::serve::Server;
use super::{Library, Snapshot, SnapshotError};
use crate::background;
use crate::consensus::log::LogStore;
use crate::consensus::machine::Machine;
use crate::consensus::types::TypeConfig;
use crate::replica::Replica;

/// How often it is looked how far the log is, while entries are applied: some megabytes of a busy log.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long to wait after a snapshot could not be built: its disk may be full, and will not be empty at once.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// How often it is looked at the time of an idle log.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// How finely positions in the log are known, as a share of what is kept.
const MARKS: u64 = 32;
/// While a snapshot is on its way, the log behind it is kept for whoever will have installed it, up to so many times what
/// is kept else; beyond that the other node needs another snapshot, which is better than a full disk.
const HELD_TIMES: u64 = 16;

/// How much log is kept, and how snapshots are sent. The node's configuration has bounds and reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionOptions {
    /// A snapshot is built when the log since the last one has as many bytes, or half as many as the last one if that is
    /// more: so the disk writes no more than three times what changes.
    pub snapshot_bytes: u64,
    /// One is also built when the last one is older than this and something was applied since.
    pub snapshot_every: Duration,
    /// So many bytes of log stay behind the last entry when the rest goes, so that a node that is a little behind needs no
    /// snapshot.
    pub keep_bytes: u64,
    /// How many bytes of snapshots a node sends each second, to all others together.
    pub sent_bytes_per_s: u64,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        CompactionOptions {
            snapshot_bytes: 64 << 20,
            snapshot_every: Duration::from_secs(3600),
            keep_bytes: 32 << 20,
            sent_bytes_per_s: 64 << 20,
        }
    }
}

/// Where in the log which entry stands, roughly: bytes count from where the log ended when it was opened.
struct Marks {
    /// Index of an entry and the bytes before it, ascending. The first is that of the oldest entry, before the opening.
    marks: VecDeque<(u64, i64)>,
    step: u64,
}

impl Marks {
    /// The log holds the entries `[first, next)` in so many bytes.
    fn new(first: u64, next: u64, bytes: u64, step: u64) -> Marks {
        let marks = [(first, -(bytes as i64)), (next, 0)];
        Marks {
            marks: marks.into(),
            step: step.max(1),
        }
    }

    fn note(&mut self, next: u64, bytes: u64) {
        let bytes = bytes as i64;
        let (last, before) = *self.marks.back().expect("there are always two");
        if next > last && bytes - before >= self.step as i64 {
            self.marks.push_back((next, bytes));
        }
    }

    /// The bytes before an entry; in between marks as if all entries were alike.
    fn bytes_before(&self, index: u64) -> i64 {
        let after = self.marks.partition_point(|(mark, _)| *mark <= index);
        let Some((low, low_bytes)) = after.checked_sub(1).map(|at| self.marks[at]) else {
            return self.marks[0].1;
        };
        let Some(&(high, high_bytes)) = self.marks.get(after) else {
            return low_bytes;
        };
        let share = (index - low) as f64 / (high - low) as f64;
        low_bytes + ((high_bytes - low_bytes) as f64 * share) as i64
    }

    /// The first entry to keep so that about `keep` bytes end at `total`; in between marks as if all entries were alike.
    fn keep_from(&self, total: u64, keep: u64) -> u64 {
        let limit = total as i64 - keep as i64;
        let after = self.marks.partition_point(|(_, bytes)| *bytes <= limit);
        let Some((low, low_bytes)) = after.checked_sub(1).map(|at| self.marks[at]) else {
            return 0;
        };
        let Some(&(high, high_bytes)) = self.marks.get(after) else {
            return low;
        };
        let share = (limit - low_bytes) as f64 / (high_bytes - low_bytes) as f64;
        low + ((high - low) as f64 * share) as u64
    }

    /// Forgets what lies before an entry.
    fn forget(&mut self, index: u64) {
        while self.marks.len() > 2 && self.marks[1].0 <= index {
            self.marks.pop_front();
        }
    }
}

/// Builds snapshots and has the log cut, as long as the node runs.
pub(crate) struct Compaction {
    pub(crate) options: CompactionOptions,
    pub(crate) raft: Raft<TypeConfig, Machine>,
    pub(crate) log: LogStore,
    pub(crate) replica: Arc<Replica>,
    pub(crate) library: Arc<Library>,
    pub(crate) server: Arc<Server>,
    /// Notified when somebody needs a snapshot of what is applied now.
    pub(crate) wanted: Arc<Notify>,
}

impl Compaction {
    pub(crate) async fn run(self) {
        let Ok((first, next, bytes)) = self.log.extent() else {
            return;
        };
        let step = self.options.keep_bytes.min(self.options.snapshot_bytes) / MARKS;
        let mut marks = Marks::new(first, next, bytes, step);
        let mut built = Instant::now();
        let mut asked_upto = 0;
        let mut applied = self.replica.follow_index();
        loop {
            let asked = tokio::select! {
                () = self.wanted.notified() => true,
                // The sender lives as long as the replica.
                _ = applied.changed() => false,
                () = tokio::time::sleep(IDLE_LOOK) => false,
            };
            let Ok((next, bytes)) = self.log.appended() else { return };
            marks.note(next, bytes);
            let due = asked || self.is_due(&marks, bytes, built.elapsed());
            if due && *applied.borrow_and_update() > self.newest().unwrap_or(0) {
                let began = Instant::now();
                match self.build().await {
                    Ok(snapshot) => {
                        tracing::info!(%snapshot, took_ms = began.elapsed().as_millis() as u64, "built a snapshot");
                        built = began;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no snapshot could be built; the log stays");
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                }
            }
            // openraft remembers what it was asked for while a node still reads the entries.
            if let Some(upto) = self.purgeable(&marks, bytes).filter(|upto| *upto > asked_upto)
                && self.raft.trigger().purge_log(upto).await.is_ok()
            {
                asked_upto = upto;
                marks.forget(upto);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn newest(&self) -> Option<u64> {
        self.library.newest().map(|newest| newest.index())
    }

    fn is_due(&self, marks: &Marks, total: u64, age: Duration) -> bool {
        let newest = self.library.newest();
        let (before, half) = newest.as_ref().map_or((marks.bytes_before(0), 0), |newest| {
            (marks.bytes_before(newest.index() + 1), newest.bytes() / 2)
        });
        let since = total as i64 - before;
        since >= self.options.snapshot_bytes.max(half) as i64 || age >= self.options.snapshot_every
    }

    /// Builds a snapshot of what is applied now, and tells openraft.
    async fn build(&self) -> Result<Arc<Snapshot>, SnapshotError> {
        let (colony, last_log_id, last_membership) = self.replica.whole();
        let meta = SnapshotMetaOf::<TypeConfig> {
            last_log_id,
            last_membership,
        };
        let library = self.library.clone();
        let snapshot = background::run("snapshot", move || library.build(&colony, &meta)).await??;
        // The builder hands openraft what is there. One that has stopped needs no snapshot.
        let _ = self.raft.trigger().snapshot().await;
        Ok(snapshot)
    }

    /// Up to which entry the log may go: behind a snapshot that was read back, and behind what is kept.
    fn purgeable(&self, marks: &Marks, total: u64) -> Option<u64> {
        let metrics = self.raft.metrics();
        let (snapshot, purged) = {
            let metrics = metrics.borrow_watched();
            (metrics.snapshot?.index, metrics.purged.map(|purged| purged.index))
        };
        // Not what openraft remembers, but what is there.
        let snapshot = snapshot.min(self.newest()?);
        let mut upto = marks
            .keep_from(total, self.options.keep_bytes)
            .checked_sub(1)?
            .min(snapshot);
        if let Some(sent) = self.server.oldest_sent() {
            let held = self.options.keep_bytes.saturating_mul(HELD_TIMES);
            let room = marks.keep_from(total, held).saturating_sub(1);
            upto = upto.min(sent.max(room));
        }
        purged.is_none_or(|purged| purged < upto).then_some(upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_known_to_a_step() {
        let mut marks = Marks::new(10, 20, 1_000, 100);
        assert_eq!(marks.bytes_before(10), -1_000);
        assert_eq!(marks.bytes_before(15), -500);
        assert_eq!(marks.bytes_before(0), -1_000);
        // Entries of 30 B from 20 on.
        (21..120).for_each(|next| marks.note(next, (next - 20) * 30));
        for index in 20..115 {
            let error = marks.bytes_before(index) - (index as i64 - 20) * 30;
            assert!(error.abs() <= 120, "{index}: off by {error}");
        }
    }

    #[test]
    fn what_is_kept_is_what_was_asked_for_to_an_entry() {
        let mut marks = Marks::new(0, 20, 1_000, 100);
        (21..=120).for_each(|next| marks.note(next, (next - 20) * 30));
        let total = 3_000;
        assert_eq!(marks.keep_from(total, 10_000), 0, "there is not so much");
        assert_eq!(
            marks.keep_from(total, 3_500),
            10,
            "the half of what was there at the opening"
        );
        for keep in [90, 500, 2_999] {
            let from = marks.keep_from(total, keep);
            let kept = (120 - from) * 30;
            assert!(kept.abs_diff(keep) <= 60, "{keep}: {kept} from {from}");
        }
        let before = marks.bytes_before(80);
        marks.forget(70);
        assert_eq!(marks.bytes_before(80), before);
        assert!(marks.keep_from(total, 10_000) <= 70);
    }
}
