//! A command while it runs, from the side of who wants it run.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until, timeout};

use super::guard::{self, Said};
use super::{End, Head, Job, ProcessError, Report, Stopped, Tail};

/// How much is read at once.
const READ_BYTES: usize = 16 << 10;
/// How long what the command printed last may take to arrive after its end: all writers are dead by then, but for one
/// that left the group where nothing finds it.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How long a guard has for its own end.
const GUARD_ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Runs a command to its end, or until `stop` resolves: then its group is sent SIGTERM, and all that is left of it SIGKILL
/// after the time that `stop` says. If the future is dropped all of it is killed at once.
///
/// # Errors
/// [`ProcessError`]: the command did not run, or nothing is known of its end; nothing of it is left in either case.
pub async fn run(job: &Job, stop: impl Future<Output = Duration>) -> Result<Report, ProcessError> {
    let mut running = Running::start(job).await?;
    let mut stop = std::pin::pin!(stop);
    loop {
        let (time_limit, kill) = (running.time_limit, running.kill_at);
        tokio::select! {
            step = running.step() => match step? {
                Step::Goes => {}
                Step::Over => break,
            },
            grace = &mut stop, if running.stopped.is_none() => running.stop(Stopped::Asked, grace).await,
            () = at(time_limit), if running.stopped.is_none() => running.stop(Stopped::TimeLimit, job.grace).await,
            () = at(kill) => running.kill().await,
        }
    }
    running.report().await
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

enum Step {
    Goes,
    Over,
}

/// A command that was started.
struct Running {
    guard: Child,
    leash: OwnedWriteHalf,
    said: BufReader<OwnedReadHalf>,
    /// What the guard has said of the line that is under way.
    line: Vec<u8>,
    /// For messages.
    program: String,
    group: Option<Pid>,
    started: Instant,
    time_limit: Option<Instant>,
    stopped: Option<Stopped>,
    memory_bytes: Option<u64>,
    kill_at: Option<Instant>,
    end: Option<(End, Instant)>,
    stdout: Stream,
    stderr: Stream,
    head: Head,
    tail: Tail,
}

impl Running {
    async fn start(job: &Job) -> Result<Running, ProcessError> {
        let failed = |source| ProcessError::Guard {
            guard: job.guard.display().to_string(),
            source,
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let theirs = theirs.into_std().map_err(failed)?;
        theirs.set_nonblocking(false).map_err(failed)?;
        let mut command = Command::new(&job.guard);
        if let Some(folder) = &job.folder {
            command.current_dir(folder);
        }
        command.args(guard::arguments(job));
        for name in &job.hidden {
            command.env_remove(name);
        }
        let mut guard = command
            .envs(job.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Signals of a terminal are for whoever runs it.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (said, mut leash) = ours.into_split();
        let length = u32::try_from(job.stdin.len()).unwrap_or(u32::MAX);
        // A guard that does not listen has died, which shows at once.
        let _ = leash.write_all(&length.to_be_bytes()).await;
        let _ = leash.write_all(&job.stdin).await;
        let started = Instant::now();
        Ok(Running {
            leash,
            said: BufReader::new(said),
            line: Vec::new(),
            program: job
                .command
                .first()
                .map_or_else(String::new, |program| program.display().to_string()),
            group: None,
            started,
            time_limit: job.time_limit.map(|limit| started + limit),
            stopped: None,
            memory_bytes: None,
            kill_at: None,
            end: None,
            stdout: Stream::of(guard.stdout.take()),
            stderr: Stream::of(guard.stderr.take()),
            head: Head::new(job.stdout_bytes_max),
            tail: Tail::new(job.log_bytes_max),
            guard,
        })
    }

    /// Waits for the next thing to happen. Safe to cancel.
    async fn step(&mut self) -> Result<Step, ProcessError> {
        if !self.stdout.open && !self.stderr.open && self.end.is_some() {
            return Ok(Step::Over);
        }
        let drained = self.end.map(|(_, ended)| ended + DRAIN_MAX);
        tokio::select! {
            bytes = self.stdout.read(), if self.stdout.open => self.head.take(bytes),
            bytes = self.stderr.read(), if self.stderr.open => self.tail.take(bytes),
            // Bytes stay in `line` when this is cancelled.
            read = self.said.read_until(b'\n', &mut self.line), if self.end.is_none() => {
                let line = std::mem::take(&mut self.line);
                let said = read.ok().and_then(|_| serde_json::from_slice(&line).ok());
                self.heard(said)?;
            }
            () = at(drained) => return Ok(Step::Over),
        }
        Ok(Step::Goes)
    }

    fn heard(&mut self, said: Option<Said>) -> Result<(), ProcessError> {
        match said {
            Some(Said::Started(group)) => self.group = Pid::from_raw(group),
            Some(Said::Refused(problem)) => {
                return Err(ProcessError::Command {
                    command: self.program.clone(),
                    problem,
                });
            }
            Some(Said::OverMemory { used, limit }) => {
                self.stopped.get_or_insert(Stopped::Memory { used, limit });
            }
            Some(Said::Memory { most }) => self.memory_bytes = Some(most),
            Some(Said::Ended(end)) => self.end = Some((end, Instant::now())),
            None => {
                // The leader of the group dies with its guard on Linux; the others are still in it.
                if let Some(group) = self.group {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                return Err(ProcessError::GuardLost {
                    command: self.program.clone(),
                });
            }
        }
        Ok(())
    }

    async fn stop(&mut self, why: Stopped, grace: Duration) {
        self.stopped = Some(why);
        self.kill_at = Some(Instant::now() + grace);
        let _ = self.leash.write_all(&[guard::TERM]).await;
    }

    async fn kill(&mut self) {
        self.kill_at = None;
        let _ = self.leash.write_all(&[guard::KILL]).await;
    }

    async fn report(mut self) -> Result<Report, ProcessError> {
        let (end, ended) = self.end.expect("only what has ended is over");
        // It has said its last word; a zombie of it would be collected by the runtime all the same.
        let _ = timeout(GUARD_ENDS_WITHIN, self.guard.wait()).await;
        Ok(Report {
            end,
            stopped: self.stopped,
            stdout: self.head,
            log: self.tail,
            ran: ended - self.started,
            memory_bytes: self.memory_bytes,
        })
    }
}

/// One of the command's streams.
struct Stream {
    pipe: Option<Box<dyn AsyncRead + Send + Unpin>>,
    open: bool,
    buffer: Vec<u8>,
}

impl Stream {
    fn of(pipe: Option<impl AsyncRead + Send + Unpin + 'static>) -> Stream {
        Stream {
            open: pipe.is_some(),
            pipe: pipe.map(|pipe| Box::new(pipe) as Box<dyn AsyncRead + Send + Unpin>),
            buffer: vec![0; READ_BYTES],
        }
    }

    /// What comes next; nothing at the end.
    async fn read(&mut self) -> &[u8] {
        let Some(pipe) = &mut self.pipe else { return &[] };
        // A stream that cannot be read has no more to say.
        let read = pipe.read(&mut self.buffer).await.unwrap_or_default();
        if read == 0 {
            self.open = false;
            self.pipe = None;
        }
        &self.buffer[..read]
    }
}
