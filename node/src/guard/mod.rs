//! What keeps people and agents from editing what others have reserved: hooks of git and of editors, which ask
//! `queenright guard check`.
//!
//! | file | what |
//! |---|---|
//! | `git` | which paths a commit or a push changes |
//! | `hooks` | the hooks of a repository: put in before those that are there, taken out again |
//! | `editor` | the hooks of Claude Code: what it asks, what it is answered, its settings |
//!
//! The path of a file is taken from the top of its work tree, as reservations name it: `src/a.rs`.

mod editor;
mod git;
mod hooks;

use std::io;
use std::path::{Component, Path, PathBuf};

pub use self::editor::{Asked, Settings, denied};
pub use self::git::{Pushed, pushed, staged, top};
pub use self::hooks::{Change, Hook, Hooks};

/// Why the guard cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// There is no repository.
    #[error("{} is in no git repository", folder.display())]
    NoRepository {
        /// Where one was looked for.
        folder: PathBuf,
    },
    /// git failed.
    #[error("git {command}: {problem}")]
    Git {
        /// What was asked of it.
        command: String,
        /// What it said.
        problem: String,
    },
    /// A hook of the guard is in the way of another one. Nothing was changed.
    #[error("{}: {problem}", path.display())]
    InTheWay {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The settings of an editor, or what it asked, are not what they must be. Nothing was changed.
    #[error("{of}: {problem}")]
    Malformed {
        /// What was read.
        of: String,
        /// What is wrong.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> GuardError {
    move |source| GuardError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The path of a file from the top of its work tree, with slashes, empty for the top itself; none if it is not in it. What stands for other
/// folders is followed as far as it exists: a file that is to be made has its folder's place.
pub fn below(top: &Path, file: &Path, from: &Path) -> Option<String> {
    let file = from.join(file);
    let mut missing = Vec::new();
    let mut at = file.as_path();
    let found = loop {
        match at.canonicalize() {
            Ok(found) => break found,
            Err(_) => {
                missing.push(at.components().next_back()?);
                at = at.parent()?;
            }
        }
    };
    let mut whole = found;
    for part in missing.into_iter().rev() {
        match part {
            Component::Normal(name) => whole.push(name),
            Component::ParentDir => {
                whole.pop();
            }
            _ => {}
        }
    }
    let top = top.canonicalize().unwrap_or_else(|_| top.to_owned());
    let path = whole.strip_prefix(top).ok()?;
    let parts: Option<Vec<&str>> = path.components().map(|part| part.as_os_str().to_str()).collect();
    parts.map(|parts| parts.join("/"))
}

/// The resource of a file: its path, of which no character means anything else.
pub fn resource_of(path: &str) -> String {
    let mut resource = "file:".to_owned();
    for c in path.chars() {
        if matches!(c, '\\' | '*' | '?' | '[' | ']' | '{' | '}' | ',') {
            resource.push('\\');
        }
        resource.push(c);
    }
    resource
}

/// The resource of all that is in a folder.
pub fn resource_of_folder(path: &str) -> String {
    match path {
        "" => "file:**".to_owned(),
        path => format!("{}/**", resource_of(path)),
    }
}

/// Text as one word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_from_the_top_also_of_a_file_that_is_to_be_made() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        std::fs::create_dir_all(top.join("src")).unwrap();
        std::os::unix::fs::symlink(top.join("src"), place.path().join("link")).unwrap();
        let check = |file: &str, from: &str, expected: Option<&str>| {
            let found = below(&top, Path::new(file), &place.path().join(from));
            assert_eq!(found.as_deref(), expected, "{file} from {from}");
        };
        check("a.rs", "top/src", Some("src/a.rs"));
        check("../new/b.rs", "top/src", Some("new/b.rs"));
        check("link/a.rs", "", Some("src/a.rs"));
        check("../outside.rs", "top", None);
        check(".", "top", Some(""));
    }

    #[test]
    fn nothing_in_a_path_means_more_than_itself() {
        assert_eq!(resource_of("src/[id]/{a,b}*.ts"), r"file:src/\[id\]/\{a\,b\}\*.ts");
        assert_eq!(resource_of_folder("src/[id]"), r"file:src/\[id\]/**");
        assert_eq!(resource_of_folder(""), "file:**");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
