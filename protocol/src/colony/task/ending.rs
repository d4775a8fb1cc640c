//! How leases end without a finish, and where a task goes from there.

use std::sync::Arc;

use bytes::Bytes;

use super::{Attempt, Closed, HISTORY_MAX, Lease, Owner, Return, State, StateName, Task, TaskId};
use crate::colony::agent::Timer;
use crate::colony::event::What;
use crate::colony::project::Step;

/// How many finished tasks are forgotten at most when one more is finished: so many, because a large one may take the place
/// of many small ones.
const FORGOTTEN_PER_END: usize = 64;

/// The class of the error of a task that took too long.
const TOO_LONG: &str = "timeout";

impl Step<'_> {
    /// Brings a task up to date whose lease is over, whose time has come, or whose needs are done, but which was not
    /// looked at yet: what is said of one task does not depend on how far that has come.
    pub(super) fn free_if_due(&mut self, id: TaskId) {
        let Some(task) = self.project.tasks.get(id) else { return };
        let now_ms = self.scope.cluster_ms;
        match &task.state {
            State::Leased(lease) => {
                if let Some(reason) = self.lease_end(task, lease) {
                    self.return_task(id, reason);
                }
            }
            State::Pending if task.wakes_ms.is_some_and(|wakes_ms| wakes_ms <= now_ms) => self.wake_task(id),
            State::Blocked if task.unmet.iter().any(|need| self.is_done(*need)) => {
                let mut task = Task::clone(task);
                task.unmet = self.not_done(task.unmet);
                self.move_on(task);
            }
            _ => {}
        }
    }

    /// Why the lease of a task is over, if it is.
    pub(super) fn lease_end(&self, task: &Task, lease: &Lease) -> Option<Return> {
        let now_ms = self.scope.cluster_ms;
        if lease.until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            return Some(lease.expired(&task.terms, now_ms));
        }
        match &lease.holder.owner {
            Owner::Agent { agent, started } => self.agents.end_of(&(agent.node, *started)).map(Return::Agent),
            Owner::Session { session, .. } => {
                let sessions = &self.agents.sessions;
                let session = sessions.get(*session).expect("a session that holds a task is kept");
                sessions.end_of(session, self.scope.cluster_ms).map(Return::Session)
            }
        }
    }

    /// The lease of a task has ended by itself.
    pub(in crate::colony) fn lease_over(&mut self, id: TaskId) {
        let task = self.project.tasks.get(id).expect("a leased task is kept");
        let State::Leased(lease) = &task.state else {
            unreachable!("only leased tasks have a lease that ends");
        };
        let reason = lease.expired(&task.terms, self.scope.cluster_ms);
        self.return_task(id, reason);
    }

    /// The time of a pending task has come, unless the wall clock says that it has not.
    pub(in crate::colony) fn wake_task(&mut self, id: TaskId) {
        let task = self.project.tasks.get(id).expect("a pending task is kept");
        self.move_on(Task::clone(task));
    }

    /// Tells the next task that needs this one, which is finished in some way.
    pub(in crate::colony) fn release_dependant(&mut self, need: TaskId) {
        let next = self.project.tasks.next_released(need).expect("it was due");
        let mut task = Task::clone(self.project.tasks.get(next).expect("what needs is kept"));
        if self.is_done(need) {
            task.unmet.retain(|other| *other != need);
            return match task.state {
                State::Blocked => self.move_on(task),
                _ => self.put_task(task),
            };
        }
        let state = self.project.tasks.get(need).map(|task| task.state.name());
        let state = state.expect("it was just looked at");
        self.close_task(task, false, format!("it needs {need}, which is {state}"));
    }

    /// Puts a task into the state in which it goes on, and tells of it.
    pub(super) fn move_on(&mut self, mut task: Task) {
        let before = (task.state.name(), task.wakes_ms.is_some());
        self.settle(&mut task);
        if before != (task.state.name(), task.wakes_ms.is_some()) {
            self.event(What::TaskMoved {
                task: task.id,
                state: task.state.name(),
                reason: None,
            });
        }
        self.put_task(task);
    }

    /// The state in which a task is that nobody holds and nothing has ended.
    pub(super) fn settle(&self, task: &mut Task) {
        task.wakes_ms = None;
        if !task.unmet.is_empty() {
            task.state = State::Blocked;
            return;
        }
        if task.terms.approval && task.approved.is_none() {
            task.state = State::AwaitingApproval;
            return;
        }
        let now_ms = self.scope.cluster_ms;
        // The wall clock of leaders differs: when this time has come it is looked at again.
        let not_before_ms = task.terms.not_before_ms.unwrap_or_default();
        let by_wall_ms = match not_before_ms.saturating_sub(self.scope.wall_ms) {
            0 => 0,
            left_ms => now_ms.saturating_add(left_ms),
        };
        let wakes_ms = task.not_until_ms.max(by_wall_ms);
        task.wakes_ms = (wakes_ms > now_ms).then_some(wakes_ms);
        task.state = State::Pending;
    }

    /// Ends the lease of a task.
    pub(in crate::colony) fn return_task(&mut self, id: TaskId, reason: Return) {
        let task = self.project.tasks.get(id).expect("a leased task is kept");
        let task = Task::clone(task);
        let State::Leased(lease) = task.state.clone() else {
            unreachable!("only leased tasks are linked to an owner");
        };
        self.give_back(task, lease, reason);
    }

    pub(super) fn give_back(&mut self, task: Task, lease: Lease, reason: Return) {
        self.give_back_with(task, lease, reason, Bytes::new());
    }

    pub(super) fn give_back_with(&mut self, mut task: Task, mut lease: Lease, reason: Return, result: Bytes) {
        let not_taken = lease.offer.is_some() && !reason.is_of_owner();
        if !not_taken {
            self.count_attempt(&mut task, &mut lease, None);
        }
        let (id, queue, reservation) = (task.id, task.terms.queue.clone(), lease.reservation);
        self.event(What::TaskReturned {
            task: id,
            attempt: task.attempts,
            reason: reason.clone(),
        });
        self.offer_is_over(lease.offer, id);
        if not_taken {
            return self.take_back(task, &lease);
        }
        if task.history.len() >= HISTORY_MAX {
            task.history.remove(0);
        }
        task.history.push(Attempt {
            number: task.attempts,
            holder: lease.holder,
            fence: lease.fence,
            since_ms: lease.since_ms,
            ended_ms: self.scope.cluster_ms,
            reason: reason.clone(),
            result,
            usage: lease.usage,
        });
        let failed = reason.is_death() || matches!(reason, Return::Failed(_) | Return::TooLong);
        let dead = self.count_end(&mut task, &reason);
        match (&lease.cancel, dead) {
            (Some(why), _) => self.close_task(task, false, why.to_string()),
            (None, _) if reason == Return::Cancelled => self.close_task(task, false, "its owner says so".into()),
            (None, Some(why)) => self.close_task(task, true, why),
            (None, None) => {
                self.settle(&mut task);
                self.put_task(task);
            }
        }
        self.breaker_hears(&queue, id, failed.then_some(false));
        self.end_with_lease(reservation);
    }

    /// A task that was offered goes on as if it had not been: that was no attempt.
    fn take_back(&mut self, mut task: Task, lease: &Lease) {
        let (id, queue) = (task.id, task.terms.queue.clone());
        task.attempts -= 1;
        match &lease.cancel {
            Some(why) => self.close_task(task, false, why.to_string()),
            None => {
                self.settle(&mut task);
                self.put_task(task);
            }
        }
        self.breaker_hears(&queue, id, None);
        self.end_with_lease(lease.reservation);
    }

    /// Counts how an attempt ended; says why the task is dead if that was the last one.
    fn count_end(&self, task: &mut Task, reason: &Return) -> Option<String> {
        let retry = &task.terms.retry;
        let counts = &mut task.counts;
        if reason.is_death() {
            counts.deaths += 1;
            return (counts.deaths >= retry.deaths_max).then(|| format!("{} workers died of it", counts.deaths));
        }
        match reason {
            Return::Expired | Return::NotAccepted => {
                counts.expiries += 1;
                (counts.expiries >= retry.expiries_max).then(|| format!("{} leases of it ended", counts.expiries))
            }
            Return::Failed(_) | Return::TooLong => {
                counts.failures += 1;
                let allowed = matches!(reason, Return::Failed(_)) || retry.allows(Some(&TOO_LONG.into()));
                if counts.failures >= retry.attempts_max || !allowed {
                    return Some(super::needs::cut(format!(
                        "{} failures, the last: {reason}",
                        counts.failures
                    )));
                }
                let wait_ms = retry.wait_ms(counts.failures, drawn(self.scope.seq, task.id));
                task.not_until_ms = self.scope.cluster_ms.saturating_add(wait_ms);
                None
            }
            _ => None,
        }
    }

    /// Ends a task that nobody holds and that is not to be done any more.
    pub(super) fn close_task(&mut self, mut task: Task, dead: bool, reason: String) {
        let reason: Arc<str> = reason.into();
        task.unmet.clear();
        task.wakes_ms = None;
        task.not_until_ms = 0;
        task.state = State::Closed(Closed {
            dead,
            by: self.scope.author.clone(),
            reason: reason.clone(),
            seq: self.scope.seq,
            at_ms: self.scope.cluster_ms,
        });
        self.event(What::TaskMoved {
            task: task.id,
            state: task.state.name(),
            reason: Some(reason),
        });
        self.put_task(task);
        self.drop_old_tasks();
    }

    /// Forgets the oldest finished tasks past the limits, a bounded number of them.
    pub(super) fn drop_old_tasks(&mut self) {
        for _ in 0..FORGOTTEN_PER_END {
            let Some(id) = self.project.tasks.over_kept(self.scope.cluster_ms) else {
                return;
            };
            self.forget(id);
        }
    }

    /// Forgets a finished task that no other needs.
    pub(super) fn forget(&mut self, id: TaskId) {
        self.project.tasks.remove(id);
        self.applied.forgotten += 1;
        self.applied.tasks.push((self.scope.project.clone(), id));
    }

    /// Puts a task in place of what stood under its id, and notes what is to be done about it later.
    pub(super) fn put_task(&mut self, task: Task) {
        let project = self.scope.project;
        let mut session_before = None;
        let mut needs = task.unmet.clone();
        let mut ends = !task.is_open();
        if let Some(old) = self.project.tasks.get(task.id) {
            self.agents.unlink(project, old);
            needs.extend(&old.unmet);
            session_before = old.state.session();
            ends |= !old.is_open();
        }
        assert!(self.agents.link(project, &task), "only who lives is given a lease");
        let id = task.id;
        self.applied.tasks.push((project.clone(), id));
        let (queue, ready) = (task.terms.queue.clone(), task.is_ready());
        if self.project.tasks.set(task) {
            self.applied.queues.push((project.clone(), queue.clone()));
        }
        if ready {
            self.look_again(&queue);
        }
        for need in needs.into_iter().chain(ends.then_some(id)) {
            let due = self.project.tasks.next_released(need).is_some();
            self.agents.set_due_now(project, Timer::Release(need), due);
        }
        if let Some(session) = session_before {
            self.close_if_idle(session);
        }
    }

    /// A ready task is handed out.
    pub(super) fn count_grant(&mut self, task: &Task) {
        let ready = task.is_ready();
        let name = &task.terms.queue;
        if !self
            .project
            .tasks
            .queue(name)
            .is_some_and(|queue| queue.minds_grant(task))
        {
            return;
        }
        self.project.tasks.change_queue(name, |queue| {
            if ready {
                queue.count_grant(task);
            }
            queue.begin_trial(task.id);
        });
        self.applied.queues.push((self.scope.project.clone(), name.clone()));
    }

    /// The breaker of a queue hears how an attempt ended: done, failed, or neither.
    pub(super) fn breaker_hears(&mut self, name: &Arc<str>, task: TaskId, done: Option<bool>) {
        let watches = self
            .project
            .tasks
            .queue(name)
            .is_some_and(|queue| queue.settings.failures > 0);
        if !watches {
            return;
        }
        let now_ms = self.scope.cluster_ms;
        let told = self
            .project
            .tasks
            .change_queue(name, |queue| queue.hear(task, done, now_ms));
        self.applied.queues.push((self.scope.project.clone(), name.clone()));
        self.look_again(name);
        if told {
            self.tell_queue(name);
        }
    }

    /// Tells how a queue is now.
    pub(super) fn tell_queue(&mut self, name: &Arc<str>) {
        let queue = self.project.tasks.queue(name);
        let changed = What::QueueChanged {
            queue: name.clone(),
            paused_by: queue.and_then(|queue| queue.paused_by.clone()),
            breaker: queue.map(|queue| queue.breaker).unwrap_or_default(),
        };
        self.event(changed);
    }
}

/// A number that follows from a position of the order and a task: SplitMix64's finaliser.
pub(super) fn drawn(seq: u64, id: TaskId) -> u64 {
    let mut word = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ id.seq.rotate_left(32) ^ u64::from(id.ordinal);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// The names of states in which a task may be requeued or dropped.
pub(super) fn is_over(state: StateName) -> bool {
    !state.is_open()
}
