//! A project: the unit of order and of atomicity. Made on first use.

use std::sync::Arc;

use super::Applied;
use super::command::{
    Body, Change, Command, ContentHash, IDEMPOTENCY_KEY_BYTES_MAX, Key, NAME_BYTES_MAX, Outcome, Refusal,
};
use super::digest::Digest;
use super::event::{Cursor, Event, Events, What};
use super::memory::{Memory, Record, Stamp, Value, check_form, malformed, over_limit};
use super::once::{IdempotencyKeys, Remembered, body_digest};
use super::proposal::{
    BATCH_KEYS_MAX, BATCH_PROPOSALS_MAX, CONFLICTS_LISTED_MAX, Conflict, Prepared, Proposal, ProposalBatch, Verdict,
};
use crate::conflict;

/// The state of one project.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Its collective memory.
    pub(crate) memory: Memory,
    /// What happened in it.
    pub(crate) events: Events,
    /// The idempotency keys of its callers.
    pub(crate) idempotency: IdempotencyKeys,
}

/// The command that is being executed: where it stands in the order, and whose it is.
pub(crate) struct Scope<'a> {
    pub(crate) seq: u64,
    pub(crate) cluster_ms: u64,
    pub(crate) wall_ms: u64,
    pub(crate) project: &'a Arc<str>,
    pub(crate) author: &'a Arc<str>,
}

/// Checks the names that a command carries.
pub(crate) fn check_names(command: &Command) -> Result<(), Refusal> {
    check_name("project", &command.project)?;
    check_name("author", &command.author)?;
    match &command.idempotency_key {
        Some(key) if key.len() > IDEMPOTENCY_KEY_BYTES_MAX => {
            Err(over_limit("idempotency_key", key.len(), IDEMPOTENCY_KEY_BYTES_MAX))
        }
        Some(key) if key.is_empty() || key.chars().any(char::is_control) => {
            Err(malformed("idempotency_key", "is empty or has a control character"))
        }
        _ => Ok(()),
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    if name.len() > NAME_BYTES_MAX {
        return Err(over_limit(field, name.len(), NAME_BYTES_MAX));
    }
    if name.is_empty() || name.chars().any(|c| c.is_control() || c == '/') {
        return Err(malformed(field, "is empty, or has a slash or a control character"));
    }
    Ok(())
}

impl Project {
    /// Its collective memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What happened in it.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// What is stored under an idempotency key, also when its time is over.
    pub fn remembered(&self, key: &str) -> Option<&Arc<Remembered>> {
        self.idempotency.stored(key)
    }

    /// The idempotency keys that are stored.
    pub fn remembered_keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.idempotency.iter().map(|(key, _)| key)
    }

    pub(crate) fn digests(&self) -> [Digest; 3] {
        [self.memory.digest, self.events.digest, self.idempotency.digest]
    }

    /// Executes a command once for each idempotency key.
    pub(crate) fn execute(&mut self, command: &Command, scope: &Scope<'_>, applied: &mut Applied) -> Outcome {
        let Some(key) = &command.idempotency_key else {
            return self.carry_out(&command.body, scope, applied);
        };
        let body = body_digest(&command.body);
        match self.idempotency.get(key, scope.cluster_ms) {
            Some(remembered) if remembered.body == body => remembered.outcome.clone(),
            Some(_) => Outcome::Refused(Refusal::IdempotencyKeyReused { key: key.clone() }),
            None => {
                let outcome = self.carry_out(&command.body, scope, applied);
                let changed = &mut |key| applied.remembered.push((scope.project.clone(), key));
                self.idempotency
                    .remember(key.clone(), body, outcome.clone(), scope.cluster_ms, changed);
                outcome
            }
        }
    }

    fn carry_out(&mut self, body: &Body, scope: &Scope<'_>, applied: &mut Applied) -> Outcome {
        let mut step = Step {
            project: self,
            scope,
            applied,
            ordinal: 0,
        };
        let outcome = match body {
            Body::Change(change) => step.change(change),
            Body::Propose(proposal) => step.propose(proposal),
            Body::ProposeBatch(batch) => step.propose_batch(batch),
        };
        outcome.unwrap_or_else(Outcome::Refused)
    }
}

/// One command at work on its project.
struct Step<'a> {
    project: &'a mut Project,
    scope: &'a Scope<'a>,
    applied: &'a mut Applied,
    /// The place of the next event among those of this command.
    ordinal: u32,
}

impl Step<'_> {
    fn change(&mut self, change: &Change) -> Result<Outcome, Refusal> {
        check_form(&change.key, &change.tags, &change.op)?;
        self.project.memory.check(&change.key, change.condition)?;
        let value = self.project.memory.prepare(&change.key, &change.op)?;
        let revision = self.set(&change.key, value, &change.tags);
        Ok(Outcome::Changed {
            seq: self.scope.seq,
            revision,
        })
    }

    fn propose(&mut self, proposal: &Proposal) -> Result<Outcome, Refusal> {
        proposal.check_form()?;
        let seq = self.scope.seq;
        let mut conflicts = proposal.conflicts(&self.project.memory);
        if let Some(first) = conflicts.first() {
            let total = conflicts.len() as u64;
            self.event(What::Lost {
                kind: first.kind,
                conflicts: total,
            });
            conflicts.truncate(CONFLICTS_LISTED_MAX);
            return Ok(Outcome::Lost { seq, conflicts, total });
        }
        let prepared = proposal.prepare(&self.project.memory)?;
        if proposal.dry_run {
            return Ok(Outcome::Committed {
                seq,
                revisions: self.next_revisions(proposal),
            });
        }
        self.event(What::Committed {
            writes: proposal.writes.len() as u64,
        });
        Ok(Outcome::Committed {
            seq,
            revisions: self.commit(proposal, prepared),
        })
    }

    fn next_revisions(&self, proposal: &Proposal) -> Vec<u64> {
        proposal
            .writes
            .iter()
            .map(|write| self.project.memory.revision(&write.key) + 1)
            .collect()
    }

    fn commit(&mut self, proposal: &Proposal, prepared: Prepared) -> Vec<u64> {
        proposal
            .writes
            .iter()
            .zip(prepared)
            .map(|(write, value)| self.set(&write.key, value, &write.tags))
            .collect()
    }

    fn set(&mut self, key: &Key, value: Option<Value>, tags: &[Arc<str>]) -> u64 {
        let Scope {
            seq,
            cluster_ms,
            project,
            author,
            ..
        } = *self.scope;
        let stamp = Stamp {
            author,
            seq,
            now_ms: cluster_ms,
        };
        let contents = &mut self.applied.contents;
        let content_changed = &mut |hash: ContentHash| contents.push((project.clone(), hash));
        let record = self.project.memory.set(key, value, tags, &stamp, content_changed);
        let revision = record.revision;
        self.event(changed(key, &record));
        self.applied.records.push((project.clone(), key.clone(), record));
        revision
    }

    fn event(&mut self, what: What) {
        let event = Arc::new(Event {
            cursor: Cursor {
                seq: self.scope.seq,
                ordinal: self.ordinal,
            },
            cluster_ms: self.scope.cluster_ms,
            wall_ms: self.scope.wall_ms,
            author: self.scope.author.clone(),
            what,
        });
        self.ordinal += 1;
        self.project.events.push(event.clone());
        self.applied.events.push((self.scope.project.clone(), event));
    }

    fn propose_batch(&mut self, batch: &ProposalBatch) -> Result<Outcome, Refusal> {
        if batch.proposals.len() > BATCH_PROPOSALS_MAX {
            return Err(over_limit("proposals", batch.proposals.len(), BATCH_PROPOSALS_MAX));
        }
        let mut verdicts: Vec<Option<Verdict>> = batch
            .proposals
            .iter()
            .map(|proposal| self.against_state(proposal))
            .collect();
        let judged: Vec<usize> = (0..verdicts.len()).filter(|&place| verdicts[place].is_none()).collect();
        let pairs = self.against_each_other(batch, &judged, &mut verdicts)?;
        // Those still without a verdict have won; the order of the batch is the order of their changes.
        let won = verdicts.iter().filter(|verdict| verdict.is_none()).count() as u64;
        self.event(What::Judged {
            committed: won,
            lost: verdicts.len() as u64 - won,
        });
        let verdicts = verdicts
            .into_iter()
            .zip(&batch.proposals)
            .map(|(verdict, proposal)| verdict.unwrap_or_else(|| self.commit_of_batch(proposal)))
            .collect();
        Ok(Outcome::Judged {
            seq: self.scope.seq,
            verdicts,
            pairs,
        })
    }

    /// The verdict that the state alone gives: `None` for a proposal that it does not stop.
    fn against_state(&self, proposal: &Proposal) -> Option<Verdict> {
        if let Err(refusal) = proposal.check_form() {
            return Some(Verdict::Refused(refusal));
        }
        let conflicts = proposal.conflicts(&self.project.memory);
        if !conflicts.is_empty() {
            return Some(lost(conflicts));
        }
        proposal.prepare(&self.project.memory).err().map(Verdict::Refused)
    }

    /// Judges the proposals of the batch whose places are in `judged` against each other, and notes the losers in
    /// `verdicts`. Returns how many conflicts there are among them.
    fn against_each_other(
        &self,
        batch: &ProposalBatch,
        judged: &[usize],
        verdicts: &mut [Option<Verdict>],
    ) -> Result<u64, Refusal> {
        let mut accesses = conflict::Batch::with_capacity(judged.len(), judged.len());
        let mut keys = 0;
        for &place in judged {
            let proposal = &batch.proposals[place];
            keys += proposal.reads.len() + proposal.writes.len();
            if keys > BATCH_KEYS_MAX {
                return Err(over_limit("keys of the batch", keys, BATCH_KEYS_MAX));
            }
            let reads = proposal.reads.iter().map(|read| read.key.as_bytes());
            let writes = proposal
                .writes
                .iter()
                .map(|write| (write.key.as_bytes(), write.class()));
            accesses.push(proposal.priority, reads, writes);
        }
        let detection = conflict::detect(&accesses);
        let write_of = |position: u32, key: &[u8]| {
            let writes = &batch.proposals[judged[position as usize]].writes;
            writes.iter().find(|write| write.key.as_bytes() == key)
        };
        let resolved = conflict::resolve_merging(batch.policy, &accesses, &detection, |same| {
            match (write_of(same.kept, same.key), write_of(same.candidate, same.key)) {
                (Some(kept), Some(candidate)) => kept.leaves_the_same(candidate),
                _ => false,
            }
        });
        for (&place, verdict) in judged.iter().zip(resolved.iter()) {
            let conflict::Verdict::Lost { clashes, more } = verdict else {
                continue;
            };
            let conflicts: Vec<Conflict> = clashes
                .iter()
                .map(|clash| self.clash(batch, place, judged[clash.with as usize], clash, &detection))
                .collect();
            let total = conflicts.len() as u64 + u64::from(more);
            verdicts[place] = Some(Verdict::Lost { conflicts, total });
        }
        Ok(detection.counts().total())
    }

    fn clash(
        &self,
        batch: &ProposalBatch,
        place: usize,
        winner: usize,
        clash: &conflict::Clash,
        detection: &conflict::Detection<'_>,
    ) -> Conflict {
        let key = detection.group(clash.group as usize).key;
        let key: Key = String::from_utf8_lossy(key).into();
        let record = self.project.memory.record(&key);
        let expected = batch.proposals[place]
            .reads
            .iter()
            .find(|read| read.key == key)
            .map(|read| read.revision);
        let revision = record.map_or(0, |record| record.revision);
        Conflict {
            kind: clash.kind,
            expected: expected.unwrap_or(revision),
            revision,
            hash: record.and_then(|record| record.value.as_ref()).map(|value| value.hash),
            winner: winner as u64,
            key,
        }
    }

    fn commit_of_batch(&mut self, proposal: &Proposal) -> Verdict {
        if proposal.dry_run {
            return Verdict::Committed {
                revisions: self.next_revisions(proposal),
            };
        }
        // Prepared again: writes that commute see what the winners before them left.
        match proposal.prepare(&self.project.memory) {
            Ok(prepared) => Verdict::Committed {
                revisions: self.commit(proposal, prepared),
            },
            Err(refusal) => Verdict::Refused(refusal),
        }
    }
}

fn lost(mut conflicts: Vec<Conflict>) -> Verdict {
    let total = conflicts.len() as u64;
    conflicts.truncate(CONFLICTS_LISTED_MAX);
    Verdict::Lost { conflicts, total }
}

fn changed(key: &Key, record: &Record) -> What {
    What::Changed {
        key: key.clone(),
        revision: record.revision,
        hash: record.value.as_ref().map(|value| value.hash),
        bytes: record.value.as_ref().map_or(0, |value| value.bytes.len() as u64),
        tags: record.tags.clone(),
    }
}
