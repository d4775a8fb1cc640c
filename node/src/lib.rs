//! A cluster for swarms of agents.
