//! What became of each proposal of a batch.

use super::Kind;

/// At most this many clashes are kept for one loser, so that a proposal of a thousand contended keys does not answer
/// with a thousand lines; [`Verdict::Lost`] counts the rest.
pub const CLASHES_MAX: usize = 8;

/// The decision on every proposal of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// By position: an index of `losers`, or [`COMMITTED`].
    outcomes: Vec<u32>,
    losers: Vec<Loser>,
    clashes: Vec<Clash>,
}

const COMMITTED: u32 = u32::MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Loser {
    clashes_start: u32,
    clashes_len: u32,
    more: u32,
}

/// The decision on one proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'v> {
    /// It is to be committed.
    Committed,
    /// It lost.
    Lost {
        /// The keys that it lost on, at most [`CLASHES_MAX`], in the order of [`Detection::groups`]; empty if it lost
        /// only because the whole batch did.
        ///
        /// [`Detection::groups`]: super::Detection::groups
        clashes: &'v [Clash],
        /// The number of further keys that it lost on.
        more: u32,
    },
}

/// A key that a proposal lost on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The index of the key's [`Group`](super::Group) in its detection.
    pub group: u32,
    /// How the two are in conflict.
    pub kind: Kind,
    /// The position of the winner, or where nobody wins of another member of the group that this one is in conflict
    /// with.
    pub with: u32,
}

impl Verdicts {
    pub(super) fn all_committed(proposals: usize) -> Self {
        Self {
            outcomes: vec![COMMITTED; proposals],
            ..Self::default()
        }
    }

    /// Records that `proposal` lost on `clashes`.
    pub(super) fn lose(&mut self, proposal: u32, clashes: impl Iterator<Item = Clash>) {
        let (start, mut more) = (self.clashes.len(), 0);
        for clash in clashes {
            if self.clashes.len() - start < CLASHES_MAX {
                self.clashes.push(clash);
            } else {
                more += 1;
            }
        }
        self.outcomes[proposal as usize] = self.losers.len() as u32;
        self.losers.push(Loser {
            clashes_start: start as u32,
            clashes_len: (self.clashes.len() - start) as u32,
            more,
        });
    }

    /// The number of proposals.
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Whether the batch had no proposal.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// The decision on the proposal at `position`.
    ///
    /// # Panics
    /// If `position` is not below [`Verdicts::len`].
    pub fn get(&self, position: usize) -> Verdict<'_> {
        match self.outcomes[position] {
            COMMITTED => Verdict::Committed,
            loser => {
                let loser = &self.losers[loser as usize];
                let start = loser.clashes_start as usize;
                Verdict::Lost {
                    clashes: &self.clashes[start..start + loser.clashes_len as usize],
                    more: loser.more,
                }
            }
        }
    }

    /// The decisions by position.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Verdict<'_>> {
        (0..self.len()).map(|position| self.get(position))
    }

    /// The positions of the proposals to be committed, ascending.
    pub fn committed(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(|&position| self.outcomes[position] == COMMITTED)
    }

    /// The number of proposals that lost.
    pub fn lost(&self) -> usize {
        self.losers.len()
    }
}
