//! One attempt at a task: its work goes on while the task is held, and is broken off when it is lost.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use queenright_actors::process::{self, End, Job, LOG_BYTES_MAX, ProcessError, Report};
use queenright_bench::client::wire::{WireEnding, WireFailure};
use tokio::sync::{oneshot, watch};

use super::envelope::{CHECK_CLASS, STDOUT_BYTES_MAX, failed_check, outcome, retried};
use super::hold::{Ending, Held, Lost, margin};
use super::post::Post;
use super::usage::spent;
use super::worktree::WORKTREE;
use super::{Happening, How, Phase, Plan, Work, Worker, WorkerError};

/// How long a command has between SIGTERM and SIGKILL when its time is up.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// The same when the task is another's, or the worker must end at once.
const KILL_GRACE_SHORT: Duration = Duration::from_secs(1);
/// How long a task that is given back at the end of a worker may take to be given back; then its session ends by itself.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    Done,
    Failed,
    /// Given back, by the command's wish.
    Released,
    /// Given back because the worker ends, or cannot work on it.
    GivenBack,
    /// Lost: it is another's.
    Lost,
}

impl Became {
    /// Whether somebody may want to see how far it was.
    fn is_unfinished(self) -> bool {
        match self {
            Became::Done | Became::Released => false,
            Became::Failed | Became::GivenBack | Became::Lost => true,
        }
    }
}

/// Work that was done to its end.
struct Worked {
    ending: Ending,
    /// How the command ended, if there was one.
    end: Option<End>,
    ran: Duration,
    /// The most memory that it was seen to use.
    memory_bytes: Option<u64>,
}

/// Why work was broken off.
enum Cut {
    /// The task is no longer held.
    Lost(Lost),
    /// The worker ends.
    Stopped,
    /// It cannot be done here.
    Unable(WorkerError),
}

impl Worker {
    /// Works on a task that was claimed, to its end.
    pub(super) async fn attempt(&self, held: Held, mut phase: watch::Receiver<Phase>) -> Became {
        if *phase.borrow() != Phase::Working {
            return self.give_back(&held, "the worker ends", Some(RELEASE_WITHIN)).await;
        }
        self.tell(Happening::Started {
            task: held.id(),
            attempt: held.task.attempt,
            title: &held.task.title,
        });
        let Some(worktrees) = &self.plan.commands.worktrees else {
            return self.attempt_in(&held, None, &mut phase).await;
        };
        match worktrees.make(&self.plan.project, &held).await {
            Ok(tree) => {
                let became = self.attempt_in(&held, Some(&tree.folder), &mut phase).await;
                worktrees.end(tree, became.is_unfinished()).await;
                became
            }
            Err(error) => self.cut_short(&held, Cut::Unable(error.into()), &mut phase).await,
        }
    }

    async fn attempt_in(&self, held: &Held, tree: Option<&Path>, phase: &mut watch::Receiver<Phase>) -> Became {
        match self.worked(held, tree, phase).await {
            Ok(worked) => self.ended(held, worked).await,
            Err(cut) => self.cut_short(held, cut, phase).await,
        }
    }

    /// Does the work: done only after all checks of the task.
    async fn worked(
        &self,
        held: &Held,
        tree: Option<&Path>,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<Worked, Cut> {
        if !self.plan.commands.checks && !held.task.checks.is_empty() {
            let ending = unchecked();
            let (end, ran) = (None, Duration::ZERO);
            return Ok(Worked {
                ending,
                end,
                ran,
                memory_bytes: None,
            });
        }
        let mut worked = match &self.plan.work {
            Work::Command(command) => {
                let report = self.run_command(held, command.clone(), tree, phase).await?;
                let (outcome, result) = outcome(&report, tree);
                let mut ending = Ending {
                    outcome,
                    result,
                    usage: report.stdout.value().as_ref().and_then(spent),
                    ..Ending::default()
                };
                if outcome == WireEnding::Failed && self.plan.retry {
                    let (failure, result) = retried(&report, tree);
                    (ending.failure, ending.result) = (Some(failure), result);
                }
                Worked {
                    ending,
                    end: Some(report.end),
                    ran: report.ran,
                    memory_bytes: report.memory_bytes,
                }
            }
            Work::Post(post) => {
                let (ending, ran) = self.post(held, post, phase).await?;
                Worked {
                    ending,
                    end: None,
                    ran,
                    memory_bytes: None,
                }
            }
        };
        if worked.ending.outcome != WireEnding::Done {
            return Ok(worked);
        }
        for (place, check) in held.task.checks.iter().enumerate() {
            let command = ["sh", "-c", &**check].map(OsString::from).to_vec();
            let report = self.run_command(held, command, tree, phase).await?;
            match failed_check(&report, place, check, tree) {
                None => worked.ending.checks.push(0),
                Some((failure, result)) => {
                    worked.ending = Ending {
                        outcome: WireEnding::Failed,
                        result,
                        failure: Some(failure),
                        checks: Vec::new(),
                        usage: worked.ending.usage,
                    };
                    break;
                }
            }
        }
        Ok(worked)
    }

    /// The work was broken off.
    async fn cut_short(&self, held: &Held, cut: Cut, phase: &mut watch::Receiver<Phase>) -> Became {
        match cut {
            // The session may have lived on, and would keep the task from others for good.
            Cut::Lost(lost @ Lost::Silence) => {
                let reason = lost.to_string();
                tokio::select! {
                    became = self.give_back(held, &reason, None) => became,
                    () = until_giving_back(phase) => self.give_back(held, &reason, Some(RELEASE_WITHIN)).await,
                }
            }
            Cut::Lost(lost) => self.dropped(held, &lost),
            Cut::Stopped => self.give_back(held, "the worker ends", Some(RELEASE_WITHIN)).await,
            Cut::Unable(error) => {
                let reason = error.to_string();
                // A guard that somebody killed says nothing about the next one.
                if !matches!(error, WorkerError::Process(ProcessError::GuardLost { .. })) {
                    self.unable(error);
                }
                self.give_back(held, &reason, Some(RELEASE_WITHIN)).await
            }
        }
    }

    /// Runs a command to its end.
    async fn run_command(
        &self,
        held: &Held,
        command: Vec<OsString>,
        tree: Option<&Path>,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<Report, Cut> {
        let (job, margin) = (self.job(held, command, tree), margin(self.plan.lease));
        let (stop, stopped) = oneshot::channel::<()>();
        let mut stop = Some(stop);
        let mut why = None;
        let stopping = async {
            // The sender is used up by stopping, or lives longer than the command.
            let _ = stopped.await;
            KILL_GRACE_SHORT
        };
        let mut command = std::pin::pin!(process::run(&job, stopping));
        let mut lost = std::pin::pin!(held.lost(&self.doors, margin));
        let report = loop {
            tokio::select! {
                report = &mut command => break report,
                lost = &mut lost, if stop.is_some() => why = Some(Cut::Lost(lost)),
                () = until_giving_back(phase), if stop.is_some() => why = Some(Cut::Stopped),
            }
            if let Some(stop) = stop.take() {
                let _ = stop.send(());
            }
        };
        match (why, report) {
            (Some(why), _) => Err(why),
            (None, Ok(report)) => Ok(report),
            (None, Err(error)) => Err(Cut::Unable(error.into())),
        }
    }

    /// Posts the task and waits for the answer. The request ends with this: whoever works on it sees that.
    async fn post(
        &self,
        held: &Held,
        post: &Post,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(Ending, Duration), Cut> {
        tokio::select! {
            answered = post.answer(held, &self.plan) => Ok(answered),
            lost = held.lost(&self.doors, margin(self.plan.lease)) => Err(Cut::Lost(lost)),
            () = until_giving_back(phase) => Err(Cut::Stopped),
        }
    }

    fn job(&self, held: &Held, command: Vec<OsString>, tree: Option<&Path>) -> Job {
        let Plan { commands, project, .. } = &self.plan;
        let mut environment = commands.environment.clone();
        environment.extend(held.environment(project, self.doors.client().base_url()));
        if let Some(tree) = tree {
            environment.push((WORKTREE.to_owned(), tree.display().to_string()));
        }
        Job {
            guard: commands.guard.clone(),
            command,
            environment,
            hidden: commands.hidden.clone(),
            folder: tree.or(commands.folder.as_deref()).map(Path::to_owned),
            stdin: held.envelope(project).to_string().into_bytes(),
            time_limit: commands.time_limit,
            grace: KILL_GRACE,
            memory_bytes_max: commands.memory_bytes_max,
            measures_memory: commands.measures_memory,
            stdout_bytes_max: STDOUT_BYTES_MAX,
            log_bytes_max: LOG_BYTES_MAX,
        }
    }

    /// Tells the colony how it ended.
    async fn ended(&self, held: &Held, worked: Worked) -> Became {
        let outcome = worked.ending.outcome;
        if let Err(lost) = held.finish(&self.doors, worked.ending, None).await {
            return self.dropped(held, &lost);
        }
        let (became, how) = match outcome {
            WireEnding::Done => (Became::Done, How::Done),
            WireEnding::Failed => (Became::Failed, How::Failed),
            WireEnding::Released => (Became::Released, How::Released),
            WireEnding::Blocked | WireEnding::Cancelled => unreachable!("no work ends so"),
        };
        self.tell(Happening::Finished {
            task: held.id(),
            attempt: held.task.attempt,
            how,
            end: worked.end,
            ran_ms: worked.ran.as_millis() as u64,
            memory_bytes: worked.memory_bytes,
        });
        became
    }

    /// Gives the task back uncounted. Repeated as [`Held::finish`] is.
    async fn give_back(&self, held: &Held, reason: &str, within: Option<Duration>) -> Became {
        let released = Ending {
            outcome: WireEnding::Released,
            ..Ending::default()
        };
        match held.finish(&self.doors, released, within).await {
            Ok(()) => {
                self.tell(Happening::GivenBack {
                    task: held.id(),
                    attempt: held.task.attempt,
                    reason,
                });
                Became::GivenBack
            }
            Err(lost) => self.dropped(held, &lost),
        }
    }

    fn dropped(&self, held: &Held, lost: &Lost) -> Became {
        self.tell(Happening::Lost {
            task: held.id(),
            attempt: held.task.attempt,
            reason: &lost.to_string(),
        });
        Became::Lost
    }
}

/// How an attempt ends at a task with checks by a worker that runs none: nothing was done.
fn unchecked() -> Ending {
    Ending {
        outcome: WireEnding::Failed,
        failure: Some(WireFailure {
            retryable: true,
            class: Some(CHECK_CLASS.into()),
            message: "this worker runs no checks, and the task has some".into(),
        }),
        ..Ending::default()
    }
}

async fn until_giving_back(phase: &mut watch::Receiver<Phase>) {
    if phase.wait_for(|phase| *phase == Phase::GivingBack).await.is_err() {
        // The worker, which has the sender, outlives its attempts.
        std::future::pending().await
    }
}
