//! Nodes of a rig that are killed and started again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use queenright_actors::node::Consistency;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Rig, STOP_WITHIN, door};
use crate::BenchError;

/// How long a node that was killed may take until it serves again, and how often it is asked: that is what is measured.
const RESTARTED_WITHIN: Duration = Duration::from_secs(600);
const RESTART_POLL: Duration = Duration::from_millis(10);

impl Rig {
    /// Kills a node by SIGKILL and starts it again on what it has left; how long it took from then to a linearizable read.
    ///
    /// # Errors
    /// [`BenchError::Program`], or [`BenchError::Door`].
    pub async fn restart(&mut self, name: &str) -> Result<Duration, BenchError> {
        self.kill(name).await?;
        self.start_again(name).await
    }

    /// Kills a node by SIGKILL, and waits for its end. Returns the moment of the signal.
    ///
    /// # Errors
    /// [`BenchError::Program`].
    pub async fn kill(&mut self, name: &str) -> Result<Instant, BenchError> {
        let place = self.place(name)?;
        let pid = Pid::from_raw(self.nodes[place].pid.cast_signed());
        let pid = pid.ok_or_else(|| self.problem(format!("node {name} has no process")))?;
        let killed = kill_process(pid, Signal::KILL);
        killed.map_err(|error| self.problem(format!("node {name} cannot be killed: {error}")))?;
        let killed = Instant::now();
        let stays = format!("node {name} was killed, and is still there");
        if let Some((mut child, _)) = self.restarted.remove(name) {
            // Its number is its own until it has been waited for.
            return match timeout(STOP_WITHIN, child.wait()).await {
                Ok(Ok(_)) => Ok(killed),
                _ => Err(self.problem(stays)),
            };
        }
        // Until it is gone it has the lock of its folder.
        while test_kill_process(pid).is_ok() {
            if killed.elapsed() > STOP_WITHIN {
                return Err(self.problem(stays));
            }
            tokio::time::sleep(RESTART_POLL).await;
        }
        Ok(killed)
    }

    /// Starts a node that was killed; how long it took until a linearizable read.
    ///
    /// # Errors
    /// [`BenchError::Program`], or [`BenchError::Door`].
    pub async fn start_again(&mut self, name: &str) -> Result<Duration, BenchError> {
        let place = self.place(name)?;
        let mut child = Command::new(&self.starter)
            .arg("node")
            .arg("--config")
            .arg(&self.file)
            .args(["--name", name, "--parent-pipe"])
            .args(self.insecure.then_some("--insecure"))
            .arg("--data")
            .arg(self.folder.join("state"))
            .env("XDG_STATE_HOME", self.folder.join("registry"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.problem(format!("cannot be started: {error}")))?;
        let started = Instant::now();
        self.nodes[place].pid = child.id().unwrap_or_default();
        let client = self.nodes[place].client.clone();
        let pipe = child.stdin.take();
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(self.problem(format!("node {name} was started again and ended with {status}")));
            }
            match client.get("restarted", Consistency::Linearizable).await {
                Ok(_) => break,
                Err(error) if started.elapsed() < RESTARTED_WITHIN && error.is_temporary() => {
                    tokio::time::sleep(RESTART_POLL).await;
                }
                Err(error) => return Err(door(format!("read at node {name}, which was started again"), error)),
            }
        }
        let took = started.elapsed();
        self.restarted.insert(name.to_owned(), (child, pipe));
        Ok(took)
    }

    fn place(&self, name: &str) -> Result<usize, BenchError> {
        let place = self.nodes.iter().position(|node| node.name == name);
        place.ok_or_else(|| self.problem(format!("has no node {name}")))
    }
}
