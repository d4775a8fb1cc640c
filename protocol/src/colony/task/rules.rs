//! The rules of tasks: one command at a time, each one step. Here: adding and claiming.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::resources::Passed;
use super::tasks::{OPEN_BYTES_MAX, OPEN_TASKS_MAX};
use super::{
    ADD_TASKS_MAX, Added, Caller, Claim, Claimed, Closed, Counts, Fence, GROUPS_MAX, Holder, Lease, Need, NewTask,
    Owner, QUEUES_MAX, Return, STALE_MS, State, Task, TaskCommand, TaskId, Terms, WaitId, Which, needs,
};
use crate::colony::command::{Outcome, Refusal};
use crate::colony::digest::Digest;
use crate::colony::event::What;
use crate::colony::memory::{malformed, over_limit};
use crate::colony::project::Step;
use crate::colony::projects::check_quota;
use crate::colony::reservation::canonical;
use crate::colony::session::SessionId;
use crate::colony::usage::Usage;

/// Tasks that are to be added, and what is answered of them.
pub(super) struct Prepared {
    pub(super) added: Vec<Added>,
    tasks: Vec<Task>,
}

impl Step<'_> {
    pub(in crate::colony) fn task(&mut self, command: &TaskCommand) -> Result<Outcome, Refusal> {
        let outcome = self.carry_out_task(command)?;
        // Those who wait for what went with a lease need not wait for the next round.
        self.look_at_waiting();
        Ok(outcome)
    }

    fn carry_out_task(&mut self, command: &TaskCommand) -> Result<Outcome, Refusal> {
        match command {
            TaskCommand::Add(tasks) => self.add(tasks),
            TaskCommand::Claim(claim) => self.claim(claim),
            TaskCommand::Accept(accept) => self.accept(accept),
            TaskCommand::Finish(finish) => self.finish(finish),
            TaskCommand::Update(update) => self.update(update),
            TaskCommand::Control(control) => self.control(control),
            TaskCommand::Queue(change) => self.change_queue(change),
            TaskCommand::Leave(leave) => self.leave(leave),
        }
    }

    fn add(&mut self, new: &[NewTask]) -> Result<Outcome, Refusal> {
        if new.len() > ADD_TASKS_MAX {
            return Err(over_limit("tasks", new.len(), ADD_TASKS_MAX));
        }
        let prepared = self.prepare_tasks(new)?;
        Ok(Outcome::Added {
            seq: self.scope.seq,
            tasks: self.add_prepared(prepared),
        })
    }

    /// Checks tasks that are to be added, and finds what they need.
    pub(super) fn prepare_tasks(&self, new: &[NewTask]) -> Result<Prepared, Refusal> {
        new.iter().try_for_each(NewTask::check_form)?;
        let mut here: BTreeMap<Arc<str>, TaskId> = BTreeMap::new();
        let mut added = Vec::with_capacity(new.len());
        for (ordinal, new) in (0..).zip(new) {
            let name = new.name.as_ref();
            let known = name.and_then(|name| self.project.tasks.named(name).or(here.get(name).copied()));
            let task = known.unwrap_or(TaskId {
                seq: self.scope.seq,
                ordinal,
            });
            if let (Some(name), None) = (name, known) {
                here.insert(name.clone(), task);
            }
            added.push(Added {
                task,
                existing: known.is_some(),
            });
        }
        let to_add = new.iter().zip(&added).filter(|(_, added)| !added.existing);
        let tasks: Result<Vec<Task>, Refusal> = to_add
            .map(|(new, added)| self.new_task(new, added.task, &here))
            .collect();
        let tasks = tasks?;
        if let Some(refusal) = needs::cycle(&tasks) {
            return Err(refusal);
        }
        self.check_room(&tasks)?;
        Ok(Prepared { added, tasks })
    }

    /// Adds them.
    pub(super) fn add_prepared(&mut self, prepared: Prepared) -> Vec<Added> {
        for mut task in prepared.tasks {
            self.event(What::TaskAdded {
                task: task.id,
                kind: task.kind.clone(),
                name: task.name.clone(),
            });
            // What was done meanwhile, in this same command, is done.
            task.unmet = self.not_done(task.unmet);
            self.settle(&mut task);
            self.put_task(task);
        }
        prepared.added
    }

    /// Whether there is room for these tasks among those that are still to be done.
    pub(super) fn check_room(&self, tasks: &[Task]) -> Result<(), Refusal> {
        if tasks.is_empty() {
            return Ok(());
        }
        let open = self.project.tasks.open() + tasks.len();
        if open > OPEN_TASKS_MAX {
            return Err(over_limit("open_tasks", open, OPEN_TASKS_MAX));
        }
        let (has, asked) = (self.project.tasks.open() as u64, tasks.len() as u64);
        check_quota("tasks", has, asked, self.project.about.limits.tasks)?;
        self.check_open_bytes(tasks.iter().map(Task::bytes).sum())?;
        let mut new_groups: BTreeMap<&Arc<str>, BTreeSet<_>> = BTreeMap::new();
        for task in tasks {
            let queue = self.project.tasks.queue(&task.terms.queue);
            if queue.is_none_or(|queue| !queue.knows_group(task)) {
                let groups = new_groups.entry(&task.terms.queue).or_default();
                groups.insert((&task.kind, &task.terms.requires, &task.terms.rates));
            }
        }
        for (name, new) in &new_groups {
            let known = self.project.tasks.queue(name).map_or(0, |queue| queue.groups());
            if known + new.len() > GROUPS_MAX {
                return Err(over_limit("queue_groups", known + new.len(), GROUPS_MAX));
            }
        }
        let is_new = |name: &&&Arc<str>| self.project.tasks.queue(name).is_none();
        let queues = self.project.tasks.queues.len() + new_groups.keys().filter(is_new).count();
        match queues > QUEUES_MAX {
            true => Err(over_limit("queues", queues, QUEUES_MAX)),
            false => Ok(()),
        }
    }

    /// Whether what is still to be done may have so many bytes more.
    pub(super) fn check_open_bytes(&self, more: u64) -> Result<(), Refusal> {
        let bytes = self.project.tasks.bytes().0.saturating_add(more);
        match more > 0 && bytes > OPEN_BYTES_MAX {
            true => Err(over_limit("open_task_bytes", bytes as usize, OPEN_BYTES_MAX as usize)),
            false => Ok(()),
        }
    }

    fn new_task(&self, new: &NewTask, id: TaskId, here: &BTreeMap<Arc<str>, TaskId>) -> Result<Task, Refusal> {
        let needs = self.resolve_needs(&new.terms.needs, here)?;
        self.check_rates(&new.terms.rates)?;
        let resources = match new.terms.resources.is_empty() {
            true => Vec::new(),
            false => canonical(&new.terms.resources)?,
        };
        let terms = Terms {
            needs: needs.iter().copied().map(Need::Id).collect(),
            resources,
            ..new.terms.clone()
        };
        Ok(Task {
            id,
            title: new.title.clone(),
            kind: new.kind.clone(),
            payload: new.payload.clone(),
            name: new.name.clone(),
            author: self.scope.author.clone(),
            added_ms: self.scope.cluster_ms,
            state: State::Pending,
            attempts: 0,
            history: Vec::new(),
            terms: terms.shared(),
            unmet: self.not_done(needs),
            counts: Counts::default(),
            not_until_ms: 0,
            wakes_ms: None,
            approved: None,
            checkpoint: Bytes::new(),
            usage: Usage::default(),
            digest: Digest::default(),
        })
    }

    fn claim(&mut self, claim: &Claim) -> Result<Outcome, Refusal> {
        claim.check_form()?;
        let holder = Holder {
            owner: self.claimant(&claim.caller)?,
            author: self.scope.author.clone(),
        };
        let lease = self.new_lease(holder, None);
        let mut tasks = Vec::new();
        match &claim.which {
            Which::Ids(ids) => {
                let mut ways = Vec::with_capacity(ids.len());
                for (place, id) in ids.iter().enumerate() {
                    self.free_if_due(*id);
                    ways.push(self.check_free(*id, claim, &lease.holder.owner, &ids[..place])?);
                }
                self.check_resources(ids, &lease.holder.owner)?;
                if !ids.is_empty() {
                    self.open_for(&claim.caller);
                }
                for (id, way) in ids.iter().zip(ways) {
                    if let Some(reason) = way {
                        self.return_task(*id, reason);
                    }
                    tasks.push(self.lease(*id, lease.clone()));
                }
            }
            Which::Ready { kinds, limit } => {
                let passed = &mut Passed::of_claim();
                while tasks.len() < *limit as usize
                    && let Some(id) = self.best_ready(&claim.wants, kinds, &lease.holder.owner, passed)
                {
                    if tasks.is_empty() {
                        self.open_for(&claim.caller);
                    }
                    tasks.push(self.lease(id, lease.clone()));
                }
                if let (true, Some(wait_ms)) = (tasks.is_empty() && *limit > 0, claim.wants.wait_ms()) {
                    return self.begin_wait(claim, (kinds, *limit, wait_ms), lease.holder);
                }
            }
        }
        let session = match &lease.holder.owner {
            Owner::Session { session, .. } if !tasks.is_empty() => Some(*session),
            _ => None,
        };
        Ok(Outcome::Claimed {
            seq: self.scope.seq,
            tasks,
            until_ms: None,
            session,
        })
    }

    /// A lease that begins now; one that is an offer names the claim that waited.
    pub(super) fn new_lease(&self, holder: Holder, offer: Option<WaitId>) -> Lease {
        let now_ms = self.scope.cluster_ms;
        Lease {
            holder,
            until_ms: None,
            fence: Fence(self.scope.seq),
            since_ms: now_ms,
            accepted: false,
            progress: None,
            note: None,
            heard_ms: now_ms,
            stealable: false,
            cancel: None,
            hand_off: None,
            reservation: None,
            offer,
            usage: Usage::default(),
        }
    }

    /// Who will hold what a claim takes. A session that it opens has the position of the claim as its id.
    pub(in crate::colony) fn claimant(&self, caller: &Caller) -> Result<Owner, Refusal> {
        let Caller::Opens(new) = caller else {
            let owner = self.owner(caller)?;
            if let Owner::Agent { agent, started } = &owner
                && !self.agents.works_in(self.scope.project, &(agent.node, *started))
            {
                self.check_agents()?;
            }
            return Ok(owner);
        };
        self.check_new_session(new)?;
        Ok(Owner::Session {
            session: SessionId(self.scope.seq),
            name: new.name.clone(),
        })
    }

    pub(in crate::colony) fn open_for(&mut self, caller: &Caller) {
        if let Caller::Opens(new) = caller {
            self.open_session(new);
        }
    }

    /// Whether a claim may take this task, and why its present lease ends with that, if it has one. `before` are the tasks
    /// that the same claim takes first.
    fn check_free(&self, id: TaskId, claim: &Claim, by: &Owner, before: &[TaskId]) -> Result<Option<Return>, Refusal> {
        let task = self.known(id)?;
        let not_ready = |why: String| Refusal::TaskNotReady {
            task: id,
            state: task.state.name(),
            why: why.into(),
        };
        match &task.state {
            State::Leased(lease) => self.check_taking(task, lease, claim, by).map(Some),
            State::Finished(finished) => Err(super::owner::task_finished(task, finished)),
            State::Blocked => Err(not_ready(self.blocked_by(task))),
            State::AwaitingApproval => Err(not_ready("nobody has approved of it".into())),
            State::Paused { by, .. } => Err(not_ready(format!("{by} has paused it"))),
            State::Closed(Closed { reason, .. }) => Err(not_ready(reason.to_string())),
            State::Pending => {
                if let Some(wakes_ms) = task.wakes_ms {
                    return Err(not_ready(format!("it waits until {wakes_ms} ms of cluster time")));
                }
                let queue = self
                    .project
                    .tasks
                    .queue(&task.terms.queue)
                    .expect("an open task has a queue");
                if let Some(closed) = queue.closed(self.scope.cluster_ms) {
                    return Err(not_ready(closed.to_string()));
                }
                if let Some(over) = self.project.accounts.held(&task.terms.queue) {
                    return Err(not_ready(format!("it waits for {over}")));
                }
                let same_queue = |other: &&TaskId| {
                    let other = self.project.tasks.get(**other);
                    other.is_some_and(|other| other.terms.queue == task.terms.queue)
                };
                match before.iter().find(same_queue) {
                    Some(trial) if queue.is_on_trial() => Err(not_ready(super::QueueClosed::Trial(*trial).to_string())),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Whether a claim may take this task from its owner: it was handed off to the caller, or may be stolen.
    fn check_taking(&self, task: &Task, lease: &Lease, claim: &Claim, by: &Owner) -> Result<Return, Refusal> {
        let named = by.name();
        let stale = self.scope.cluster_ms.saturating_sub(lease.heard_ms) >= STALE_MS;
        match lease.cancel {
            None if lease.hand_off.as_ref() == Some(named) => Ok(Return::HandedOff(named.clone())),
            None if claim.wants.steal && (lease.stealable || stale) => Ok(Return::Stolen(named.clone())),
            _ => Err(Refusal::TaskHeld {
                task: task.id,
                attempt: task.attempts,
                holder: lease.holder.clone(),
            }),
        }
    }

    pub(super) fn lease(&mut self, id: TaskId, mut lease: Lease) -> Claimed {
        let mut task = Task::clone(self.project.tasks.get(id).expect("the caller looked it up"));
        self.count_grant(&task);
        self.take_tokens(&task.terms.rates);
        task.attempts += 1;
        task.not_until_ms = 0;
        task.wakes_ms = None;
        lease.until_ms = lease.deadline(&task.terms);
        lease.reservation = self.reserve_for(&task, &lease.holder);
        let (attempt, fence) = (task.attempts, lease.fence);
        self.event(What::TaskClaimed {
            task: id,
            attempt,
            fence,
            owner: lease.holder.owner.clone(),
        });
        task.state = State::Leased(lease);
        self.put_task(task);
        Claimed {
            task: id,
            attempt,
            fence,
        }
    }

    pub(super) fn known(&self, id: TaskId) -> Result<&Arc<Task>, Refusal> {
        let task = self.project.tasks.get(id);
        task.ok_or(Refusal::UnknownTask { task: id })
    }

    /// Who the caller is; refused when it says to be an agent that does not live.
    pub(in crate::colony) fn owner(&self, caller: &Caller) -> Result<Owner, Refusal> {
        match caller {
            Caller::Session(token) => {
                let session = self.session_of(*token)?;
                Ok(Owner::Session {
                    session: session.id,
                    name: session.opened.name.clone(),
                })
            }
            Caller::Opens(_) => Err(malformed("caller", "only a claim or an acquisition opens a session")),
            Caller::Agent { name, generation } => {
                let (node, incarnation) = (self.scope.node, self.scope.incarnation);
                let key = self.agents.caller(node, incarnation, name, *generation)?;
                let life = self.agents.life(&key).expect("the caller lives");
                Ok(Owner::Agent {
                    agent: life.id.clone(),
                    started: key.1,
                })
            }
        }
    }

    /// Whether the caller is this owner. That its session has ended is not said here: what a stale owner needs to know is
    /// who holds the task now.
    pub(super) fn is_owner(&self, caller: &Caller, owner: &Owner) -> Result<bool, Refusal> {
        match (caller, owner) {
            (Caller::Session(token), Owner::Session { session, .. }) => {
                let found = self.agents.sessions.of_token(self.scope.project, *token);
                Ok(found.is_some_and(|found| found.id == *session))
            }
            (Caller::Session(_), Owner::Agent { .. }) => Ok(false),
            _ => Ok(self.owner(caller)? == *owner),
        }
    }
}
