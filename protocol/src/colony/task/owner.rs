//! What the owner of a task says of it: that work goes on, and how it ends.

use std::collections::BTreeMap;

use super::rules::Prepared;
use super::{
    Accept, Caller, Ending, Fence, Finish, Finished, Holder, Lease, OFFER_MS, Return, State, Task, TaskId, Terms,
    Update,
};
use crate::colony::command::{Outcome, Refusal};
use crate::colony::event::What;
use crate::colony::memory::malformed;
use crate::colony::project::Step;

impl Lease {
    /// Cluster time in milliseconds at which it ends by itself.
    pub(super) fn deadline(&self, terms: &Terms) -> Option<u64> {
        let after = |ms: Option<u64>| ms.map(|ms| self.since_ms.saturating_add(ms));
        let start = after(terms.start_ms.filter(|_| !self.accepted));
        let offer = after(self.offer.map(|_| OFFER_MS));
        [offer, start, after(terms.run_ms)].into_iter().flatten().min()
    }

    /// Why it ended by itself at `now_ms`.
    pub(super) fn expired(&self, terms: &Terms, now_ms: u64) -> Return {
        let over = |ms: Option<u64>| ms.is_some_and(|ms| self.since_ms.saturating_add(ms) <= now_ms);
        match () {
            () if self.offer.is_some() => Return::NotTaken,
            () if over(terms.run_ms) => Return::TooLong,
            () if !self.accepted && over(terms.start_ms) => Return::NotAccepted,
            () => Return::Expired,
        }
    }
}

impl Step<'_> {
    pub(super) fn accept(&mut self, accept: &Accept) -> Result<Outcome, Refusal> {
        let (task, lease) = self.held(accept.task, accept.fence, &accept.caller)?;
        Ok(self.goes_on(task, lease))
    }

    pub(super) fn update(&mut self, update: &Update) -> Result<Outcome, Refusal> {
        update.check_form()?;
        let (mut task, mut lease) = self.held(update.task, update.fence, &update.caller)?;
        lease.progress = update.progress.or(lease.progress);
        lease.stealable = update.stealable.unwrap_or(lease.stealable);
        let before = task.bytes();
        if let Some(note) = &update.note {
            lease.note = Some(note.clone());
        }
        if let Some(checkpoint) = &update.checkpoint {
            task.checkpoint = checkpoint.clone();
        }
        task.state = State::Leased(lease.clone());
        self.check_open_bytes(task.bytes().saturating_sub(before))?;
        self.count_attempt(&mut task, &mut lease, update.usage);
        Ok(self.goes_on(task, lease))
    }

    /// The holder of a task is at work.
    fn goes_on(&mut self, mut task: Task, mut lease: Lease) -> Outcome {
        self.offer_is_over(lease.offer.take(), task.id);
        lease.accepted = true;
        lease.heard_ms = self.scope.cluster_ms;
        lease.until_ms = lease.deadline(&task.terms);
        let outcome = Outcome::Accepted {
            seq: self.scope.seq,
            attempt: task.attempts,
            until_ms: lease.until_ms,
            cancel: lease.cancel.is_some(),
        };
        task.state = State::Leased(lease);
        self.put_task(task);
        outcome
    }

    pub(super) fn finish(&mut self, finish: &Finish) -> Result<Outcome, Refusal> {
        finish.check_form()?;
        let (mut task, mut lease) = self.held(finish.task, finish.fence, &finish.caller)?;
        let usage = finish.with.usage;
        match finish.ending {
            Ending::Done => return self.done(finish, task, lease),
            Ending::Failed => self.failed(finish, task, lease)?,
            Ending::Released => {
                self.count_attempt(&mut task, &mut lease, usage);
                self.give_back(task, lease, Return::Released);
            }
            Ending::Cancelled => {
                self.count_attempt(&mut task, &mut lease, usage);
                self.give_back(task, lease, Return::Cancelled);
            }
            Ending::Blocked => {
                let needs = self.resolve_needs(&finish.with.needs, &BTreeMap::new())?;
                let before = task.bytes();
                self.need_more(&mut task, &needs)?;
                self.check_open_bytes(task.bytes().saturating_sub(before))?;
                self.count_attempt(&mut task, &mut lease, usage);
                self.give_back(task, lease, Return::Blocked);
            }
        }
        Ok(Outcome::Finished {
            seq: self.scope.seq,
            revisions: Vec::new(),
            added: Vec::new(),
            merged: Vec::new(),
        })
    }

    fn done(&mut self, finish: &Finish, task: Task, lease: Lease) -> Result<Outcome, Refusal> {
        check_checks(&task.terms, &finish.with.checks)?;
        let follow_ups: Prepared = self.prepare_tasks(&finish.with.follow_ups)?;
        let (revisions, merged) = match &finish.proposal {
            None => (Vec::new(), Vec::new()),
            Some(proposal) => match self.propose(proposal, Some(&finish.caller))? {
                Outcome::Committed { revisions, merged, .. } => (revisions, merged),
                lost => return Ok(lost),
            },
        };
        self.put_finished(finish, task, lease, true);
        Ok(Outcome::Finished {
            seq: self.scope.seq,
            revisions,
            added: self.add_prepared(follow_ups),
            merged,
        })
    }

    fn failed(&mut self, finish: &Finish, mut task: Task, mut lease: Lease) -> Result<(), Refusal> {
        let failure = finish.with.failure.as_ref().filter(|failure| failure.retryable);
        match failure.filter(|failure| task.terms.retry.allows(failure.class.as_ref())) {
            Some(failure) => {
                self.check_open_bytes(finish.result.len() as u64)?;
                self.count_attempt(&mut task, &mut lease, finish.with.usage);
                self.give_back_with(task, lease, Return::Failed(failure.clone()), finish.result.clone());
            }
            None => self.put_finished(finish, task, lease, false),
        }
        Ok(())
    }

    fn put_finished(&mut self, finish: &Finish, mut task: Task, mut lease: Lease, done: bool) {
        self.count_attempt(&mut task, &mut lease, finish.with.usage);
        self.offer_is_over(lease.offer, task.id);
        self.event(What::TaskFinished {
            task: task.id,
            attempt: task.attempts,
            done,
        });
        let (id, queue) = (task.id, task.terms.queue.clone());
        task.unmet.clear();
        task.state = State::Finished(Finished {
            done,
            holder: lease.holder,
            fence: lease.fence,
            seq: self.scope.seq,
            at_ms: self.scope.cluster_ms,
            result: finish.result.clone(),
            failure: finish.with.failure.clone(),
            usage: lease.usage,
        });
        self.put_task(task);
        self.breaker_hears(&queue, id, Some(done));
        self.end_with_lease(lease.reservation);
        self.drop_old_tasks();
    }

    /// The task and the lease that this caller holds on it.
    pub(super) fn held(&mut self, id: TaskId, fence: Fence, caller: &Caller) -> Result<(Task, Lease), Refusal> {
        self.free_if_due(id);
        self.check_fence(id, fence, caller)?;
        let task = Task::clone(self.known(id)?);
        match task.state.clone() {
            State::Leased(lease) => Ok((task, lease)),
            _ => unreachable!("the caller holds the task"),
        }
    }

    /// Whether this caller holds the task now. Changes nothing: a lease that is over counts as ended although the task was
    /// not returned yet.
    pub(in crate::colony) fn check_fence(&self, id: TaskId, fence: Fence, caller: &Caller) -> Result<(), Refusal> {
        let task = self.known(id)?;
        let fenced = |holder: Option<&Holder>| Refusal::Fenced {
            task: id,
            fence,
            attempt: task.attempts,
            holder: holder.cloned(),
        };
        match &task.state {
            State::Finished(finished) if finished.fence == fence => Err(task_finished(task, finished)),
            State::Finished(finished) => Err(fenced(Some(&finished.holder))),
            State::Leased(lease) if self.lease_end(task, lease).is_some() => Err(fenced(None)),
            State::Leased(lease) => {
                let same_owner = self.is_owner(caller, &lease.holder.owner)?;
                let same_fence = lease.fence == fence;
                #[cfg(feature = "planted-bugs")]
                let same_fence = same_fence || crate::planted::has(crate::planted::Bug::IgnoreFence);
                match same_fence && same_owner {
                    true => Ok(()),
                    false => Err(fenced(Some(&lease.holder))),
                }
            }
            _ => Err(fenced(None)),
        }
    }
}

fn check_checks(terms: &Terms, results: &[i32]) -> Result<(), Refusal> {
    if terms.checks.len() != results.len() {
        let (wanted, found) = (terms.checks.len(), results.len());
        return Err(malformed(
            "checks",
            &format!("the task has {wanted}, and {found} exit codes came with it"),
        ));
    }
    let failed = results.iter().position(|code| *code != 0);
    match failed {
        Some(place) => Err(malformed(
            "checks",
            &format!("the check in place {place} ended with exit code {}", results[place]),
        )),
        None => Ok(()),
    }
}

pub(super) fn task_finished(task: &Task, finished: &Finished) -> Refusal {
    Refusal::TaskFinished {
        task: task.id,
        attempt: task.attempts,
        state: task.state.name(),
        holder: finished.holder.clone(),
    }
}
