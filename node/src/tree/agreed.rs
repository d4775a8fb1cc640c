//! The files that stand below a prefix, all as one snapshot has them.

use std::collections::BTreeMap;

use bytes::Bytes;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{KeyInfo, RangeRequest};
use queenright_bench::client::{Client, ListQuery};
use queenright_protocol::colony::ContentHash;

use super::TreeError;
use crate::git::Mode;
use crate::git::key::{MODE_TAG, escaped, unescaped};

/// How often the pages are read again when they are of different snapshots.
const ATTEMPTS: u32 = 8;

/// A file: what git knows of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What it is.
    pub mode: Mode,
    /// Its bytes; the target of a symbolic link, the commit of a submodule.
    pub bytes: Bytes,
}

/// A file as the nodes have agreed on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedFile {
    /// The file.
    pub file: File,
    /// The revision of its record.
    pub revision: u64,
}

/// All files below a prefix.
#[derive(Clone, Debug)]
pub struct AgreedTree {
    /// The prefix: nothing, or a text that ends with a slash.
    pub prefix: String,
    /// What the range below it holds, to be named in a proposal.
    pub range: RangeRequest,
    /// The position of the last command that the snapshot has seen.
    pub seq: u64,
    /// The files, by path.
    pub files: BTreeMap<Vec<u8>, AgreedFile>,
    /// The revisions of the files that are gone, by path.
    pub gone: BTreeMap<Vec<u8>, u64>,
}

impl AgreedTree {
    /// Reads the files below a prefix.
    ///
    /// # Errors
    /// [`TreeError`], such as a record that is no file.
    pub async fn fetch(client: &Client, prefix: &str, consistency: Consistency) -> Result<AgreedTree, TreeError> {
        if !prefix.is_empty() && !prefix.ends_with('/') {
            return Err(TreeError::Prefix {
                prefix: prefix.to_owned(),
            });
        }
        for _ in 0..ATTEMPTS {
            if let Some(tree) = AgreedTree::fetch_once(client, prefix, consistency).await? {
                return Ok(tree);
            }
        }
        Err(TreeError::Restless {
            prefix: prefix.to_owned(),
            attempts: ATTEMPTS,
        })
    }

    /// `None` when the pages are of different states.
    async fn fetch_once(
        client: &Client,
        prefix: &str,
        consistency: Consistency,
    ) -> Result<Option<AgreedTree>, TreeError> {
        let mut query = ListQuery {
            prefix: prefix.to_owned(),
            after: None,
            limit: None,
            values: true,
            deleted: true,
            consistency,
        };
        let mut tree: Option<AgreedTree> = None;
        loop {
            let page = client.range(&query).await?;
            let tree = tree.get_or_insert_with(|| AgreedTree {
                prefix: prefix.to_owned(),
                range: page.range.clone(),
                seq: page.list.seq,
                files: BTreeMap::new(),
                gone: BTreeMap::new(),
            });
            if tree.range != page.range {
                return Ok(None);
            }
            for info in &page.list.keys {
                tree.take(info)?;
            }
            query.after = page.list.next;
            if query.after.is_none() {
                break;
            }
        }
        Ok(tree)
    }

    fn take(&mut self, info: &KeyInfo) -> Result<(), TreeError> {
        let no_file = |problem: String| TreeError::NoFile {
            key: info.key.to_string(),
            problem,
        };
        let path = info.key.strip_prefix(&*self.prefix).and_then(unescaped);
        let path = path.ok_or_else(|| no_file("is no path, a % in it is followed by no two digits".to_owned()))?;
        if info.deleted {
            self.gone.insert(path, info.revision);
            return Ok(());
        }
        let mode = info.tags.iter().find_map(|tag| tag.strip_prefix(MODE_TAG));
        let mode = match mode {
            // What was put by hand is an ordinary file.
            None => Mode::Regular,
            Some(octal) => Mode::from_octal(octal.as_bytes())
                .ok_or_else(|| no_file(format!("its tag says the mode {octal:?}, which is none of git's")))?,
        };
        let bytes = info.value_bytes().map_err(|error| no_file(error.to_string()))?;
        let bytes = bytes.ok_or_else(|| no_file("came without its value".to_owned()))?;
        if info.hash.is_some_and(|hash| hash.0 != ContentHash::of(&bytes)) {
            return Err(no_file("its bytes do not have its hash".to_owned()));
        }
        let file = AgreedFile {
            file: File { mode, bytes },
            revision: info.revision,
        };
        self.files.insert(path, file);
        Ok(())
    }

    /// The key of a path.
    pub fn key(&self, path: &[u8]) -> String {
        format!("{}{}", self.prefix, escaped(path))
    }

    /// The revision of a path, whether or not a file stands there.
    pub fn revision(&self, path: &[u8]) -> u64 {
        let file = self.files.get(path).map(|file| file.revision);
        file.or(self.gone.get(path).copied()).unwrap_or_default()
    }
}
