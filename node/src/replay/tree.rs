//! What a node stores of a replay, as a tree that can be compared with git's.

use std::sync::Arc;

use queenright_actors::node::Node;
use queenright_actors::store::StoreError;
use queenright_protocol::colony::{Key, Record};
use serde::{Deserialize, Serialize};

use super::keys;
use crate::git::{ObjectId, blob_id};

/// One path of the tree that a node stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPath {
    /// The key of the path.
    pub key: Arc<str>,
    /// The mode that its record is tagged with.
    pub mode: String,
    /// The blob id, recomputed from the bytes that the node's store holds; of a submodule entry, its commit.
    pub id: String,
    /// How often the path was changed.
    pub revision: u64,
}

/// The answer of a node: the tree that it stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTree {
    /// The node.
    pub node: String,
    /// The position of the last command that it had applied when it looked.
    pub seq: u64,
    /// Its digest at that position.
    pub digest: String,
    /// The paths that stand, by key.
    pub paths: Vec<StoredPath>,
    /// The paths that are gone, with their revisions.
    pub gone: Vec<(Arc<str>, u64)>,
}

/// The tree that this node stores, once everything that it has applied is in its store.
///
/// # Errors
/// When its store has failed.
pub async fn stored(node: &Node, project: &str) -> Result<StoredTree, StoreError> {
    let (seq, _, digest) = node.replica().digest();
    let records = node.stored(project, keys::TREE).await?;
    let name = node.name().to_string();
    let listed = tokio::task::spawn_blocking(move || list(records)).await;
    let (paths, gone) = listed.map_err(|_| StoreError::Closed)?;
    Ok(StoredTree {
        node: name,
        seq,
        digest: digest.to_string(),
        paths,
        gone,
    })
}

fn list(records: Vec<(Key, Record)>) -> (Vec<StoredPath>, Vec<(Arc<str>, u64)>) {
    let (mut paths, mut gone) = (Vec::new(), Vec::new());
    for (key, record) in records {
        let Some(value) = &record.value else {
            gone.push((key, record.revision));
            continue;
        };
        let mode = record
            .tags
            .iter()
            .find_map(|tag| tag.strip_prefix(keys::MODE_TAG))
            .unwrap_or_default();
        let id = match mode {
            "160000" => String::from_utf8_lossy(&value.bytes).into_owned(),
            _ => blob_id(&value.bytes).to_string(),
        };
        paths.push(StoredPath {
            key,
            mode: mode.to_string(),
            id,
            revision: record.revision,
        });
    }
    (paths, gone)
}

impl StoredPath {
    /// The path and the id, where both have their form.
    pub(super) fn parse(&self) -> Option<(Vec<u8>, ObjectId)> {
        Some((keys::path(&self.key)?, self.id.parse().ok()?))
    }
}
