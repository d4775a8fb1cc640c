//! The actors that carry out the rules of `queenright-protocol`: queen, agents, links, consensus and store.

pub mod agent;
mod body;
pub mod consensus;
mod founding;
pub mod link;
pub mod node;
pub mod queen;
pub mod replica;
pub mod router;
pub mod store;
