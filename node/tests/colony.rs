//! A cluster of three processes of the real binary, with state, records and ports of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use queenright::config::{Auth, ClusterConfig};
use queenright::state::{Registry, StateFolders};
use queenright::up::{Cluster, Ended, UpError, UpOptions};
use queenright_actors::node::{ClusterStatus, Consistency};
use queenright_actors::tls::{AUTHORITY_FILE, client_config};
use queenright_bench::client::{Bearer, Client, ClientOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// How long anything that must happen may take. Ten times what a busy host needs: only a failure waits so long.
const DEADLINE: Duration = Duration::from_secs(90);
/// How many clusters run at a time: more would only slow each other down until elections fail.
const CLUSTERS_MAX: usize = 2;
/// The nodes of a mesh of three.
pub(crate) const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// The binary, with a state folder and an environment of its own.
pub(crate) fn queenright(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_queenright"));
    command
        .env("XDG_STATE_HOME", state)
        .env_remove("QUEENRIGHT_NODE")
        .env_remove("QUEENRIGHT_AGENT")
        .env_remove("QUEENRIGHT_CA")
        .env_remove("QUEENRIGHT_TOKEN_FILE")
        .env_remove("QUEENRIGHT_AUTH_TOKEN")
        .env_remove("TRACEPARENT")
        .env_remove("QUEENRIGHT_LOG");
    command
}

/// The command must end with this code, print nothing on stdout, and say why in one line on stderr, which is returned.
pub(crate) fn refused(command: &mut Command, code: i32) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the binary was built for this test");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{command:?}\n{stderr}");
    assert_eq!(stdout, "", "{command:?}");
    let line = stderr.strip_suffix('\n').unwrap_or(&stderr);
    assert!(!line.is_empty() && !line.contains('\n'), "{command:?}\n{stderr}");
    line.to_owned()
}

/// Waits until the probe finds something.
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// How a command ended and what it printed.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Ran {
        command.output().expect("the binary was built for this test").into()
    }

    /// The same, which must have ended with this code.
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// What was printed, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Ran {
            code: output.status.code(),
            stdout: output.stdout,
            stderr,
        }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        write!(
            f,
            "exit {:?}\n--- stdout\n{stdout}\n--- stderr\n{}",
            self.code, self.stderr
        )
    }
}

/// Leave to run one cluster.
pub(crate) struct Slot(());

static SLOTS_TAKEN: Mutex<usize> = Mutex::new(0);
static SLOT_FREE: Condvar = Condvar::new();

impl Slot {
    pub(crate) fn take() -> Slot {
        let taken = SLOTS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = SLOT_FREE
            .wait_while(taken, |taken| *taken >= CLUSTERS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Slot(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *SLOTS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        SLOT_FREE.notify_one();
    }
}

/// No port is given twice: one of a node that is down for a while would else be free for another cluster.
static PORTS_GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// The file of a mesh of three nodes on free ports, in `folder`.
pub(crate) fn mesh(name: &str, folder: &Path) -> ClusterConfig {
    shipped("mesh-3", name, folder)
}

/// A shipped cluster file on free ports, under another name, in `folder`.
pub(crate) fn shipped(file: &str, name: &str, folder: &Path) -> ClusterConfig {
    let folder_of_files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster-configs");
    let file = folder_of_files.join(format!("{file}.toml"));
    let mut config = ClusterConfig::load(&file).unwrap();
    config.name = name.to_owned();
    loop {
        let moved = config.with_free_ports().unwrap();
        let addresses = moved.nodes.iter().flat_map(|node| [node.links, node.http]);
        let ports: BTreeSet<u16> = addresses.map(|address| address.port()).collect();
        let mut given = PORTS_GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if given.is_disjoint(&ports) {
            given.extend(ports);
            return moved.write_to(folder).unwrap();
        }
    }
}

/// Whether no process has the data of any node: a lock ends with the process that holds it, however that ended.
pub(crate) fn nobody_holds(data: &Path) -> bool {
    NODES
        .into_iter()
        .all(|node| match File::open(data.join(node).join("lock")) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(_) => true,
        })
}

/// A running cluster.
pub(crate) struct Colony {
    cluster: Option<Cluster>,
    options: UpOptions,
    runtime: Runtime,
    folder: TempDir,
    /// Whether nodes may end by themselves: their bugs are what the test is about.
    may_fail: bool,
    /// What the lines of a log may say that tell of a panic.
    panics: Vec<&'static str>,
    _slot: Slot,
}

impl Colony {
    pub(crate) fn start(name: &str) -> Colony {
        Colony::start_prepared(name, |_, _| {})
    }

    /// Starts a cluster after `prepare` has changed its file and the folder of its data.
    pub(crate) fn start_prepared(name: &str, prepare: impl FnOnce(&mut ClusterConfig, &Path)) -> Colony {
        Colony::start_by(name, |_, config, folder| {
            prepare(config, &folder.join("data"));
            env!("CARGO_BIN_EXE_queenright").into()
        })
    }

    /// Starts a cluster after `prepare` has changed its file and named the program that starts a node. It is given the
    /// runtime that the cluster is watched on, and the folder of everything.
    pub(crate) fn start_by(name: &str, prepare: impl FnOnce(&Runtime, &mut ClusterConfig, &Path) -> PathBuf) -> Colony {
        Colony::start_file("mesh-3", name, prepare)
    }

    /// Starts the cluster of a shipped file after `prepare` has changed it.
    #[allow(dead_code, reason = "for tests of other clusters than the mesh")]
    pub(crate) fn start_shipped(file: &str, name: &str, prepare: impl FnOnce(&mut ClusterConfig)) -> Colony {
        Colony::start_file(file, name, |_, config, _| {
            prepare(config);
            env!("CARGO_BIN_EXE_queenright").into()
        })
    }

    /// Starts the cluster of a shipped file as [`Colony::start_by`] does that of the mesh.
    pub(crate) fn start_file(
        file: &str,
        name: &str,
        prepare: impl FnOnce(&Runtime, &mut ClusterConfig, &Path) -> PathBuf,
    ) -> Colony {
        let slot = Slot::take();
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let mut config = shipped(file, name, folder.path());
        let executable = prepare(&runtime, &mut config, folder.path());
        let config = config.write_to(folder.path()).unwrap();
        let mut folders = StateFolders::find(name, Some(&folder.path().join("data"))).unwrap();
        // Where a command with this XDG_STATE_HOME looks.
        folders.registry = Registry::at(folder.path().join("queenright/running"));
        let options = UpOptions {
            config,
            folders,
            executable,
            ready_within: DEADLINE,
            stop_within: DEADLINE,
            insecure: false,
        };
        let mut colony = Colony {
            cluster: None,
            options,
            runtime,
            folder,
            may_fail: false,
            panics: Vec::new(),
            _slot: slot,
        };
        colony.start_all();
        colony
    }

    /// Starts all nodes, none of which runs, and waits until each of them knows a leader.
    pub(crate) fn start_all(&mut self) {
        let started = self.runtime.block_on(Cluster::start(self.options.clone()));
        self.cluster = Some(started.unwrap_or_else(|error| panic!("{error}")));
        for node in self.names() {
            self.leader_at(&node, None);
        }
    }

    /// The names of the nodes, in the order of the file.
    pub(crate) fn names(&self) -> Vec<String> {
        let nodes = self.options.config.nodes.iter();
        nodes.map(|node| node.name.clone()).collect()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config(&self) -> &ClusterConfig {
        &self.options.config
    }

    /// The command line, which finds this cluster by its records.
    pub(crate) fn command(&self) -> Command {
        queenright(self.folder.path())
    }

    /// The command line, asking one node.
    pub(crate) fn command_at(&self, node: &str, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command.args(arguments).args(["--node", &self.door(node)]);
        command
    }

    /// Runs the command line, asking one node.
    pub(crate) fn at(&self, node: &str, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command_at(node, arguments))
    }

    fn door(&self, node: &str) -> String {
        self.options.config.node(node).unwrap().http_advertised()
    }

    /// Runs the command line, asking one node, with this on its stdin.
    pub(crate) fn fed(&self, node: &str, arguments: &[&str], stdin: &[u8]) -> Ran {
        let mut fed = tempfile::tempfile().unwrap();
        fed.write_all(stdin).unwrap();
        fed.rewind().unwrap();
        Ran::of(self.command_at(node, arguments).stdin(fed))
    }

    /// A client of one node.
    pub(crate) fn client(&self, node: &str, agent: &str) -> Client {
        let options = ClientOptions {
            agent: agent.to_owned(),
            // Longer than an election; what takes longer is unknown and asked again.
            timeout: Duration::from_secs(3),
            ..ClientOptions::default()
        };
        let (scheme, options) = self.protected(options);
        Client::new(&format!("{scheme}://{}", self.door(node)), options).unwrap()
    }

    /// What a client needs for the doors of this cluster.
    fn protected(&self, options: ClientOptions) -> (&'static str, ClientOptions) {
        let tls = self.config().tls.as_ref().map(|folder| {
            let config = client_config(&folder.join(AUTHORITY_FILE)).unwrap();
            Arc::new(config)
        });
        let token = (self.config().auth == Auth::Token).then(|| {
            let path = self.options.folders.cluster.admin_token_path();
            fs::read_to_string(path).unwrap()
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let bearer = token.map(|secret| Bearer::new(secret.trim_end()).unwrap());
        (scheme, ClientOptions { tls, bearer, ..options })
    }

    /// Lines of the nodes' logs that have this in them may tell of a panic.
    #[allow(dead_code, reason = "for tests whose agents are to panic")]
    pub(crate) fn expect_panics(&mut self, text: &'static str) {
        self.panics.push(text);
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub(crate) fn spawn<F: Future<Output: Send> + Send + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.runtime.spawn(future)
    }

    /// The cluster as one node sees it; nothing if it does not answer.
    pub(crate) fn status(&self, node: &str) -> Option<ClusterStatus> {
        let client = self.client(node, "test");
        self.block_on(async { client.status().await.ok() })
    }

    /// Waits for a leader other than `old`, as one node sees it.
    pub(crate) fn leader_at(&self, node: &str, old: Option<&str>) -> String {
        until("a leader", || {
            let status = self.status(node).filter(|status| status.queenright)?;
            status.leader.filter(|leader| Some(&leader[..]) != old)
        })
    }

    pub(crate) fn pid(&self, node: &str) -> Pid {
        let nodes = self.running().nodes();
        let view = nodes.iter().find(|view| view.name == node).unwrap();
        Pid::from_raw(view.pid.expect("it runs") as i32).unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, node: &str) {
        let cluster = self.cluster.as_mut().unwrap();
        self.runtime.block_on(cluster.kill(node)).unwrap();
    }

    /// SIGKILL for all before any of them has been waited for.
    pub(crate) fn kill_all(&mut self) {
        for node in self.names() {
            kill_process(self.pid(&node), Signal::KILL).unwrap();
        }
        for node in self.names() {
            self.kill(&node);
        }
        self.cluster = None;
    }

    /// SIGKILL for those that still run.
    pub(crate) fn kill_all_that_is_left(&mut self) {
        let running = self.running().nodes().into_iter().filter(|view| view.pid.is_some());
        for node in running.collect::<Vec<_>>() {
            self.kill(&node.name);
        }
        self.cluster = None;
    }

    /// Lets a node end cleanly.
    pub(crate) fn stop_node(&mut self, node: &str) {
        kill_process(self.pid(node), Signal::TERM).unwrap();
        assert_eq!(self.ended().name, node);
    }

    /// Starts a node that was killed.
    pub(crate) fn start_node(&mut self, node: &str) {
        self.try_start_node(node).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts a node that has ended, or says why it does not start.
    pub(crate) fn try_start_node(&mut self, node: &str) -> Result<(), UpError> {
        let cluster = self.cluster.as_mut().unwrap();
        self.runtime.block_on(cluster.start_node(node))
    }

    /// Waits until some node ends by itself.
    pub(crate) fn ended(&mut self) -> Ended {
        let cluster = self.cluster.as_mut().unwrap();
        let ended = self
            .runtime
            .block_on(async { tokio::time::timeout(DEADLINE, cluster.next_ended()).await });
        ended.expect("a node ends").expect("one was running")
    }

    /// The folder of a node's data.
    pub(crate) fn data(&self, node: &str) -> PathBuf {
        let nodes = self.running().nodes();
        let view = nodes.iter().find(|view| view.name == node).unwrap();
        view.data.clone()
    }

    /// Lets nodes end by themselves.
    pub(crate) fn may_fail(&mut self) {
        self.may_fail = true;
    }

    /// A node that has ended by itself, if there is one that nobody has asked about.
    pub(crate) fn ended_by_now(&mut self) -> Option<Ended> {
        let cluster = self.cluster.as_mut()?;
        let moment = Duration::from_millis(1);
        let ended = self
            .runtime
            .block_on(async { tokio::time::timeout(moment, cluster.next_ended()).await });
        ended.ok().flatten()
    }

    /// Waits until all nodes have what was acknowledged and are at the same position, and returns the digest, which must then
    /// be the same.
    pub(crate) fn same_digest(&self) -> String {
        let position = |status: &ClusterStatus| -> Option<Vec<(u64, u64, String)>> {
            let nodes = status.nodes.iter();
            nodes
                .map(|node| Some((node.applied?, node.seq?, node.digest.clone()?)))
                .collect()
        };
        let names = self.names();
        // All nodes may stand before the end of what was acknowledged, until the first leader after a restart has committed it.
        let client = self.client(&names[0], "test");
        until("a read of the newest", || {
            self.block_on(client.get("newest", Consistency::Linearizable)).ok()
        });
        until("all nodes at the same position", || {
            let status = self.status(&names[0]).filter(|status| status.queenright)?;
            let mut nodes = position(&status)?;
            assert_eq!(nodes.len(), names.len());
            let (applied, seq, digest) = nodes.pop()?;
            let same = nodes.iter().all(|node| (node.0, node.1) == (applied, seq));
            assert!(!same || nodes.iter().all(|node| node.2 == digest), "{status:?}");
            same.then_some(digest)
        })
    }

    fn running(&self) -> &Cluster {
        self.cluster.as_ref().expect("it was started")
    }

    fn logs(&self) -> impl Iterator<Item = (String, String)> {
        self.names().into_iter().map(|node| {
            let log = fs::read(self.options.folders.cluster.log(&node)).unwrap_or_default();
            (node, String::from_utf8_lossy(&log).into_owned())
        })
    }
}

impl Drop for Colony {
    fn drop(&mut self) {
        let killed = self
            .cluster
            .as_mut()
            .map(|cluster| self.runtime.block_on(cluster.stop()));
        if thread::panicking() {
            for (node, log) in self.logs() {
                let lines: Vec<&str> = log.lines().collect();
                let tail = &lines[lines.len().saturating_sub(30)..];
                eprintln!("--- the log of {node} ends with\n{}", tail.join("\n"));
            }
            return;
        }
        if self.may_fail {
            return;
        }
        assert_eq!(killed.unwrap_or_default(), [""; 0], "these did not end in time");
        for (node, log) in self.logs() {
            let wanted = |line: &&str| self.panics.iter().any(|panic| line.contains(panic));
            let panicked = log.lines().filter(|line| line.contains("panicked"));
            assert_eq!(panicked.filter(|line| !wanted(line)).count(), 0, "{node}:\n{log}");
        }
    }
}
