//! What can be reserved, and when two of them have something in common.

use std::sync::Arc;

use crate::colony::command::Refusal;
use crate::colony::memory::{check_key, malformed, over_limit};
use crate::colony::project::check_name;
use crate::conflict::glob::{GLOB_BYTES_MAX, GLOB_SEGMENTS_MAX, Glob, GlobError, Lead, OverSteps, Steps};

/// What can be reserved. As text:
///
/// | text | what |
/// |---|---|
/// | `file:PATTERN` | the paths that a glob matches (see [`crate::conflict::glob`]) |
/// | `key:KEY` | one key of the memory |
/// | `key:PREFIX/` | all keys that begin with this, the slash included |
/// | `slot:NAME` | one place of a slot |
///
/// **A path and a key of the same text are the same thing**: `file:src/*.rs` and `key:src/a.rs` meet, and a `file:` pattern
/// covers the keys that are paths in their one form (no empty, `.` or `..` segment) and match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Paths.
    Files(Glob),
    /// A key.
    Key {
        /// The key.
        key: Arc<str>,
        /// The same as a path, if it is one.
        path: Option<Glob>,
    },
    /// All keys with a prefix.
    Keys {
        /// The prefix: ends with a slash.
        prefix: Arc<str>,
        /// The same as paths, if they are.
        paths: Option<Glob>,
    },
    /// A place of the slot of this name.
    Slot(Arc<str>),
}

impl Resource {
    /// Reads a resource.
    ///
    /// # Errors
    /// When it has no known beginning, is over a bound, or is malformed.
    pub fn parse(text: &str) -> Result<Resource, Refusal> {
        let (kind, rest) = text.split_once(':').unwrap_or(("", text));
        match kind {
            "file" => Glob::parse(rest).map(Resource::Files).map_err(|error| match error {
                GlobError::OverLimit { what, value, limit } => over_limit(&format!("resource {what}"), value, limit),
                GlobError::Malformed(problem) => malformed("resource", &format!("{} {problem}", shown(text))),
            }),
            "key" => {
                if rest.len() > GLOB_BYTES_MAX {
                    return Err(over_limit("resource bytes", rest.len(), GLOB_BYTES_MAX));
                }
                let segments = rest.split('/').count();
                if segments > GLOB_SEGMENTS_MAX {
                    return Err(over_limit("resource segments", segments, GLOB_SEGMENTS_MAX));
                }
                check_key(&rest.into())?;
                if rest.chars().any(char::is_control) {
                    return Err(malformed(
                        "resource",
                        &format!("{} has a control character", shown(text)),
                    ));
                }
                Ok(match rest.strip_suffix('/') {
                    None => Resource::key(rest.into()),
                    Some(folder) => Resource::Keys {
                        prefix: rest.into(),
                        paths: Glob::inside(folder),
                    },
                })
            }
            "slot" => {
                check_name("slot", rest)?;
                Ok(Resource::Slot(rest.into()))
            }
            "rate" => {
                let problem = format!(
                    "{} is for tasks, as rate:NAME or rate:NAME=COUNT: a claim takes tokens, nobody reserves them",
                    shown(text)
                );
                Err(malformed("resource", &problem))
            }
            _ => {
                let problem = format!("{} begins with none of file:, key:, slot:", shown(text));
                Err(malformed("resource", &problem))
            }
        }
    }

    /// One key of the memory.
    pub(crate) fn key(key: Arc<str>) -> Resource {
        let path = Glob::of_path(&key);
        Resource::Key { key, path }
    }

    /// Its text, in its one form.
    pub fn text(&self) -> Arc<str> {
        match self {
            Resource::Files(glob) => format!("file:{glob}").into(),
            Resource::Key { key, .. } => format!("key:{key}").into(),
            Resource::Keys { prefix, .. } => format!("key:{prefix}").into(),
            Resource::Slot(name) => format!("slot:{name}").into(),
        }
    }

    /// What everything in it begins with. A slot is found by its name.
    pub(super) fn leads(&self) -> Vec<Arc<Lead>> {
        match self {
            Resource::Files(glob) => glob.leads(),
            Resource::Key { key, .. } => vec![Lead::of_path(key.clone()).into()],
            Resource::Keys { prefix, .. } => vec![Lead::inside(&prefix[..prefix.len() - 1]).into()],
            Resource::Slot(_) => Vec::new(),
        }
    }

    /// Whether something is in both.
    pub(super) fn meets(&self, other: &Resource, steps: &mut Steps) -> Result<bool, OverSteps> {
        Ok(match (self, other) {
            (Resource::Slot(a), Resource::Slot(b)) => a == b,
            (Resource::Slot(_), _) | (_, Resource::Slot(_)) => false,
            (Resource::Key { key: a, .. }, Resource::Key { key: b, .. }) => a == b,
            (Resource::Key { key, .. }, Resource::Keys { prefix, .. })
            | (Resource::Keys { prefix, .. }, Resource::Key { key, .. }) => key.starts_with(&**prefix),
            (Resource::Keys { prefix: a, .. }, Resource::Keys { prefix: b, .. }) => {
                a.starts_with(&**b) || b.starts_with(&**a)
            }
            (Resource::Files(a), Resource::Files(b)) => a.meets(b, steps)?,
            (Resource::Files(glob), Resource::Key { path: keys, .. } | Resource::Keys { paths: keys, .. })
            | (Resource::Key { path: keys, .. } | Resource::Keys { paths: keys, .. }, Resource::Files(glob)) => {
                match keys {
                    Some(keys) => glob.meets(keys, steps)?,
                    None => false,
                }
            }
        })
    }
}

/// The beginning of a text, which may be of any length.
fn shown(text: &str) -> String {
    let beginning: String = text.chars().take(80).collect();
    format!("{beginning:?}")
}
