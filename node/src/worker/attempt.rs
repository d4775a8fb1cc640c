//! One attempt at a task: the command runs while the task is held, and is killed when it is lost.

use std::ffi::OsString;
use std::time::Duration;

use queenright_actors::process::{self, Job, LOG_BYTES_MAX, ProcessError, Report};
use queenright_bench::client::wire::WireEnding;
use tokio::sync::{oneshot, watch};

use super::envelope::{STDOUT_BYTES_MAX, failed_check, outcome, retried};
use super::hold::{Ending, Held, Lost, margin};
use super::{Happening, How, Phase, Plan, Work, Worker};

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

/// How the command ended.
enum Ran {
    /// By itself, or by its time limit.
    Ended(Report),
    /// It was killed, since the task is no longer held.
    Lost(Lost),
    /// It was killed, since the worker ends.
    Stopped,
    /// It could not be run here.
    Unable(ProcessError),
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
        let Work::Command(command) = &self.plan.work;
        let ran = self.work(&held, command.clone(), &mut phase).await;
        let (report, ending) = match ran {
            Ran::Ended(report) => match self.checked(&held, &report, &mut phase).await {
                Ok(ending) => (report, ending),
                Err(ran) => return self.cut_short(&held, ran, &mut phase).await,
            },
            ran => return self.cut_short(&held, ran, &mut phase).await,
        };
        self.ended(&held, &report, ending).await
    }

    /// How an attempt ends whose command has ended so: done only after all checks of the task.
    async fn checked(&self, held: &Held, report: &Report, phase: &mut watch::Receiver<Phase>) -> Result<Ending, Ran> {
        let (outcome, result) = outcome(report);
        let mut ending = Ending {
            outcome,
            result,
            ..Ending::default()
        };
        match outcome {
            WireEnding::Done => {}
            WireEnding::Failed if self.plan.retry => {
                let (failure, result) = retried(report);
                (ending.failure, ending.result) = (Some(failure), result);
                return Ok(ending);
            }
            _ => return Ok(ending),
        }
        for (place, check) in held.task.checks.iter().enumerate() {
            let command = ["sh", "-c", &**check].map(OsString::from).to_vec();
            match self.work(held, command, phase).await {
                Ran::Ended(report) => match failed_check(&report, place, check) {
                    None => ending.checks.push(0),
                    Some((failure, result)) => {
                        return Ok(Ending {
                            outcome: WireEnding::Failed,
                            result,
                            failure: Some(failure),
                            checks: Vec::new(),
                        });
                    }
                },
                ran => return Err(ran),
            }
        }
        Ok(ending)
    }

    /// The command, or a check, did not end by itself.
    async fn cut_short(&self, held: &Held, ran: Ran, phase: &mut watch::Receiver<Phase>) -> Became {
        match ran {
            // The session may have lived on, and would keep the task from others for good.
            Ran::Lost(lost @ Lost::Silence) => {
                let reason = lost.to_string();
                tokio::select! {
                    became = self.give_back(held, &reason, None) => became,
                    () = until_giving_back(phase) => self.give_back(held, &reason, Some(RELEASE_WITHIN)).await,
                }
            }
            Ran::Lost(lost) => self.dropped(held, &lost),
            Ran::Stopped => self.give_back(held, "the worker ends", Some(RELEASE_WITHIN)).await,
            Ran::Unable(error) => {
                let reason = error.to_string();
                // A guard that somebody killed says nothing about the next one.
                if !matches!(error, ProcessError::GuardLost { .. }) {
                    self.unable(error);
                }
                self.give_back(held, &reason, Some(RELEASE_WITHIN)).await
            }
            Ran::Ended(_) => unreachable!("it ended by itself"),
        }
    }

    async fn work(&self, held: &Held, command: Vec<OsString>, phase: &mut watch::Receiver<Phase>) -> Ran {
        let (job, margin) = (self.job(held, command), margin(self.plan.lease));
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
                lost = &mut lost, if stop.is_some() => why = Some(Ran::Lost(lost)),
                () = until_giving_back(phase), if stop.is_some() => why = Some(Ran::Stopped),
            }
            if let Some(stop) = stop.take() {
                let _ = stop.send(());
            }
        };
        match (why, report) {
            (Some(why), _) => why,
            (None, Ok(report)) => Ran::Ended(report),
            (None, Err(error)) => Ran::Unable(error),
        }
    }

    fn job(&self, held: &Held, command: Vec<OsString>) -> Job {
        let Plan { commands, project, .. } = &self.plan;
        let mut environment = commands.environment.clone();
        environment.extend(held.environment(project, self.doors.client().base_url()));
        Job {
            guard: commands.guard.clone(),
            command,
            environment,
            hidden: commands.hidden.clone(),
            folder: commands.folder.clone(),
            stdin: held.envelope(project).to_string().into_bytes(),
            time_limit: commands.time_limit,
            grace: KILL_GRACE,
            memory_bytes_max: commands.memory_bytes_max,
            stdout_bytes_max: STDOUT_BYTES_MAX,
            log_bytes_max: LOG_BYTES_MAX,
        }
    }

    /// Tells the colony how it ended.
    async fn ended(&self, held: &Held, report: &Report, ending: Ending) -> Became {
        let outcome = ending.outcome;
        if let Err(lost) = held.finish(&self.doors, ending, None).await {
            return self.dropped(held, &lost);
        }
        let (became, how) = match outcome {
            WireEnding::Done => (Became::Done, How::Done),
            WireEnding::Failed => (Became::Failed, How::Failed),
            WireEnding::Released => (Became::Released, How::Released),
            WireEnding::Blocked | WireEnding::Cancelled => unreachable!("no exit code means that"),
        };
        self.tell(Happening::Finished {
            task: held.id(),
            attempt: held.task.attempt,
            how,
            end: Some(report.end),
            ran_ms: report.ran.as_millis() as u64,
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

async fn until_giving_back(phase: &mut watch::Receiver<Phase>) {
    if phase.wait_for(|phase| *phase == Phase::GivingBack).await.is_err() {
        // The worker, which has the sender, outlives its attempts.
        std::future::pending().await
    }
}
