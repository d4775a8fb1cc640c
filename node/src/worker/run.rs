//! A worker at work: when it claims, when it waits, when it is over.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use queenright_protocol::colony::CLAIM_TASKS_MAX;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::attempt::Became;
use super::doors::{Unanswered, jittered, rest};
use super::hold::{Held, Patience, Session, margin};
use super::{Happening, Phase, Summary, Worker, WorkerError};

/// How long a worker waits after its command gave a task back, at first and at most; doubles while nothing else happens.
const RELEASED_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A claim that waited and got nothing within this time was sent away; the next one comes no sooner.
const SENT_AWAY_PAUSE: Duration = Duration::from_secs(1);
/// How long a worker that must end at once waits for the answer to a claim: what it was granted is given back. Without
/// an answer its session ends by itself.
const CLAIM_ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How long a worker waits before it opens another session.
const REOPENED_PAUSE: Duration = Duration::from_secs(1);

type Claimed = Result<Vec<Held>, Unanswered>;

/// How a worker comes to its next task.
enum Next {
    /// Not at all: there is no room, or nothing more is wanted.
    Idle,
    /// It has asked for so many and waits; that may be broken off, but it may have been granted something.
    Wait(BoxFuture<'static, Claimed>, usize),
    /// It has asked and does not wait; that may not be broken off.
    Claim(BoxFuture<'static, Claimed>),
}

impl Next {
    async fn come(&mut self) -> Claimed {
        match self {
            Next::Idle => std::future::pending().await,
            Next::Wait(claim, _) | Next::Claim(claim) => claim.await,
        }
    }
}

/// A worker at work.
pub(super) struct Run {
    worker: Arc<Worker>,
    attempts: JoinSet<Became>,
    next: Next,
    summary: Summary,
    /// How many claims in a row were in vain.
    vain: u32,
    /// How many commands in a row gave their task back.
    releases: u32,
    /// No claim before this.
    not_before: Instant,
    phase: watch::Sender<Phase>,
    /// Whether it is paused.
    pauses: watch::Receiver<bool>,
    /// Since when it has had nothing to do, while that is so.
    idle_since: Option<Instant>,
}

impl Run {
    pub(super) fn new(worker: Arc<Worker>, pauses: watch::Receiver<bool>) -> Run {
        Run {
            worker,
            attempts: JoinSet::new(),
            next: Next::Idle,
            summary: Summary::default(),
            vain: 0,
            releases: 0,
            not_before: Instant::now(),
            phase: watch::Sender::new(Phase::Working),
            pauses,
            idle_since: None,
        }
    }

    pub(super) async fn until_the_end(mut self, mut signals: mpsc::Receiver<()>) -> Result<Summary, WorkerError> {
        let (mut grace_ends, mut gives_up) = (None, None);
        let mut refused = None;
        while self.prepare() {
            let phase = self.phase();
            let idle_ends = self.idle_ends();
            tokio::select! {
                Some(()) = signals.recv() => {
                    self.enter(if phase == Phase::Working { Phase::Draining } else { Phase::GivingBack });
                }
                Ok(()) = self.pauses.changed() => {
                    if self.is_paused() {
                        self.break_off();
                    }
                }
                () = at(grace_ends), if phase == Phase::Draining => self.enter(Phase::GivingBack),
                () = at(idle_ends) => self.enter(Phase::Draining),
                () = at(gives_up), if matches!(self.next, Next::Claim(_)) => self.next = Next::Idle,
                claimed = self.next.come() => {
                    self.next = Next::Idle;
                    match claimed {
                        Ok(held) => self.claimed(held),
                        Err(Unanswered::Refused(error) | Unanswered::NoContact(error)) => {
                            refused = Some(error);
                            self.enter(Phase::Draining);
                        }
                    }
                }
                Some(became) = self.attempts.join_next() => {
                    // A bug in an attempt is one of the worker.
                    self.ended(became.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
                }
            }
            if self.phase() != Phase::Working && grace_ends.is_none() {
                grace_ends = Some(Instant::now() + self.worker.plan.grace);
            }
            if self.phase() == Phase::GivingBack && gives_up.is_none() {
                gives_up = Some(Instant::now() + CLAIM_ANSWERED_WITHIN);
            }
        }
        self.worker.close().await;
        let broken = self.worker.broken.lock().expect("nobody panics with it").take();
        match (refused, broken) {
            (Some(error), _) => Err(WorkerError::Claim(error)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(self.summary),
        }
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    fn enter(&mut self, phase: Phase) {
        self.phase.send_replace(phase);
        self.break_off();
        if phase == Phase::Draining {
            let running = self.attempts.len();
            self.worker.tell(Happening::Draining { running });
        }
    }

    /// It takes no more, but what it was granted it must know of.
    fn break_off(&mut self) {
        if let Next::Wait(_, limit) = self.next {
            self.next = Next::Claim(self.claim(limit, Patience::BrokenOff));
        }
    }

    /// Takes no tasks for now; it is not to end.
    fn is_paused(&self) -> bool {
        self.phase() == Phase::Working && *self.pauses.borrow()
    }

    /// Decides how to come to the next task. False once all is over.
    fn prepare(&mut self) -> bool {
        let paused = self.is_paused();
        if self.phase() == Phase::Working && !paused && matches!(self.next, Next::Idle) {
            let (room, empty) = (self.room(), self.vain > 0 && self.worker.plan.exit_when_empty);
            if room > 0 && !empty {
                self.next = match self.worker.plan.exit_when_empty {
                    true => Next::Claim(self.claim(room, Patience::None)),
                    false => Next::Wait(self.claim(room, Patience::Waits), room),
                };
            }
        }
        paused || !matches!(self.next, Next::Idle) || !self.attempts.is_empty()
    }

    /// When it ends because there was nothing to do for so long. A pause is none of that, nor is a command that gave its task
    /// back.
    fn idle_ends(&mut self) -> Option<Instant> {
        let idle_for = self.worker.plan.idle_for?;
        let waits = matches!(self.next, Next::Wait(..)) && self.attempts.is_empty() && !self.is_paused();
        self.idle_since = waits.then(|| self.idle_since.unwrap_or_else(Instant::now).max(self.not_before));
        self.idle_since.map(|since| since + idle_for)
    }

    /// How many tasks may be taken now.
    fn room(&self) -> usize {
        let plan = &self.worker.plan;
        let left = plan.max_tasks.map_or(u64::MAX, |max| max - self.summary.taken);
        let free = plan.concurrency - self.attempts.len();
        free.min(usize::try_from(left).unwrap_or(usize::MAX))
            .min(CLAIM_TASKS_MAX)
    }

    fn claim(&self, limit: usize, patience: Patience) -> BoxFuture<'static, Claimed> {
        let (worker, not_before) = (self.worker.clone(), self.not_before);
        let claim = async move {
            if patience != Patience::BrokenOff {
                sleep_until(not_before).await;
            }
            let asked = Instant::now();
            let claimed = worker.claim(limit as u32, patience).await;
            let nothing = claimed.as_ref().is_ok_and(Vec::is_empty);
            if nothing && patience == Patience::Waits && asked.elapsed() < SENT_AWAY_PAUSE {
                rest(SENT_AWAY_PAUSE).await;
            }
            claimed
        };
        claim.boxed()
    }

    fn claimed(&mut self, held: Vec<Held>) {
        self.vain = if held.is_empty() { self.vain + 1 } else { 0 };
        for held in held {
            self.summary.taken += 1;
            let (worker, phase) = (self.worker.clone(), self.phase.subscribe());
            self.attempts.spawn(async move { worker.attempt(held, phase).await });
        }
    }

    fn ended(&mut self, became: Became) {
        let summary = &mut self.summary;
        let counted = match became {
            Became::Done => &mut summary.done,
            Became::Failed => &mut summary.failed,
            Became::Released | Became::GivenBack => &mut summary.released,
            Became::Lost => &mut summary.lost,
        };
        *counted += 1;
        if became == Became::Released {
            let pause = doubled(RELEASED_PAUSE, self.releases);
            self.not_before = Instant::now() + jittered(pause);
            self.releases += 1;
        } else {
            self.releases = 0;
        }
        if self.worker.plan.exit_when_empty {
            // What it had may have come back.
            self.vain = 0;
        }
        let broken = self.worker.broken.lock().expect("nobody panics with it").is_some();
        if broken && self.phase() == Phase::Working {
            self.enter(Phase::Draining);
        }
    }
}

impl Worker {
    /// Claims in the session of this worker, or in a new one where that has ended.
    async fn claim(&self, limit: u32, patience: Patience) -> Claimed {
        loop {
            // Only claims and the end of the worker use it, one at a time.
            let mut slot = self.session.lock().await;
            let session = match &*slot {
                Some(session) => session.clone(),
                None if patience == Patience::BrokenOff => return Ok(Vec::new()),
                None => {
                    let opened = Session::open(&self.doors, &self.plan).await?;
                    slot.insert(Arc::new(opened)).clone()
                }
            };
            if patience != Patience::BrokenOff {
                session.sure(margin(self.plan.lease)).await;
            }
            match session.claim(&self.doors, &self.plan.wanted, limit, patience).await {
                Err(Unanswered::Refused(error)) if Session::has_ended(&error) => {
                    *slot = None;
                    rest(REOPENED_PAUSE).await;
                }
                claimed => return claimed,
            }
        }
    }

    async fn close(&self) {
        if let Some(session) = self.session.lock().await.take() {
            session.close(&self.doors).await;
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The first of the two, doubled so often, at most the second.
fn doubled((first, most): (Duration, Duration), times: u32) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}
