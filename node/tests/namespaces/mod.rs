//! The hosts of a test: those of the bench, which fail where something is missing, and end when the test is told to end.

pub(crate) mod load;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use queenright::config::ClusterConfig;
use queenright_bench::hosts::remove_ours;
pub(crate) use queenright_bench::hosts::{Connection, Weather};
use rustix::process::{Pid, Signal, kill_process};

/// The hosts of one cluster.
pub(crate) struct Hosts {
    hosts: queenright_bench::hosts::Hosts,
    _alone: MutexGuard<'static, ()>,
}

/// Two sets of hosts at a time would use the same addresses.
static ALONE: Mutex<()> = Mutex::new(());

impl Hosts {
    /// Makes so many hosts in this weather.
    pub(crate) fn new(count: usize, weather: Weather) -> Hosts {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        remove_on_signals();
        Hosts {
            hosts: queenright_bench::hosts::Hosts::new(count, weather).unwrap(),
            _alone: alone,
        }
    }

    /// Lets the nodes of a cluster live on the hosts, one on each.
    pub(crate) fn take_in(&self, config: &mut ClusterConfig) {
        assert_eq!(config.nodes.len(), self.hosts.count(), "a node on each host");
        for (place, node) in config.nodes.iter_mut().enumerate() {
            node.links = self.hosts.links(place);
            node.http = self.hosts.door(place);
        }
    }

    /// A program in `folder` that starts a node on its host.
    pub(crate) fn starter(&self, folder: &Path) -> PathBuf {
        let program = Path::new(env!("CARGO_BIN_EXE_queenright"));
        self.hosts.starter(program, folder).unwrap()
    }

    /// Splits these nodes, each with the others of them, from the rest.
    pub(crate) fn split<S: AsRef<str>>(&self, apart: &[S]) {
        self.hosts.split(apart).unwrap();
    }

    /// Ends a split.
    pub(crate) fn heal(&self) {
        self.hosts.heal().unwrap();
    }

    /// What the kernel of a host says of its connections to other hosts.
    pub(crate) fn connections(&self, node: &str) -> Vec<Connection> {
        self.hosts.connections(place_of(node)).unwrap()
    }

    /// Who makes the weather, for those who read a result.
    pub(crate) fn shaped_by(&self) -> &'static str {
        self.hosts.shaped_by()
    }
}

/// The place of a node that is called `n1` and so on.
fn place_of(node: &str) -> usize {
    let number: usize = node.strip_prefix('n').and_then(|number| number.parse().ok()).unwrap();
    number - 1
}

/// The processes that are ended with this one when it is told to end.
fn beside() -> MutexGuard<'static, BTreeSet<u32>> {
    static BESIDE: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    BESIDE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that the test has started and not waited for yet.
pub(crate) struct Beside(u32);

impl Beside {
    pub(crate) fn new(process: u32) -> Beside {
        beside().insert(process);
        Beside(process)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        beside().remove(&self.0);
    }
}

/// Removes what this process has made when it is told to end. Its nodes end with it: they watch a pipe that it holds.
fn remove_on_signals() {
    static WATCHES: Once = Once::new();
    WATCHES.call_once(|| {
        thread::spawn(|| {
            use tokio::signal::unix::{SignalKind, signal};
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut terminated = signal(SignalKind::terminate()).unwrap();
                tokio::select! {
                    interrupted = tokio::signal::ctrl_c() => interrupted.unwrap(),
                    _ = terminated.recv() => {}
                }
            });
            for process in beside().iter().filter_map(|id| Pid::from_raw(id.cast_signed())) {
                // It may have ended by itself.
                let _ = kill_process(process, Signal::KILL);
            }
            remove_ours();
            std::process::exit(130);
        });
    });
}
