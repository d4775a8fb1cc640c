//! The sessions of all projects, and the indexes over them.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::{
    Ended, SESSIONS_ENDED_KEPT_MAX, SESSIONS_ENDED_KEPT_MS, SESSIONS_PER_NODE_MAX, Session, SessionEnd, SessionId,
    TokenHash,
};
use crate::colony::agent::Held;
use crate::colony::command::Refusal;
use crate::colony::digest::Digest;
use crate::colony::memory::over_limit;
use crate::colony::task::WaitId;
use crate::id::NodeId;

const SESSION_DIGEST: u8 = b'S';
const LOST_DIGEST: u8 = b'l';
/// How many ended sessions are forgotten when one more ends.
const FORGOTTEN_PER_END: usize = 4;

/// All sessions.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    by_id: OrdMap<SessionId, Arc<Session>>,
    by_token: OrdMap<(Arc<str>, TokenHash), SessionId>,
    by_project: OrdSet<(Arc<str>, SessionId)>,
    /// The open ones, by where they live and since which position.
    by_home: OrdSet<(NodeId, u64, SessionId)>,
    /// How many of them live on each node.
    counts: OrdMap<NodeId, usize>,
    /// How many sessions each project has, and how many of those are open.
    in_project: OrdMap<Arc<str>, (usize, usize)>,
    /// What each holds; no session without anything.
    held: OrdMap<SessionId, OrdSet<Held>>,
    /// Those that have ended and still hold something.
    ending: OrdSet<SessionId>,
    /// Those that have ended and hold nothing, by when.
    ended: OrdSet<(u64, SessionId)>,
    /// Nodes that are lost: whoever came to live there at this position or before, and after the position of the entry
    /// before it, has ended at this cluster time. No entry that means nobody.
    pub(crate) lost: OrdMap<(NodeId, u64), u64>,
    pub(crate) digest: Digest,
}

/// What is to be done next of what time or the end of sessions has brought.
#[derive(Debug)]
pub(crate) enum SessionDue {
    /// This session has ended and still holds this.
    Orphan(Arc<Session>, Held),
    /// Its grace is over.
    Over(SessionId),
}

impl Sessions {
    /// A session.
    pub fn get(&self, id: SessionId) -> Option<&Arc<Session>> {
        self.by_id.get(&id)
    }

    /// The session of a project that has this token.
    pub fn of_token(&self, project: &Arc<str>, token: TokenHash) -> Option<&Arc<Session>> {
        self.by_id.get(self.by_token.get(&(project.clone(), token))?)
    }

    /// The sessions of a project, by id, from the first after `after` on.
    pub fn of_project(&self, project: &Arc<str>, after: Option<SessionId>) -> impl Iterator<Item = &Arc<Session>> {
        let first = SessionId(after.map_or(0, |after| after.0.saturating_add(1)));
        let range = (project.clone(), first)..=(project.clone(), SessionId(u64::MAX));
        self.by_project.range(range).map(|(_, id)| &self.by_id[id])
    }

    /// All sessions, by id.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.by_id.values()
    }

    /// The open sessions that live on a node, by since when.
    pub fn at(&self, node: NodeId) -> impl Iterator<Item = &Arc<Session>> {
        let range = (node, 0, SessionId(0))..=(node, u64::MAX, SessionId(u64::MAX));
        self.by_home.range(range).map(|(.., id)| &self.by_id[id])
    }

    /// How many open sessions live on a node.
    pub fn count_at(&self, node: NodeId) -> usize {
        self.counts.get(&node).copied().unwrap_or_default()
    }

    /// How many sessions a project has, those included that have ended.
    pub fn count_in(&self, project: &Arc<str>) -> usize {
        self.in_project.get(project).map_or(0, |(all, _)| *all)
    }

    /// How many open sessions a project has.
    pub fn open_in(&self, project: &Arc<str>) -> usize {
        self.in_project.get(project).map_or(0, |(_, open)| *open)
    }

    /// The nodes that open sessions live on.
    pub fn homes(&self) -> impl Iterator<Item = NodeId> {
        self.counts.keys().copied()
    }

    /// Whether open sessions live on a node that are not in a grace.
    pub fn any_at(&self, node: NodeId) -> bool {
        self.any_between(node, self.newest_floor(node), u64::MAX)
    }

    /// What a session holds.
    pub fn held(&self, id: SessionId) -> impl Iterator<Item = Held> {
        self.held.get(&id).into_iter().flatten().copied()
    }

    /// Cluster time in milliseconds until which a session whose node is lost may be re-opened; `None` for all others.
    pub fn grace_ms(&self, session: &Session) -> Option<u64> {
        if session.ended.is_some() {
            return None;
        }
        let (home, homed) = (session.home, session.homed);
        let mut lost = self.lost.range((home, homed)..=(home, u64::MAX));
        lost.next().map(|(_, until_ms)| *until_ms)
    }

    /// Why a session has ended; `None` while it is open.
    pub fn end_of(&self, session: &Session, now_ms: u64) -> Option<SessionEnd> {
        let over = || self.grace_ms(session).filter(|until_ms| *until_ms <= now_ms);
        match &session.ended {
            Some(ended) => Some(ended.why),
            None => over().map(|_| SessionEnd::NodeLost),
        }
    }

    /// Cluster time in milliseconds at which something is to be done; 0 when it is due now.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        match self.ending.is_empty() {
            false => Some(0),
            true => self.lost.values().min().copied(),
        }
    }

    /// What is due at `now_ms`, one at a time; the same until it is done.
    pub(crate) fn due(&self, now_ms: u64) -> Option<SessionDue> {
        if let Some(id) = self.ending.get_min() {
            let held = self.held[id].get_min().expect("no session without anything is here");
            return Some(SessionDue::Orphan(self.by_id[id].clone(), *held));
        }
        let mut lost = self.lost.iter();
        let ((node, floor), _) = lost.find(|(_, until_ms)| **until_ms <= now_ms)?;
        let mut over = self
            .by_home
            .range((*node, 0, SessionId(0))..=(*node, *floor, SessionId(u64::MAX)));
        over.next().map(|(.., id)| SessionDue::Over(*id))
    }

    /// How many claims of a session wait.
    pub(crate) fn waits_of(&self, id: SessionId) -> usize {
        let held = self.held.get(&id).map(|held| held.range(Held::Wait(WaitId(0))..));
        let waits = held.into_iter().flatten();
        waits.take_while(|held| matches!(held, Held::Wait(_))).count()
    }

    pub(crate) fn check_room(&self, node: NodeId) -> Result<(), Refusal> {
        let count = self.count_at(node) + 1;
        match count > SESSIONS_PER_NODE_MAX {
            true => Err(over_limit("sessions", count, SESSIONS_PER_NODE_MAX)),
            false => Ok(()),
        }
    }

    /// Puts a session in: one that begins, or that was stored.
    pub(crate) fn insert(&mut self, session: Session) {
        let (id, project) = (session.id, session.project.clone());
        self.digest.add(Digest::of(SESSION_DIGEST, &session));
        self.by_token.insert((project.clone(), session.opened.token), id);
        let (all, open) = self.in_project.entry(project.clone()).or_default();
        *all += 1;
        *open += usize::from(session.ended.is_none());
        self.by_project.insert((project, id));
        match &session.ended {
            None => {
                self.by_home.insert((session.home, session.homed, id));
                *self.counts.entry(session.home).or_default() += 1;
            }
            Some(_) if self.held.contains_key(&id) => {
                self.ending.insert(id);
            }
            Some(ended) => {
                self.ended.insert((ended.at_ms, id));
            }
        }
        self.by_id.insert(id, Arc::new(session));
    }

    /// Takes a session out.
    pub(crate) fn remove(&mut self, id: SessionId) -> Session {
        let session = self.by_id.remove(&id).expect("the caller looked it up");
        self.digest.subtract(Digest::of(SESSION_DIGEST, &*session));
        self.by_token.remove(&(session.project.clone(), session.opened.token));
        self.by_project.remove(&(session.project.clone(), id));
        let (all, open) = self.in_project.get_mut(&session.project).expect("it was counted");
        *all -= 1;
        *open -= usize::from(session.ended.is_none());
        if *all == 0 {
            self.in_project.remove(&session.project);
        }
        match &session.ended {
            None => self.leave(session.home, session.homed, id),
            Some(ended) => {
                self.ending.remove(&id);
                self.ended.remove(&(ended.at_ms, id));
            }
        }
        Arc::unwrap_or_clone(session)
    }

    fn leave(&mut self, node: NodeId, homed: u64, id: SessionId) {
        self.by_home.remove(&(node, homed, id));
        let count = self.counts.get_mut(&node).expect("it was counted");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&node);
        }
        let mut lost = self.lost.range((node, homed)..=(node, u64::MAX));
        let Some((_, floor)) = lost.next().map(|(key, _)| *key) else {
            return;
        };
        let mut before = self.lost.range((node, 0)..(node, floor));
        let from = before.next_back().map_or(0, |((_, floor), _)| *floor);
        if !self.any_between(node, from, floor) {
            let until_ms = self.lost.remove(&(node, floor)).expect("it was just looked at");
            self.digest.subtract(lost_digest(node, floor, until_ms));
        }
    }

    /// Whether anybody came to live on a node after one position, and at another one or before.
    fn any_between(&self, node: NodeId, after: u64, until: u64) -> bool {
        let first = after.saturating_add(1);
        let range = (node, first, SessionId(0))..=(node, until, SessionId(u64::MAX));
        first <= until && self.by_home.range(range).next().is_some()
    }

    fn newest_floor(&self, node: NodeId) -> u64 {
        let mut lost = self.lost.range((node, 0)..=(node, u64::MAX));
        lost.next_back().map_or(0, |((_, floor), _)| *floor)
    }

    /// Lets a session live on a node from the position `seq` on.
    pub(crate) fn rehome(&mut self, id: SessionId, node: NodeId, seq: u64) {
        let session = self.remove(id);
        self.insert(Session {
            home: node,
            homed: seq,
            ..session
        });
    }

    /// Ends a session.
    pub(crate) fn end(&mut self, id: SessionId, why: SessionEnd, at_ms: u64) {
        let session = self.remove(id);
        self.insert(Session {
            ended: Some(Ended { why, at_ms }),
            ..session
        });
    }

    /// Forgets a few that have ended long ago, or of which there are too many; returns one of them.
    pub(crate) fn forget(&mut self, now_ms: u64) -> impl Iterator<Item = Session> {
        (0..FORGOTTEN_PER_END).map_while(move |_| {
            let (at_ms, id) = *self.ended.get_min()?;
            let old = at_ms.saturating_add(SESSIONS_ENDED_KEPT_MS) <= now_ms;
            (old || self.ended.len() > SESSIONS_ENDED_KEPT_MAX).then(|| self.remove(id))
        })
    }

    /// The node is lost: who came to live there at `floor` or before has until `until_ms` to be re-opened. `false` when
    /// that is nobody new.
    pub(crate) fn lose(&mut self, node: NodeId, floor: u64, until_ms: u64) -> bool {
        if !self.any_between(node, self.newest_floor(node), floor) {
            return false;
        }
        self.digest.add(lost_digest(node, floor, until_ms));
        self.lost.insert((node, floor), until_ms);
        true
    }

    /// Notes that a session holds something. `false` when it is unknown.
    pub(crate) fn hold(&mut self, id: SessionId, held: Held) -> bool {
        let Some(session) = self.by_id.get(&id) else {
            return false;
        };
        if let Some(ended) = &session.ended {
            self.ended.remove(&(ended.at_ms, id));
            self.ending.insert(id);
        }
        self.held.entry(id).or_default().insert(held).is_none()
    }

    /// Undoes [`Sessions::hold`].
    pub(crate) fn let_go(&mut self, id: SessionId, held: Held) {
        let Some(all) = self.held.get_mut(&id) else { return };
        all.remove(&held);
        if !all.is_empty() {
            return;
        }
        self.held.remove(&id);
        if self.ending.remove(&id).is_some()
            && let Some(ended) = &self.by_id[&id].ended
        {
            self.ended.insert((ended.at_ms, id));
        }
    }

    /// Whether a session that is open now was opened for a claim, and holds nothing any more.
    pub(crate) fn is_idle(&self, id: SessionId, now_ms: u64) -> bool {
        let session = self.by_id.get(&id).filter(|session| session.opened.passing);
        !self.held.contains_key(&id) && session.is_some_and(|session| self.end_of(session, now_ms).is_none())
    }
}

fn lost_digest(node: NodeId, floor: u64, until_ms: u64) -> Digest {
    Digest::of(LOST_DIGEST, &(node, floor, until_ms))
}
