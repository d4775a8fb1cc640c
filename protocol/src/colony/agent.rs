//! Who owns: the hosted agents that the colony knows to live, the sessions of external ones ([`super::session`]), and what
//! they hold. A queen tells the colony of each start and end of an agent; the lease of a task holds while its owner lives.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`AgentCommand::Started`] | queen | colony | [`Outcome::AgentStarted`] | an agent of her node lives under this generation |
//! | [`AgentCommand::Ended`] | queen | colony | [`Outcome::AgentsEnded`] | it lives no more: its tasks return |
//! | [`AgentCommand::NodeStarted`] | queen | colony | [`Outcome::AgentsEnded`] | her node was started: what lived in earlier starts has ended |
//! | [`AgentCommand::NodeLost`] | leader's queen | colony | [`Outcome::AgentsEnded`] | a node does not answer: its agents have ended, its sessions have a grace |
//! | [`AgentCommand::SessionsSilent`] | queen | colony | [`Outcome::SessionsTold`] | sessions that live on her node have ended |
//! | [`AgentCommand::SessionsAlive`] | queen | colony | [`Outcome::SessionsTold`] | sessions live on her node, which was only away |
//!
//! The node and the incarnation of an agent are those of the round that brings the command. Ending all agents of a node
//! takes one step, whatever their number: those that started before it have ended. What they held returns a few at a
//! time, see [`super::sweep`].
//!
//! [`Outcome::AgentStarted`]: super::Outcome::AgentStarted
//! [`Outcome::AgentsEnded`]: super::Outcome::AgentsEnded
//! [`Outcome::SessionsTold`]: super::Outcome::SessionsTold

use std::fmt;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::command::Refusal;
use super::digest::Digest;
use super::memory::over_limit;
use super::reservation::{RESERVATION_OF_LEASE_MS, Reservation, ReservationId, Standing};
use super::session::{SessionDue, SessionId, Sessions};
use super::task::{Owner, State, Task, TaskId, Wait, WaitId};
use crate::id::NodeId;

/// How many agents of one node the colony knows, those included whose tasks are still to be returned. As many as a node
/// hosts.
pub const AGENTS_PER_NODE_MAX: usize = 100_000;
/// The longest reason of an agent's end, in bytes.
pub const AGENT_REASON_BYTES_MAX: usize = 256;

/// The reasons of those ends that nothing went wrong with: the agent's work was over, or somebody stopped it.
pub const AGENT_DONE: &str = "was done";
/// See [`AGENT_DONE`].
pub const AGENT_STOPPED: &str = "was stopped";

/// How many of the things that an owner holds are counted for its load.
const LOAD_MAX: usize = 100;

const AGENT_DIGEST: u8 = b'a';
const SINKING_DIGEST: u8 = b'n';

/// What a queen tells the colony of agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AgentCommand {
    /// An agent of this node was started. An earlier generation of it that lived has ended with that.
    Started {
        /// Its name, unique on its node.
        name: Arc<str>,
        /// Its generation: greater than every earlier one of that name in this start of the node.
        generation: u64,
    },
    /// An agent of this node has ended.
    Ended {
        /// Its name.
        name: Arc<str>,
        /// Its generation.
        generation: u64,
        /// Why, for people: done, stopped, or what it failed with.
        reason: Arc<str>,
    },
    /// This node was started; the first command of its queen. Any command of a new start ends the agents of earlier ones:
    /// this one is for a node that has nothing else to say.
    NodeStarted,
    /// A node has not answered for so long that its agents are taken for dead.
    NodeLost {
        /// The node.
        node: NodeId,
        /// The start of it that is lost: nothing happens to the agents of a later one.
        incarnation: u64,
    },
    /// These sessions live on this node and gave no sign of life for their time; each with the position of the command
    /// by which it came to live there: one that was re-opened since then is not meant.
    SessionsSilent(Vec<(SessionId, u64)>),
    /// This node was taken for lost and was only away: these sessions live on it.
    SessionsAlive(Vec<SessionId>),
}

/// One life of a hosted agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AgentId {
    /// The node that hosts it.
    pub node: NodeId,
    /// Which start of that node.
    pub incarnation: u64,
    /// Its name there.
    pub name: Arc<str>,
    /// Its generation: a restarted agent is a new one.
    pub generation: u64,
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AgentId {
            node, name, generation, ..
        } = self;
        write!(f, "agent {name} of node {node}, generation {generation}")
    }
}

/// Why an agent lives no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentEnd {
    /// Its queen said so, with this reason.
    Ended(Arc<str>),
    /// A later generation of it was started.
    Replaced,
    /// Its node was started anew.
    NodeRestarted,
    /// Its node does not answer.
    NodeLost,
}

impl fmt::Display for AgentEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AgentEnd::Ended(reason) => write!(f, "its agent ended: {reason}"),
            AgentEnd::Replaced => write!(f, "its agent was started anew"),
            AgentEnd::NodeRestarted => write!(f, "its node was started anew"),
            AgentEnd::NodeLost => write!(f, "its node does not answer"),
        }
    }
}

/// By what the colony tells lives of agents apart: the node, and the position of the command that told of the start. In
/// this order all lives of a node stand as they began.
pub type LifeKey = (NodeId, u64);

/// A life that the colony knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Whose.
    pub id: AgentId,
    /// Why it has ended, if its queen or a later generation ended it alone; its tasks are being returned.
    pub end: Option<AgentEnd>,
    /// What it holds, with its projects.
    pub held: OrdSet<(Arc<str>, Held)>,
}

/// What an owner may hold: it is given back when the owner ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// The lease of a task.
    Task(TaskId),
    /// A place among the claims that wait.
    Wait(WaitId),
    /// A reservation, or the place of one who waits.
    Reservation(ReservationId),
}

/// What the passing of a time ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The lease of a task.
    Lease(TaskId),
    /// The hold on the keys of a proposal that lost at this position.
    Hold(u64),
    /// The wait of a pending task.
    Wake(TaskId),
    /// Nothing: a task is finished in some way, and those that need it are told one by one.
    Release(TaskId),
    /// The wait of a claim, or the offer that was made to it.
    Wait(WaitId),
    /// A reservation, or the patience of one who waits.
    Reservation(ReservationId),
    /// The rest of one who waits and is to be looked at again: at once.
    Look(ReservationId),
}

/// How all agents of a node ended at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sinking {
    /// Every life that began at this position or before has ended.
    pub(crate) floor: u64,
    pub(crate) end: AgentEnd,
}

/// The agents of all nodes, the sessions, and what ends by time although no owner does.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    lives: OrdMap<LifeKey, Life>,
    /// The newest life of each name.
    by_name: OrdMap<(NodeId, Arc<str>), u64>,
    counts: OrdMap<NodeId, usize>,
    /// Lives that ended alone and are not cleared away yet.
    ending: OrdSet<LifeKey>,
    /// Nodes whose agents ended together and are not cleared away yet.
    pub(crate) sinking: OrdMap<NodeId, Sinking>,
    /// What time ends, earliest first, with its project.
    timers: OrdSet<(u64, Arc<str>, Timer)>,
    /// The queues that may owe tasks to claims that wait, with their projects, by when they are looked at.
    owed: OrdSet<(u64, Arc<str>, Arc<str>)>,
    /// The claims that wait at each node, with their projects.
    waits: OrdSet<(NodeId, WaitId, Arc<str>)>,
    /// The lives that hold something of each project, with how many things.
    working: OrdMap<Arc<str>, OrdMap<LifeKey, usize>>,
    pub(crate) sessions: Sessions,
    pub(crate) digest: Digest,
}

/// What is to be done next of what time or the end of agents has brought.
#[derive(Debug)]
pub(crate) enum Due {
    /// The time of this is over.
    Expired(Arc<str>, Timer),
    /// This queue may owe tasks to claims that wait.
    Owed(Arc<str>, Arc<str>),
    /// The owner of this lives no more.
    Orphan(Arc<str>, Held, AgentEnd),
    /// This life holds nothing any more.
    Gone(LifeKey),
    /// Something of sessions.
    Session(SessionDue),
}

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

    /// Notes until when something lasts.
    pub(crate) fn set_timer(&mut self, until_ms: u64, project: &Arc<str>, timer: Timer) {
        self.timers.insert((until_ms, project.clone(), timer));
    }

    /// Undoes [`Agents::set_timer`].
    pub(crate) fn unset_timer(&mut self, until_ms: u64, project: &Arc<str>, timer: Timer) {
        self.timers.remove(&(until_ms, project.clone(), timer));
    }

    /// Notes that something is to be done at once, or that it is not.
    pub(crate) fn set_due_now(&mut self, project: &Arc<str>, timer: Timer, due: bool) {
        let entry = (0, project.clone(), timer);
        match due {
            true => self.timers.insert(entry),
            false => self.timers.remove(&entry),
        };
    }

    /// Notes when a queue is to be looked at, which was noted for `before`.
    pub(crate) fn set_owed(&mut self, project: &Arc<str>, queue: &Arc<str>, before: Option<u64>, at_ms: Option<u64>) {
        let entry = |at_ms| (at_ms, project.clone(), queue.clone());
        if let Some(before) = before {
            self.owed.remove(&entry(before));
        }
        if let Some(at_ms) = at_ms {
            self.owed.insert(entry(at_ms));
        }
    }

    /// The first queue of a project that is to be looked at at once.
    pub(crate) fn owed_now(&self, project: &Arc<str>) -> Option<Arc<str>> {
        if self.owed.is_empty() {
            return None;
        }
        let first: (u64, Arc<str>, Arc<str>) = (0, project.clone(), Arc::from(""));
        let (at_ms, found, queue) = self.owed.range(first..).next()?;
        (*at_ms == 0 && found == project).then(|| queue.clone())
    }

    /// The claims that wait at a node.
    pub fn waits_at(&self, node: NodeId) -> impl Iterator<Item = (WaitId, Arc<str>)> {
        let first: (NodeId, WaitId, Arc<str>) = (node, WaitId(0), Arc::from(""));
        let here = self.waits.range(first..).take_while(move |(at, ..)| *at == node);
        here.map(|(_, id, project)| (*id, project.clone()))
    }

    /// The nodes at which claims wait; one may stand there more than once.
    pub fn nodes_of_waits(&self) -> impl Iterator<Item = NodeId> {
        self.waits.iter().map(|(node, ..)| *node)
    }

    /// How many claims of a life wait.
    pub(crate) fn waits_of(&self, life: &LifeKey) -> usize {
        let held = self.lives.get(life).map(|life| life.held.iter());
        let waits = held
            .into_iter()
            .flatten()
            .filter(|(_, held)| matches!(held, Held::Wait(_)));
        waits.count()
    }

    /// How many tasks an owner holds, counted up to [`LOAD_MAX`].
    pub(crate) fn load(&self, owner: &Owner) -> usize {
        let is_task = |held: &Held| matches!(held, Held::Task(_));
        match owner {
            Owner::Session { session, .. } => self.sessions.held(*session).take(LOAD_MAX).filter(is_task).count(),
            Owner::Agent { agent, started } => {
                let life = self.lives.get(&(agent.node, *started));
                let held = life.into_iter().flat_map(|life| &life.held);
                held.take(LOAD_MAX).filter(|(_, held)| is_task(held)).count()
            }
        }
    }

    /// Notes who waits, where, and until when. `false` when its owner is unknown.
    pub(crate) fn link_wait(&mut self, project: &Arc<str>, id: WaitId, wait: &Wait) -> bool {
        self.set_timer(wait.until_ms, project, Timer::Wait(id));
        if !wait.is_waiting() {
            return true;
        }
        self.waits.insert((wait.node, id, project.clone()));
        self.hold(project, &wait.holder.owner, Held::Wait(id))
    }

    /// Undoes [`Agents::link_wait`].
    pub(crate) fn unlink_wait(&mut self, project: &Arc<str>, id: WaitId, wait: &Wait) {
        self.unset_timer(wait.until_ms, project, Timer::Wait(id));
        if !wait.is_waiting() {
            return;
        }
        self.waits.remove(&(wait.node, id, project.clone()));
        self.let_go(project, &wait.holder.owner, Held::Wait(id));
    }

    /// Notes who holds a task, and when it is to be looked at. `false` when its owner is unknown.
    pub(crate) fn link(&mut self, project: &Arc<str>, task: &Task) -> bool {
        if let Some(wakes_ms) = task.wakes_ms {
            self.timers.insert((wakes_ms, project.clone(), Timer::Wake(task.id)));
        }
        let State::Leased(lease) = &task.state else { return true };
        if let Some(until_ms) = lease.until_ms {
            self.timers.insert((until_ms, project.clone(), Timer::Lease(task.id)));
        }
        self.hold(project, &lease.holder.owner, Held::Task(task.id))
    }

    /// Undoes [`Agents::link`].
    pub(crate) fn unlink(&mut self, project: &Arc<str>, task: &Task) {
        if let Some(wakes_ms) = task.wakes_ms {
            self.timers.remove(&(wakes_ms, project.clone(), Timer::Wake(task.id)));
        }
        let State::Leased(lease) = &task.state else { return };
        if let Some(until_ms) = lease.until_ms {
            self.timers.remove(&(until_ms, project.clone(), Timer::Lease(task.id)));
        }
        self.let_go(project, &lease.holder.owner, Held::Task(task.id));
    }

    /// Notes that an owner holds something. `false` when it is unknown.
    fn hold(&mut self, project: &Arc<str>, owner: &Owner, held: Held) -> bool {
        match owner {
            Owner::Session { session, .. } => self.sessions.hold(*session, held),
            Owner::Agent { agent, started } => match self.lives.get_mut(&(agent.node, *started)) {
                Some(life) => {
                    let lives = self.working.entry(project.clone()).or_default();
                    *lives.entry((agent.node, *started)).or_default() += 1;
                    life.held.insert((project.clone(), held)).is_none()
                }
                None => false,
            },
        }
    }

    /// Undoes [`Agents::hold`].
    fn let_go(&mut self, project: &Arc<str>, owner: &Owner, held: Held) {
        match owner {
            Owner::Session { session, .. } => self.sessions.let_go(*session, held),
            Owner::Agent { agent, started } => {
                let key = (agent.node, *started);
                if let Some(life) = self.lives.get_mut(&key) {
                    life.held.remove(&(project.clone(), held));
                    self.holds_less(project, &key);
                }
            }
        }
    }

    fn holds_less(&mut self, project: &Arc<str>, key: &LifeKey) {
        let lives = self.working.get_mut(project).expect("it holds something of it");
        let things = lives.get_mut(key).expect("it was counted");
        *things -= 1;
        if *things == 0 {
            lives.remove(key);
        }
        if lives.is_empty() {
            self.working.remove(project);
        }
    }

    /// How many agents work in a project: its open sessions, and the hosted ones that hold something of it.
    pub fn working_in(&self, project: &Arc<str>) -> usize {
        self.working.get(project).map_or(0, OrdMap::len) + self.sessions.open_in(project)
    }

    /// Whether a hosted agent holds something of a project.
    pub(crate) fn works_in(&self, project: &Arc<str>, key: &LifeKey) -> bool {
        self.working.get(project).is_some_and(|lives| lives.contains_key(key))
    }

    /// Notes whose a reservation is, and until when. `false` when its owner is unknown.
    pub(crate) fn link_reservation(&mut self, project: &Arc<str>, reservation: &Reservation) -> bool {
        let id = reservation.id;
        for (at_ms, timer) in timers_of(reservation) {
            self.timers.insert((at_ms, project.clone(), timer));
        }
        self.hold(project, &reservation.holder.owner, Held::Reservation(id))
    }

    /// Undoes [`Agents::link_reservation`].
    pub(crate) fn unlink_reservation(&mut self, project: &Arc<str>, reservation: &Reservation) {
        for (at_ms, timer) in timers_of(reservation) {
            self.timers.remove(&(at_ms, project.clone(), timer));
        }
        self.let_go(project, &reservation.holder.owner, Held::Reservation(reservation.id));
    }
}

fn timers_of(reservation: &Reservation) -> impl Iterator<Item = (u64, Timer)> {
    let id = reservation.id;
    let look = matches!(reservation.state, Standing::Waiting { look: true, .. });
    // What goes with a lease has no end of its own.
    let ends = Some(reservation.until_ms()).filter(|until_ms| *until_ms < RESERVATION_OF_LEASE_MS);
    let ends = ends.map(|until_ms| (until_ms, Timer::Reservation(id)));
    ends.into_iter().chain(look.then_some((0, Timer::Look(id))))
}

/// What the digest covers: not what is held, which follows from the tasks and the reservations.
fn life_digest(key: &LifeKey, life: &Life) -> Digest {
    Digest::of(AGENT_DIGEST, &(key, &life.id, &life.end))
}
