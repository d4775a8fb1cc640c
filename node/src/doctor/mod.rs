//! What may be wrong with a cluster, seen from one of its hosts: checks that each say how it is and what to do next.
//!
//! | file | what is looked at |
//! |---|---|
//! | `host` | limits of files and processes, ports, room on the disk, how long a sync takes |
//! | `files` | rights of folders and secrets, certificates, records of running nodes, leftovers |
//! | `data` | the data of nodes that do not run: who holds it, whether all of it can be read |
//! | `cluster` | through the doors: who answers, quorum, clocks, versions, links, disks of the others |
//! | `webhooks` | whether this host can sign and send them, and what keeps them |
//!
//! Looking changes nothing but a file that is written to measure syncs and removed. What can be put right without losing
//! anything has a [`Fix`], which [`Finding::put_right`] carries out.

mod cluster;
mod data;
mod files;
mod host;
mod webhooks;

use std::fs::{self, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use self::cluster::Doors;
use crate::config::{ClusterConfig, NodeConfig};
use crate::state::{ClusterFolder, Recorded, Registry, RunningNode, StateError};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and may not for long.
    Warning,
    /// It does not work, or is not safe.
    Problem,
}

impl Level {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// What was found by one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check: one of a fixed set of words.
    pub check: &'static str,
    /// What was looked at: a node, a file, or empty for the host or the cluster.
    pub of: String,
    /// How it is.
    pub level: Level,
    /// One line for people.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What `--fix` does about it, or has done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
    /// Whether it has done it.
    pub fixed: bool,
}

impl Finding {
    fn new(check: &'static str, of: impl Into<String>, level: Level, text: impl Into<String>) -> Finding {
        Finding {
            check,
            of: of.into(),
            level,
            text: text.into(),
            next: None,
            fix: None,
            fixed: false,
        }
    }

    fn ok(check: &'static str, of: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding::new(check, of, Level::Ok, text)
    }

    fn warning(
        check: &'static str,
        of: impl Into<String>,
        text: impl Into<String>,
        next: impl Into<String>,
    ) -> Finding {
        Finding {
            next: Some(next.into()),
            ..Finding::new(check, of, Level::Warning, text)
        }
    }

    fn problem(
        check: &'static str,
        of: impl Into<String>,
        text: impl Into<String>,
        next: impl Into<String>,
    ) -> Finding {
        Finding {
            next: Some(next.into()),
            ..Finding::new(check, of, Level::Problem, text)
        }
    }

    fn with_fix(self, fix: Fix) -> Finding {
        Finding { fix: Some(fix), ..self }
    }

    /// Whether it is still as bad as its level says.
    pub fn stands_at(&self, level: Level) -> bool {
        self.level == level && !self.fixed
    }

    /// Carries its fix out, if it has one.
    ///
    /// # Errors
    /// When the operating system refuses: nothing has changed then.
    pub fn put_right(&mut self) -> io::Result<()> {
        let Some(fix) = &self.fix else { return Ok(()) };
        match fix {
            Fix::Private { path, mode } => fs::set_permissions(path, Permissions::from_mode(*mode))?,
            Fix::RemoveFile { path } => fs::remove_file(path)?,
            Fix::RemoveFolder { path } => fs::remove_dir_all(path)?,
        }
        self.fixed = true;
        Ok(())
    }
}

/// What can be put right without losing anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Fix {
    /// Make a file or folder one that its owner alone may use.
    Private {
        /// Which.
        path: PathBuf,
        /// Its rights from then on.
        mode: u32,
    },
    /// Remove a record that says nothing true.
    RemoveFile {
        /// Which.
        path: PathBuf,
    },
    /// Remove what an interrupted command has left of a copy.
    RemoveFolder {
        /// Which.
        path: PathBuf,
    },
}

impl Fix {
    /// One line for people.
    pub fn line(&self) -> String {
        match self {
            Fix::Private { path, mode } => format!("chmod {mode:o} {}", path.display()),
            Fix::RemoveFile { path } => format!("rm {}", path.display()),
            Fix::RemoveFolder { path } => format!("rm -r {}", path.display()),
        }
    }
}

/// What is looked at on this host.
#[derive(Clone, Debug)]
pub struct Host {
    /// The cluster file, if one was named.
    pub config: Option<ClusterConfig>,
    /// The folder of the cluster's state.
    pub cluster: Option<ClusterFolder>,
    /// The records of running nodes.
    pub registry: Registry,
    /// Those of them that run: of the cluster file, or all if none was named.
    running: Vec<RunningNode>,
}

impl Host {
    /// Looks which nodes run here.
    ///
    /// # Errors
    /// [`StateError`] when the records cannot be listed.
    pub fn new(
        config: Option<ClusterConfig>,
        cluster: Option<ClusterFolder>,
        registry: Registry,
    ) -> Result<Host, StateError> {
        let running = registry.look()?.into_iter().filter_map(|(_, recorded)| match recorded {
            Recorded::Running(node) => Some(*node),
            Recorded::Gone(_) | Recorded::Broken(_) => None,
        });
        let meant = |node: &RunningNode| config.as_ref().is_none_or(|config| config.name == node.cluster);
        Ok(Host {
            running: running.filter(meant).collect(),
            config,
            cluster,
            registry,
        })
    }

    /// The nodes that run here.
    pub fn running(&self) -> &[RunningNode] {
        &self.running
    }

    /// All that can be seen without asking a node. Blocks: files are read, and a disk is measured for a second or two.
    pub fn look(&self) -> Vec<Finding> {
        let mut found = host::limits(&self.running);
        found.extend(files::records(&self.registry));
        if let Some(cluster) = &self.cluster {
            found.extend(files::rights(cluster, self.config.as_ref()));
            found.extend(files::leftovers(cluster, self.config.as_ref()));
        }
        if let Some(config) = &self.config {
            found.extend(exposure(config));
            found.extend(files::certificates(config, &self.local_nodes(config)));
            found.extend(config.webhooks.iter().map(webhooks::of_host));
            for node in self.local_nodes(config) {
                found.extend(host::ports(node, self.runs(&node.name), config.nodes.len() == 1));
            }
        }
        for folder in self.disks() {
            found.extend(host::disk(&folder, self.config.as_ref()));
        }
        found
    }

    /// What the data of nodes that do not run here holds. Reads all of it, from a copy.
    pub async fn look_at_data(&self) -> Vec<Finding> {
        let (Some(config), Some(cluster)) = (&self.config, &self.cluster) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for node in &config.nodes {
            let folder = cluster.node(&node.name);
            if folder.is_dir() && self.runs(&node.name).is_none() {
                found.push(data::of_node(&folder, &node.name, config).await);
            }
        }
        found
    }

    fn runs(&self, name: &str) -> Option<&RunningNode> {
        self.running.iter().find(|node| node.node == name)
    }

    /// The nodes of the file that run here, have data here, or listen on an address of this host alone.
    fn local_nodes<'c>(&self, config: &'c ClusterConfig) -> Vec<&'c NodeConfig> {
        let nodes = config.nodes.iter().filter(|node| {
            let has_data = self
                .cluster
                .as_ref()
                .is_some_and(|cluster| cluster.node(&node.name).is_dir());
            let ip = node.links.ip();
            self.runs(&node.name).is_some() || has_data || (!ip.is_unspecified() && is_of_this_host(ip))
        });
        nodes.collect()
    }

    /// One folder for each disk that data lies on, or would.
    fn disks(&self) -> Vec<PathBuf> {
        let of_file = self.cluster.iter().map(|cluster| cluster.path().to_owned());
        let mut folders: Vec<PathBuf> = self
            .running
            .iter()
            .map(|node| node.data.clone())
            .chain(of_file)
            .collect();
        folders = folders
            .iter()
            .filter_map(|folder| existing(folder))
            .map(Path::to_owned)
            .collect();
        folders.sort();
        let mut seen = Vec::new();
        folders.retain(|folder| {
            let device = fs::metadata(folder)
                .map(|data| std::os::unix::fs::MetadataExt::dev(&data))
                .ok();
            let new = !seen.contains(&device);
            seen.push(device);
            new
        });
        folders
    }
}

/// The folder, or the nearest one above it that exists.
fn existing(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|above| above.is_dir())
}

/// Whether a socket can have this address here.
fn is_of_this_host(ip: IpAddr) -> bool {
    ip.is_loopback() || std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// An error with its causes in one line.
fn line_of(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

fn exposure(config: &ClusterConfig) -> Vec<Finding> {
    let file = config.file.display().to_string();
    match config.check_exposure(false) {
        Ok(_) => vec![Finding::ok("config", file, config.to_string())],
        Err(error) => vec![Finding::problem(
            "config",
            file,
            error.to_string(),
            "protect it as it says, or start the nodes with --insecure if the network is yours alone",
        )],
    }
}

#[cfg(test)]
mod tests;
