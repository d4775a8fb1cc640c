//! Finding the conflicts of a batch by hash.
//!
//! 1. Hash every key and put what must be known of the access into the partition that the top bits name: partitions of
//!    about [`PARTITION_KEYS`] keys, so that all work on one stays in the cache of a core however large the batch is.
//! 2. In each partition, chain the accesses of equal hash through an open-addressing table.
//! 3. Confirm every link of a chain by comparing its key with the first of the chain, in loops of their own: cache misses
//!    that do not wait for one another overlap. One difference, and the partition is chained again by sorting its keys.
//! 4. Walk the chains of more than one access, join what one proposal does to the key, and keep the keys on which
//!    proposals conflict.
//! 5. Put the groups in the order in which their keys first appear.
//!
//! At a million keys, cache misses and fresh pages of memory cost more than all else. Hence step 1 carries along what
//! the later ones need, only keys that met another one are visited where they lie, and a [`Detector`] keeps its memory.

use std::borrow::Cow;

use super::batch::{Access, Batch, Operation, Role, WriteClass};
use super::detection::{Detection, Found, Member, Span};
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
    let mut detector = Detector::new();
    detector.find(batch, key_hash);
    Detection {
        batch,
        found: Cow::Owned(detector.found),
    }
}

/// [`detect`] with its memory kept from batch to batch, for those who judge many large ones.
#[derive(Debug, Default)]
pub struct Detector {
    partitions: Partitions,
    part: Vec<Record>,
    chains: Chains,
    /// By access: the group whose key it is the first to name, or [`NONE`].
    firsts: Vec<u32>,
    found: Found,
    scratch: Vec<Member>,
}

impl Detector {
    /// A detector without memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Finds all conflicts between the proposals of `batch` in O(keys), never O(proposals²).
    pub fn detect<'b>(&'b mut self, batch: &'b Batch) -> Detection<'b> {
        self.detect_by(batch, key_hash)
    }

    /// [`Detector::detect`] with any hash. The result does not depend on it.
    pub(super) fn detect_by<'b>(&'b mut self, batch: &'b Batch, hash: impl Fn(&[u8]) -> u64) -> Detection<'b> {
        self.find(batch, hash);
        Detection {
            batch,
            found: Cow::Borrowed(&self.found),
        }
    }

    fn find(&mut self, batch: &Batch, hash: impl Fn(&[u8]) -> u64) {
        self.found.clear();
        self.partitions.scatter(batch, hash);
        for partition in 0..self.partitions.ends.len() {
            self.partitions.read(partition, &mut self.part);
            let linked = self
                .chains
                .link_by_hash(&self.part)
                .and_then(|()| self.chains.confirm(&self.part, batch));
            if linked.is_none() {
                self.chains.link_by_key(&self.part, batch);
            }
            for &tail in &self.chains.tails {
                let first = self.chains.link[tail as usize];
                let members = self.chains.walk(tail).map(|index| self.part[index].member);
                self.found
                    .add(self.part[first as usize].access, members, &mut self.scratch);
            }
        }
        self.order(batch.keys());
    }

    /// Puts the groups in the order in which their keys first appear: by counting, since no two of them share their
    /// first access, in O(keys).
    fn order(&mut self, keys: usize) {
        let Found { order, spans, .. } = &mut self.found;
        if spans.is_empty() {
            return;
        }
        self.firsts.clear();
        self.firsts.resize(keys, NONE);
        for (group, span) in spans.iter().enumerate() {
            self.firsts[span.first as usize] = group as u32;
        }
        // One longer than needed: every step writes and only a group moves on, so that no branch is guessed wrong.
        order.resize(spans.len() + 1, NONE);
        let mut groups = 0;
        for &group in &self.firsts {
            order[groups] = group;
            groups += usize::from(group != NONE);
        }
        order.truncate(groups);
    }
}

/// An access, with all that must be known of it.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// The low half of the hash.
    tag: u32,
    access: u32,
    key_start: u32,
    key_end: u32,
    member: Member,
}

impl Record {
    const UNUSED: Record = Record {
        tag: 0,
        access: NONE,
        key_start: 0,
        key_end: 0,
        member: Member {
            proposal: NONE,
            role: Role::Read,
        },
    };

    fn key(self, batch: &Batch) -> &[u8] {
        batch.bytes(self.key_start, self.key_end)
    }
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
        records.clear();
        records.reserve((keys / BLOCK_RECORDS + (1 << bits)) * BLOCK_RECORDS);
        next.clear();
        first.clear();
        first.resize(1 << bits, NONE);
        ends.clear();
        ends.resize(1 << bits, 0);
        let mut key_start = 0;
        for (
            access,
            &Access {
                key_end,
                proposal,
                role,
            },
        ) in batch.accesses.iter().enumerate()
        {
            let hash = hash(batch.bytes(key_start, key_end));
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
                records.resize(records.len() + BLOCK_RECORDS, Record::UNUSED);
            }
            let (tag, access, member) = (hash as u32, access as u32, Member { proposal, role });
            records[*end] = Record {
                tag,
                access,
                key_start,
                key_end,
                member,
            };
            *end += 1;
            key_start = key_end;
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

/// The records of a partition, chained by key: a ring per key, in which the last record links to the first.
#[derive(Debug, Default)]
struct Chains {
    slots: Vec<Slot>,
    link: Vec<u32>,
    /// The last record of every chain of more than one.
    tails: Vec<u32>,
    /// The first record of a chain with each of the others.
    hits: Vec<(u32, u32)>,
}

impl Chains {
    /// Chains the records of equal tag. `None` if the tags collide too often.
    fn link_by_hash(&mut self, part: &[Record]) -> Option<()> {
        self.clear();
        let slots = (2 * part.len()).next_power_of_two();
        self.slots.resize(slots, Slot { tag: 0, tail: NONE });
        let mut steps_left = STEPS_PER_KEY_MAX * part.len();
        for (index, &Record { tag, .. }) in part.iter().enumerate() {
            let index = index as u32;
            let mut at = tag as usize & (slots - 1);
            loop {
                let slot = &mut self.slots[at];
                if slot.tail == NONE {
                    *slot = Slot { tag, tail: index };
                    self.link.push(index);
                    break;
                }
                if slot.tag == tag {
                    let tail = std::mem::replace(&mut slot.tail, index);
                    let head = std::mem::replace(&mut self.link[tail as usize], index);
                    if head == tail {
                        // A slot for now: the tail of the chain is not known before the end.
                        self.tails.push(at as u32);
                    }
                    self.link.push(head);
                    self.hits.push((head, index));
                    break;
                }
                steps_left = steps_left.checked_sub(1)?;
                at = (at + 1) & (slots - 1);
            }
        }
        for tail in &mut self.tails {
            *tail = self.slots[*tail as usize].tail;
        }
        Some(())
    }

    /// `None` if a chain holds different keys.
    fn confirm(&self, part: &[Record], batch: &Batch) -> Option<()> {
        // Reads one byte of every key to be compared, before any comparison waits for one.
        let touch = |index: u32| part[index as usize].key(batch).first().copied().unwrap_or_default();
        std::hint::black_box(
            self.hits
                .iter()
                .fold(0, |sum, &(head, index)| sum ^ touch(head) ^ touch(index)),
        );
        let key = |index: u32| part[index as usize].key(batch);
        self.hits
            .iter()
            .all(|&(head, index)| key(head) == key(index))
            .then_some(())
    }

    /// Chains the records of equal keys by sorting: O(n log n) whatever the keys are.
    fn link_by_key(&mut self, part: &[Record], batch: &Batch) {
        self.clear();
        self.link.resize(part.len(), NONE);
        let key = |index: u32| part[index as usize].key(batch);
        let mut sorted: Vec<u32> = (0..part.len() as u32).collect();
        sorted.sort_unstable_by(|&a, &b| key(a).cmp(key(b)).then(a.cmp(&b)));
        for chain in sorted.chunk_by(|&a, &b| key(a) == key(b)) {
            let (head, tail) = (chain[0], chain[chain.len() - 1]);
            for pair in chain.windows(2) {
                self.link[pair[0] as usize] = pair[1];
            }
            self.link[tail as usize] = head;
            if head != tail {
                self.tails.push(tail);
            }
        }
    }

    /// The records of the chain that ends in `tail`, from its first on.
    fn walk(&self, tail: u32) -> impl Iterator<Item = usize> {
        let mut at = Some(self.link[tail as usize]);
        std::iter::from_fn(move || {
            let index = at?;
            at = (index != tail).then(|| self.link[index as usize]);
            Some(index as usize)
        })
    }

    fn clear(&mut self) {
        self.slots.clear();
        self.link.clear();
        self.tails.clear();
        self.hits.clear();
    }
}

impl Found {
    fn clear(&mut self) {
        self.order.clear();
        self.spans.clear();
        self.members.clear();
        self.counts = Default::default();
    }

    /// Takes in those who name one key, in the order of the batch, and keeps them if they conflict.
    fn add(&mut self, first: u32, members: impl Iterator<Item = Member>, scratch: &mut Vec<Member>) {
        let start = self.members.len();
        self.members.extend(members);
        let (writers, readers, write_write) = arrange(&mut self.members[start..], scratch);
        let read_write = u64::from(writers) * u64::from(readers);
        if write_write + read_write == 0 {
            self.members.truncate(start);
            return;
        }
        self.members.truncate(start + (writers + readers) as usize);
        self.spans.push(Span {
            first,
            start: start as u32,
            writers,
            readers,
        });
        self.counts.write_write += write_write;
        self.counts.read_write += read_write;
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
