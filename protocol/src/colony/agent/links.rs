//! What is noted of tasks, claims that wait and reservations: who holds them, and when they are looked at again.

use std::sync::Arc;

use imbl::OrdMap;

use super::{Agents, Held, LifeKey, Timer};
use crate::colony::reservation::{RESERVATION_OF_LEASE_MS, Reservation, Standing};
use crate::colony::task::{Owner, State, Task, Wait, WaitId};
use crate::id::NodeId;

/// How many of the things that an owner holds are counted for its load.
const LOAD_MAX: usize = 100;

impl Agents {
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
