//! Agents in the model: a list of lives; and what time and their ends bring.

use super::tasks::{ended_by, lease};
use super::*;
use crate::colony::Held as Has;

/// A life of an agent.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::colony::tests) struct ModelLife {
    pub(in crate::colony::tests) started: u64,
    pub(in crate::colony::tests) id: AgentId,
    /// Why it ended alone.
    pub(in crate::colony::tests) end: Option<AgentEnd>,
    /// Why it ended with all others of its node.
    sunk: Option<AgentEnd>,
}

impl ModelLife {
    pub(super) fn over(&self) -> Option<AgentEnd> {
        self.end.clone().or(self.sunk.clone())
    }
}

impl Model {
    /// What an agent's queen told.
    pub(super) fn agent_command(
        &mut self,
        step: &Step,
        command: &AgentCommand,
        wall_ms: u64,
    ) -> Result<Outcome, Refusal> {
        let (seq, node, incarnation) = (self.seq, step.node, step.incarnation);
        let live = |lives: &[ModelLife], name: &Arc<str>| {
            let mut lives = lives.iter();
            lives.position(|life| {
                life.over().is_none() && (life.id.node, life.id.incarnation, &life.id.name) == (node, incarnation, name)
            })
        };
        let outcome = match command {
            AgentCommand::Started { name, generation } => {
                if name.len() > 128 {
                    return Err(over("name", name.len(), 128));
                }
                if name.is_empty() || name.contains('/') || name.contains(char::is_control) {
                    return Err(bad("name", "is empty, or has a slash or a control character"));
                }
                if let Some(place) = live(&self.lives, name) {
                    let known = self.lives[place].id.generation;
                    if known >= *generation {
                        return Err(Refusal::AgentLive {
                            name: name.clone(),
                            generation: known,
                        });
                    }
                    self.lives[place].end = Some(AgentEnd::Replaced);
                }
                self.lives.push(ModelLife {
                    started: seq,
                    id: AgentId {
                        node,
                        incarnation,
                        name: name.clone(),
                        generation: *generation,
                    },
                    end: None,
                    sunk: None,
                });
                Outcome::AgentStarted { seq }
            }
            AgentCommand::Ended {
                name,
                generation,
                reason,
            } => {
                let place = live(&self.lives, name);
                let known = place.map(|place| self.lives[place].id.generation);
                if known != Some(*generation) {
                    return Err(Refusal::AgentNotLive {
                        name: name.clone(),
                        generation: *generation,
                        live: known,
                    });
                }
                self.lives[place.unwrap()].end = Some(AgentEnd::Ended(reason.clone()));
                Outcome::AgentsEnded { seq, ended: true }
            }
            AgentCommand::NodeStarted => Outcome::AgentsEnded { seq, ended: false },
            AgentCommand::NodeLost { node, incarnation } => {
                let newer = self.newest(*node).is_some_and(|newest| newest > *incarnation);
                if !newer {
                    self.end_waits_at(*node, wall_ms);
                }
                let ended = !newer && (self.sink(*node, AgentEnd::NodeLost) | self.lose(*node));
                Outcome::AgentsEnded { seq, ended }
            }
            AgentCommand::SessionsSilent(told) => {
                let changed = self.end_silent(node, told, wall_ms)?;
                Outcome::SessionsTold { seq, changed }
            }
            AgentCommand::SessionsAlive(told) => {
                let changed = self.keep_alive(node, told)?;
                return Ok(Outcome::SessionsTold { seq, changed });
            }
        };
        self.do_due(4, wall_ms);
        Ok(outcome)
    }

    /// The newest start of a node that was seen.
    pub(super) fn newest(&self, node: NodeId) -> Option<u64> {
        let starts = self.dedup.keys().filter(|(known, _)| *known == node);
        starts.map(|key| key.1).max()
    }

    /// Ends all lives of a node; whether there was any that is not cleared away.
    pub(super) fn sink(&mut self, node: NodeId, end: AgentEnd) -> bool {
        let lives = self.lives.iter_mut().filter(|life| life.id.node == node);
        lives.map(|life| life.sunk = Some(end.clone())).count() > 0
    }

    pub(super) fn sweep(&mut self, steps: usize, wall_ms: u64) {
        let now_ms = self.cluster_ms;
        let due = self.timers().first().is_some_and(|(at_ms, ..)| *at_ms <= now_ms);
        let owed = self.first_owed().is_some_and(|(at_ms, ..)| at_ms <= now_ms);
        let ended = self.lives.iter().any(|life| life.over().is_some());
        if due || owed || ended || self.next_session_step().is_some() || self.clears() {
            self.seq += 1;
            self.do_due(steps, wall_ms);
        }
    }

    /// What time brings, earliest first: when, in which project, and what.
    fn timers(&self) -> Vec<(u64, String, Timer)> {
        let mut timers = Vec::new();
        for (name, project) in &self.projects {
            for (id, task) in &project.tasks {
                let until_ms = lease(task).and_then(|lease| lease.until_ms);
                timers.extend(until_ms.map(|until_ms| (until_ms, name.clone(), Timer::Lease(*id))));
                let wakes_ms = task.wakes_ms;
                timers.extend(wakes_ms.map(|wakes_ms| (wakes_ms, name.clone(), Timer::Wake(*id))));
            }
            let holds = project.holds.iter();
            timers.extend(holds.map(|(seq, hold)| (hold.until_ms, name.clone(), Timer::Hold(*seq))));
            let waits = project.waits.iter();
            timers.extend(waits.map(|(id, wait)| (wait.until_ms, name.clone(), Timer::Wait(*id))));
            let release = project.next_release();
            timers.extend(release.map(|(need, _)| (0, name.clone(), Timer::Release(need))));
            for found in &project.reservations.list {
                timers.push((found.until_ms, name.clone(), Timer::Reservation(found.id)));
                timers.extend(found.look.then(|| (0, name.clone(), Timer::Look(found.id))));
            }
        }
        timers.sort();
        timers
    }

    fn do_due(&mut self, steps: usize, wall_ms: u64) {
        let mut left = steps;
        while left > 0 {
            let timer = self.timers().into_iter().next();
            let timer = timer.filter(|(at_ms, ..)| *at_ms <= self.cluster_ms);
            let owed = self.first_owed().filter(|(at_ms, ..)| *at_ms <= self.cluster_ms);
            if let (None, Some((_, project, queue))) = (&timer, owed) {
                left -= 1;
                let at = self.at_by_itself(&project, wall_ms);
                self.projects.get_mut(&project).unwrap().offer_next(&queue, &at);
                continue;
            }
            left -= match timer {
                Some((.., Timer::Look(_))) => left.min(8),
                _ => 1,
            };
            let over = self.lives.iter().enumerate().filter(|(_, life)| life.over().is_some());
            let ending = over.min_by_key(|(_, life)| (life.end.is_none(), life.id.node, life.started));
            let ending = ending.map(|(place, life)| (place, life.clone()));
            let (project, what) = match (timer, ending) {
                (Some((_, project, timer)), _) => (project, Ok(timer)),
                (None, Some((place, life))) => match self.first_held(life.started) {
                    Some((project, has)) => (project, Err((has, life.over().unwrap()))),
                    // A life that holds nothing is cleared away; that is a step as well.
                    None => {
                        self.lives.remove(place);
                        continue;
                    }
                },
                (None, None) => match self.next_session_step() {
                    Some(step) => {
                        self.do_session_step(step, wall_ms);
                        continue;
                    }
                    None => {
                        // With the sessions that ended before it others were forgotten.
                        self.forget_sessions();
                        match self.clear_one() {
                            true => continue,
                            false => return,
                        }
                    }
                },
            };
            let at = self.at_by_itself(&project, wall_ms);
            let project = self.projects.get_mut(&project).unwrap();
            match what {
                Ok(Timer::Lease(id)) => {
                    let task = &project.tasks[&id];
                    let reason = ended_by(lease(task).unwrap(), &task.added.terms, at.now_ms);
                    project.give_back(id, reason, Bytes::new(), &at);
                }
                Ok(Timer::Hold(seq)) => drop(project.holds.remove(&seq)),
                Ok(Timer::Wake(id)) => project.move_on(id, &at),
                Ok(Timer::Wait(id)) => project.end_wait(id, &at),
                Ok(Timer::Release(_)) => {
                    let (need, next) = project.next_release().unwrap();
                    project.release(need, next, &at);
                }
                Ok(Timer::Reservation(id)) => {
                    let found = project.reservations.list.iter().find(|found| found.id == id);
                    let reason = found.unwrap().over_reason();
                    project.end_reservation(id, reason, &at);
                }
                Ok(Timer::Look(id)) => project.look_at(id, &at),
                Err((Has::Task(id), end)) => project.give_back(id, Return::Agent(end), Bytes::new(), &at),
                Err((Has::Wait(id), _)) => project.end_wait(id, &at),
                Err((Has::Reservation(id), end)) => project.end_reservation(id, ReservationEnd::Agent(end), &at),
            }
        }
    }

    /// The place of what nobody commanded.
    pub(super) fn at_by_itself(&self, project: &str, wall_ms: u64) -> At {
        let elsewhere = self.projects.iter().filter(|(name, _)| **name != project);
        let elsewhere = elsewhere.flat_map(|(_, project)| &project.events);
        At {
            seq: self.seq,
            now_ms: self.cluster_ms,
            wall_ms,
            author: "colony".into(),
            project: project.into(),
            node: NodeId(0),
            incarnation: 0,
            lives: self.lives.clone(),
            told_elsewhere: elsewhere.filter(|event| event.cursor.seq == self.seq).count() as u32,
        }
    }

    /// The first that a life has.
    fn first_held(&self, life: u64) -> Option<(String, Has)> {
        let is_of = |owner: &Owner| matches!(owner, Owner::Agent { started, .. } if *started == life);
        let held = self.projects.iter().flat_map(|(name, project)| {
            let tasks = project.tasks.iter();
            let tasks = tasks.filter(move |(_, task)| lease(task).is_some_and(|lease| is_of(&lease.holder.owner)));
            let tasks = tasks.map(|(id, _)| Has::Task(*id));
            let waits = project.waits.iter();
            let waits = waits.filter(move |(_, wait)| wait.offered.is_empty() && is_of(&wait.holder.owner));
            let waits = waits.map(|(id, _)| Has::Wait(*id));
            let reservations = project.reservations.list.iter();
            let reservations = reservations.filter(move |found| is_of(&found.holder.owner));
            let reservations = reservations.map(|found| Has::Reservation(found.id));
            let all = tasks.chain(waits).chain(reservations);
            all.map(move |has| (name.clone(), has))
        });
        held.min()
    }
}
