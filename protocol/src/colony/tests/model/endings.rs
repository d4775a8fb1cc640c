//! How leases of the model end, and where a task goes from there.

use super::tasks::{ModelTask, lease};
use super::*;

impl ModelProject {
    pub(super) fn moved(&mut self, task: TaskId, state: StateName, reason: Option<Arc<str>>, at: &At) {
        self.event(What::TaskMoved { task, state, reason }, at);
    }

    pub(super) fn move_on(&mut self, id: TaskId, at: &At) {
        let mut task = self.tasks[&id].clone();
        let before = (task.state.name(), task.wakes_ms.is_some());
        self.settle(&mut task, at);
        let after = (task.state.name(), task.wakes_ms.is_some());
        if before != after {
            self.moved(id, after.0, None, at);
        }
        self.put(id, task, at);
    }

    pub(super) fn settle(&self, task: &mut ModelTask, at: &At) {
        task.wakes_ms = None;
        task.state = match () {
            () if !task.unmet.is_empty() => State::Blocked,
            () if task.added.terms.approval && task.approved.is_none() => State::AwaitingApproval,
            () => {
                let wall = task
                    .added
                    .terms
                    .not_before_ms
                    .filter(|not_before| *not_before > at.wall_ms);
                let wall = wall.map_or(0, |not_before| at.now_ms.saturating_add(not_before - at.wall_ms));
                let wakes_ms = wall.max(task.not_until_ms);
                task.wakes_ms = Some(wakes_ms).filter(|wakes_ms| *wakes_ms > at.now_ms);
                State::Pending
            }
        };
    }

    pub(super) fn close(&mut self, id: TaskId, dead: bool, reason: &str, at: &At) {
        let mut task = self.tasks[&id].clone();
        task.unmet.clear();
        (task.wakes_ms, task.not_until_ms) = (None, 0);
        task.state = State::Closed(Closed {
            dead,
            by: at.author.clone(),
            reason: reason.into(),
            seq: at.seq,
            at_ms: at.now_ms,
        });
        self.moved(id, task.state.name(), Some(reason.into()), at);
        self.put(id, task, at);
    }

    pub(super) fn give_back(&mut self, id: TaskId, reason: Return, result: Bytes, at: &At) {
        let by_owner = matches!(
            reason,
            Return::Released | Return::Failed(_) | Return::Blocked | Return::Cancelled
        );
        if by_owner || lease(&self.tasks[&id]).unwrap().offer.is_none() {
            self.use_some(id, None, at);
        }
        let mut task = self.tasks[&id].clone();
        let lease = lease(&task).unwrap().clone();
        let attempt = task.attempts;
        let told = What::TaskReturned {
            task: id,
            attempt,
            reason: reason.clone(),
        };
        self.event(told, at);
        self.offer_is_over(lease.offer, id);
        if lease.offer.is_some() && !by_owner {
            task.attempts -= 1;
            let queue = task.added.terms.queue.clone();
            self.tasks.insert(id, task.clone());
            match &lease.cancel {
                Some(why) => self.close(id, false, why, at),
                None => {
                    self.settle(&mut task, at);
                    self.put(id, task, at);
                }
            }
            self.hear(&queue, id, None, at);
            return self.end_with_lease(lease.reservation, at);
        }
        task.history.push(Attempt {
            number: attempt,
            holder: lease.holder,
            fence: lease.fence,
            since_ms: lease.since_ms,
            ended_ms: at.now_ms,
            reason: reason.clone(),
            result,
            usage: lease.usage,
        });
        while task.history.len() > 8 {
            task.history.remove(0);
        }
        let retry = task.added.terms.retry.clone();
        let (mut dead, mut failed) = (None, false);
        match &reason {
            Return::Expired | Return::NotAccepted => {
                task.counts.expiries += 1;
                let so_many = task.counts.expiries;
                dead = (so_many >= retry.expiries_max).then(|| format!("{so_many} leases of it ended"));
            }
            Return::Failed(_) | Return::TooLong => {
                failed = true;
                task.counts.failures += 1;
                let so_many = task.counts.failures;
                let never = reason == Return::TooLong && retry.never.contains(&"timeout".into());
                if so_many >= retry.attempts_max || never {
                    dead = Some(format!("{so_many} failures, the last: {reason}"));
                } else {
                    task.not_until_ms = at.now_ms + back_off_ms(&retry, so_many, at.seq, id);
                }
            }
            Return::Agent(AgentEnd::Ended(why)) if ["was done", "was stopped"].contains(&&**why) => {}
            Return::Agent(AgentEnd::Ended(_) | AgentEnd::Replaced) | Return::Session(SessionEnd::Silent) => {
                failed = true;
                task.counts.deaths += 1;
                let so_many = task.counts.deaths;
                dead = (so_many >= retry.deaths_max).then(|| format!("{so_many} workers died of it"));
            }
            _ => {}
        }
        let queue = task.added.terms.queue.clone();
        self.tasks.insert(id, task.clone());
        match (&lease.cancel, dead) {
            (Some(why), _) => self.close(id, false, why, at),
            (None, _) if reason == Return::Cancelled => self.close(id, false, "its owner says so", at),
            (None, Some(why)) => self.close(id, true, &why, at),
            (None, None) => {
                self.settle(&mut task, at);
                self.put(id, task, at);
            }
        }
        self.hear(&queue, id, failed.then_some(false), at);
        self.end_with_lease(lease.reservation, at);
    }

    /// Tells the next task that needs this one what became of it.
    pub(super) fn release(&mut self, need: TaskId, next: TaskId, at: &At) {
        if !self.tasks[&need].done() {
            let state = self.tasks[&need].state.name();
            return self.close(next, false, &format!("it needs {need}, which is {state}"), at);
        }
        let mut task = self.tasks[&next].clone();
        task.unmet.retain(|other| *other != need);
        let blocked = task.state == State::Blocked;
        self.put(next, task, at);
        if blocked {
            self.move_on(next, at);
        }
    }

    /// The first task that is finished while another is still to be told, and that one.
    pub(super) fn next_release(&self) -> Option<(TaskId, TaskId)> {
        self.tasks
            .iter()
            .filter(|(_, task)| task.over())
            .find_map(|(need, task)| {
                let told = |(_, other): &(&TaskId, &ModelTask)| {
                    let cancel = other.added.terms.unmet == Unmet::Cancel;
                    other.unmet.contains(need) && (cancel || task.done())
                };
                let by = |(other, task): &(&TaskId, &ModelTask)| (task.added.terms.unmet == Unmet::Cancel, **other);
                let next = self.tasks.iter().filter(told).min_by_key(by);
                next.map(|(next, _)| (*need, *next))
            })
    }
}

/// Half of what the policy says, and of the other half what the position draws.
fn back_off_ms(retry: &Retry, failure: u32, seq: u64, id: TaskId) -> u64 {
    let factor = u128::from(retry.factor).pow(failure - 1);
    let whole = (u128::from(retry.base_ms) * factor).min(retry.max_ms.into()) as u64;
    whole - whole / 2 + drawn(seq, id) % (whole / 2 + 1)
}

/// What a position draws for a task.
pub(super) fn drawn(seq: u64, id: TaskId) -> u64 {
    let mut word = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ id.seq.rotate_left(32) ^ u64::from(id.ordinal);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}
