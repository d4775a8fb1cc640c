//! What all nodes of a Queenright cluster must agree on. Pure: no I/O, no clock, no randomness, no async runtime.

pub mod colony;
pub mod conflict;
pub mod id;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod topic;
pub mod topology;
pub mod version;
pub mod wire;
