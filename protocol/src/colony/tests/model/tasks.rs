//! Tasks in the model: they are looked through from the first to the last.

use super::forms::{bad_claim, bad_control, bad_finish, bad_task, bad_text};
use super::reservations::canonical;
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
            digest: Digest::default(),
        };
        task.bytes()
    }

    fn line(&self) -> LineOf {
        let terms = &self.added.terms;
        let lane = terms.priority as u8 * 3 + terms.tier as u8;
        (lane, self.added.kind.clone(), terms.requires.clone())
    }

    fn needs(&self) -> Vec<TaskId> {
        self.added.terms.needs.iter().filter_map(Need::id).collect()
    }
}

/// What the tasks of a line have in common.
pub(in crate::colony::tests) type LineOf = (u8, Option<Arc<str>>, Vec<Arc<str>>);

/// A queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::colony::tests) struct ModelQueue {
    pub(in crate::colony::tests) paused_by: Option<Arc<str>>,
    pub(in crate::colony::tests) settings: BreakerSettings,
    pub(in crate::colony::tests) breaker: Breaker,
    pub(in crate::colony::tests) grants: u64,
    pub(in crate::colony::tests) since: BTreeMap<LineOf, u64>,
    pub(in crate::colony::tests) distribution: Distribution,
    pub(in crate::colony::tests) offers: u64,
    pub(in crate::colony::tests) last: u64,
    pub(in crate::colony::tests) owes_ms: Option<u64>,
}

impl ModelQueue {
    pub(super) fn closed(&self, now_ms: u64) -> Option<String> {
        if let Some(by) = &self.paused_by {
            return Some(format!("its queue is paused by {by}"));
        }
        match self.breaker {
            Breaker::Open { until_ms } if until_ms > now_ms => Some(format!(
                "the breaker of its queue is open until {until_ms} ms of cluster time"
            )),
            Breaker::HalfOpen { trial } => Some(format!("the breaker of its queue waits for task {trial}")),
            _ => None,
        }
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
                let bad_note = update.note.as_ref().and_then(|note| bad_text("note", note, 256));
                bad_note.map_or(Ok(()), Err)?;
                self.check_held(update.task, update.fence, &update.caller, at)?;
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

    pub(super) fn look_at_queue(&mut self, name: &Arc<str>) {
        let here = || self.tasks.values().filter(move |task| task.added.terms.queue == *name);
        let open = here().any(|task| !task.over());
        let lines: BTreeSet<LineOf> = here().filter(|task| task.ready()).map(ModelTask::line).collect();
        let waited_for = !self.waiting(name).is_empty();
        let queue = self.queues.entry(name.clone()).or_default();
        let grants = queue.grants;
        queue.since.retain(|line, _| lines.contains(line));
        for line in lines {
            queue.since.entry(line).or_insert(grants);
        }
        let says_something = queue.paused_by.is_some()
            || queue.settings != BreakerSettings::default()
            || queue.breaker != Breaker::default()
            || queue.distribution != Distribution::default();
        let says_something = says_something || waited_for;
        if !open && !says_something {
            self.queues.remove(name);
        }
    }

    fn claim(&mut self, claim: &Claim, at: &At) -> Result<Outcome, Refusal> {
        bad_claim(claim).map_or(Ok(()), Err)?;
        let holder = Holder {
            owner: self.claimant(&claim.caller, at)?,
            author: at.author.clone(),
        };
        let open = |model: &mut ModelProject| {
            if let Caller::Opens(new) = &claim.caller {
                model.open_session(new, at);
            }
        };
        let mut tasks = Vec::new();
        match &claim.which {
            Which::Ids(ids) => {
                let mut ways = Vec::new();
                for (place, id) in ids.iter().enumerate() {
                    self.free_what_is_over(*id, at);
                    ways.push(self.check_free(*id, claim, &holder.owner, &ids[..place], at)?);
                }
                self.check_resources(ids, &holder.owner, at)?;
                if !ids.is_empty() {
                    open(self);
                }
                for (id, way) in ids.iter().zip(ways) {
                    if let Some(reason) = way {
                        self.give_back(*id, reason, Bytes::new(), at);
                    }
                    tasks.push(self.grant(*id, &holder, None, at));
                }
            }
            Which::Ready { kinds, limit } => {
                for _ in 0..*limit {
                    let Some(id) = self.best(kinds, &claim.wants, &holder.owner, at) else {
                        break;
                    };
                    if tasks.is_empty() {
                        open(self);
                    }
                    tasks.push(self.grant(id, &holder, None, at));
                }
                let wait_ms = claim.wants.wait_ms.filter(|wait_ms| *wait_ms > 0);
                if let (true, Some(wait_ms)) = (tasks.is_empty() && *limit > 0, wait_ms) {
                    return self.begin_wait(claim, (kinds, *limit, wait_ms), holder, at);
                }
            }
        }
        let seq = at.seq;
        let session = match &holder.owner {
            Owner::Session { session, .. } if !tasks.is_empty() => Some(*session),
            _ => None,
        };
        Ok(Outcome::Claimed {
            seq,
            tasks,
            until_ms: None,
            session,
        })
    }

    pub(super) fn best(&self, kinds: &[Arc<str>], wants: &Wants, owner: &Owner, at: &At) -> Option<TaskId> {
        let name: Arc<str> = wants.queue.clone().unwrap_or("default".into());
        self.best_of(&name, at, |task| {
            let mut requires = task.added.terms.requires.iter();
            let kind = task.added.kind.as_ref();
            let right = kinds.is_empty() || kind.is_some_and(|kind| kinds.contains(kind));
            let able = right && requires.all(|one| wants.capabilities.contains(one));
            able && self.may_reserve(&task.added.terms.resources, owner, at)
        })
    }

    /// The task of a queue that goes first of those that fit.
    pub(super) fn best_of(&self, name: &Arc<str>, at: &At, fits: impl Fn(&ModelTask) -> bool) -> Option<TaskId> {
        let queue = self.queues.get(name)?;
        if queue.closed(at.now_ms).is_some() {
            return None;
        }
        let mut fitting: Vec<(&TaskId, &ModelTask)> = self.tasks.iter().collect();
        fitting.retain(|(_, task)| task.ready() && task.added.terms.queue == *name && fits(task));
        let waited = |task: &ModelTask| queue.grants - queue.since[&task.line()];
        let turn = 16 * queue.since.len() as u64;
        let due = fitting.iter().filter(|(_, task)| waited(task) >= turn);
        // The line that has waited longest, the first of them in the order of lines, and its oldest task.
        let due = due.min_by_key(|(id, task)| (queue.since[&task.line()], task.line(), **id));
        let best = fitting.iter().min_by_key(|(id, task)| (task.line().0, **id));
        due.or(best).map(|(id, _)| **id)
    }

    pub(super) fn grant(&mut self, id: TaskId, holder: &Holder, offer: Option<WaitId>, at: &At) -> Claimed {
        let mut task = self.tasks[&id].clone();
        let queue = self.queues.get_mut(&task.added.terms.queue).unwrap();
        if queue.since.len() > 1 && task.ready() {
            queue.grants += 1;
            queue.since.insert(task.line(), queue.grants);
        }
        if let Breaker::Open { .. } = queue.breaker {
            queue.breaker = Breaker::HalfOpen { trial: id };
        }
        task.attempts += 1;
        (task.not_until_ms, task.wakes_ms) = (0, None);
        let mut lease = Lease {
            holder: holder.clone(),
            fence: Fence(at.seq),
            since_ms: at.now_ms,
            until_ms: None,
            accepted: false,
            progress: None,
            note: None,
            heard_ms: at.now_ms,
            stealable: false,
            cancel: None,
            hand_off: None,
            reservation: self.reserve_for(id, holder, at),
            offer,
        };
        lease.until_ms = lease_end(&lease, &task.added.terms).map(|(at_ms, _)| at_ms);
        task.state = State::Leased(lease);
        let (attempt, fence) = (task.attempts, Fence(at.seq));
        self.event(
            What::TaskClaimed {
                task: id,
                attempt,
                fence,
                owner: holder.owner.clone(),
            },
            at,
        );
        self.put(id, task, at);
        Claimed {
            task: id,
            attempt,
            fence,
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
            Ending::Released => self.give_back(id, Return::Released, Bytes::new(), at),
            Ending::Cancelled => self.give_back(id, Return::Cancelled, Bytes::new(), at),
            Ending::Blocked => {
                let more = self.find_needs(&with.needs, &BTreeMap::new())?;
                if let Some(cycle) = self.way_to(id, &more) {
                    return Err(Refusal::NeedCycle { cycle: cycle.into() });
                }
                let mut task = self.tasks[&id].clone();
                let all: BTreeSet<TaskId> = task.needs().into_iter().chain(more).collect();
                task.unmet = self.not_done(all.iter().copied());
                task.added.terms.needs = all.into_iter().map(Need::Id).collect();
                self.put(id, task, at);
                self.give_back(id, Return::Blocked, Bytes::new(), at);
            }
            Ending::Failed => {
                let again = with.failure.clone().filter(|failure| {
                    let class = failure.class.as_ref();
                    failure.retryable && !class.is_some_and(|class| terms.retry.never.contains(class))
                });
                match again {
                    Some(failure) => self.give_back(id, Return::Failed(failure), finish.result.clone(), at),
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
        });
        self.put(finish.task, task, at);
        self.hear(&queue, finish.task, Some(done), at);
        self.end_with_lease(lease.reservation, at);
    }

    fn control(&mut self, control: &Control, at: &At) -> Result<Outcome, Refusal> {
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

    fn queue_change(&mut self, change: &QueueChange, at: &At) -> Result<Outcome, Refusal> {
        bad_text("queue", &change.queue, 128).map_or(Ok(()), Err)?;
        if let Some(settings) = change
            .breaker
            .filter(|settings| settings.failures > 0 && settings.pause_ms < 100)
        {
            let problem = format!("{} is under the least, 100", settings.pause_ms);
            return Err(bad("breaker_pause_ms", &problem));
        }
        let queue = self.queues.entry(change.queue.clone()).or_default();
        if let Some(paused) = change.paused {
            queue.paused_by = paused.then(|| at.author.clone());
        }
        if let Some(settings) = change.breaker {
            (queue.settings, queue.breaker) = (settings, Breaker::default());
        }
        queue.distribution = change.distribution.unwrap_or(queue.distribution);
        self.look_at_queue(&change.queue);
        self.look_again(&change.queue);
        self.tell_queue(&change.queue, at);
        Ok(Outcome::QueueSet { seq: at.seq })
    }

    fn tell_queue(&mut self, name: &Arc<str>, at: &At) {
        let queue = self.queues.get(name).cloned().unwrap_or_default();
        let told = What::QueueChanged {
            queue: name.clone(),
            paused_by: queue.paused_by,
            breaker: queue.breaker,
        };
        self.event(told, at);
    }

    pub(super) fn hear(&mut self, name: &Arc<str>, task: TaskId, done: Option<bool>, at: &At) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        if queue.settings.failures == 0 {
            return;
        }
        let kind = |breaker: &Breaker| match breaker {
            Breaker::Closed { .. } => 0,
            Breaker::Open { .. } => 1,
            Breaker::HalfOpen { .. } => 2,
        };
        let (before, pause_ms) = (kind(&queue.breaker), queue.settings.pause_ms);
        let open = |wait_ms: u64| Breaker::Open {
            until_ms: at.now_ms.saturating_add(wait_ms),
        };
        match &mut queue.breaker {
            Breaker::HalfOpen { trial } if *trial == task => {
                queue.breaker = match done {
                    Some(true) => Breaker::default(),
                    Some(false) => open(pause_ms),
                    None => open(0),
                }
            }
            Breaker::Closed { failures } => match done {
                Some(true) => *failures = 0,
                Some(false) if *failures + 1 >= queue.settings.failures => queue.breaker = open(pause_ms),
                Some(false) => *failures += 1,
                None => {}
            },
            _ => {}
        }
        self.look_again(name);
        if kind(&self.queues[name].breaker) != before {
            self.tell_queue(name, at);
        }
    }

    fn add_tasks(&mut self, new: &[NewTask], at: &At) -> Result<Vec<Added>, Refusal> {
        new.iter().find_map(bad_task).map_or(Ok(()), Err)?;
        let mut here: BTreeMap<Arc<str>, TaskId> = BTreeMap::new();
        let mut added: Vec<Added> = Vec::new();
        for (place, new) in new.iter().enumerate() {
            let named = |name: &Arc<str>| {
                let mut all = self.tasks.iter();
                let there = all.find(|(_, task)| task.added.name.as_ref() == Some(name));
                there.map(|(id, _)| *id).or(here.get(name).copied())
            };
            let known = new.name.as_ref().and_then(named);
            let task = known.unwrap_or(TaskId {
                seq: at.seq,
                ordinal: place as u32,
            });
            if let Some(name) = &new.name {
                here.entry(name.clone()).or_insert(task);
            }
            let existing = known.is_some();
            added.push(Added { task, existing });
        }
        let mut tasks = Vec::new();
        for (new, added) in new.iter().zip(&added).filter(|(_, added)| !added.existing) {
            let needs = self.find_needs(&new.terms.needs, &here)?;
            let mut new = new.clone();
            new.terms.needs = needs.iter().copied().map(Need::Id).collect();
            new.terms.resources = canonical(&new.terms.resources)?;
            tasks.push((added.task, new));
        }
        if let Some(cycle) = cycle_of(&tasks) {
            return Err(Refusal::NeedCycle { cycle: cycle.into() });
        }
        self.check_tasks(tasks.len())?;
        for (id, new) in tasks {
            let (kind, name) = (new.kind.clone(), new.name.clone());
            self.event(What::TaskAdded { task: id, kind, name }, at);
            let mut task = ModelTask {
                added: new,
                author: at.author.clone(),
                added_ms: at.now_ms,
                state: State::Pending,
                attempts: 0,
                history: Vec::new(),
                unmet: Vec::new(),
                counts: Counts::default(),
                not_until_ms: 0,
                wakes_ms: None,
                approved: None,
                checkpoint: Bytes::new(),
            };
            task.unmet = self.not_done(task.needs());
            self.settle(&mut task, at);
            self.put(id, task, at);
        }
        Ok(added)
    }

    fn find_needs(&self, needs: &[Need], here: &BTreeMap<Arc<str>, TaskId>) -> Result<Vec<TaskId>, Refusal> {
        let mut found = BTreeSet::new();
        for need in needs {
            found.insert(match need {
                Need::Id(id) if !self.tasks.contains_key(id) => return Err(Refusal::UnknownTask { task: *id }),
                Need::Id(id) => *id,
                Need::Name(name) => {
                    let mut all = self.tasks.iter();
                    let there = all.find(|(_, task)| task.added.name.as_ref() == Some(name));
                    let there = there.map(|(id, _)| *id).or(here.get(name).copied());
                    there.ok_or_else(|| bad("needs", &format!("no task has the name {name:?}")))?
                }
            });
        }
        Ok(found.into_iter().collect())
    }

    pub(super) fn not_done(&self, needs: impl IntoIterator<Item = TaskId>) -> Vec<TaskId> {
        let done = |need: &TaskId| self.tasks.get(need).is_some_and(ModelTask::done);
        needs.into_iter().filter(|need| !done(need)).collect()
    }

    /// A way from one of `from` over what is needed to `to`, told as a cycle.
    fn way_to(&self, to: TaskId, from: &[TaskId]) -> Option<String> {
        let mut ways: Vec<Vec<TaskId>> = from.iter().map(|first| vec![to, *first]).collect();
        let mut seen: BTreeSet<TaskId> = from.iter().copied().collect();
        while let Some(way) = ways.pop() {
            let last = way[way.len() - 1];
            if last == to {
                let names: Vec<String> = way.iter().map(TaskId::to_string).collect();
                return Some(names.join(" needs "));
            }
            for need in self.tasks.get(&last).map(|task| task.unmet.clone()).unwrap_or_default() {
                if seen.insert(need) {
                    ways.push([&way[..], &[need]].concat());
                }
            }
        }
        None
    }

    /// Whether a claim may take a task, and why its lease ends then, if it has one.
    fn check_free(
        &self,
        id: TaskId,
        claim: &Claim,
        by: &Owner,
        before: &[TaskId],
        at: &At,
    ) -> Result<Option<Return>, Refusal> {
        let task = self.tasks.get(&id).ok_or(Refusal::UnknownTask { task: id })?;
        let why = match &task.state {
            State::Finished(finished) => return Err(was_finished(id, task.attempts, finished)),
            State::Leased(lease) => {
                let named = match by {
                    Owner::Agent { agent, .. } => agent.name.clone(),
                    Owner::Session { name, .. } => name.clone(),
                };
                let stale = at.now_ms.saturating_sub(lease.heard_ms) >= 900_000;
                if lease.cancel.is_none() && lease.hand_off.as_ref() == Some(&named) {
                    return Ok(Some(Return::HandedOff(named)));
                }
                if lease.cancel.is_none() && claim.wants.steal && (lease.stealable || stale) {
                    return Ok(Some(Return::Stolen(named)));
                }
                let (attempt, holder) = (task.attempts, lease.holder.clone());
                return Err(Refusal::TaskHeld {
                    task: id,
                    attempt,
                    holder,
                });
            }
            State::Blocked => {
                let needs = task.unmet.iter().map(|need| {
                    let state = self.tasks[need].state.name();
                    format!("{need} ({state})")
                });
                format!("it needs {}", needs.collect::<Vec<_>>().join(", "))
            }
            State::AwaitingApproval => "nobody has approved of it".into(),
            State::Paused { by, .. } => format!("{by} has paused it"),
            State::Closed(closed) => closed.reason.to_string(),
            State::Pending => {
                let queue = &self.queues[&task.added.terms.queue];
                let same_queue = |other: &&TaskId| {
                    let other = self.tasks.get(other);
                    other.is_some_and(|other| other.added.terms.queue == task.added.terms.queue)
                };
                let trial = before.iter().find(same_queue);
                let closed = queue.closed(at.now_ms);
                match (task.wakes_ms, closed, trial, queue.breaker) {
                    (Some(wakes_ms), ..) => format!("it waits until {wakes_ms} ms of cluster time"),
                    (None, Some(closed), ..) => closed,
                    (None, None, Some(trial), Breaker::Open { .. }) => {
                        format!("the breaker of its queue waits for task {trial}")
                    }
                    _ => return Ok(None),
                }
            }
        };
        Err(not_ready(id, task.state.name(), why))
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

/// A cycle among new tasks, told from the first that is met: depth first, from each in turn.
fn cycle_of(tasks: &[(TaskId, NewTask)]) -> Option<String> {
    fn visit(path: &mut Vec<usize>, left: &mut BTreeSet<usize>, tasks: &[(TaskId, NewTask)]) -> Option<Vec<usize>> {
        let place = path[path.len() - 1];
        for need in tasks[place].1.terms.needs.iter().filter_map(Need::id) {
            let Some(need) = tasks.iter().position(|(id, _)| *id == need) else {
                continue;
            };
            if let Some(from) = path.iter().position(|on_path| *on_path == need) {
                return Some(path[from..].iter().copied().chain([need]).collect());
            }
            if !left.contains(&need) {
                path.push(need);
                let found = visit(path, left, tasks);
                path.pop();
                if found.is_some() {
                    return found;
                }
            }
        }
        left.insert(place);
        None
    }
    let mut left = BTreeSet::new();
    for start in 0..tasks.len() {
        if left.contains(&start) {
            continue;
        }
        if let Some(cycle) = visit(&mut vec![start], &mut left, tasks) {
            let names = cycle.into_iter().map(|place| match &tasks[place].1.name {
                Some(name) => name.to_string(),
                None => tasks[place].0.to_string(),
            });
            return Some(names.collect::<Vec<_>>().join(" needs "));
        }
    }
    None
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
