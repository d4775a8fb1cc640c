//! What the colony is told of the lives of this node's agents: that a generation lives, before its first claim of a
//! task or its first reservation, and that it has ended, so that what it held returns. An agent that never claims costs
//! the colony nothing.
//!
//! The commands are the node's, not the agent's: an agent that is killed while they are on their way is told of all the
//! same. The end is told after the start has its outcome, whichever rounds bring them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use once_cell::race::OnceBox;
use queenright_protocol::colony::{
    AGENT_REASON_BYTES_MAX, Acquire, AgentCommand, Body, Caller, Claim, Outcome, Refusal, ReservationCommand,
    TaskCommand,
};
use ractor::ActorRef;
use tokio::sync::watch;

use super::behaviour::submit;
use super::entry::Entry;
use super::generation::Generation;
use crate::queen::{QueenMessage, Request, SubmitError};

/// How long one attempt waits for its outcome; it is repeated until it has one.
const ATTEMPT: Duration = Duration::from_secs(30);
/// How long to wait after an attempt that the queen did not take.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
/// The project in whose name the commands go: they belong to none.
const PROJECT: &str = "default";

/// The outcome of telling that a life begins, once there is one.
type Begun = watch::Receiver<Option<Result<(), Refusal>>>;

/// Whether the colony was told that a generation lives.
#[derive(Default)]
pub(super) struct Registration {
    // A mutex: its agent begins it, the queen ends it. Held to look and to note. Boxed: most agents never claim.
    begun: OnceBox<Mutex<Option<Begun>>>,
}

/// Whose life it is, and who carries the word.
#[derive(Clone)]
pub(super) struct Whose {
    queen: ActorRef<QueenMessage>,
    name: Arc<str>,
    generation: u64,
}

impl Registration {
    /// Tells the colony that this life has begun, unless it knows; returns when it does.
    ///
    /// # Errors
    /// [`SubmitError::Stopping`] when the node stops. The caller gives up waiting by dropping this.
    pub(super) async fn begin(&self, whose: impl FnOnce() -> Whose) -> Result<Result<(), Refusal>, SubmitError> {
        let mut begun = {
            let begun = self.begun.get_or_init(Box::default);
            let mut begun = begun.lock().expect("nothing panics under this lock");
            // One that was refused, for want of room, is tried again.
            let known = begun.take().filter(|begun| !matches!(&*begun.borrow(), Some(Err(_))));
            begun.insert(known.unwrap_or_else(|| whose().tell_start())).clone()
        };
        let outcome = begun
            .wait_for(Option::is_some)
            .await
            .map_err(|_| SubmitError::Stopping)?;
        Ok(outcome.clone().expect("it was waited for"))
    }

    /// Tells the colony that this life has ended, if it knows of it.
    pub(super) fn end(&self, whose: Whose, reason: &str) {
        let begun = |begun: &Mutex<Option<Begun>>| begun.lock().expect("nothing panics under this lock").take();
        let Some(mut begun) = self.begun.get().and_then(begun) else {
            return;
        };
        let reason = &reason[..reason.floor_char_boundary(AGENT_REASON_BYTES_MAX)];
        let command = AgentCommand::Ended {
            name: whose.name.clone(),
            generation: whose.generation,
            reason: reason.into(),
        };
        tokio::spawn(async move {
            // One that was refused never lived; a node that stops says so to the colony when it starts again.
            if let Ok(Some(Ok(()))) = begun.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
                whose.tell(command).await;
            }
        });
    }
}

impl Whose {
    pub(super) fn of(entry: &Entry, generation: &Generation) -> Whose {
        Whose {
            queen: generation.queen.clone(),
            name: entry.name.clone(),
            generation: generation.number,
        }
    }

    fn tell_start(self) -> Begun {
        let (told, begun) = watch::channel(None);
        let command = AgentCommand::Started {
            name: self.name.clone(),
            generation: self.generation,
        };
        tokio::spawn(async move {
            let outcome = match self.tell(command).await {
                None => return,
                // An attempt whose outcome was lost has begun it.
                Some(Outcome::Refused(Refusal::AgentLive { generation, .. })) if generation == self.generation => {
                    Ok(())
                }
                Some(Outcome::Refused(refusal)) => Err(refusal),
                Some(_) => Ok(()),
            };
            // An agent that has ended meanwhile does not listen; its end does.
            let _ = told.send(Some(outcome));
        });
        begun
    }

    /// Tells it until it has an outcome; `None` when the node stops.
    async fn tell(&self, command: AgentCommand) -> Option<Outcome> {
        loop {
            let request = Request {
                project: PROJECT.into(),
                author: self.name.clone(),
                idempotency_key: None,
                body: Body::Agent(command.clone()),
            };
            match submit(&self.queen, request, ATTEMPT).await {
                Ok(Outcome::Refused(Refusal::Expired { .. })) | Err(SubmitError::Unknown { .. }) => {}
                Ok(outcome) => return Some(outcome),
                Err(SubmitError::Stopping) => return None,
                Err(_) => tokio::time::sleep(REFUSED_PAUSE).await,
            }
        }
    }
}

/// Whether a command claims a task for a hosted agent, or reserves something for it.
pub(super) fn claims_for_agent(body: &Body) -> bool {
    let (Body::Task(TaskCommand::Claim(Claim { caller, .. }))
    | Body::Reservation(ReservationCommand::Acquire(Acquire { caller, .. }))) = body
    else {
        return false;
    };
    matches!(caller, Caller::Agent { .. })
}
