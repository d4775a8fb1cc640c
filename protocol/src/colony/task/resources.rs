//! The resources of tasks. A claim reserves them in the same step, for the owner of the lease, and they go with the lease;
//! see [`crate::colony::reservation`].
//!
//! A claim of ready tasks passes over those whose resources are taken. It looks at a bounded number of them
//! ([`CLAIM_PASSES_MAX`]) and looks up a bounded number of different resources; tasks that name the same are looked up
//! once. Behind more than that it finds nothing, although there may be something.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Claim, Owner, QUEUE_DEFAULT, State, TaskId, Terms};
use crate::colony::command::Refusal;
use crate::colony::project::Step;
use crate::colony::reservation::{LOOKUP_STEPS_MAX, ReservationId};
use crate::conflict::glob::Steps;

/// How many resources a task may name.
pub const TASK_RESOURCES_MAX: usize = 16;
/// How many ready tasks with resources a claim looks at.
pub const CLAIM_PASSES_MAX: usize = 1_024;
/// How many different lists of resources a claim may find to be taken.
const CLAIM_TAKEN_MAX: usize = 64;

/// What a claim has found so far of the resources of ready tasks. What is taken stays so while the claim goes on: it
/// frees nothing.
pub(super) struct Passed {
    left: usize,
    taken: Vec<Arc<Terms>>,
    steps: Steps,
}

impl Default for Passed {
    fn default() -> Passed {
        Passed {
            left: CLAIM_PASSES_MAX,
            taken: Vec::new(),
            steps: Steps::new(LOOKUP_STEPS_MAX),
        }
    }
}

impl Passed {
    /// Whether the claim takes a ready task, passes it, or has looked at enough.
    fn look(&mut self, step: &Step<'_>, id: TaskId, owner: &Owner) -> ControlFlow<bool> {
        let Some(task) = step.project.tasks.get(id) else {
            return ControlFlow::Continue(());
        };
        let resources = &task.terms.resources;
        if resources.is_empty() {
            return ControlFlow::Break(true);
        }
        if self.left == 0 {
            return ControlFlow::Break(false);
        }
        self.left -= 1;
        if self.taken.iter().any(|terms| terms.resources == *resources) {
            return ControlFlow::Continue(());
        }
        if step.may_reserve(resources, owner, &mut self.steps) {
            return ControlFlow::Break(true);
        }
        match self.taken.len() < CLAIM_TAKEN_MAX {
            true => self.taken.push(task.terms.clone()),
            false => self.left = 0,
        }
        ControlFlow::Continue(())
    }
}

impl Step<'_> {
    /// The ready task that a claim of these kinds gets next.
    pub(super) fn best_ready(
        &self,
        claim: &Claim,
        kinds: &[Arc<str>],
        owner: &Owner,
        passed: &mut Passed,
    ) -> Option<TaskId> {
        let queue = claim.wants.queue.as_deref().unwrap_or(QUEUE_DEFAULT);
        let queue = self.project.tasks.queue(queue)?;
        match queue.closed(self.scope.cluster_ms) {
            Some(_) => None,
            None => queue.choose_where(kinds, &claim.wants.capabilities, &mut |id| passed.look(self, id, owner)),
        }
    }

    /// Whether the resources of all these tasks are free for their new owner, once the leases that they have are over.
    pub(super) fn check_resources(&self, ids: &[TaskId], owner: &Owner) -> Result<(), Refusal> {
        let tasks = || ids.iter().filter_map(|id| self.project.tasks.get(*id));
        let leased: Vec<ReservationId> = tasks()
            .filter_map(|task| match &task.state {
                State::Leased(lease) => lease.reservation,
                _ => None,
            })
            .collect();
        let named = tasks().map(|task| &task.terms.resources[..]);
        let named = named.filter(|resources| !resources.is_empty());
        self.check_may_reserve(named, owner, &leased, &mut Steps::new(LOOKUP_STEPS_MAX))
    }
}
