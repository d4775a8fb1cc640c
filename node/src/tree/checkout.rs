//! Writes the agreed files into a folder, and never anywhere else.
//!
//! Every step is taken from the folder's own descriptor, one name at a time, and never through a symbolic link: a record
//! cannot name a place outside. A file appears whole or not at all. What was written is noted, before and after, so that a
//! later checkout deletes what it wrote itself and nothing else, and overwrites what nobody has changed. The notes stand in
//! [`MANIFEST`], or in git's own folder where the folder is a work tree: there what the last commit has may be replaced too,
//! since git keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use queenright_protocol::colony::ContentHash;
use rustix::fs::{AtFlags, FileType, Mode as Permissions, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::work_tree::WorkTree;
use super::{File, TreeError};
use crate::git::Mode;
use crate::git::key::{escaped, unescaped};

/// The file in which a checkout notes what it wrote.
pub const MANIFEST: &str = ".queenright-checkout.json";

/// The same in git's own folder.
const MANIFEST_OF_GIT: &str = "queenright-checkout.json";

/// What files are called while they are written.
const UNFINISHED: &str = ".queenright-unfinished";

/// What a checkout did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckoutReport {
    /// How many files were written.
    pub written: u64,
    /// How many stood there already.
    pub unchanged: u64,
    /// How many were deleted, because an earlier checkout had written them.
    pub deleted: u64,
}

/// By path, each mode and hash that may be replaced.
pub(super) type Marks = BTreeMap<Vec<u8>, BTreeSet<String>>;

/// What a checkout wrote: by path, each mode and hash that may stand there by its doing.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, BTreeSet<String>>,
}

/// Writes `files` into `folder`, which is made if it is not there.
///
/// # Errors
/// [`TreeError`]; nothing was written where its variant says so.
pub fn checkout(folder: &Path, files: &BTreeMap<Vec<u8>, File>, force: bool) -> Result<CheckoutReport, TreeError> {
    check_paths(files)?;
    let work_tree = WorkTree::at(folder)?;
    let root = Root::open(folder, work_tree.as_ref())?;
    let mut before = root.manifest(force || work_tree.is_some())?;
    for (path, marks) in work_tree.map(|tree| tree.committed).unwrap_or_default() {
        before.entry(path).or_default().extend(marks);
    }
    let known = |path: &[u8]| before.get(path).cloned().unwrap_or_default();
    let mut report = CheckoutReport::default();
    let (mut to_write, mut to_delete, mut in_the_way) = (Vec::new(), Vec::new(), Vec::new());
    for (path, file) in files {
        match root.standing(path)? {
            Standing::Nothing => to_write.push((path, file)),
            Standing::File(found) if found == mark(file) => report.unchanged += 1,
            Standing::File(found) if force || known(path).contains(&found) => to_write.push((path, file)),
            Standing::File(_) => in_the_way.push((path, "was changed or written by somebody else")),
            // Below a file that goes, or in place of a folder that will be empty.
            Standing::Below(above) if before.contains_key(&above) && !files.contains_key(&above) => {
                to_write.push((path, file));
            }
            Standing::Below(_) => in_the_way.push((path, "lies below a file or a symbolic link")),
            Standing::Folder => to_write.push((path, file)),
        }
    }
    for (path, marks) in before.iter().filter(|(path, _)| !files.contains_key(*path)) {
        match root.standing(path)? {
            Standing::File(found) if force || marks.contains(&found) => to_delete.push(path),
            Standing::File(_) => in_the_way.push((path, "was changed, and is to be deleted")),
            Standing::Folder if marks.iter().any(|mark| mark.starts_with(Mode::Submodule.as_str())) => {
                to_delete.push(path);
            }
            Standing::Nothing | Standing::Below(_) | Standing::Folder => {}
        }
    }
    if let Some((path, problem)) = in_the_way.first() {
        return Err(TreeError::InTheWay {
            path: escaped(path),
            problem: (*problem).to_owned(),
            count: in_the_way.len(),
        });
    }
    let mut both = before.clone();
    for (path, file) in files {
        both.entry(path.clone()).or_default().insert(mark(file));
    }
    root.note(both)?;
    for path in to_delete {
        root.delete(path)?;
        report.deleted += 1;
    }
    for (path, file) in to_write {
        root.write(path, file)?;
        report.written += 1;
    }
    let now = files
        .iter()
        .map(|(path, file)| (path.clone(), BTreeSet::from([mark(file)])));
    root.note(now.collect())?;
    Ok(report)
}

/// What tells a file from another: its mode, and its hash.
pub(super) fn mark(file: &File) -> String {
    match file.mode {
        // Only a folder stands there, whatever the commit.
        Mode::Submodule => Mode::Submodule.to_string(),
        mode => format!("{mode} {}", ContentHash::of(&file.bytes)),
    }
}

/// Refuses paths that lead out of a folder, into a repository's own, or through one another.
pub(super) fn check_paths<T>(files: &BTreeMap<Vec<u8>, T>) -> Result<(), TreeError> {
    for path in files.keys() {
        let unsafe_path = |problem: &str| TreeError::Unsafe {
            path: escaped(path),
            problem: problem.to_owned(),
        };
        if path.contains(&0) {
            return Err(unsafe_path("has a NUL"));
        }
        if path.starts_with(b"/") {
            return Err(unsafe_path("is absolute"));
        }
        for name in path.split(|byte| *byte == b'/') {
            match name {
                b"" => return Err(unsafe_path("has an empty name in it")),
                b"." | b".." => return Err(unsafe_path("has . or .. in it")),
                name if name.eq_ignore_ascii_case(b".git") => return Err(unsafe_path("leads into a .git")),
                name if name.len() > 255 => return Err(unsafe_path("has a name of more than 255 bytes")),
                _ => {}
            }
        }
        if path == MANIFEST.as_bytes() || path.starts_with(UNFINISHED.as_bytes()) {
            return Err(unsafe_path("is a name that the checkout uses itself"));
        }
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (slash, _) in slashes {
            if files.contains_key(&path[..slash]) {
                return Err(unsafe_path("lies below a path that is a file itself"));
            }
        }
    }
    Ok(())
}

/// What stands at a path.
enum Standing {
    Nothing,
    /// A file or a symbolic link, or a folder that stands for a submodule, with its [`mark`].
    File(String),
    /// A folder.
    Folder,
    /// This path above it is no folder.
    Below(Vec<u8>),
}

/// The folder that is written into.
struct Root {
    name: String,
    descriptor: OwnedFd,
    /// Git's own folder, if the notes stand there.
    notes: Option<(String, OwnedFd)>,
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a folder, and says what it is called. The caller names it, so it may be a link.
fn open(folder: &Path) -> Result<(String, OwnedFd), TreeError> {
    let name = folder.display().to_string();
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(folder, flags, Permissions::empty());
    let descriptor = descriptor.map_err(|errno| TreeError::io(&name)(errno.into()))?;
    Ok((name, descriptor))
}

impl Root {
    fn open(folder: &Path, work_tree: Option<&WorkTree>) -> Result<Root, TreeError> {
        fs::create_dir_all(folder).map_err(TreeError::io(folder.display()))?;
        let noted_here = fs::symlink_metadata(folder.join(MANIFEST)).is_ok();
        let notes = work_tree.filter(|_| !noted_here).map(|tree| open(&tree.own_folder));
        let (name, descriptor) = open(folder)?;
        Ok(Root {
            name,
            descriptor,
            notes: notes.transpose()?,
        })
    }

    /// Where the notes stand: in which folder, what that is called, and under which name.
    fn notes(&self) -> (&OwnedFd, &str, &'static str) {
        match &self.notes {
            Some((name, descriptor)) => (descriptor, name, MANIFEST_OF_GIT),
            None => (&self.descriptor, &self.name, MANIFEST),
        }
    }

    fn failed(&self, path: &[u8]) -> impl FnOnce(Errno) -> TreeError {
        let path = format!("{}/{}", self.name, escaped(path));
        move |errno| TreeError::io(path)(errno.into())
    }

    /// What an earlier checkout wrote here. Without one the folder must be empty, unless it `may_hold` something.
    fn manifest(&self, may_hold: bool) -> Result<Marks, TreeError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (folder, folder_name, name) = self.notes();
        let path = format!("{folder_name}/{name}");
        let opened = rustix::fs::openat(folder, name, flags, Permissions::empty());
        let file = match opened {
            Ok(file) => file,
            Err(Errno::NOENT) => {
                let mut entries = rustix::fs::Dir::read_from(&self.descriptor).map_err(self.failed(b""))?;
                let other = entries.find(|entry| {
                    let name = entry.as_ref().map(|entry| entry.file_name().to_bytes().to_vec());
                    name.is_ok_and(|name| name != b"." && name != b"..")
                });
                return match other {
                    Some(_) if !may_hold => Err(TreeError::NotEmpty {
                        folder: self.name.clone(),
                    }),
                    _ => Ok(BTreeMap::new()),
                };
            }
            Err(errno) => return Err(TreeError::io(path)(errno.into())),
        };
        let mut bytes = Vec::new();
        fs::File::from(file)
            .read_to_end(&mut bytes)
            .map_err(TreeError::io(&path))?;
        let damaged = |problem: String| TreeError::Manifest {
            path: path.clone(),
            problem,
        };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let files = manifest.files.into_iter().map(|(text, marks)| {
            let path = unescaped(&text).ok_or_else(|| damaged(format!("{text:?} is no path")))?;
            Ok((path, marks))
        });
        let files: Marks = files.collect::<Result<_, TreeError>>()?;
        // It lies where others may have written: it must not lead anywhere else either.
        for path in files.keys() {
            check_paths(&BTreeMap::from([(path.clone(), ())]))?;
        }
        Ok(files)
    }

    fn note(&self, files: Marks) -> Result<(), TreeError> {
        let files = files.into_iter().map(|(path, marks)| (escaped(&path), marks));
        let manifest = Manifest { files: files.collect() };
        let bytes = serde_json::to_vec_pretty(&manifest).expect("text is JSON");
        let (folder, folder_name, name) = self.notes();
        let put = self.put(folder, name.as_bytes(), Mode::Regular, &bytes);
        put.map_err(|errno| TreeError::io(format_args!("{folder_name}/{name}"))(errno.into()))
    }

    /// The folder that a path lies in, and its last name. `Err` is the path above it that is no folder.
    #[expect(clippy::type_complexity, reason = "one caller takes it apart at once")]
    fn folder_of<'p>(
        &self,
        path: &'p [u8],
        make: bool,
    ) -> Result<Result<(OwnedFd, &'p [u8]), Option<Vec<u8>>>, TreeError> {
        let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        let own = rustix::io::fcntl_dupfd_cloexec(&self.descriptor, 0);
        let mut folder = own.map_err(self.failed(b""))?;
        let mut length = 0;
        for part in above.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            length += part.len() + usize::from(length > 0);
            if make {
                match rustix::fs::mkdirat(&folder, part, Permissions::from_bits_truncate(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(self.failed(&path[..length])(errno)),
                }
            }
            folder = match rustix::fs::openat(&folder, part, FOLDER, Permissions::empty()) {
                Ok(folder) => folder,
                Err(Errno::NOENT) => return Ok(Err(None)),
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Err(Some(path[..length].to_vec()))),
                Err(errno) => return Err(self.failed(&path[..length])(errno)),
            };
        }
        Ok(Ok((folder, name)))
    }

    fn standing(&self, path: &[u8]) -> Result<Standing, TreeError> {
        let (folder, name) = match self.folder_of(path, false)? {
            Ok(found) => found,
            Err(None) => return Ok(Standing::Nothing),
            Err(Some(above)) => return Ok(Standing::Below(above)),
        };
        let stat = match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Standing::Nothing),
            Err(errno) => return Err(self.failed(path)(errno)),
        };
        let (mode, bytes) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(Standing::Folder),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&folder, name, Vec::new()).map_err(self.failed(path))?;
                (Mode::Symlink, target.into_bytes())
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&folder, name, flags, Permissions::empty()).map_err(self.failed(path))?;
                let mut bytes = Vec::new();
                let read = fs::File::from(file).read_to_end(&mut bytes);
                read.map_err(TreeError::io(format_args!("{}/{}", self.name, escaped(path))))?;
                let mode = if stat.st_mode & 0o100 > 0 {
                    Mode::Executable
                } else {
                    Mode::Regular
                };
                (mode, bytes)
            }
            _ => return Ok(Standing::File("something else".to_owned())),
        };
        Ok(Standing::File(mark(&File {
            mode,
            bytes: bytes.into(),
        })))
    }

    fn write(&self, path: &[u8], file: &File) -> Result<(), TreeError> {
        let (folder, name) = match self.folder_of(path, true)? {
            Ok(found) => found,
            Err(above) => {
                let above = above.unwrap_or_default();
                return Err(self.failed(&above)(Errno::NOTDIR));
            }
        };
        self.put(&folder, name, file.mode, &file.bytes)
            .map_err(self.failed(path))
    }

    /// Puts a file in place of what stands under a name, at once.
    fn put(&self, folder: &OwnedFd, name: &[u8], mode: Mode, bytes: &[u8]) -> Result<(), Errno> {
        if mode == Mode::Submodule {
            return match rustix::fs::mkdirat(folder, name, Permissions::from_bits_truncate(0o777)) {
                Err(Errno::EXIST) => Ok(()),
                made => made,
            };
        }
        let unfinished = format!("{UNFINISHED}-{}", std::process::id());
        // What a checkout that was killed left behind.
        let _ = rustix::fs::unlinkat(folder, &unfinished, AtFlags::empty());
        if mode == Mode::Symlink {
            rustix::fs::symlinkat(bytes, folder, &unfinished)?;
        } else {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let permissions = if mode == Mode::Executable { 0o777 } else { 0o666 };
            let file = rustix::fs::openat(folder, &unfinished, flags, Permissions::from_bits_truncate(permissions))?;
            let written = fs::File::from(file).write_all(bytes);
            written.map_err(|error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))?;
        }
        // A folder from which everything was deleted gives way; one that holds something does not.
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR);
        rustix::fs::renameat(folder, &unfinished, folder, name)
    }

    /// Deletes what an earlier checkout wrote, and the folders that are empty then.
    fn delete(&self, path: &[u8]) -> Result<(), TreeError> {
        let Ok((folder, name)) = self.folder_of(path, false)? else {
            return Ok(());
        };
        let unlinked = match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            // A submodule; what lies in it is somebody's work.
            Err(Errno::ISDIR | Errno::PERM) => match rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY) => Ok(()),
                removed => removed,
            },
            unlinked => unlinked,
        };
        match unlinked {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.failed(path)(errno)),
        }
        let mut above = path;
        while let Some(slash) = above.iter().rposition(|byte| *byte == b'/') {
            above = &above[..slash];
            let Ok((folder, name)) = self.folder_of(above, false)? else {
                return Ok(());
            };
            if rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
