//! Signals between agents of all nodes of a cluster, and what they cost: what comparisons of topologies have in common.
//!
//! | module | holds |
//! |---|---|
//! | [`closed`] | agents with one message under way each |
//! | [`open`] | agents that send at a constant rate, whatever comes back |
//! | [`meter`] | what nodes count and use, before and after a load |

pub mod closed;
pub mod meter;
pub mod open;

use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentAddress, AgentStatus};

use crate::rig::{RigNode, add_reported};
use crate::{BenchError, load};

/// To how many others an agent sends at most: enough to be random, few enough to be told.
const TARGETS_MAX: usize = 16;

/// Where signals reach an agent of a node.
pub(crate) fn address(node: &RigNode, agent: &AgentStatus) -> AgentAddress {
    AgentAddress {
        node: node.id,
        number: agent.number,
        generation: agent.generation,
    }
}

/// The latencies that agents report under this name, all together.
///
/// # Errors
/// [`BenchError::Agent`] for one that reports none.
pub(crate) fn latencies(agents: &[AgentStatus], name: &str) -> Result<Histogram<u64>, BenchError> {
    let mut all = load::histogram();
    for agent in agents {
        add_reported(&mut all, agent, name)?;
    }
    Ok(all)
}
