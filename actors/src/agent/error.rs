//! Why an agent was not started, not found, or not told.

use super::{AgentOrder, AgentState, RestartPolicyError};

/// Why an agent was not started, or not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// There is no behaviour of this kind.
    #[error("no kind of agent is called {kind:?} (known: {known})")]
    UnknownKind {
        /// The kind asked for.
        kind: String,
        /// The kinds there are.
        known: String,
    },
    /// The name is taken.
    #[error("an agent called {name:?} runs on this node already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// No agent of this name.
    #[error("no agent is called {name:?} on this node")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The name cannot be that of an agent.
    #[error("name: {name:?} {problem}")]
    Name {
        /// The name, or its beginning.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The policy of restarts is out of its bounds.
    #[error(transparent)]
    Restart(#[from] RestartPolicyError),
    /// The arguments do not fit the kind.
    #[error("arguments of agent {name:?}: {problem}")]
    Arguments {
        /// The agent.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// Another field is out of its bounds.
    #[error("{field}: {problem}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Its parent does not live on this node.
    #[error("parent: no agent called {parent:?} lives on this node")]
    NoParent {
        /// The parent.
        parent: String,
    },
    /// What was asked for needs an agent that lives. Nothing was changed.
    #[error("agent {name:?} is {state}: only one that lives can be asked to {order}")]
    NotLive {
        /// The agent.
        name: String,
        /// How it is.
        state: AgentState,
        /// What was asked for.
        order: AgentOrder,
    },
    /// The node has as many active agents as it may: such that work, or wait to be started again. Passive ones do not
    /// count.
    #[error("the node has {agents} active agents, the limit is {limit}")]
    TooMany {
        /// How many it has.
        agents: u64,
        /// The bound.
        limit: u64,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}
