//! Which agents of a node are asked for, and a page of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_protocol::colony::Span;

use super::entry::Entry;
use super::names::{LOOK_AGENTS, Names};
use super::{AgentState, AgentStatus, AgentSummary, TroubledAgent};

/// How many agents one page may have.
pub const LIST_MAX: usize = 10_000;

/// Which agents are asked for: those that all of it fits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentFilter {
    /// In this state.
    pub state: Option<AgentState>,
    /// Of this kind.
    pub kind: Option<String>,
    /// With these labels.
    pub labels: BTreeMap<String, String>,
    /// With this parent.
    pub parent: Option<String>,
    /// Whose names match this: `*` stands for any characters, `?` for one.
    pub name: Option<Arc<str>>,
    /// Behind this name.
    pub after: Option<String>,
    /// At most so many, up to [`LIST_MAX`], which is the default.
    pub limit: Option<usize>,
}

/// Some agents, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentPage {
    /// The agents.
    pub agents: Vec<AgentStatus>,
    /// What the next page is `after`, if there may be one.
    pub next: Option<String>,
}

/// Goes through the agents of a node by name, and says how many are in which state.
pub(super) fn summary(names: &Names) -> AgentSummary {
    let mut summary = AgentSummary::default();
    let mut after: Option<Arc<str>> = None;
    for _ in 0..AgentSummary::LOOKED_AT_MAX.div_ceil(LOOK_AGENTS) {
        let some = names.look(after.as_deref());
        for entry in &some {
            let state = entry.state();
            *summary.states.entry(state).or_default() += 1;
            let troubled = matches!(state, AgentState::Failed | AgentState::Recovering);
            if troubled && summary.troubled.len() < AgentSummary::TROUBLED_MAX {
                let status = entry.status();
                summary.troubled.push(TroubledAgent {
                    name: status.name,
                    kind: status.kind,
                    state,
                    restarts: status.restarts,
                    reason: status.reason,
                });
            }
        }
        after = some.last().map(|entry| entry.name.clone());
        if some.len() < LOOK_AGENTS {
            summary.complete = true;
            break;
        }
    }
    summary
}

impl AgentFilter {
    fn fits_plan(&self, entry: &Entry) -> bool {
        let plan = &entry.plan;
        let of_kind = self.kind.as_ref().is_none_or(|kind| *kind == plan.kind);
        let of_parent = self.parent.is_none() || self.parent == plan.parent;
        of_kind
            && of_parent
            && self
                .labels
                .iter()
                .all(|(name, value)| plan.labels.get(name) == Some(value))
    }

    /// Goes through the agents of a node by name. One that comes or goes meanwhile is in the page or not.
    pub(super) fn page(&self, names: &Names) -> AgentPage {
        let limit = self.limit.unwrap_or(LIST_MAX).clamp(1, LIST_MAX);
        let glob = self.name.clone().map(Span::Glob);
        let mut agents = Vec::new();
        let mut after: Option<Arc<str>> = self.after.as_deref().map(Arc::from);
        loop {
            let some = names.look(after.as_deref());
            for entry in &some {
                after = Some(entry.name.clone());
                let fits = self.fits_plan(entry)
                    && glob.as_ref().is_none_or(|glob| glob.covers(&entry.name))
                    && self.state.is_none_or(|state| state == entry.state());
                if fits {
                    agents.push(entry.status());
                }
                if agents.len() == limit {
                    let next = after.map(|name| name.to_string());
                    return AgentPage { agents, next };
                }
            }
            if some.len() < LOOK_AGENTS {
                return AgentPage { agents, next: None };
            }
        }
    }
}
