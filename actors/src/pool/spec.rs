//! What an agent of a pool is started with.

use std::collections::BTreeMap;

use queenright_protocol::colony::PoolSettings;
use serde_json::{Map, Value, json};

use crate::agent::{AgentError, AgentSpec, RestartPolicy};

/// The label by which the agents of a pool are found.
pub const POOL_LABEL: &str = "pool";

/// The arguments that a pool says itself: they cannot be among those that its agents are told besides.
pub const RESERVED_ARGUMENTS: [&str; 7] = [
    "project",
    "queue",
    "kinds",
    "capabilities",
    "slots",
    "max_tasks",
    "measure_memory",
];

/// The agent with this number of a pool on a node.
///
/// # Errors
/// When the arguments are no JSON object, or say what the pool says.
pub fn spec(pool: &str, settings: &PoolSettings, node: &str, number: u32) -> Result<AgentSpec, AgentError> {
    let refused = |problem: String| AgentError::Field {
        field: "arguments",
        problem,
    };
    let mut arguments: Map<String, Value> =
        serde_json::from_str(&settings.arguments).map_err(|error| refused(format!("are no JSON object: {error}")))?;
    if let Some(reserved) = RESERVED_ARGUMENTS.iter().find(|name| arguments.contains_key(**name)) {
        return Err(refused(format!("have {reserved}, which the pool says itself")));
    }
    let said = [
        ("project", json!(settings.project)),
        ("queue", json!(settings.queue)),
        ("kinds", json!(settings.kinds)),
        ("capabilities", json!(settings.capabilities)),
        ("slots", json!(settings.slots)),
    ];
    arguments.extend(said.map(|(name, value)| (name.to_owned(), value)));
    if let Some(tasks) = settings.recycle.after_tasks {
        arguments.insert("max_tasks".to_owned(), tasks.into());
    }
    if settings.recycle.memory_bytes.is_some() {
        arguments.insert("measure_memory".to_owned(), true.into());
    }
    let labels = settings.labels.iter();
    let mut labels: BTreeMap<String, String> = labels
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    labels.insert(POOL_LABEL.to_owned(), pool.to_owned());
    Ok(AgentSpec {
        name: format!("{pool}-{number}@{node}"),
        kind: settings.behaviour.to_string(),
        arguments: Value::Object(arguments),
        restart: RestartPolicy::default(),
        labels,
        ..AgentSpec::default()
    })
}
