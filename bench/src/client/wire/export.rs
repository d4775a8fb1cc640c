//! A project as lines of JSON, to be read by people and programs, and to be imported into a project of any cluster.

use std::sync::Arc;

use queenright_protocol::colony::{BudgetLimits, Distribution, Record, StateName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pool::ENVIRONMENT;
use super::{
    AddTask, HexHash, KeyInfo, SetPool, WireAccount, WirePool, WireQueue, WireRate, WireSlot, WireTask, WireTaskId,
};

/// The format of exports that this program writes. It reads those from [`EXPORT_FORMAT_OLDEST`] on.
///
/// Ledger: 1, the first; 2, lines of settings.
pub const EXPORT_FORMAT: u32 = 2;
/// The oldest format of exports that this program reads.
pub const EXPORT_FORMAT_OLDEST: u32 = 1;

/// A line of an export. The first one is `export`, the last one `end`; between them stand first the settings, because tasks
/// need them, then the memory, then the tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExportLine {
    /// What it is.
    Export(ExportHead),
    /// How the work of the project is bounded and handed out.
    Setting(ExportedSetting),
    /// A record of the memory.
    Memory(ExportedRecord),
    /// A task.
    Task(Box<ExportedTask>),
    /// How many lines there were: without it an export is not whole.
    End(ExportEnd),
}

/// What an export is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportHead {
    /// The format.
    pub format: u32,
    /// The name of the cluster.
    pub cluster: String,
    /// Its id.
    pub cluster_id: String,
    /// The project.
    pub project: Arc<str>,
    /// The position of the last command that it holds.
    pub seq: u64,
    /// The wall clock of the node, in milliseconds since 1970.
    pub taken_ms: u64,
}

/// A setting of a project: what bounds its work, or hands it out. What was used or taken of it so far is not exported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case", deny_unknown_fields)]
pub enum ExportedSetting {
    /// A rate.
    Rate {
        /// Its name.
        name: Arc<str>,
        /// So many tokens …
        tokens: u32,
        /// … in so many milliseconds of cluster time.
        interval_ms: u64,
        /// How many there may be at once.
        burst: u32,
    },
    /// A slot of more or fewer places than one.
    Slot {
        /// Its name.
        name: Arc<str>,
        /// How many places it has.
        capacity: u32,
    },
    /// A budget.
    Budget {
        /// Of what: `project` or `queue:NAME`.
        name: Arc<str>,
        /// How much may be used.
        limits: BudgetLimits,
    },
    /// A queue that is not as it would be if nobody had said anything.
    Queue {
        /// Its name.
        name: Arc<str>,
        /// Whether it hands out nothing until it is told to go on.
        #[serde(default, skip_serializing_if = "super::is_false")]
        paused: bool,
        /// After how many failures in a row its breaker opens; 0 if there is none.
        #[serde(default)]
        breaker_failures: u32,
        /// For how long, in milliseconds of cluster time.
        #[serde(default)]
        breaker_pause_ms: u64,
        /// Which of the claims that wait gets a task.
        #[serde(default)]
        policy: Distribution,
    },
    /// A pool that works on tasks of the project.
    Pool {
        /// Its name.
        name: Arc<str>,
        /// What it is, but for its project and the environment of its agents, in which there may be secrets.
        settings: Box<SetPool>,
        /// The variables of that environment, without their values.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        environment: Vec<Arc<str>>,
    },
}

impl ExportedSetting {
    /// What it is of, and its name: no two settings of a project have both.
    pub fn key(&self) -> (&'static str, Arc<str>) {
        match self {
            ExportedSetting::Rate { name, .. } => ("rate", name.clone()),
            ExportedSetting::Slot { name, .. } => ("slot", name.clone()),
            ExportedSetting::Budget { name, .. } => ("budget", name.clone()),
            ExportedSetting::Queue { name, .. } => ("queue", name.clone()),
            ExportedSetting::Pool { name, .. } => ("pool", name.clone()),
        }
    }

    /// Of an account; nothing if it has no budget.
    pub fn of_budget(account: &WireAccount) -> Option<ExportedSetting> {
        let budget = account.budget.as_ref()?;
        Some(ExportedSetting::Budget {
            name: account.account.as_str().into(),
            limits: budget.limits,
        })
    }

    /// Of a queue; nothing if nobody has said anything about it.
    pub fn of_queue(queue: &WireQueue) -> Option<ExportedSetting> {
        let paused = queue.paused_by.is_some();
        let said = paused || queue.breaker_failures > 0 || queue.policy != Distribution::default();
        said.then(|| ExportedSetting::Queue {
            name: queue.queue.clone(),
            paused,
            breaker_failures: queue.breaker_failures,
            breaker_pause_ms: queue.breaker_pause_ms,
            policy: queue.policy,
        })
    }
}

impl From<&WireRate> for ExportedSetting {
    fn from(rate: &WireRate) -> ExportedSetting {
        ExportedSetting::Rate {
            name: rate.rate.clone(),
            tokens: rate.tokens,
            interval_ms: rate.interval_ms,
            burst: rate.burst,
        }
    }
}

impl From<&WireSlot> for ExportedSetting {
    fn from(slot: &WireSlot) -> ExportedSetting {
        ExportedSetting::Slot {
            name: slot.name.clone(),
            capacity: slot.capacity,
        }
    }
}

impl From<&WirePool> for ExportedSetting {
    fn from(pool: &WirePool) -> ExportedSetting {
        let mut settings = pool.settings.clone();
        settings.project = None;
        let environment = match settings.arguments.remove(ENVIRONMENT) {
            Some(Value::Object(variables)) => variables.keys().map(|name| name.as_str().into()).collect(),
            _ => Vec::new(),
        };
        ExportedSetting::Pool {
            name: pool.pool.clone(),
            settings: Box::new(settings),
            environment,
        }
    }
}

/// A record of the memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedRecord {
    /// Its key.
    pub key: Arc<str>,
    /// Its value, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its value in Base64, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// BLAKE3 of the value.
    pub hash: HexHash,
    /// Sorted labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Arc<str>>,
    /// Who changed it last.
    pub author: Arc<str>,
    /// How often it has been changed.
    pub revision: u64,
}

impl ExportedRecord {
    /// A record that has a value; of one that was deleted nothing is exported.
    pub fn of(key: &Arc<str>, record: &Record) -> Option<ExportedRecord> {
        let value = record.value.as_ref()?;
        let mut info = KeyInfo {
            key: key.clone(),
            revision: record.revision,
            bytes: value.bytes.len() as u64,
            hash: None,
            tags: Vec::new(),
            author: record.author.clone(),
            seq: record.seq,
            deleted: false,
            value: None,
            value_base64: None,
        };
        info.set_value(&value.bytes);
        Some(ExportedRecord {
            key: info.key,
            value: info.value,
            value_base64: info.value_base64,
            hash: HexHash(value.hash),
            tags: record.tags.clone(),
            author: info.author,
            revision: info.revision,
        })
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedTask {
    /// Its id.
    pub task: WireTaskId,
    /// How it is.
    pub state: StateName,
    /// Who added it.
    pub author: Arc<str>,
    /// What adds it: its needs are ids of this export.
    pub add: AddTask,
    /// How often it was claimed.
    #[serde(default)]
    pub attempts: u32,
    /// What an owner left for the next attempt.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub checkpoint: Value,
    /// What came of it, if it was finished.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
}

impl From<WireTask> for ExportedTask {
    /// Of a task that is shown whole.
    fn from(task: WireTask) -> ExportedTask {
        let terms = task.terms;
        ExportedTask {
            task: task.task,
            state: task.state,
            author: task.author,
            add: AddTask {
                title: task.title,
                kind: task.kind,
                payload: task.payload,
                name: task.name,
                queue: Some(terms.queue),
                labels: terms.labels,
                requires: terms.requires,
                priority: terms.priority,
                tier: terms.tier,
                cost: terms.cost,
                needs: terms.needs.iter().map(ToString::to_string).collect(),
                on_failed_need: terms.on_failed_need,
                not_before_ms: terms.not_before_ms,
                start_ms: terms.start_ms,
                run_ms: terms.run_ms,
                retry: terms.retry,
                approval: terms.approval,
                checks: terms.checks,
                resources: terms.resources,
            },
            attempts: task.attempts,
            checkpoint: task.checkpoint,
            result: task.finished.map(|finished| finished.result).unwrap_or_default(),
        }
    }
}

/// How many lines an export has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportEnd {
    /// Of the memory.
    pub memory: u64,
    /// Of tasks.
    pub tasks: u64,
    /// Of settings.
    #[serde(default)]
    pub settings: u64,
}
