//! Workloads, comparisons and reports of Queenright, and the client of a node's door that they and the command line use.

pub mod client;
