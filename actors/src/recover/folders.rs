//! The copy of a data folder, and how it takes the folder's place.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::RecoverError;
use crate::store::sync_folder;

const COPY: &str = ".recovering";
const ASIDE: &str = ".before-recovery-";
/// What is not copied: what belongs to a running node, and what was set aside before.
const LEFT: [&str; 2] = ["lock", "ballast"];
const LEFT_PREFIXES: [&str; 2] = ["damaged-", "quarantine-"];

/// The copy. Removed when dropped, unless it has its place.
#[derive(Debug)]
pub(super) struct Work {
    path: PathBuf,
}

impl Work {
    /// Copies a data folder beside it.
    pub(super) fn copy(folder: &Path) -> io::Result<Work> {
        let work = Work {
            path: beside(folder, COPY),
        };
        // Of a run that was interrupted: whoever holds the lock of the data folder is alone here.
        remove(&work.path)?;
        copy(folder, &work.path)?;
        Ok(work)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A text that speaks of the copy, as one of the data folder.
    pub(super) fn of_original(&self, text: &str, folder: &Path) -> String {
        text.replace(&*self.path.to_string_lossy(), &folder.to_string_lossy())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = remove(&self.path);
    }
}

/// Removes a folder if it is there.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(folder: &Path, end: &str) -> PathBuf {
    let mut name = folder.file_name().map(OsString::from).unwrap_or_default();
    // No node has a name with a dot in it.
    name.push(end);
    folder.with_file_name(name)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if LEFT.contains(&&*text) || LEFT_PREFIXES.iter().any(|start| text.starts_with(start)) {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if !text.ends_with(".snapshot") || fs::hard_link(entry.path(), &target).is_err() {
            // Snapshots are never written to again, and large: a second name will do, where there can be one.
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// What an earlier run has set aside, the newest.
pub(super) fn aside_of(folder: &Path) -> Option<PathBuf> {
    let start = beside(folder, ASIDE);
    let start = start.file_name()?.to_str()?;
    let entries = fs::read_dir(folder.parent()?).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let named = |path: &PathBuf| path.file_name()?.to_str()?.starts_with(start).then_some(());
    paths.filter(|path| named(path).is_some()).max()
}

/// Gives the copy the place of the data folder, and returns where that is now.
pub(super) fn put_in_place(work: Work, folder: &Path) -> Result<PathBuf, RecoverError> {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut asides = (seconds..).map(|number| beside(folder, &format!("{ASIDE}{number}")));
    let aside = asides.find(|aside| !aside.exists()).expect("there are names enough");
    let parent = folder.parent().unwrap_or(Path::new("."));
    sync_folder(&work.path).map_err(io_error(&work.path))?;
    // First under the name that the data folder gets: whatever is cut off from here on leaves that one under its own.
    fs::rename(&work.path, &aside).map_err(io_error(&work.path))?;
    let exchanged = match renameat_with(CWD, &aside, CWD, folder, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => in_two_steps(&work.path, &aside, folder),
        exchanged => exchanged.map_err(io::Error::from),
    };
    exchanged.map_err(io_error(folder))?;
    sync_folder(parent).map_err(io_error(parent))?;
    Ok(aside)
}

/// For file systems that cannot exchange two names. Cut off in between there is no data folder, and the next run says
/// where it is.
fn in_two_steps(work: &Path, aside: &Path, folder: &Path) -> io::Result<()> {
    fs::rename(aside, work)?;
    fs::rename(folder, aside)?;
    fs::rename(work, folder).inspect_err(|_| {
        // Back again, if that can be.
        let _ = fs::rename(aside, folder);
    })
}

pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> RecoverError {
    move |source| RecoverError::Io {
        path: path.to_owned(),
        source,
    }
}
