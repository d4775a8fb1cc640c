//! Workloads of Queenright.

pub mod load;
