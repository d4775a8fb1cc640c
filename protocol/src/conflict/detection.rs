//! What [`detect`](super::detect()) found: groups, counts and, on demand, pairs.

use std::borrow::Cow;

use super::Kind;
use super::batch::{Batch, Role, WriteClass};

/// The conflicts of a batch. Two are equal if their groups are.
#[derive(Clone, Debug)]
pub struct Detection<'b> {
    pub(super) batch: &'b Batch,
    /// Borrowed from the detector that found it, or its own.
    pub(super) found: Cow<'b, Found>,
}

/// The groups of a batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// The indices of the spans in the order in which their keys first appear in the batch.
    pub(super) order: Vec<u32>,
    pub(super) spans: Vec<Span>,
    /// Span after span; within one the writers by class, then the readers.
    pub(super) members: Vec<Member>,
    pub(super) counts: Counts,
}

/// A group: its key, and where its members stand in the list of all members.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The first access to the key.
    pub(super) first: u32,
    pub(super) start: u32,
    pub(super) writers: u32,
    pub(super) readers: u32,
}

/// A proposal that has a part in a [`Group`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The position of the proposal in its batch.
    pub proposal: u32,
    /// What it does to the key.
    pub role: Role,
}

/// The number of conflicts by kind; each counts a pair of proposals and a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Conflicts of [`Kind::WriteWrite`].
    pub write_write: u64,
    /// Conflicts of [`Kind::ReadWrite`].
    pub read_write: u64,
}

impl Counts {
    /// The number of conflicts of all kinds.
    pub fn total(&self) -> u64 {
        self.write_write + self.read_write
    }
}

/// A key on which at least two proposals conflict. Every member of the group is in conflict with another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'d> {
    /// The key.
    pub key: &'d [u8],
    /// Who writes the key: exclusive writers, then one operation after the other, each run by position.
    pub writers: &'d [Member],
    /// Who only reads the key, by position.
    pub readers: &'d [Member],
}

/// One conflict: a pair of proposals and the key they meet on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conflict<'d> {
    /// The position of the earlier proposal.
    pub first: u32,
    /// The position of the later proposal.
    pub second: u32,
    /// The key.
    pub key: &'d [u8],
    /// [`Kind::WriteWrite`] or [`Kind::ReadWrite`].
    pub kind: Kind,
}

impl<'b> Detection<'b> {
    /// The batch whose conflicts these are.
    pub fn batch(&self) -> &'b Batch {
        self.batch
    }

    /// Whether no two proposals conflict.
    pub fn is_empty(&self) -> bool {
        self.found.order.is_empty()
    }

    /// The number of groups.
    pub fn len(&self) -> usize {
        self.found.order.len()
    }

    /// The number of conflicts, without listing them.
    pub fn counts(&self) -> Counts {
        self.found.counts
    }

    /// The groups, in the order in which their keys first appear in the batch.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = Group<'_>> {
        (0..self.found.order.len()).map(|index| self.group(index))
    }

    /// The group at `index` of [`Detection::groups`].
    ///
    /// # Panics
    /// If `index` is not below [`Detection::len`].
    pub fn group(&self, index: usize) -> Group<'_> {
        let key = self.batch.key(self.found.spans[self.found.order[index] as usize].first);
        let (writers, readers) = self.members(index);
        Group { key, writers, readers }
    }

    /// The writers and the readers of the group at `index`, for those who need no key: it lies elsewhere in memory.
    pub(super) fn members(&self, index: usize) -> (&[Member], &[Member]) {
        let Span {
            start,
            writers,
            readers,
            ..
        } = self.found.spans[self.found.order[index] as usize];
        let members = &self.found.members[start as usize..(start + writers + readers) as usize];
        members.split_at(writers as usize)
    }

    /// Every member of every group with the index of the group, as they lie in memory: in no order that may show.
    pub(super) fn in_memory_order(&self) -> impl Iterator<Item = (u32, &Member)> {
        let Found {
            order, spans, members, ..
        } = &*self.found;
        let mut groups = vec![0; order.len()];
        for (group, &span) in order.iter().enumerate() {
            groups[span as usize] = group as u32;
        }
        spans.iter().zip(groups).flat_map(|(span, group)| {
            let end = span.start + span.writers + span.readers;
            members[span.start as usize..end as usize]
                .iter()
                .map(move |member| (group, member))
        })
    }

    /// Every conflict, found as it is asked for: the whole list costs O(its length).
    pub fn pairs(&self) -> impl Iterator<Item = Conflict<'_>> {
        self.groups().flat_map(Group::pairs)
    }
}

impl PartialEq for Detection<'_> {
    fn eq(&self, other: &Self) -> bool {
        // Not field by field: where the members of a group are kept depends on the hash.
        self.groups().eq(other.groups())
    }
}

impl Eq for Detection<'_> {}

impl<'d> Group<'d> {
    /// Every conflict on the key, found as it is asked for.
    pub fn pairs(self) -> impl Iterator<Item = Conflict<'d>> {
        let Group { key, writers, readers } = self;
        let conflict = move |a: u32, b: u32, kind| Conflict {
            first: a.min(b),
            second: a.max(b),
            key,
            kind,
        };
        writers.iter().enumerate().flat_map(move |(index, writer)| {
            let write_write = writers[next_rival(writers, index)..]
                .iter()
                .map(move |other| conflict(writer.proposal, other.proposal, Kind::WriteWrite));
            let read_write = readers
                .iter()
                .map(move |reader| conflict(writer.proposal, reader.proposal, Kind::ReadWrite));
            write_write.chain(read_write)
        })
    }
}

/// The first index after `index` from which on every writer conflicts with the one at `index`: writers stand in runs of
/// one class, so the rest of a commuting run is all there is to skip.
pub(super) fn next_rival(writers: &[Member], index: usize) -> usize {
    match writers[index].role {
        Role::Write(WriteClass::Exclusive) => index + 1,
        role => index + writers[index..].partition_point(|writer| writer.role == role),
    }
}
