//! What others than owners do to a task.

use super::*;
use crate::colony::tests::model::forms::bad_control;

impl ModelProject {
    pub(super) fn control(&mut self, control: &Control, at: &At) -> Result<Outcome, Refusal> {
        bad_control(control).map_or(Ok(()), Err)?;
        let id = control.task;
        self.free_what_is_over(id, at);
        let unknown = Refusal::UnknownTask { task: id };
        let mut task = self.tasks.get(&id).cloned().ok_or(unknown)?;
        let (before, seq) = (task.state.name(), at.seq);
        let misplaced = |why: String| Err(not_ready(id, before, why));
        match &control.act {
            Act::Cancel { force, reason } => {
                if task.over() {
                    return misplaced("it is not to be done anyway".into());
                }
                let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                let why: Arc<str> = format!("{} cancelled it{reason}", at.author).into();
                match &mut task.state {
                    State::Leased(lease) => {
                        lease.cancel = Some(why.clone());
                        let attempt = task.attempts;
                        self.put(id, task, at);
                        if *force {
                            self.give_back(id, Return::Cancelled, Bytes::new(), at);
                        } else {
                            let task = id;
                            self.event(
                                What::TaskCancelWanted {
                                    task,
                                    attempt,
                                    reason: why,
                                },
                                at,
                            );
                        }
                    }
                    _ => self.close(id, false, &why, at),
                }
            }
            Act::Pause => {
                match &task.state {
                    State::Pending | State::Blocked | State::AwaitingApproval => {}
                    State::Leased(lease) => {
                        let (attempt, holder) = (task.attempts, lease.holder.clone());
                        return Err(Refusal::TaskHeld {
                            task: id,
                            attempt,
                            holder,
                        });
                    }
                    _ => return misplaced("only a task that waits is paused".into()),
                }
                task.wakes_ms = None;
                let (by, at_ms) = (at.author.clone(), at.now_ms);
                task.state = State::Paused { by, at_ms };
                self.moved(id, StateName::Paused, None, at);
                self.put(id, task, at);
            }
            Act::Resume => match task.state {
                State::Paused { .. } => self.move_on(id, at),
                _ => return misplaced("only a paused task is resumed".into()),
            },
            Act::Approve | Act::Reject { .. } => {
                let waits = [StateName::AwaitingApproval, StateName::Blocked, StateName::Paused].contains(&before);
                if !waits || !task.added.terms.approval || task.approved.is_some() {
                    return misplaced("it does not wait for an approval".into());
                }
                match &control.act {
                    Act::Reject { reason } => {
                        let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                        self.close(id, false, &format!("{} rejected it{reason}", at.author), at);
                    }
                    _ => {
                        task.approved = Some(at.author.clone());
                        self.put(id, task, at);
                        if before == StateName::AwaitingApproval {
                            self.move_on(id, at);
                        }
                    }
                }
            }
            Act::Requeue => {
                if !task.over() || task.done() {
                    return misplaced("only what has failed, was cancelled or is dead is requeued".into());
                }
                if let Some(gone) = task.needs().iter().find(|need| !self.tasks.contains_key(need)) {
                    return misplaced(format!("it needs {gone}, which is no longer kept"));
                }
                self.check_rates(&task.added.terms.rates)?;
                task.unmet = self.not_done(task.needs());
                (task.counts, task.not_until_ms) = (Counts::default(), 0);
                self.settle(&mut task, at);
                self.check_tasks(1)?;
                self.moved(id, task.state.name(), None, at);
                self.put(id, task, at);
            }
            Act::Drop => {
                if !task.over() {
                    return misplaced("only a finished task is dropped".into());
                }
                // Those that stay blocked by it stand before those that are cancelled.
                let needs_it = |(_, other): &(&TaskId, &ModelTask)| other.unmet.contains(&id);
                let by = |(other, task): &(&TaskId, &ModelTask)| (task.added.terms.unmet == Unmet::Cancel, **other);
                if let Some((first, _)) = self.tasks.iter().filter(needs_it).min_by_key(by) {
                    return misplaced(format!("task {first} needs it"));
                }
                self.event(What::TaskDropped { task: id }, at);
                self.tasks.remove(&id);
            }
            Act::HandOff { fence, caller, to } => {
                self.check_held(id, *fence, caller, at)?;
                let State::Leased(lease) = &mut task.state else {
                    unreachable!()
                };
                lease.hand_off = to.clone();
                let (attempt, to) = (task.attempts, to.clone());
                self.event(What::TaskHandedOff { task: id, attempt, to }, at);
                self.put(id, task, at);
            }
        }
        let state = self.tasks.get(&id).map_or(before, |task| task.state.name());
        Ok(Outcome::TaskSet { seq, task: id, state })
    }
}
