//! What an agent is to be.

use std::collections::BTreeMap;

use queenright_protocol::colony::NAME_BYTES_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AgentError, RestartPolicy};

/// How many labels an agent may have.
pub const LABELS_MAX: usize = 16;
/// How long the name of a label may be, in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 64;
/// How long the value of a label may be, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
/// The longest idle time after which an agent becomes passive, in milliseconds: a day.
pub const PASSIVATE_AFTER_MS_MAX: u64 = 86_400_000;

/// What an agent is to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// What lists of agents may be filtered by: up to [`LABELS_MAX`] names of 1 to [`LABEL_NAME_BYTES_MAX`] bytes with
    /// values of up to [`LABEL_VALUE_BYTES_MAX`], neither with a comma or a control character, no name with a `=`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The name of an agent of the same node that lives: this one lives no longer than the present generation of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// After how long without anything to do it becomes passive, in milliseconds from 1 to [`PASSIVATE_AFTER_MS_MAX`], if
    /// its behaviour can; unless given, only when its behaviour says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passivate_after_ms: Option<u64>,
}

impl AgentSpec {
    /// Whether it may be started as far as its node's state and the kind do not matter.
    ///
    /// # Errors
    /// [`AgentError::Name`], [`AgentError::Restart`] or [`AgentError::Field`].
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
        self.check_labels()?;
        match self.passivate_after_ms {
            Some(after_ms) if !(1..=PASSIVATE_AFTER_MS_MAX).contains(&after_ms) => Err(AgentError::Field {
                field: "passivate_after_ms",
                problem: format!("{after_ms} is not from 1 to {PASSIVATE_AFTER_MS_MAX}"),
            }),
            _ => Ok(()),
        }
    }

    fn check_labels(&self) -> Result<(), AgentError> {
        let refused = |problem: String| {
            let field = "labels";
            Err(AgentError::Field { field, problem })
        };
        if self.labels.len() > LABELS_MAX {
            let labels = self.labels.len();
            return refused(format!("{labels} labels are over the limit of {LABELS_MAX}"));
        }
        for (name, value) in &self.labels {
            for (what, text, limit) in [
                ("name", name, LABEL_NAME_BYTES_MAX),
                ("value", value, LABEL_VALUE_BYTES_MAX),
            ] {
                if text.len() > limit {
                    let bytes = text.len();
                    return refused(format!("a {what} of {bytes} B is over the limit of {limit} B"));
                }
                if text.chars().any(|c| c.is_control() || c == ',') {
                    return refused(format!("the {what} {text:?} has a comma or a control character"));
                }
            }
            if name.is_empty() || name.contains('=') {
                return refused(format!("the name {name:?} is empty, or has a ="));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> AgentSpec {
        AgentSpec {
            name: "a".to_owned(),
            labels: [(name.to_owned(), value.to_owned())].into(),
            ..AgentSpec::default()
        }
    }

    #[test]
    fn a_specification_out_of_bounds_is_refused_by_field_value_and_bound() {
        let refused = |spec: AgentSpec| spec.check().unwrap_err().to_string();
        assert_eq!(with("team", "").check(), Ok(()));
        assert_eq!(refused(with("", "x")), r#"labels: the name "" is empty, or has a ="#);
        assert_eq!(
            refused(with("a=b", "x")),
            r#"labels: the name "a=b" is empty, or has a ="#
        );
        assert_eq!(
            refused(with("a", "x,y")),
            r#"labels: the value "x,y" has a comma or a control character"#
        );
        assert_eq!(
            refused(with(&"x".repeat(65), "")),
            "labels: a name of 65 B is over the limit of 64 B"
        );
        let many = AgentSpec {
            labels: (0..17).map(|number| (number.to_string(), String::new())).collect(),
            ..with("a", "")
        };
        assert_eq!(refused(many), "labels: 17 labels are over the limit of 16");
        let never = AgentSpec {
            passivate_after_ms: Some(0),
            ..with("a", "")
        };
        assert_eq!(refused(never), "passivate_after_ms: 0 is not from 1 to 86400000");
    }
}
