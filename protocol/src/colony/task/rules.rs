//! The rules of tasks: one command at a time, each one step.

use std::sync::Arc;

use bytes::Bytes;

use super::tasks::{OPEN_BYTES_MAX, OPEN_TASKS_MAX};
use super::{
    ADD_TASKS_MAX, Accept, Added, Attempt, CLAIM_KINDS_MAX, CLAIM_TASKS_MAX, Caller, Claim, Claimed, Ending, Fence,
    Finish, Finished, HISTORY_MAX, Holder, Lease, NOTE_BYTES_MAX, NewTask, Owner, PAYLOAD_BYTES_MAX, RESULT_BYTES_MAX,
    Return, State, TASK_NAME_BYTES_MAX, TITLE_BYTES_MAX, Task, TaskCommand, TaskId, Update, Which,
};
use crate::colony::command::{NAME_BYTES_MAX, Outcome, Refusal};
use crate::colony::digest::Digest;
use crate::colony::event::What;
use crate::colony::memory::{malformed, over_limit};
use crate::colony::project::Step;
use crate::colony::session::SessionId;

/// All of a task is done.
const PROGRESS_MAX: u8 = 100;

impl Step<'_> {
    pub(in crate::colony) fn task(&mut self, command: &TaskCommand) -> Result<Outcome, Refusal> {
        match command {
            TaskCommand::Add(tasks) => self.add(tasks),
            TaskCommand::Claim(claim) => self.claim(claim),
            TaskCommand::Accept(accept) => self.accept(accept),
            TaskCommand::Finish(finish) => self.finish(finish),
            TaskCommand::Update(update) => self.update(update),
        }
    }

    fn add(&mut self, new: &[NewTask]) -> Result<Outcome, Refusal> {
        if new.len() > ADD_TASKS_MAX {
            return Err(over_limit("tasks", new.len(), ADD_TASKS_MAX));
        }
        new.iter().try_for_each(NewTask::check_form)?;
        let mut added = Vec::with_capacity(new.len());
        let mut tasks: Vec<Task> = Vec::new();
        for (ordinal, new) in (0..).zip(new) {
            let known = new.name.as_ref().and_then(|name| {
                let here = tasks.iter().find(|task| task.name.as_ref() == Some(name));
                self.project.tasks.named(name).or(here.map(|task| task.id))
            });
            added.push(Added {
                task: known.unwrap_or(TaskId {
                    seq: self.scope.seq,
                    ordinal,
                }),
                existing: known.is_some(),
            });
            if known.is_none() {
                tasks.push(self.new_task(new, ordinal));
            }
        }
        let open = self.project.tasks.open() + tasks.len();
        if !tasks.is_empty() && open > OPEN_TASKS_MAX {
            return Err(over_limit("open_tasks", open, OPEN_TASKS_MAX));
        }
        let bytes = self.project.tasks.bytes().0 + tasks.iter().map(Task::bytes).sum::<u64>();
        if !tasks.is_empty() && bytes > OPEN_BYTES_MAX {
            return Err(over_limit("open_task_bytes", bytes as usize, OPEN_BYTES_MAX as usize));
        }
        for task in tasks {
            self.event(What::TaskAdded {
                task: task.id,
                kind: task.kind.clone(),
                name: task.name.clone(),
            });
            self.put_task(task);
        }
        Ok(Outcome::Added {
            seq: self.scope.seq,
            tasks: added,
        })
    }

    fn new_task(&self, new: &NewTask, ordinal: u32) -> Task {
        Task {
            id: TaskId {
                seq: self.scope.seq,
                ordinal,
            },
            title: new.title.clone(),
            kind: new.kind.clone(),
            payload: new.payload.clone(),
            name: new.name.clone(),
            author: self.scope.author.clone(),
            added_ms: self.scope.cluster_ms,
            state: State::Pending,
            attempts: 0,
            history: Vec::new(),
            digest: Digest::default(),
        }
    }

    fn claim(&mut self, claim: &Claim) -> Result<Outcome, Refusal> {
        claim.check_form()?;
        let lease = Lease {
            holder: Holder {
                owner: self.claimant(&claim.caller)?,
                author: self.scope.author.clone(),
            },
            fence: Fence(self.scope.seq),
            since_ms: self.scope.cluster_ms,
            until_ms: None,
            accepted: false,
            progress: None,
            note: None,
        };
        let mut tasks = Vec::new();
        match &claim.which {
            Which::Ids(ids) => {
                for id in ids {
                    self.free_if_dead(*id);
                    self.check_free(*id)?;
                }
                if !ids.is_empty() {
                    self.open_for(&claim.caller);
                }
                tasks.extend(ids.iter().map(|id| self.lease(*id, lease.clone())));
            }
            Which::Ready { kinds, limit } => {
                if *limit > 0 && self.project.tasks.oldest_ready(kinds).is_some() {
                    self.open_for(&claim.caller);
                }
                while tasks.len() < *limit as usize
                    && let Some(id) = self.project.tasks.oldest_ready(kinds)
                {
                    tasks.push(self.lease(id, lease.clone()));
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
            until_ms: lease.until_ms,
            session,
        })
    }

    /// Who will hold what a claim takes. A session that it opens has the position of the claim as its id.
    fn claimant(&self, caller: &Caller) -> Result<Owner, Refusal> {
        let Caller::Opens(new) = caller else {
            return self.owner(caller);
        };
        self.check_new_session(new)?;
        Ok(Owner::Session {
            session: SessionId(self.scope.seq),
            name: new.name.clone(),
        })
    }

    fn open_for(&mut self, caller: &Caller) {
        if let Caller::Opens(new) = caller {
            self.open_session(new);
        }
    }

    fn check_free(&self, id: TaskId) -> Result<(), Refusal> {
        let task = self.known(id)?;
        match &task.state {
            State::Pending => Ok(()),
            State::Leased(lease) => Err(Refusal::TaskHeld {
                task: id,
                attempt: task.attempts,
                holder: lease.holder.clone(),
            }),
            State::Finished(finished) => Err(task_finished(task, finished)),
        }
    }

    fn lease(&mut self, id: TaskId, lease: Lease) -> Claimed {
        let mut task = Task::clone(self.project.tasks.get(id).expect("the caller looked it up"));
        task.attempts += 1;
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

    fn accept(&mut self, accept: &Accept) -> Result<Outcome, Refusal> {
        let (task, lease) = self.held(accept.task, accept.fence, &accept.caller)?;
        Ok(self.goes_on(task, lease))
    }

    fn update(&mut self, update: &Update) -> Result<Outcome, Refusal> {
        update.check_form()?;
        let (task, mut lease) = self.held(update.task, update.fence, &update.caller)?;
        lease.progress = update.progress.or(lease.progress);
        if let Some(note) = &update.note {
            let before = lease.note.as_ref().map_or(0, |note| note.len());
            let bytes = self.project.tasks.bytes().0 + note.len() as u64 - before as u64;
            if note.len() > before && bytes > OPEN_BYTES_MAX {
                return Err(over_limit("open_task_bytes", bytes as usize, OPEN_BYTES_MAX as usize));
            }
            lease.note = Some(note.clone());
        }
        Ok(self.goes_on(task, lease))
    }

    /// The holder of a task is at work.
    fn goes_on(&mut self, mut task: Task, mut lease: Lease) -> Outcome {
        lease.accepted = true;
        let outcome = Outcome::Accepted {
            seq: self.scope.seq,
            attempt: task.attempts,
            until_ms: lease.until_ms,
        };
        task.state = State::Leased(lease);
        self.put_task(task);
        outcome
    }

    fn finish(&mut self, finish: &Finish) -> Result<Outcome, Refusal> {
        finish.check_form()?;
        let (mut task, lease) = self.held(finish.task, finish.fence, &finish.caller)?;
        let revisions = match &finish.proposal {
            None => Vec::new(),
            Some(proposal) => match self.propose(proposal)? {
                Outcome::Committed { revisions, .. } => revisions,
                lost => return Ok(lost),
            },
        };
        let seq = self.scope.seq;
        if finish.ending == Ending::Released {
            self.give_back(task, lease, Return::Released);
        } else {
            let done = finish.ending == Ending::Done;
            self.event(What::TaskFinished {
                task: task.id,
                attempt: task.attempts,
                done,
            });
            task.state = State::Finished(Finished {
                done,
                holder: lease.holder,
                fence: lease.fence,
                seq,
                at_ms: self.scope.cluster_ms,
                result: finish.result.clone(),
            });
            self.put_task(task);
            self.drop_old_tasks();
        }
        Ok(Outcome::Finished { seq, revisions })
    }

    fn drop_old_tasks(&mut self) {
        while let Some(id) = self.project.tasks.over_kept() {
            self.project.tasks.remove(id);
            self.applied.tasks.push((self.scope.project.clone(), id));
        }
    }

    /// The task and the lease that this caller holds on it.
    fn held(&mut self, id: TaskId, fence: Fence, caller: &Caller) -> Result<(Task, Lease), Refusal> {
        self.free_if_dead(id);
        self.check_fence(id, fence, caller)?;
        let task = Task::clone(self.known(id)?);
        match task.state.clone() {
            State::Leased(lease) => Ok((task, lease)),
            State::Pending | State::Finished(_) => unreachable!("the caller holds the task"),
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
            State::Pending => Err(fenced(None)),
            State::Leased(lease) if self.lease_end(lease).is_some() => Err(fenced(None)),
            State::Finished(finished) if finished.fence == fence => Err(task_finished(task, finished)),
            State::Finished(finished) => Err(fenced(Some(&finished.holder))),
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
        }
    }

    fn known(&self, id: TaskId) -> Result<&Arc<Task>, Refusal> {
        let task = self.project.tasks.get(id);
        task.ok_or(Refusal::UnknownTask { task: id })
    }

    /// Who the caller is; refused when it says to be an agent that does not live.
    fn owner(&self, caller: &Caller) -> Result<Owner, Refusal> {
        match caller {
            Caller::Session(token) => {
                let session = self.session_of(*token)?;
                Ok(Owner::Session {
                    session: session.id,
                    name: session.opened.name.clone(),
                })
            }
            Caller::Opens(_) => Err(malformed("caller", "only a claim opens a session")),
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
    fn is_owner(&self, caller: &Caller, owner: &Owner) -> Result<bool, Refusal> {
        match (caller, owner) {
            (Caller::Session(token), Owner::Session { session, .. }) => {
                let found = self.agents.sessions.of_token(self.scope.project, *token);
                Ok(found.is_some_and(|found| found.id == *session))
            }
            (Caller::Session(_), Owner::Agent { .. }) => Ok(false),
            _ => Ok(self.owner(caller)? == *owner),
        }
    }

    /// Returns a task whose lease is over, but was not cleared away yet: what is said of one task does not depend on how
    /// far that has come.
    fn free_if_dead(&mut self, id: TaskId) {
        let Some(State::Leased(lease)) = self.project.tasks.get(id).map(|task| &task.state) else {
            return;
        };
        if let Some(end) = self.lease_end(lease) {
            self.return_task(id, end);
        }
    }

    /// Why a lease is over, if it is.
    fn lease_end(&self, lease: &Lease) -> Option<Return> {
        if lease.until_ms.is_some_and(|until_ms| until_ms <= self.scope.cluster_ms) {
            return Some(Return::Expired);
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

    /// Makes a leased task pending again.
    pub(in crate::colony) fn return_task(&mut self, id: TaskId, reason: Return) {
        let task = self.project.tasks.get(id).expect("a leased task is kept");
        let task = Task::clone(task);
        let State::Leased(lease) = task.state.clone() else {
            unreachable!("only leased tasks are linked to an owner");
        };
        self.give_back(task, lease, reason);
    }

    fn give_back(&mut self, mut task: Task, lease: Lease, reason: Return) {
        self.event(What::TaskReturned {
            task: task.id,
            attempt: task.attempts,
            reason: reason.clone(),
        });
        if task.history.len() >= HISTORY_MAX {
            task.history.remove(0);
        }
        task.history.push(Attempt {
            number: task.attempts,
            holder: lease.holder,
            fence: lease.fence,
            since_ms: lease.since_ms,
            ended_ms: self.scope.cluster_ms,
            reason,
        });
        task.state = State::Pending;
        self.put_task(task);
    }

    /// Puts a task in place of what stood under its id, and notes who holds it now.
    fn put_task(&mut self, task: Task) {
        let project = self.scope.project;
        let mut session_before = None;
        if let Some(old) = self.project.tasks.get(task.id) {
            self.agents.unlink(project, old);
            session_before = old.state.session();
        }
        assert!(self.agents.link(project, &task), "only who lives is given a lease");
        self.applied.tasks.push((project.clone(), task.id));
        self.project.tasks.set(task);
        if let Some(session) = session_before {
            self.close_if_idle(session);
        }
    }
}

fn task_finished(task: &Task, finished: &Finished) -> Refusal {
    Refusal::TaskFinished {
        task: task.id,
        attempt: task.attempts,
        state: task.state.name(),
        holder: finished.holder.clone(),
    }
}

fn check_text(field: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.len() > bytes_max {
        return Err(over_limit(field, text.len(), bytes_max));
    }
    match text.is_empty() || text.chars().any(char::is_control) {
        true => Err(malformed(field, "is empty or has a control character")),
        false => Ok(()),
    }
}

fn check_bytes(field: &str, bytes: &Bytes, bytes_max: usize) -> Result<(), Refusal> {
    match bytes.len() > bytes_max {
        true => Err(over_limit(field, bytes.len(), bytes_max)),
        false => Ok(()),
    }
}

impl NewTask {
    fn check_form(&self) -> Result<(), Refusal> {
        check_text("title", &self.title, TITLE_BYTES_MAX)?;
        if let Some(kind) = &self.kind {
            check_text("kind", kind, NAME_BYTES_MAX)?;
        }
        if let Some(name) = &self.name {
            check_text("name", name, TASK_NAME_BYTES_MAX)?;
        }
        check_bytes("payload", &self.payload, PAYLOAD_BYTES_MAX)
    }
}

impl Update {
    fn check_form(&self) -> Result<(), Refusal> {
        if let Some(progress) = self.progress.filter(|progress| *progress > PROGRESS_MAX) {
            return Err(over_limit("progress", progress as usize, PROGRESS_MAX as usize));
        }
        self.note
            .iter()
            .try_for_each(|note| check_text("note", note, NOTE_BYTES_MAX))
    }
}

impl Claim {
    fn check_form(&self) -> Result<(), Refusal> {
        match &self.which {
            Which::Ids(ids) => {
                if ids.len() > CLAIM_TASKS_MAX {
                    return Err(over_limit("ids", ids.len(), CLAIM_TASKS_MAX));
                }
                let twice = (1..ids.len()).find(|place| ids[..*place].contains(&ids[*place]));
                match twice {
                    Some(place) => Err(malformed("ids", &format!("{} stands twice", ids[place]))),
                    None => Ok(()),
                }
            }
            Which::Ready { kinds, limit } => {
                if kinds.len() > CLAIM_KINDS_MAX {
                    return Err(over_limit("kinds", kinds.len(), CLAIM_KINDS_MAX));
                }
                match *limit as usize > CLAIM_TASKS_MAX {
                    true => Err(over_limit("limit", *limit as usize, CLAIM_TASKS_MAX)),
                    false => Ok(()),
                }
            }
        }
    }
}

impl Finish {
    fn check_form(&self) -> Result<(), Refusal> {
        check_bytes("result", &self.result, RESULT_BYTES_MAX)?;
        if self.ending == Ending::Released && !self.result.is_empty() {
            return Err(malformed("result", "a task that is given back has no result"));
        }
        match &self.proposal {
            Some(_) if self.ending != Ending::Done => {
                Err(malformed("proposal", "only a task that is done brings a proposal"))
            }
            Some(proposal) if proposal.dry_run => Err(malformed("proposal", "a dry run finishes nothing")),
            _ => Ok(()),
        }
    }
}
