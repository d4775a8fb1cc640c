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
    Detector::new().detect(batch)
}

/// [`detect`] with its working memory kept from batch to batch, for those who judge many large ones.
#[derive(Debug, Default)]
pub struct Detector {
    partitions: Partitions,
    part: Vec<Record>,
    chains: Chains,
    /// By access: its candidate, or [`NONE`].
    labels: Vec<u32>,
}

impl Detector {
    /// A detector without memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Finds all conflicts between the proposals of `batch` in O(keys), never O(proposals²).
    pub fn detect<'b>(&mut self, batch: &'b Batch) -> Detection<'b> {
        self.detect_by(batch, key_hash)
    }

    /// [`Detector::detect`] with any hash. The result does not depend on it.
    pub(super) fn detect_by<'b>(&mut self, batch: &'b Batch, hash: impl Fn(&[u8]) -> u64) -> Detection<'b> {
        self.label_by_hash(batch, hash)
            .and_then(|candidates| candidates.fill(batch, &self.labels))
            .or_else(|| self.label_by_sorting(batch).fill(batch, &self.labels))
            .expect("sorting puts equal keys only into one candidate")
            .into_detection(batch)
    }

    /// Makes a candidate of every two or more accesses with one hash. `None` if hashes were chosen to collide.
    fn label_by_hash(&mut self, batch: &Batch, hash: impl Fn(&[u8]) -> u64) -> Option<Candidates> {
        self.partitions.scatter(batch, hash);
        self.labels.clear();
        self.labels.resize(batch.keys(), NONE);
        let mut candidates = Candidates::default();
        for partition in 0..self.partitions.ends.len() {
            self.partitions.read(partition, &mut self.part);
            self.chains.link(&self.part)?;
            for chain in self.chains.several() {
                candidates.add(chain.map(|index| self.part[index].access), &mut self.labels);
            }
        }
        Some(candidates)
    }

    /// Makes a candidate of every two or more accesses with one key, in O(n log n) whatever the keys are.
    fn label_by_sorting(&mut self, batch: &Batch) -> Candidates {
        self.labels.clear();
        self.labels.resize(batch.keys(), NONE);
        let mut sorted: Vec<u32> = (0..batch.keys() as u32).collect();
        sorted.sort_unstable_by(|&a, &b| batch.key(a).cmp(batch.key(b)).then(a.cmp(&b)));
        let mut candidates = Candidates::default();
        for run in sorted
            .chunk_by(|&a, &b| batch.key(a) == batch.key(b))
            .filter(|run| run.len() > 1)
        {
            candidates.add(run.iter().copied(), &mut self.labels);
        }
        candidates
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// The low half of the hash.
    tag: u32,
    /// The high half of the hash.
    check: u32,
    access: u32,
}

/// The accesses by the top bits of their hashes, each partition a list of blocks of [`BLOCK_RECORDS`] records.
#[derive(Debug, Default)]
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
    fn scatter(&mut self, batch: &Batch, hash: impl Fn(&[u8]) -> u64) {
        let Self {
            records,
            next,
            first,
            ends,
        } = self;
        let keys = batch.keys();
        let bits = (keys / PARTITION_KEYS)
            .next_power_of_two()
            .trailing_zeros()
            .min(PARTITION_BITS_MAX);
        let blocks_max = (1 << bits) + keys / BLOCK_RECORDS;
        records.clear();
        records.reserve(blocks_max * BLOCK_RECORDS);
        next.clear();
        first.clear();
        first.resize(1 << bits, NONE);
        ends.clear();
        ends.resize(1 << bits, 0);
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

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    /// The last record of the chain, or [`NONE`].
    tail: u32,
}

/// The records of a partition, chained by hash: a ring per hash, in which the last record links to the first.
#[derive(Debug, Default)]
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
#[derive(Default)]
struct Candidates {
    list: Vec<Span>,
    /// The number of accesses in all of them.
    accesses: u32,
}

impl Candidates {
    /// Makes `accesses` the next candidate.
    fn add(&mut self, accesses: impl Iterator<Item = u32>, labels: &mut [u32]) {
        let (index, start) = (self.list.len() as u32, self.accesses);
        for access in accesses {
            labels[access as usize] = index;
            self.accesses += 1;
        }
        self.list.push(Span {
            key_start: NONE,
            key_end: NONE,
            start,
            writers: 0,
            readers: 0,
        });
    }

    /// Puts the labelled accesses into their candidates, where they count as writers for now. `None` if a candidate
    /// has accesses to different keys.
    fn fill(mut self, batch: &Batch, labels: &[u32]) -> Option<Filled> {
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
        let mut end = 0;
        for (access, &index) in batch.accesses.iter().zip(labels) {
            let start = std::mem::replace(&mut end, access.key_end);
            if index == NONE {
                continue;
            }
            let candidate = &mut self.list[index as usize];
            members[(candidate.start + candidate.writers) as usize] = Member {
                proposal: access.proposal,
                role: access.role,
            };
            candidate.writers += 1;
            // The key is kept with the candidate: to find it through the first access would be a cache miss more.
            let is_first = candidate.key_start == NONE;
            candidate.key_start = if is_first { start } else { candidate.key_start };
            candidate.key_end = if is_first { end } else { candidate.key_end };
            order[appeared] = index;
            appeared += usize::from(is_first);
            equal &= batch.bytes(start, end) == batch.bytes(candidate.key_start, candidate.key_end);
        }
        order.truncate(appeared);
        equal.then_some(Filled {
            spans: self.list,
            order,
            members,
        })
    }
}

/// Candidates, confirmed, with their members.
struct Filled {
    spans: Vec<Span>,
    /// The candidates in the order in which their keys first appear.
    order: Vec<u32>,
    members: Vec<Member>,
}

impl Filled {
    fn into_detection(self, batch: &Batch) -> Detection<'_> {
        let Self {
            mut spans,
            mut order,
            mut members,
        } = self;
        let mut counts = Counts::default();
        let mut scratch = Vec::new();
        for span in &mut spans {
            let group = &mut members[span.start as usize..(span.start + span.writers) as usize];
            let write_write;
            (span.writers, span.readers, write_write) = arrange(group, &mut scratch);
            let read_write = u64::from(span.writers) * u64::from(span.readers);
            if write_write + read_write == 0 {
                span.key_start = NONE;
            }
            counts.write_write += write_write;
            counts.read_write += read_write;
        }
        order.retain(|&group| spans[group as usize].key_start != NONE);
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
