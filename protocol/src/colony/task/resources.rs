//! The resources of tasks. A claim reserves them in the same step, for the owner of the lease, and they go with the lease;
//! see [`crate::colony::reservation`].
//!
//! A claim of ready tasks passes over those whose resources are taken. It looks at a bounded number of them
//! ([`CLAIM_PASSES_MAX`]) and looks up a bounded number of different resources; tasks that name the same are looked up
//! once. Behind more than that it finds nothing, although there may be something. An offer to a claim that waits does the
//! same, for all those that it may be made to; see [`super::wait`].

use std::ops::ControlFlow;
use std::sync::Arc;

use super::gate::Gate;
use super::{Owner, QUEUE_DEFAULT, State, Task, TaskId, WaitId, Wants};
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
/// Which part of the steps of a claim an offer may take to find its first task, and again to find the others: a command
/// makes many.
const OFFER_PART: u64 = 16;

/// What a claim or an offer has found so far of the resources of ready tasks. What is taken stays so while it goes on: it
/// frees nothing.
pub(super) struct Passed {
    left: usize,
    taken: Vec<Arc<Task>>,
    steps: Steps,
}

/// Enough was looked at.
pub(super) struct Enough;

impl Passed {
    fn within(steps: u64) -> Passed {
        Passed {
            left: CLAIM_PASSES_MAX,
            taken: Vec::new(),
            steps: Steps::new(steps),
        }
    }

    /// For a claim.
    pub(super) fn of_claim() -> Passed {
        Passed::within(LOOKUP_STEPS_MAX)
    }

    /// For an offer to a claim that waits.
    pub(super) fn of_offer() -> Passed {
        Passed::within(LOOKUP_STEPS_MAX / OFFER_PART)
    }

    /// What `find` finds for a task with resources: nothing if they are taken. It is not asked when nothing was found for
    /// the same resources of a task that is `alike`.
    fn find<T>(
        &mut self,
        task: &Arc<Task>,
        alike: impl Fn(&Task) -> bool,
        find: impl FnOnce(&mut Steps) -> Option<T>,
    ) -> Result<Option<T>, Enough> {
        if self.left == 0 {
            return Err(Enough);
        }
        self.left -= 1;
        let same = |known: &Arc<Task>| known.terms.resources == task.terms.resources && alike(known);
        if self.taken.iter().any(same) {
            return Ok(None);
        }
        let found = find(&mut self.steps);
        match (&found, self.taken.len() < CLAIM_TAKEN_MAX) {
            (Some(_), _) => {}
            (None, true) => self.taken.push(task.clone()),
            (None, false) => self.left = 0,
        }
        Ok(found)
    }

    /// Whether the claim takes a ready task, passes it, or has looked at enough.
    fn look(&mut self, step: &Step<'_>, id: TaskId, owner: &Owner) -> ControlFlow<bool> {
        let Some(task) = step.project.tasks.get(id) else {
            return ControlFlow::Continue(());
        };
        let resources = &task.terms.resources;
        if resources.is_empty() {
            return ControlFlow::Break(true);
        }
        let free = self.find(
            task,
            |_| true,
            |steps| step.may_reserve(resources, owner, steps).then_some(()),
        );
        match free {
            Ok(Some(())) => ControlFlow::Break(true),
            Ok(None) => ControlFlow::Continue(()),
            Err(Enough) => ControlFlow::Break(false),
        }
    }
}

impl Step<'_> {
    /// The ready task that a claim of these kinds gets next.
    pub(super) fn best_ready(
        &self,
        wants: &Wants,
        kinds: &[Arc<str>],
        owner: &Owner,
        passed: &mut Passed,
    ) -> Option<TaskId> {
        let queue = wants.queue.as_deref().unwrap_or(QUEUE_DEFAULT);
        self.best_ready_of(queue, (kinds, &wants.capabilities), owner, passed)
    }

    /// The ready task of a queue that an owner with these kinds and capabilities gets next.
    pub(super) fn best_ready_of(
        &self,
        name: &str,
        (kinds, capabilities): (&[Arc<str>], &[Arc<str>]),
        owner: &Owner,
        passed: &mut Passed,
    ) -> Option<TaskId> {
        let queue = self.project.tasks.queue(name)?;
        if self.is_held(name) {
            return None;
        }
        match queue.closed(self.scope.cluster_ms) {
            Some(_) => None,
            None => queue.choose_where((kinds, capabilities), self.gate(), &mut |id| {
                passed.look(self, id, owner)
            }),
        }
    }

    /// Whether a budget keeps the tasks of a queue.
    pub(super) fn is_held(&self, queue: &str) -> bool {
        self.project.accounts.held(queue).is_some()
    }

    /// The rates as they are now.
    pub(super) fn gate(&self) -> Gate<'_> {
        Gate {
            rates: &self.project.rates,
            now_ms: self.scope.cluster_ms,
        }
    }

    /// Those of these claims that wait, all of which fit this task, whose owners could reserve its resources now; nothing
    /// if there is none.
    pub(super) fn able(
        &self,
        task: &Arc<Task>,
        fitting: impl FnOnce() -> Vec<WaitId>,
        passed: &mut Passed,
    ) -> Result<Option<Vec<WaitId>>, Enough> {
        // Claims that fit the one fit the other.
        let alike = |known: &Task| (&known.kind, &known.terms.requires) == (&task.kind, &task.terms.requires);
        passed.find(task, alike, |steps| {
            let waits = &self.project.tasks.waits;
            let owners = fitting()
                .into_iter()
                .filter_map(|id| Some((id, &waits.get(id)?.holder.owner)));
            let able = self.who_may_reserve(&task.terms.resources, owners, steps);
            (!able.is_empty()).then_some(able)
        })
    }

    /// Whether the resources of all these tasks are free for their new owner, once the leases that they have are over, and
    /// the tokens of all of them are there.
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
        self.check_may_reserve(named, owner, &leased, &mut Steps::new(LOOKUP_STEPS_MAX))?;
        self.check_tokens(tasks().map(|task| &task.terms.rates[..]))
    }
}
