//! What a node stores of a replay, as a tree that can be compared with git's.

use std::sync::Arc;

use queenright_actors::node::Node;
use queenright_actors::store::StoreError;
use queenright_protocol::colony::{ContentHash, Key, Record};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keys;
use crate::git::{ObjectId, blob_id};

/// One path of the tree that a node stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredTree {
    /// The node.
    pub node: String,
    /// The position of the last command that it had applied when it looked.
    pub seq: u64,
    /// Its digest at that position.
    pub digest: String,
    /// What [`StoredTree::tree_digest_of`] says of the paths below.
    pub tree_digest: String,
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
        tree_digest: StoredTree::tree_digest_of(&paths, &gone),
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

impl StoredTree {
    /// BLAKE3 of what a tree is, and of nothing else: for each path by key, gone ones included, its key, mode, id and
    /// revision, each text with its length in 8 bytes before it, numbers in 8 bytes, all little-endian. The mode and id
    /// of a path that is gone are empty. Unlike the digest of a node it covers neither authors nor times nor positions,
    /// so it is the same however the work was shared out.
    pub fn tree_digest_of(paths: &[StoredPath], gone: &[(Arc<str>, u64)]) -> String {
        let standing = paths
            .iter()
            .map(|path| (&*path.key, &path.mode[..], &path.id[..], path.revision));
        let gone = gone.iter().map(|(key, revision)| (&**key, "", "", *revision));
        let mut all: Vec<_> = standing.chain(gone).collect();
        all.sort_unstable();
        let mut bytes = Vec::new();
        for (key, mode, id, revision) in all {
            for text in [key, mode, id] {
                bytes.extend((text.len() as u64).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            bytes.extend(revision.to_le_bytes());
        }
        ContentHash::of(&bytes).to_string()
    }
}

impl StoredPath {
    /// The path and the id, where both have their form.
    pub(super) fn parse(&self) -> Option<(Vec<u8>, ObjectId)> {
        Some((keys::path(&self.key)?, self.id.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(key: &str, mode: &str, id: &str, revision: u64) -> StoredPath {
        StoredPath {
            key: key.into(),
            mode: mode.to_string(),
            id: id.to_string(),
            revision,
        }
    }

    #[test]
    fn the_digest_of_a_tree_covers_all_of_it() {
        let of = |paths: &[StoredPath], gone: &[(&str, u64)]| {
            let gone: Vec<_> = gone.iter().map(|(key, revision)| ((*key).into(), *revision)).collect();
            StoredTree::tree_digest_of(paths, &gone)
        };
        let trees = [
            of(&[], &[]),
            of(&[path("a", "100644", "1", 1)], &[]),
            of(&[path("b", "100644", "1", 1)], &[]),
            of(&[path("a", "100755", "1", 1)], &[]),
            of(&[path("a", "100644", "2", 1)], &[]),
            of(&[path("a", "100644", "1", 2)], &[]),
            of(&[path("a", "100644", "1", 1)], &[("b", 2)]),
            of(&[path("a", "100644", "1", 1)], &[("b", 4)]),
            of(&[path("a", "1006441", "", 1)], &[]),
            of(&[], &[("a", 1)]),
        ];
        let different: std::collections::BTreeSet<_> = trees.iter().collect();
        assert_eq!(different.len(), trees.len());
    }

    #[test]
    fn the_digest_of_a_tree_stays_what_it_is() {
        let (a, b) = (path("a", "100644", "1", 1), path("b", "120000", "2", 3));
        let gone = [("aa".into(), 2)];
        let digest = StoredTree::tree_digest_of(&[a.clone(), b.clone()], &gone);
        assert_eq!(digest, StoredTree::tree_digest_of(&[b, a], &gone));
        assert_eq!(
            digest,
            "b55b368611a1d3e6a2f126718fc1ff6137b7687b81254486ce2c8404929540cc"
        );
    }
}
