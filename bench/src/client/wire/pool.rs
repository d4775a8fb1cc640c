//! Pools over a door.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_actors::pool::PoolFigures;
use queenright_protocol::colony::{POOL_AGENTS_MAX, Pool, PoolSettings, Recycle};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::terms::sorted;

/// The argument of agents whose values nobody is shown: what an environment holds may be secret.
pub(super) const ENVIRONMENT: &str = "environment";
/// What stands in the place of such a value.
const HIDDEN: &str = "…";

/// The body of `PUT /v1/pools/{name}`, and an entry of `[[pools]]` in a cluster file but for its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a pool")]
pub struct SetPool {
    /// In which project its tasks are; `default` unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Arc<str>>,
    /// In which queue; `default` unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Arc<str>>,
    /// Of which kinds they are, up to 16; of all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Arc<str>>,
    /// What its agents are capable of, up to 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Arc<str>>,
    /// The kind of its agents: `exec` or `http`.
    pub behaviour: Arc<str>,
    /// What they are told besides, as agents of that kind take it, up to 16 KiB.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub arguments: Map<String, Value>,
    /// How many tasks at a time each works on, from 1 to 1,000; 1 unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// The labels that a node must have to host some, up to 8. Each node has the label `node`, its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub placement: BTreeMap<Arc<str>, Arc<str>>,
    /// The labels that its agents have besides `pool`, up to 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// How many agents there are beyond those that have work, up to `max`; none unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_idle: Option<u32>,
    /// How many there are at most, from 1 to 10,000.
    pub max: u32,
    /// How many there are on one node at most, from 1 to 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_node_max: Option<u32>,
    /// For how long there must have been no work for an agent before there is one less, in milliseconds up to a day; 10
    /// seconds unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// When an agent is replaced by another one.
    #[serde(default, skip_serializing_if = "SetRecycle::is_none")]
    pub recycle: SetRecycle,
    /// When there is a pool of this name already nothing is changed, whatever it is.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub if_absent: bool,
}

/// When an agent is replaced by another one: once it is over one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "what agents are recycled after")]
pub struct SetRecycle {
    /// After so many tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_tasks: Option<u64>,
    /// Once the command of one task had so many bytes resident, with all of its processes; on Linux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// At this age in milliseconds, from a second to thirty days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// After so many tasks that have failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u64>,
}

impl SetRecycle {
    fn is_none(&self) -> bool {
        *self == SetRecycle::default()
    }
}

impl From<SetPool> for PoolSettings {
    fn from(set: SetPool) -> PoolSettings {
        let SetRecycle {
            after_tasks,
            memory_bytes,
            age_ms,
            failures,
        } = set.recycle;
        let default = PoolSettings::default();
        PoolSettings {
            project: set.project.unwrap_or(default.project),
            queue: set.queue.unwrap_or(default.queue),
            kinds: sorted(set.kinds),
            capabilities: sorted(set.capabilities),
            behaviour: set.behaviour,
            arguments: Value::Object(set.arguments).to_string().into(),
            slots: set.slots.unwrap_or(default.slots),
            placement: set.placement,
            labels: set.labels,
            min_idle: set.min_idle.unwrap_or(default.min_idle),
            max: set.max,
            per_node_max: set.per_node_max.unwrap_or(POOL_AGENTS_MAX),
            idle_ms: set.idle_ms.unwrap_or(default.idle_ms),
            recycle: Recycle {
                after_tasks,
                memory_bytes,
                age_ms,
                failures,
            },
        }
    }
}

impl From<&PoolSettings> for SetPool {
    fn from(settings: &PoolSettings) -> SetPool {
        let Recycle {
            after_tasks,
            memory_bytes,
            age_ms,
            failures,
        } = settings.recycle;
        SetPool {
            project: Some(settings.project.clone()),
            queue: Some(settings.queue.clone()),
            kinds: settings.kinds.clone(),
            capabilities: settings.capabilities.clone(),
            behaviour: settings.behaviour.clone(),
            arguments: serde_json::from_str(&settings.arguments).unwrap_or_default(),
            slots: Some(settings.slots),
            placement: settings.placement.clone(),
            labels: settings.labels.clone(),
            min_idle: Some(settings.min_idle),
            max: settings.max,
            per_node_max: Some(settings.per_node_max),
            idle_ms: Some(settings.idle_ms),
            recycle: SetRecycle {
                after_tasks,
                memory_bytes,
                age_ms,
                failures,
            },
            if_absent: false,
        }
    }
}

/// The answer to whatever changes a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolChanged {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// Whether it was otherwise before.
    pub changed: bool,
}

/// A pool as it is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WirePool {
    /// Its name.
    pub pool: Arc<str>,
    /// Who has set it last.
    pub author: Arc<str>,
    /// Whether it is to have no agents.
    pub drained: bool,
    /// How many agents it is to have now.
    pub wanted: u32,
    /// What it is. The values of an environment are not shown.
    pub settings: SetPool,
}

impl WirePool {
    /// A pool as the colony has it.
    pub fn of(name: &Arc<str>, pool: &Pool) -> WirePool {
        let mut settings = SetPool::from(&pool.settings);
        if let Some(Value::Object(variables)) = settings.arguments.get_mut(ENVIRONMENT) {
            variables.values_mut().for_each(|value| *value = HIDDEN.into());
        }
        WirePool {
            pool: name.clone(),
            author: pool.author.clone(),
            drained: pool.drained,
            wanted: pool.shared(),
            settings,
        }
    }
}

/// The answer to `GET /v1/pools`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolList {
    /// All of them, by name.
    pub pools: Vec<WirePool>,
}

/// The answer to `GET /v1/pools/{name}`: a pool, the work that it has, and its agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolStatus {
    /// The pool.
    #[serde(flatten)]
    pub pool: WirePool,
    /// How many tasks of its queue its agents could claim now.
    pub ready: u64,
    /// Its agents on all nodes that answer.
    pub agents: PoolFigures,
    /// The members, by number.
    pub nodes: Vec<PoolNode>,
}

/// The agents of a pool on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolNode {
    /// The name of the node.
    pub node: Arc<str>,
    /// Whether it answers.
    pub answers: bool,
    /// Whether it has the labels that the pool wants.
    pub fits: bool,
    /// Its agents; how many are wanted is what the colony says.
    #[serde(flatten)]
    pub agents: PoolFigures,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_said_has_its_default_and_what_is_shown_can_be_set() {
        let set: SetPool = serde_json::from_value(json!({
            "behaviour": "exec", "max": 3, "kinds": ["b", "a"], "arguments": {"command": ["true"]},
        }))
        .unwrap();
        let settings = PoolSettings::from(set);
        assert_eq!(settings.check_form(), Ok(()));
        let default = PoolSettings::default();
        assert_eq!((&*settings.queue, &*settings.project), ("default", "default"));
        assert_eq!(
            (settings.slots, settings.min_idle, settings.idle_ms),
            (1, 0, default.idle_ms)
        );
        assert_eq!(settings.kinds, ["a".into(), "b".into()]);
        assert_eq!(PoolSettings::from(SetPool::from(&settings)), settings);
        let unknown = json!({"behaviour": "exec", "max": 3, "most": 4});
        assert!(serde_json::from_value::<SetPool>(unknown).is_err());
    }

    #[test]
    fn the_values_of_an_environment_are_not_shown() {
        let settings = PoolSettings {
            arguments: r#"{"environment":{"KEY":"secret"}}"#.into(),
            ..PoolSettings::default()
        };
        let pool = Pool {
            settings,
            author: "ann".into(),
            changed: 1,
            epoch: 1,
            drained: false,
            shares: BTreeMap::new(),
        };
        let shown = serde_json::to_string(&WirePool::of(&"p".into(), &pool)).unwrap();
        assert!(shown.contains("KEY") && !shown.contains("secret"), "{shown}");
    }
}
