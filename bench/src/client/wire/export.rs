//! A project as lines of JSON, to be read by people and programs, and to be imported into a project of any cluster.

use std::sync::Arc;

use queenright_protocol::colony::{Record, StateName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AddTask, HexHash, KeyInfo, WireTask, WireTaskId};

/// The format of exports that this program writes, and the only one that it reads.
///
/// Ledger: 1, the first.
pub const EXPORT_FORMAT: u32 = 1;

/// A line of an export. The first one is `export`, the last one `end`; those of memory come before those of tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExportLine {
    /// What it is.
    Export(ExportHead),
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
}
