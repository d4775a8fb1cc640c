//! What a specification says besides the name: agents that were started alike share one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::{AgentSpec, RestartPolicy};

/// How many different plans are looked at to find an equal one: a swarm is started from few.
const PLANS_REMEMBERED: usize = 16;

/// A specification without its name.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) kind: String,
    arguments: serde_json::Value,
    pub(super) restart: RestartPolicy,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) parent: Option<String>,
    pub(super) passivate_after_ms: Option<u64>,
}

impl Plan {
    /// The specification of the agent of this name.
    pub(super) fn spec(&self, name: &str) -> AgentSpec {
        AgentSpec {
            name: name.to_owned(),
            kind: self.kind.clone(),
            arguments: self.arguments.clone(),
            restart: self.restart,
            labels: self.labels.clone(),
            parent: self.parent.clone(),
            passivate_after_ms: self.passivate_after_ms,
        }
    }
}

/// The plans of late.
#[derive(Default)]
pub(super) struct Plans {
    // A mutex: only the queen comes here, one message at a time. Held for a look-up.
    late: Mutex<VecDeque<Arc<Plan>>>,
}

impl Plans {
    /// Takes a specification apart.
    pub(super) fn take(&self, spec: AgentSpec) -> (Arc<str>, Arc<Plan>) {
        let name = spec.name.as_str().into();
        let plan = Plan {
            kind: spec.kind,
            arguments: spec.arguments,
            restart: spec.restart,
            labels: spec.labels,
            parent: spec.parent,
            passivate_after_ms: spec.passivate_after_ms,
        };
        let mut late = self.late.lock().expect("nothing panics under this lock");
        if let Some(known) = late.iter().find(|known| ***known == plan) {
            return (name, known.clone());
        }
        let plan = Arc::new(plan);
        late.truncate(PLANS_REMEMBERED - 1);
        late.push_front(plan.clone());
        (name, plan)
    }
}
