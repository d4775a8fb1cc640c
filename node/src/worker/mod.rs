//! Any program as a worker: claims tasks, runs the command for each of them, and tells the colony how it ended.
//!
//! ```text
//!            ┌──────────────────── room for more ◀──────────────────┐
//!            ▼                                                      │
//!         working ── claim, waits ──▶ attempts, at most concurrency ┘
//!            │ first signal, `max_tasks`, empty and `exit_when_empty`, or nothing to do for `idle_for`
//!            ▼
//!         draining ── all attempts have ended ──▶ over
//!            │ second signal, or the grace is over        ▲
//!            ▼                                            │
//!         giving back: commands are killed, tasks released┘
//! ```
//!
//! The claim waits at the node until a task is ready for this worker: nothing is asked meanwhile. What it is offered it
//! accepts at once. An attempt is the command, and after it the checks of the task.
//!
//! What a worker claims is its session's. A lost task kills its command: the whole process group, by
//! [`queenright_actors::process`]. So does the end of the time for which the session surely lives, if no door has confirmed
//! that it does.

mod attempt;
mod doors;
mod envelope;
mod hold;
pub mod post;
mod run;
mod usage;
mod warm;
mod worktree;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use queenright_actors::process::{End, ProcessError};
use queenright_bench::client::ClientError;
use queenright_bench::client::wire::WireTaskId;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

pub use self::doors::Doors;
pub(crate) use self::doors::jittered;
pub use self::envelope::{EXIT_RELEASED, STDOUT_BYTES_MAX};
pub use self::hold::ENVIRONMENT;
use self::hold::Session;
pub use self::hold::Wanted;
pub use self::post::{Post, PostError};
pub(crate) use self::post::{http_client, retry_after, with_causes};
use self::run::Run;
pub use self::worktree::{WORKTREE, WorktreeError, Worktrees};

/// What a worker does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is done for each task.
    pub work: Work,
    /// How commands are run, those of checks too.
    pub commands: Commands,
    /// What it is called; others may be called the same.
    pub name: String,
    /// What it is, for those who look at its session.
    pub program: &'static str,
    /// In which project.
    pub project: String,
    /// Which tasks.
    pub wanted: Wanted,
    /// Whether a task whose command fails may be tried again.
    pub retry: bool,
    /// How many at a time.
    pub concurrency: usize,
    /// How long the session of the worker lives without a sign of life.
    pub lease: Duration,
    /// How long commands may go on after the first signal.
    pub grace: Duration,
    /// How many tasks to take before the end.
    pub max_tasks: Option<u64>,
    /// Whether to end once no task is ready and none is under way here.
    pub exit_when_empty: bool,
    /// Whether to end once there was nothing to do for so long.
    pub idle_for: Option<Duration>,
}

impl Plan {
    /// Reads what the work needs and looks whether it is there, before a worker starts.
    ///
    /// # Errors
    /// [`WorkerError::Worktree`] or [`WorkerError::Post`].
    pub async fn prepare(&mut self) -> Result<(), WorkerError> {
        if let Some(worktrees) = &self.commands.worktrees {
            worktrees.open().await?;
        }
        if let Work::Post(post) = &mut self.work {
            let mut opened = post.clone();
            let opening = spawn_blocking(move || opened.open().map(|()| opened));
            // A bug in there is one of the worker.
            let opened = opening
                .await
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            *post = opened?;
        }
        Ok(())
    }
}

/// What is done for each task.
#[derive(Clone, Debug)]
pub enum Work {
    /// This program is run, with its arguments.
    Command(Vec<OsString>),
    /// It is posted.
    Post(Box<Post>),
}

/// How commands are run.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    /// The program that guards them: this one.
    pub guard: PathBuf,
    /// Where they run; where this process does if it does not say.
    pub folder: Option<PathBuf>,
    /// What their environment has besides that of this process and [`ENVIRONMENT`].
    pub environment: Vec<(String, String)>,
    /// What it does not have of that of this process.
    pub hidden: Vec<&'static str>,
    /// How long one may run.
    pub time_limit: Option<Duration>,
    /// How much memory one may use, in bytes.
    pub memory_bytes_max: Option<u64>,
    /// Whether their memory is looked at although it is not bounded.
    pub measures_memory: bool,
    /// Run once before the first claim, if it is any.
    pub warm: Vec<OsString>,
    /// From what each attempt gets a folder of its own, instead of `folder`.
    pub worktrees: Option<Worktrees>,
    /// Whether the checks of tasks are run. Without them a task that has some has failed.
    pub checks: bool,
}

/// This program as it is, even if its file is replaced meanwhile: the guard of commands.
///
/// # Errors
/// When the system does not say where it is.
pub fn this_program() -> io::Result<PathBuf> {
    match cfg!(target_os = "linux") {
        true => Ok("/proc/self/exe".into()),
        false => std::env::current_exe(),
    }
}

/// What a worker tells while it works.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening<'a> {
    /// The command was started for a task.
    Started {
        /// The task.
        task: WireTaskId,
        /// The attempt.
        attempt: u32,
        /// What is to be done.
        title: &'a str,
    },
    /// The command has ended, and the colony knows.
    Finished {
        /// The task.
        task: WireTaskId,
        /// The attempt.
        attempt: u32,
        /// How the task ended.
        how: How,
        /// How the command ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        end: Option<End>,
        /// How long it ran.
        ran_ms: u64,
        /// The most memory that the command was seen to use, in bytes, where it was looked at.
        #[serde(skip_serializing_if = "Option::is_none")]
        memory_bytes: Option<u64>,
    },
    /// The task is for others again, before its command had ended.
    GivenBack {
        /// The task.
        task: WireTaskId,
        /// The attempt.
        attempt: u32,
        /// Why.
        reason: &'a str,
    },
    /// The task is no longer held; its command was killed.
    Lost {
        /// The task.
        task: WireTaskId,
        /// The attempt.
        attempt: u32,
        /// Why.
        reason: &'a str,
    },
    /// The worker takes no more tasks and waits for those that it has.
    Draining {
        /// How many it has.
        running: usize,
    },
}

/// How a task ended that was worked on to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It is done.
    Done,
    /// It has failed.
    Failed,
    /// It was given back as the command wanted.
    Released,
}

/// What a worker has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many tasks were taken.
    pub taken: u64,
    /// How many of them are done.
    pub done: u64,
    /// How many have failed.
    pub failed: u64,
    /// How many were given back.
    pub released: u64,
    /// How many were lost to others.
    pub lost: u64,
}

impl Summary {
    /// Counts what happens, but for what is taken, and keeps how many attempts are under way.
    pub fn note(&mut self, running: &mut u64, happening: &Happening<'_>) {
        match happening {
            Happening::Started { .. } => {
                *running += 1;
                return;
            }
            Happening::Draining { .. } => return,
            Happening::Finished { how: How::Done, .. } => self.done += 1,
            Happening::Finished { how: How::Failed, .. } => self.failed += 1,
            Happening::Finished { how: How::Released, .. } | Happening::GivenBack { .. } => self.released += 1,
            Happening::Lost { .. } => self.lost += 1,
        }
        // What is given back at once was never begun.
        *running = running.saturating_sub(1);
    }
}

/// Why a worker ended before it should.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The colony refuses its claims.
    #[error("no task can be claimed")]
    Claim(#[source] ClientError),
    /// Commands cannot be run here. What it had was given back.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// No folder can be made for a command. What it had was given back.
    #[error("no worktree can be made")]
    Worktree(#[from] WorktreeError),
    /// Nothing can be posted. It had nothing.
    #[error(transparent)]
    Post(#[from] PostError),
    /// It could not warm up. It had nothing.
    #[error("warm: {0}")]
    Warm(String),
}

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Working,
    /// It takes no more.
    Draining,
    /// It ends at once.
    GivingBack,
}

/// Whom a worker tells what happens.
pub type Listener = dyn Fn(&Happening<'_>) + Send + Sync;

/// A worker: one session at a time, one place where it claims, many attempts.
pub struct Worker {
    plan: Plan,
    doors: Arc<Doors>,
    /// Opened by the first claim, and anew when it has ended.
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    listener: Box<Listener>,
    /// Why work cannot be done here, from the first attempt that found out. Attempts and the worker meet here only.
    broken: Mutex<Option<WorkerError>>,
}

impl Worker {
    /// A worker. Nothing is asked yet.
    pub fn new(plan: Plan, doors: Doors, listener: Box<Listener>) -> Worker {
        Worker {
            plan,
            doors: Arc::new(doors),
            session: tokio::sync::Mutex::new(None),
            listener,
            broken: Mutex::new(None),
        }
    }

    /// Works until it is told to stop, or the plan says that it is over. The first of `signals` lets what runs end within
    /// the grace, the second gives it back at once. While `pauses` says that it is paused it takes no tasks; what runs
    /// goes on.
    ///
    /// # Errors
    /// [`WorkerError`].
    pub async fn run(self, signals: mpsc::Receiver<()>, pauses: watch::Receiver<bool>) -> Result<Summary, WorkerError> {
        Run::new(Arc::new(self), pauses).until_the_end(signals).await
    }

    fn tell(&self, happening: Happening<'_>) {
        (self.listener)(&happening);
    }

    /// Notes that work cannot be done here.
    fn unable(&self, error: WorkerError) {
        let mut broken = self.broken.lock().expect("nobody panics with it");
        broken.get_or_insert(error);
    }
}
