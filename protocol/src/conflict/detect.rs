//! Finding the conflicts of a batch by hash.
//!
//! 1. Hash every key and put (hash, access) into the partition that the top bits name: partitions of about
//!    [`PARTITION_KEYS`] keys, so that the table of one stays in the cache of a core however large the batch is.
//! 2. In each partition, chain the accesses of equal hash through an open-addressing table; a chain of more than one
//!    becomes a candidate, and its accesses are labelled with it.
//! 3. Go through the accesses in the order of the batch and put each labelled one into its candidate, confirming it by
//!    comparing its key with the first of the candidate. One difference, and everything is done again by sorting keys.
//! 4. Join what one proposal does to a key, and keep the candidates on which proposals conflict.
//!
//! At a million keys a cache miss and a fresh page cost more than all else, hence the narrow records, and hence step 3
//! in that order: half of what it reads lies in a row, and no branch waits for the other half.

use super::batch::{Batch, Operation, Role, WriteClass};
use super::detection::{Counts, Detection, Member, Span};
use super::hash::key_hash;

/// Keys per partition: with 8 bytes a slot and two slots a key, a table takes 32 KiB.
const PARTITION_KEYS: usize = 2048;
/// At most 2¹¹ partitions: more streams than that are slower to write to than larger tables are to search.
const PARTITION_BITS_MAX: u32 = 11;
/// Records are handed to partitions in blocks of this many, so that no pass has to count first.
const BLOCK_RECORDS: usize = 256;
/// A table that is at most half full takes half a step past the first slot on average. Keys that need more than this in
/// the mean of a partition were chosen to collide; sorting then keeps the work from becoming quadratic.
const STEPS_PER_KEY_MAX: usize = 8;

const NONE: u32 = u32::MAX;

/// Finds all conflicts between the proposals of `batch` in O(keys), never O(proposals²).
pub fn detect(batch: &Batch) -> Detection<'_> {
    detect_by(batch, key_hash)
}

/// [`detect`] with any hash. The result does not depend on it.
pub(super) fn detect_by(batch: &Batch, hash: impl Fn(&[u8]) -> u64) -> Detection<'_> {
    Candidates::by_hash(batch, hash)
        .and_then(|candidates| candidates.fill(batch))
        .or_else(|| Candidates::by_sorting(batch).fill(batch))
        .expect("sorting puts equal keys only into one candidate")
        .into_detection(batch)
}

#[derive(Clone, Copy, Default)]
struct Record {
    /// The low half of the hash.
    tag: u32,
    /// The high half of the hash.
    check: u32,
    access: u32,
}

/// The accesses by the top bits of their hashes, each partition a list of blocks of [`BLOCK_RECORDS`] records.
struct Partitions {
    records: Vec<Record>,
    /// By block: the next block of its partition.
    next: Vec<u32>,
    /// By partition: its first block.
    first: Vec<u32>,
    /// By partition: the end of its records in its last block; 0 if it has none.
    ends: Vec<usize>,
}

impl Partitions {
    /// Accesses keep their order within a partition.
    fn of(batch: &Batch, hash: impl Fn(&[u8]) -> u64) -> Self {
        let keys = batch.keys();
        let bits = (keys / PARTITION_KEYS)
            .next_power_of_two()
            .trailing_zeros()
            .min(PARTITION_BITS_MAX);
        let blocks_max = (1 << bits) + keys / BLOCK_RECORDS;
        let mut records = Vec::with_capacity(blocks_max * BLOCK_RECORDS);
        let mut next = Vec::with_capacity(blocks_max);
        let mut first = vec![NONE; 1 << bits];
        let mut ends = vec![0; 1 << bits];
        for access in 0..keys as u32 {
            let hash = hash(batch.key(access));
            // In two shifts, because `bits` may be 0.
            let partition = (hash >> 1 >> (63 - bits)) as usize;
            let end = &mut ends[partition];
            if usize::is_multiple_of(*end, BLOCK_RECORDS) {
                let block = next.len() as u32;
                match *end {
                    0 => first[partition] = block,
                    end => next[end / BLOCK_RECORDS - 1] = block,
                }
                next.push(NONE);
                *end = records.len();
                records.resize(records.len() + BLOCK_RECORDS, Record::default());
            }
            records[*end] = Record {
                tag: hash as u32,
                check: (hash >> 32) as u32,
                access,
            };
            *end += 1;
        }
        Self {
            records,
            next,
            first,
            ends,
        }
    }

    fn read(&self, partition: usize, part: &mut Vec<Record>) {
        part.clear();
        let mut block = self.first[partition];
        while block != NONE {
            let start = block as usize * BLOCK_RECORDS;
            block = self.next[block as usize];
            let end = if block == NONE {
                self.ends[partition]
            } else {
                start + BLOCK_RECORDS
            };
            part.extend_from_slice(&self.records[start..end]);
        }
    }
}

#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    /// The last record of the chain, or [`NONE`].
    tail: u32,
}

/// The records of a partition, chained by hash: a ring per hash, in which the last record links to the first.
#[derive(Default)]
struct Chains {
    slots: Vec<Slot>,
    link: Vec<u32>,
    /// The slots of the chains of more than one record.
    several: Vec<u32>,
}

impl Chains {
    /// `None` if the tags collide too often.
    fn link(&mut self, part: &[Record]) -> Option<()> {
        let slots = (2 * part.len()).next_power_of_two();
        self.slots.clear();
        self.slots.resize(slots, Slot { tag: 0, tail: NONE });
        self.link.clear();
        self.several.clear();
        let mut steps_left = STEPS_PER_KEY_MAX * part.len();
        for (index, record) in part.iter().enumerate() {
            let index = index as u32;
            let mut at = record.tag as usize & (slots - 1);
            loop {
                let slot = &mut self.slots[at];
                if slot.tail == NONE {
                    *slot = Slot {
                        tag: record.tag,
                        tail: index,
                    };
                    self.link.push(index);
                    break;
                }
                if slot.tag == record.tag && part[slot.tail as usize].check == record.check {
                    let tail = std::mem::replace(&mut slot.tail, index) as usize;
                    if self.link[tail] == tail as u32 {
                        self.several.push(at as u32);
                    }
                    let head = std::mem::replace(&mut self.link[tail], index);
                    self.link.push(head);
                    break;
                }
                steps_left = steps_left.checked_sub(1)?;
                at = (at + 1) & (slots - 1);
            }
        }
        Some(())
    }

    /// The chains of more than one record, each from its first record on.
    fn several(&self) -> impl Iterator<Item = impl Iterator<Item = usize>> {
        self.several.iter().map(move |&slot| {
            let tail = self.slots[slot as usize].tail;
            let mut at = Some(self.link[tail as usize]);
            std::iter::from_fn(move || {
                let index = at?;
                at = (index != tail).then(|| self.link[index as usize]);
                Some(index as usize)
            })
        })
    }
}

/// Sets of two or more accesses whose keys are likely to be equal.
struct Candidates {
    /// By access: its candidate, or [`NONE`].
    candidate: Vec<u32>,
    list: Vec<Candidate>,
    /// The number of accesses in all of them.
    accesses: u32,
}

#[derive(Clone, Copy)]
struct Candidate {
    /// Its first access.
    first: u32,
    /// Where its next member goes; at first where its members start.
    end: u32,
}

impl Candidates {
    fn none(batch: &Batch) -> Self {
        Self {
            candidate: vec![NONE; batch.keys()],
            list: Vec::new(),
            accesses: 0,
        }
    }

    /// Makes `accesses`, ascending, the next candidate.
    fn add(&mut self, accesses: impl Iterator<Item = u32>) {
        let (index, end, mut first) = (self.list.len() as u32, self.accesses, NONE);
        for access in accesses {
            first = first.min(access);
            self.candidate[access as usize] = index;
            self.accesses += 1;
        }
        self.list.push(Candidate { first, end });
    }

    /// Accesses with one hash. `None` if the hashes were chosen to collide.
    fn by_hash(batch: &Batch, hash: impl Fn(&[u8]) -> u64) -> Option<Self> {
        let partitions = Partitions::of(batch, hash);
        let mut candidates = Self::none(batch);
        let mut part = Vec::new();
        let mut chains = Chains::default();
        for partition in 0..partitions.ends.len() {
            partitions.read(partition, &mut part);
            chains.link(&part)?;
            for chain in chains.several() {
                candidates.add(chain.map(|index| part[index].access));
            }
        }
        Some(candidates)
    }

    /// Accesses with one key, in O(n log n) whatever the keys are.
    fn by_sorting(batch: &Batch) -> Self {
        let mut sorted: Vec<u32> = (0..batch.keys() as u32).collect();
        sorted.sort_unstable_by(|&a, &b| batch.key(a).cmp(batch.key(b)).then(a.cmp(&b)));
        let mut candidates = Self::none(batch);
        for run in sorted
            .chunk_by(|&a, &b| batch.key(a) == batch.key(b))
            .filter(|run| run.len() > 1)
        {
            candidates.add(run.iter().copied());
        }
        candidates
    }

    /// `None` if a candidate has accesses to different keys.
    fn fill(mut self, batch: &Batch) -> Option<Filled> {
        let mut members = vec![
            Member {
                proposal: 0,
                role: Role::Read
            };
            self.accesses as usize
        ];
        // One longer than needed, so that every access may write to it and only a first one moves on.
        let mut order = vec![0; self.list.len() + 1];
        let mut appeared = 0;
        let mut equal = true;
        for (access, &index) in self.candidate.iter().enumerate() {
            if index == NONE {
                continue;
            }
            let candidate = &mut self.list[index as usize];
            let of = &batch.accesses[access];
            members[candidate.end as usize] = Member {
                proposal: of.proposal,
                role: of.role,
            };
            candidate.end += 1;
            order[appeared] = index;
            appeared += usize::from(candidate.first == access as u32);
            equal &= batch.key(access as u32) == batch.key(candidate.first);
        }
        order.truncate(appeared);
        equal.then_some(Filled {
            candidates: self.list,
            order,
            members,
        })
    }
}

/// Candidates, confirmed, with their members.
struct Filled {
    candidates: Vec<Candidate>,
    /// The candidates in the order in which their keys first appear.
    order: Vec<u32>,
    members: Vec<Member>,
}

impl Filled {
    fn into_detection(self, batch: &Batch) -> Detection<'_> {
        let Self {
            candidates,
            mut order,
            mut members,
        } = self;
        let mut counts = Counts::default();
        let mut unsorted = Vec::new();
        let mut start = 0;
        let mut spans: Vec<Span> = Vec::with_capacity(candidates.len());
        for Candidate { first, end } in candidates {
            let group = &mut members[start as usize..end as usize];
            let (writers, readers, write_write) = arrange(group, &mut unsorted);
            let read_write = u64::from(writers) * u64::from(readers);
            counts.write_write += write_write;
            counts.read_write += read_write;
            let readers = if write_write + read_write == 0 { NONE } else { readers };
            spans.push(Span {
                first,
                start,
                writers,
                readers,
            });
            start = end;
        }
        order.retain(|&group| spans[group as usize].readers != NONE);
        Detection {
            batch,
            order,
            spans,
            members,
            counts,
        }
    }
}

/// Joins the members of one proposal and brings the rest into order: exclusive writers, one operation after the other,
/// readers. Returns the number of writers, of readers and of pairs of writers that conflict.
fn arrange(members: &mut [Member], scratch: &mut Vec<Member>) -> (u32, u32, u64) {
    let ordinary = |pair: &[Member]| pair[0].proposal != pair[1].proposal && pair[1].role == pair[0].role;
    if members[0].role == Role::Write(WriteClass::Exclusive) && members.windows(2).all(ordinary) {
        return (members.len() as u32, 0, pairs_of(members.len()));
    }
    scratch.clear();
    for member in members.iter() {
        match scratch.last_mut() {
            Some(last) if last.proposal == member.proposal => last.role = last.role.and(member.role),
            _ => scratch.push(*member),
        }
    }
    let operations = Operation::ALL.map(|operation| Role::Write(WriteClass::Commutes(operation)));
    let mut place = members.iter_mut();
    let mut put = |role: Role| {
        let run = scratch.iter().filter(|member| member.role == role);
        run.map(|member| *place.next().expect("every member has one role") = *member)
            .count()
    };
    let mut writers = put(Role::Write(WriteClass::Exclusive));
    let mut commuting = 0;
    for operation in operations {
        let run = put(operation);
        writers += run;
        commuting += pairs_of(run);
    }
    let readers = put(Role::Read);
    (writers as u32, readers as u32, pairs_of(writers) - commuting)
}

fn pairs_of(members: usize) -> u64 {
    let members = members as u64;
    members * members.saturating_sub(1) / 2
}
