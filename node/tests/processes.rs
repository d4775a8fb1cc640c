//! `queenright up` and `queenright node`: what they start, what they refuse, and that nothing stays behind.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use queenright::config::ClusterConfig;
use queenright::state::Registry;
use queenright_actors::store::{FORMAT_VERSION, record};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use crate::colony::{NODES, Ran, Slot, mesh, nobody_holds, queenright, refused, until};

/// A cluster file and folders for its state.
struct Rig {
    config: ClusterConfig,
    folder: TempDir,
    _slot: Slot,
}

impl Rig {
    fn new(name: &str) -> Rig {
        let slot = Slot::take();
        let folder = tempfile::tempdir().unwrap();
        Rig {
            config: mesh(name, folder.path()),
            folder,
            _slot: slot,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn up(&self) -> Command {
        let mut command = queenright(self.folder.path());
        command.arg("up").arg(&self.config.file).arg("--data").arg(self.data());
        command
    }

    /// The same data under another registry and on other ports, as for a caller who knows nothing of the first.
    fn unaware(&self, arguments: &[&str]) -> Command {
        let other = self.folder.path().join("other");
        let file = mesh(&self.config.name, &other).file;
        let mut command = queenright(&other);
        command.args(arguments).arg(file).arg("--data").arg(self.data());
        command
    }

    fn nobody_holds_the_data(&self) -> bool {
        nobody_holds(&self.data())
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        assert!(self.nobody_holds_the_data());
        let registry = Registry::at(self.folder.path().join("queenright/running"));
        assert_eq!(registry.running().unwrap(), []);
        // Every address is free again.
        for node in &self.config.nodes {
            drop(TcpListener::bind(node.links).unwrap());
            drop(TcpListener::bind(node.http).unwrap());
        }
    }
}

/// A running `queenright up`, killed if the test ends before it.
struct Up {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    summary: Value,
}

impl Up {
    fn start(mut command: Command) -> Up {
        // A group of its own, as a shell gives it.
        let command = command
            .arg("--json")
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Up {
            summary: serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}")),
            _stdout: stdout,
            child,
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32).unwrap()
    }

    fn ended(&mut self) -> Option<i32> {
        until("the end of up", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn ctrl_c_and_sigterm_stop_all_nodes() {
    let rig = Rig::new("stopped");
    for signal in [Signal::INT, Signal::TERM] {
        let mut up = Up::start(rig.up());
        let nodes = up.summary["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 3, "{}", up.summary);
        assert!(nodes.iter().all(|node| node["pid"].is_u64()), "{}", up.summary);
        // Ctrl-C reaches the whole group of the terminal.
        kill_process_group(up.pid(), signal).unwrap();
        assert_eq!(up.ended(), Some(0), "{signal:?}");
        rig.nothing_is_left();
    }
}

#[test]
fn a_service_manager_is_told_once_when_all_nodes_are_ready_and_once_when_they_stop() {
    let rig = Rig::new("service");
    let socket = rig.folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let mut command = rig.up();
    command.env("NOTIFY_SOCKET", &socket);
    let mut up = Up::start(command);
    kill_process(up.pid(), Signal::TERM).unwrap();
    assert_eq!(up.ended(), Some(0));
    manager.set_nonblocking(true).unwrap();
    let mut buffer = [0; 64];
    let next = || {
        let length = manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let told: Vec<String> = std::iter::from_fn(next).collect();
    assert_eq!(told, ["READY=1", "STOPPING=1"]);
}

#[test]
fn no_node_outlives_an_up_that_was_killed_by_more_than_five_seconds() {
    let rig = Rig::new("orphans");
    let mut up = Up::start(rig.up());
    kill_process(up.pid(), Signal::KILL).unwrap();
    let killed = Instant::now();
    assert_eq!(up.ended(), None);
    until("the end of the nodes", || rig.nobody_holds_the_data().then_some(()));
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    rig.nothing_is_left();
}

#[test]
fn a_second_up_and_a_second_process_on_one_store_name_the_first() {
    let rig = Rig::new("twice");
    let mut up = Up::start(rig.up());
    let pid = |node: usize| up.summary["nodes"][node]["pid"].as_u64().unwrap();

    let line = refused(&mut rig.up(), 1);
    let known = format!("is already running on this host: node n1 is process {}", pid(0));
    assert!(line.contains(&known), "{line}");
    let line = refused(&mut rig.unaware(&["up"]), 1);
    let holder = |node: usize| {
        format!(
            "the data folder {} is in use by node {:?}, process {}",
            rig.data().join(NODES[node]).display(),
            NODES[node],
            pid(node)
        )
    };
    let names_one = (0..3).any(|node| line.starts_with(&format!("error: node n{}: {}", node + 1, holder(node))));
    assert!(names_one, "{line}");

    // A node of its own logs beside its error.
    let node = Ran::of(&mut rig.unaware(&["node", "--name", "n2", "--config"])).with_code(1);
    assert!(node.stdout.is_empty(), "{node}");
    let last = node.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("error: {}", holder(1))), "{node}");

    // The first is none the worse for it.
    let put = ["memory", "put", "k", "v"];
    Ran::of(queenright(rig.folder.path()).args(put)).with_code(0);
    kill_process(up.pid(), Signal::TERM).unwrap();
    assert_eq!(up.ended(), Some(0));
    rig.nothing_is_left();
}

#[test]
fn a_port_in_use_is_one_line_and_leaves_nothing_running() {
    let rig = Rig::new("ports");
    let check = |address: SocketAddr, expected: &str| {
        let held = TcpListener::bind(address).unwrap();
        let line = refused(&mut rig.up(), 1);
        assert!(line.starts_with(&format!("error: node n2: {expected}")), "{line}");
        assert!(line.contains(&address.to_string()), "{line}");
        assert!(line.contains("Address already in use"), "{line}");
        drop(held);
        rig.nothing_is_left();
    };
    check(rig.config.nodes[1].http, "nodes[1].http: cannot listen on");
    check(rig.config.nodes[1].links, "cannot listen on");
    // Nothing half-made keeps the cluster from starting then.
    let mut up = Up::start(rig.up());
    kill_process(up.pid(), Signal::TERM).unwrap();
    assert_eq!(up.ended(), Some(0));
}

#[test]
fn a_data_folder_of_a_later_version_or_below_a_file_is_refused_by_name() {
    let rig = Rig::new("format");
    let mut up = Up::start(rig.up());
    kill_process(up.pid(), Signal::TERM).unwrap();
    assert_eq!(up.ended(), Some(0));

    let format = rig.data().join("n2/format");
    let later = (FORMAT_VERSION + 1).to_be_bytes();
    let later_format = record::encode(record::Kind::Format, &[], &later).unwrap();
    let ours = std::fs::read(&format).unwrap();
    std::fs::write(&format, later_format).unwrap();
    let line = refused(&mut rig.up(), 1);
    assert!(
        line.contains(&format!("n2 has format {}, this", FORMAT_VERSION + 1)),
        "{line}"
    );
    rig.nothing_is_left();
    std::fs::write(&format, &ours[..ours.len() - 1]).unwrap();
    let line = refused(&mut rig.up(), 1);
    assert!(line.contains("n2/format is damaged"), "{line}");
    rig.nothing_is_left();

    let file = rig.folder.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let below = |path: &Path| {
        let mut command = queenright(rig.folder.path());
        command.arg("up").arg(&rig.config.file).arg("--data").arg(path);
        refused(&mut command, 1)
    };
    let line = below(&file.join("data"));
    assert!(line.contains("Not a directory"), "{line}");
    let line = below(&file);
    assert!(line.contains("cannot make the folder"), "{line}");
    assert_eq!(std::fs::read(&file).unwrap(), b"text");
}
