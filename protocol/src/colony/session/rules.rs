//! The rules of sessions: one command at a time, each one step.

use std::sync::Arc;

use super::{NewSession, SESSIONS_TOLD_MAX, Session, SessionCommand, SessionDue, SessionEnd, SessionId, TokenHash};
use crate::colony::agent::Held;
use crate::colony::command::{Outcome, Refusal};
use crate::colony::event::What;
use crate::colony::memory::{malformed, over_limit};
use crate::colony::project::Step;
use crate::colony::reservation::ReservationEnd;
use crate::colony::sweep::Steps;
use crate::colony::task::Return;
use crate::colony::{Applied, Colony};
use crate::id::NodeId;

/// How much of what a session holds returns with the command that closes it.
const RETURNED_AT_ONCE: usize = 64;

impl Step<'_> {
    pub(in crate::colony) fn session(&mut self, command: &SessionCommand) -> Result<Outcome, Refusal> {
        let seq = self.scope.seq;
        match command {
            SessionCommand::Open(new) => {
                self.check_new_session(new)?;
                let session = self.open_session(new);
                Ok(self.session_is_open(session))
            }
            SessionCommand::Reopen { session, token } => {
                let found = self.session_with(*session, *token)?;
                let node = self.scope.node;
                if found.home != node {
                    self.agents.sessions.check_room(node)?;
                }
                self.agents.sessions.rehome(*session, node, seq);
                self.session_changed(*session);
                Ok(self.session_is_open(*session))
            }
            SessionCommand::Close { session, token } => {
                self.session_with(*session, *token)?;
                self.end_session(*session, SessionEnd::Closed);
                self.return_held(*session, SessionEnd::Closed);
                self.look_at_waiting();
                Ok(Outcome::SessionClosed { seq, session: *session })
            }
        }
    }

    fn session_is_open(&self, session: SessionId) -> Outcome {
        Outcome::SessionOpen {
            seq: self.scope.seq,
            session,
            node: self.scope.node,
        }
    }

    /// Whether this session may begin.
    pub(in crate::colony) fn check_new_session(&self, new: &NewSession) -> Result<(), Refusal> {
        new.check_form()?;
        self.check_agents()?;
        let sessions = &self.agents.sessions;
        if let Some(other) = sessions.of_token(self.scope.project, new.token) {
            return Err(malformed("token", &format!("is that of session {}", other.id)));
        }
        sessions.check_room(self.scope.node)
    }

    /// Begins a session that may begin. Its id is the position of the command, which begins one at most.
    pub(in crate::colony) fn open_session(&mut self, new: &NewSession) -> SessionId {
        let id = SessionId(self.scope.seq);
        self.agents.sessions.insert(Session {
            id,
            project: self.scope.project.clone(),
            opened: new.clone(),
            author: self.scope.author.clone(),
            opened_ms: self.scope.cluster_ms,
            home: self.scope.node,
            homed: self.scope.seq,
            ended: None,
        });
        self.session_changed(id);
        self.event(What::SessionOpened {
            session: id,
            name: new.name.clone(),
        });
        id
    }

    /// The open session of the project that has this token.
    pub(in crate::colony) fn session_of(&self, token: TokenHash) -> Result<Arc<Session>, Refusal> {
        let session = self.agents.sessions.of_token(self.scope.project, token);
        self.open(session, None)
    }

    /// The open session of this id, if the token is its own.
    fn session_with(&self, id: SessionId, token: TokenHash) -> Result<Arc<Session>, Refusal> {
        let session = self.agents.sessions.of_token(self.scope.project, token);
        self.open(session.filter(|session| session.id == id), Some(id))
    }

    fn open(&self, session: Option<&Arc<Session>>, id: Option<SessionId>) -> Result<Arc<Session>, Refusal> {
        let session = session.ok_or(Refusal::UnknownSession { session: id })?;
        match self.agents.sessions.end_of(session, self.scope.cluster_ms) {
            None => Ok(session.clone()),
            Some(why) => Err(Refusal::SessionEnded {
                session: session.id,
                why,
            }),
        }
    }

    /// Ends a session. What it holds is still to be returned.
    pub(in crate::colony) fn end_session(&mut self, id: SessionId, why: SessionEnd) {
        self.agents.sessions.end(id, why, self.scope.cluster_ms);
        self.session_changed(id);
        self.event(What::SessionEnded { session: id, why });
        let forgotten = self.agents.sessions.forget(self.scope.cluster_ms);
        let forgotten = forgotten.map(|session| (session.project, session.id));
        self.applied.sessions.extend(forgotten);
    }

    /// Closes a session that was opened for a claim once it holds nothing any more.
    pub(in crate::colony) fn close_if_idle(&mut self, id: SessionId) {
        if self.agents.sessions.is_idle(id, self.scope.cluster_ms) {
            self.end_session(id, SessionEnd::Idle);
        }
    }

    /// Returns the first of what an ended session holds; a sweep returns the rest.
    fn return_held(&mut self, id: SessionId, why: SessionEnd) {
        let held: Vec<Held> = self.agents.sessions.held(id).take(RETURNED_AT_ONCE).collect();
        let mut steps = Steps::new(RETURNED_AT_ONCE, self.applied);
        for held in held {
            if !steps.go_on(self.applied) {
                return;
            }
            self.give_up(held, Return::Session(why));
        }
    }

    /// Returns one thing whose owner has ended.
    pub(in crate::colony) fn give_up(&mut self, held: Held, reason: Return) {
        match held {
            Held::Task(task) => self.return_task(task, reason),
            Held::Wait(wait) => self.end_wait(wait),
            // What went with the lease of a task may have gone with it.
            Held::Reservation(id) if self.project.reservations.get(id).is_none() => {}
            Held::Reservation(id) => self.end_reservation(id, ReservationEnd::of(reason)),
        }
    }

    fn session_changed(&mut self, id: SessionId) {
        self.applied.sessions.push((self.scope.project.clone(), id));
    }
}

impl Colony {
    /// What a queen tells of the sessions that live with her: each that gave no sign of life, and since which position it
    /// has lived there. Returns how many ended, and the place of the next event.
    pub(in crate::colony) fn end_silent(
        &mut self,
        node: NodeId,
        told: &[(SessionId, u64)],
        applied: &mut Applied,
    ) -> Result<(u32, u32), Refusal> {
        check_told(told.len())?;
        let (mut ended, mut ordinal) = (0, 0);
        for (id, homed) in told {
            let session = self.agents.sessions.get(*id);
            let here = session.filter(|session| (session.home, session.homed) == (node, *homed));
            let Some(session) = here.filter(|session| session.ended.is_none()).cloned() else {
                continue;
            };
            // One whose grace is over has ended by that.
            if self.agents.sessions.end_of(&session, self.cluster_ms).is_none() {
                self.on_project(&session.project, &mut ordinal, applied, |step| {
                    step.end_session(*id, SessionEnd::Silent);
                });
                ended += 1;
            }
        }
        Ok((ended, ordinal))
    }

    /// Lets sessions of a node that was taken for lost live on there. Returns how many.
    pub(in crate::colony) fn keep_alive(
        &mut self,
        node: NodeId,
        told: &[SessionId],
        applied: &mut Applied,
    ) -> Result<u32, Refusal> {
        check_told(told.len())?;
        let mut kept = 0;
        for id in told {
            let sessions = &mut self.agents.sessions;
            let Some(session) = sessions.get(*id).filter(|session| session.home == node).cloned() else {
                continue;
            };
            if sessions
                .grace_ms(&session)
                .is_some_and(|until_ms| until_ms > self.cluster_ms)
            {
                sessions.rehome(*id, node, self.seq);
                applied.sessions.push((session.project.clone(), *id));
                kept += 1;
            }
        }
        Ok(kept)
    }

    /// Does one step of what the end of sessions has brought.
    pub(in crate::colony) fn do_session_due(&mut self, due: SessionDue, ordinal: &mut u32, applied: &mut Applied) {
        match due {
            SessionDue::Orphan(session, held) => {
                let ended = session.ended.as_ref().expect("only what has ended is due");
                let reason = Return::Session(ended.why);
                self.on_project(&session.project, ordinal, applied, |step| step.give_up(held, reason));
            }
            SessionDue::Over(id) => {
                let session = self.agents.sessions.get(id).expect("it was just found").clone();
                self.on_project(&session.project, ordinal, applied, |step| {
                    step.end_session(id, SessionEnd::NodeLost);
                });
            }
        }
    }
}

fn check_told(told: usize) -> Result<(), Refusal> {
    match told > SESSIONS_TOLD_MAX {
        true => Err(over_limit("sessions", told, SESSIONS_TOLD_MAX)),
        false => Ok(()),
    }
}
