//! The lives of agents: how they begin and end, and what is due next.

use std::sync::Arc;

use imbl::OrdSet;

use super::{AGENTS_PER_NODE_MAX, AgentEnd, AgentId, Agents, Due, Life, LifeKey, Sinking, Timer};
use crate::colony::command::Refusal;
use crate::colony::digest::Digest;
use crate::colony::memory::over_limit;
use crate::id::NodeId;

const AGENT_DIGEST: u8 = b'a';
const SINKING_DIGEST: u8 = b'n';

impl Agents {
    /// The life that an agent's name stands for, unless it has ended.
    pub fn live(&self, node: NodeId, name: &Arc<str>) -> Option<&Life> {
        let started = self.by_name.get(&(node, name.clone()))?;
        let key = (node, *started);
        self.end_of(&key).is_none().then(|| &self.lives[&key])
    }

    /// All lives that are not cleared away yet, by node and start.
    pub fn lives(&self) -> impl Iterator<Item = (&LifeKey, &Life)> {
        self.lives.iter()
    }

    /// One of them.
    pub fn life(&self, key: &LifeKey) -> Option<&Life> {
        self.lives.get(key)
    }

    /// How many of a node's lives are not cleared away yet.
    pub fn count(&self, node: NodeId) -> usize {
        self.counts.get(&node).copied().unwrap_or_default()
    }

    /// The nodes whose lives are not all cleared away.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.counts.keys().copied()
    }

    /// Whether an agent of this node may live: unless all have ended together.
    pub fn any_live(&self, node: NodeId) -> bool {
        let newest = self.lives.range((node, 0)..=(node, u64::MAX)).next_back();
        let floor = self.sinking.get(&node).map_or(0, |sinking| sinking.floor);
        newest.is_some_and(|((_, started), _)| *started > floor)
    }

    /// What time ends: cluster time in milliseconds, project and what, earliest first.
    pub fn timers(&self) -> impl Iterator<Item = &(u64, Arc<str>, Timer)> {
        self.timers.iter()
    }

    /// Cluster time in milliseconds at which something is to be done although nobody commands it; 0 when it is due now.
    pub fn due_ms(&self) -> Option<u64> {
        if !self.ending.is_empty() || !self.sinking.is_empty() {
            return Some(0);
        }
        let timer_ms = self.timers.get_min().map(|(until_ms, ..)| *until_ms);
        let owed_ms = self.owed.get_min().map(|(at_ms, ..)| *at_ms);
        timer_ms.into_iter().chain(owed_ms).chain(self.sessions.due_ms()).min()
    }

    /// Why a life has ended; `None` while it lasts.
    pub(crate) fn end_of(&self, key: &LifeKey) -> Option<AgentEnd> {
        let Some(life) = self.lives.get(key) else {
            return Some(AgentEnd::Replaced);
        };
        if life.end.is_some() {
            return life.end.clone();
        }
        let sinking = self.sinking.get(&key.0).filter(|sinking| key.1 <= sinking.floor);
        sinking.map(|sinking| sinking.end.clone())
    }

    /// The key of the life that a caller claims to be.
    pub(crate) fn caller(
        &self,
        node: NodeId,
        incarnation: u64,
        name: &Arc<str>,
        generation: u64,
    ) -> Result<LifeKey, Refusal> {
        let live = self.live(node, name).filter(|life| life.id.incarnation == incarnation);
        match live {
            Some(life) if life.id.generation == generation => Ok((node, self.by_name[&(node, name.clone())])),
            _ => Err(Refusal::AgentNotLive {
                name: name.clone(),
                generation,
                live: live.map(|life| life.id.generation),
            }),
        }
    }

    /// Begins a life at position `seq`; returns the one that ends with it.
    pub(crate) fn start(&mut self, id: AgentId, seq: u64) -> Result<Option<LifeKey>, Refusal> {
        let name = (id.node, id.name.clone());
        let before = self.live(id.node, &id.name).map(|life| life.id.generation);
        if let Some(generation) = before.filter(|before| *before >= id.generation) {
            return Err(Refusal::AgentLive {
                name: id.name,
                generation,
            });
        }
        let count = self.count(id.node);
        if count >= AGENTS_PER_NODE_MAX {
            return Err(over_limit("agents", count + 1, AGENTS_PER_NODE_MAX));
        }
        let replaced = before.map(|_| (id.node, self.by_name[&name]));
        if let Some(key) = replaced {
            self.end(key, AgentEnd::Replaced);
        }
        let key = (id.node, seq);
        self.restore(key, id, None);
        Ok(replaced)
    }

    /// Ends one life.
    pub(crate) fn end(&mut self, key: LifeKey, end: AgentEnd) {
        let life = self.lives.get_mut(&key).expect("the caller looked it up");
        self.digest.subtract(life_digest(&key, life));
        life.end = Some(end);
        self.digest.add(life_digest(&key, life));
        self.ending.insert(key);
    }

    /// Ends every life of a node that began at position `floor` or before; returns whether there may be any.
    pub(crate) fn end_node(&mut self, node: NodeId, floor: u64, end: AgentEnd) -> bool {
        if self.first_life(node, floor).is_none() {
            return false;
        }
        let sinking = Sinking { floor, end };
        self.digest.add(Digest::of(SINKING_DIGEST, &(node, &sinking)));
        if let Some(old) = self.sinking.insert(node, sinking) {
            self.digest.subtract(Digest::of(SINKING_DIGEST, &(node, &old)));
        }
        true
    }

    /// Puts a life in: one that begins, or that was stored.
    pub(crate) fn restore(&mut self, key: LifeKey, id: AgentId, end: Option<AgentEnd>) {
        let name = (id.node, id.name.clone());
        let newest = self.by_name.get(&name).is_none_or(|started| *started < key.1);
        if newest {
            self.by_name.insert(name, key.1);
        }
        if end.is_some() {
            self.ending.insert(key);
        }
        let life = Life {
            id,
            end,
            held: OrdSet::new(),
        };
        self.digest.add(life_digest(&key, &life));
        *self.counts.entry(key.0).or_default() += 1;
        self.lives.insert(key, life);
    }

    /// What is due at `now_ms`, one at a time; the same until it is done.
    pub(crate) fn due(&self, now_ms: u64) -> Option<Due> {
        if let Some((_, project, timer)) = self.timers.get_min().filter(|(until_ms, ..)| *until_ms <= now_ms) {
            return Some(Due::Expired(project.clone(), *timer));
        }
        if let Some((_, project, queue)) = self.owed.get_min().filter(|(at_ms, ..)| *at_ms <= now_ms) {
            return Some(Due::Owed(project.clone(), queue.clone()));
        }
        if let Some(key) = self.ending.get_min().copied() {
            let end = self.end_of(&key).expect("it is among those that end");
            return Some(self.due_of(key, end));
        }
        let Some((node, Sinking { floor, end })) = self.sinking.get_min() else {
            return self.sessions.due(now_ms).map(Due::Session);
        };
        let first = self.first_life(*node, *floor).expect("a node sinks while it has lives");
        Some(self.due_of(first, end.clone()))
    }

    /// The first life of a node that began at position `floor` or before.
    fn first_life(&self, node: NodeId, floor: u64) -> Option<LifeKey> {
        let mut lives = self.lives.range((node, 0)..=(node, floor));
        lives.next().map(|(key, _)| *key)
    }

    fn due_of(&self, key: LifeKey, end: AgentEnd) -> Due {
        match self.lives[&key].held.get_min() {
            Some((project, held)) => Due::Orphan(project.clone(), *held, end),
            None => Due::Gone(key),
        }
    }

    /// Clears a life away that holds nothing.
    pub(crate) fn clear(&mut self, key: &LifeKey) {
        let life = self.lives.remove(key).expect("it was due");
        self.digest.subtract(life_digest(key, &life));
        self.ending.remove(key);
        let name = (key.0, life.id.name);
        if self.by_name.get(&name) == Some(&key.1) {
            self.by_name.remove(&name);
        }
        let count = self.counts.get_mut(&key.0).expect("it was counted");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&key.0);
        }
        let floor = self.sinking.get(&key.0).map(|sinking| sinking.floor);
        if floor.is_some_and(|floor| self.first_life(key.0, floor).is_none()) {
            let sunk = self.sinking.remove(&key.0).expect("it was just looked at");
            self.digest.subtract(Digest::of(SINKING_DIGEST, &(key.0, &sunk)));
        }
    }
}

/// What the digest covers: not what is held, which follows from the tasks and the reservations.
fn life_digest(key: &LifeKey, life: &Life) -> Digest {
    Digest::of(AGENT_DIGEST, &(key, &life.id, &life.end))
}
