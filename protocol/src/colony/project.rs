//! A project: the unit of order and of atomicity. How it begins and ends: [`super::projects`].

use std::sync::Arc;

use super::Applied;
use super::agent::{Agents, Timer};
use super::command::{
    Body, Change, Command, ContentHash, IDEMPOTENCY_KEY_BYTES_MAX, Key, NAME_BYTES_MAX, Op, Outcome, Refusal,
};
use super::digest::Digest;
use super::event::{Cursor, Event, Events, What};
use super::hold::{HOLD_AFTER_LOSSES, HOLD_MS, Hold, Holds};
use super::memory::{Memory, MergeRoom, Next, Record, Stamp, Unprepared, check_form, malformed, over_limit};
use super::once::{IdempotencyKeys, Remembered, body_digest};
use super::projects::About;
use super::proposal::{
    CONFLICTS_LISTED_MAX, Changes, Conflict, Prepared, Proposal, ProposalBatch, Room, Stop, Verdict, bound_listing,
    merged,
};
use super::range::{BATCH_RANGE_BYTES_MAX, BATCH_RANGE_KEYS_MAX, GlobRoom};
use super::reservation::Reservations;
use super::task::{Caller, Tasks};
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
    /// The keys that are held for proposals that have lost again and again.
    pub(crate) holds: Holds,
    /// Its reservations.
    pub(crate) reservations: Reservations,
    /// What is known of it beside all that.
    pub(crate) about: About,
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

    /// The keys that are held for proposals that have lost again and again.
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Its reservations.
    pub fn reservations(&self) -> &Reservations {
        &self.reservations
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
        let nothing = self.memory.is_empty() && self.tasks.is_empty() && self.reservations.is_empty();
        nothing && !told && self.idempotency.is_empty()
    }

    /// The digest over all that a snapshot holds of it.
    pub(crate) fn digest(&self, name: &str) -> Digest {
        let sums = [
            self.memory.digest,
            self.events.digest,
            self.idempotency.digest,
            self.tasks.digest,
            self.holds.digest,
            self.reservations.digest,
        ];
        Digest::of(PROJECT_DIGEST, &(name, sums, self.events.dropped(), &self.about))
    }

    /// Ends a hold.
    pub(crate) fn end_hold(&mut self, seq: u64, agents: &mut Agents, name: &Arc<str>, applied: &mut Applied) {
        if let Some(hold) = self.holds.remove(seq) {
            agents.unset_timer(hold.until_ms, name, Timer::Hold(seq));
            applied.holds.push((name.clone(), seq));
        }
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
            return self.within_rate(&command.body, agents, scope, applied);
        };
        let body = body_digest(&command.body);
        match self.idempotency.get(key, scope.cluster_ms) {
            Some(remembered) if remembered.body == body => remembered.outcome.clone(),
            Some(_) => Outcome::Refused(Refusal::IdempotencyKeyReused { key: key.clone() }),
            None => {
                let outcome = self.within_rate(&command.body, agents, scope, applied);
                // At a limit of the project it may be another one soon.
                if matches!(outcome, Outcome::Refused(Refusal::Quota { .. })) {
                    return outcome;
                }
                let changed = &mut |key| applied.remembered.push((scope.project.clone(), key));
                self.idempotency
                    .remember(key.clone(), body, outcome.clone(), scope.cluster_ms, changed);
                outcome
            }
        }
    }

    /// Carries out a command if the rate of the project has room for it; one that is refused for other reasons counts.
    fn within_rate(&mut self, body: &Body, agents: &mut Agents, scope: &Scope<'_>, applied: &mut Applied) -> Outcome {
        match self.about.take_command(body, scope.cluster_ms) {
            Ok(()) => self.carry_out(body, agents, scope, applied),
            Err(refusal) => Outcome::Refused(refusal),
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
            Body::Propose(proposal) => step.propose(proposal, None),
            Body::ProposeBatch(batch) => step.propose_batch(batch),
            Body::Withheld(low) => Err(Refusal::DiskLow(low.clone())),
            Body::Task(command) => step.task(command),
            Body::Session(command) => step.session(command),
            Body::Reservation(command) => step.reservation(command),
            Body::Agent(_) | Body::Project(_) => unreachable!("the colony carries these out itself"),
        };
        if outcome.is_ok() {
            step.hand_out();
        }
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
        if matches!(change.op, Op::Merge(_)) {
            return Err(malformed("op", "a merge is part of a proposal"));
        }
        let now_ms = self.scope.cluster_ms;
        if let Some((_, hold)) = self.project.holds.against(&change.key, None, now_ms) {
            return Err(Refusal::KeyHeld {
                key: change.key.clone(),
                author: hold.author.clone(),
                until_ms: hold.until_ms,
            });
        }
        self.check_not_reserved(change)?;
        let memory = &self.project.memory;
        let current = memory.current(&change.key);
        current.check(&change.key, change.condition)?;
        let next = memory.prepare(
            &change.key,
            current,
            &change.op,
            &change.tags,
            &mut MergeRoom::default(),
        );
        let next = next.map_err(|unprepared| match unprepared {
            Unprepared::Refused(refusal) => refusal,
            Unprepared::Unmerged(_) => unreachable!("a change is no merge"),
        })?;
        self.check_growth(|| {
            let change = (&change.key, &next, &change.tags[..]);
            self.project.memory.growth([change])
        })?;
        let revision = self.set(&change.key, next, &change.tags);
        Ok(Outcome::Changed {
            seq: self.scope.seq,
            revision,
        })
    }

    /// Judges a proposal and commits it if it wins. `caller` brings it, unless it names one itself.
    pub(crate) fn propose(&mut self, proposal: &Proposal, caller: Option<&Caller>) -> Result<Outcome, Refusal> {
        let seq = self.scope.seq;
        let prepared = match self.judge(proposal, caller, &mut Room::for_writes(proposal.writes.len())) {
            Ok(prepared) => prepared,
            Err(Stop::Refused(refusal)) => return Err(refusal),
            Err(Stop::Lost(mut conflicts)) => {
                let total = conflicts.len() as u64;
                let held_until_ms = match proposal.dry_run {
                    true => None,
                    false => self.lose(proposal, &conflicts),
                };
                conflicts.truncate(CONFLICTS_LISTED_MAX);
                return Ok(Outcome::Lost {
                    seq,
                    conflicts,
                    total,
                    held_until_ms,
                });
            }
        };
        self.check_growth(|| {
            let writes = proposal.writes.iter().zip(&prepared);
            let changes = writes.map(|(write, next)| (&write.key, next, &write.tags[..]));
            self.project.memory.growth(changes)
        })?;
        let merged = merged(&prepared);
        if proposal.dry_run {
            return Ok(Outcome::Committed {
                seq,
                revisions: self.next_revisions(proposal),
                merged,
            });
        }
        self.end_own_hold(proposal);
        self.event(What::Committed {
            writes: proposal.writes.len() as u64,
        });
        Ok(Outcome::Committed {
            seq,
            revisions: self.commit(proposal, prepared),
            merged,
        })
    }

    /// What stops a proposal, or what its writes would leave. Changes nothing.
    fn judge(&self, proposal: &Proposal, caller: Option<&Caller>, room: &mut Room) -> Result<Prepared, Stop> {
        proposal.check_form()?;
        if let Some(fence) = &proposal.fence {
            self.check_fence(fence.task, fence.fence, &fence.caller)?;
        }
        let reserved = self.reserved(proposal, caller, &mut room.writes)?;
        let Project { memory, holds, .. } = &*self.project;
        let mut conflicts = proposal.conflicts(memory, &reserved, &mut room.globs)?;
        conflicts.extend(proposal.held(memory, holds, self.own_hold(proposal), self.scope.cluster_ms));
        match conflicts.is_empty() {
            true => proposal.prepare(memory, &mut room.merges),
            false => Err(Stop::Lost(conflicts)),
        }
    }

    /// The hold that this proposal follows, if it was granted to its author.
    fn own_hold(&self, proposal: &Proposal) -> Option<u64> {
        let hold = |seq: &u64| self.project.holds.get(*seq);
        let own = |seq: &u64| hold(seq).is_some_and(|hold| hold.author == *self.scope.author);
        proposal.follows.filter(own)
    }

    fn end_own_hold(&mut self, proposal: &Proposal) {
        if let Some(seq) = self.own_hold(proposal) {
            self.project
                .end_hold(seq, self.agents, self.scope.project, self.applied);
        }
    }

    /// Tells of a loss and counts it; after every [`HOLD_AFTER_LOSSES`] in a row the keys are held for the next attempt. A
    /// loss to a reservation does not count: what is held would be held against the one who reserved it.
    fn lose(&mut self, proposal: &Proposal, conflicts: &[Conflict]) -> Option<u64> {
        let Scope {
            seq,
            author,
            cluster_ms,
            ..
        } = *self.scope;
        let before = proposal.follows.and_then(|seq| self.project.events.losses(seq, author));
        let reserved = conflicts.iter().any(|conflict| conflict.holder.is_some());
        let losses = before.unwrap_or(0) + u64::from(!reserved);
        self.end_own_hold(proposal);
        self.event(What::Lost {
            kind: conflicts[0].kind,
            conflicts: conflicts.len() as u64,
            losses,
        });
        if reserved || !losses.is_multiple_of(HOLD_AFTER_LOSSES) {
            return None;
        }
        let until_ms = cluster_ms.saturating_add(HOLD_MS);
        let hold = Hold::of(proposal, author, until_ms).filter(|hold| self.project.holds.has_room_for(hold))?;
        self.project.holds.set(seq, hold);
        self.agents.set_timer(until_ms, self.scope.project, Timer::Hold(seq));
        self.applied.holds.push((self.scope.project.clone(), seq));
        Some(until_ms)
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
            .map(|(write, mut next)| {
                let tags = next.tags.take();
                self.set(&write.key, next, tags.as_ref().unwrap_or(&write.tags))
            })
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
        let writes = batch.proposals.iter().map(|proposal| proposal.writes.len());
        let mut room = Room::for_writes(writes.sum());
        let mut verdicts: Vec<Option<Verdict>> = batch
            .proposals
            .iter()
            .map(|proposal| self.against_state(proposal, &mut room))
            .collect();
        let judged: Vec<usize> = (0..verdicts.len()).filter(|&place| verdicts[place].is_none()).collect();
        let pairs = self.against_each_other(batch, &judged, &mut room.globs, &mut verdicts)?;
        self.check_growth_of_batch(batch, &verdicts)?;
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
    fn against_state(&self, proposal: &Proposal, room: &mut Room) -> Option<Verdict> {
        if proposal.follows.is_some() {
            let refusal = malformed("follows", "is for a proposal alone, a batch has priorities");
            return Some(Verdict::Refused(refusal));
        }
        self.judge(proposal, None, room).err().map(Verdict::from)
    }

    /// The keys that the proposals of the batch whose places are in `judged` write and that lie in the ranges that each
    /// of them reads: by place in `judged`. Nobody has any where nobody reads a range.
    fn written_in_ranges<'b>(
        batch: &'b ProposalBatch,
        judged: &[usize],
        room: &mut GlobRoom,
    ) -> Result<Vec<Vec<&'b str>>, Refusal> {
        let judged = || judged.iter().map(|&place| &batch.proposals[place]);
        if judged().all(|proposal| proposal.ranges.is_empty()) {
            return Ok(Vec::new());
        }
        let mut written: Vec<&str> = judged()
            .flat_map(|proposal| &proposal.writes)
            .map(|write| &*write.key)
            .collect();
        written.sort_unstable();
        written.dedup();
        let (mut keys, mut bytes) = (0, 0);
        let mut found = Vec::new();
        for proposal in judged() {
            let mut of_one = Vec::new();
            for range in &proposal.ranges {
                let more = range.span.among(&written, room)?;
                keys += more.len();
                bytes += more.iter().map(|key| key.len()).sum::<usize>();
                if keys > BATCH_RANGE_KEYS_MAX {
                    return Err(over_limit("batch_range_keys", keys, BATCH_RANGE_KEYS_MAX));
                }
                if bytes > BATCH_RANGE_BYTES_MAX {
                    return Err(over_limit("batch_range_bytes", bytes, BATCH_RANGE_BYTES_MAX));
                }
                of_one.extend(more);
            }
            found.push(of_one);
        }
        Ok(found)
    }

    /// Judges the proposals of the batch whose places are in `judged` against each other, and notes the losers in
    /// `verdicts`. Returns how many conflicts there are among them.
    fn against_each_other(
        &mut self,
        batch: &ProposalBatch,
        judged: &[usize],
        room: &mut GlobRoom,
        verdicts: &mut [Option<Verdict>],
    ) -> Result<u64, Refusal> {
        let in_ranges = Self::written_in_ranges(batch, judged, room)?;
        let mut accesses = conflict::Batch::with_capacity(judged.len(), judged.len(), 0);
        for (number, &place) in judged.iter().enumerate() {
            let proposal = &batch.proposals[place];
            // Who reads a range reads every key in it, those included that come with the batch.
            let in_ranges = in_ranges.get(number).into_iter().flatten().map(|key| key.as_bytes());
            let reads = proposal.reads.iter().map(|read| read.key.as_bytes()).chain(in_ranges);
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
            kept.go_together(candidate, same.key)
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
        Ok(total)
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
            merge: None,
            holder: None,
        }
    }

    /// Whether the winners together may make the memory grow as they would. What each of them finds depends on those before
    /// it, so this tries them on a copy, where the project has a limit at all.
    fn check_growth_of_batch(&mut self, batch: &ProposalBatch, verdicts: &[Option<Verdict>]) -> Result<(), Refusal> {
        let limits = self.project.about.limits;
        if limits.memory_keys.is_none() && limits.memory_bytes.is_none() {
            return Ok(());
        }
        let (before, mut tried) = (self.project.clone(), Applied::default());
        let mut trial = Step {
            project: &mut *self.project,
            agents: &mut *self.agents,
            scope: self.scope,
            applied: &mut tried,
            ordinal: self.ordinal,
        };
        trial.commit_of_batch(batch, verdicts.to_vec());
        let after = std::mem::replace(self.project, before);
        self.check_growth(|| self.project.memory.growth_to(&after.memory))
    }

    fn next_revisions_of_batch(&self, batch: &ProposalBatch, verdicts: Vec<Option<Verdict>>) -> Vec<Verdict> {
        let mut room = MergeRoom::default();
        let mut committed = |proposal: &Proposal| Verdict::Committed {
            revisions: self.next_revisions(proposal),
            merged: match proposal.prepare(&self.project.memory, &mut room) {
                Ok(prepared) => merged(&prepared),
                Err(_) => unreachable!("nothing has changed since it was judged"),
            },
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
        let mut room = MergeRoom::default();
        let verdicts: Vec<Verdict> = places
            .map(|(verdict, proposal)| verdict.unwrap_or_else(|| self.commit_winner(proposal, &mut room)))
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

    fn commit_winner(&mut self, proposal: &Proposal, room: &mut MergeRoom) -> Verdict {
        // Prepared again: writes that commute or are merged see what the winners before them left.
        match proposal.prepare(&self.project.memory, room) {
            Ok(prepared) => Verdict::Committed {
                merged: merged(&prepared),
                revisions: self.commit(proposal, prepared),
            },
            Err(stop) => stop.into(),
        }
    }
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
