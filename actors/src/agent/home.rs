//! What the agents of a node have in common, kept once: each actor holds one pointer to it.

use std::sync::Arc;

use super::population::Population;
use super::servants::Servants;
use super::signal::Signals;
use crate::replica::Replica;
use crate::topic::Topics;

/// The node around its agents.
pub(super) struct Home {
    pub(super) replica: Arc<Replica>,
    pub(super) signals: Arc<Signals>,
    pub(super) topics: Arc<Topics>,
    pub(super) population: Population,
    pub(super) servants: Servants,
}
