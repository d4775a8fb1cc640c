//! Snapshots: the whole state as of one position of the log, so that the log before it can go.
//!
//! Below `snapshot/` in the data folder:
//!
//! ```text
//! s-<index>-<id>.snapshot    a snapshot; index in 20 decimal digits, id in 32 hexadecimal ones
//! <id>-<drawn>.part          one in the making, or on its way from a peer; removed at the next start
//! ```
//! A snapshot is a head and blocks of 64 KiB:
//!
//! ```text
//! byte   0   envelope of 12 B, record `Snapshot` (see `store::record`), around
//!       12     id 16 B · term u64 · index u64 · length of the image u64
//!       52   block 0, 1 …: crc32 u32 · up to 65,532 B of the image, all but the last one full
//! ```
//! Integers are big-endian. A block's checksum (CRC-32 as in `store::record`) covers the snapshot's id, the block's number
//! (u64) and its payload, so a block of another snapshot, or in another place, does not pass either. The image is
//!
//! ```text
//! length u64 · bincode of the last log id and the members as of then
//! length u64 · bincode of the colony's `Meta`, with its digest
//! the colony's pairs in their order: length of the key u32 · length of the value u32 · key · value
//! ```
//! | promise | by |
//! |---|---|
//! | A snapshot under its name is whole and on disk | written beside, synced, read back and checked, renamed, the folder synced |
//! | A changed bit is found before it is used | a checksum over everything, at each reading and on each way |
//! | Building one holds nobody up | it is written from an O(1) clone, on a thread that may block, and synced piece by piece |
//! | The log goes only behind a snapshot that was read back | `compaction` |
//!
//! The newest [`KEPT_MAX`] are kept: if one is damaged, the one before it and the log are left.
//!
//! | file | what |
//! |---|---|
//! | `file` | blocks and their checksums |
//! | `image` | what the blocks hold |
//! | `compaction` | when a snapshot is built and the log is cut |
//! | `transfer` | a snapshot on its way from a peer, block by block |
//! | `serve` | the other end of that way |

pub(super) mod compaction;
mod file;
mod image;
pub(super) mod serve;
#[cfg(test)]
mod tests;
pub(super) mod transfer;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::type_config::alias::SnapshotMetaOf;
use queenright_protocol::colony::Colony;

use self::file::{Head, Writer};
pub(crate) use self::file::{SnapshotError, SnapshotId};
use super::types::TypeConfig;
use crate::store::{damaged, sync_folder};

/// How many snapshots are kept.
const KEPT_MAX: usize = 2;

const PREFIX: &str = "s-";
const SUFFIX: &str = ".snapshot";
const PART_SUFFIX: &str = ".part";

type Meta = SnapshotMetaOf<TypeConfig>;

/// A snapshot that was found whole when it was opened, built or received. Its bytes stay readable while somebody holds
/// it, also when its name is gone.
pub(crate) struct Snapshot {
    file: File,
    head: Head,
    meta: Meta,
    // A mutex: the path changes once, when a received snapshot is kept.
    path: Mutex<PathBuf>,
    /// What a receiver has read of it already. A mutex: taken once, by whoever installs it.
    colony: Mutex<Option<Colony>>,
}

impl Snapshot {
    /// The position of the state, and the members as of then.
    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The index of the last log entry that it holds.
    pub(crate) fn index(&self) -> u64 {
        self.head.index
    }

    /// Its size, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.head.file_bytes()
    }

    /// Reads the state, if nobody has yet. Blocks for as long as that takes.
    pub(crate) fn read(&self) -> Result<Colony, SnapshotError> {
        let read = self.colony.lock().expect("nothing panics under this lock").take();
        match read {
            Some(colony) => Ok(colony),
            None => image::read_colony(&self.file, self.head),
        }
    }

    /// Sets it aside, damaged as it turned out to be.
    pub(crate) fn discard(&self, library: &Library, reason: &str) -> io::Result<()> {
        library.discard(self.head.id, reason)
    }

    /// Reads the state for whoever will install it.
    fn read_ahead(&self) -> Result<(), SnapshotError> {
        let colony = image::read_colony(&self.file, self.head)?;
        *self.colony.lock().expect("nothing panics under this lock") = Some(colony);
        Ok(())
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let path = self.path.get_mut().expect("nothing panics under this lock");
        if path.as_os_str().as_encoded_bytes().ends_with(PART_SUFFIX.as_bytes()) {
            // It was received or built and then not kept. What stays is removed at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Snapshot").field(&self.head).finish()
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at entry {}, {} B", self.head.id, self.head.index, self.bytes())
    }
}

/// The snapshots of a node.
pub(crate) struct Library {
    folder: PathBuf,
    data: PathBuf,
    // A mutex: asked by the state machine, by transfers and by the compaction, from tasks of their own. Held for a look-up
    // and for renames, never while a snapshot is read or written.
    shelf: Mutex<Shelf>,
    /// Held by who gives a snapshot its name and removes the oldest: as long as the disk takes, unlike that of the shelf.
    naming: Mutex<()>,
}

#[derive(Default)]
struct Shelf {
    /// By position, the newest last.
    kept: Vec<Arc<Snapshot>>,
    /// Where damaged ones went since the start.
    set_aside: Vec<PathBuf>,
}

impl Library {
    /// Opens the folder of snapshots in a data folder, removes what was in the making, and sets aside what is damaged, until a whole one is
    /// found. Reads all of that one: call it on a thread that may block.
    ///
    /// # Errors
    /// When the operating system refuses. Damage is no error.
    pub(crate) fn open(folder: &Path, data: &Path) -> io::Result<Library> {
        let library = Library {
            folder: folder.to_owned(),
            data: data.to_owned(),
            shelf: Mutex::new(Shelf::default()),
            naming: Mutex::new(()),
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&library.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(PART_SUFFIX) {
                std::fs::remove_file(&path)?;
            } else if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
                paths.push(path);
            }
        }
        // Names sort by position; the newest first.
        paths.sort();
        let mut found = Vec::new();
        for path in paths.into_iter().rev() {
            if found.len() == KEPT_MAX {
                std::fs::remove_file(&path)?;
                continue;
            }
            // Of those behind the newest whole one the head is enough for now: every reading checks again.
            match open(&path, found.is_empty()) {
                Ok(snapshot) => found.push(Arc::new(snapshot)),
                Err(SnapshotError::Io(error)) => return Err(error),
                Err(SnapshotError::Damaged(reason)) => library.move_aside(&path, &reason)?,
                Err(SnapshotError::OtherBuild(reason)) => return Err(io::Error::other(reason)),
            }
        }
        found.reverse();
        library.shelf().kept = found;
        Ok(library)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().expect("nothing panics under this lock")
    }

    /// The newest snapshot.
    pub(crate) fn newest(&self) -> Option<Arc<Snapshot>> {
        self.shelf().kept.last().cloned()
    }

    /// The newest snapshot of a state at `index` or before it.
    pub(crate) fn newest_at(&self, index: u64) -> Option<Arc<Snapshot>> {
        let shelf = self.shelf();
        shelf.kept.iter().rev().find(|kept| kept.index() <= index).cloned()
    }

    fn find(&self, id: SnapshotId) -> Option<Arc<Snapshot>> {
        self.shelf().kept.iter().find(|kept| kept.head.id == id).cloned()
    }

    /// Where damaged snapshots went since the start.
    pub(crate) fn set_aside(&self) -> Vec<PathBuf> {
        self.shelf().set_aside.clone()
    }

    /// Writes a snapshot of a state, reads it back, and keeps it. Blocks for as long as that takes.
    ///
    /// # Errors
    /// When it cannot be written, or not be read back. Nothing is left of it then.
    pub(crate) fn build(&self, colony: &Colony, meta: &Meta) -> Result<Arc<Snapshot>, SnapshotError> {
        let id = SnapshotId(rand::random());
        let part = self.part(id);
        self.build_at(&part, id, colony, meta).inspect_err(|_| {
            // It is removed at the next start if it cannot be now.
            let _ = std::fs::remove_file(&part);
        })
    }

    fn build_at(
        &self,
        part: &Path,
        id: SnapshotId,
        colony: &Colony,
        meta: &Meta,
    ) -> Result<Arc<Snapshot>, SnapshotError> {
        let (term, index) = meta.last_log_id.map_or((0, 0), |id| (id.leader_id.term, id.index));
        let writer = Writer::new(file::create(part)?, id, term, index);
        let (file, _) = image::write(writer, meta, colony)?;
        drop(file);
        let snapshot = Arc::new(open(part, true)?);
        self.keep(&snapshot)?;
        Ok(snapshot)
    }

    /// Where a snapshot is made; never the same place twice.
    fn part(&self, id: SnapshotId) -> PathBuf {
        let drawn: u32 = rand::random();
        self.folder.join(format!("{}-{drawn:08x}{PART_SUFFIX}", hex(id)))
    }

    /// Gives a snapshot its name, if it has none yet, and removes the oldest beyond [`KEPT_MAX`]. On disk when this
    /// returns.
    pub(crate) fn keep(&self, snapshot: &Arc<Snapshot>) -> io::Result<()> {
        let Head { id, index, .. } = snapshot.head;
        let path = self.folder.join(format!("{PREFIX}{index:020}-{}{SUFFIX}", hex(id)));
        // The disk may take its time, and so may this thread: others ask for the newest snapshot meanwhile.
        let _naming = self.naming.lock().expect("nothing panics under this lock");
        if self.find(id).is_some() {
            return Ok(());
        }
        {
            let mut current = snapshot.path.lock().expect("nothing panics under this lock");
            std::fs::rename(&*current, &path)?;
            *current = path;
        }
        sync_folder(&self.folder)?;
        let oldest: Vec<Arc<Snapshot>> = {
            let mut shelf = self.shelf();
            let place = shelf.kept.partition_point(|kept| kept.index() <= index);
            shelf.kept.insert(place, snapshot.clone());
            let beyond = shelf.kept.len().saturating_sub(KEPT_MAX);
            shelf.kept.drain(..beyond).collect()
        };
        for oldest in oldest {
            // Its bytes stay readable for a transfer under way.
            std::fs::remove_file(&*oldest.path.lock().expect("nothing panics under this lock"))?;
        }
        Ok(())
    }

    /// Sets a snapshot aside that turned out to be damaged.
    ///
    /// # Errors
    /// When the operating system refuses. It is not used any more in either case.
    fn discard(&self, id: SnapshotId, reason: &str) -> io::Result<()> {
        let found = {
            let mut shelf = self.shelf();
            let place = shelf.kept.iter().position(|kept| kept.head.id == id);
            place.map(|place| shelf.kept.remove(place))
        };
        match found {
            Some(found) => {
                let path = found.path.lock().expect("nothing panics under this lock").clone();
                self.move_aside(&path, reason)
            }
            None => Ok(()),
        }
    }

    /// Sets all snapshots aside: they hold a state that must not be used.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn discard_all(&self, reason: &str) -> io::Result<()> {
        while let Some(newest) = self.newest() {
            newest.discard(self, reason)?;
        }
        Ok(())
    }

    fn move_aside(&self, path: &Path, reason: &str) -> io::Result<()> {
        let aside = damaged::set_aside(&self.data, path, reason)?;
        tracing::warn!(aside = %aside.display(), %reason, "a snapshot is damaged and was set aside");
        self.shelf().set_aside.push(aside);
        Ok(())
    }
}

fn open(path: &Path, verified: bool) -> Result<Snapshot, SnapshotError> {
    let file = File::open(path)?;
    let head = Head::read(&file)?;
    if verified {
        head.verify(&file)?;
    }
    let meta = image::read_meta(&file, head)?;
    Ok(Snapshot {
        file,
        head,
        meta,
        path: Mutex::new(path.to_owned()),
        colony: Mutex::new(None),
    })
}

fn hex(id: SnapshotId) -> String {
    id.0.iter().map(|byte| format!("{byte:02x}")).collect()
}
