//! Workers on a cluster, and all processes that they have started.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};

use crate::colony::{Colony, until};

/// By this variable of their environment the processes of one test are found, whatever has become of their parents.
const MARK: &str = "QUEENRIGHT_TEST_MARK";

/// Workers on a cluster; all that they start carries the mark of their test.
pub(crate) struct Workers {
    mark: String,
    pub(crate) folder: PathBuf,
    running: Vec<Child>,
}

impl Workers {
    pub(crate) fn new(colony: &Colony) -> Workers {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let folder = colony.folder().join("work");
        fs::create_dir_all(&folder).unwrap();
        Workers {
            mark: format!("{}-{nanos}", std::process::id()),
            folder,
            running: Vec::new(),
        }
    }

    /// The variable that what others start must have to carry the mark.
    pub(crate) fn variable(&self) -> String {
        format!("{MARK}={}", self.mark)
    }

    /// The command line of a worker that works for these nodes.
    pub(super) fn command(&self, colony: &Colony, nodes: &[&str], flags: &[&str], script: &str) -> Command {
        let mut command = colony.command();
        command.current_dir(&self.folder).env(MARK, &self.mark).arg("run");
        for node in nodes {
            command.args(["--node", &colony.config().node(node).unwrap().http.to_string()]);
        }
        command.args(flags).args(["--", "sh", "-c", script]);
        command
    }

    pub(super) fn start(&mut self, colony: &Colony, nodes: &[&str], flags: &[&str], script: &str) -> usize {
        let mut command = self.command(colony, nodes, flags, script);
        self.start_command(&mut command)
    }

    pub(crate) fn start_command(&mut self, command: &mut Command) -> usize {
        let command = command
            .env(MARK, &self.mark)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.running.push(command.spawn().unwrap());
        self.running.len() - 1
    }

    fn pid(&self, place: usize) -> Pid {
        Pid::from_child(&self.running[place])
    }

    pub(crate) fn signal(&self, place: usize, signal: Signal) {
        kill_process(self.pid(place), signal).unwrap();
    }

    /// Takes out a worker that was told to end, or will by itself, and says with which code it did.
    pub(crate) fn code(&mut self, place: usize) -> Option<i32> {
        let worker = &mut self.running[place];
        until("the end of a worker", || worker.try_wait().unwrap()).code()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, place: usize) {
        let mut worker = self.running.swap_remove(place);
        worker.kill().unwrap();
        worker.wait().unwrap();
    }

    /// The processes that carry the mark, with their command lines.
    pub(crate) fn processes(&self) -> Vec<String> {
        marked(&self.variable())
    }

    /// The processes that have this variable, with their command lines.
    pub(crate) fn with(&self, variable: &str) -> Vec<String> {
        marked(variable)
    }

    pub(crate) fn nothing_is_left(&self) {
        let mut left = Vec::new();
        let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("the end of all processes", || {
                left = self.processes();
                left.is_empty().then_some(())
            });
        }));
        assert!(gone.is_ok(), "these are left: {left:#?}");
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.running {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

#[cfg(target_os = "linux")]
fn marked(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let marked = processes.filter_map(|process| {
        let environment = fs::read(process.path().join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == mark.as_bytes()).then_some(())?;
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        Some(format!("{} {command}", process.file_name().display()))
    });
    marked.collect()
}

#[cfg(not(target_os = "linux"))]
fn marked(mark: &str) -> Vec<String> {
    let listed = Command::new("ps")
        .args(["axeww", "-o", "pid,command"])
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    listed
        .lines()
        .filter(|line| line.contains(mark))
        .map(str::to_owned)
        .collect()
}
