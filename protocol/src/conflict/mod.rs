//! Conflicts between the proposals of a batch, found by hash, and the policies that decide who wins.
//!
//! A proposal batch is judged against one state: every proposal of it read the same state, so what they do to one
//! another is seen from their keys alone. A **conflict** is (pair of proposals, key, [`Kind`]). What a proposal does to
//! a key, in this order:
//!
//! | the proposal | stands on the key as |
//! |---|---|
//! | only reads it, or a range that has it | reader |
//! | only writes it, by one commuting operation | writer that commutes with the writers of the same [`Operation`] |
//! | writes it otherwise, by several operations, or writes and reads it or a range that has it | exclusive writer |
//!
//! The last line holds because a read fixes what the key must be at the proposal's place in the order: an increment by
//! somebody who also read the counter is not indifferent to other increments.
//!
//! | two proposals on one key | conflict |
//! |---|---|
//! | reader, reader | none |
//! | reader, writer | [`Kind::ReadWrite`] |
//! | writers that commute with each other | none, under every policy |
//! | other writers | [`Kind::WriteWrite`] |
//!
//! With w writers, of which c(o) commute by operation o, and r readers, a key has
//! `C(w,2) − Σ C(c(o),2)` write-write and `w·r` read-write conflicts. [`detect`] therefore reports a [`Group`] per key
//! and counts pairs by this formula in O(keys of the batch); [`Detection::pairs`] lists them one by one for those who
//! want all, at a cost of O(pairs). [`resolve`] works on the groups and never on pairs.
//!
//! Nothing observable depends on the hash: a hit is confirmed by comparing the keys, and groups stand in the order in
//! which their keys first appear in the batch.

mod batch;
mod detect;
mod detection;
pub mod glob;
mod hash;
mod merge;
mod resolve;
#[cfg(test)]
mod tests;
mod verdict;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::batch::{Batch, Operation, Role, WriteClass};
pub use self::detect::{Detector, detect};
pub use self::detection::{Conflict, Counts, Detection, Group, Member};
pub(crate) use self::merge::MERGE_FAILURE_BYTES_MAX;
pub use self::merge::{
    COMMAND_MERGE_LINES_MAX, HUNK_SIDE_BYTES_MAX, HUNKS_LISTED_MAX, Hunk, Hunks, MERGE_BYTES_MAX, MERGE_LINES_MAX,
    MergeFailure, merge_lines, three_way,
};
pub use self::resolve::{Policy, SameChange, UnknownPolicy, resolve, resolve_merging};
pub use self::verdict::{CLASHES_MAX, Clash, Verdict, Verdicts};

/// Why a proposal cannot be committed as it is.
///
/// [`detect`] finds `WriteWrite` and `ReadWrite`; the others are judged by the colony against its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ConflictKind")]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A key that was read has changed since.
    StaleRead,
    /// A key that was read had not reached the revision that the proposal claims to have seen.
    FutureRead,
    /// A key to be written is not at the revision that the write is conditional on.
    StaleWrite,
    /// Two proposals of a batch write one key, and their writes do not commute.
    WriteWrite,
    /// One proposal of a batch reads a key that another one writes.
    ReadWrite,
    /// In a range that was read a key has appeared, gone or changed.
    Phantom,
    /// A key to be written is held by somebody else.
    Reservation,
    /// A condition that the proposal states does not hold.
    CheckFailed,
    /// A text to be merged does not go together with what stands there.
    Merge,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::StaleRead => "stale_read",
            Kind::FutureRead => "future_read",
            Kind::StaleWrite => "stale_write",
            Kind::WriteWrite => "write_write",
            Kind::ReadWrite => "read_write",
            Kind::Phantom => "phantom",
            Kind::Reservation => "reservation",
            Kind::CheckFailed => "check_failed",
            Kind::Merge => "merge",
        })
    }
}
