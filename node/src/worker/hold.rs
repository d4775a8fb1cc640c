//! What a worker says to the colony: that it lives, that it wants tasks, how one ended. All of it may be repeated at any
//! door. How a worker shows who it is stands here and nowhere else.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{
    AcceptTask, ClaimTasks, ClaimedTask, Code, EventCursor, FinishTask, Heartbeat, OpenSession, WireEnding, WireHeld,
    WireTaskId, WireWhat,
};
use queenright_bench::client::{Client, ClientError, Filter, FinishOutcome};
use queenright_protocol::colony::{SessionId, StateName};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::doors::{Doors, Unanswered, rest};

/// The longest time between two signs of life: so long may a lost task go on being worked on.
const BEAT_EVERY_MAX: Duration = Duration::from_secs(10);
/// How long one wait for events is at a door. Whatever it brings, a claim follows: nothing depends on an event alone.
const WAIT: Duration = Duration::from_secs(25);
/// How long a finish is repeated: it is not known how long a cluster without a leader remains so, and no session ends
/// meanwhile.
const FINISH_WITHIN: Duration = Duration::from_secs(600);
/// How long a session may take to be closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// How many events are looked at by one wait.
const EVENTS: u64 = 1_000;

/// Which tasks a worker takes.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of these kinds; of any if there is none.
    pub kinds: Vec<Arc<str>>,
}

/// A worker as the colony knows it: whoever has its token, which no other worker has, whatever their names are.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    token: String,
    /// Begins the idempotency keys; says nothing about the token.
    keys: String,
    claims: AtomicU64,
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
#[derive(Debug)]
pub(super) struct Lost(String);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

impl Session {
    /// Opens one, of which there is no other, and keeps it alive for as long as the returned value lives.
    pub(super) async fn open(doors: &Arc<Doors>, name: &str, ttl: Duration) -> Result<Session, Unanswered> {
        let token = format!("{:032x}", rand::random::<u128>());
        let keys = format!("run-{:032x}", rand::random::<u128>());
        let open = OpenSession {
            name: Some(name.into()),
            program: Some("queenright run".into()),
            ttl_ms: Some(ttl.as_millis() as u64),
            token: Some(token.clone()),
            ..OpenSession::default()
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
            token,
            keys,
            claims: AtomicU64::new(0),
            beat,
            beating,
        })
    }

    /// The token, for the environment of commands.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Takes up to `limit` tasks that wait, and says behind which event to look for more.
    pub(super) async fn claim(
        self: &Arc<Session>,
        doors: &Doors,
        wanted: &Wanted,
        limit: u32,
    ) -> Result<(Vec<Held>, EventCursor), Unanswered> {
        let claim = ClaimTasks {
            kinds: wanted.kinds.clone(),
            limit: Some(limit),
            token: Some(self.token.clone()),
            ..ClaimTasks::default()
        };
        // Repeated at another door it is answered with what was granted first.
        let key = format!("{}-c{}", self.keys, self.claims.fetch_add(1, Ordering::Relaxed));
        let ask = |client: &Client| {
            let (client, claim, key) = (client.clone(), claim.clone(), key.clone());
            async move { client.claim_tasks(&claim, Some(&key)).await }
        };
        let claimed = doors.ask(None, ask).await?;
        let held = claimed.tasks.into_iter().map(|task| Held {
            task,
            session: self.clone(),
        });
        Ok((held.collect(), EventCursor::behind(claimed.seq)))
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
                    return Lost(why.clone());
                }
                if beat.cancelled.contains(&self.id()) {
                    return Lost("it is cancelled".to_owned());
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
                () = sleep_until(until) => {
                    return Lost("no node has answered for as long as its session surely lives".to_owned());
                }
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
            Err(Unanswered::Refused(error)) => Err(Lost(error.to_string())),
            Ok(_) | Err(Unanswered::NoContact(_)) => Ok(()),
        }
    }

    /// Ends the hold on a task. Repeated until there is an answer, or `within` is over.
    pub(super) async fn finish(
        &self,
        doors: &Doors,
        outcome: WireEnding,
        result: Value,
        within: Option<Duration>,
    ) -> Result<(), Lost> {
        let finish = FinishTask {
            fence: self.task.fence,
            token: self.session.token.clone(),
            outcome,
            result,
            proposal: None,
            failure: None,
            needs: Vec::new(),
            follow_ups: Vec::new(),
            checks: Vec::new(),
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
            Err(Unanswered::Refused(error) | Unanswered::NoContact(error)) => Err(Lost(error.to_string())),
        }
    }
}

/// Waits until there may be a task that is wanted: one was added or returned behind the cursor, or some time has passed.
pub(super) async fn wait_for_work(doors: &Doors, wanted: &Wanted, mut after: EventCursor) {
    let filter = Filter {
        types: ["task_added", "task_returned", "task_moved"]
            .map(str::to_owned)
            .to_vec(),
        ..Filter::default()
    };
    let until = Instant::now() + WAIT;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let client = doors.client();
        let page = client.events(Some(after), EVENTS, left, &filter, Consistency::Local);
        match page.await {
            Ok(page) if page.events.iter().any(|event| is_wanted(&event.what, wanted)) => return,
            Ok(page) => after = page.next_cursor,
            // The claim that follows finds a door that answers.
            Err(_) => return rest(Duration::from_millis(500)).await,
        }
    }
}

fn is_wanted(what: &WireWhat, wanted: &Wanted) -> bool {
    match what {
        WireWhat::TaskAdded { kind, .. } => {
            wanted.kinds.is_empty() || kind.as_ref().is_some_and(|kind| wanted.kinds.contains(kind))
        }
        // They do not say of what kind.
        WireWhat::TaskReturned { .. } => true,
        WireWhat::TaskMoved { state, .. } => *state == StateName::Pending,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tasks_of_wanted_kinds_wake_a_worker() {
        let added = |kind: Option<&str>| WireWhat::TaskAdded {
            task: "1-0".parse().unwrap(),
            kind: kind.map(Arc::from),
            name: None,
        };
        let any = Wanted::default();
        let hash = Wanted {
            kinds: vec!["hash".into()],
        };
        assert!(is_wanted(&added(None), &any) && is_wanted(&added(Some("hash")), &any));
        assert!(is_wanted(&added(Some("hash")), &hash));
        assert!(!is_wanted(&added(None), &hash) && !is_wanted(&added(Some("other")), &hash));
    }
}
