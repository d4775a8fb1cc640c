//! The rules of claims that wait: see [`super::wait`].

use std::ops::ControlFlow;
use std::sync::Arc;

use super::ending::drawn;
use super::line::LineKey;
use super::queue::PASSES_MAX;
use super::resources::{Enough, Passed};
use super::wait::{
    Distribution, OFFER_MS, WAIT_PROFILES_MAX, WAITS_MAX, WAITS_PER_NODE_MAX, WAITS_PER_OWNER_MAX, Wait, WaitId,
};
use super::{Claim, Holder, Leave, Owner, QUEUE_DEFAULT, QUEUES_MAX, Queue, Return, State, Task, TaskId};
use crate::colony::agent::Agents;
use crate::colony::command::{Outcome, Refusal};
use crate::colony::memory::{malformed, over_limit};
use crate::colony::project::{Project, Step};
use crate::colony::session::SessionId;
use crate::colony::sweep::STEPS_PER_COMMAND;
use crate::colony::{Applied, Colony};
use crate::id::NodeId;

impl Owner {
    /// The position of the command by which it began: no other owner has it.
    fn began(&self) -> u64 {
        match self {
            Owner::Agent { started, .. } => *started,
            Owner::Session { session, .. } => session.0,
        }
    }
}

impl Step<'_> {
    /// A claim that found nothing begins to wait.
    pub(super) fn begin_wait(
        &mut self,
        claim: &Claim,
        (kinds, limit, wait_ms): (&[Arc<str>], u32, u64),
        holder: Holder,
    ) -> Result<Outcome, Refusal> {
        let now_ms = self.scope.cluster_ms;
        let queue: Arc<str> = claim.wants.queue.clone().unwrap_or_else(|| QUEUE_DEFAULT.into());
        let session = match &holder.owner {
            Owner::Session { session, .. } => Some(*session),
            Owner::Agent { .. } => None,
        };
        let known = self.project.tasks.queue(&queue);
        let wait = Wait {
            holder,
            node: self.scope.node,
            kinds: kinds.to_vec(),
            capabilities: claim.wants.capabilities.clone(),
            limit,
            until_ms: now_ms.saturating_add(wait_ms),
            since: known.map_or(0, |queue| queue.offers),
            queue,
            offered: Vec::new(),
        };
        self.check_room_to_wait(&wait)?;
        self.open_for(&claim.caller);
        let (id, queue, until_ms) = (WaitId(self.scope.seq), wait.queue.clone(), wait.until_ms);
        self.set_wait(id, Some(wait));
        if self
            .project
            .tasks
            .queue(&queue)
            .is_some_and(|queue| queue.closed(now_ms).is_some() || queue.has_rates())
        {
            self.look_again(&queue);
        }
        Ok(Outcome::Waiting {
            seq: self.scope.seq,
            until_ms,
            session,
        })
    }

    fn check_room_to_wait(&self, wait: &Wait) -> Result<(), Refusal> {
        let tasks = &self.project.tasks;
        let of_owner = match &wait.holder.owner {
            Owner::Session { session, .. } => self.agents.sessions.waits_of(*session),
            Owner::Agent { agent, started } => self.agents.waits_of(&(agent.node, *started)),
        };
        let queue = tasks.queue(&wait.queue);
        let queues = tasks.queues.len() + usize::from(queue.is_none());
        let profiles = queue.map_or(1, |queue| queue.waiting.profiles_with(wait));
        let counts = [
            ("waiting_claims", tasks.waits.len() + 1, WAITS_MAX),
            (
                "waiting_claims_of_node",
                self.agents.waits_at(wait.node).count() + 1,
                WAITS_PER_NODE_MAX,
            ),
            ("waiting_claims_of_owner", of_owner + 1, WAITS_PER_OWNER_MAX),
            ("waiting_profiles", profiles, WAIT_PROFILES_MAX),
            ("queues", queues, QUEUES_MAX),
        ];
        match counts.into_iter().find(|(_, count, most)| count > most) {
            Some((field, count, most)) => Err(over_limit(field, count, most)),
            None => Ok(()),
        }
    }

    /// The caller of a claim waits no more. What it was offered and has not taken is for others.
    pub(super) fn leave(&mut self, leave: &Leave) -> Result<Outcome, Refusal> {
        let (id, seq) = (leave.wait, self.scope.seq);
        let Some(wait) = self.project.tasks.waits.get(id).cloned() else {
            return Ok(Outcome::Left { seq, returned: 0 });
        };
        if !self.is_owner(&leave.caller, &wait.holder.owner)? {
            return Err(malformed("wait", &format!("{id} is that of another caller")));
        }
        if wait.is_waiting() {
            self.end_wait(id);
            return Ok(Outcome::Left { seq, returned: 0 });
        }
        let offers = |task: &Task| matches!(&task.state, State::Leased(lease) if lease.offer == Some(id));
        let mut returned = 0;
        for task in wait.offered.iter().map(|claimed| claimed.task) {
            if self.project.tasks.get(task).is_some_and(|task| offers(task)) {
                self.return_task(task, Return::NotTaken);
                returned += 1;
            }
        }
        self.end_wait(id);
        Ok(Outcome::Left { seq, returned })
    }

    /// Ends a wait, or forgets an offer; nothing if it is over already.
    pub(in crate::colony) fn end_wait(&mut self, id: WaitId) {
        let Some(wait) = self.project.tasks.waits.get(id).cloned() else {
            return;
        };
        self.set_wait(id, None);
        if let (true, Owner::Session { session, .. }) = (wait.is_waiting(), &wait.holder.owner) {
            self.close_if_idle(*session);
        }
    }

    /// A task that was offered is taken, or for others again: the offer is over with its last task.
    pub(super) fn offer_is_over(&mut self, id: Option<WaitId>, task: TaskId) {
        let Some((id, wait)) = id.and_then(|id| Some((id, self.project.tasks.waits.get(id)?))) else {
            return;
        };
        let mut wait = Wait::clone(wait);
        wait.offered.retain(|claimed| claimed.task != task);
        // One without offers would wait again.
        let left = (!wait.offered.is_empty()).then_some(wait);
        self.set_wait(id, left);
    }

    fn set_wait(&mut self, id: WaitId, wait: Option<Wait>) {
        self.project
            .set_wait(self.scope.project, id, wait, self.agents, self.applied);
    }

    fn owe(&mut self, name: &Arc<str>, at_ms: Option<u64>) {
        self.project
            .owe(self.scope.project, name, at_ms, self.agents, self.applied);
    }
    /// A task of the queue has become ready, or the queue may have been opened.
    pub(super) fn look_again(&mut self, name: &Arc<str>) {
        self.owe(name, self.looked_at_ms(name));
    }

    /// When the queue may have a task for a claim that waits: never while a budget keeps its tasks.
    fn looked_at_ms(&self, name: &str) -> Option<u64> {
        let at_ms = self.project.tasks.queue(name).and_then(Queue::offers_at_ms);
        at_ms.filter(|_| !self.is_held(name))
    }

    /// Resources may be free that were taken: where claims wait, the tasks that were passed over are looked at again.
    pub(in crate::colony) fn look_at_queues(&mut self) {
        let tasks = &self.project.tasks;
        if tasks.waits.len() == 0 {
            return;
        }
        let queues = tasks.queues.iter();
        // One that waits for tokens is looked at now, and not only when they are there.
        let may = queues.filter(|(name, queue)| queue.owes_ms != self.looked_at_ms(name));
        let names: Vec<Arc<str>> = may.map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.look_again(name));
    }

    /// Gives what is ready to the claims of the project that wait, as far as one command may.
    pub(in crate::colony) fn hand_out(&mut self) {
        for _ in 0..STEPS_PER_COMMAND {
            let Some(queue) = self.agents.owed_now(self.scope.project) else {
                return;
            };
            self.offer_next(&queue);
        }
    }

    /// Makes the next offer of a queue that may owe one, ends a wait that is over, or finds that it owes nothing.
    pub(in crate::colony) fn offer_next(&mut self, name: &Arc<str>) {
        let (task, id) = match self.next_offer(name) {
            Ok(next) => next,
            Err(at_ms) => return self.owe(name, at_ms),
        };
        let wait = self.project.tasks.waits.get(id).expect("it was just chosen").clone();
        if !self.still_waits(&wait) {
            return self.end_wait(id);
        }
        let queue = self.project.tasks.queue(name).expect("it was just looked at");
        let share = queue.ready().div_ceil(queue.waiting());
        let most = share.min(wait.limit as usize);
        let lease = self.new_lease(wait.holder.clone(), Some(id));
        let mut offered = vec![self.lease(task, lease.clone())];
        let (fits, passed) = ((&*wait.kinds, &*wait.capabilities), &mut Passed::of_offer());
        while offered.len() < most
            && let Some(next) = self.best_ready_of(name, fits, &wait.holder.owner, passed)
        {
            offered.push(self.lease(next, lease.clone()));
        }
        let began = wait.holder.owner.began();
        self.project.tasks.change_queue(name, |queue| {
            queue.offers += 1;
            queue.last = began;
        });
        let offer = Wait {
            until_ms: self.scope.cluster_ms.saturating_add(OFFER_MS),
            offered,
            ..Wait::clone(&wait)
        };
        self.set_wait(id, Some(offer));
    }

    /// The best of the tasks for which claims wait, and the claim that is to get it.
    ///
    /// # Errors
    /// When there is none: cluster time in milliseconds at which the queue is to be looked at again, if by itself it may
    /// have one then.
    fn next_offer(&self, name: &Arc<str>) -> Result<(TaskId, WaitId), Option<u64>> {
        let queue = self.project.tasks.queue(name).ok_or(None)?;
        if self.is_held(name) {
            return Err(None);
        }
        if queue.closed(self.scope.cluster_ms).is_some() {
            return Err(queue.offers_at_ms());
        }
        let passed = &mut Passed::of_offer();
        let mut chosen: Vec<(TaskId, WaitId)> = Vec::new();
        let task = queue.choose_waited_for(self.gate(), &mut |id| match self.choose_wait(queue, id, passed) {
            Ok(Some(wait)) => {
                chosen.push((id, wait));
                ControlFlow::Break(true)
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(Enough) => ControlFlow::Break(false),
        })?;
        chosen.into_iter().find(|(id, _)| *id == task).ok_or(None)
    }

    /// The claim that a ready task is offered to: nothing if its resources are taken for all that it fits.
    fn choose_wait(&self, queue: &Queue, task: TaskId, passed: &mut Passed) -> Result<Option<WaitId>, Enough> {
        let Some(task) = self.project.tasks.get(task) else {
            return Ok(None);
        };
        let (line, waiting) = (LineKey::of(task), &queue.waiting);
        if task.terms.resources.is_empty() {
            let least_capable = || waiting.least_capable(&line);
            let Some(oldest) = waiting.oldest(&line) else {
                return Ok(None);
            };
            return Ok(self.distribute(queue, task, oldest, least_capable, || waiting.compared(&line)));
        }
        let able = self.able(task, || waiting.compared(&line), passed)?;
        let Some((able, oldest)) = able.and_then(|able| Some((able.clone(), *able.first()?))) else {
            return Ok(None);
        };
        let capabilities = |id: &WaitId| self.known_wait(*id).capabilities.len();
        let least_capable = || able.iter().copied().min_by_key(|id| (capabilities(id), *id));
        Ok(self.distribute(queue, task, oldest, least_capable, || able.clone()))
    }

    fn known_wait(&self, id: WaitId) -> &Wait {
        self.project.tasks.waits.get(id).expect("who waits is kept")
    }

    /// Which of the claims that may have a task gets it, as its queue says.
    fn distribute(
        &self,
        queue: &Queue,
        task: &Task,
        oldest: WaitId,
        least_capable: impl FnOnce() -> Option<WaitId>,
        compared: impl FnOnce() -> Vec<WaitId>,
    ) -> Option<WaitId> {
        let since = self.known_wait(oldest).since;
        if queue.offers.saturating_sub(since) >= PASSES_MAX * queue.waiting.len() as u64 {
            return Some(oldest);
        }
        let owner = |id: &WaitId| &self.known_wait(*id).holder.owner;
        match queue.distribution {
            Distribution::FirstCome => Some(oldest),
            Distribution::CapabilityFit => least_capable(),
            Distribution::LeastLoaded => {
                let compared = compared().into_iter();
                compared.min_by_key(|id| (self.agents.load(owner(id)), *id))
            }
            Distribution::RoundRobin => compared().into_iter().min_by_key(|id| {
                let began = owner(id).began();
                (began <= queue.last, began, *id)
            }),
            Distribution::Random => {
                let ids = compared();
                let draw = drawn(self.scope.seq, task.id) % ids.len().max(1) as u64;
                ids.get(draw as usize).copied()
            }
            Distribution::Locality => {
                let shared = |id: &WaitId| self.labels_shared(owner(id), task);
                compared().into_iter().min_by_key(|id| (usize::MAX - shared(id), *id))
            }
        }
    }

    /// How many labels a task has in common with the session of an owner; an agent has none.
    fn labels_shared(&self, owner: &Owner, task: &Task) -> usize {
        let Owner::Session { session, .. } = owner else {
            return 0;
        };
        let session = self.agents.sessions.get(*session);
        let here =
            |label: &&Arc<str>| session.is_some_and(|session| session.opened.labels.binary_search(label).is_ok());
        task.terms.labels.iter().filter(here).count()
    }

    /// Whether a wait is not over, however far a sweep has come.
    fn still_waits(&self, wait: &Wait) -> bool {
        let lives = match &wait.holder.owner {
            Owner::Agent { agent, started } => self.agents.end_of(&(agent.node, *started)).is_none(),
            Owner::Session { session, .. } => self.session_lives(*session),
        };
        lives && wait.until_ms > self.scope.cluster_ms
    }

    fn session_lives(&self, id: SessionId) -> bool {
        let sessions = &self.agents.sessions;
        let session = sessions.get(id);
        session.is_some_and(|session| sessions.end_of(session, self.scope.cluster_ms).is_none())
    }
}

impl Project {
    /// Puts a wait in, changes it, or takes it out. `project` is its name.
    pub(in crate::colony) fn set_wait(
        &mut self,
        project: &Arc<str>,
        id: WaitId,
        wait: Option<Wait>,
        agents: &mut Agents,
        applied: &mut Applied,
    ) {
        let before = self.tasks.waits.get(id).cloned();
        let name = match (&before, &wait) {
            (Some(before), _) => before.queue.clone(),
            (None, Some(wait)) => wait.queue.clone(),
            (None, None) => return,
        };
        if let Some(before) = &before {
            agents.unlink_wait(project, id, before);
            let goes_on = wait.as_ref().is_some_and(Wait::is_waiting);
            let last = self.tasks.queue(&name).is_some_and(|queue| queue.waiting() == 1);
            if before.is_waiting() && last && !goes_on {
                self.owe(project, &name, None, agents, applied);
            }
        }
        let linked = wait.as_ref().is_none_or(|wait| agents.link_wait(project, id, wait));
        assert!(linked, "only who lives waits");
        self.tasks.set_wait(id, wait);
        applied.waits.push((project.clone(), id));
        applied.queues.push((project.clone(), name));
    }

    /// Notes when a queue is to be looked at because it may owe tasks to claims that wait.
    fn owe(
        &mut self,
        project: &Arc<str>,
        name: &Arc<str>,
        at_ms: Option<u64>,
        agents: &mut Agents,
        applied: &mut Applied,
    ) {
        let before = self.tasks.queue(name).map(|queue| queue.owes_ms);
        if before.is_none_or(|before| before == at_ms) {
            return;
        }
        agents.set_owed(project, name, before.flatten(), at_ms);
        self.tasks.change_queue(name, |queue| queue.owes_ms = at_ms);
        applied.queues.push((project.clone(), name.clone()));
    }
}

impl Colony {
    /// Those who waited at a node wait no more: it is lost, or was started anew.
    pub(in crate::colony) fn end_waits_at(&mut self, node: NodeId, ordinal: &mut u32, applied: &mut Applied) {
        let waits: Vec<(WaitId, Arc<str>)> = self.agents.waits_at(node).collect();
        for (id, project) in waits {
            self.on_project(&project, ordinal, applied, |step| step.end_wait(id));
        }
    }
}
