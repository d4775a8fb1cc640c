//! What is done with tasks by others than their owners: cancelling, pausing, approving, and what becomes of finished ones;
//! and the settings of queues.

use std::sync::Arc;

use super::ending::is_over;
use super::{Act, Breaker, Control, Counts, Need, QUEUES_MAX, QueueChange, Return, State, StateName, Task};
use crate::colony::command::{Outcome, Refusal};
use crate::colony::event::What;
use crate::colony::memory::over_limit;
use crate::colony::project::Step;

impl Step<'_> {
    pub(super) fn control(&mut self, control: &Control) -> Result<Outcome, Refusal> {
        control.check_form()?;
        let id = control.task;
        self.free_if_due(id);
        let task = Task::clone(self.known(id)?);
        let before = task.state.name();
        match &control.act {
            Act::Cancel { force, reason } => self.cancel(task, *force, reason.as_ref())?,
            Act::Pause => self.pause(task)?,
            Act::Resume => match task.state {
                State::Paused { .. } => self.move_on(task),
                _ => return Err(misplaced(&task, "only a paused task is resumed")),
            },
            Act::Approve => {
                let mut task = self.to_be_approved(task)?;
                task.approved = Some(self.scope.author.clone());
                match task.state {
                    State::AwaitingApproval => self.move_on(task),
                    _ => self.put_task(task),
                }
            }
            Act::Reject { reason } => {
                let task = self.to_be_approved(task)?;
                let why = match reason {
                    Some(reason) => format!("{} rejected it: {reason}", self.scope.author),
                    None => format!("{} rejected it", self.scope.author),
                };
                self.close_task(task, false, why);
            }
            Act::Requeue => self.requeue(task)?,
            Act::Drop => {
                if !is_over(before) {
                    return Err(misplaced(&task, "only a finished task is dropped"));
                }
                if let Some(dependant) = self.project.tasks.dependants(id).next() {
                    return Err(misplaced(&task, &format!("task {dependant} needs it")));
                }
                self.event(What::TaskDropped { task: id });
                self.forget(id);
            }
            Act::HandOff { fence, caller, to } => {
                let (mut task, mut lease) = self.held(id, *fence, caller)?;
                let bytes = task.bytes();
                lease.hand_off = to.clone();
                task.state = State::Leased(lease);
                self.check_open_bytes(task.bytes().saturating_sub(bytes))?;
                self.event(What::TaskHandedOff {
                    task: id,
                    attempt: task.attempts,
                    to: to.clone(),
                });
                self.put_task(task);
            }
        }
        let state = self.project.tasks.get(id).map(|task| task.state.name());
        Ok(Outcome::TaskSet {
            seq: self.scope.seq,
            task: id,
            state: state.unwrap_or(before),
        })
    }

    fn cancel(&mut self, mut task: Task, force: bool, reason: Option<&Arc<str>>) -> Result<(), Refusal> {
        if is_over(task.state.name()) {
            return Err(misplaced(&task, "it is not to be done anyway"));
        }
        let why = match reason {
            Some(reason) => format!("{} cancelled it: {reason}", self.scope.author),
            None => format!("{} cancelled it", self.scope.author),
        };
        let State::Leased(lease) = &mut task.state else {
            self.close_task(task, false, why);
            return Ok(());
        };
        lease.cancel = Some(why.as_str().into());
        if force {
            let lease = lease.clone();
            self.give_back(task, lease, Return::Cancelled);
            return Ok(());
        }
        self.event(What::TaskCancelWanted {
            task: task.id,
            attempt: task.attempts,
            reason: why.into(),
        });
        self.put_task(task);
        Ok(())
    }

    fn pause(&mut self, mut task: Task) -> Result<(), Refusal> {
        match &task.state {
            State::Pending | State::Blocked | State::AwaitingApproval => {}
            State::Leased(lease) => {
                return Err(Refusal::TaskHeld {
                    task: task.id,
                    attempt: task.attempts,
                    holder: lease.holder.clone(),
                });
            }
            _ => return Err(misplaced(&task, "only a task that waits is paused")),
        }
        task.wakes_ms = None;
        task.state = State::Paused {
            by: self.scope.author.clone(),
            at_ms: self.scope.cluster_ms,
        };
        self.event(What::TaskMoved {
            task: task.id,
            state: StateName::Paused,
            reason: None,
        });
        self.put_task(task);
        Ok(())
    }

    /// A task that waits for somebody's approval, now or later.
    fn to_be_approved(&self, task: Task) -> Result<Task, Refusal> {
        let waits = matches!(
            task.state,
            State::AwaitingApproval | State::Blocked | State::Paused { .. }
        );
        match waits && task.terms.approval && task.approved.is_none() {
            true => Ok(task),
            false => Err(misplaced(&task, "it does not wait for an approval")),
        }
    }

    fn requeue(&mut self, mut task: Task) -> Result<(), Refusal> {
        if !is_over(task.state.name()) || task.state.name() == StateName::Done {
            return Err(misplaced(
                &task,
                "only what has failed, was cancelled or is dead is requeued",
            ));
        }
        let needs: Vec<_> = task.terms.needs.iter().filter_map(Need::id).collect();
        if let Some(gone) = needs.iter().find(|need| self.project.tasks.get(**need).is_none()) {
            return Err(misplaced(&task, &format!("it needs {gone}, which is no longer kept")));
        }
        self.check_rates(&task.terms.rates)?;
        task.unmet = self.not_done(needs);
        task.counts = Counts::default();
        task.not_until_ms = 0;
        self.settle(&mut task);
        self.check_room(std::slice::from_ref(&task))?;
        self.event(What::TaskMoved {
            task: task.id,
            state: task.state.name(),
            reason: None,
        });
        self.put_task(task);
        Ok(())
    }

    pub(super) fn change_queue(&mut self, change: &QueueChange) -> Result<Outcome, Refusal> {
        change.check_form()?;
        let name = &change.queue;
        let queues = self.project.tasks.queues.len() + 1;
        if self.project.tasks.queue(name).is_none() && queues > QUEUES_MAX {
            return Err(over_limit("queues", queues, QUEUES_MAX));
        }
        let by = self.scope.author.clone();
        self.project.tasks.change_queue(name, |queue| {
            match change.paused {
                Some(true) => queue.paused_by = Some(by),
                Some(false) => queue.paused_by = None,
                None => {}
            }
            if let Some(settings) = change.breaker {
                queue.settings = settings;
                queue.breaker = Breaker::default();
            }
            queue.distribution = change.distribution.unwrap_or(queue.distribution);
        });
        self.applied.queues.push((self.scope.project.clone(), name.clone()));
        self.look_again(name);
        self.tell_queue(name);
        Ok(Outcome::QueueSet { seq: self.scope.seq })
    }
}

fn misplaced(task: &Task, why: &str) -> Refusal {
    Refusal::TaskNotReady {
        task: task.id,
        state: task.state.name(),
        why: why.into(),
    }
}
