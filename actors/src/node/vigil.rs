//! When the sessions that live on this node gave their last sign of life: known here only, and on this node's clock. A
//! plain machine; [`super::sessions`] drives it.

use std::collections::HashMap;

use queenright_protocol::colony::{SESSIONS_TOLD_MAX, Session, SessionId};

/// How long what was told of a session may take until it is told again, in milliseconds.
const TOLD_AGAIN_MS: u64 = 10_000;

/// What is known of each session.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    // A hash map: its order decides nothing.
    heard: HashMap<SessionId, Heard>,
}

#[derive(Debug)]
struct Heard {
    /// The position of the command by which it came to live here.
    homed: u64,
    /// When it gave its last sign of life.
    at_ms: u64,
    /// When its end, or that it lives, was told last.
    told_ms: Option<u64>,
}

/// What is to be told of sessions.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tell {
    /// Those that have been silent for their time, each with the position since which it lives here.
    pub(super) silent: Vec<(SessionId, u64)>,
    /// Those that are in a grace although they live here.
    pub(super) alive: Vec<SessionId>,
}

impl Vigil {
    /// Notes a sign of life of a session that lives here. `false` when its end was told already: then only the colony
    /// knows whether it still lives.
    pub(super) fn hear(&mut self, session: &Session, now_ms: u64) -> bool {
        let heard = self.note(session, now_ms);
        heard.at_ms = heard.at_ms.max(now_ms);
        heard.told_ms.is_none()
    }

    /// Who came to live here since the last look has a full time to live from now on: so has everybody after a restart.
    fn note(&mut self, session: &Session, now_ms: u64) -> &mut Heard {
        let new = || Heard {
            homed: session.homed,
            at_ms: now_ms,
            told_ms: None,
        };
        let heard = self.heard.entry(session.id).or_insert_with(new);
        if heard.homed != session.homed {
            *heard = new();
        }
        heard
    }

    /// Looks at all sessions that live here, each with whether it is in a grace, and says what is to be told.
    pub(super) fn look<'a>(&mut self, sessions: impl Iterator<Item = (&'a Session, bool)>, now_ms: u64) -> Tell {
        let mut tell = Tell::default();
        let mut here = HashMap::with_capacity(self.heard.len());
        for (session, in_grace) in sessions {
            let heard = self.note(session, now_ms);
            let told = heard.told_ms.is_some_and(|told_ms| now_ms < told_ms + TOLD_AGAIN_MS);
            let silent = now_ms.saturating_sub(heard.at_ms) >= session.opened.ttl_ms;
            if silent && !told && tell.silent.len() < SESSIONS_TOLD_MAX {
                tell.silent.push((session.id, session.homed));
            } else if in_grace && !silent && tell.alive.len() < SESSIONS_TOLD_MAX {
                tell.alive.push(session.id);
            }
            let heard = self.heard.remove(&session.id).expect("it was just noted");
            here.insert(session.id, heard);
        }
        // Who lives here no more is forgotten.
        self.heard = here;
        tell
    }

    /// Of those whose end is to be told, keeps those that were not heard of since the look, and notes that it is told.
    pub(super) fn tell_end(&mut self, silent: &mut Vec<(SessionId, u64)>, since_ms: u64, now_ms: u64) {
        silent.retain(|(id, homed)| match self.heard.get_mut(id) {
            Some(heard) if heard.homed == *homed && heard.at_ms < since_ms => {
                heard.told_ms = Some(now_ms);
                true
            }
            _ => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use queenright_protocol::colony::{NewSession, TokenHash};
    use queenright_protocol::id::NodeId;

    use super::*;

    const TTL_MS: u64 = 90_000;

    fn session(id: u64, homed: u64) -> Session {
        Session {
            id: SessionId(id),
            project: "p".into(),
            opened: NewSession::new("ann", TokenHash::of("t")),
            author: "ann".into(),
            opened_ms: 0,
            home: NodeId(1),
            homed,
            ended: None,
        }
    }

    fn look(vigil: &mut Vigil, sessions: &[(Session, bool)], now_ms: u64) -> Tell {
        let sessions = sessions.iter().map(|(session, in_grace)| (session, *in_grace));
        vigil.look(sessions, now_ms)
    }

    #[test]
    fn a_session_is_silent_after_its_time_without_a_sign_of_life() {
        let (mut vigil, one) = (Vigil::default(), session(1, 1));
        let all = [(one.clone(), false)];
        // Seen for the first time at 1,000: a full time to live from then on.
        assert_eq!(look(&mut vigil, &all, 1_000), Tell::default());
        assert!(vigil.hear(&one, 2_000));
        assert_eq!(look(&mut vigil, &all, 2_000 + TTL_MS - 1), Tell::default());
        let mut tell = look(&mut vigil, &all, 2_000 + TTL_MS);
        assert_eq!(tell.silent, [(SessionId(1), 1)]);
        vigil.tell_end(&mut tell.silent, 2_000 + TTL_MS, 2_000 + TTL_MS);
        assert_eq!(tell.silent, [(SessionId(1), 1)]);
        assert!(!vigil.hear(&one, 2_001 + TTL_MS), "only the colony knows now");
    }

    #[test]
    fn a_sign_of_life_before_its_end_is_told_saves_it() {
        let (mut vigil, one) = (Vigil::default(), session(1, 1));
        let all = [(one.clone(), false)];
        look(&mut vigil, &all, 0);
        let mut tell = look(&mut vigil, &all, TTL_MS);
        assert!(vigil.hear(&one, TTL_MS + 1));
        vigil.tell_end(&mut tell.silent, TTL_MS, TTL_MS + 2);
        assert_eq!(tell.silent, []);
        assert!(vigil.hear(&one, TTL_MS + 3));
    }

    #[test]
    fn one_that_was_re_opened_here_begins_anew_and_one_that_left_is_forgotten() {
        let mut vigil = Vigil::default();
        look(&mut vigil, &[(session(1, 1), false), (session(2, 2), false)], 0);
        let tell = look(&mut vigil, &[(session(1, 9), false)], TTL_MS);
        assert_eq!(tell, Tell::default());
        assert_eq!(vigil.heard.len(), 1);
    }

    #[test]
    fn who_was_heard_of_here_lives_although_the_node_was_taken_for_lost() {
        let mut vigil = Vigil::default();
        look(&mut vigil, &[(session(1, 1), false), (session(2, 2), false)], 0);
        vigil.hear(&session(1, 1), 50_000);
        let tell = look(&mut vigil, &[(session(1, 1), true), (session(2, 2), true)], TTL_MS);
        let silent = vec![(SessionId(2), 2)];
        let alive = vec![SessionId(1)];
        assert_eq!(tell, Tell { silent, alive });
    }
}
