//! Runs drivers and our workloads, in turn.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::{Metric, Peer, Peers, Table, metrics, needs, tcp};
use crate::report::{Report, unix_ms};
use crate::rig::block_on;
use crate::workloads::workload;
use crate::{BenchError, Options};

/// How long a driver may be at work, and how long its building may take.
const DRIVER_WITHIN: Duration = Duration::from_secs(300);
const BUILT_WITHIN: Duration = Duration::from_secs(1_800);
/// How long what it started may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// How much of what it says is read, and how much shown when it fails.
const SAID_BYTES_MAX: u64 = 1 << 20;
const SHOWN_CHARS: usize = 300;

/// Where a driver in Rust is once it is built.
pub(super) fn driver(peers: &Peers, peer: Peer) -> Option<PathBuf> {
    let program = format!("peer-{}", peer.folder()?);
    peer.is_built_by_cargo()
        .then(|| peers.target.join("release").join(program))
}

impl Peers {
    /// Measures all of it; `say` hears what is under way. What is left out, and what was measured until it was broken off, is
    /// in the table. To be called outside of any runtime, as a workload is.
    ///
    /// # Errors
    /// [`BenchError`] when one of our workloads fails, or nothing was measured before it was broken off.
    pub fn run(&self, mut say: impl FnMut(&str)) -> Result<Table, BenchError> {
        let started_at_ms = unix_ms();
        let (mut ready, mut left_out) = (Vec::new(), Vec::new());
        for peer in self
            .peers
            .iter()
            .copied()
            .filter(|peer| self.workloads.iter().any(|workload| peer.has(workload)))
        {
            match needs::missing(self, peer) {
                Some(why) => {
                    say(&format!("{peer}: {why}"));
                    left_out.push((peer, why));
                }
                None => ready.push(peer),
            }
        }
        let mut theirs: Vec<Metric> = Vec::new();
        let mut ours: Vec<Report> = Vec::new();
        let measured = self.measure(&mut ready, &mut left_out, &mut theirs, &mut ours, &mut say);
        match measured {
            Ok(()) => {}
            Err(BenchError::Interrupted) if !ours.is_empty() => {}
            Err(error) => return Err(error),
        }
        Ok(Table::of(self, started_at_ms, &theirs, ours, left_out))
    }

    fn measure(
        &self,
        ready: &mut Vec<Peer>,
        left_out: &mut Vec<(Peer, String)>,
        theirs: &mut Vec<Metric>,
        ours: &mut Vec<Report>,
        say: &mut impl FnMut(&str),
    ) -> Result<(), BenchError> {
        let mut leave_out = |ready: &mut Vec<Peer>, peer: Peer, why: String, say: &mut dyn FnMut(&str)| {
            say(&format!("{peer}: {why}"));
            ready.retain(|other| *other != peer);
            left_out.push((peer, why));
        };
        for peer in ready.clone() {
            let Some(program) = driver(self, peer) else { continue };
            // One that is there may be of an earlier source; without cargo it has to do.
            if program.is_file() && !needs::is_installed("cargo") {
                continue;
            }
            if !program.is_file() {
                say(&format!("{peer}: its driver is built in {}", self.target.display()));
            }
            if let Err(why) = block_on(self.build(peer))? {
                leave_out(ready, peer, why, say);
            }
        }
        for round in 1..=self.rounds {
            for peer in ready.clone() {
                for at in self.workloads.iter().filter(|workload| peer.has(workload)) {
                    say(&format!("round {round} of {}: {peer}, beside {at}", self.rounds));
                    match self.turn(peer, at)? {
                        Ok(found) => theirs.extend(found),
                        Err(why) => {
                            leave_out(ready, peer, why, say);
                            break;
                        }
                    }
                }
            }
            for id in &self.workloads {
                let ours_of = workload(id).expect("WORKLOADS are workloads");
                say(&format!("round {round} of {}: {id}", self.rounds));
                let options = Options {
                    repeats: 1,
                    cluster_repeats: 1,
                    ..self.options.clone()
                };
                ours.push((ours_of.run)(&options)?);
            }
        }
        Ok(())
    }

    async fn build(&self, peer: Peer) -> Result<Result<(), String>, BenchError> {
        let folder = self
            .drivers
            .as_deref()
            .unwrap_or(Path::new("."))
            .join(peer.folder().unwrap_or_default());
        let mut command = Command::new("cargo");
        command
            .args(["build", "--release", "--quiet", "--locked", "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", &self.target);
        Ok(said(command, BUILT_WITHIN)
            .await
            .map(drop)
            .map_err(|why| format!("its driver was not built: {why}")))
    }

    /// What one turn of a peer gives, or why it gives nothing.
    fn turn(&self, peer: Peer, at: &str) -> Result<Result<Vec<Metric>, String>, BenchError> {
        let (Some(drivers), Some(folder)) = (&self.drivers, peer.folder()) else {
            return block_on(async { Ok(tcp::measure(&self.options).await.map_err(|error| error.to_string())) });
        };
        let state = self.options.data.join(format!("peer-{folder}-{}", std::process::id()));
        let disk = |what| {
            let path = state.clone();
            move |source| BenchError::Disk { what, path, source }
        };
        std::fs::create_dir(&state).map_err(disk("create"))?;
        let mut command = Command::new("bash");
        command.arg(drivers.join(folder).join("run.sh")).arg(at).arg(&state);
        command.arg(driver(self, peer).unwrap_or_default());
        let said = block_on(async { Ok(said(command, DRIVER_WITHIN).await) });
        std::fs::remove_dir_all(&state).map_err(disk("remove"))?;
        Ok(said?.and_then(|said| {
            let found = metrics(&said).map_err(|error| error.to_string())?;
            match found.is_empty() {
                true => Err("its driver printed no figure".to_owned()),
                false => Ok(found),
            }
        }))
    }
}

/// A driver and all that it started.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Drivers end what they started when they are told to; what is then left of the group is killed with them.
        let group = self.0.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::TERM);
            let started = std::time::Instant::now();
            while matches!(self.0.try_wait(), Ok(None)) && started.elapsed() < ENDS_WITHIN {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs a program to a good end; what it said on stdout, or in a line why it did not.
async fn said(mut command: Command, within: Duration) -> Result<String, String> {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut group = Group(child);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let read = async {
        let stdout = async { stdout?.take(SAID_BYTES_MAX).read_to_end(&mut out).await.ok() };
        let stderr = async { stderr?.take(SAID_BYTES_MAX).read_to_end(&mut err).await.ok() };
        tokio::join!(stdout, stderr);
        group.0.wait().await
    };
    let status = tokio::time::timeout(within, read).await;
    let said = String::from_utf8_lossy(&err);
    let last = said.trim().chars().rev().take(SHOWN_CHARS).collect::<Vec<_>>();
    let last: String = last.into_iter().rev().collect::<String>().replace('\n', "; ");
    match status {
        Err(_) => Err(format!("had not ended after {} s: {last}", within.as_secs())),
        Ok(Err(error)) => Err(format!("cannot be waited for: {error}")),
        Ok(Ok(status)) if !status.success() => Err(format!("ended with {status}: {last}")),
        Ok(Ok(_)) => Ok(String::from_utf8_lossy(&out).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_driver_says_is_read_and_why_it_fails_is_shown() {
        let run = |script: &str, within| {
            let command = shell(script);
            block_on(async { Ok(said(command, within).await) }).unwrap()
        };
        let long = Duration::from_secs(30);
        assert_eq!(
            run("echo METRIC a b 1 c; echo x >&2", long).unwrap(),
            "METRIC a b 1 c\n"
        );
        let failed = run("echo no disk >&2; exit 3", long).unwrap_err();
        assert!(
            failed.contains("exit status: 3") && failed.ends_with("no disk"),
            "{failed}"
        );
        let late = run("sleep 60 & wait", Duration::from_millis(50)).unwrap_err();
        assert!(late.contains("had not ended"), "{late}");
    }
}
