//! What cannot be read is set aside, not removed: somebody may want to look into it.
//!
//! ```text
//! damaged-<seconds>-<n>/   in the data folder: the file or folder under its name, with the time of that start
//!     note.txt             what it is and what is wrong with it
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::folder::sync_folder;

/// How many folders of damage are kept, the newest: enough to look into, too few to fill the disk.
pub const DAMAGED_MAX: usize = 3;

const PREFIX: &str = "damaged-";

/// Moves `what`, a file or folder on the file system of the data folder `data`, into a new folder of damage with a note
/// of the reason, and removes the oldest ones beyond [`DAMAGED_MAX`]. On disk when this returns.
///
/// # Errors
/// When the operating system refuses; `what` may have been moved or not.
pub fn set_aside(data: &Path, what: &Path, reason: &str) -> io::Result<PathBuf> {
    let before = folders(data)?;
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let same = before.iter().filter(|(at, ..)| *at == seconds);
    let number = same.map(|(_, number, _)| number + 1).max().unwrap_or(0);
    let aside = data.join(format!("{PREFIX}{seconds}-{number}"));
    std::fs::create_dir(&aside)?;
    let name = what.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let note = format!("{}\n{reason}\n", what.display());
    std::fs::write(aside.join("note.txt"), note)?;
    std::fs::rename(what, aside.join(name))?;
    sync_folder(&aside)?;
    sync_folder(data)?;
    if let Some(parent) = what.parent() {
        sync_folder(parent)?;
    }
    let surplus = (before.len() + 1).saturating_sub(DAMAGED_MAX);
    for (_, _, path) in &before[..surplus] {
        std::fs::remove_dir_all(path)?;
    }
    Ok(aside)
}

/// The folders of damage, the oldest first.
fn folders(data: &Path) -> io::Result<Vec<(u64, u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if let Some((seconds, number)) = numbers(&path) {
            found.push((seconds, number, path));
        }
    }
    found.sort();
    Ok(found)
}

fn numbers(path: &Path) -> Option<(u64, u64)> {
    let (seconds, number) = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
    Some((seconds.parse().ok()?, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_stands_with_its_note_and_only_the_newest_are_kept() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("thing");
        let mut asides = Vec::new();
        for round in 0..DAMAGED_MAX + 2 {
            std::fs::write(&file, round.to_string()).unwrap();
            asides.push(set_aside(data.path(), &file, "it is broken").unwrap());
            assert!(!file.exists());
        }
        let kept: Vec<bool> = asides.iter().map(|aside| aside.exists()).collect();
        assert_eq!(kept, [false, false, true, true, true]);
        let last = asides.last().unwrap();
        assert_eq!(std::fs::read(last.join("thing")).unwrap(), b"4");
        let note = std::fs::read_to_string(last.join("note.txt")).unwrap();
        assert!(note.contains("thing") && note.contains("it is broken"), "{note}");
    }
}
