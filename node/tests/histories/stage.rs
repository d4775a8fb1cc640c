//! A cluster of three processes whose links lead through proxies.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use queenright::config::ClusterConfig;
use queenright_bench::client::{Client, ClientOptions};
use rustix::process::{Signal, kill_process};
use std::time::Duration;

use super::proxy::{LinkMode, Proxy};
use crate::colony::{Colony, NODES};

/// The cluster.
pub(crate) struct Stage {
    pub(crate) colony: Colony,
    /// By the places of the two nodes, the lower one first.
    links: BTreeMap<(usize, usize), Proxy>,
}

impl Stage {
    /// Starts the nodes, each with these variables in its environment.
    pub(crate) fn start(name: &str, environment: &[(&str, &str)]) -> Stage {
        let mut links = BTreeMap::new();
        let colony = Colony::start_by(name, |runtime, config, folder| {
            let all = (0..NODES.len()).flat_map(|low| (low + 1..NODES.len()).map(move |high| (low, high)));
            for (low, high) in all {
                let target = config.nodes[low].links;
                links.insert((low, high), runtime.block_on(Proxy::start(target)));
            }
            for place in 0..NODES.len() {
                write_file_of(place, config, &links, folder);
            }
            starter(folder, environment)
        });
        Stage { colony, links }
    }

    /// Sets the link between two nodes.
    pub(crate) fn set_link(&self, one: usize, other: usize, mode: LinkMode) {
        self.links[&(one.min(other), one.max(other))].set(mode);
    }

    /// Sets all links of a node.
    pub(crate) fn set_links_of(&self, node: usize, mode: LinkMode) {
        for ((low, high), proxy) in &self.links {
            if [low, high].contains(&&node) {
                proxy.set(mode);
            }
        }
    }

    /// Sets all links.
    pub(crate) fn set_links(&self, mode: LinkMode) {
        self.links.values().for_each(|proxy| proxy.set(mode));
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, node: usize, signal: Signal) {
        kill_process(self.colony.pid(NODES[node]), signal).unwrap();
    }

    /// The place of the leader, as the first node knows that answers; nothing while there is none.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leader = NODES.iter().find_map(|node| self.colony.status(node)?.leader)?;
        NODES.iter().position(|node| *node == leader)
    }

    /// Waits until each node knows a leader again.
    pub(crate) fn wait_for_leader(&self) -> usize {
        let leaders: Vec<String> = NODES.iter().map(|node| self.colony.leader_at(node, None)).collect();
        NODES.iter().position(|node| **node == leaders[0]).unwrap()
    }

    /// A client of one node's door.
    pub(crate) fn door(&self, node: usize, timeout: Duration) -> Client {
        let options = ClientOptions {
            agent: "history".to_owned(),
            timeout,
            ..ClientOptions::default()
        };
        let address = self.colony.config().nodes[node].http;
        Client::new(&format!("http://{address}"), options).unwrap()
    }
}

/// Writes the cluster file as one node reads it: those that it dials, which are the ones before it, may stand behind proxies.
pub(crate) fn write_file_of(
    place: usize,
    config: &ClusterConfig,
    links: &BTreeMap<(usize, usize), Proxy>,
    folder: &Path,
) {
    let mut own = config.clone();
    for ((low, _), link) in links.iter().filter(|((_, high), _)| *high == place) {
        own.nodes[*low].links = link.address();
    }
    fs::write(folder.join(format!("{}.toml", config.nodes[place].name)), own.to_toml()).unwrap();
}

/// A program that starts a node as `up` asks for it, with a cluster file of its own.
pub(crate) fn starter(folder: &Path, environment: &[(&str, &str)]) -> std::path::PathBuf {
    let variables = environment
        .iter()
        .map(|(name, value)| format!("export {name}='{value}'\n"));
    let script = format!(
        "#!/bin/sh\n# node --config FILE --name NAME …\n{}name=\"$5\"\nshift 5\nexec '{}' node --config '{}'/\"$name\".toml \
         --name \"$name\" \"$@\"\n",
        variables.collect::<String>(),
        env!("CARGO_BIN_EXE_queenright"),
        folder.display(),
    );
    let program = folder.join("start-node");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}
