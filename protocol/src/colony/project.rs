//! A project: the unit of order and of atomicity. Made on first use.

use std::sync::Arc;

use super::Applied;
use super::agent::Agents;
use super::command::{
    Body, Change, Command, ContentHash, IDEMPOTENCY_KEY_BYTES_MAX, Key, NAME_BYTES_MAX, Outcome, Refusal,
};
use super::digest::Digest;
use super::event::{Cursor, Event, Events, What};
use super::memory::{Memory, Next, Record, Stamp, check_form, malformed, over_limit};
use super::once::{IdempotencyKeys, Remembered, body_digest};
use super::proposal::{
    CONFLICTS_LISTED_MAX, Changes, Conflict, Prepared, Proposal, ProposalBatch, Verdict, bound_listing,
};
use super::task::Tasks;
use crate::conflict::{self, Policy};
use crate::id::NodeId;

/// The state of one project.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Its collective memory.
    pub(crate) memory: Memory,
    /// What happened in it.
    pub(crate) events: Events,
    /// The idempotency keys of its callers.
    pub(crate) idempotency: IdempotencyKeys,
    /// Its tasks.
    pub(crate) tasks: Tasks,
}

const PROJECT_DIGEST: u8 = b'p';

/// The command that is being executed: where it stands in the order, and whose it is.
pub(crate) struct Scope<'a> {
    pub(crate) seq: u64,
    pub(crate) cluster_ms: u64,
    pub(crate) wall_ms: u64,
    /// The node that gathered it, and which start of that node.
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
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

pub(crate) fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
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

    /// Its tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// What is stored under an idempotency key, also when its time is over.
    pub fn remembered(&self, key: &str) -> Option<&Arc<Remembered>> {
        self.idempotency.stored(key)
    }

    /// The idempotency keys that are stored.
    pub fn remembered_keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.idempotency.iter().map(|(key, _)| key)
    }

    /// Whether nothing was ever changed, told or remembered in it.
    pub(crate) fn is_untouched(&self) -> bool {
        let told = !self.events.is_empty() || self.events.dropped().is_some();
        self.memory.is_empty() && self.tasks.is_empty() && !told && self.remembered_keys().next().is_none()
    }

    /// The digest over all that a snapshot holds of it.
    pub(crate) fn digest(&self, name: &str) -> Digest {
        let sums = [
            self.memory.digest,
            self.events.digest,
            self.idempotency.digest,
            self.tasks.digest,
        ];
        Digest::of(PROJECT_DIGEST, &(name, sums, self.events.dropped()))
    }

    /// Executes a command once for each idempotency key.
    pub(crate) fn execute(
        &mut self,
        command: &Command,
        agents: &mut Agents,
        scope: &Scope<'_>,
        applied: &mut Applied,
    ) -> Outcome {
        let Some(key) = &command.idempotency_key else {
            return self.carry_out(&command.body, agents, scope, applied);
        };
        let body = body_digest(&command.body);
        match self.idempotency.get(key, scope.cluster_ms) {
            Some(remembered) if remembered.body == body => remembered.outcome.clone(),
            Some(_) => Outcome::Refused(Refusal::IdempotencyKeyReused { key: key.clone() }),
            None => {
                let outcome = self.carry_out(&command.body, agents, scope, applied);
                let changed = &mut |key| applied.remembered.push((scope.project.clone(), key));
                self.idempotency
                    .remember(key.clone(), body, outcome.clone(), scope.cluster_ms, changed);
                outcome
            }
        }
    }

    fn carry_out(&mut self, body: &Body, agents: &mut Agents, scope: &Scope<'_>, applied: &mut Applied) -> Outcome {
        let mut step = Step {
            project: self,
            agents,
            scope,
            applied,
            ordinal: 0,
        };
        let outcome = match body {
            Body::Change(change) => step.change(change),
            Body::Propose(proposal) => step.propose(proposal),
            Body::ProposeBatch(batch) => step.propose_batch(batch),
            Body::Withheld(low) => Err(Refusal::DiskLow(low.clone())),
            Body::Task(command) => step.task(command),
            Body::Session(command) => step.session(command),
            Body::Agent(_) => unreachable!("agents belong to no project"),
        };
        outcome.unwrap_or_else(Outcome::Refused)
    }
}

/// One command at work on its project.
pub(crate) struct Step<'a> {
    pub(crate) project: &'a mut Project,
    pub(crate) agents: &'a mut Agents,
    pub(crate) scope: &'a Scope<'a>,
    pub(crate) applied: &'a mut Applied,
    /// The place of the next event among those of this command.
    pub(crate) ordinal: u32,
}

impl Step<'_> {
    fn change(&mut self, change: &Change) -> Result<Outcome, Refusal> {
        check_form(&change.key, &change.tags, &change.op)?;
        let memory = &self.project.memory;
        let current = memory.current(&change.key);
        current.check(&change.key, change.condition)?;
        let next = memory.prepare(&change.key, current, &change.op)?;
        let revision = self.set(&change.key, next, &change.tags);
        Ok(Outcome::Changed {
            seq: self.scope.seq,
            revision,
        })
    }

    pub(crate) fn propose(&mut self, proposal: &Proposal) -> Result<Outcome, Refusal> {
        proposal.check_form()?;
        let seq = self.scope.seq;
        let mut conflicts = proposal.conflicts(&self.project.memory);
        if let Some(first) = conflicts.first() {
            let (kind, total) = (first.kind, conflicts.len() as u64);
            if !proposal.dry_run {
                self.event(What::Lost { kind, conflicts: total });
            }
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
            .map(|(write, next)| self.set(&write.key, next, &write.tags))
            .collect()
    }

    fn set(&mut self, key: &Key, next: Next, tags: &[Arc<str>]) -> u64 {
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
        let record = self.project.memory.set(key, next, tags, &stamp, content_changed);
        let revision = record.revision;
        self.event(changed(key, &record));
        self.applied.records.push((project.clone(), key.clone(), revision));
        revision
    }

    pub(crate) fn event(&mut self, what: What) {
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
        batch.check_form()?;
        let mut verdicts: Vec<Option<Verdict>> = batch
            .proposals
            .iter()
            .map(|proposal| self.against_state(proposal))
            .collect();
        let judged: Vec<usize> = (0..verdicts.len()).filter(|&place| verdicts[place].is_none()).collect();
        let pairs = self.against_each_other(batch, &judged, &mut verdicts);
        // Those still without a verdict have won.
        let mut verdicts = match batch.is_dry_run() {
            true => self.next_revisions_of_batch(batch, verdicts),
            false => self.commit_of_batch(batch, verdicts),
        };
        bound_listing(&mut verdicts);
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
    fn against_each_other(&mut self, batch: &ProposalBatch, judged: &[usize], verdicts: &mut [Option<Verdict>]) -> u64 {
        let mut accesses = conflict::Batch::with_capacity(judged.len(), judged.len(), 0);
        for &place in judged {
            let proposal = &batch.proposals[place];
            let reads = proposal.reads.iter().map(|read| read.key.as_bytes());
            let writes = proposal
                .writes
                .iter()
                .map(|write| (write.key.as_bytes(), write.class()));
            accesses.push(proposal.priority, reads, writes);
        }
        // Taken out, since what follows reads the state beside it.
        let mut detector = std::mem::take(&mut self.applied.detector);
        let detection = detector.detect(&accesses);
        let changes: Vec<Changes<'_>> = match batch.policy == Policy::Merge && !detection.is_empty() {
            true => judged
                .iter()
                .map(|&place| Changes::of(&batch.proposals[place]))
                .collect(),
            false => Vec::new(),
        };
        let resolved = conflict::resolve_merging(batch.policy, &detection, |same| {
            let (kept, candidate) = (&changes[same.kept as usize], &changes[same.candidate as usize]);
            kept.leave_the_same(candidate, same.key)
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
        let total = detection.counts().total();
        self.applied.detector = detector;
        total
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

    fn next_revisions_of_batch(&self, batch: &ProposalBatch, verdicts: Vec<Option<Verdict>>) -> Vec<Verdict> {
        let committed = |proposal| Verdict::Committed {
            revisions: self.next_revisions(proposal),
        };
        let places = verdicts.into_iter().zip(&batch.proposals);
        places
            .map(|(verdict, proposal)| verdict.unwrap_or_else(|| committed(proposal)))
            .collect()
    }

    /// Commits the winners; the order of the batch is the order of their changes.
    fn commit_of_batch(&mut self, batch: &ProposalBatch, verdicts: Vec<Option<Verdict>>) -> Vec<Verdict> {
        // The batch is judged against one state: a winner's change must not take away what another one puts by hash.
        let held: Vec<&ContentHash> = batch
            .kept_contents()
            .filter(|hash| self.project.memory.hold(hash))
            .collect();
        let places = verdicts.into_iter().zip(&batch.proposals);
        let verdicts: Vec<Verdict> = places
            .map(|(verdict, proposal)| verdict.unwrap_or_else(|| self.commit_winner(proposal)))
            .collect();
        let contents = &mut self.applied.contents;
        let project = self.scope.project;
        for hash in held {
            let content_changed = &mut |hash: ContentHash| contents.push((project.clone(), hash));
            self.project.memory.release(hash, content_changed);
        }
        // Last, because a winner may still be refused.
        let committed = |verdict: &&Verdict| matches!(verdict, Verdict::Committed { .. });
        let committed = verdicts.iter().filter(committed).count() as u64;
        self.event(What::Judged {
            committed,
            lost: verdicts.len() as u64 - committed,
        });
        verdicts
    }

    fn commit_winner(&mut self, proposal: &Proposal) -> Verdict {
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
