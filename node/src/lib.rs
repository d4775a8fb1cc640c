//! A cluster for swarms of agents.

pub mod git;
