//! Those who own: agents and sessions.

use super::*;

impl Seeded {
    pub(super) fn agent_name(&mut self) -> Arc<str> {
        match self.below(40) {
            0 => "".into(),
            1 => "a/b".into(),
            2 => "n".repeat(NAME_BYTES_MAX + 1).into(),
            _ => self.pick(&["one", "two"]).into(),
        }
    }

    /// A generation that most often lives, if any does.
    pub(super) fn generation(&mut self, colony: &Colony, node: NodeId, name: &Arc<str>) -> u64 {
        let live = colony.agents().live(node, name).map_or(1, |life| life.id.generation);
        match self.below(8) {
            0 => live + 1,
            1 => live.saturating_sub(1),
            _ => live,
        }
    }

    pub(super) fn token(&mut self) -> TokenHash {
        TokenHash::of(&self.below(1_000).to_string())
    }

    pub(super) fn new_session(&mut self) -> NewSession {
        let words = |seeded: &mut Seeded| match seeded.below(30) {
            0 => vec!["b".into(), "a".into()],
            1 => vec!["a".into(), "".into()],
            2 => (10..50).map(|word| word.to_string().into()).collect(),
            3..10 => vec!["a".into(), "b".into()],
            _ => Vec::new(),
        };
        NewSession {
            name: self
                .pick(&["ann", "ann", "ann", "bob", "bob", "bob", "", "a\nb"])
                .into(),
            program: self.pick(&[None, None, None, Some("sh"), Some("")]).map(Into::into),
            capabilities: words(self),
            labels: words(self),
            ttl_ms: match self.once_in(15) {
                true => self.pick(&[0, SESSION_TTL_MS_MIN - 1, SESSION_TTL_MS_MAX + 1]),
                false => self.pick(&[SESSION_TTL_MS_MIN, SESSION_TTL_MS, SESSION_TTL_MS_MAX]),
            },
            token: self.token(),
            passing: self.once_in(2),
        }
    }

    /// A session, most often an open one.
    pub(super) fn session(&mut self, colony: &Colony, project: Option<&str>) -> Option<Arc<Session>> {
        let sessions = colony.sessions().all();
        let here = sessions.filter(|session| project.is_none_or(|project| *session.project == *project));
        let here: Vec<Arc<Session>> = here.cloned().collect();
        let open: Vec<Arc<Session>> = here.iter().filter(|session| session.ended.is_none()).cloned().collect();
        match (open.is_empty(), here.is_empty()) {
            (false, _) if !self.once_in(5) => Some(self.pick(&open)),
            (_, false) => Some(self.pick(&here)),
            (_, true) => None,
        }
    }

    pub(super) fn session_command(&mut self, colony: &Colony, project: &str) -> SessionCommand {
        let known = self.session(colony, Some(project));
        let Some(known) = known.filter(|_| !self.once_in(2)) else {
            return SessionCommand::Open(self.new_session());
        };
        let session = match self.once_in(10) {
            true => SessionId(7),
            false => known.id,
        };
        let token = match self.once_in(10) {
            true => self.token(),
            false => known.opened.token,
        };
        match self.below(3) {
            0 => SessionCommand::Close { session, token },
            _ => SessionCommand::Reopen { session, token },
        }
    }

    /// Sessions, each with the position since which it lives where it does, most often.
    fn told(&mut self, colony: &Colony) -> Vec<(SessionId, u64)> {
        let sessions = (0..self.below(4)).filter_map(|_| self.session(colony, None));
        let sessions: Vec<Arc<Session>> = sessions.collect();
        let told = sessions.iter().map(|session| match self.once_in(6) {
            true => (session.id, session.homed - 1),
            false => (session.id, session.homed),
        });
        told.collect()
    }

    pub(super) fn agent_command(&mut self, colony: &Colony, (node, _): (NodeId, u64)) -> AgentCommand {
        let name = self.agent_name();
        let generation = self.generation(colony, node, &name);
        match self.below(26) {
            0 => AgentCommand::NodeStarted,
            20..23 => AgentCommand::SessionsSilent(self.told(colony)),
            23.. => AgentCommand::SessionsAlive(self.told(colony).into_iter().map(|(id, _)| id).collect()),
            1 => {
                let node = NodeId(1 + self.below(NODES));
                let newest = colony.dedup().incarnation(node).unwrap_or(1);
                AgentCommand::NodeLost {
                    node,
                    incarnation: self.pick(&[newest, newest + 1, newest - 1]),
                }
            }
            2..7 => AgentCommand::Ended {
                name,
                generation,
                reason: self.pick(&["", "panicked", AGENT_DONE]).into(),
            },
            _ => AgentCommand::Started { name, generation },
        }
    }
}

/// An owner as a caller says who it is.
pub(super) fn called(colony: &Colony, owner: &Owner) -> Caller {
    match owner {
        Owner::Session { session, .. } => {
            let session = colony.sessions().get(*session);
            Caller::Session(session.map_or(TokenHash::of("a"), |session| session.opened.token))
        }
        Owner::Agent { agent, .. } => Caller::Agent {
            name: agent.name.clone(),
            generation: agent.generation,
        },
    }
}
