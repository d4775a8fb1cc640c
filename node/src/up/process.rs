//! One node as a child process.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Announcement, Ended, NodeView, UpError, UpOptions, announcement, log};
use crate::config::NodeConfig;
use crate::state::Door;

/// The variable from which tokio takes the number of its threads.
const THREADS: &str = "TOKIO_WORKER_THREADS";

/// A node that was started, from its first moment until after its end.
#[derive(Debug)]
pub(super) struct NodeProcess {
    node: NodeConfig,
    /// Whether its door is in TLS.
    in_tls: bool,
    log: PathBuf,
    data: PathBuf,
    ready_within: Duration,
    child: Child,
    /// How the child ended, once it has.
    status: Option<ExitStatus>,
    /// Never written to: the child ends when this is closed.
    _parent_pipe: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl NodeProcess {
    pub(super) fn spawn(options: &UpOptions, node: &NodeConfig) -> Result<NodeProcess, UpError> {
        let log = options.folders.cluster.log(&node.name);
        let mut child = spawn(options, node, &log).map_err(|source| UpError::Spawn {
            name: node.name.clone(),
            source,
        })?;
        Ok(NodeProcess {
            node: node.clone(),
            in_tls: options.config.tls.is_some(),
            log,
            data: options.folders.cluster.node(&node.name),
            ready_within: options.ready_within,
            status: None,
            // Taken from the child, since waiting for a child closes the stdin that it still has.
            _parent_pipe: child.stdin.take(),
            stdout: child.stdout.take().map(BufReader::new),
            child,
        })
    }

    pub(super) fn view(&self) -> NodeView {
        NodeView {
            name: self.node.name.clone(),
            pid: if self.status.is_some() { None } else { self.child.id() },
            door: Door::from(self.node.http).in_tls(self.in_tls).to_string(),
            log: self.log.clone(),
            data: self.data.clone(),
        }
    }

    /// The process, if it has not ended by now.
    pub(super) fn running(&mut self) -> Option<u32> {
        if self.status.is_none() {
            // Without an answer it counts as running: starting a second one on its data would be worse.
            self.status = self.child.try_wait().unwrap_or_default();
        }
        self.view().pid
    }

    /// Waits for the line that says that the node is ready.
    pub(super) async fn ready(&mut self, deadline: Instant) -> Result<(), UpError> {
        let name = self.node.name.clone();
        let line = match timeout_at(deadline, self.first_line()).await {
            Ok(line) => line.unwrap_or_default(),
            Err(_) => {
                return Err(UpError::NotReady {
                    name,
                    within: self.ready_within,
                    log: self.log.clone(),
                });
            }
        };
        match serde_json::from_str(&line) {
            Ok(Announcement::Ready(_)) => Ok(()),
            Ok(Announcement::Failed(message)) => Err(UpError::NodeFailed { name, message }),
            // Nothing, or something else: a node that breaks the agreement is not kept waiting for.
            Err(_) => {
                self.kill().await?;
                let status = self.status.expect("kill waits for the end");
                let log_tail = log::tail(&self.log);
                Err(UpError::EndedAtStart {
                    name,
                    status,
                    log: self.log.clone(),
                    log_tail,
                })
            }
        }
    }

    async fn first_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.stdout {
            stdout.take(announcement::LINE_BYTES_MAX).read_line(&mut line).await?;
        }
        if line.is_empty() {
            // Stdout has ended, so the node is ending; its own status says more than a SIGKILL would.
            self.status = Some(self.child.wait().await?);
        }
        Ok(line)
    }

    /// Waits until the node ends by itself; `None` if it has ended before.
    pub(super) fn ended(&mut self) -> Option<impl Future<Output = Ended>> {
        if self.status.is_some() {
            return None;
        }
        Some(async {
            // A child that cannot be waited for is nobody's any more; to say nothing would hide that it is gone.
            let status = self.child.wait().await.unwrap_or_default();
            self.status = Some(status);
            Ended {
                name: self.node.name.clone(),
                status,
                log_tail: log::tail(&self.log),
            }
        })
    }

    pub(super) async fn kill(&mut self) -> Result<(), UpError> {
        let refused = |name: &str, source| UpError::Signal {
            name: name.to_owned(),
            source,
        };
        if self.status.is_none() {
            self.signal(Signal::KILL)
                .map_err(|errno| refused(&self.node.name, errno.into()))?;
            self.status = Some(
                self.child
                    .wait()
                    .await
                    .map_err(|source| refused(&self.node.name, source))?,
            );
        }
        Ok(())
    }

    /// SIGTERM, then SIGKILL for a node that has not ended `within` that time; its name is returned in that case.
    pub(super) async fn stop(&mut self, within: Duration) -> Option<String> {
        if self.status.is_some() {
            return None;
        }
        // A refusal to signal leaves only the wait and the kill, which follow in any case.
        let _ = self.signal(Signal::TERM);
        if let Ok(Ok(status)) = timeout(within, self.child.wait()).await {
            self.status = Some(status);
            return None;
        }
        let _ = self.kill().await;
        Some(self.node.name.clone())
    }

    /// Signals the process, if it has not been waited for: only then its number is surely its own.
    fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let pid = self
            .child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        pid.map_or(Ok(()), |pid| kill_process(pid, signal))
    }
}

/// How many threads each of `nodes` nodes of this host runs its actors on: its share of the cores, at least one. More
/// would only wake each other across cores. What the environment says already is left as it is.
fn threads(nodes: usize) -> Option<(&'static str, String)> {
    if std::env::var_os(THREADS).is_some() {
        return None;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Some((THREADS, (cores / nodes.max(1)).max(1).to_string()))
}

fn spawn(options: &UpOptions, node: &NodeConfig, log: &std::path::Path) -> io::Result<Child> {
    Command::new(&options.executable)
        .arg("node")
        .arg("--config")
        .arg(&options.config.file)
        .args(["--name", &node.name])
        .arg("--data")
        .arg(options.folders.cluster.path())
        .arg("--registry")
        .arg(options.folders.registry.folder())
        .arg("--log-file")
        .arg(log)
        .arg("--parent-pipe")
        .args(options.insecure.then_some("--insecure"))
        .envs(threads(options.config.nodes.len()))
        // The parent tells the service manager when all are ready.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log::open(log, node, &options.config.logging)?)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}
