//! What the proposals of a batch read and write, in one flat list.

use serde::{Deserialize, Serialize};

/// How a write bears other writes of the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteClass {
    /// The result is the writer's alone: put, delete.
    Exclusive,
    /// The result takes in the writes of all who use the same operation.
    Commutes(Operation),
}

/// An operation whose repeats on one key may be applied together, whoever they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Add a number.
    Add,
    /// Append an element. All elements are kept; their order is the order of commitment.
    Append,
    /// Keep the greater of two numbers.
    Max,
    /// Add a member to a set.
    SetAdd,
}

impl Operation {
    pub(super) const ALL: [Operation; 4] = [Operation::Add, Operation::Append, Operation::Max, Operation::SetAdd];
}

/// The reads and writes of the proposals that are judged together, by position.
///
/// Flat, and with a copy of every key: [`detect`](super::detect()) then goes through 12 bytes a key and the keys
/// themselves in order, and what it visits out of order lies close together. At a million keys the copy costs less
/// than the cache misses on keys that lie where they were decoded.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) priorities: Vec<u8>,
    /// Grouped by proposal, in ascending order of position.
    pub(super) accesses: Vec<Access>,
    /// The keys of the accesses, one after the other.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// Where the key ends; it starts where the one before ends.
    pub(super) key_end: u32,
    pub(super) proposal: u32,
    pub(super) role: Role,
}

/// What a proposal does to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It only reads the key.
    Read,
    /// It writes the key. Exclusive also for a commuting write by a proposal that reads the key or uses several
    /// operations on it.
    Write(WriteClass),
}

impl Role {
    /// The role of a proposal that names the key twice.
    pub(super) fn and(self, other: Role) -> Role {
        if self == other {
            self
        } else {
            Role::Write(WriteClass::Exclusive)
        }
    }
}

impl Batch {
    /// A batch without proposals.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch with room for `proposals` that name `keys` keys in all, of `key_bytes` bytes together.
    pub fn with_capacity(proposals: usize, keys: usize, key_bytes: usize) -> Self {
        Self {
            priorities: Vec::with_capacity(proposals),
            accesses: Vec::with_capacity(keys),
            bytes: Vec::with_capacity(key_bytes),
        }
    }

    /// Adds a proposal and returns its position. Greater priorities win under [`Policy::First`](super::Policy::First).
    ///
    /// # Panics
    /// At 2³² − 1 proposals or keys or 4 GiB of keys, far above the limit on the bytes of a command.
    pub fn push<'k>(
        &mut self,
        priority: u8,
        reads: impl IntoIterator<Item = &'k [u8]>,
        writes: impl IntoIterator<Item = (&'k [u8], WriteClass)>,
    ) -> usize {
        let position = self.priorities.len();
        assert!(
            position < u32::MAX as usize,
            "a batch holds fewer than 2^32 - 1 proposals"
        );
        let proposal = position as u32;
        self.priorities.push(priority);
        reads.into_iter().for_each(|key| self.access(key, proposal, Role::Read));
        writes
            .into_iter()
            .for_each(|(key, class)| self.access(key, proposal, Role::Write(class)));
        position
    }

    fn access(&mut self, key: &[u8], proposal: u32, role: Role) {
        assert!(
            self.accesses.len() < u32::MAX as usize - 1,
            "a batch names fewer than 2^32 - 1 keys"
        );
        self.bytes.extend_from_slice(key);
        let key_end = u32::try_from(self.bytes.len()).expect("the keys of a batch take less than 4 GiB");
        self.accesses.push(Access {
            key_end,
            proposal,
            role,
        });
    }

    /// The key of the access at `index`.
    pub(super) fn key(&self, index: u32) -> &[u8] {
        let index = index as usize;
        let start = if index == 0 {
            0
        } else {
            self.accesses[index - 1].key_end
        };
        self.bytes(start, self.accesses[index].key_end)
    }

    pub(super) fn bytes(&self, start: u32, end: u32) -> &[u8] {
        &self.bytes[start as usize..end as usize]
    }

    /// Removes all proposals and keeps the memory.
    pub fn clear(&mut self) {
        self.priorities.clear();
        self.accesses.clear();
        self.bytes.clear();
    }

    /// The number of proposals.
    pub fn len(&self) -> usize {
        self.priorities.len()
    }

    /// Whether there is no proposal.
    pub fn is_empty(&self) -> bool {
        self.priorities.is_empty()
    }

    /// The number of keys that the proposals name, repeats included: what [`detect`](super::detect()) is linear in.
    pub fn keys(&self) -> usize {
        self.accesses.len()
    }
}
