//! Which paths a commit or a push changes. Called from hooks, git is asked in the environment that it gave them: that names
//! the index of the commit under way.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::GuardError;

/// A line that a pre-push hook reads: what is pushed, and what the other side has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The commit that is pushed.
    pub local: String,
    /// The commit that the other side has under that name, if any.
    pub remote: Option<String>,
}

impl Pushed {
    /// Reads the lines `<local ref> <local id> <remote ref> <remote id>`; deletions push nothing.
    ///
    /// # Errors
    /// [`GuardError::Malformed`] for anything else.
    pub fn read(input: impl BufRead) -> Result<Vec<Pushed>, GuardError> {
        let malformed = |problem: String| GuardError::Malformed {
            of: "stdin".to_owned(),
            problem,
        };
        let mut pushed = Vec::new();
        for line in input.lines() {
            let line = line.map_err(|error| malformed(error.to_string()))?;
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, local, _, remote] = words[..] else {
                if words.is_empty() {
                    continue;
                }
                return Err(malformed(format!("{line:?} is no line of a pre-push hook")));
            };
            for id in [local, remote] {
                if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(malformed(format!("{id:?} is no id of a commit")));
                }
            }
            if !is_none(local) {
                pushed.push(Pushed {
                    local: local.to_owned(),
                    remote: (!is_none(remote)).then(|| remote.to_owned()),
                });
            }
        }
        Ok(pushed)
    }
}

/// Whether an id stands for no commit.
fn is_none(id: &str) -> bool {
    id.bytes().all(|byte| byte == b'0')
}

/// The top of the work tree that a folder is in.
///
/// # Errors
/// [`GuardError::NoRepository`].
pub fn top(folder: &Path) -> Result<PathBuf, GuardError> {
    match git(folder, &["rev-parse", "--show-toplevel"]) {
        Ok(bytes) => Ok(PathBuf::from(String::from_utf8_lossy(&bytes).trim_end_matches('\n'))),
        Err(GuardError::Git { .. }) => Err(GuardError::NoRepository {
            folder: folder.to_owned(),
        }),
        Err(error) => Err(error),
    }
}

/// Where the hooks of a repository are.
pub(super) fn hooks_folder(top: &Path) -> Result<PathBuf, GuardError> {
    let bytes = git(top, &["rev-parse", "--git-path", "hooks"])?;
    Ok(top.join(String::from_utf8_lossy(&bytes).trim_end_matches('\n')))
}

/// What the commit under way changes.
///
/// # Errors
/// [`GuardError::Git`].
pub fn staged(top: &Path) -> Result<Vec<String>, GuardError> {
    let arguments = ["diff", "--cached", "--name-only", "--no-renames", "--no-ext-diff", "-z"];
    Ok(paths(&git(top, &arguments)?))
}

/// What a push changes.
///
/// # Errors
/// [`GuardError::Git`].
pub fn pushed(top: &Path, pushed: &[Pushed]) -> Result<Vec<String>, GuardError> {
    let mut all = Vec::new();
    for Pushed { local, remote } in pushed {
        let known = remote.as_ref().filter(|remote| {
            let commit = format!("{remote}^{{commit}}");
            git(top, &["cat-file", "-e", &commit]).is_ok()
        });
        let bytes = match known {
            Some(remote) => {
                // From where both began: what the other side has meanwhile is not pushed.
                let range = format!("{remote}...{local}");
                git(
                    top,
                    &[
                        "diff",
                        "--name-only",
                        "--no-renames",
                        "--no-ext-diff",
                        "-z",
                        range.as_str(),
                    ],
                )
            }
            None => git(
                top,
                &[
                    "log",
                    "--name-only",
                    "--no-renames",
                    "--no-ext-diff",
                    "-m",
                    "--format=",
                    "-z",
                    local.as_str(),
                    "--not",
                    "--remotes",
                ],
            ),
        }?;
        all.extend(paths(&bytes));
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// Names that end with zero bytes. Those that are no UTF-8 can be reserved by nobody.
fn paths(bytes: &[u8]) -> Vec<String> {
    let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let names = names.filter_map(|name| str::from_utf8(name).ok());
    names.map(|name| name.trim_start_matches('\n').to_owned()).collect()
}

fn git(folder: &Path, arguments: &[&str]) -> Result<Vec<u8>, GuardError> {
    let failed = |problem: String| GuardError::Git {
        command: arguments.first().copied().unwrap_or_default().to_owned(),
        problem,
    };
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("LC_ALL", "C")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => {
            let text = String::from_utf8_lossy(&output.stderr);
            let line = text.lines().next().unwrap_or("failed");
            Err(failed(line.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_pre_push_hook_are_read_and_nothing_else() {
        let (a, b, none) = ("a".repeat(40), "b".repeat(40), "0".repeat(40));
        let text = format!(
            "refs/heads/x {a} refs/heads/x {b}\nrefs/heads/y {b} refs/heads/y {none}\n(delete) {none} z {a}\n\n"
        );
        let read = Pushed::read(text.as_bytes()).unwrap();
        let of = |local: &str, remote: Option<&str>| Pushed {
            local: local.to_owned(),
            remote: remote.map(str::to_owned),
        };
        assert_eq!(read, [of(&a, Some(&b)), of(&b, None)]);
        assert!(Pushed::read(&b"two words"[..]).is_err());
        assert!(Pushed::read(&b"r --output=x r 00"[..]).is_err());
    }
}
