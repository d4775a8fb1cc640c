//! Batches of proposals in the model: every pair compared.

use super::proposals::covers;
use super::*;

impl ModelProject {
    pub(super) fn batch(&mut self, batch: &ProposalBatch, at: &At) -> Result<Outcome, Refusal> {
        let dry: BTreeSet<bool> = batch.proposals.iter().map(|proposal| proposal.dry_run).collect();
        if dry.len() == 2 {
            return Err(bad(
                "dry_run",
                "is set on some proposals of the batch and not on others",
            ));
        }
        let before = self.held.clone();
        let mut verdicts: BTreeMap<usize, Verdict> = BTreeMap::new();
        for (place, proposal) in batch.proposals.iter().enumerate() {
            let verdict = match self.judge(proposal, at) {
                _ if proposal.follows.is_some() => {
                    Verdict::Refused(bad("follows", "is for a proposal alone, a batch has priorities"))
                }
                Ok(_) => continue,
                Err(stop) => stop.into(),
            };
            verdicts.insert(place, verdict);
        }
        let judged: Vec<usize> = (0..batch.proposals.len())
            .filter(|place| !verdicts.contains_key(place))
            .collect();
        let pairwise = Pairwise {
            batch,
            judged,
            before: &before,
        };
        let pairs = pairwise.pairs();
        verdicts.extend(pairwise.losers());
        let wet = batch.proposals.iter().map(|proposal| Proposal {
            dry_run: false,
            ..proposal.clone()
        });
        let mut trial = self.clone();
        trial.commit_winners(&wet.collect::<Vec<_>>(), &before, &mut verdicts.clone(), at);
        self.check_memory(&trial.held)?;
        let committed = self.commit_winners(&batch.proposals, &before, &mut verdicts, at);
        if !dry.contains(&true) {
            let lost = batch.proposals.len() as u64 - committed;
            self.event(What::Judged { committed, lost }, at);
        }
        let verdicts = verdicts.into_values().collect();
        Ok(Outcome::Judged {
            seq: at.seq,
            verdicts,
            pairs,
        })
    }
}

impl ModelProject {
    /// Commits those without a verdict, one after the other; how many could be.
    fn commit_winners(
        &mut self,
        proposals: &[Proposal],
        before: &Holds,
        verdicts: &mut BTreeMap<usize, Verdict>,
        at: &At,
    ) -> u64 {
        let mut committed = 0;
        for (place, proposal) in proposals.iter().enumerate() {
            if verdicts.contains_key(&place) {
                continue;
            }
            let verdict = match values(proposal, &self.held, before) {
                Err(stop) => stop.into(),
                Ok(values) => {
                    committed += 1;
                    let merged = proposals::merged(&values);
                    let revisions = self.commit(proposal, values, at);
                    Verdict::Committed { revisions, merged }
                }
            };
            verdicts.insert(place, verdict);
        }
        committed
    }
}

/// What a proposal of a batch is to a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Exclusive,
    Adds,
    Appends,
    Maximises,
    AddsToSet,
    Reads,
}

/// The proposals of a batch that the state does not stop, each compared with each other.
struct Pairwise<'a> {
    batch: &'a ProposalBatch,
    judged: Vec<usize>,
    before: &'a Holds,
}

impl Pairwise<'_> {
    fn part(&self, place: usize, key: &str) -> Option<Part> {
        let proposal = &self.batch.proposals[place];
        let written = |place: &usize| {
            self.batch.proposals[*place]
                .writes
                .iter()
                .any(|write| &*write.key == key)
        };
        let in_range = proposal.ranges.iter().any(|range| covers(&range.span, key)) && self.judged.iter().any(written);
        let reads = in_range || proposal.reads.iter().any(|read| &*read.key == key);
        match proposal.writes.iter().find(|write| &*write.key == key) {
            None => reads.then_some(Part::Reads),
            Some(write) if reads || write.before.is_some() => Some(Part::Exclusive),
            Some(write) => Some(match write.op {
                Op::Put(_) | Op::Delete | Op::Merge(_) => Part::Exclusive,
                Op::Increment(_) => Part::Adds,
                Op::Append(_) => Part::Appends,
                Op::Max(_) => Part::Maximises,
                Op::SetAdd(_) => Part::AddsToSet,
            }),
        }
    }

    fn conflict(&self, a: usize, b: usize, key: &str) -> Option<Kind> {
        let (mine, theirs) = (self.part(a, key)?, self.part(b, key)?);
        match (mine == Part::Reads, theirs == Part::Reads) {
            (true, true) => None,
            (false, false) if mine == theirs && mine != Part::Exclusive => None,
            (false, false) => Some(Kind::WriteWrite),
            _ => Some(Kind::ReadWrite),
        }
    }

    /// All keys, in the order in which they first appear.
    fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        let proposals = || self.judged.iter().map(|&place| &self.batch.proposals[place]);
        let written: BTreeSet<&Key> = proposals()
            .flat_map(|proposal| &proposal.writes)
            .map(|write| &write.key)
            .collect();
        for proposal in proposals() {
            let writes = proposal.writes.iter().map(|write| &write.key);
            let ranges = proposal.ranges.iter().flat_map(|range| {
                let written = written.iter().copied();
                written.filter(move |key| covers(&range.span, key))
            });
            for key in proposal.reads.iter().map(|read| &read.key).chain(ranges).chain(writes) {
                if !keys.contains(key) {
                    keys.push(key.clone());
                }
            }
        }
        keys
    }

    fn pairs(&self) -> u64 {
        let mut pairs = 0;
        for key in self.keys() {
            for &a in &self.judged {
                let later = self.judged.iter().filter(|b| **b > a);
                pairs += later.filter(|b| self.conflict(a, **b, &key).is_some()).count() as u64;
            }
        }
        pairs
    }

    fn losers(&self) -> BTreeMap<usize, Verdict> {
        let mut order = self.judged.clone();
        order.sort_by_key(|&place| (255 - self.batch.proposals[place].priority, place));
        let mut committed: Vec<usize> = Vec::new();
        let mut losers = BTreeMap::new();
        for &place in &order {
            let mut clashes = Vec::new();
            for key in self.keys() {
                if let Some((kind, winner)) = self.clash(place, &key, &committed) {
                    clashes.push(self.described(place, key, kind, winner));
                }
            }
            if !clashes.is_empty() || (self.batch.policy == Policy::Reject && self.pairs() > 0) {
                let total = clashes.len() as u64;
                clashes.truncate(8);
                losers.insert(
                    place,
                    Verdict::Lost {
                        conflicts: clashes,
                        total,
                    },
                );
            } else {
                committed.push(place);
            }
        }
        losers
    }

    /// Why `place` loses on `key`, and to whom.
    fn clash(&self, place: usize, key: &str, committed: &[usize]) -> Option<(Kind, usize)> {
        let mut rivals = match self.batch.policy {
            Policy::First | Policy::Merge => committed.to_vec(),
            Policy::Exclude | Policy::Reject => {
                let mut all = self.judged.clone();
                all.sort_by_key(|&other| (self.part(other, key), other));
                all
            }
        };
        rivals.retain(|&other| other != place && !self.merges(place, other, key));
        rivals
            .into_iter()
            .find_map(|other| Some((self.conflict(place, other, key)?, other)))
    }

    fn merges(&self, a: usize, b: usize, key: &str) -> bool {
        let change = |place: usize| {
            let write = self.batch.proposals[place]
                .writes
                .iter()
                .find(|write| &*write.key == key)?;
            let value = match &write.op {
                Op::Delete => None,
                Op::Put(Content::Inline(bytes)) => Some(bytes.to_vec()),
                Op::Put(Content::Kept(hash)) => find_content(self.before, hash),
                _ => return None,
            };
            Some((value, write.tags.clone(), write.before))
        };
        let merges = |place: usize| {
            let proposal = &self.batch.proposals[place];
            let read = proposal.reads.iter().any(|read| &*read.key == key)
                || proposal.ranges.iter().any(|range| covers(&range.span, key));
            let mut writes = proposal.writes.iter().filter(|write| &*write.key == key);
            !read && writes.any(|write| write.before.is_none() && matches!(write.op, Op::Merge(_)))
        };
        let same = change(a).is_some() && change(a) == change(b);
        self.batch.policy == Policy::Merge && (same || merges(a) && merges(b))
    }

    fn described(&self, place: usize, key: Key, kind: Kind, winner: usize) -> Conflict {
        let held = held(self.before, &key);
        let read = self.batch.proposals[place].reads.iter().find(|read| read.key == key);
        Conflict {
            kind,
            expected: read.map_or(held.revision, |read| read.revision),
            revision: held.revision,
            hash: hash(&held),
            winner: winner as u64,
            holder: None,
            key,
            merge: None,
        }
    }
}
