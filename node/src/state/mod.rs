//! Where state lies on this host, and how a command finds a running node.
//!
//! ```text
//! <root>                              $XDG_STATE_HOME/queenright, else ~/.local/state/queenright
//! ├── clusters/<cluster>/             replaced by DIR when a command is given --data DIR
//! │   ├── admin-token                 with which a person on this host begins, if the doors ask for tokens
//! │   ├── cookie                      what the nodes of the cluster prove to each other that they know
//! │   ├── logs/<node>.log             what the node says
//! │   └── <node>/                     the data of the node
//! └── running/<cluster>/<node>.json   one record for each node whose door is open
//! ```
//! Nothing ever lies in the current folder. Folders are made for their owner alone.

mod admin_token;
mod cookie;
mod door;
mod error;
mod registry;
#[cfg(test)]
mod tests;

use std::env;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub use admin_token::AdminToken;
pub use cookie::Cookie;
pub use door::Door;
pub use error::StateError;
pub use registry::{Recorded, Registration, Registry, RunningNode};

/// Where the state of one cluster lies, and where its running nodes are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFolders {
    /// The folder of the cluster.
    pub cluster: ClusterFolder,
    /// The records of the running nodes of this host.
    pub registry: Registry,
}

impl StateFolders {
    /// The folders of `cluster` for this user. With `data` that folder holds the cluster, and the records too if the
    /// user has no home. Nothing is created yet.
    ///
    /// # Errors
    /// [`StateError::NoHome`] if there is neither a home nor `data`.
    pub fn find(cluster: &str, data: Option<&Path>) -> Result<StateFolders, StateError> {
        StateFolders::of(root(), cluster, data)
    }

    fn of(root: Option<PathBuf>, cluster: &str, data: Option<&Path>) -> Result<StateFolders, StateError> {
        let data = data.map(absolute).transpose()?;
        match (root, data) {
            (None, None) => Err(StateError::NoHome {
                instead: "name a folder with --data DIR",
            }),
            (root, Some(data)) => Ok(StateFolders {
                registry: Registry::at(root.as_ref().unwrap_or(&data).join("running")),
                cluster: ClusterFolder { path: data },
            }),
            (Some(root), None) => Ok(StateFolders {
                registry: Registry::at(root.join("running")),
                cluster: ClusterFolder {
                    path: root.join("clusters").join(cluster),
                },
            }),
        }
    }
}

/// The folder that holds the state of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFolder {
    path: PathBuf,
}

impl ClusterFolder {
    /// The folder itself, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The data of a node.
    pub fn node(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What a node that was started by `queenright up` says.
    pub fn log(&self, node: &str) -> PathBuf {
        self.path.join("logs").join(format!("{node}.log"))
    }

    /// Makes the folder, the one of its logs, and the one of each node that is named.
    ///
    /// # Errors
    /// [`StateError::Io`] names the folder that cannot be made.
    pub fn create<'a>(&self, nodes: impl IntoIterator<Item = &'a str>) -> Result<(), StateError> {
        create_private(&self.path.join("logs"))?;
        nodes.into_iter().try_for_each(|name| create_private(&self.node(name)))
    }

    /// The cookie of the cluster: the one beside its certificates, which is the same on all hosts, if there is one in `tls`;
    /// else that of this folder, read, or made by the first process that needs it.
    ///
    /// # Errors
    /// [`StateError::Io`], or [`StateError::BadCookie`] if the file holds something else.
    pub fn cookie(&self, tls: Option<&Path>) -> Result<Cookie, StateError> {
        let shared = tls.map(|folder| folder.join(Cookie::FILE));
        if let Some(path) = shared.filter(|path| path.exists()) {
            return Cookie::read(&path);
        }
        create_private(&self.path)?;
        Cookie::read_or_create(&self.path.join(Cookie::FILE))
    }

    /// Where the cookie lies that the node would use: beside its certificates, or else in this folder.
    pub fn cookie_path(&self, tls: Option<&Path>) -> PathBuf {
        let shared = tls.map(|folder| folder.join(Cookie::FILE));
        let own = self.path.join(Cookie::FILE);
        match shared {
            // Where both are missing, that of the certificates is the one to bring.
            Some(shared) if shared.exists() || !own.exists() => shared,
            _ => own,
        }
    }

    /// The token of scope admin that the nodes of this host take: read, or made by the first process that needs it.
    ///
    /// # Errors
    /// [`StateError::Io`], or [`StateError::BadAdminToken`] if the file holds something else.
    pub fn admin_token(&self) -> Result<AdminToken, StateError> {
        create_private(&self.path)?;
        AdminToken::read_or_create(&self.admin_token_path())
    }

    /// Where that token lies, if it was made.
    pub fn admin_token_path(&self) -> PathBuf {
        self.path.join("admin-token")
    }
}

/// Makes a folder and those above it, readable by their owner alone; existing ones stay as they are.
pub(crate) fn create_private(folder: &Path) -> Result<(), StateError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| StateError::io("cannot make the folder", folder, source))
}

fn absolute(path: &Path) -> Result<PathBuf, StateError> {
    std::path::absolute(path).map_err(|source| StateError::io("cannot find", path, source))
}

fn root() -> Option<PathBuf> {
    root_of(env::var_os("XDG_STATE_HOME"), env::var_os("HOME"))
}

/// The XDG base directory rules: a relative path counts as unset.
fn root_of(xdg_state_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let folder = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder(xdg_state_home).or_else(|| folder(home).map(|home| home.join(".local/state")))?;
    Some(state.join("queenright"))
}
