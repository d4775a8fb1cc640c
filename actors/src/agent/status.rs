//! How an agent is, as its node sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AgentAccounts;

/// How many children of an agent are shown by name.
pub const CHILDREN_SHOWN_MAX: usize = 100;

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// A generation of it is being started, or woken.
    Starting,
    /// At work, with nothing to do.
    Idle,
    /// At work, in a step or handling what came for it.
    Busy,
    /// At work, in a step that waits for an outcome of the colony or the answer of another agent.
    Waiting,
    /// Somebody has paused it: it takes no step and nothing is delivered until it is resumed. What was under way when it
    /// was paused goes on to its end.
    Paused,
    /// Idle, as a record without an actor: what comes for it wakes it.
    Passive,
    /// It ended by an error or a panic, or is to be restarted, and waits to be started again.
    Recovering,
    /// It has done what it was to do.
    Done,
    /// It ended by an error or a panic, once too often or for the only time.
    Failed,
    /// It was stopped.
    Stopped,
}

impl AgentState {
    /// All of them, in the order of a life.
    pub const ALL: [AgentState; 10] = [
        AgentState::Starting,
        AgentState::Idle,
        AgentState::Busy,
        AgentState::Waiting,
        AgentState::Paused,
        AgentState::Passive,
        AgentState::Recovering,
        AgentState::Done,
        AgentState::Failed,
        AgentState::Stopped,
    ];

    /// Whether it works, or will again.
    pub fn is_live(self) -> bool {
        !matches!(self, AgentState::Done | AgentState::Failed | AgentState::Stopped)
    }

    /// Whether it has an actor that takes what comes.
    pub fn is_at_work(self) -> bool {
        matches!(self, AgentState::Idle | AgentState::Busy | AgentState::Waiting)
    }

    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            AgentState::Starting => "starting",
            AgentState::Idle => "idle",
            AgentState::Busy => "busy",
            AgentState::Waiting => "waiting",
            AgentState::Paused => "paused",
            AgentState::Passive => "passive",
            AgentState::Recovering => "recovering",
            AgentState::Done => "done",
            AgentState::Failed => "failed",
            AgentState::Stopped => "stopped",
        }
    }
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No state is called so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no state of an agent (expected {})", AgentState::ALL.map(AgentState::name).join(", "))]
pub struct UnknownState {
    /// What was given.
    pub name: String,
}

impl FromStr for AgentState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<AgentState, UnknownState> {
        let named = AgentState::ALL.into_iter().find(|state| state.name() == text);
        named.ok_or_else(|| UnknownState { name: text.to_owned() })
    }
}

/// The agents of a node by state, and those that are in trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentSummary {
    /// How many are in each state; none where there is none.
    pub states: BTreeMap<AgentState, u64>,
    /// Whether all were looked at: at most [`AgentSummary::LOOKED_AT_MAX`] are, by name.
    pub complete: bool,
    /// Those that have failed or wait to be started again, by name, at most [`AgentSummary::TROUBLED_MAX`].
    pub troubled: Vec<TroubledAgent>,
}

impl AgentSummary {
    /// How many agents are looked at: a node has a million of them at most.
    pub const LOOKED_AT_MAX: usize = 10_000;
    /// How many of those in trouble are named.
    pub const TROUBLED_MAX: usize = 20;
}

/// An agent that has failed, or waits to be started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TroubledAgent {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How it is.
    pub state: AgentState,
    /// How often it was started again.
    pub restarts: u64,
    /// Why its last generation ended.
    pub reason: Option<String>,
}

/// The agents whose parent an agent is, that live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentChildren {
    /// How many.
    pub total: u64,
    /// The names of the first [`CHILDREN_SHOWN_MAX`], in the order in which they were started.
    pub first: Vec<String>,
}

/// An agent as its node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// How often it was started again after it had ended by itself, the restart that it waits for included.
    pub restarts: u64,
    /// While it waits to be started again: in how many milliseconds.
    pub next_restart_ms: Option<u64>,
    /// Why its last generation that ended by an error or a panic did so.
    pub reason: Option<String>,
    /// What its last generation reports: measured figures and counts, by name.
    pub report: BTreeMap<String, serde_json::Value>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// How many signals and messages of topics wait for it.
    #[serde(default)]
    pub letters: u64,
    /// The agents whose parent it is, where one agent is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<AgentChildren>,
    /// Its accounts with other agents, where one agent is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<AgentAccounts>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_called_in_json_as_it_is_elsewhere() {
        for state in AgentState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
            assert_eq!(state.name().parse(), Ok(state));
        }
        let refused = "working".parse::<AgentState>().unwrap_err().to_string();
        assert!(refused.starts_with(r#""working" is no state of an agent (expected starting, idle, busy"#));
    }
}
