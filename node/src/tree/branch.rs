//! A branch of a repository as one proposal.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use queenright_bench::client::wire::{HexHash, MergeRequest, ProposalRequest, ReadRequest, WriteRequest};
use queenright_protocol::colony::ContentHash;
use queenright_protocol::conflict::three_way;

use super::{AgreedTree, File, TreeError};
use crate::git::key::MODE_TAG;
use crate::git::{BlobReader, FileState, Mode, ObjectId, Repository};

/// What a branch changes.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The commit that it left from; none if the whole tree is meant.
    pub base: Option<ObjectId>,
    /// Its last commit.
    pub head: ObjectId,
    /// The paths that it changes, in order.
    pub changes: Vec<BranchChange>,
}

/// What it makes of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchChange {
    /// The path.
    pub path: Vec<u8>,
    /// What it found there.
    pub before: Option<File>,
    /// What it leaves there.
    pub after: Option<File>,
}

impl Branch {
    /// Reads what lies between two commits: `BASE..HEAD`, from where HEAD left BASE; or the whole tree of one commit.
    ///
    /// # Errors
    /// [`TreeError::Git`].
    pub fn read(repository: &Path, range: &str) -> Result<Branch, TreeError> {
        let repository = Repository::open(repository)?;
        let (base, head) = match range.split_once("..") {
            None => (None, repository.commit(range)?),
            Some((base, head)) => {
                let or_head = |name: &str| {
                    if name.is_empty() {
                        "HEAD".to_owned()
                    } else {
                        name.to_owned()
                    }
                };
                let (base, head) = (repository.commit(&or_head(base))?, repository.commit(&or_head(head))?);
                (Some(repository.merge_base(&base, &head)?), head)
            }
        };
        let changes = match &base {
            Some(base) => repository.difference(base, &head)?,
            None => {
                let entries = repository.tree(&head)?.into_iter();
                let added = entries.map(|entry| crate::git::Change {
                    path: entry.path,
                    before: None,
                    after: Some(entry.state),
                });
                added.collect()
            }
        };
        let mut blobs = repository.blobs()?;
        let changes = changes.into_iter().map(|change| {
            Ok(BranchChange {
                path: change.path,
                before: change.before.map(|state| file(&mut blobs, state)).transpose()?,
                after: change.after.map(|state| file(&mut blobs, state)).transpose()?,
            })
        });
        Ok(Branch {
            base,
            head,
            changes: changes.collect::<Result<_, TreeError>>()?,
        })
    }

    /// The proposal of this branch against what the nodes have agreed on. Every path must be as the branch found it; with
    /// `merge`, what others have made of a text meanwhile is merged with it.
    pub fn proposal(&self, tree: &AgreedTree, merge: bool) -> ProposalRequest {
        let mut proposal = ProposalRequest::default();
        for change in &self.changes {
            let agreed = tree.files.get(&change.path).map(|agreed| &agreed.file);
            if merge && agreed == change.after.as_ref() {
                continue;
            }
            let key = tree.key(&change.path);
            match (&change.before, &change.after) {
                (before, Some(after)) if merge && is_text(after) && before.as_ref().is_none_or(is_text) => {
                    proposal.writes.push(merging(key, before.as_ref(), after));
                }
                (before, after) => {
                    proposal
                        .reads
                        .push(reading(&key, before.as_ref(), agreed, tree.revision(&change.path)));
                    proposal.writes.push(writing(key, after.as_ref()));
                }
            }
        }
        proposal
    }

    /// The files as they would stand if the proposal were committed to `tree`; `None` if it would lose.
    pub fn combined(&self, tree: &AgreedTree, merge: bool) -> Option<BTreeMap<Vec<u8>, File>> {
        let files = tree
            .files
            .iter()
            .map(|(path, agreed)| (path.clone(), agreed.file.clone()));
        let mut files: BTreeMap<Vec<u8>, File> = files.collect();
        for BranchChange { path, before, after } in &self.changes {
            let agreed = files.get(path).cloned();
            let left = match (agreed, after) {
                (agreed, after) if agreed == *before || (merge && agreed == *after) => after.clone(),
                (Some(ours), Some(theirs)) if merge => Some(merged(before.as_ref()?, &ours, theirs)?),
                _ => return None,
            };
            match left {
                Some(file) => files.insert(path.clone(), file),
                None => files.remove(path),
            };
        }
        Some(files)
    }
}

pub(super) fn file(blobs: &mut BlobReader, state: FileState) -> Result<File, TreeError> {
    let bytes = match state.mode {
        Mode::Submodule => Bytes::from(state.id.to_string()),
        _ => blobs.read(&state.id)?.into(),
    };
    Ok(File {
        mode: state.mode,
        bytes,
    })
}

fn is_text(file: &File) -> bool {
    matches!(file.mode, Mode::Regular | Mode::Executable)
}

fn merged(base: &File, ours: &File, theirs: &File) -> Option<File> {
    if ![base, ours, theirs].into_iter().all(is_text) {
        return None;
    }
    let mode = match (ours.mode, theirs.mode) {
        (ours, theirs) if theirs == base.mode => ours,
        (ours, theirs) if ours == base.mode || ours == theirs => theirs,
        _ => return None,
    };
    let bytes = three_way(&base.bytes, &ours.bytes, &theirs.bytes).ok()?;
    Some(File {
        mode,
        bytes: bytes.into(),
    })
}

fn tags(mode: Mode) -> Vec<String> {
    vec![format!("{MODE_TAG}{mode}")]
}

fn text_or_base64(bytes: &Bytes) -> (Option<String>, Option<String>) {
    match str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64.encode(bytes))),
    }
}

fn merging(key: String, before: Option<&File>, after: &File) -> WriteRequest {
    let (base, base_base64) = before.map(|before| text_or_base64(&before.bytes)).unwrap_or_default();
    let (theirs, theirs_base64) = text_or_base64(&after.bytes);
    WriteRequest {
        key,
        merge: Some(MergeRequest {
            base,
            base_base64,
            base_kept: None,
            base_tags: before.map(|before| tags(before.mode)).unwrap_or_default(),
            theirs,
            theirs_base64,
        }),
        tags: tags(after.mode),
        ..WriteRequest::default()
    }
}

/// A file put in place, or deleted.
pub(crate) fn writing(key: String, after: Option<&File>) -> WriteRequest {
    let (put, put_base64) = after.map(|after| text_or_base64(&after.bytes)).unwrap_or_default();
    WriteRequest {
        key,
        put,
        put_base64,
        delete: after.is_none(),
        tags: after.map(|after| tags(after.mode)).unwrap_or_default(),
        ..WriteRequest::default()
    }
}

/// The condition that a path is as the branch found it.
fn reading(key: &str, before: Option<&File>, agreed: Option<&File>, revision: u64) -> ReadRequest {
    let content = |file: Option<&File>| file.map(|file| file.bytes.clone());
    // A hash tells nothing of modes: a file that differs in nothing else was changed since.
    let other_mode = before != agreed && content(before) == content(agreed);
    ReadRequest {
        key: key.to_owned(),
        revision: revision.saturating_sub(u64::from(other_mode)),
        hash: before.map(|before| HexHash(ContentHash::of(&before.bytes))),
        absent: before.is_none(),
    }
}
