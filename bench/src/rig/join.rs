//! Nodes that join a running rig.

use std::process::Stdio;
use std::time::{Duration, Instant};

use queenright_protocol::id::NodeId;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::shape::joining_file;
use super::{READY_WITHIN, Rig, RigNode, STOP_WITHIN, door};
use crate::BenchError;

/// A node that has joined.
#[derive(Debug)]
pub struct Joined {
    /// How long it took from the start of its process until the members had let it in.
    pub let_in: Duration,
    /// How long until it had caught up with them.
    pub caught_up: Duration,
    pub(super) node: RigNode,
    child: Child,
    // Open as long as the node runs: it may say more.
    _said: Lines<BufReader<ChildStdout>>,
}

/// What `join --json` prints for each step.
#[derive(Debug, Deserialize)]
struct Said {
    step: String,
    number: Option<u64>,
}

impl Joined {
    /// Kills it; its process, to be waited for.
    pub(super) fn killed(mut self) -> Child {
        // One that has ended needs no signal.
        let _ = self.child.start_kill();
        self.child
    }
}

impl Rig {
    /// Starts a node of this name, which joins at the door of the first one, and waits until it has caught up.
    /// [`Rig::adopt`] makes it one of the rig; it is killed if that does not come.
    ///
    /// # Errors
    /// [`BenchError::Program`] with what it did instead, or [`BenchError::Disk`].
    pub async fn join(&self, name: &str) -> Result<Joined, BenchError> {
        let file = self.folder.join(format!("{name}.toml"));
        let disk = |what| {
            let path = file.clone();
            move |source| BenchError::Disk { what, path, source }
        };
        let (text, http) = joining_file(&self.name, name, &self.settings).map_err(disk("draw ports for"))?;
        std::fs::write(&file, text).map_err(disk("write"))?;
        let log =
            std::fs::File::create(self.folder.join(format!("{name}.log"))).map_err(disk("create the log beside"))?;
        let member = self.nodes[0].client.base_url().trim_start_matches("http://");
        let started = Instant::now();
        let mut child = Command::new(&self.program)
            .args(["join", member, "--json", "--config"])
            .arg(&file)
            .arg("--data")
            .arg(self.folder.join("state"))
            .env("XDG_STATE_HOME", self.folder.join("registry"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.problem(format!("cannot be started: {error}")))?;
        let pid = child.id().unwrap_or_default();
        let stdout = child.stdout.take().expect("it was piped");
        let mut said = BufReader::new(stdout).lines();
        let mut node = RigNode::new(name.to_owned(), pid, &format!("http://{http}"))
            .map_err(|error| door("use its door", error))?;
        let (mut let_in, mut caught_up) = (None, None);
        while caught_up.is_none() {
            let line = match timeout(READY_WITHIN, said.next_line()).await {
                Ok(Ok(Some(line))) => line,
                Ok(_) => return Err(self.problem(format!("node {name} joined, and ended"))),
                Err(_) => return Err(self.problem(format!("node {name} has not joined"))),
            };
            let step: Said = serde_json::from_str(&line)
                .map_err(|error| self.problem(format!("node {name} said {line:?} when it joined: {error}")))?;
            match &*step.step {
                "member" => {
                    let_in = Some(started.elapsed());
                    node.id = NodeId(step.number.unwrap_or_default());
                }
                "caught_up" => caught_up = Some(started.elapsed()),
                _ => {}
            }
        }
        let missing = || self.problem(format!("node {name} has caught up before it was let in"));
        Ok(Joined {
            let_in: let_in.ok_or_else(missing)?,
            caught_up: caught_up.unwrap_or_default(),
            node,
            child,
            _said: said,
        })
    }

    /// Makes a node that has joined one of the rig: the last one.
    pub fn adopt(&mut self, joined: Joined) {
        self.nodes.push(joined.node.clone());
        self.joined.push(joined);
    }

    /// Stops the nodes that have joined.
    pub(super) async fn stop_joined(&mut self) -> Result<(), BenchError> {
        for mut joined in std::mem::take(&mut self.joined) {
            let stays = |why: String| self.problem(format!("node {} {why}", joined.node.name));
            if let Some(pid) = joined.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                kill_process(pid, Signal::TERM).map_err(|error| stays(format!("cannot be stopped: {error}")))?;
            }
            if timeout(STOP_WITHIN, joined.child.wait()).await.is_err() {
                return Err(stays("did not stop in time".to_owned()));
            }
        }
        Ok(())
    }
}
