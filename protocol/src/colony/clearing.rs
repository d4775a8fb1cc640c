//! How a destroyed project is cleared away: one thing at a time, as a sweep has steps for it ([`super::sweep`]). What is
//! still there says how far that has come, so a replica that was restored goes on where the others are.
//!
//! [`PARTS`] lists what a project holds, in the order in which it goes: what holds something before what is held by it.
//! Whoever adds a part to a project adds it there.

use std::sync::Arc;

use super::agent::{Agents, Timer};
use super::project::Project;
use super::reservation::{ReservationId, ReservationSettings};
use super::task::State;
use super::{Applied, Colony};

/// How many events go in one step: they are small, and lie in one row.
const EVENTS_PER_STEP: usize = 16;

/// A destroyed project, and what has something of it.
struct Remains<'a> {
    name: &'a Arc<str>,
    project: &'a mut Project,
    agents: &'a mut Agents,
    applied: &'a mut Applied,
}

/// One part of what a project holds.
struct Part {
    /// How much of it there is.
    left: fn(&Arc<str>, &Project, &Agents) -> usize,
    /// Clears the first of it away; there is one.
    clear: fn(&mut Remains<'_>),
}

const PARTS: [Part; 12] = [
    Part {
        left: |_, project, _| project.tasks.waits.len(),
        clear: clear_wait,
    },
    Part {
        left: |_, project, _| project.tasks.len(),
        clear: clear_task,
    },
    Part {
        left: |_, project, _| project.tasks.queues.len(),
        clear: clear_queue,
    },
    Part {
        left: |_, project, _| project.rates.len(),
        clear: clear_rate,
    },
    Part {
        left: |_, project, _| project.accounts.len(),
        clear: clear_account,
    },
    Part {
        left: |_, project, _| project.holds.iter().count(),
        clear: clear_hold,
    },
    Part {
        left: |_, project, _| project.reservations.count().0,
        clear: clear_reservation,
    },
    Part {
        left: |_, project, _| usize::from(*project.reservations.settings() != ReservationSettings::default()),
        clear: clear_reservation_settings,
    },
    Part {
        left: |name, _, agents| agents.sessions.count_in(name),
        clear: clear_session,
    },
    Part {
        left: |_, project, _| project.memory.len(),
        clear: clear_record,
    },
    Part {
        left: |_, project, _| project.idempotency.len(),
        clear: clear_remembered,
    },
    Part {
        left: |_, project, _| project.events.len(),
        clear: clear_events,
    },
];

fn clear_wait(remains: &mut Remains<'_>) {
    let (id, _) = remains.project.tasks.waits.iter().next().expect("there is one");
    remains
        .project
        .set_wait(remains.name, id, None, remains.agents, remains.applied);
}

fn clear_task(remains: &mut Remains<'_>) {
    let task = remains.project.tasks.after(None).next().expect("there is one").clone();
    remains.agents.unlink(remains.name, &task);
    if remains.project.tasks.take_out(task.id) {
        let queue = task.terms.queue.clone();
        remains.applied.queues.push((remains.name.clone(), queue));
    }
    // Those that need it are told nothing: they go as well.
    for need in task.unmet.iter().copied().chain([task.id]) {
        remains.agents.set_due_now(remains.name, Timer::Release(need), false);
    }
    if let State::Leased(lease) = &task.state
        && let Some(id) = lease.reservation
    {
        take_out_reservation(remains, id);
    }
    remains.applied.tasks.push((remains.name.clone(), task.id));
}

/// One that has no tasks any more, only settings.
fn clear_queue(remains: &mut Remains<'_>) {
    let name = remains.project.tasks.remove_first_queue().expect("there is one");
    remains.applied.queues.push((remains.name.clone(), name));
}

fn clear_rate(remains: &mut Remains<'_>) {
    let name = remains.project.rates.iter().next().expect("there is one").0.clone();
    remains.project.rates.set(&name, None);
    remains.applied.rates.push((remains.name.clone(), name));
}

fn clear_account(remains: &mut Remains<'_>) {
    let name = remains.project.accounts.iter().next().expect("there is one").0.clone();
    remains.project.accounts.set(&name, None);
    remains.applied.accounts.push((remains.name.clone(), name));
}

fn clear_hold(remains: &mut Remains<'_>) {
    let (seq, _) = remains.project.holds.iter().next().expect("there is one");
    remains
        .project
        .end_hold(seq, remains.agents, remains.name, remains.applied);
}

fn clear_reservation(remains: &mut Remains<'_>) {
    let id = remains
        .project
        .reservations
        .after(None)
        .next()
        .expect("there is one")
        .id;
    take_out_reservation(remains, id);
}

/// Nothing if it has ended before. Those who wait for it are told nothing: they go as well.
fn take_out_reservation(remains: &mut Remains<'_>, id: ReservationId) {
    let Some(reservation) = remains.project.reservations.get(id).cloned() else {
        return;
    };
    remains.agents.unlink_reservation(remains.name, &reservation);
    remains.project.reservations.remove(id);
    remains.applied.reservations.push((remains.name.clone(), id));
}

fn clear_reservation_settings(remains: &mut Remains<'_>) {
    remains
        .project
        .reservations
        .set_settings(ReservationSettings::default());
    remains.applied.reservation_settings.push(remains.name.clone());
}

fn clear_session(remains: &mut Remains<'_>) {
    let session = remains.agents.sessions.of_project(remains.name, None).next();
    let id = session.expect("there is one").id;
    remains.agents.sessions.remove(id);
    remains.applied.sessions.push((remains.name.clone(), id));
}

fn clear_record(remains: &mut Remains<'_>) {
    let (name, contents) = (remains.name, &mut remains.applied.contents);
    let content_changed = &mut |hash| contents.push((name.clone(), hash));
    let key = remains.project.memory.remove_first(content_changed);
    remains.applied.removed.push((name.clone(), key.expect("there is one")));
}

fn clear_remembered(remains: &mut Remains<'_>) {
    let key = remains.project.idempotency.forget_first().expect("there is one");
    remains.applied.remembered.push((remains.name.clone(), key));
}

fn clear_events(remains: &mut Remains<'_>) {
    for _ in 0..EVENTS_PER_STEP.min(remains.project.events.len()) {
        remains.project.events.drop_oldest();
    }
}

impl Colony {
    /// The projects that are destroyed and not cleared away yet.
    pub fn clearing(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.clearing.iter()
    }

    /// How many things of a project are still to be cleared away.
    pub fn left_of(&self, name: &Arc<str>) -> u64 {
        let Some(project) = self.projects.get(name) else {
            return 0;
        };
        let left = PARTS.iter().map(|part| (part.left)(name, project, &self.agents));
        left.sum::<usize>() as u64
    }

    /// Clears one thing away of the first destroyed project, and with the last thing the project. Says whether there was
    /// such a project.
    pub(super) fn clear_one(&mut self, applied: &mut Applied) -> bool {
        let Some(name) = self.clearing.get_min().cloned() else {
            return false;
        };
        let project = self.projects.get_mut(&name).expect("it goes last");
        let part = PARTS.iter().find(|part| (part.left)(&name, project, &self.agents) > 0);
        match part {
            Some(part) => (part.clear)(&mut Remains {
                name: &name,
                project,
                agents: &mut self.agents,
                applied,
            }),
            None => {
                self.projects.remove(&name);
                self.clearing.remove(&name);
            }
        }
        true
    }
}
