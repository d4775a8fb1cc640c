//! A new cluster from a backup: the data folder of its first node. Offline, like a recovery (see `recover`), whose beginning
//! it shares.
//!
//! ```text
//! <node>.restoring/   what is being made; what an interrupted run left of it is removed by the next
//! <node>/             the data folder: not there before, or empty; in place as the last step
//! ```

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use queenright_protocol::colony::{TooManyRecoveries, first_number};
use queenright_protocol::id::{ClusterId, NodeId};

use super::Backup;
use crate::consensus::salvage::{self, Salvaged};
use crate::consensus::{ConsensusError, Library};
use crate::founding::{FoundingError, begin_alone};
use crate::store::{DataFolder, StoreError, sync_folder};

const WORK: &str = ".restoring";

/// Where a backup goes.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The data folder of the first node: nothing may be in it.
    pub folder: PathBuf,
    /// The name of that node.
    pub name: String,
    /// The names of all nodes, in the order of the cluster file.
    pub nodes: Vec<String>,
}

/// Why a backup was not restored. Nothing is there then that was not before.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is a node already.
    #[error("{} holds something: restore where nothing is", folder.display())]
    NotEmpty {
        /// The data folder.
        folder: PathBuf,
    },
    /// The data folder or the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The names and numbers of the members.
    #[error(transparent)]
    Members(#[from] FoundingError),
    /// The log or the state.
    #[error(transparent)]
    State(#[from] ConsensusError),
    /// It was done too often.
    #[error(transparent)]
    TooMany(#[from] TooManyRecoveries),
    /// The operating system refused something.
    #[error("{}: {source}", path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The new cluster.
    pub cluster: ClusterId,
    /// The number of its first node.
    pub number: NodeId,
    /// Its positions are greater than this.
    pub seq: u64,
}

/// Makes a node the only voter of a new cluster that begins with the state of a backup. On disk when this returns.
///
/// # Errors
/// [`RestoreError`].
///
/// # Panics
/// When the names do not have that of the node among them.
pub async fn restore(backup: Backup, options: &RestoreOptions) -> Result<Restored, RestoreError> {
    let RestoreOptions { folder, name, nodes } = options;
    let me = nodes.iter().position(|node| node == name);
    let me = me.expect("the caller has found the node in its cluster file");
    if !is_empty(folder)? {
        let folder = folder.clone();
        return Err(RestoreError::NotEmpty { folder });
    }
    let work = Work::begin(folder, name)?;
    let made = DataFolder::open(&work.path, name)?;
    let cluster = ClusterId(rand::random());
    let Backup { head, mut colony, .. } = backup;
    colony.begin_anew(head.cluster_id, cluster, head.certain)?;
    let (seq, number) = (colony.seq(), first_number(me, colony.past().len()));
    let salvaged = Salvaged::of_backup(colony.clone(), head.entry, head.certain);
    {
        let path = made.snapshot_path();
        let library = Arc::new(Library::open(&path, made.path()).map_err(io_error(&path))?);
        salvage::write(&salvaged, colony, number, &made.log_path(), &library).await?;
    }
    begin_alone(&made, nodes, me, number, cluster)?;
    work.put_in_place(folder)?;
    drop(made);
    Ok(Restored { cluster, number, seq })
}

/// Whether nothing is there, or a folder with nothing in it.
fn is_empty(folder: &Path) -> Result<bool, RestoreError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(io_error(folder)(error)),
    }
}

/// The folder in the making. Removed when dropped, unless it has its place.
struct Work {
    path: PathBuf,
}

impl Work {
    fn begin(folder: &Path, name: &str) -> Result<Work, RestoreError> {
        let mut beside = folder.file_name().map(OsString::from).unwrap_or_default();
        // No node has a name with a dot in it.
        beside.push(WORK);
        let path = folder.with_file_name(beside);
        if path.is_dir() {
            // Of a run that was interrupted, unless that one still has it.
            let held = DataFolder::hold(&path, name)?;
            fs::remove_dir_all(&path).map_err(io_error(&path))?;
            drop(held);
        }
        Ok(Work { path })
    }

    fn put_in_place(self, folder: &Path) -> Result<(), RestoreError> {
        sync_folder(&self.path).map_err(io_error(&self.path))?;
        // An empty folder gives way; one that holds something by now does not.
        fs::rename(&self.path, folder).map_err(io_error(folder))?;
        let parent = folder.parent().unwrap_or(Path::new("."));
        sync_folder(parent).map_err(io_error(parent))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> RestoreError {
    move |source| RestoreError::Io {
        path: path.to_owned(),
        source,
    }
}
