//! Why a repository cannot be read, each with one line for the person who named it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use thiserror::Error;

use super::ObjectId;

/// Why git could not be asked or its answer not be used. The repository is as it was.
#[derive(Debug, Error)]
pub enum GitError {
    /// There is no program `git` in `PATH`.
    #[error("git: program not found (install git, or add it to PATH)")]
    ProgramMissing,
    /// Nothing exists at the path.
    #[error("{path:?}: no such file or directory")]
    PathMissing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path cannot be looked at, or a folder not be made there.
    #[error("{path:?}: {source}")]
    Path {
        /// The path as it was given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The path lies in no git repository.
    #[error("{path:?}: not a git repository")]
    NotARepository {
        /// The path that was opened.
        path: PathBuf,
    },
    /// A repository was to be made in a folder that holds something.
    #[error("{path:?}: not an empty folder")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The repository has no commit at all.
    #[error("{path:?}: the repository is empty (it has no commit)")]
    Empty {
        /// The repository.
        path: PathBuf,
    },
    /// The repository has commits, but none that the reference names.
    #[error("{path:?}: {reference:?} names no commit of the repository")]
    UnknownReference {
        /// The repository.
        path: PathBuf,
        /// The reference as it was given.
        reference: String,
    },
    /// The history was cut when the repository was cloned. Complete it and try again.
    #[error("{path:?}: a shallow clone, its history is cut (complete it with `git fetch --unshallow`)")]
    Shallow {
        /// The repository.
        path: PathBuf,
    },
    /// Git reads no repository of another user unless it is listed as safe.
    #[error(
        "{path:?}: belongs to another user (if you trust it: `git config --global --add safe.directory {}`)",
        shell_word(.path)
    )]
    DubiousOwnership {
        /// The repository, as git names it.
        path: PathBuf,
    },
    /// An object is not in the repository, as in a partial clone, or its bytes are damaged.
    #[error("{path:?}: object {id} is missing or damaged (a partial clone does not suffice; `git fsck` lists damage)")]
    MissingObject {
        /// The repository.
        path: PathBuf,
        /// The object.
        id: ObjectId,
    },
    /// The repository names its objects by SHA-256.
    #[error("{path:?}: a SHA-256 repository (only SHA-1 repositories are supported)")]
    Sha256 {
        /// The repository.
        path: PathBuf,
    },
    /// Git ended with an error that has no variant of its own.
    #[error("git {command}: {message}")]
    Failed {
        /// The subcommand.
        command: String,
        /// The line in which git says why.
        message: String,
    },
    /// Git succeeded and said what this program does not understand.
    #[error("git {command}: unexpected output: {detail}")]
    Unexpected {
        /// The subcommand.
        command: String,
        /// What was found.
        detail: String,
    },
    /// Git could not be started or talked to.
    #[error("git {command}: {source}")]
    Io {
        /// The subcommand.
        command: String,
        /// What the system says.
        source: io::Error,
    },
}

impl GitError {
    /// What a git that ended with `status` meant by `stderr`, written in the C locale. Git has one exit code (128) for
    /// nearly everything, so text decides where it must; what is asked of git is chosen so that it seldom must.
    pub(super) fn from_stderr(root: &Path, command: &str, status: ExitStatus, stderr: &[u8]) -> GitError {
        let text = String::from_utf8_lossy(stderr);
        let owner = text.lines().find(|line| {
            // The first since git 2.35.3, the second in 2.35.2.
            line.contains("detected dubious ownership") || line.contains("is owned by someone else")
        });
        if let Some(line) = owner {
            return GitError::DubiousOwnership {
                path: quoted_path(line).map_or(root.to_path_buf(), PathBuf::from),
            };
        }
        if text.contains("not a git repository") {
            return GitError::NotARepository {
                path: root.to_path_buf(),
            };
        }
        GitError::Failed {
            command: command.to_owned(),
            message: reason(&text).unwrap_or_else(|| status.to_string()),
        }
    }
}

/// The line that says why: the first fatal one, else the first error, else the first that is not blank.
fn reason(stderr: &str) -> Option<String> {
    let starting = |prefix| stderr.lines().find_map(|line| line.strip_prefix(prefix));
    let any = || stderr.lines().find(|line| !line.trim().is_empty());
    let line = starting("fatal: ").or_else(|| starting("error: ")).or_else(any)?;
    Some(
        line.trim()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect(),
    )
}

/// The path that git's refusal names: the text in the first single quotes, which end the line or stand before "is
/// owned". The path may have quotes of its own.
fn quoted_path(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once('\'')?;
    let (path, _) = rest.split_once("' is owned").or_else(|| rest.rsplit_once('\''))?;
    Some(path).filter(|path| !path.is_empty())
}

/// The path as one word of a shell command.
fn shell_word(path: &Path) -> String {
    let text = path.as_os_str().to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%,:=".contains(c);
    if text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
