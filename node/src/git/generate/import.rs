//! Writes commits as the input of `git fast-import`.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{ChildStdin, Stdio};

use super::super::process::Git;
use super::{GitError, Mode, ObjectId};

/// The time of the first commit, in seconds of Unix time; each later commit comes [`COMMIT_SECONDS`] after the one
/// before.
const START_SECONDS: u64 = 1_600_000_000;
const COMMIT_SECONDS: u64 = 600;

const AUTHORS: [&str; 6] = ["Ada", "Barbara", "Cleo", "Dora", "Edith", "Frances"];

/// What a commit does to one path.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// Sets mode and contents.
    Put { path: Vec<u8>, mode: Mode, bytes: Vec<u8> },
    /// Sets a submodule entry.
    Link { path: Vec<u8>, id: ObjectId },
    /// Removes the path.
    Delete { path: Vec<u8> },
}

impl Edit {
    pub(super) fn put(path: impl AsRef<[u8]>, mode: Mode, bytes: impl Into<Vec<u8>>) -> Edit {
        Edit::Put {
            path: path.as_ref().to_vec(),
            mode,
            bytes: bytes.into(),
        }
    }

    pub(super) fn delete(path: impl AsRef<[u8]>) -> Edit {
        Edit::Delete {
            path: path.as_ref().to_vec(),
        }
    }
}

/// A commit that this import wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

/// What a commit follows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parents<'a> {
    /// The last commit of its branch; nothing, for the first.
    Tip,
    /// This commit, as the first of a branch.
    Fork(Mark),
    /// The last commit of its branch, and these.
    Merge(&'a [Mark]),
}

/// A running import.
#[derive(Debug)]
pub(super) struct Importer {
    stdin: BufWriter<ChildStdin>,
    commits: u64,
}

impl Importer {
    /// Makes a repository in `dir`, imports what `write` writes, and returns the head of the branch `main`.
    pub(super) fn run(dir: &Path, write: impl FnOnce(&mut Importer) -> io::Result<()>) -> Result<ObjectId, GitError> {
        let git = initialise(dir)?;
        let arguments = ["fast-import", "--quiet", "--done", "--date-format=raw"];
        let mut running = git.start(&arguments, Stdio::piped())?;
        // Silent unless it fails, so the output cannot fill up while the input is written.
        drop(running.take_stdout());
        let mut importer = Importer {
            stdin: BufWriter::new(running.take_stdin()),
            commits: 0,
        };
        let written = write(&mut importer).and_then(|()| importer.stdin.write_all(b"done\n"));
        let written = written.and_then(|()| importer.stdin.flush());
        drop(importer);
        running.finish()?;
        written.map_err(|source| running.io_error(source))?;
        git.resolve("refs/heads/main")
    }

    /// Writes a commit on `branch`. Deletions come first, so that a folder can take the place of a file.
    pub(super) fn commit(
        &mut self,
        branch: &str,
        author: usize,
        subject: &str,
        parents: Parents<'_>,
        edits: &[Edit],
    ) -> io::Result<Mark> {
        self.commits += 1;
        let (mark, out) = (self.commits, &mut self.stdin);
        let name = AUTHORS[author % AUTHORS.len()];
        let time = START_SECONDS + mark * COMMIT_SECONDS;
        writeln!(out, "commit refs/heads/{branch}\nmark :{mark}")?;
        writeln!(
            out,
            "committer {name} <{}@example.org> {time} +0000",
            name.to_lowercase()
        )?;
        data(out, subject.as_bytes())?;
        match parents {
            Parents::Tip => {}
            Parents::Fork(Mark(from)) => writeln!(out, "from :{from}")?,
            Parents::Merge(others) => others
                .iter()
                .try_for_each(|Mark(other)| writeln!(out, "merge :{other}"))?,
        }
        let (deletions, others): (Vec<&Edit>, _) = edits.iter().partition(|edit| matches!(edit, Edit::Delete { .. }));
        for edit in deletions.into_iter().chain(others) {
            match edit {
                Edit::Put { path, mode, bytes } => {
                    writeln!(out, "M {mode} inline {}", quoted(path))?;
                    data(out, bytes)?;
                }
                Edit::Link { path, id } => writeln!(out, "M {} {id} {}", Mode::Submodule, quoted(path))?,
                Edit::Delete { path } => writeln!(out, "D {}", quoted(path))?,
            }
        }
        writeln!(out)?;
        Ok(Mark(mark))
    }
}

fn initialise(dir: &Path) -> Result<Git, GitError> {
    let failed = |source| GitError::Path {
        path: dir.to_path_buf(),
        source,
    };
    fs::create_dir_all(dir).map_err(failed)?;
    if fs::read_dir(dir).map_err(failed)?.next().is_some() {
        return Err(GitError::NotEmpty {
            path: dir.to_path_buf(),
        });
    }
    let git = Git::new("git".as_ref(), dir.canonicalize().map_err(failed)?);
    // No template: hooks of the user's have no place here.
    git.output(&["init", "--quiet", "--template=", "--object-format=sha1"])?;
    git.output(&["symbolic-ref", "HEAD", "refs/heads/main"])?;
    Ok(git)
}

fn data(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    writeln!(out, "data {}", bytes.len())?;
    out.write_all(bytes)?;
    writeln!(out)
}

/// The path as a C string in quotes, which fast-import reads for any bytes but NUL.
fn quoted(path: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in path {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text + "\""
}
