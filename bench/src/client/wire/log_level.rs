//! What a node logs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of `PUT /v1/log-level`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLogLevel {
    /// What is to be logged, such as `info,queenright_actors=debug`; what was logged at the start if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// What a node logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLevel {
    /// The node.
    pub node: String,
    /// What it logs now.
    pub filter: String,
    /// What it logged at its start.
    pub at_start: String,
}
