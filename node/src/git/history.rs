//! The first-parent history of a reference with what each commit changed, and the tree of a commit.

use std::io::{self, BufRead};
use std::process::Stdio;

use super::process::{Git, Running};
use super::{Change, Commit, FileState, GitError, Mode, ObjectId, TreeEntry};

/// Commits along first parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The commit that the reference named.
    pub head: ObjectId,
    /// The number of first-parent commits of the reference, whether or not `commits` has all of them.
    pub total: usize,
    /// The commits, oldest first: a prefix of the history. The first has no parent, each other the one before it.
    pub commits: Vec<Commit>,
}

impl History {
    /// The history of `head`, with at most the `oldest` commits.
    pub(super) fn read(git: &Git, head: &ObjectId, oldest: Option<usize>) -> Result<History, GitError> {
        let mut ids = read_ids(git, head)?;
        let total = ids.len();
        ids.truncate(oldest.unwrap_or(total));
        Ok(History {
            head: *head,
            total,
            commits: read_changes(git, &ids)?,
        })
    }
}

/// The ids of the first-parent commits of `head`, oldest first.
fn read_ids(git: &Git, head: &ObjectId) -> Result<Vec<ObjectId>, GitError> {
    let arguments = ["rev-list", "--first-parent", "--reverse", &head.to_string(), "--"];
    let mut running = git.start(&arguments, Stdio::null())?;
    let mut ids = Vec::new();
    for line in running.take_stdout().split(b'\n') {
        let line = line.map_err(|source| running.io_error(source))?;
        ids.push(ObjectId::from_hex(&line).ok_or_else(|| running.unexpected(shown(&line)))?);
    }
    running.finish()?;
    Ok(ids)
}

/// What each of these commits changed, the first against nothing and each other against the one before it.
///
/// One diff-tree serves all. A line of its input is a commit and the parents to compare it with in place of its own,
/// so that a merge is compared with its first parent alone. `--always` echoes a commit without changes too.
fn read_changes(git: &Git, ids: &[ObjectId]) -> Result<Vec<Commit>, GitError> {
    let arguments = [
        "diff-tree",
        "--stdin",
        "-r",
        "--root",
        "--raw",
        "-z",
        "--always",
        "--no-abbrev",
        "--no-renames",
        // Against `diff.ignoreSubmodules` and the `ignore` of a `.gitmodules` in the work tree.
        "--ignore-submodules=none",
    ];
    let mut running = git.start(&arguments, Stdio::piped())?;
    running.feed(diff_input(ids).into_bytes());
    let mut records = Records(running.take_stdout());
    let mut commits = Vec::with_capacity(ids.len());
    let mut next = records.next().map_err(|source| running.io_error(source))?;
    for id in ids {
        match next {
            Some(echo) if ObjectId::from_hex(&echo) == Some(*id) => {}
            Some(other) => return Err(lost_commit(&running, id, &other)),
            None => {
                running.finish()?;
                return Err(lost_commit(&running, id, b"end of output"));
            }
        }
        let mut changes = Vec::new();
        loop {
            next = records.next().map_err(|source| running.io_error(source))?;
            let Some(states) = next.as_deref().and_then(|record| record.strip_prefix(b":")) else {
                break;
            };
            let (before, after) = parse_states(states).ok_or_else(|| running.unexpected(shown(states)))?;
            let path = records.next().map_err(|source| running.io_error(source))?;
            let path = path.ok_or_else(|| running.unexpected("a change without a path"))?;
            changes.push(Change { path, before, after });
        }
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        commits.push(Commit { id: *id, changes });
    }
    running.finish()?;
    Ok(commits)
}

/// What differs between the trees of two commits.
pub(super) fn read_difference(git: &Git, base: &ObjectId, head: &ObjectId) -> Result<Vec<Change>, GitError> {
    let (base, head) = (base.to_string(), head.to_string());
    let arguments = [
        "diff-tree",
        "-r",
        "--raw",
        "-z",
        "--no-abbrev",
        "--no-renames",
        "--ignore-submodules=none",
        &base,
        &head,
        "--",
    ];
    let mut running = git.start(&arguments, Stdio::null())?;
    let mut records = Records(running.take_stdout());
    let mut changes = Vec::new();
    while let Some(record) = records.next().map_err(|source| running.io_error(source))? {
        let states = record.strip_prefix(b":").and_then(parse_states);
        let (before, after) = states.ok_or_else(|| running.unexpected(shown(&record)))?;
        let path = records.next().map_err(|source| running.io_error(source))?;
        let path = path.ok_or_else(|| running.unexpected("a change without a path"))?;
        changes.push(Change { path, before, after });
    }
    running.finish()?;
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(changes)
}

fn diff_input(ids: &[ObjectId]) -> String {
    let mut parent = None;
    let mut input = String::with_capacity(ids.len() * 82);
    for id in ids {
        input.push_str(&id.to_string());
        if let Some(parent) = parent.replace(id) {
            input.push(' ');
            input.push_str(&parent.to_string());
        }
        input.push('\n');
    }
    input
}

/// The error for a commit that diff-tree passed over, as it does without a word where it cannot read it.
fn lost_commit(running: &Running, id: &ObjectId, found: &[u8]) -> GitError {
    if !running.git().has(id) {
        return running.git().missing(*id);
    }
    running.unexpected(format!("{} where commit {id} was expected", shown(found)))
}

/// The files of the tree of `commit`, sorted by the bytes of the path.
pub(super) fn read_tree(git: &Git, commit: &ObjectId) -> Result<Vec<TreeEntry>, GitError> {
    let arguments = ["ls-tree", "-r", "-z", "--full-tree", &commit.to_string()];
    let mut running = git.start(&arguments, Stdio::null())?;
    let mut records = Records(running.take_stdout());
    let mut entries = Vec::new();
    while let Some(record) = records.next().map_err(|source| running.io_error(source))? {
        entries.push(parse_entry(&record).ok_or_else(|| running.unexpected(shown(&record)))?);
    }
    running.finish()?;
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

/// Reads what NUL ends. A last record without NUL was cut and is not returned: the exit status tells why.
struct Records<R>(R);

impl<R: BufRead> Records<R> {
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut record = Vec::new();
        self.0.read_until(0, &mut record)?;
        Ok((record.pop() == Some(0)).then_some(record))
    }
}

/// Before and after, as in `100644 000000 <id> <id> D`.
fn parse_states(record: &[u8]) -> Option<(Option<FileState>, Option<FileState>)> {
    let mut fields = record.split(|byte| *byte == b' ');
    let mut field = || fields.next();
    let modes = (field()?, field()?);
    Some((parse_state(modes.0, field()?)?, parse_state(modes.1, field()?)?))
}

/// A state, or that there is none (mode 000000).
fn parse_state(mode: &[u8], id: &[u8]) -> Option<Option<FileState>> {
    if mode == b"000000" {
        return Some(None);
    }
    Some(Some(FileState {
        mode: Mode::from_octal(mode)?,
        id: ObjectId::from_hex(id)?,
    }))
}

/// An entry, as in `100644 blob <id>\t<path>`.
fn parse_entry(record: &[u8]) -> Option<TreeEntry> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let mut fields = record[..tab].split(|byte| *byte == b' ');
    let (mode, _kind, id) = (fields.next()?, fields.next()?, fields.next()?);
    let state = FileState {
        mode: Mode::from_octal(mode)?,
        id: ObjectId::from_hex(id)?,
    };
    Some(TreeEntry {
        path: record[tab + 1..].to_vec(),
        state,
    })
}

/// The beginning of what git wrote, on one line.
fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes[..bytes.len().min(100)].escape_ascii())
}
