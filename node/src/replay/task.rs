//! What the commits change, with the revisions that git's history gives each path.

use std::collections::HashMap;

use queenright_bench::client::wire::HexHash;
use queenright_protocol::conflict;
use serde::{Deserialize, Serialize};

use super::keys;
use crate::git::{FileState, History, Mode, ObjectId};

/// The payload of the task of a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// What the commit changes.
    Inline(Task),
    /// The key of the memory under which that stands, as JSON: it is larger than a payload may be.
    Kept {
        /// The key.
        key: String,
    },
}

/// What one commit changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The place of the commit in the history, from 0.
    pub place: u64,
    /// The id of the commit.
    pub commit: String,
    /// The paths that it touches.
    pub changes: Vec<TaskChange>,
}

/// What a commit does to one path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskChange {
    /// The key of the path.
    pub key: String,
    /// How often the path was changed before.
    pub revision: u64,
    /// The hash of what stood there; absent when nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<HexHash>,
    /// What stands there afterwards; absent when nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
}

/// What stands at a path after a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct After {
    /// The mode, as git prints it.
    pub mode: Mode,
    /// The blob; of a submodule entry, its commit.
    pub id: ObjectId,
    /// The hash of the bytes.
    pub hash: HexHash,
    /// How many bytes there are.
    pub bytes: u64,
}

/// What a commit needed: the result of its task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The id of the commit.
    pub commit: String,
    /// Who proposed it.
    pub agent: String,
    /// How often it was proposed before it was committed, this time included.
    pub attempts: u64,
    /// The kind of the first conflict of the first attempt, if that lost.
    pub first_conflict: Option<conflict::Kind>,
    /// Bytes of the attempts that lost after they had been written to the log.
    pub lost_bytes: u64,
}

/// The bytes of a blob or submodule entry, as the colony knows them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bytes {
    pub(super) hash: HexHash,
    pub(super) bytes: u64,
}

/// What a path must have gone through at the end: a state for each revision.
pub(super) type Sequence = Vec<Option<FileState>>;

/// The tasks of a history, and what each path goes through. `bytes` knows every blob and submodule entry.
pub(super) fn tasks(history: &History, bytes: &HashMap<ObjectId, Bytes>) -> (Vec<Task>, HashMap<Vec<u8>, Sequence>) {
    let mut sequences: HashMap<Vec<u8>, Sequence> = HashMap::new();
    let mut tasks = Vec::with_capacity(history.commits.len());
    for (place, commit) in history.commits.iter().enumerate() {
        let changes = commit.changes.iter().map(|change| {
            let sequence = sequences.entry(change.path.clone()).or_default();
            let revision = sequence.len() as u64;
            sequence.push(change.after);
            TaskChange {
                key: keys::tree(&change.path),
                revision,
                before: change.before.map(|state| bytes[&state.id].hash),
                after: change.after.map(|state| {
                    let Bytes { hash, bytes } = bytes[&state.id];
                    After {
                        mode: state.mode,
                        id: state.id,
                        hash,
                        bytes,
                    }
                }),
            }
        });
        tasks.push(Task {
            place: place as u64,
            commit: commit.id.to_string(),
            changes: changes.collect(),
        });
    }
    (tasks, sequences)
}
