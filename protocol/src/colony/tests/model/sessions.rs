//! Sessions in the model: a list for each project, looked through from the first to the last.

use super::forms::bad_text;
use super::tasks::{agent, lease};
use super::*;
use crate::colony::Held as Has;

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::colony::tests) struct ModelSession {
    pub(in crate::colony::tests) session: Session,
    /// The position at which its node was lost, and when its grace is over.
    grace: Option<(u64, u64)>,
}

impl ModelSession {
    /// Why it has ended, whether that was noted or not.
    pub(super) fn over(&self, now_ms: u64) -> Option<SessionEnd> {
        let noted = self.session.ended.as_ref().map(|ended| ended.why);
        let lost = self.grace.filter(|(_, until_ms)| *until_ms <= now_ms);
        noted.or(lost.map(|_| SessionEnd::NodeLost))
    }

    fn is_over(&self, now_ms: u64) -> bool {
        self.over(now_ms).is_some()
    }
}

/// A step that sessions bring.
pub(super) enum SessionStep {
    Return(String, Has, SessionEnd),
    End(String, SessionId),
}

fn bad_words(field: &str, words: &[Arc<str>]) -> Option<Refusal> {
    let too_many = (words.len() > 32).then(|| over(field, words.len(), 32));
    let unsorted = words.windows(2).any(|pair| pair[0] >= pair[1]);
    too_many
        .or(words.iter().find_map(|word| bad_text(field, word, 128)))
        .or(unsorted.then(|| bad(field, "are not sorted and distinct")))
}

fn bad_session(new: &NewSession) -> Option<Refusal> {
    let ttl = match new.ttl_ms {
        ms if ms < 10_000 => Some(bad("ttl_ms", &format!("{ms} is under the least, 10000"))),
        ms => (ms > 86_400_000).then(|| over("ttl_ms", ms as usize, 86_400_000)),
    };
    bad_text("name", &new.name, 128)
        .or(new.program.as_ref().and_then(|text| bad_text("program", text, 256)))
        .or(bad_words("capabilities", &new.capabilities))
        .or(bad_words("labels", &new.labels))
        .or(ttl)
}

impl ModelProject {
    pub(super) fn session_command(&mut self, command: &SessionCommand, at: &At) -> Result<Outcome, Refusal> {
        let (seq, node) = (at.seq, at.node);
        match command {
            SessionCommand::Open(new) => {
                self.check_session(new)?;
                self.open_session(new, at);
                let session = SessionId(seq);
                Ok(Outcome::SessionOpen { seq, session, node })
            }
            SessionCommand::Reopen { session, token } => {
                let place = self.open_one(Some(*session), *token, at)?;
                let found = &mut self.sessions[place];
                found.grace = None;
                (found.session.home, found.session.homed) = (node, seq);
                let session = *session;
                Ok(Outcome::SessionOpen { seq, session, node })
            }
            SessionCommand::Close { session, token } => {
                self.open_one(Some(*session), *token, at)?;
                self.end_session(*session, SessionEnd::Closed, at);
                for held in self.held_by(*session).into_iter().take(64) {
                    self.give_up(held, SessionEnd::Closed, at);
                }
                self.look_at_some(at);
                Ok(Outcome::SessionClosed { seq, session: *session })
            }
        }
    }

    fn check_session(&self, new: &NewSession) -> Result<(), Refusal> {
        bad_session(new).map_or(Ok(()), Err)?;
        self.check_agents()?;
        let mut sessions = self.sessions.iter();
        match sessions.find(|known| known.session.opened.token == new.token) {
            Some(known) => Err(bad("token", &format!("is that of session s{}", known.session.id.0))),
            None => Ok(()),
        }
    }

    pub(super) fn open_session(&mut self, new: &NewSession, at: &At) {
        let project = at.project.clone();
        let session = Session {
            id: SessionId(at.seq),
            project,
            opened: new.clone(),
            author: at.author.clone(),
            opened_ms: at.now_ms,
            home: at.node,
            homed: at.seq,
            ended: None,
        };
        self.sessions.push(ModelSession { session, grace: None });
        let (session, name) = (SessionId(at.seq), new.name.clone());
        self.event(What::SessionOpened { session, name }, at);
    }

    /// The place of an open session.
    fn open_one(&self, id: Option<SessionId>, token: TokenHash, at: &At) -> Result<usize, Refusal> {
        let mut sessions = self.sessions.iter();
        let place = sessions
            .position(|found| found.session.opened.token == token && id.is_none_or(|id| found.session.id == id));
        let place = place.ok_or(Refusal::UnknownSession { session: id })?;
        match self.sessions[place].over(at.now_ms) {
            Some(why) => Err(Refusal::SessionEnded {
                session: self.sessions[place].session.id,
                why,
            }),
            None => Ok(place),
        }
    }

    fn end_session(&mut self, id: SessionId, why: SessionEnd, at: &At) {
        let found = self.sessions.iter_mut().find(|found| found.session.id == id).unwrap();
        let at_ms = at.now_ms;
        (found.session.ended, found.grace) = (Some(Ended { why, at_ms }), None);
        self.ends += 1;
        self.event(What::SessionEnded { session: id, why }, at);
    }

    fn give_up(&mut self, held: Has, why: SessionEnd, at: &At) {
        match held {
            Has::Task(task) => self.give_back(task, Return::Session(why), Bytes::new(), at),
            Has::Wait(wait) => self.end_wait(wait, at),
            Has::Reservation(id) => {
                // It may have gone with the lease of its task.
                if self.reservations.list.iter().any(|found| found.id == id) {
                    self.end_reservation(id, ReservationEnd::Session(why), at);
                }
            }
        }
    }

    /// Closes a passing session that has just given up what it held, if that was all.
    pub(super) fn close_if_idle(&mut self, id: SessionId, at: &At) {
        let found = self.sessions.iter().find(|found| found.session.id == id).unwrap();
        if found.session.opened.passing && !found.is_over(at.now_ms) && self.held_by(id).is_empty() {
            self.end_session(id, SessionEnd::Idle, at);
        }
    }

    fn held_by(&self, id: SessionId) -> Vec<Has> {
        let tasks = self.tasks.iter().filter(|(_, task)| {
            let owner = lease(task).map(|lease| &lease.holder.owner);
            matches!(owner, Some(Owner::Session { session, .. }) if *session == id)
        });
        let waits = self.waits.iter().filter(|(_, wait)| {
            let owner = &wait.holder.owner;
            wait.offered.is_empty() && matches!(owner, Owner::Session { session, .. } if *session == id)
        });
        let tasks = tasks.map(|(id, _)| Has::Task(*id));
        let waits = waits.map(|(id, _)| Has::Wait(*id));
        let reservations = self.reserved_by(id).into_iter().map(Has::Reservation);
        tasks.chain(waits).chain(reservations).collect()
    }

    /// The owner that a token stands for, whether it lives or not.
    pub(super) fn owner_of(&self, token: TokenHash) -> Option<Owner> {
        let mut sessions = self.sessions.iter();
        let found = sessions.find(|found| found.session.opened.token == token)?;
        Some(Owner::Session {
            session: found.session.id,
            name: found.session.opened.name.clone(),
        })
    }

    pub(super) fn claimant(&self, caller: &Caller, at: &At) -> Result<Owner, Refusal> {
        let Caller::Opens(new) = caller else {
            let owner = self.claimant_in_act(caller, at)?;
            if matches!(caller, Caller::Agent { .. }) && !self.works_here(&owner) {
                self.check_agents()?;
            }
            return Ok(owner);
        };
        self.check_session(new)?;
        Ok(Owner::Session {
            session: SessionId(at.seq),
            name: new.name.clone(),
        })
    }

    pub(super) fn claimant_in_act(&self, caller: &Caller, at: &At) -> Result<Owner, Refusal> {
        match caller {
            Caller::Agent { name, generation } => agent(name, *generation, at),
            Caller::Session(token) => {
                self.open_one(None, *token, at)?;
                Ok(self.owner_of(*token).unwrap())
            }
            Caller::Opens(_) => Err(bad("caller", "only a claim or an acquisition opens a session")),
        }
    }
}

impl Model {
    fn sessions(&mut self) -> impl Iterator<Item = &mut ModelSession> {
        self.projects.values_mut().flat_map(|project| &mut project.sessions)
    }

    /// Gives the open sessions of a node a grace; whether there was any without.
    pub(super) fn lose(&mut self, node: NodeId) -> bool {
        let grace = Some((self.seq, self.cluster_ms + 30_000));
        let here = self
            .sessions()
            .filter(|found| found.session.home == node && found.session.ended.is_none() && found.grace.is_none());
        here.map(|found| found.grace = grace).count() > 0
    }

    pub(super) fn end_silent(&mut self, node: NodeId, told: &[(SessionId, u64)], wall_ms: u64) -> Result<u32, Refusal> {
        if told.len() > 256 {
            return Err(over("sessions", told.len(), 256));
        }
        let now_ms = self.cluster_ms;
        let mut ended = 0;
        for (id, homed) in told {
            let meant = |found: &&mut ModelSession| {
                let Session {
                    id: known,
                    home,
                    homed: since,
                    ..
                } = found.session;
                known == *id && home == node && since == *homed && !found.is_over(now_ms)
            };
            let Some(project) = self.sessions().find(meant).map(|found| found.session.project.clone()) else {
                continue;
            };
            let at = self.at_by_itself(&project, wall_ms);
            let project = self.projects.get_mut(&*project).unwrap();
            project.end_session(*id, SessionEnd::Silent, &at);
            ended += 1;
        }
        Ok(ended)
    }

    pub(super) fn keep_alive(&mut self, node: NodeId, told: &[SessionId]) -> Result<u32, Refusal> {
        if told.len() > 256 {
            return Err(over("sessions", told.len(), 256));
        }
        let (seq, now_ms) = (self.seq, self.cluster_ms);
        let mut kept = 0;
        for id in told {
            let mut in_grace = self
                .sessions()
                .filter(|found| found.grace.is_some() && !found.is_over(now_ms));
            let found = in_grace.find(|found| found.session.id == *id && found.session.home == node);
            if let Some(found) = found {
                (found.grace, found.session.homed) = (None, seq);
                kept += 1;
            }
        }
        Ok(kept)
    }

    /// With each session that ends, four go that have ended a day ago and hold nothing.
    pub(super) fn forget_sessions(&mut self) {
        let ends: usize = self
            .projects
            .values_mut()
            .map(|project| std::mem::take(&mut project.ends))
            .sum();
        for _ in 0..4 * ends {
            let ended = self.projects.values().flat_map(|project| {
                let ended = project
                    .sessions
                    .iter()
                    .filter_map(|found| Some((found.session.ended.as_ref()?.at_ms, found.session.id)));
                ended.filter(|(_, id)| project.held_by(*id).is_empty())
            });
            let Some((_, id)) = ended.filter(|(at_ms, _)| at_ms + 86_400_000 <= self.cluster_ms).min() else {
                return;
            };
            for project in self.projects.values_mut() {
                project.sessions.retain(|found| found.session.id != id);
            }
        }
    }

    /// The next step: what the first that ended holds, and then the next whose grace is over.
    pub(super) fn next_session_step(&self) -> Option<SessionStep> {
        let all = || {
            let projects = self.projects.iter();
            projects.flat_map(|(name, project)| project.sessions.iter().map(move |found| (name, project, found)))
        };
        let ended = all().filter(|(.., found)| found.session.ended.is_some());
        let holding = ended.filter(|(_, project, found)| !project.held_by(found.session.id).is_empty());
        if let Some((name, project, found)) = holding.min_by_key(|(.., found)| found.session.id) {
            let (held, why) = (project.held_by(found.session.id)[0], found.over(self.cluster_ms)?);
            return Some(SessionStep::Return(name.clone(), held, why));
        }
        let over = all().filter(|(.., found)| found.is_over(self.cluster_ms) && found.session.ended.is_none());
        let order = |found: &ModelSession| {
            let Session { id, home, homed, .. } = found.session;
            (home, found.grace, homed, id)
        };
        let (name, _, found) = over.min_by_key(|(.., found)| order(found))?;
        Some(SessionStep::End(name.clone(), found.session.id))
    }

    pub(super) fn do_session_step(&mut self, step: SessionStep, wall_ms: u64) {
        let (SessionStep::Return(name, ..) | SessionStep::End(name, _)) = &step;
        let at = self.at_by_itself(name, wall_ms);
        let project = self.projects.get_mut(name).unwrap();
        match step {
            SessionStep::Return(_, held, why) => project.give_up(held, why, &at),
            SessionStep::End(_, id) => project.end_session(id, SessionEnd::NodeLost, &at),
        }
    }
}
