//! Finding the conflicts of a batch by hash.
//!
//! 1. Hash every key and scatter (hash, access) by the top bits into partitions of about [`PARTITION_KEYS`] keys, so
//!    that the table of a partition stays in the cache of a core however large the batch is.
//! 2. In each partition, chain the accesses of equal keys through an open-addressing table.
//! 3. Walk the chains with more than one access, join what one proposal does to the key, and keep the keys on which
//!    proposals conflict.
//! 4. Put the groups in the order in which their keys first appear.

use super::batch::{Access, Batch, Operation, Role, WriteClass};
use super::detection::{Counts, Detection, Span, Writer};
use super::hash::key_hash;

/// Keys per partition: with 8 bytes a slot and two slots a key, a table takes 32 KiB.
const PARTITION_KEYS: usize = 2048;
/// At most 2¹¹ partitions: more streams than that are slower to scatter to than larger tables are to search.
const PARTITION_BITS_MAX: u32 = 11;
/// A table that is at most half full takes 1.5 probes a key on average. Keys that need more than this in the mean of a
/// partition were chosen to collide; the partition is then sorted, so that nobody can make a round quadratic.
const PROBES_PER_KEY_MAX: usize = 8;

const EMPTY: u32 = u32::MAX;

/// Finds all conflicts between the proposals of `batch` in O(keys), never O(proposals²).
pub fn detect<'a>(batch: &Batch<'a>) -> Detection<'a> {
    detect_by(batch, key_hash)
}

/// [`detect`] with any hash. The result does not depend on it.
pub(super) fn detect_by<'a>(batch: &Batch<'a>, hash: impl Fn(&[u8]) -> u64) -> Detection<'a> {
    let accesses = &batch.accesses;
    let Partitions { records, ends } = Partitions::scatter(accesses, hash);
    let mut chains = Chains::default();
    let mut gathered = Gathered::default();
    let mut start = 0;
    for end in ends {
        let part = &records[start..end as usize];
        start = end as usize;
        if !chains.link_by_hash(part, accesses) {
            chains.link_by_key(part, accesses);
        }
        for &tail in &chains.tails {
            gathered.group(chains.walk(tail).map(|index| part[index].access), accesses);
        }
    }
    gathered.in_order_of_appearance(accesses)
}

#[derive(Clone, Copy, Default)]
struct Record {
    tag: u32,
    access: u32,
}

struct Partitions {
    records: Vec<Record>,
    /// Where each partition ends in `records`.
    ends: Vec<u32>,
}

impl Partitions {
    /// Stable: accesses keep their order within a partition.
    fn scatter(accesses: &[Access<'_>], hash: impl Fn(&[u8]) -> u64) -> Self {
        let bits = (accesses.len() / PARTITION_KEYS)
            .next_power_of_two()
            .trailing_zeros()
            .min(PARTITION_BITS_MAX);
        // In two shifts, because `bits` may be 0.
        let partition = |hash: u64| (hash >> 1 >> (63 - bits)) as usize;
        let mut ends = vec![0u32; 1 << bits];
        let mut hashes = Vec::with_capacity(accesses.len());
        for access in accesses {
            let hash = hash(access.key);
            ends[partition(hash)] += 1;
            hashes.push(hash);
        }
        // Each counter becomes the start of its partition and, once the partition is filled, its end.
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut records = vec![Record::default(); accesses.len()];
        for (access, &hash) in hashes.iter().enumerate() {
            let end = &mut ends[partition(hash)];
            records[*end as usize] = Record {
                tag: hash as u32,
                access: access as u32,
            };
            *end += 1;
        }
        Self { records, ends }
    }
}

#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    /// The last record of the chain, or [`EMPTY`].
    tail: u32,
}

/// The records of a partition, chained by key: a ring per key, in which the last record links to the first.
#[derive(Default)]
struct Chains {
    slots: Vec<Slot>,
    link: Vec<u32>,
    /// The last record of every chain of more than one.
    tails: Vec<u32>,
}

impl Chains {
    /// Chains the records of equal keys. Gives up with `false` if the hashes collide too often.
    fn link_by_hash(&mut self, part: &[Record], accesses: &[Access<'_>]) -> bool {
        let key = |index: u32| accesses[part[index as usize].access as usize].key;
        self.clear();
        let slots = (2 * part.len()).next_power_of_two();
        self.slots.resize(slots, Slot { tag: 0, tail: EMPTY });
        let mut probes_left = PROBES_PER_KEY_MAX * part.len();
        for (index, record) in part.iter().enumerate() {
            let index = index as u32;
            let mut at = record.tag as usize & (slots - 1);
            loop {
                let slot = &mut self.slots[at];
                if slot.tail == EMPTY {
                    *slot = Slot {
                        tag: record.tag,
                        tail: index,
                    };
                    self.link.push(index);
                    break;
                }
                if slot.tag == record.tag && key(slot.tail) == key(index) {
                    let tail = std::mem::replace(&mut slot.tail, index) as usize;
                    if self.link[tail] == tail as u32 {
                        // A slot for now: the tail of the chain is not known before the end.
                        self.tails.push(at as u32);
                    }
                    let head = std::mem::replace(&mut self.link[tail], index);
                    self.link.push(head);
                    break;
                }
                if probes_left == 0 {
                    return false;
                }
                probes_left -= 1;
                at = (at + 1) & (slots - 1);
            }
        }
        for tail in &mut self.tails {
            *tail = self.slots[*tail as usize].tail;
        }
        true
    }

    /// As [`Chains::link_by_hash`], by sorting: O(n log n) whatever the keys are.
    fn link_by_key(&mut self, part: &[Record], accesses: &[Access<'_>]) {
        let key = |index: u32| accesses[part[index as usize].access as usize].key;
        self.clear();
        self.link.resize(part.len(), EMPTY);
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
    }
}

/// The groups found so far, by partition.
#[derive(Default)]
struct Gathered {
    groups: Vec<Found>,
    writers: Vec<Writer>,
    readers: Vec<u32>,
    counts: Counts,
    unsorted: Vec<Writer>,
}

struct Found {
    /// The first access to the key.
    first: u32,
    writers_start: u32,
    writers_len: u32,
    readers_start: u32,
    readers_len: u32,
}

impl Gathered {
    /// Takes in the accesses of one key, in ascending order, and keeps them if proposals conflict.
    fn group(&mut self, mut chain: impl Iterator<Item = u32>, accesses: &[Access<'_>]) {
        let Some(first) = chain.next() else { return };
        let (writers_start, readers_start) = (self.writers.len(), self.readers.len());
        let Access {
            proposal: mut current,
            mut role,
            ..
        } = accesses[first as usize];
        for access in chain {
            let access = &accesses[access as usize];
            if access.proposal == current {
                role = role.and(access.role);
            } else {
                self.member(current, role);
                (current, role) = (access.proposal, access.role);
            }
        }
        self.member(current, role);

        let writers = self.writers.len() - writers_start;
        let readers = self.readers.len() - readers_start;
        let write_write = self.sort_by_class(writers_start);
        let read_write = writers as u64 * readers as u64;
        if write_write + read_write == 0 {
            self.writers.truncate(writers_start);
            self.readers.truncate(readers_start);
            return;
        }
        self.counts.write_write += write_write;
        self.counts.read_write += read_write;
        self.groups.push(Found {
            first,
            writers_start: writers_start as u32,
            writers_len: writers as u32,
            readers_start: readers_start as u32,
            readers_len: readers as u32,
        });
    }

    fn member(&mut self, proposal: u32, role: Role) {
        match role {
            Role::Read => self.readers.push(proposal),
            Role::Write(class) => self.writers.push(Writer { proposal, class }),
        }
    }

    /// Brings the writers from `start` on into runs of one class and returns how many pairs of them conflict.
    fn sort_by_class(&mut self, start: usize) -> u64 {
        let writers = &mut self.writers[start..];
        let all = pairs_of(writers.len());
        let Some(class) = writers.first().map(|writer| writer.class) else {
            return 0;
        };
        if writers.iter().all(|writer| writer.class == class) {
            return if class == WriteClass::Exclusive { all } else { 0 };
        }
        self.unsorted.clear();
        self.unsorted.extend_from_slice(writers);
        let mut sorted = writers.iter_mut();
        let mut commuting = 0;
        let operations = Operation::ALL.map(WriteClass::Commutes);
        for class in std::iter::once(WriteClass::Exclusive).chain(operations) {
            let mut run = 0;
            for writer in self.unsorted.iter().filter(|writer| writer.class == class) {
                *sorted.next().expect("every writer has one class") = *writer;
                run += 1;
            }
            if class != WriteClass::Exclusive {
                commuting += pairs_of(run);
            }
        }
        all - commuting
    }

    fn in_order_of_appearance<'a>(self, accesses: &[Access<'a>]) -> Detection<'a> {
        // By counting, since no two groups share their first access: O(keys), where sorting would not be.
        let mut group_of_first = vec![0u32; if self.groups.is_empty() { 0 } else { accesses.len() }];
        for (index, group) in self.groups.iter().enumerate() {
            group_of_first[group.first as usize] = index as u32 + 1;
        }
        let mut spans = Vec::with_capacity(self.groups.len());
        spans.extend(group_of_first.into_iter().filter(|&group| group > 0).map(|group| {
            let found = &self.groups[group as usize - 1];
            Span {
                key: accesses[found.first as usize].key,
                writers_start: found.writers_start,
                writers_len: found.writers_len,
                readers_start: found.readers_start,
                readers_len: found.readers_len,
            }
        }));
        Detection {
            spans,
            writers: self.writers,
            readers: self.readers,
            counts: self.counts,
        }
    }
}

fn pairs_of(members: usize) -> u64 {
    let members = members as u64;
    members * members.saturating_sub(1) / 2
}
