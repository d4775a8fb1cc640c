//! Batches of proposals: judged against the state, then against each other, and the winners committed.

use super::Step;
use crate::colony::Applied;
use crate::colony::command::{ContentHash, Key, Outcome, Refusal};
use crate::colony::event::What;
use crate::colony::memory::{MergeRoom, malformed, over_limit};
use crate::colony::proposal::{Changes, Conflict, Proposal, ProposalBatch, Room, Verdict, bound_listing, merged};
use crate::colony::range::{BATCH_RANGE_BYTES_MAX, BATCH_RANGE_KEYS_MAX, GlobRoom};
use crate::conflict;
use crate::conflict::Policy;

impl Step<'_> {
    pub(super) fn propose_batch(&mut self, batch: &ProposalBatch) -> Result<Outcome, Refusal> {
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
