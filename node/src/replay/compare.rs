//! Compares what the nodes store, and what the events tell, with git.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use queenright_bench::client::wire::HexHash;
use serde::Serialize;

use super::error::ReplayError;
use super::keys;
use super::task::{Bytes, Sequence};
use super::tree::StoredTree;
use crate::git::{Mode, ObjectId, TreeEntry};

/// How many differences are listed; all are counted.
const DIFFERENCES_LISTED: usize = 10;

/// What a node, or the events, have otherwise than git.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// How many there are.
    pub count: u64,
    /// The first of them, a line each.
    pub first: Vec<String>,
}

impl Differences {
    fn add(&mut self, line: impl fmt::Display) {
        self.count += 1;
        if self.first.len() < DIFFERENCES_LISTED {
            self.first.push(line.to_string());
        }
    }
}

/// Compares path, mode and id with git's tree, and the revision of each path with how often the history changes it.
pub(super) fn tree(stored: &StoredTree, git: &[TreeEntry], sequences: &HashMap<Vec<u8>, Sequence>) -> Differences {
    let mut differences = Differences::default();
    let mut expected: BTreeMap<&[u8], (&str, ObjectId)> = git
        .iter()
        .map(|entry| (&entry.path[..], (entry.state.mode.as_str(), entry.state.id)))
        .collect();
    for path in &stored.paths {
        let Some((name, id)) = path.parse() else {
            differences.add(format!("{}: not a path with an id", path.key));
            continue;
        };
        match expected.remove(&name[..]) {
            None => differences.add(format!("{}: is not in git's tree", path.key)),
            Some(git) if git != (path.mode.as_str(), id) => {
                differences.add(format!(
                    "{}: {} {id} instead of {} {}",
                    path.key, path.mode, git.0, git.1
                ));
            }
            Some(_) => {}
        }
        revision(&mut differences, &path.key, path.revision, sequences.get(&name));
    }
    for (key, found) in &stored.gone {
        let sequence = keys::path(key).and_then(|path| sequences.get(&path));
        revision(&mut differences, key, *found, sequence);
    }
    for path in expected.into_keys() {
        differences.add(format!("{}: is missing", keys::tree(path)));
    }
    let known = stored.paths.len() + stored.gone.len();
    if known != sequences.len() {
        differences.add(format!(
            "{known} paths have a record, the history touches {}",
            sequences.len()
        ));
    }
    differences
}

fn revision(differences: &mut Differences, key: &str, found: u64, sequence: Option<&Sequence>) {
    let expected = sequence.map_or(0, |sequence| sequence.len() as u64);
    if found != expected {
        differences.add(format!(
            "{key}: revision {found}, the history changes it {expected} times"
        ));
    }
}

/// What the events tell of one path: revision, hash (absent: deleted) and mode of each change, in order.
pub(super) type Told = Vec<(u64, Option<HexHash>, String)>;

/// Compares, for each path, the states that the events tell with those that it has in git's history. Events that are no
/// longer kept are not compared; how many changes were is returned.
pub(super) fn events(
    told: &HashMap<Arc<str>, Told>,
    sequences: &HashMap<Vec<u8>, Sequence>,
    bytes: &HashMap<ObjectId, Bytes>,
) -> (Differences, u64) {
    let mut differences = Differences::default();
    let mut compared = 0;
    for (key, told) in told {
        let Some(sequence) = keys::path(key).and_then(|path| sequences.get(&path)) else {
            differences.add(format!("{key}: the history does not touch it"));
            continue;
        };
        let mut before = None;
        for (revision, hash, mode) in told {
            compared += 1;
            if before.is_some_and(|before| *revision != before + 1) {
                differences.add(format!(
                    "{key}: the event of revision {revision} follows that of {before:?}"
                ));
            }
            before = Some(*revision);
            let Some(state) = revision.checked_sub(1).and_then(|place| sequence.get(place as usize)) else {
                differences.add(format!(
                    "{key}: an event of revision {revision}, the history has {}",
                    sequence.len()
                ));
                continue;
            };
            let expected = state.map(|state| (bytes[&state.id].hash, state.mode.as_str()));
            if hash.map(|hash| (hash, mode.as_str())) != expected {
                differences.add(format!("{key}: revision {revision} is not what git has there"));
            }
        }
    }
    (differences, compared)
}

/// Writes the tree of a node as `git ls-tree -r -z` writes one.
pub(super) fn dump(folder: &Path, stored: &StoredTree) -> Result<(), ReplayError> {
    let file = folder.join(&stored.node);
    let failed = |source| ReplayError::Dump {
        path: file.display().to_string(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut paths: Vec<_> = stored
        .paths
        .iter()
        .filter_map(|path| Some((keys::path(&path.key)?, path)))
        .collect();
    paths.sort_by(|a, b| a.0.cmp(&b.0));
    let mut lines = Vec::new();
    for (name, path) in paths {
        let kind = if path.mode == Mode::Submodule.as_str() {
            "commit"
        } else {
            "blob"
        };
        write!(lines, "{} {kind} {}\t", path.mode, path.id).expect("memory takes everything");
        lines.extend(name);
        lines.push(0);
    }
    std::fs::write(&file, lines).map_err(failed)
}
