//! Which tasks somebody could claim now, for those who wake a worker for them. It reads the state and decides nothing: the
//! claim does, and may find less.

use std::sync::Arc;

use super::gate::Gate;
use super::{Breaker, Queue, QueueClosed, TaskId};
use crate::colony::Colony;
use crate::colony::project::Project;

/// Of how many ready tasks the resources are looked up.
const LOOKED_UP_MAX: usize = 64;

/// Which tasks a worker takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serves {
    /// Of this project.
    pub project: Arc<str>,
    /// From this queue.
    pub queue: Arc<str>,
    /// Of these kinds; of any when there is none.
    pub kinds: Vec<Arc<str>>,
    /// What the worker is capable of.
    pub capabilities: Vec<Arc<str>>,
}

/// What could be claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimable {
    /// Tasks that could be claimed beside each other by workers without reservations. Of those that take the same tokens, or
    /// name the same resources, one.
    pub tasks: Vec<TaskId>,
    /// Cluster time in milliseconds at which there may be more although nothing happens until then: tokens come, or the
    /// breaker of the queue ends its pause.
    pub next_ms: Option<u64>,
}

impl Colony {
    /// Up to `most` of the tasks that a worker could claim at `now_ms`.
    pub fn claimable(&self, serves: &Serves, now_ms: u64, most: usize) -> Claimable {
        let found = self.project(&serves.project).and_then(|project| {
            let queue = project.tasks().queue(&serves.queue)?;
            Some((project, queue))
        });
        let Some((project, queue)) = found.filter(|(_, queue)| queue.ready() > 0) else {
            return Claimable::default();
        };
        if project.accounts().held(&serves.queue).is_some() {
            return Claimable::default();
        }
        match queue.closed(now_ms) {
            Some(QueueClosed::Open(until_ms)) => Claimable {
                tasks: Vec::new(),
                next_ms: Some(until_ms),
            },
            Some(QueueClosed::Paused(_) | QueueClosed::Trial(_)) => Claimable::default(),
            None => self.of_queue((project, queue), serves, now_ms, most),
        }
    }

    fn of_queue(&self, (project, queue): (&Project, &Queue), serves: &Serves, now_ms: u64, most: usize) -> Claimable {
        // A breaker that ends its pause lets one task through.
        let most = match queue.breaker() {
            Breaker::Open { .. } => most.min(1),
            _ => most,
        };
        let gate = Gate {
            rates: project.rates(),
            now_ms,
        };
        let open = queue.open_for((&serves.kinds, &serves.capabilities), gate);
        let (mut tasks, mut looked_up) = (Vec::new(), Vec::new());
        for (key, line) in &open.lines {
            for (_, id) in line.ranked() {
                if tasks.len() >= most {
                    break;
                }
                let Some(task) = project.tasks().get(id) else { continue };
                let resources = &task.terms.resources;
                if !resources.is_empty() {
                    if looked_up.len() >= LOOKED_UP_MAX {
                        break;
                    }
                    if looked_up.contains(&resources) {
                        continue;
                    }
                    looked_up.push(resources);
                    let free = project.reservations().check(resources, None, self.agents(), now_ms);
                    if !free.is_ok_and(|found| found.blockers.is_empty()) {
                        continue;
                    }
                }
                tasks.push(id);
                if !key.rates.is_empty() {
                    break;
                }
            }
        }
        Claimable {
            tasks,
            next_ms: open.next_ms,
        }
    }
}
