//! Applying the log: what an entry brings, what it changes here, and who is told.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use queenright_protocol::colony::{Applied, Batch, Checkpoint, Colony, Digest, Round, RoundError, UnknownRules};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::checkpoints::{Checkpoints, Difference};
use super::dirty::DIRTY_RECORDS_WANTED;
use super::{LogId, Membership, Replica};
use crate::trace::{AppliedTimes, RoundHead, now_us};

/// Counts of what was applied since this node started.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ApplyCounts {
    /// Log entries.
    pub entries: u64,
    /// Rounds.
    pub rounds: u64,
    /// Commands.
    pub commands: u64,
    /// Bytes of the entries.
    pub bytes: u64,
    /// How many rounds had up to 1, 2, 4, … commands; the last place counts all larger ones.
    pub rounds_by_commands: [u64; 16],
    /// How many entries joined up to 1, 2, 4, … commands.
    pub entries_by_commands: [u64; 16],
}

impl ApplyCounts {
    fn bucket(commands: u64) -> usize {
        (u64::BITS - commands.max(1).saturating_sub(1).leading_zeros()).min(15) as usize
    }
}

/// Why an entry could not be applied: the log holds what this program cannot read. The node must stop.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The entry is not a batch of rounds.
    #[error("log entry {index}: {source}")]
    Undecodable {
        /// The index of the entry.
        index: u64,
        /// What is wrong with it.
        source: RoundError,
    },
    /// The entry follows rules that this build does not know, or raises the version to one.
    #[error("log entry {index}: {source}")]
    UnknownRules {
        /// The index of the entry.
        index: u64,
        /// Which rules.
        source: UnknownRules,
    },
}

/// What a log entry brings.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    Blank,
    Rounds(&'a [u8]),
    Membership(&'a openraft::Membership<u64, openraft::EmptyNode>),
}

fn decode(bytes: &[u8]) -> Result<(Batch, Vec<Round>), RoundError> {
    let batch = Batch::decode(bytes)?;
    let rounds = batch
        .rounds
        .iter()
        .map(|round| Round::decode(round))
        .collect::<Result<_, _>>()?;
    Ok((batch, rounds))
}

impl Replica {
    /// Applies one log entry. An entry without payload (a blank or a change of members) only moves the position.
    ///
    /// # Errors
    /// When this build cannot: nothing of the entry was applied then, and [`Replica::unfit`] says why.
    pub(crate) fn apply(&self, log_id: LogId, payload: Payload<'_>) -> Result<(), ApplyError> {
        let applied = self.apply_entry(log_id, payload);
        if let Err(error) = &applied {
            self.unfit.send_replace(Some(error.to_string()));
        }
        applied
    }

    fn apply_entry(&self, log_id: LogId, payload: Payload<'_>) -> Result<(), ApplyError> {
        let index = log_id.index;
        let decoded = match payload {
            Payload::Rounds(bytes) => {
                let decoded = decode(bytes).map_err(|source| ApplyError::Undecodable { index, source })?;
                Some((decoded, bytes.len()))
            }
            Payload::Blank | Payload::Membership(_) => None,
        };
        let begin_us = now_us();
        let (applied, seq, cluster_ms, checkpoint, dirty) = {
            let mut state = self.state();
            if let Some(((_, rounds), _)) = &decoded {
                let known = state.colony.check_rules(rounds, self.knows);
                known.map_err(|source| ApplyError::UnknownRules { index, source })?;
            }
            drop(self.unpublish(&state));
            let applied = decoded
                .as_ref()
                .map(|((batch, rounds), _)| state.colony.apply(batch.cluster_ms, batch.wall_ms, rounds, self.me));
            if let Payload::Membership(membership) = payload {
                state.membership = Membership::new(Some(log_id), membership.clone());
            }
            state.last_applied = Some(log_id);
            if let Some(applied) = &applied {
                state.dirty.note(applied);
                if applied.door_tokens {
                    self.door_tokens.store(Arc::new(state.colony.door_tokens().clone()));
                }
                if !applied.pools.is_empty() {
                    self.pools.send_replace(state.colony.pools().clone());
                }
            }
            self.applied.store(index, Ordering::Release);
            // A clone: taking the digest would keep readers waiting.
            let checkpoint = Checkpoints::wants(index).then(|| state.colony.clone());
            let (seq, cluster_ms) = (state.colony.seq(), state.colony.cluster_ms());
            (applied, seq, cluster_ms, checkpoint, state.dirty.len())
        };
        self.compare(
            index,
            checkpoint,
            decoded.as_ref().and_then(|((batch, _), _)| batch.checkpoint),
        );
        if let (Some(applied), Some(((_, rounds), bytes))) = (applied, decoded) {
            let times = AppliedTimes {
                index,
                begin_us,
                end_us: now_us(),
            };
            for head in rounds.iter().filter_map(RoundHead::of) {
                self.journal.applied(head, times);
            }
            // Not the time in the entry: that of a leader whose clock is behind does not count.
            *self.clock.lock().expect("nothing panics under this lock") = (cluster_ms, Instant::now());
            self.count(&rounds, applied.commands, bytes);
            self.tell(applied);
        }
        self.seq.send_replace(seq);
        self.index.send_replace(index);
        self.tell_backlog(dirty);
        self.wake_store(dirty);
        Ok(())
    }
    /// Takes the digest after the entry `index`, if it is wanted, and compares an earlier one with what the leader logged.
    fn compare(&self, index: u64, colony: Option<Colony>, logged: Option<Checkpoint>) {
        let ours = colony.map(|colony| Checkpoint {
            index,
            digest: colony.digest(),
        });
        if ours.is_none() && logged.is_none() {
            return;
        }
        let found = {
            let mut checkpoints = self.checkpoints();
            ours.into_iter().for_each(|checkpoint| checkpoints.note(checkpoint));
            logged.and_then(|logged| checkpoints.compare(logged))
        };
        if let Some(difference) = found {
            tracing::error!(%difference, "this node differs from what the leader logged");
            // The first one counts: all later ones follow from it.
            self.difference
                .send_if_modified(|known| known.is_none() && known.replace(difference).is_none());
        }
    }
    fn checkpoints(&self) -> MutexGuard<'_, Checkpoints> {
        self.checkpoints.lock().expect("nothing panics under this lock")
    }
    /// The latest digest that no leader has logged yet.
    pub(crate) fn unlogged_checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoints().unlogged()
    }
    /// The digest after the entry `index`, if it was taken and is kept.
    pub(crate) fn digest_at(&self, index: u64) -> Option<Digest> {
        self.checkpoints().at(index)
    }
    /// Where this replica differs from what a leader has logged, if it does and that is not settled yet.
    pub(crate) fn difference(&self) -> Option<Difference> {
        *self.difference.borrow()
    }
    /// Follows it.
    pub(crate) fn follow_difference(&self) -> watch::Receiver<Option<Difference>> {
        self.difference.subscribe()
    }
    /// This replica is right about the entry `index`.
    pub(crate) fn settle_difference(&self, index: u64) {
        self.difference
            .send_if_modified(|known| known.take_if(|difference| difference.index <= index).is_some());
    }
    pub(super) fn wake_store(&self, dirty: usize) {
        if let Some(wake) = self.wake_store.get() {
            wake(dirty >= DIRTY_RECORDS_WANTED);
        }
    }
    fn tell(&self, applied: Applied) {
        for (project, key, revision) in &applied.records {
            self.revisions.note(project, key, *revision);
            self.waiters.changed(*revision, || (project.to_string(), key.clone()));
        }
        for (project, id) in &applied.waits {
            self.claims.changed(0, || (project.clone(), *id));
        }
        for (project, reservation) in &applied.reservations {
            if self.reservation_waiters.has(project, *reservation) {
                self.wake_if_settled(project, *reservation);
            }
        }
        if !applied.losses.is_empty() {
            self.note_losses(applied.losses);
        }
        if let Some(epoch) = applied.epoch {
            self.epoch.send_replace(Some(epoch));
        }
        if let Some(sink) = self.answers.get()
            && !applied.outcomes.is_empty()
        {
            sink(applied.outcomes);
        }
    }
    fn count(&self, rounds: &[Round], commands: u64, bytes: usize) {
        let mut counts = self.counts.lock().expect("nothing panics under this lock");
        counts.entries += 1;
        counts.rounds += rounds.len() as u64;
        counts.commands += commands;
        counts.bytes += bytes as u64;
        counts.entries_by_commands[ApplyCounts::bucket(commands)] += 1;
        for round in rounds {
            counts.rounds_by_commands[ApplyCounts::bucket(round.commands.len() as u64)] += 1;
        }
    }
}
