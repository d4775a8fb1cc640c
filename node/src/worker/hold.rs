//! What a worker says to the colony: that it lives, that it wants tasks, how one ended. All of it may be repeated at any
//! door. How a worker shows who it is stands here and nowhere else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use queenright_bench::client::wire::{
    AcceptTask, ClaimTasks, ClaimedTask, ClaimedTasks, Code, FinishTask, Heartbeat, OpenSession, WireEnding,
    WireFailure, WireHeld, WireTaskId,
};
use queenright_bench::client::{Client, ClientError, FinishOutcome};
use queenright_protocol::colony::{SessionId, Spent};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::Plan;
use super::doors::{Doors, Unanswered, rest};

/// The longest time between two signs of life: so long may a lost task go on being worked on.
const BEAT_EVERY_MAX: Duration = Duration::from_secs(10);
/// How long a claim waits at a door. Shorter than it may be: a door that hangs is found out.
const WAIT: Duration = Duration::from_secs(25);
/// How long before the end of a session that no node has confirmed its commands are told to end: they are gone when others
/// may begin.
const MARGIN: Duration = Duration::from_millis(1_500);
/// How long a finish is repeated: it is not known how long a cluster without a leader remains so, and no session ends
/// meanwhile.
const FINISH_WITHIN: Duration = Duration::from_secs(600);
/// How long a session may take to be closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// How long a worker rests that finds no place among those who wait, until it claims without one.
const CROWDED_PAUSE: Duration = Duration::from_secs(1);

/// What the environment of every command has, by which it finds its task, and speaks to the colony about it.
pub const ENVIRONMENT: [&str; 8] = [
    "QUEENRIGHT_TASK",
    "QUEENRIGHT_ATTEMPT",
    "QUEENRIGHT_FENCE",
    "QUEENRIGHT_KIND",
    "QUEENRIGHT_PROJECT",
    "QUEENRIGHT_NODE",
    "QUEENRIGHT_TOKEN",
    "QUEENRIGHT_AGENT",
];

/// [`MARGIN`], or less where a session lives for a short time.
pub(super) fn margin(ttl: Duration) -> Duration {
    MARGIN.min(ttl / 3)
}

/// Which tasks a worker takes, and as what.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// From this queue; the default one if it does not say.
    pub queue: Option<Arc<str>>,
    /// Of these kinds; of any if there is none.
    pub kinds: Vec<Arc<str>>,
    /// What the worker is capable of, sorted and distinct.
    pub capabilities: Vec<Arc<str>>,
    /// Where and what it is, sorted and distinct.
    pub labels: Vec<Arc<str>>,
}

/// How an attempt ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    pub(super) outcome: WireEnding,
    /// What came of it.
    pub(super) result: Value,
    /// What went wrong.
    pub(super) failure: Option<WireFailure>,
    /// The exit codes of the task's checks.
    pub(super) checks: Vec<i32>,
    /// What it says to have used.
    pub(super) usage: Option<Spent>,
}

/// Whether a claim that finds nothing waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// It does not.
    None,
    /// It does.
    Waits,
    /// It was broken off while it waited: what it was granted before that is asked for again.
    BrokenOff,
}

/// A worker as the colony knows it: whoever has its token, which no other worker has, whatever their names are.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    name: String,
    token: String,
    /// Begins the idempotency keys; says nothing about the token.
    keys: String,
    claims: AtomicU64,
    /// The number of the claim that waits and is not answered yet; 0 for none.
    under_way: AtomicU64,
    beat: watch::Receiver<Beat>,
    beating: AbortHandle,
}

/// What is known of a session since its last sign of life.
#[derive(Debug)]
struct Beat {
    /// Until when it surely lives: counted from before the sign was sent.
    until: Instant,
    /// Tasks and fences.
    holds: BTreeSet<(WireTaskId, u64)>,
    cancelled: BTreeSet<WireTaskId>,
    /// Why it lives no more.
    ended: Option<String>,
}

/// A task that was claimed.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) task: ClaimedTask,
    pub(super) session: Arc<Session>,
}

/// Why a task is no longer held.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// The colony says so.
    #[error("{0}")]
    Said(String),
    /// Others may have it by now, or will never, if the session lives on.
    #[error("no node has answered for as long as its session surely lives")]
    Silence,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

impl Session {
    /// Opens one, of which there is no other, and keeps it alive for as long as the returned value lives.
    pub(super) async fn open(doors: &Arc<Doors>, plan: &Plan) -> Result<Session, Unanswered> {
        let (ttl, wanted) = (plan.lease, &plan.wanted);
        let token = format!("{:032x}", rand::random::<u128>());
        let keys = format!("run-{:032x}", rand::random::<u128>());
        let open = OpenSession {
            name: Some(plan.name.as_str().into()),
            program: Some(plan.program.into()),
            ttl_ms: Some(ttl.as_millis() as u64),
            token: Some(token.clone()),
            capabilities: wanted.capabilities.clone(),
            labels: wanted.labels.clone(),
        };
        let sent = Instant::now();
        let ask = |client: &Client| {
            let (client, open, key) = (client.clone(), open.clone(), format!("{keys}-o"));
            async move { client.open_session(&open, Some(&key)).await }
        };
        let opened = doors.ask(None, ask).await?;
        let id = opened.session.0;
        let (tell, beat) = watch::channel(Beat {
            until: sent + ttl,
            holds: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            ended: None,
        });
        let beating = tokio::spawn(beat_on(doors.clone(), id, token.clone(), ttl, tell)).abort_handle();
        Ok(Session {
            id,
            name: plan.name.clone(),
            token,
            keys,
            claims: AtomicU64::new(1),
            under_way: AtomicU64::new(0),
            beat,
            beating,
        })
    }

    /// Waits until the session surely lives for more than `margin`, or has ended: what is claimed before that would be given
    /// up at once.
    pub(super) async fn sure(&self, margin: Duration) {
        let sure = |beat: &Beat| beat.ended.is_some() || beat.until > Instant::now() + margin;
        // Without signs of life it has ended.
        let _ = self.beat.clone().wait_for(sure).await;
    }

    /// Takes up to `limit` tasks, or waits for one. After one that was broken off the limit must be what that one had.
    pub(super) async fn claim(
        self: &Arc<Session>,
        doors: &Doors,
        wanted: &Wanted,
        limit: u32,
        patience: Patience,
    ) -> Result<Vec<Held>, Unanswered> {
        let mut claim = ClaimTasks {
            queue: wanted.queue.clone(),
            kinds: wanted.kinds.clone(),
            capabilities: wanted.capabilities.clone(),
            limit: Some(limit),
            token: Some(self.token.clone()),
            wait_ms: (patience != Patience::None).then_some(WAIT.as_millis() as u64),
            ..ClaimTasks::default()
        };
        let number = match patience {
            Patience::BrokenOff => self.under_way.load(Ordering::Relaxed),
            Patience::None | Patience::Waits => self.claims.fetch_add(1, Ordering::Relaxed),
        };
        if number == 0 {
            // It was broken off before it was sent.
            return Ok(Vec::new());
        }
        if patience == Patience::Waits {
            self.under_way.store(number, Ordering::Relaxed);
        }
        let claimed = match self.ask(doors, &claim, number).await {
            Err(Unanswered::Refused(error)) if is_crowded(&error) => {
                self.under_way.store(0, Ordering::Relaxed);
                rest(CROWDED_PAUSE).await;
                claim.wait_ms = None;
                let number = self.claims.fetch_add(1, Ordering::Relaxed);
                self.ask(doors, &claim, number).await?
            }
            Err(error) => {
                self.under_way.store(0, Ordering::Relaxed);
                return Err(error);
            }
            Ok(claimed) => claimed,
        };
        let offered_ms = claimed.accept_within_ms;
        let held = claimed.tasks.into_iter().map(|task| Held {
            task,
            session: self.clone(),
        });
        let held: Vec<Held> = held.collect();
        let held = match offered_ms {
            None => held,
            // What it does not take any more goes to others, uncounted.
            Some(_) if patience == Patience::BrokenOff => Vec::new(),
            Some(offered_ms) => accepted(doors, held, Duration::from_millis(offered_ms)).await,
        };
        self.under_way.store(0, Ordering::Relaxed);
        Ok(held)
    }

    async fn ask(&self, doors: &Doors, claim: &ClaimTasks, number: u64) -> Result<ClaimedTasks, Unanswered> {
        // Repeated at another door it is answered with what was granted first.
        let key = format!("{}-c{number}", self.keys);
        let ask = |client: &Client| {
            let (client, claim, key) = (client.clone(), claim.clone(), key.clone());
            async move { client.claim_tasks(&claim, Some(&key)).await }
        };
        doors.ask(None, ask).await
    }

    /// Ends it, if the colony can be reached: what it holds returns at once.
    pub(super) async fn close(&self, doors: &Doors) {
        self.beating.abort();
        let ask = |client: &Client| {
            let (client, id, token) = (client.clone(), self.id, self.token.clone());
            async move { client.close_session(id, &token).await }
        };
        let _ = doors.ask(Some(Instant::now() + CLOSE_WITHIN), ask).await;
    }

    /// Whether this refusal says that the session is no more.
    pub(super) fn has_ended(error: &ClientError) -> bool {
        matches!(error.code(), Some(Code::Expired | Code::NotFound))
    }
}

/// Whether a claim was refused because too many wait already.
fn is_crowded(error: &ClientError) -> bool {
    let ClientError::Problem(problem) = error else {
        return false;
    };
    let field = problem.details["field"].as_str().unwrap_or_default();
    problem.code == Code::TooLarge && field.starts_with("waiting_")
}

/// Accepts what was offered; what it is too late for is left out.
async fn accepted(doors: &Doors, offered: Vec<Held>, within: Duration) -> Vec<Held> {
    let until = Instant::now() + within;
    let accepted = join_all(offered.iter().map(|held| held.confirm(doors, until))).await;
    let taken = offered
        .into_iter()
        .zip(accepted)
        .filter(|(_, accepted)| accepted.is_ok());
    taken.map(|(held, _)| held).collect()
}

/// Gives signs of life until the session has ended.
async fn beat_on(doors: Arc<Doors>, id: SessionId, token: String, ttl: Duration, tell: watch::Sender<Beat>) {
    let every = (ttl / 3).min(BEAT_EVERY_MAX);
    loop {
        sleep(every).await;
        let sent = Instant::now();
        let ask = |client: &Client| {
            let (client, token) = (client.clone(), token.clone());
            async move { client.heartbeat(id, &token).await }
        };
        match doors.ask(None, ask).await {
            Ok(heard) => {
                if heard.uncertain {
                    doors.next();
                }
                tell.send_modify(|beat| beat.heard(heard, sent));
            }
            Err(Unanswered::Refused(error) | Unanswered::NoContact(error)) => {
                tell.send_modify(|beat| beat.ended = Some(error.to_string()));
                return;
            }
        }
    }
}

impl Beat {
    fn heard(&mut self, heard: Heartbeat, sent: Instant) {
        if !heard.uncertain {
            self.until = sent + Duration::from_millis(heard.left_ms);
        }
        let holds = heard.holds.into_iter().filter_map(|held| match held {
            WireHeld::Task { task, fence, .. } => Some((task, fence)),
            WireHeld::Reservation { .. } => None,
        });
        self.holds = holds.collect();
        self.cancelled = heard.cancelled.into_iter().collect();
    }
}

impl Held {
    /// Its id.
    pub(super) fn id(&self) -> WireTaskId {
        self.task.task
    }

    /// The task as whoever works on it is told of it.
    pub(super) fn envelope(&self, project: &str) -> Value {
        let task = &self.task;
        json!({
            "task": self.id(),
            "attempt": task.attempt,
            "fence": task.fence,
            "title": task.title,
            "kind": task.kind,
            "payload": task.payload,
            "project": project,
        })
    }

    /// The environment of its commands, besides what is there already: see [`ENVIRONMENT`].
    pub(super) fn environment(&self, project: &str, node: &str) -> Vec<(String, String)> {
        let task = &self.task;
        let values = [
            self.id().to_string(),
            task.attempt.to_string(),
            task.fence.to_string(),
            task.kind.as_deref().unwrap_or_default().to_owned(),
            project.to_owned(),
            node.to_owned(),
            self.session.token.clone(),
            self.session.name.clone(),
        ];
        ENVIRONMENT.into_iter().map(str::to_owned).zip(values).collect()
    }

    /// Resolves when the task is lost: by what the colony says, or because nobody has said anything for so long that it
    /// may be another's after `margin`.
    pub(super) async fn lost(&self, doors: &Doors, margin: Duration) -> Lost {
        let mut beat = self.session.beat.clone();
        // What was said before the claim does not know of it.
        let mut heard = false;
        loop {
            let (until, absent) = {
                let beat = beat.borrow_and_update();
                if let Some(why) = &beat.ended {
                    return Lost::Said(why.clone());
                }
                if beat.cancelled.contains(&self.id()) {
                    return Lost::Said("it is cancelled".to_owned());
                }
                (beat.until - margin, !beat.holds.contains(&(self.id(), self.task.fence)))
            };
            // A node that has just been turned to may not know of the claim yet either.
            if heard
                && absent
                && let Err(lost) = self.confirm(doors, until).await
            {
                return lost;
            }
            tokio::select! {
                // Without a sender nothing more is heard, and the time decides.
                Ok(()) = beat.changed() => heard = true,
                () = sleep_until(until) => return Lost::Silence,
            }
        }
    }

    /// Asks whether the task is still held. That nobody answers is no loss yet.
    async fn confirm(&self, doors: &Doors, until: Instant) -> Result<(), Lost> {
        let accept = AcceptTask {
            fence: self.task.fence,
            token: self.session.token.clone(),
        };
        let ask = |client: &Client| {
            let (client, accept, task) = (client.clone(), accept.clone(), self.id().0);
            async move { client.accept_task(task, &accept).await }
        };
        match doors.ask(Some(until), ask).await {
            Err(Unanswered::Refused(error)) => Err(Lost::Said(error.to_string())),
            Ok(_) | Err(Unanswered::NoContact(_)) => Ok(()),
        }
    }

    /// Ends the hold on a task. Repeated until there is an answer, or `within` is over.
    pub(super) async fn finish(&self, doors: &Doors, ending: Ending, within: Option<Duration>) -> Result<(), Lost> {
        let finish = FinishTask {
            fence: self.task.fence,
            token: self.session.token.clone(),
            outcome: ending.outcome,
            result: ending.result,
            failure: ending.failure,
            checks: ending.checks,
            usage: ending.usage,
            ..FinishTask::default()
        };
        let key = format!("{}-f{}-{}", self.session.keys, self.id(), self.task.fence);
        let ask = |client: &Client| {
            let (client, finish, key, task) = (client.clone(), finish.clone(), key.clone(), self.id().0);
            async move { client.finish_task(task, &finish, Some(&key)).await }
        };
        let until = Instant::now() + within.unwrap_or(FINISH_WITHIN);
        match doors.ask(Some(until), ask).await {
            Ok(FinishOutcome::Finished(_)) => Ok(()),
            Ok(FinishOutcome::Lost(_)) => unreachable!("there was no proposal"),
            Err(Unanswered::Refused(error) | Unanswered::NoContact(error)) => Err(Lost::Said(error.to_string())),
        }
    }
}
