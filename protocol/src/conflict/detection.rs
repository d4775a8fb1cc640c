//! What [`detect`](super::detect()) found: groups, counts and, on demand, pairs.

use super::Kind;
use super::batch::WriteClass;

/// The conflicts of a batch. Two are equal if their groups are.
#[derive(Clone, Debug, Default)]
pub struct Detection<'a> {
    pub(super) spans: Vec<Span<'a>>,
    pub(super) writers: Vec<Writer>,
    pub(super) readers: Vec<u32>,
    pub(super) counts: Counts,
}

/// Where the members of a group stand in the lists of all groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span<'a> {
    pub(super) key: &'a [u8],
    pub(super) writers_start: u32,
    pub(super) writers_len: u32,
    pub(super) readers_start: u32,
    pub(super) readers_len: u32,
}

/// A proposal that writes the key of a [`Group`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The position of the proposal in its batch.
    pub proposal: u32,
    /// Exclusive also for a commuting write by a proposal that reads the key or uses several operations on it.
    pub class: WriteClass,
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
    pub writers: &'d [Writer],
    /// The positions of those who only read the key, ascending.
    pub readers: &'d [u32],
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

impl<'a> Detection<'a> {
    /// Whether no two proposals conflict.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The number of groups.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The number of conflicts, without listing them.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The groups, in the order in which their keys first appear in the batch.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = Group<'_>> {
        (0..self.spans.len()).map(|index| self.group(index))
    }

    /// The group at `index` of [`Detection::groups`].
    ///
    /// # Panics
    /// If `index` is not below [`Detection::len`].
    pub fn group(&self, index: usize) -> Group<'_> {
        let span = &self.spans[index];
        let writers = span.writers_start as usize..(span.writers_start + span.writers_len) as usize;
        let readers = span.readers_start as usize..(span.readers_start + span.readers_len) as usize;
        Group {
            key: span.key,
            writers: &self.writers[writers],
            readers: &self.readers[readers],
        }
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
            let write_write = writers[self.next_rival(index)..]
                .iter()
                .map(move |other| conflict(writer.proposal, other.proposal, Kind::WriteWrite));
            let read_write = readers
                .iter()
                .map(move |&reader| conflict(writer.proposal, reader, Kind::ReadWrite));
            write_write.chain(read_write)
        })
    }

    /// The first index after `index` from which on every writer conflicts with the one at `index`: writers stand in
    /// runs of one class, so the rest of a commuting run is all there is to skip.
    pub(super) fn next_rival(&self, index: usize) -> usize {
        match self.writers[index].class {
            WriteClass::Exclusive => index + 1,
            class => index + self.writers[index..].partition_point(|writer| writer.class == class),
        }
    }
}
