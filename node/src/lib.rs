//! A cluster for swarms of agents: configuration, state folder, processes, command line and doors of a node.

pub mod config;
