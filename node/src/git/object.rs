//! Names and states as git has them: object ids, modes, changes, tree entries.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use thiserror::Error;

/// The SHA-1 name of a git object, shown and serialised as 40 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ObjectId([u8; 20]);

impl ObjectId {
    /// The id with these 20 bytes.
    pub const fn new(bytes: [u8; 20]) -> ObjectId {
        ObjectId(bytes)
    }

    /// The 20 bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The id written as these 40 hexadecimal digits, if they are such.
    pub(super) fn from_hex(digits: &[u8]) -> Option<ObjectId> {
        let (pairs, []) = digits.as_chunks::<2>() else {
            return None;
        };
        let mut bytes = [0; 20];
        if pairs.len() != bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            *byte = (high? << 4 | low?) as u8;
        }
        Some(ObjectId(bytes))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an object id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not an object id (expected 40 hexadecimal digits)")]
pub struct ParseObjectIdError(pub String);

impl FromStr for ObjectId {
    type Err = ParseObjectIdError;

    fn from_str(text: &str) -> Result<ObjectId, ParseObjectIdError> {
        ObjectId::from_hex(text.as_bytes()).ok_or_else(|| ParseObjectIdError(text.to_owned()))
    }
}

impl TryFrom<String> for ObjectId {
    type Error = ParseObjectIdError;

    fn try_from(text: String) -> Result<ObjectId, ParseObjectIdError> {
        text.parse()
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> String {
        id.to_string()
    }
}

/// The id that git gives to a blob with these bytes.
pub fn blob_id(bytes: &[u8]) -> ObjectId {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    ObjectId(hasher.finalize().into())
}

/// What an entry of a tree is. Git shows no other modes: the 100664 of old repositories it reads as 100644.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// 100644, a file.
    Regular,
    /// 100755, a file that may be executed.
    Executable,
    /// 120000, a symbolic link: the blob holds its target.
    Symlink,
    /// 160000, a commit of another repository: the id is not that of a blob, and the object lies elsewhere.
    Submodule,
}

impl Mode {
    /// The six octal digits that git shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Regular => "100644",
            Mode::Executable => "100755",
            Mode::Symlink => "120000",
            Mode::Submodule => "160000",
        }
    }

    /// The mode with these six octal digits, if it is one.
    pub fn from_octal(digits: &[u8]) -> Option<Mode> {
        [Mode::Regular, Mode::Executable, Mode::Symlink, Mode::Submodule]
            .into_iter()
            .find(|mode| mode.as_str().as_bytes() == digits)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is at a path: a mode, and the id of the blob (of the commit, for a submodule).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileState {
    /// What the entry is.
    pub mode: Mode,
    /// The id of its contents.
    pub id: ObjectId,
}

/// One path that a commit changed against its first parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path from the root of the repository: any bytes except NUL.
    pub path: Vec<u8>,
    /// The state in the first parent; none if the path was absent.
    pub before: Option<FileState>,
    /// The state in the commit; none if the path is absent.
    pub after: Option<FileState>,
}

/// A commit of the first-parent history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The id of the commit.
    pub id: ObjectId,
    /// What it changed against its first parent, sorted by the bytes of the path, each path once. A file that becomes
    /// a folder is a deletion and additions. Empty if the trees are equal.
    pub changes: Vec<Change>,
}

/// One file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// The path from the root of the repository: any bytes except NUL.
    pub path: Vec<u8>,
    /// What is there.
    pub state: FileState,
}
