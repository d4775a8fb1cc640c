//! Reads the files of a folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{File, MANIFEST, TreeError};
use crate::git::Mode;

/// The files and symbolic links below a folder, by path; not what lies in a `.git`, nor the notes of a checkout.
///
/// # Errors
/// [`TreeError::Io`], or [`TreeError::Unsafe`] for what is neither a file nor a folder nor a link.
pub fn read_folder(folder: &Path) -> Result<BTreeMap<Vec<u8>, File>, TreeError> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(folder.to_owned(), Vec::new())];
    while let Some((folder, above)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(TreeError::io(folder.display()))? {
            let entry = entry.map_err(TreeError::io(folder.display()))?;
            let (name, place) = (entry.file_name(), entry.path());
            let mut path: Vec<u8> = above.clone();
            path.extend(name.as_bytes());
            if name.as_bytes().eq_ignore_ascii_case(b".git") || path == MANIFEST.as_bytes() {
                continue;
            }
            let metadata = entry.metadata().map_err(TreeError::io(place.display()))?;
            let kind = metadata.file_type();
            if kind.is_dir() {
                path.push(b'/');
                folders.push((place, path));
                continue;
            }
            let (mode, bytes) = if kind.is_symlink() {
                let target = fs::read_link(&place).map_err(TreeError::io(place.display()))?;
                (Mode::Symlink, target.as_os_str().as_bytes().to_vec())
            } else if kind.is_file() {
                let mode = match metadata.permissions().mode() & 0o100 {
                    0 => Mode::Regular,
                    _ => Mode::Executable,
                };
                (mode, fs::read(&place).map_err(TreeError::io(place.display()))?)
            } else {
                return Err(TreeError::Unsafe {
                    path: place.display().to_string(),
                    problem: "is neither a file nor a folder nor a link".to_owned(),
                });
            };
            let file = File {
                mode,
                bytes: bytes.into(),
            };
            files.insert(path, file);
        }
    }
    Ok(files)
}
