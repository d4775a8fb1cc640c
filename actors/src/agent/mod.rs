//! Hosted agents: behaviours that run in the node, each as an actor of its own, supervised by the queen.
//!
//! An agent lives from its spawn until it is done, failed or stopped. In between it may have several *generations*: when
//! one ends by an error or a panic, the queen starts the next one after a back-off, as its [`RestartPolicy`] says.
//!
//! ```text
//! starting ─▶ working ─┬▶ done                    it did what it was to do
//!     ▲                ├▶ failed                  past the limit of restarts, or never to be restarted
//!     │                └▶ restarting ─┐           its back-off runs
//!     └───────────────────────────────┘           stopped: from each of the three, when somebody asks
//! ```

mod actor;
mod ask;
mod behaviour;
mod entry;
mod mailbox;
mod pairs;
mod registration;
mod registry;
mod restart;
mod signal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use queenright_protocol::colony::NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};

pub(crate) use self::actor::AgentMessage;
pub use self::ask::{ASKS_MAX, AskError};
pub(crate) use self::behaviour::submit;
pub use self::behaviour::{AgentContext, Behaviour, BehaviourError, Kinds, Make, Step, WaitError};
pub(crate) use self::entry::Generation;
pub(crate) use self::mailbox::{Delivery, Handed, Letter, hand};
pub use self::pairs::{AgentAccounts, AgentPair, PAIRS_MAX, PairCounts};
pub(crate) use self::registry::Agents;
pub use self::restart::{
    BACKOFF_MS_MAX, RESTART_SPAN_MS_MAX, RESTARTS_MAX, RestartKind, RestartPolicy, RestartPolicyError,
};
pub use self::signal::{AgentAddress, Signal, SignalCounts, Signals, TellError};
pub use crate::router::RouteError;

/// What an agent is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// Its name, unique among the agents of its node that live. It is the author of the agent's commands: 1 to
    /// [`NAME_BYTES_MAX`] bytes without a slash or a control character, neither `.` nor `..`.
    pub name: String,
    /// The kind of its behaviour, such as `replay`.
    pub kind: String,
    /// What its behaviour is told at the start; the kind says what it must hold.
    #[serde(default)]
    pub arguments: serde_json::Value,
    /// When it is started again after it has ended.
    #[serde(default)]
    pub restart: RestartPolicy,
}

impl AgentSpec {
    /// Whether it may be started as far as its node's state and the kind do not matter.
    ///
    /// # Errors
    /// [`AgentError::Name`] or [`AgentError::Restart`].
    pub fn check(&self) -> Result<(), AgentError> {
        let refused = |problem: String| AgentError::Name {
            name: self.name.chars().take(NAME_BYTES_MAX).collect(),
            problem,
        };
        if self.name.len() > NAME_BYTES_MAX {
            let bytes = self.name.len();
            return Err(refused(format!("{bytes} B are over the limit of {NAME_BYTES_MAX} B")));
        }
        if self.name.is_empty() || self.name.chars().any(|c| c.is_control() || c == '/') {
            return Err(refused("is empty, or has a slash or a control character".to_owned()));
        }
        if matches!(self.name.as_str(), "." | "..") {
            return Err(refused("cannot stand in a URL".to_owned()));
        }
        self.restart.check()?;
        Ok(())
    }
}

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// A generation of it is being started.
    Starting,
    /// It works.
    Working,
    /// It ended by an error or a panic, and waits to be started again.
    Restarting,
    /// It has done what it was to do.
    Done,
    /// It ended by an error or a panic, once too often or for the only time.
    Failed,
    /// It was stopped.
    Stopped,
}

impl AgentState {
    /// Whether it works, or will again without anybody's doing.
    pub fn is_live(self) -> bool {
        match self {
            AgentState::Starting | AgentState::Working | AgentState::Restarting => true,
            AgentState::Done | AgentState::Failed | AgentState::Stopped => false,
        }
    }
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
    /// Which generation of it works, or was the last to; the first of a name is 1.
    pub generation: u64,
    /// How it is.
    pub state: AgentState,
    /// How often it was started again, the restart that it waits for included.
    pub restarts: u64,
    /// While it waits to be started again: in how many milliseconds.
    pub next_restart_ms: Option<u64>,
    /// Why its last generation that ended by an error or a panic did so.
    pub reason: Option<String>,
    /// What its last generation reports: measured figures and counts, by name.
    pub report: BTreeMap<String, serde_json::Value>,
    /// Its accounts with other agents, where one agent is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<AgentAccounts>,
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
