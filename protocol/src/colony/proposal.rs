//! Atomic changes of several keys, with optimistic checks (the validation of Silo, SOSP 2013, at the proposal's place in
//! the order): every read must still hold, every range must be as it was read, every write may name the revision that it
//! replaces. Costs O(reads + writes + ranges), and what globs look at and merges take in, both bounded.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{Content, ContentHash, HOLDER_BYTES, Key, Op, Refusal};
use super::hold::Holds;
use super::memory::{Memory, MergeRoom, Next, Record, Unprepared, check_form, check_key, malformed, over_limit};
use super::range::{GlobRoom, Matcher, PROPOSAL_RANGES_MAX, RangeRead};
use super::reservation::{ReservedWrites, write_steps};
use super::task::{Caller, Fence, Holder, TaskId};
use crate::conflict::glob::Steps;
use crate::conflict::{Kind, MergeFailure, Operation, Policy, WriteClass};

/// How many keys a proposal may read, and how many it may write.
pub const PROPOSAL_KEYS_MAX: usize = 65_536;
/// How many proposals a batch may have. Each has a verdict, and the answer is kept until its node has it.
pub const BATCH_PROPOSALS_MAX: usize = 16_384;
/// How many keys the proposals of a batch may name in all. Each that is written has a revision in the answer.
pub const BATCH_KEYS_MAX: usize = 131_072;
/// How many conflicts one proposal is answered with.
pub const CONFLICTS_LISTED_MAX: usize = 64;
/// How many of them may say which lines did not go together; the others only that there are such.
pub const UNMERGED_LISTED_MAX: usize = 4;
/// How many bytes of conflicts, and of texts in refusals, the answer to a batch lists, in the order of the batch. What is
/// over it is left out or cut; the totals stay exact. Room for some 8,000 conflicts on keys of 60 B.
pub const BATCH_LISTED_BYTES_MAX: usize = 1 << 20;

/// Of an encoded conflict, without its key and its holder, in bytes.
pub(crate) const CONFLICT_BYTES: usize = 75;

/// An atomic change of several keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// What was read, and must still hold.
    pub reads: Vec<Read>,
    /// What is to be changed; each key at most once.
    pub writes: Vec<Write>,
    /// In a batch, the proposal with the higher priority wins; among equals the earlier one.
    pub priority: u8,
    /// Judge only: change nothing and tell nobody, whatever the verdict. The proposals of a batch agree on this: one that
    /// is not to be committed must not make another one lose.
    pub dry_run: bool,
    /// The ranges that were read, and must still hold what they held.
    pub ranges: Vec<RangeRead>,
    /// The lease under which it is made: refused if that is not the live one.
    pub fence: Option<TaskFence>,
    /// The position of the lost attempt that this one follows; 0 for one that its node refused before it had any. Such an
    /// attempt is always judged by the colony, so that its losses count. Not in a batch.
    pub follows: Option<u64>,
    /// Who writes, to whom its own reservations are no hindrance. When it does not say, it is who says to hold the task
    /// of its fence, or beside a finished task the owner of that.
    pub caller: Option<Caller>,
}

/// The lease of a task that somebody claims to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskFence {
    /// The task.
    pub task: TaskId,
    /// The fence of the lease.
    pub fence: Fence,
    /// Who says to hold it.
    pub caller: Caller,
}

/// A key that was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Read {
    /// The key.
    pub key: Key,
    /// Its revision as it was read; 0 for a key that was never written. Deleted keys have a revision too.
    pub revision: u64,
    /// Its value as it was read, if that is to be compared as well.
    pub content: Expected,
}

/// What a read found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// The revision alone decides.
    #[default]
    Any,
    /// No value.
    Absent,
    /// A value with this hash.
    Hash(ContentHash),
}

/// A key that is to be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// The key.
    pub key: Key,
    /// What happens to it.
    pub op: Op,
    /// The tags of its record from then on, sorted.
    pub tags: Vec<Arc<str>>,
    /// The revision that this write replaces, if it must be that one.
    pub before: Option<u64>,
}

/// One reason why a proposal lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// What kind of conflict it is.
    pub kind: Kind,
    /// The key; of a phantom the folder or the glob.
    pub key: Key,
    /// The revision that the proposal named; of a phantom the number of keys that it named.
    pub expected: u64,
    /// The revision of the key at the proposal's place in the order; of a phantom the number of keys there.
    pub revision: u64,
    /// The hash of the key's present value, if it has one: what to read again.
    pub hash: Option<ContentHash>,
    /// Who won: the position of the command that changed the key last (0 when nobody did), or inside a batch the place
    /// of the winning proposal. Of a held key the lost attempt that it is held for, of a reserved one the command that
    /// asked for the reservation.
    pub winner: u64,
    /// Why a text could not be merged.
    pub merge: Option<MergeFailure>,
    /// Who holds the reservation that the key lies under.
    pub holder: Option<Box<Holder>>,
}

/// Several proposals that are judged together against one state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProposalBatch {
    /// The proposals, in the order that decides among equal priorities.
    pub proposals: Vec<Proposal>,
    /// What becomes of those in conflict with one another.
    pub policy: Policy,
}

/// What became of one proposal of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Verdict {
    /// It was committed; the new revision of each written key, in the order of its writes.
    Committed {
        /// The new revisions.
        revisions: Vec<u64>,
        /// The places of the writes whose text was merged with that of somebody else.
        merged: Vec<u32>,
    },
    /// It lost; nothing of it was changed.
    Lost {
        /// Why, at most [`CONFLICTS_LISTED_MAX`] of them, and fewer once the batch has [`BATCH_LISTED_BYTES_MAX`] listed.
        conflicts: Vec<Conflict>,
        /// How many conflicts there are in all.
        total: u64,
    },
    /// It could not be judged. Once the batch has [`BATCH_LISTED_BYTES_MAX`] listed, long keys in here are cut.
    Refused(Refusal),
}

impl Conflict {
    /// What this adds to the encoded answer, in bytes.
    fn listed_bytes(&self) -> usize {
        let holder = self.holder.as_deref().map(|holder| HOLDER_BYTES + holder.text_bytes());
        let merge = self.merge.as_ref().map_or(0, MergeFailure::bytes);
        CONFLICT_BYTES + self.key.len() + merge + holder.unwrap_or_default()
    }
}

/// Keeps the answer to a batch within [`BATCH_LISTED_BYTES_MAX`] of conflicts and texts, in the order of the batch.
pub(crate) fn bound_listing(verdicts: &mut [Verdict]) {
    let mut left = BATCH_LISTED_BYTES_MAX;
    for verdict in verdicts {
        match verdict {
            Verdict::Committed { .. } => {}
            Verdict::Lost { conflicts, .. } => {
                let mut listed = 0;
                while let Some(rest) = conflicts
                    .get(listed)
                    .and_then(|conflict| left.checked_sub(conflict.listed_bytes()))
                {
                    (left, listed) = (rest, listed + 1);
                }
                conflicts.truncate(listed);
            }
            Verdict::Refused(refusal) => match left.checked_sub(refusal.text_bytes()) {
                Some(rest) => left = rest,
                None => refusal.cut_text(),
            },
        }
    }
}

/// What the writes of a proposal would leave, in their order.
pub(crate) type Prepared = Vec<Next>;

/// The places of the writes that are merges.
pub(crate) fn merged(prepared: &Prepared) -> Vec<u32> {
    let merged = (0..).zip(prepared).filter(|(_, next)| next.merged);
    merged.map(|(place, _)| place).collect()
}

/// Why a proposal does not commit.
pub(crate) enum Stop {
    Refused(Refusal),
    Lost(Vec<Conflict>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl From<Stop> for Verdict {
    fn from(stop: Stop) -> Verdict {
        match stop {
            Stop::Refused(refusal) => Verdict::Refused(refusal),
            Stop::Lost(mut conflicts) => {
                let total = conflicts.len() as u64;
                conflicts.truncate(CONFLICTS_LISTED_MAX);
                Verdict::Lost { conflicts, total }
            }
        }
    }
}

/// What the judging of one command may still cost beside its keys.
pub(crate) struct Room {
    pub(crate) globs: GlobRoom,
    pub(crate) merges: MergeRoom,
    /// For looking up whether its writes are reserved.
    pub(crate) writes: Steps,
}

impl Room {
    /// That of a command with so many writes.
    pub(crate) fn for_writes(writes: usize) -> Room {
        Room {
            globs: GlobRoom::default(),
            merges: MergeRoom::default(),
            writes: write_steps(writes),
        }
    }
}

impl Proposal {
    /// Checks the form: bounds, and that no key is written twice.
    pub(crate) fn check_form(&self) -> Result<(), Refusal> {
        if self.reads.len() > PROPOSAL_KEYS_MAX {
            return Err(over_limit("reads", self.reads.len(), PROPOSAL_KEYS_MAX));
        }
        if self.writes.len() > PROPOSAL_KEYS_MAX {
            return Err(over_limit("writes", self.writes.len(), PROPOSAL_KEYS_MAX));
        }
        if self.ranges.len() > PROPOSAL_RANGES_MAX {
            return Err(over_limit("ranges", self.ranges.len(), PROPOSAL_RANGES_MAX));
        }
        for read in &self.reads {
            check_key(&read.key)?;
        }
        for range in &self.ranges {
            range.span.check()?;
        }
        let mut written = BTreeSet::new();
        for write in &self.writes {
            check_form(&write.key, &write.tags, &write.op)?;
            if !written.insert(&write.key) {
                return Err(malformed("writes", &format!("{} is written twice", write.key)));
            }
        }
        Ok(())
    }

    /// Compares what was read, and what is to be replaced, with the present state; `reserved` are the reservations of
    /// others by the places of the writes.
    pub(crate) fn conflicts(
        &self,
        memory: &Memory,
        reserved: &ReservedWrites,
        room: &mut GlobRoom,
    ) -> Result<Vec<Conflict>, Refusal> {
        let reads = self.reads.iter().filter_map(|read| {
            let record = memory.record(&read.key);
            read_conflict(read, record).map(|kind| conflict(kind, &read.key, read.revision, record))
        });
        let writes = self.writes.iter().enumerate().filter_map(|(place, write)| {
            let record = memory.record(&write.key);
            if let Some(reservation) = reserved.get(&place) {
                let expected = write.before.unwrap_or(revision(record));
                return Some(Conflict {
                    winner: reservation.id.seq,
                    holder: Some(Box::new(reservation.holder.clone())),
                    ..conflict(Kind::Reservation, &write.key, expected, record)
                });
            }
            let before = write.before?;
            (revision(record) != before).then(|| conflict(Kind::StaleWrite, &write.key, before, record))
        });
        let mut conflicts: Vec<Conflict> = reads.chain(writes).collect();
        for range in &self.ranges {
            let state = range.span.state(memory, room)?;
            if state.stamp != range.stamp {
                conflicts.push(Conflict {
                    kind: Kind::Phantom,
                    key: range.span.text().clone(),
                    expected: range.stamp.keys,
                    revision: state.stamp.keys,
                    hash: None,
                    winner: state.changed,
                    merge: None,
                    holder: None,
                });
            }
        }
        Ok(conflicts)
    }

    /// The writes that a hold keeps this proposal from; `follows` is the hold that is its own.
    pub(crate) fn held(&self, memory: &Memory, holds: &Holds, follows: Option<u64>, now_ms: u64) -> Vec<Conflict> {
        if holds.is_empty() {
            return Vec::new();
        }
        let writes = self.writes.iter().filter_map(|write| {
            let (seq, _) = holds.against(&write.key, follows, now_ms)?;
            let record = memory.record(&write.key);
            let expected = write.before.unwrap_or(revision(record));
            Some(Conflict {
                winner: seq,
                ..conflict(Kind::Reservation, &write.key, expected, record)
            })
        });
        writes.collect()
    }

    /// What the writes would leave. Changes nothing.
    pub(crate) fn prepare(&self, memory: &Memory, room: &mut MergeRoom) -> Result<Prepared, Stop> {
        let (mut prepared, mut conflicts) = (Vec::with_capacity(self.writes.len()), Vec::new());
        for write in &self.writes {
            let current = memory.current(&write.key);
            match memory.prepare(&write.key, current, &write.op, &write.tags, room) {
                Ok(next) => prepared.push(next),
                Err(Unprepared::Refused(refusal)) => return Err(refusal.into()),
                Err(Unprepared::Unmerged(failure)) => {
                    let record = memory.record(&write.key);
                    let expected = revision(record);
                    let listed = conflicts.len() < UNMERGED_LISTED_MAX;
                    conflicts.push(Conflict {
                        merge: Some(if listed { failure } else { failure.without_lines() }),
                        ..conflict(Kind::Merge, &write.key, expected, record)
                    });
                }
            }
        }
        match conflicts.is_empty() {
            true => Ok(prepared),
            false => Err(Stop::Lost(conflicts)),
        }
    }
}

impl ProposalBatch {
    /// Checks the form of the batch as a whole; that of its proposals is judged with each.
    pub(crate) fn check_form(&self) -> Result<(), Refusal> {
        if self.proposals.len() > BATCH_PROPOSALS_MAX {
            return Err(over_limit("proposals", self.proposals.len(), BATCH_PROPOSALS_MAX));
        }
        let named = |proposal: &Proposal| proposal.reads.len() + proposal.writes.len() + proposal.ranges.len();
        let keys = self.proposals.iter().map(named).sum();
        if keys > BATCH_KEYS_MAX {
            return Err(over_limit("batch_keys", keys, BATCH_KEYS_MAX));
        }
        let dry_runs = self.proposals.iter().filter(|proposal| proposal.dry_run).count();
        if dry_runs > 0 && dry_runs < self.proposals.len() {
            return Err(malformed(
                "dry_run",
                "is set on some proposals of the batch and not on others",
            ));
        }
        Ok(())
    }

    /// Whether nothing of it is to be changed.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.proposals.iter().any(|proposal| proposal.dry_run)
    }

    /// The contents that its writes name by hash.
    pub(crate) fn kept_contents(&self) -> impl Iterator<Item = &ContentHash> {
        let writes = self.proposals.iter().flat_map(|proposal| &proposal.writes);
        let contents = writes.flat_map(|write| match &write.op {
            Op::Put(content) => [Some(content), None],
            Op::Merge(merge) => [Some(&merge.theirs), merge.base.as_ref()],
            _ => [None, None],
        });
        contents.flatten().filter_map(|content| match content {
            Content::Kept(hash) => Some(hash),
            Content::Inline(_) => None,
        })
    }
}

impl Write {
    /// How this write bears others of the same key in a batch. One that names the revision that it replaces bears none.
    pub(crate) fn class(&self) -> WriteClass {
        match (&self.op, self.before) {
            (_, Some(_)) | (Op::Put(_) | Op::Delete | Op::Merge(_), None) => WriteClass::Exclusive,
            (Op::Increment(_), None) => WriteClass::Commutes(Operation::Add),
            (Op::Max(_), None) => WriteClass::Commutes(Operation::Max),
            (Op::Append(_), None) => WriteClass::Commutes(Operation::Append),
            (Op::SetAdd(_), None) => WriteClass::Commutes(Operation::SetAdd),
        }
    }
}

/// The writes of a proposal by key, and the hashes of what they put: to tell quickly, and without hashing a value for
/// each question, which writes of a batch make the same change.
pub(crate) struct Changes<'a> {
    by_key: Vec<(&'a Write, Option<ContentHash>)>,
    reads: BTreeSet<&'a Key>,
    ranges: Vec<Matcher<'a>>,
}

impl<'a> Changes<'a> {
    pub(crate) fn of(proposal: &'a Proposal) -> Changes<'a> {
        let hash = |write: &Write| match &write.op {
            Op::Put(content) => Some(content.hash()),
            _ => None,
        };
        let mut by_key: Vec<_> = proposal.writes.iter().map(|write| (write, hash(write))).collect();
        by_key.sort_unstable_by(|(a, _), (b, _)| a.key.cmp(&b.key));
        Changes {
            by_key,
            reads: proposal.reads.iter().map(|read| &read.key).collect(),
            ranges: proposal.ranges.iter().map(|range| range.span.matcher()).collect(),
        }
    }

    /// Whether both may stand: they leave `key` with the same value and tags, as only plain puts and deletions do for
    /// certain, or both are to be merged into what the other leaves. Whether that can be done shows at the commit.
    pub(crate) fn go_together(&self, other: &Changes<'_>, key: &[u8]) -> bool {
        let (Some((mine, my_hash)), Some((theirs, their_hash))) = (self.write(key), other.write(key)) else {
            return false;
        };
        let same = match (&mine.op, &theirs.op) {
            (Op::Delete, Op::Delete) => true,
            (Op::Put(_), Op::Put(_)) => my_hash == their_hash,
            (Op::Merge(_), Op::Merge(_)) => {
                let plain = |changes: &Changes<'_>, write: &Write| {
                    let read = changes.reads.contains(&write.key);
                    !read && write.before.is_none() && !changes.ranges.iter().any(|range| range.covers(&write.key))
                };
                return plain(self, mine) && plain(other, theirs);
            }
            _ => false,
        };
        same && mine.tags == theirs.tags && mine.before == theirs.before
    }

    fn write(&self, key: &[u8]) -> Option<&(&'a Write, Option<ContentHash>)> {
        let place = self.by_key.binary_search_by(|(write, _)| write.key.as_bytes().cmp(key));
        place.ok().map(|place| &self.by_key[place])
    }
}

fn revision(record: Option<&Arc<Record>>) -> u64 {
    record.map_or(0, |record| record.revision)
}

fn read_conflict(read: &Read, record: Option<&Arc<Record>>) -> Option<Kind> {
    let revision = revision(record);
    if revision > read.revision {
        return Some(Kind::StaleRead);
    }
    if revision < read.revision {
        return Some(Kind::FutureRead);
    }
    let value = record.and_then(|record| record.value.as_ref());
    let same = match (read.content, value) {
        (Expected::Any, _) | (Expected::Absent, None) => true,
        (Expected::Hash(hash), Some(value)) => hash == value.hash,
        (Expected::Absent, Some(_)) | (Expected::Hash(_), None) => false,
    };
    (!same).then_some(Kind::StaleRead)
}

fn conflict(kind: Kind, key: &Key, expected: u64, record: Option<&Arc<Record>>) -> Conflict {
    Conflict {
        kind,
        key: key.clone(),
        expected,
        revision: revision(record),
        hash: record.and_then(|record| record.value.as_ref()).map(|value| value.hash),
        winner: record.map_or(0, |record| record.seq),
        merge: None,
        holder: None,
    }
}
