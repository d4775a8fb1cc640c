//! A cluster whose majority is lost for good goes on from what one node has, as a new cluster of which that node is the
//! only voter. Offline: nothing runs while this works, and no other node is asked.
//!
//! Everything is made in a copy beside the data folder, which takes the folder's place as the last step:
//!
//! ```text
//! <node>/                           the data folder; locked, and otherwise left alone until the end
//! <node>.recovering/                the copy; what an interrupted run left of it is removed by the next
//! <node>.before-recovery-<seconds>  what the data folder was, once the copy has its place
//! ```
//! | promise | by |
//! |---|---|
//! | Nothing is lost by trying | the data folder is only read |
//! | Interrupted anywhere, it can be done again | the copy changes places with the data folder in one step, or in two where the file system has no such step |
//! | What was there before stays | it is renamed, never removed |
//! | Nothing of the lost majority is taken for something of the new cluster | a new cluster id, node numbers that were never used, and positions that jump: see `queenright_protocol::colony::SEQ_JUMP` |
//! | A node of the old cluster is not let in | its hello has another cluster id, and it ends when it learns that its own was recovered without it: see `founding` |
//! | Entries that may have been acknowledged are taken | see `consensus::salvage`, which says why |

mod folders;

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use queenright_protocol::colony::{ImageError, TooManyRecoveries, first_number, place_of};
use queenright_protocol::id::{ClusterId, NodeId};

use self::folders::{Work, io_error, put_in_place};
use crate::backup::{Head, Source};
use crate::consensus::salvage::{self, Salvaged};
use crate::consensus::{ConsensusError, Library, LogOptions, LogStore};
use crate::founding::{FoundingError, begin_alone, stored_members};
use crate::node::noted_difference;
use crate::replica::{Replica, RestoreError};
use crate::store::{DataFolder, Identity, Store, StoreError, StoreOptions};

/// What is recovered.
#[derive(Clone, Debug)]
pub struct RecoverOptions {
    /// The data folder of the node.
    pub folder: PathBuf,
    /// The name of the node.
    pub name: String,
    /// The names of all nodes, in the order of the cluster file.
    pub nodes: Vec<String>,
}

/// Why a cluster was not recovered. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// There is no such folder.
    #[error("{} is no folder{}", folder.display(), aside_of(aside))]
    NoFolder {
        /// Where the data of the node would be.
        folder: PathBuf,
        /// What an earlier run has set aside and not replaced.
        aside: Option<PathBuf>,
    },
    /// The node never belonged to a cluster.
    #[error("{}: node {name} has never belonged to a cluster", folder.display())]
    NotAMember {
        /// Its data folder.
        folder: PathBuf,
        /// Its name.
        name: String,
    },
    /// The cluster file does not describe the cluster that the node belonged to.
    #[error("the cluster file lists the nodes {ours}, the node belonged to a cluster of {theirs}")]
    OtherNodes {
        /// The names in the cluster file.
        ours: String,
        /// The names that the node knows.
        theirs: String,
    },
    /// A majority has found the state of this node to be wrong. Recover from another one.
    #[error("the state of node {name} must not be taken: {reason}; recover from another node")]
    Contradicted {
        /// Its name.
        name: String,
        /// What was found.
        reason: String,
    },
    /// This build does not know the rules that its state follows: start the recovery with another build.
    #[error("{}: nothing was changed", folder.display())]
    OtherRules {
        /// The folder that was read.
        folder: PathBuf,
        /// Which rules.
        source: ImageError,
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

fn aside_of(aside: &Option<PathBuf>) -> String {
    let told = |aside: &PathBuf| format!("; an earlier run has moved it to {}: rename it back", aside.display());
    aside.as_ref().map(told).unwrap_or_default()
}

/// What the node has, and what would come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// Its number there.
    pub number: NodeId,
    /// The number that it would have.
    pub next_number: NodeId,
    /// The index and the term of the last log entry that it has.
    pub entry: (u64, u64),
    /// The last log entry that it knows to be committed.
    pub committed: u64,
    /// The leader's wall clock at the last entry, in milliseconds since 1970; 0 before the first command.
    pub wall_ms: u64,
    /// The position of the last command that it has.
    pub seq: u64,
    /// The position of the last command that it knows to be committed.
    pub certain: u64,
    /// How often the cluster was recovered before.
    pub recoveries: usize,
    /// What of the log is not there, if it is damaged.
    pub log_damage: Option<String>,
    /// What else could not be read.
    pub damage: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The new cluster.
    pub cluster: ClusterId,
    /// The number of the node there.
    pub number: NodeId,
    /// Positions of the new cluster are greater than this.
    pub seq: u64,
    /// Where that is what the data folder was.
    pub set_aside: PathBuf,
}

/// A node whose state was read. Dropped, it leaves everything as it was.
pub struct Survivor {
    options: RecoverOptions,
    me: usize,
    salvaged: Salvaged,
    findings: Findings,
    copy: DataFolder,
    work: Work,
    /// Of the data folder: no node starts meanwhile.
    _lock: File,
}

impl Survivor {
    /// Copies the data folder and reads the state of the node from the copy. Takes time with its size.
    ///
    /// # Errors
    /// [`RecoverError`], such as a node that runs: `StoreError::InUse` names it.
    ///
    /// # Panics
    /// When the names do not have that of the node among them.
    pub async fn read(options: RecoverOptions) -> Result<Survivor, RecoverError> {
        let RecoverOptions { folder, name, nodes } = &options;
        let me = nodes.iter().position(|node| node == name);
        let me = me.expect("the caller has found the node in its cluster file");
        if !folder.is_dir() {
            let (folder, aside) = (folder.clone(), folders::aside_of(folder));
            return Err(RecoverError::NoFolder { folder, aside });
        }
        let lock = DataFolder::hold(folder, name)?;
        let work = Work::copy(folder).map_err(io_error(folder))?;
        let copy = DataFolder::open(work.path(), name)?;
        let identity = identity_of(&copy, &options)?;
        if let Some(reason) = noted_difference(&copy)? {
            let name = name.clone();
            return Err(RecoverError::Contradicted { name, reason });
        }
        let mut damage = Vec::new();
        let salvaged = salvage_from(&copy, identity.number, &mut damage).await?;
        let recoveries = salvaged.colony.past().len();
        let (seq, entry) = (salvaged.colony.seq(), salvaged.last());
        let findings = Findings {
            cluster: identity.cluster,
            number: identity.number,
            next_number: first_number(place_of(identity.number), recoveries + 1),
            entry,
            committed: salvaged.committed,
            wall_ms: salvaged.colony.wall_ms(),
            seq,
            certain: salvaged.certain,
            recoveries,
            // It speaks of the copy.
            log_damage: salvaged
                .log_damage
                .as_ref()
                .map(|reason| work.of_original(reason, folder)),
            damage,
        };
        Ok(Survivor {
            options,
            me,
            salvaged,
            findings,
            copy,
            work,
            _lock: lock,
        })
    }

    /// What was found.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// What the node has, as a backup: all that a recovery from it would take.
    pub fn backup(&self, cluster: &str, taken_ms: u64) -> Source {
        let colony = self.salvaged.colony.clone();
        let head = Head {
            certain: self.findings.certain,
            ..Head::of(&colony, self.findings.entry, taken_ms)
        };
        let head = Head {
            cluster: cluster.to_owned(),
            cluster_id: self.findings.cluster,
            node: self.options.name.clone(),
            number: self.findings.number,
            ..head
        };
        Source::new(head, colony)
    }

    /// Makes the node the only voter of a new cluster. On disk when this returns.
    ///
    /// # Errors
    /// [`RecoverError`]; the data folder is as it was, unless the last step could not be finished: then the error names
    /// both folders.
    pub async fn carry_out(self) -> Result<Recovered, RecoverError> {
        let cluster = ClusterId(rand::random());
        let mut colony = self.salvaged.colony.clone();
        colony.recover(self.findings.cluster, cluster, self.findings.certain)?;
        let seq = colony.seq();
        // Nothing of the old folder but who the node is: an older snapshot would bring the old cluster back.
        for old in [self.copy.log_path(), self.copy.snapshot_path(), self.copy.store_path()] {
            fs::remove_dir_all(&old)
                .and_then(|()| fs::create_dir(&old))
                .map_err(io_error(&old))?;
        }
        let library = open_library(&self.copy)?;
        let log = self.copy.log_path();
        salvage::write(&self.salvaged, colony, self.findings.next_number, &log, &library).await?;
        drop(library);
        let number = self.findings.next_number;
        begin_alone(&self.copy, &self.options.nodes, self.me, number, cluster)?;
        let set_aside = put_in_place(self.work, &self.options.folder)?;
        Ok(Recovered {
            cluster,
            number,
            seq,
            set_aside,
        })
    }
}

fn identity_of(copy: &DataFolder, options: &RecoverOptions) -> Result<Identity, RecoverError> {
    let RecoverOptions { folder, name, nodes } = options;
    let (Some(identity), Some(members)) = (copy.identity(), stored_members(copy)?) else {
        let (folder, name) = (folder.clone(), name.clone());
        return Err(RecoverError::NotAMember { folder, name });
    };
    let theirs: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    // Nodes may have joined that the file does not list, or gone that it still does.
    let listed = |name: &&str| nodes.iter().any(|node| node == name);
    let all_listed = theirs.iter().all(listed);
    if !theirs.contains(&name.as_str()) || !(all_listed || nodes.iter().all(|node| theirs.contains(&node.as_str()))) {
        let (ours, theirs) = (nodes.join(", "), theirs.join(", "));
        return Err(RecoverError::OtherNodes { ours, theirs });
    }
    Ok(identity)
}

fn open_library(copy: &DataFolder) -> Result<Arc<Library>, RecoverError> {
    let path = copy.snapshot_path();
    let library = Library::open(&path, copy.path()).map_err(io_error(&path))?;
    Ok(Arc::new(library))
}

/// Reads what the copy of a data folder holds; `damage` is told what could not be read besides the log.
async fn salvage_from(copy: &DataFolder, me: NodeId, damage: &mut Vec<String>) -> Result<Salvaged, RecoverError> {
    let log = LogStore::open(&copy.log_path(), &LogOptions::default());
    let library = open_library(copy)?;
    let (store, contents) = Store::open(copy, &StoreOptions::default())?;
    if contents.set_aside.is_some() {
        damage.push("the store".to_owned());
    }
    let restored = contents.meta.map(|meta| Replica::restore(me, &meta, contents.records));
    let replica = match restored {
        None | Some(Err(RestoreError::Unfinished)) => Replica::new(me),
        Some(Ok(replica)) => replica,
        Some(Err(RestoreError::Image(source @ ImageError::UnknownRules { .. }))) => {
            let folder = copy.path().to_owned();
            return Err(RecoverError::OtherRules { folder, source });
        }
        Some(Err(error)) => {
            damage.push(format!("the store: {error}"));
            Replica::new(me)
        }
    };
    store.close().await?;
    let salvaged = salvage::read(log, &library, &replica).await?;
    damage.extend(library.set_aside().iter().map(|_| "a snapshot".to_owned()));
    Ok(salvaged)
}
