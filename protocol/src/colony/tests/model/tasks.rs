//! Tasks in the model: they are looked through from the first to the last. Here: a task, what its owner
//! does, and how its lease ends.

mod claims;
mod control;
mod needs;
mod queues;

use self::queues::LineOf;
pub(in crate::colony::tests) use self::queues::ModelQueue;
use super::forms::{bad_finish, bad_text, bad_usage};
use super::*;

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::colony::tests) struct ModelTask {
    /// With its needs by id.
    pub(in crate::colony::tests) added: NewTask,
    pub(in crate::colony::tests) author: Arc<str>,
    pub(in crate::colony::tests) added_ms: u64,
    pub(in crate::colony::tests) state: State,
    pub(in crate::colony::tests) attempts: u32,
    pub(in crate::colony::tests) history: Vec<Attempt>,
    pub(in crate::colony::tests) unmet: Vec<TaskId>,
    pub(in crate::colony::tests) counts: Counts,
    pub(in crate::colony::tests) not_until_ms: u64,
    pub(in crate::colony::tests) wakes_ms: Option<u64>,
    pub(in crate::colony::tests) approved: Option<Arc<str>>,
    pub(in crate::colony::tests) checkpoint: Bytes,
    pub(in crate::colony::tests) usage: Usage,
}

pub(super) type ModelTasks = BTreeMap<TaskId, ModelTask>;

impl ModelTask {
    pub(super) fn ready(&self) -> bool {
        self.state == State::Pending && self.wakes_ms.is_none()
    }

    pub(super) fn over(&self) -> bool {
        matches!(self.state, State::Finished(_) | State::Closed(_))
    }

    pub(super) fn done(&self) -> bool {
        matches!(&self.state, State::Finished(finished) if finished.done)
    }

    /// What it counts: told by the colony's own type, whose size nobody promises.
    pub(super) fn bytes(&self, id: TaskId) -> u64 {
        let added = self.added.clone();
        let task = Task {
            id,
            title: added.title,
            kind: added.kind,
            payload: added.payload,
            name: added.name,
            author: self.author.clone(),
            added_ms: self.added_ms,
            state: self.state.clone(),
            attempts: self.attempts,
            history: self.history.clone(),
            terms: added.terms.into(),
            unmet: self.unmet.clone(),
            counts: self.counts,
            not_until_ms: self.not_until_ms,
            wakes_ms: self.wakes_ms,
            approved: self.approved.clone(),
            checkpoint: self.checkpoint.clone(),
            usage: self.usage,
            digest: Digest::default(),
        };
        task.bytes()
    }

    fn line(&self) -> LineOf {
        let terms = &self.added.terms;
        let lane = terms.priority as u8 * 3 + terms.tier as u8;
        (
            lane,
            self.added.kind.clone(),
            terms.requires.clone(),
            terms.rates.clone(),
        )
    }

    fn cost(&self) -> u32 {
        match self.added.terms.cost {
            0 => 100,
            cost => cost,
        }
    }

    fn needs(&self) -> Vec<TaskId> {
        self.added.terms.needs.iter().filter_map(Need::id).collect()
    }
}

pub(super) fn lease(task: &ModelTask) -> Option<&Lease> {
    match &task.state {
        State::Leased(lease) => Some(lease),
        _ => None,
    }
}

/// When a lease ends by itself, and why then.
pub(super) fn lease_end(lease: &Lease, terms: &Terms) -> Option<(u64, Return)> {
    let after = |ms: u64| lease.since_ms.saturating_add(ms);
    let mut ends = Vec::new();
    ends.extend(lease.offer.map(|_| (after(10_000), 2, Return::NotTaken)));
    ends.extend(terms.run_ms.map(|ms| (after(ms), 0, Return::TooLong)));
    if !lease.accepted {
        ends.extend(terms.start_ms.map(|ms| (after(ms), 1, Return::NotAccepted)));
    }
    ends.sort_by_key(|(at_ms, order, _)| (*at_ms, *order));
    ends.into_iter().next().map(|(at_ms, _, reason)| (at_ms, reason))
}

/// Why it has ended by now: what its terms say goes before silence, whichever came first.
pub(super) fn ended_by(lease: &Lease, terms: &Terms, now_ms: u64) -> Return {
    let over = |ms: Option<u64>| ms.is_some_and(|ms| lease.since_ms.saturating_add(ms) <= now_ms);
    if lease.offer.is_some() {
        Return::NotTaken
    } else if over(terms.run_ms) {
        Return::TooLong
    } else if !lease.accepted && over(terms.start_ms) {
        Return::NotAccepted
    } else {
        Return::Expired
    }
}

pub(super) fn agent(name: &Arc<str>, generation: u64, at: &At) -> Result<Owner, Refusal> {
    let live = at.lives.iter().find(|life| {
        life.over().is_none() && (life.id.node, life.id.incarnation, &life.id.name) == (at.node, at.incarnation, name)
    });
    match live {
        Some(life) if life.id.generation == generation => Ok(Owner::Agent {
            agent: life.id.clone(),
            started: life.started,
        }),
        _ => Err(Refusal::AgentNotLive {
            name: name.clone(),
            generation,
            live: live.map(|life| life.id.generation),
        }),
    }
}

fn not_ready(task: TaskId, state: StateName, why: impl Into<Arc<str>>) -> Refusal {
    let why = why.into();
    Refusal::TaskNotReady { task, state, why }
}

impl ModelProject {
    pub(super) fn task_command(&mut self, command: &TaskCommand, at: &At) -> Result<Outcome, Refusal> {
        let outcome = self.carry_out_task(command, at)?;
        self.look_at_some(at);
        Ok(outcome)
    }

    fn carry_out_task(&mut self, command: &TaskCommand, at: &At) -> Result<Outcome, Refusal> {
        let seq = at.seq;
        match command {
            TaskCommand::Add(new) => {
                let tasks = self.add_tasks(new, at)?;
                Ok(Outcome::Added { seq, tasks })
            }
            TaskCommand::Claim(claim) => self.claim(claim, at),
            TaskCommand::Accept(accept) => {
                self.check_held(accept.task, accept.fence, &accept.caller, at)?;
                Ok(self.go_on(accept.task, |_, _| {}, at))
            }
            TaskCommand::Update(update) => {
                if let Some(progress) = update.progress.filter(|progress| *progress > 100) {
                    return Err(over("progress", usize::from(progress), 100));
                }
                bad_usage(update.usage).map_or(Ok(()), Err)?;
                let bad_note = update.note.as_ref().and_then(|note| bad_text("note", note, 256));
                bad_note.map_or(Ok(()), Err)?;
                self.check_held(update.task, update.fence, &update.caller, at)?;
                self.use_some(update.task, update.usage, at);
                let said = |lease: &mut Lease, checkpoint: &mut Bytes| {
                    lease.progress = update.progress.or(lease.progress);
                    lease.note = update.note.clone().or(lease.note.take());
                    lease.stealable = update.stealable.unwrap_or(lease.stealable);
                    *checkpoint = update.checkpoint.clone().unwrap_or(std::mem::take(checkpoint));
                };
                Ok(self.go_on(update.task, said, at))
            }
            TaskCommand::Finish(finish) => self.finish(finish, at),
            TaskCommand::Control(control) => self.control(control, at),
            TaskCommand::Queue(change) => self.queue_change(change, at),
            TaskCommand::Leave(leave) => self.leave(leave, at),
        }
    }

    /// Puts a task in; its queue is there while it has open tasks or something to say, and knows its lines.
    pub(super) fn put(&mut self, id: TaskId, task: ModelTask, at: &At) {
        let (name, ready) = (task.added.terms.queue.clone(), task.ready());
        let before = self.tasks.insert(id, task);
        self.look_at_queue(&name);
        if ready {
            self.look_again(&name);
        }
        let owner = before.as_ref().and_then(lease).map(|lease| lease.holder.owner.clone());
        if let Some(Owner::Session { session, .. }) = owner {
            self.close_if_idle(session, at);
        }
    }

    fn go_on(&mut self, id: TaskId, said: impl FnOnce(&mut Lease, &mut Bytes), at: &At) -> Outcome {
        let mut task = self.tasks[&id].clone();
        let mut lease = lease(&task).unwrap().clone();
        self.offer_is_over(lease.offer.take(), id);
        (lease.accepted, lease.heard_ms) = (true, at.now_ms);
        said(&mut lease, &mut task.checkpoint);
        lease.until_ms = lease_end(&lease, &task.added.terms).map(|(at_ms, _)| at_ms);
        let outcome = Outcome::Accepted {
            seq: at.seq,
            attempt: task.attempts,
            until_ms: lease.until_ms,
            cancel: lease.cancel.is_some(),
        };
        task.state = State::Leased(lease);
        self.put(id, task, at);
        outcome
    }

    fn finish(&mut self, finish: &Finish, at: &At) -> Result<Outcome, Refusal> {
        bad_finish(finish).map_or(Ok(()), Err)?;
        let (id, seq, with) = (finish.task, at.seq, &finish.with);
        self.check_held(id, finish.fence, &finish.caller, at)?;
        let (mut revisions, mut added, mut merged) = (Vec::new(), Vec::new(), Vec::new());
        let terms = self.tasks[&id].added.terms.clone();
        match finish.ending {
            Ending::Released => {
                self.use_some(id, with.usage, at);
                self.give_back(id, Return::Released, Bytes::new(), at);
            }
            Ending::Cancelled => {
                self.use_some(id, with.usage, at);
                self.give_back(id, Return::Cancelled, Bytes::new(), at);
            }
            Ending::Blocked => {
                let more = self.find_needs(&with.needs, &BTreeMap::new())?;
                if let Some(cycle) = self.way_to(id, &more) {
                    return Err(Refusal::NeedCycle { cycle: cycle.into() });
                }
                let mut task = self.tasks[&id].clone();
                let all: BTreeSet<TaskId> = task.needs().into_iter().chain(more).collect();
                task.unmet = self.not_done(all.iter().copied());
                task.added.terms.needs = all.into_iter().map(Need::Id).collect();
                self.tasks.insert(id, task);
                self.use_some(id, with.usage, at);
                self.give_back(id, Return::Blocked, Bytes::new(), at);
            }
            Ending::Failed => {
                let again = with.failure.clone().filter(|failure| {
                    let class = failure.class.as_ref();
                    failure.retryable && !class.is_some_and(|class| terms.retry.never.contains(class))
                });
                match again {
                    Some(failure) => {
                        self.use_some(id, with.usage, at);
                        self.give_back(id, Return::Failed(failure), finish.result.clone(), at);
                    }
                    None => self.end(finish, false, at),
                }
            }
            Ending::Done => {
                if terms.checks.len() != with.checks.len() {
                    let (wanted, found) = (terms.checks.len(), with.checks.len());
                    let problem = format!("the task has {wanted}, and {found} exit codes came with it");
                    return Err(bad("checks", &problem));
                }
                if let Some(place) = with.checks.iter().position(|code| *code != 0) {
                    let code = with.checks[place];
                    let problem = format!("the check in place {place} ended with exit code {code}");
                    return Err(bad("checks", &problem));
                }
                // What is added is checked first, in a copy: a proposal that loses adds nothing.
                self.clone().add_tasks(&with.follow_ups, at)?;
                if let Some(proposal) = &finish.proposal {
                    let mut proposal = proposal.clone();
                    if proposal.fence.is_none() && proposal.caller.is_none() {
                        proposal.caller = Some(finish.caller.clone());
                    }
                    match self.carry_out(&Body::Propose(proposal), at)? {
                        Outcome::Committed {
                            revisions: new,
                            merged: texts,
                            ..
                        } => (revisions, merged) = (new, texts),
                        lost => return Ok(lost),
                    }
                }
                self.end(finish, true, at);
                added = self.add_tasks(&with.follow_ups, at)?;
            }
        }
        Ok(Outcome::Finished {
            seq,
            revisions,
            added,
            merged,
        })
    }

    fn end(&mut self, finish: &Finish, done: bool, at: &At) {
        self.use_some(finish.task, finish.with.usage, at);
        let mut task = self.tasks[&finish.task].clone();
        let attempt = task.attempts;
        let told = What::TaskFinished {
            task: finish.task,
            attempt,
            done,
        };
        self.event(told, at);
        self.offer_is_over(lease(&task).unwrap().offer, finish.task);
        let queue = task.added.terms.queue.clone();
        let lease = lease(&task).unwrap().clone();
        task.unmet.clear();
        task.state = State::Finished(Finished {
            done,
            holder: lease.holder,
            fence: finish.fence,
            seq: at.seq,
            at_ms: at.now_ms,
            result: finish.result.clone(),
            failure: finish.with.failure.clone(),
            usage: lease.usage,
        });
        self.put(finish.task, task, at);
        self.hear(&queue, finish.task, Some(done), at);
        self.end_with_lease(lease.reservation, at);
    }

    pub(super) fn check_held(&mut self, id: TaskId, fence: Fence, caller: &Caller, at: &At) -> Result<(), Refusal> {
        self.free_what_is_over(id, at);
        let task = self.tasks.get(&id).ok_or(Refusal::UnknownTask { task: id })?;
        let holder = match &task.state {
            State::Finished(finished) if finished.fence == fence => {
                return Err(was_finished(id, task.attempts, finished));
            }
            State::Finished(finished) => Some(finished.holder.clone()),
            State::Leased(lease) => {
                let same = match (caller, &lease.holder.owner) {
                    (Caller::Session(token), owner) => self.owner_of(*token) == Some(owner.clone()),
                    (caller, owner) => self.claimant_in_act(caller, at)? == *owner,
                };
                if same && fence == lease.fence {
                    return Ok(());
                }
                Some(lease.holder.clone())
            }
            _ => None,
        };
        Err(Refusal::Fenced {
            task: id,
            fence,
            attempt: task.attempts,
            holder,
        })
    }

    fn free_what_is_over(&mut self, id: TaskId, at: &At) {
        let Some(task) = self.tasks.get(&id).cloned() else {
            return;
        };
        match &task.state {
            State::Leased(lease) => {
                if lease.until_ms.is_some_and(|until_ms| until_ms <= at.now_ms) {
                    let reason = ended_by(lease, &task.added.terms, at.now_ms);
                    return self.give_back(id, reason, Bytes::new(), at);
                }
                let end = match lease.holder.owner {
                    Owner::Agent { started, .. } => {
                        let life = at.lives.iter().find(|life| life.started == started).unwrap();
                        life.over().map(Return::Agent)
                    }
                    Owner::Session { session, .. } => {
                        let mut sessions = self.sessions.iter();
                        let session = sessions.find(|found| found.session.id == session).unwrap();
                        session.over(at.now_ms).map(Return::Session)
                    }
                };
                if let Some(reason) = end {
                    self.give_back(id, reason, Bytes::new(), at);
                }
            }
            State::Pending if task.wakes_ms.is_some_and(|wakes_ms| wakes_ms <= at.now_ms) => self.move_on(id, at),
            State::Blocked if self.not_done(task.unmet.clone()) != task.unmet => {
                let unmet = self.not_done(task.unmet.clone());
                self.put(id, ModelTask { unmet, ..task }, at);
                self.move_on(id, at);
            }
            _ => {}
        }
    }
}

fn was_finished(task: TaskId, attempt: u32, finished: &Finished) -> Refusal {
    Refusal::TaskFinished {
        task,
        attempt,
        state: match finished.done {
            true => StateName::Done,
            false => StateName::Failed,
        },
        holder: finished.holder.clone(),
    }
}
