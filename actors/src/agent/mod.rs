//! Hosted agents: behaviours that run in the node, each as an actor of its own, supervised by the queen.

mod actor;
mod behaviour;
mod registry;
mod signal;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use self::behaviour::submit;
pub use self::behaviour::{AgentContext, Behaviour, BehaviourError, Kinds, Make, Step, WaitError};
pub(crate) use self::registry::Agents;
pub use self::signal::{AgentAddress, Signal, SignalCounts, Signals, TellError};
pub use crate::router::RouteError;

/// What an agent is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// Its name, unique on its node.
    pub name: String,
    /// The kind of its behaviour, such as `replay`.
    pub kind: String,
    /// What its behaviour is told at the start; the kind says what it must hold.
    #[serde(default)]
    pub arguments: serde_json::Value,
}

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// It works.
    Working,
    /// It has done what it was to do.
    Done,
    /// It ended by an error or a panic.
    Failed,
    /// It was stopped.
    Stopped,
}

/// An agent as its node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The number by which signals reach it on its node.
    pub number: u64,
    /// How it is.
    pub state: AgentState,
    /// Why it failed.
    pub reason: Option<String>,
    /// What its behaviour reports: measured figures and counts, by name.
    pub report: BTreeMap<String, serde_json::Value>,
}

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
    /// The arguments do not fit the kind.
    #[error("arguments of agent {name:?}: {problem}")]
    Arguments {
        /// The agent.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The node has as many agents as it may.
    #[error("the node has {agents} agents, the limit is {limit}")]
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
