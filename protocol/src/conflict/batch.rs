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
/// Flat, so that building it costs one append per key and [`detect`](super::detect()) walks memory in order.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    pub(super) priorities: Vec<u8>,
    /// Grouped by proposal, in ascending order of position.
    pub(super) accesses: Vec<Access<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Access<'a> {
    pub(super) key: &'a [u8],
    pub(super) proposal: u32,
    pub(super) role: Role,
}

/// What a proposal does to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Read,
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

impl<'a> Batch<'a> {
    /// A batch without proposals.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch with room for `proposals` that name `keys` keys in all.
    pub fn with_capacity(proposals: usize, keys: usize) -> Self {
        Self {
            priorities: Vec::with_capacity(proposals),
            accesses: Vec::with_capacity(keys),
        }
    }

    /// Adds a proposal and returns its position. Greater priorities win under [`Policy::First`](super::Policy::First).
    ///
    /// # Panics
    /// At 2³² − 1 proposals or keys, far above the limit on the bytes of a command.
    pub fn push(
        &mut self,
        priority: u8,
        reads: impl IntoIterator<Item = &'a [u8]>,
        writes: impl IntoIterator<Item = (&'a [u8], WriteClass)>,
    ) -> usize {
        let position = self.priorities.len();
        assert!(
            position < u32::MAX as usize,
            "a batch holds fewer than 2^32 - 1 proposals"
        );
        let proposal = position as u32;
        self.priorities.push(priority);
        self.accesses.extend(reads.into_iter().map(|key| Access {
            key,
            proposal,
            role: Role::Read,
        }));
        self.accesses.extend(writes.into_iter().map(|(key, class)| Access {
            key,
            proposal,
            role: Role::Write(class),
        }));
        assert!(
            self.accesses.len() < u32::MAX as usize,
            "a batch names fewer than 2^32 - 1 keys"
        );
        position
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
