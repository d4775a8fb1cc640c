//! Consensus of the nodes: openraft behind the types of this project. Nothing outside this module names openraft.

pub mod log;
pub mod types;
