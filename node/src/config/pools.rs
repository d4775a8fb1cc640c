//! `[[pools]]`, and the labels of nodes by which pools choose them.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_actors::agent::LABELS_MAX;
use queenright_actors::pool::{NODE_LABEL, spec};
use queenright_protocol::colony::{POOL_LABEL_BYTES_MAX, PoolSettings, Recycle, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ConfigError;
use super::file::Amount;
use super::validate::Check;
use crate::hosted::POOLED;

/// `[[pools]]`: a pool that there is from the start on. A file begins pools: one that is there already stays as it is,
/// whatever the file says, and `queenright pool set` rules. A pool that was removed begins again when a node starts whose
/// file still has it.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// `name`: 1 to 64 letters, digits, `-`, `_` and `.`, unique in the file.
    pub name: String,
    /// All else, within the bounds of the colony.
    pub settings: PoolSettings,
}

/// A pool as written.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
pub(super) struct PoolSection {
    name: String,
    behaviour: String,
    project: Option<String>,
    queue: Option<String>,
    kinds: Option<Vec<String>>,
    capabilities: Option<Vec<String>>,
    slots: Option<i64>,
    max: i64,
    min_idle: Option<i64>,
    per_node_max: Option<i64>,
    idle_s: Option<f64>,
    arguments: Option<Map<String, Value>>,
    placement: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
    recycle: Option<RecycleSection>,
}

/// When its agents are replaced, as written.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section")]
struct RecycleSection {
    after_tasks: Option<i64>,
    memory: Option<Amount>,
    age_s: Option<f64>,
    failures: Option<i64>,
}

impl PoolSection {
    /// The section that says all of a pool.
    pub(super) fn of(pool: &PoolConfig) -> PoolSection {
        let settings = &pool.settings;
        let texts = |words: &[Arc<str>]| Some(words.iter().map(ToString::to_string).collect());
        let labels = |labels: &BTreeMap<Arc<str>, Arc<str>>| {
            let pairs = labels.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            Some(pairs.collect())
        };
        let seconds = |ms: u64| ms as f64 / 1e3;
        let count = |count: Option<u64>| count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        PoolSection {
            name: pool.name.clone(),
            behaviour: settings.behaviour.to_string(),
            project: Some(settings.project.to_string()),
            queue: Some(settings.queue.to_string()),
            kinds: texts(&settings.kinds),
            capabilities: texts(&settings.capabilities),
            slots: Some(settings.slots.into()),
            max: settings.max.into(),
            min_idle: Some(settings.min_idle.into()),
            per_node_max: Some(settings.per_node_max.into()),
            idle_s: Some(seconds(settings.idle_ms)),
            arguments: serde_json::from_str(&settings.arguments).ok(),
            placement: labels(&settings.placement),
            labels: labels(&settings.labels),
            recycle: Some(RecycleSection {
                after_tasks: count(settings.recycle.after_tasks),
                memory: count(settings.recycle.memory_bytes).map(Amount::Bytes),
                age_s: settings.recycle.age_ms.map(seconds),
                failures: count(settings.recycle.failures),
            }),
        }
    }
}

impl Check<'_> {
    pub(super) fn pools(&self, raw: Vec<PoolSection>) -> Result<Vec<PoolConfig>, ConfigError> {
        let mut pools: Vec<PoolConfig> = Vec::with_capacity(raw.len());
        for (place, section) in raw.into_iter().enumerate() {
            let key = |field: &str| format!("pools[{place}].{field}");
            if let Some(first) = pools.iter().position(|pool| pool.name == section.name) {
                let problem = format!("is also pools[{first}].name (names are unique)");
                return Err(self.refuse(&key("name"), format!("{:?}", section.name), problem));
            }
            pools.push(self.pool(&key, section)?);
        }
        Ok(pools)
    }

    fn pool(&self, key: &dyn Fn(&str) -> String, section: PoolSection) -> Result<PoolConfig, ConfigError> {
        let number = |field: &str, value: Option<i64>, default: u32| match value.map(u32::try_from) {
            None => Ok(default),
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => {
                let problem = "is out of range (0 to 4294967295)".to_owned();
                Err(self.refuse(&key(field), value.unwrap_or_default(), problem))
            }
        };
        let count = |field: &str, value: Option<i64>| match value.map(u64::try_from) {
            None => Ok(None),
            Some(Ok(count)) => Ok(Some(count)),
            Some(Err(_)) => Err(self.refuse(&key(field), value.unwrap_or_default(), "is below 0")),
        };
        let millis = |field: &str, value: Option<f64>| match value {
            None => Ok(None),
            Some(seconds) if (0.0..=1e9).contains(&seconds) => Ok(Some((seconds * 1e3).round() as u64)),
            Some(seconds) => Err(self.refuse(&key(field), seconds, "is no number of seconds (0 to 1000000000)")),
        };
        let words = |words: Option<Vec<String>>| {
            let mut words: Vec<Arc<str>> = words.unwrap_or_default().into_iter().map(Into::into).collect();
            words.sort();
            words.dedup();
            words
        };
        let labels = |labels: Option<BTreeMap<String, String>>| {
            let pairs = labels.unwrap_or_default().into_iter();
            pairs.map(|(name, value)| (name.into(), value.into())).collect()
        };
        if !POOLED.contains(&section.behaviour.as_str()) {
            let problem = format!("agents stand in no pool ({})", POOLED.join(", "));
            return Err(self.refuse(&key("behaviour"), format!("{:?}", section.behaviour), problem));
        }
        let recycle = section.recycle.unwrap_or_default();
        let memory = match &recycle.memory {
            None => None,
            Some(amount) => match amount.bytes() {
                Some(bytes) => Some(bytes),
                None => {
                    let problem = "is no size (a number and B, KiB, MiB or GiB)";
                    return Err(self.refuse(&key("recycle.memory"), amount, problem));
                }
            },
        };
        let default = PoolSettings::default();
        let settings = PoolSettings {
            project: section.project.map_or(default.project, Into::into),
            queue: section.queue.map_or(default.queue, Into::into),
            kinds: words(section.kinds),
            capabilities: words(section.capabilities),
            behaviour: section.behaviour.into(),
            arguments: Value::Object(section.arguments.unwrap_or_default()).to_string().into(),
            slots: number("slots", section.slots, default.slots)?,
            placement: labels(section.placement),
            labels: labels(section.labels),
            min_idle: number("min_idle", section.min_idle, default.min_idle)?,
            max: number("max", Some(section.max), default.max)?,
            per_node_max: number("per_node_max", section.per_node_max, default.per_node_max)?,
            idle_ms: millis("idle_s", section.idle_s)?.unwrap_or(default.idle_ms),
            recycle: Recycle {
                after_tasks: count("recycle.after_tasks", recycle.after_tasks)?,
                memory_bytes: memory,
                age_ms: millis("recycle.age_s", recycle.age_s)?,
                failures: count("recycle.failures", recycle.failures)?,
            },
        };
        let name = section.name;
        let checked = settings.check(&name);
        checked.map_err(|refusal| self.of_colony(key, &refusal))?;
        // What is on the hosts they find out themselves.
        spec(&name, &settings, "n", 1).map_err(|error| ConfigError::Shape {
            file: self.file().to_path_buf(),
            key: key("arguments"),
            problem: error.to_string().trim_start_matches("arguments: ").to_owned(),
        })?;
        Ok(PoolConfig { name, settings })
    }

    /// What the colony would refuse, by the key of the file.
    fn of_colony(&self, key: &dyn Fn(&str) -> String, refusal: &Refusal) -> ConfigError {
        match refusal {
            Refusal::OverLimit { field, value, limit } => {
                self.refuse(&key(field), value, format!("is over the limit of {limit}"))
            }
            Refusal::Malformed { field, problem } => ConfigError::Shape {
                file: self.file().to_path_buf(),
                key: key(field),
                problem: problem.to_string(),
            },
            other => ConfigError::Shape {
                file: self.file().to_path_buf(),
                key: key("name"),
                problem: other.to_string(),
            },
        }
    }

    /// The labels of a node.
    pub(super) fn node_labels(
        &self,
        key: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        if labels.len() > LABELS_MAX {
            return Err(self.refuse(key, labels.len(), format!("labels are over the limit of {LABELS_MAX}")));
        }
        let (name_bytes, value_bytes) = POOL_LABEL_BYTES_MAX;
        for (name, value) in &labels {
            let refuse = |problem: String| Err(self.refuse(key, format!("{name:?} = {value:?}"), problem));
            if name == NODE_LABEL {
                return refuse("every node has this label: its name".to_owned());
            }
            if name.is_empty() || name.contains('=') {
                return refuse("has a name that is empty or has a =".to_owned());
            }
            if [name, value]
                .iter()
                .any(|text| text.chars().any(|c| c.is_control() || c == ','))
            {
                return refuse("has a comma or a control character".to_owned());
            }
            if name.len() > name_bytes || value.len() > value_bytes {
                return refuse(format!(
                    "is too long ({name_bytes} bytes for the name, {value_bytes} for the value)"
                ));
            }
        }
        Ok(labels)
    }
}
