//! A cluster for swarms of agents: configuration, state folder, processes, command line and doors of a node.

pub mod config;
pub mod exit;
pub mod server;
pub mod state;
pub mod up;
pub mod wall_time;
