//! To come.
use serde::{Deserialize, Serialize};
/// Kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Kind {
    StaleRead,
    FutureRead,
    StaleWrite,
    WriteWrite,
    ReadWrite,
    Phantom,
    Reservation,
    CheckFailed,
}
/// Policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Policy {
    First,
    Merge,
    Exclude,
    Reject,
}
