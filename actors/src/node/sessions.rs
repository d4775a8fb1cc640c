//! The sessions that live on this node: takes their signs of life, and proposes the end of those that are silent. A task
//! of the node.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use queenright_protocol::colony::{
    AgentCommand, Body, Outcome, Refusal, SESSION_GRACE_MS, Session, SessionCommand, SessionId, TokenHash,
};
use queenright_protocol::id::NodeId;
use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::vigil::{Tell, Vigil};
use crate::agent::submit;
use crate::consensus::Consensus;
use crate::queen::{QueenMessage, Request, SubmitError};
use crate::replica::Replica;

/// How often the node looks for silent sessions. Much shorter than the shortest time to live, and nothing is written.
const LOOK: Duration = Duration::from_secs(1);
/// How long a quorum that has confirmed a read counts as being there still: shorter than the silence after which the
/// leader takes a node for lost.
const CONTACT: Duration = Duration::from_secs(2);
/// How long to wait for a quorum to confirm one.
const CONTACT_WAIT: Duration = Duration::from_secs(1);
/// Who tells of sessions.
const AUTHOR: &str = "queen";
/// The project in whose name the commands of the queen go: they belong to none.
const PROJECT: &str = "default";

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The session.
    pub session: SessionId,
    /// For how long it lives without another sign of life, in milliseconds; what is left of the grace, at least, while the
    /// node has no contact to a quorum.
    pub left_ms: u64,
    /// Whether this node has no contact to a quorum: then it does not know whether the session still lives.
    pub uncertain: bool,
}

/// Who keeps the sessions of this node.
pub(super) struct Keeper {
    me: NodeId,
    replica: Arc<Replica>,
    consensus: Arc<Consensus>,
    queen: ActorRef<QueenMessage>,
    started: Instant,
    // A mutex: doors note signs of life, the task looks. Held for either.
    vigil: Mutex<Vigil>,
    // Locked while a quorum is asked, so that many heartbeats ask once.
    contact: tokio::sync::Mutex<Contact>,
}

/// What is known of the way to a quorum.
#[derive(Default)]
struct Contact {
    /// When one was asked that confirmed.
    confirmed: Option<Instant>,
    /// When none had answered in time.
    failed: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(
        me: NodeId,
        replica: Arc<Replica>,
        consensus: Arc<Consensus>,
        queen: ActorRef<QueenMessage>,
    ) -> Keeper {
        Keeper {
            me,
            replica,
            consensus,
            queen,
            started: Instant::now(),
            vigil: Mutex::default(),
            contact: tokio::sync::Mutex::default(),
        }
    }

    fn vigil(&self) -> MutexGuard<'_, Vigil> {
        self.vigil.lock().expect("nothing panics under this lock")
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Looks for silent sessions until the node stops.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let seen_ms = self.now_ms();
            let Tell { mut silent, alive } = self.look();
            if silent.is_empty() && alive.is_empty() {
                continue;
            }
            // Without a quorum nobody is told: what waited for one would end sessions that were heard of meanwhile.
            if self.silence().await > CONTACT {
                continue;
            }
            self.vigil().tell_end(&mut silent, seen_ms, self.now_ms());
            if !silent.is_empty() {
                tracing::info!(sessions = silent.len(), "sessions gave no sign of life for their time");
                self.tell(Body::Agent(AgentCommand::SessionsSilent(silent)));
            }
            if !alive.is_empty() {
                self.tell(Body::Agent(AgentCommand::SessionsAlive(alive)));
            }
        }
    }

    fn look(&self) -> Tell {
        if !self.replica.has_sessions(self.me) {
            return Tell::default();
        }
        let snapshot = self.replica.snapshot();
        let sessions = snapshot.colony.sessions();
        let here = sessions.at(self.me);
        let here = here.map(|session| (&**session, sessions.grace_ms(session).is_some()));
        self.vigil().look(here, self.now_ms())
    }

    /// For how long no quorum has confirmed anything to this node, at least; asks one if that is not known.
    async fn silence(&self) -> Duration {
        let mut contact = self.contact.lock().await;
        let recently = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() <= CONTACT);
        if !recently(contact.confirmed) && !recently(contact.failed) {
            let asked = Instant::now();
            match self.consensus.read_barrier(asked + CONTACT_WAIT).await {
                Some(()) => contact.confirmed = Some(asked),
                None => contact.failed = Some(Instant::now()),
            }
        }
        match contact.confirmed {
            Some(at) => at.elapsed(),
            None => self.started.elapsed().max(CONTACT * 2),
        }
    }

    /// Notes that a call brought this token. Returns the session if it is to be re-opened here: it lives elsewhere.
    pub(super) fn heard(&self, project: &Arc<str>, token: TokenHash) -> Option<Arc<Session>> {
        let (session, _) = self.replica.session_of(project, token)?;
        if session.ended.is_some() {
            return None;
        }
        if session.home != self.me {
            return Some(session);
        }
        self.vigil().hear(&session, self.now_ms());
        None
    }

    /// Lets a session that lives elsewhere live here.
    pub(super) fn reopen(&self, session: &Session) {
        let command = SessionCommand::Reopen {
            session: session.id,
            token: session.opened.token,
        };
        self.send(session.project.clone(), Body::Session(command));
    }

    /// A sign of life of the session `id`, with its token.
    pub(super) async fn heartbeat(
        &self,
        request: impl FnOnce(SessionCommand) -> Request,
        project: &Arc<str>,
        (id, token): (SessionId, TokenHash),
        deadline: Duration,
    ) -> Result<Result<Heartbeat, Refusal>, SubmitError> {
        let until = Instant::now() + deadline;
        let known = self.replica.session_of(project, token);
        let known = known.filter(|(session, _)| session.id == id);
        if let Some((session, grace_ms)) = &known {
            if let Some(ended) = &session.ended {
                let (session, why) = (session.id, ended.why);
                return Ok(Err(Refusal::SessionEnded { session, why }));
            }
            let here = session.home == self.me && grace_ms.is_none();
            if here && self.vigil().hear(session, self.now_ms()) {
                let silence = tokio::time::timeout_at(until, self.silence()).await;
                return Ok(Ok(answer(session, silence.unwrap_or(deadline.max(CONTACT * 2)))));
            }
        }
        // Not here, not known here, or perhaps at its end: the colony knows.
        let request = request(SessionCommand::Reopen { session: id, token });
        let left = until.saturating_duration_since(Instant::now());
        match submit(&self.queen, request, left).await {
            Ok(Outcome::SessionOpen { session, .. }) => {
                let session = self
                    .replica
                    .session_of(project, token)
                    .filter(|(known, _)| known.id == session);
                let ttl_ms = session.map_or(0, |(session, _)| session.opened.ttl_ms);
                Ok(Ok(Heartbeat {
                    session: id,
                    left_ms: ttl_ms,
                    uncertain: false,
                }))
            }
            Ok(Outcome::Refused(refusal)) => Ok(Err(refusal)),
            Ok(other) => unreachable!("no session is re-opened by {other:?}"),
            Err(error) => match known {
                Some((session, _)) => Ok(Ok(answer(&session, deadline.max(CONTACT * 2)))),
                None => Err(error),
            },
        }
    }

    fn tell(&self, body: Body) {
        self.send(PROJECT.into(), body);
    }

    fn send(&self, project: Arc<str>, body: Body) {
        let request = Request {
            project,
            author: AUTHOR.into(),
            idempotency_key: None,
            body,
        };
        // Nobody waits for the outcome: what it did not change is found again. A queen that has stopped takes nothing.
        let (ticket, _) = oneshot::channel();
        let _ = self.queen.cast(QueenMessage::Submit(request, ticket));
    }
}

/// The answer to a heartbeat at a node to which no quorum has confirmed anything for this long.
fn answer(session: &Session, silence: Duration) -> Heartbeat {
    let uncertain = silence > CONTACT;
    // The leader notices later than this node that they lost each other, and the grace begins with that.
    let grace_ms = SESSION_GRACE_MS.saturating_sub(silence.as_millis() as u64);
    let ttl_ms = session.opened.ttl_ms;
    Heartbeat {
        session: session.id,
        left_ms: if uncertain { ttl_ms.min(grace_ms) } else { ttl_ms },
        uncertain,
    }
}
