//! The records of the nodes that run on this host, one file for each. A node writes its record once its door is open
//! and removes it at a clean end; whoever reads the record of a process that is gone removes it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use super::{Door, StateError, create_private};
use crate::wall_time::rfc3339;

/// What is recorded of a running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningNode {
    /// The name of its cluster.
    pub cluster: String,
    /// Its name.
    pub node: String,
    /// Its process.
    pub pid: u32,
    /// When that process started, in the kernel's own units, where the system tells (Linux): tells a node from a later
    /// process with the same number.
    pub pid_start: Option<u64>,
    /// When the record was written, for people: RFC 3339 in UTC.
    pub started_at: String,
    /// Its door.
    pub http: SocketAddr,
    /// Where other nodes connect.
    pub links: SocketAddr,
    /// The folder of its data.
    pub data: PathBuf,
    /// The certificates of the authority by which its door, in TLS, can be trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The file of the token that its door takes from people on this host, if it asks for tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_token: Option<PathBuf>,
}

impl RunningNode {
    /// The record of this process as a node.
    pub fn this_process(cluster: &str, node: &str, http: SocketAddr, links: SocketAddr, data: PathBuf) -> RunningNode {
        let pid = process::id();
        RunningNode {
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            pid,
            pid_start: process_start(pid),
            started_at: rfc3339(SystemTime::now()),
            http,
            links,
            data,
            ca: None,
            admin_token: None,
        }
    }

    /// Its door, as it is reached from this host.
    pub fn door(&self) -> Door {
        let mut address = self.http;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Door::from(address).in_tls(self.ca.is_some())
    }

    fn lives(&self) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return false;
        };
        // A process of another user counts as alive: it exists, we may only not signal it.
        if !matches!(test_kill_process(pid), Ok(()) | Err(Errno::PERM)) {
            return false;
        }
        // Systems without /proc tell no start: there the number alone decides.
        self.pid_start.is_none() || process_start(self.pid) == self.pid_start
    }
}

/// When a live process started, in clock ticks since the boot; `None` for a zombie, and where /proc is missing.
fn process_start(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything; the fields of proc(5) after it are plain.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// What a file among the records is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The record of a node that runs.
    Running(Box<RunningNode>),
    /// That of one whose process is gone.
    Gone(Box<RunningNode>),
    /// None, and why.
    Broken(String),
}

/// The folder of the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    folder: PathBuf,
}

impl Registry {
    /// The registry of this user.
    ///
    /// # Errors
    /// [`StateError::NoHome`].
    pub fn of_user() -> Result<Registry, StateError> {
        let root = super::root().ok_or(StateError::NoHome {
            instead: "name a node with --node",
        })?;
        Ok(Registry::at(root.join("running")))
    }

    /// The registry in `folder`, which need not exist yet.
    pub fn at(folder: PathBuf) -> Registry {
        Registry { folder }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Records a node. The record goes when the returned value is dropped.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn record(&self, node: RunningNode) -> Result<Registration, StateError> {
        let path = self.folder.join(&node.cluster).join(format!("{}.json", node.node));
        let _lock = self.lock()?;
        create_private(path.parent().unwrap_or(&self.folder))?;
        // Readers do not lock, so the file appears whole.
        let own = path.with_extension("tmp");
        let json = serde_json::to_vec_pretty(&node).map_err(io::Error::from);
        json.and_then(|json| fs::write(&own, json))
            .and_then(|()| fs::rename(&own, &path))
            .map_err(|source| StateError::io("cannot write", &path, source))?;
        Ok(Registration {
            registry: self.clone(),
            path,
            node,
        })
    }

    /// The nodes that run, by cluster and name. Records of processes that are gone are removed.
    ///
    /// # Errors
    /// [`StateError::Io`], or [`StateError::BadRecord`] for a file that is no record.
    pub fn running(&self) -> Result<Vec<RunningNode>, StateError> {
        let mut nodes = Vec::new();
        for folder in entries(&self.folder)? {
            for path in entries(&folder)? {
                if path.extension().is_none_or(|extension| extension != "json") {
                    continue;
                }
                match read(&path)? {
                    Some(node) if node.lives() => nodes.push(node),
                    Some(gone) => self.remove(&path, &gone)?,
                    None => {}
                }
            }
        }
        nodes.sort_by(|a, b| (&a.cluster, &a.node).cmp(&(&b.cluster, &b.node)));
        Ok(nodes)
    }

    /// All records, as they are. Nothing is removed.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn look(&self) -> Result<Vec<(PathBuf, Recorded)>, StateError> {
        let mut found = Vec::new();
        for folder in entries(&self.folder)? {
            for path in entries(&folder)? {
                if path.extension().is_none_or(|extension| extension != "json") {
                    continue;
                }
                let recorded = match read(&path) {
                    Ok(Some(node)) if node.lives() => Recorded::Running(Box::new(node)),
                    Ok(Some(node)) => Recorded::Gone(Box::new(node)),
                    Ok(None) => continue,
                    Err(StateError::BadRecord { source, .. }) => Recorded::Broken(source.to_string()),
                    Err(error) => return Err(error),
                };
                found.push((path, recorded));
            }
        }
        Ok(found)
    }

    /// The first node of the one cluster that runs.
    ///
    /// # Errors
    /// [`StateError::NothingRunning`], [`StateError::SeveralClusters`], and those of [`Registry::running`].
    pub fn find(&self) -> Result<RunningNode, StateError> {
        let mut clusters = self.running()?;
        clusters.dedup_by(|later, first| later.cluster == first.cluster);
        match clusters.as_slice() {
            [] => Err(StateError::NothingRunning),
            [node] => Ok(node.clone()),
            _ => Err(StateError::SeveralClusters {
                clusters: clusters
                    .into_iter()
                    .map(|node| (node.cluster.clone(), node.door()))
                    .collect(),
            }),
        }
    }

    /// The node of this host that has this door, if one is recorded.
    ///
    /// # Errors
    /// Those of [`Registry::running`].
    pub fn with_door(&self, door: &Door) -> Result<Option<RunningNode>, StateError> {
        Ok(self.running()?.into_iter().find(|node| node.door().is_at(door)))
    }

    /// Removes a record, unless another node has taken its place meanwhile.
    fn remove(&self, path: &Path, node: &RunningNode) -> Result<(), StateError> {
        let _lock = self.lock()?;
        if read(path)?.as_ref() == Some(node) {
            fs::remove_file(path).map_err(|source| StateError::io("cannot remove", path, source))?;
        }
        Ok(())
    }

    /// Held while a record is written or removed, so that nobody removes what was just written.
    fn lock(&self) -> Result<File, StateError> {
        create_private(&self.folder)?;
        let path = self.folder.join(".lock");
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        opened
            .and_then(|file| {
                flock(&file, FlockOperation::LockExclusive)
                    .map(|()| file)
                    .map_err(io::Error::from)
            })
            .map_err(|source| StateError::io("cannot lock", &path, source))
    }
}

/// The record of a node of this process; dropping it removes the record.
#[derive(Debug)]
pub struct Registration {
    registry: Registry,
    path: PathBuf,
    node: RunningNode,
}

impl Registration {
    /// What is recorded.
    pub fn node(&self) -> &RunningNode {
        &self.node
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // A record that stays is harmless: it names a process that is gone.
        let _ = self.registry.remove(&self.path, &self.node);
    }
}

fn read(path: &Path) -> Result<Option<RunningNode>, StateError> {
    match fs::read(path) {
        Ok(json) => serde_json::from_slice(&json)
            .map(Some)
            .map_err(|source| StateError::BadRecord {
                path: path.to_path_buf(),
                source,
            }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StateError::io("cannot read", path, error)),
    }
}

/// What lies in a folder, sorted; nothing if there is no folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, StateError> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = match listed {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        listed => listed.map_err(|source| StateError::io("cannot list", folder, source))?,
    };
    paths.sort();
    Ok(paths)
}
