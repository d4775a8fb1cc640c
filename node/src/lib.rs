//! A cluster for swarms of agents: configuration, state folders, processes, command line and doors of a node.

pub mod certificates;
pub mod cli;
pub mod commands;
pub mod config;
pub mod doctor;
pub mod exit;
pub mod explore;
pub mod git;
pub mod guard;
pub mod hosted;
pub mod http;
pub mod logging;
pub mod mcp;
pub mod metrics;
pub mod replay;
pub mod secret;
pub mod server;
pub mod setup;
pub mod state;
pub mod telemetry;
pub mod top;
pub mod tree;
pub mod up;
pub mod wall_time;
pub mod webhooks;
pub mod worker;
