//! Claims that wait, in the model: a list for each project, looked through from the first to the last.

use super::tasks::ModelTask;
use super::*;

impl ModelProject {
    /// The claims that wait for a queue, oldest first.
    pub(super) fn waiting(&self, name: &str) -> Vec<WaitId> {
        let waits = self.waits.iter();
        let here = waits.filter(|(_, wait)| wait.offered.is_empty() && *wait.queue == *name);
        here.map(|(id, _)| *id).collect()
    }

    pub(super) fn begin_wait(
        &mut self,
        claim: &Claim,
        (kinds, limit, wait_ms): (&[Arc<str>], u32, u64),
        holder: Holder,
        at: &At,
    ) -> Result<Outcome, Refusal> {
        let owner = holder.owner.clone();
        let own = self
            .waits
            .values()
            .filter(|wait| wait.offered.is_empty() && wait.holder.owner == owner);
        let own = own.count() + 1;
        if own > 16 {
            return Err(over("waiting_claims_of_owner", own, 16));
        }
        if let Caller::Opens(new) = &claim.caller {
            self.open_session(new, at);
        }
        let queue: Arc<str> = claim.wants.queue.clone().unwrap_or("default".into());
        let offers = self.queues.get(&queue).map_or(0, |queue| queue.offers);
        let until_ms = at.now_ms.saturating_add(wait_ms);
        let wait = Wait {
            holder,
            node: at.node,
            queue: queue.clone(),
            kinds: kinds.to_vec(),
            capabilities: claim.wants.capabilities.clone(),
            limit,
            until_ms,
            since: offers,
            offered: Vec::new(),
        };
        self.waits.insert(WaitId(at.seq), wait);
        self.look_at_queue(&queue);
        let of_rates =
            |task: &ModelTask| task.ready() && task.added.terms.queue == queue && !task.added.terms.rates.is_empty();
        if self.queues[&queue].closed(at.now_ms).is_some() || self.tasks.values().any(of_rates) {
            self.look_again(&queue);
        }
        let session = match owner {
            Owner::Session { session, .. } => Some(session),
            Owner::Agent { .. } => None,
        };
        Ok(Outcome::Waiting {
            seq: at.seq,
            until_ms,
            session,
        })
    }

    pub(super) fn leave(&mut self, leave: &Leave, at: &At) -> Result<Outcome, Refusal> {
        let (id, seq) = (leave.wait, at.seq);
        let Some(wait) = self.waits.get(&id).cloned() else {
            return Ok(Outcome::Left { seq, returned: 0 });
        };
        let owner = match &leave.caller {
            Caller::Session(token) => self.owner_of(*token),
            caller => Some(self.claimant_in_act(caller, at)?),
        };
        if owner != Some(wait.holder.owner) {
            return Err(bad("wait", &format!("w{} is that of another caller", id.0)));
        }
        let offers = |task: &ModelTask| matches!(&task.state, State::Leased(lease) if lease.offer == Some(id));
        let mut returned = 0;
        for claimed in &wait.offered {
            if self.tasks.get(&claimed.task).is_some_and(offers) {
                self.give_back(claimed.task, Return::NotTaken, Bytes::new(), at);
                returned += 1;
            }
        }
        self.end_wait(id, at);
        Ok(Outcome::Left { seq, returned })
    }

    pub(super) fn end_wait(&mut self, id: WaitId, at: &At) {
        let Some(wait) = self.waits.remove(&id) else { return };
        if wait.offered.is_empty() {
            self.nobody_waits(&wait.queue);
            self.look_at_queue(&wait.queue);
            if let Owner::Session { session, .. } = wait.holder.owner {
                self.close_if_idle(session, at);
            }
        }
    }

    fn nobody_waits(&mut self, name: &Arc<str>) {
        if self.waiting(name).is_empty()
            && let Some(queue) = self.queues.get_mut(name)
        {
            queue.owes_ms = None;
        }
    }

    /// An offered task is taken, or for others again.
    pub(super) fn offer_is_over(&mut self, id: Option<WaitId>, task: TaskId) {
        let Some(wait) = id.and_then(|id| self.waits.get_mut(&id)) else {
            return;
        };
        wait.offered.retain(|claimed| claimed.task != task);
        if wait.offered.is_empty() {
            self.waits.remove(&id.unwrap());
        }
    }

    pub(super) fn look_again(&mut self, name: &Arc<str>) {
        let here = |task: &&ModelTask| task.ready() && task.added.terms.queue == *name;
        let nothing = self.waiting(name).is_empty() || !self.tasks.values().any(|task| here(&task));
        let nothing = nothing || self.over_budget(name).is_some();
        let Some(queue) = self.queues.get_mut(name) else { return };
        queue.owes_ms = match (queue.paused_by.is_some(), queue.breaker) {
            _ if nothing => None,
            (true, _) | (_, Breaker::HalfOpen { .. }) => None,
            (_, Breaker::Open { until_ms }) => Some(until_ms),
            (_, Breaker::Closed { .. }) => Some(0),
        };
    }

    /// Resources may be free that were not.
    pub(super) fn look_at_queues(&mut self) {
        let names: Vec<Arc<str>> = self.queues.keys().cloned().collect();
        for name in names {
            self.look_again(&name);
        }
    }

    /// What is owed at once, after a command.
    pub(super) fn hand_out(&mut self, at: &At) {
        for _ in 0..4 {
            let owed = self.queues.iter().find(|(_, queue)| queue.owes_ms == Some(0));
            let Some(name) = owed.map(|(name, _)| name.clone()) else {
                return;
            };
            self.offer_next(&name, at);
        }
    }

    pub(super) fn offer_next(&mut self, name: &Arc<str>, at: &At) {
        let queue = &self.queues[name];
        let closed = queue.closed(at.now_ms).is_some();
        let waiting = self.waiting(name);
        let takes = |id: &&WaitId, task: &ModelTask| {
            let wait = &self.waits[*id];
            let kind = task.added.kind.as_ref();
            let mut requires = task.added.terms.requires.iter();
            let right = wait.kinds.is_empty() || kind.is_some_and(|kind| wait.kinds.contains(kind));
            right && requires.all(|one| wait.capabilities.contains(one))
        };
        let may = |id: &&WaitId, task: &ModelTask| {
            let owner = &self.waits[*id].holder.owner;
            takes(id, task) && self.may_reserve(&task.added.terms.resources, owner, at)
        };
        let wanted = self.best_of(
            name,
            at,
            |task| waiting.iter().any(|id| takes(&id, task)),
            |task| waiting.iter().any(|id| may(&id, task)),
        );
        let task = match wanted {
            Ok(task) => task,
            Err(_) if closed => return self.look_again(name),
            Err(at_ms) => return self.queues.get_mut(name).unwrap().owes_ms = at_ms,
        };
        let fitting: Vec<WaitId> = waiting
            .iter()
            .filter(|id| may(id, &self.tasks[&task]))
            .copied()
            .collect();
        let id = self.chosen(queue, waiting.len() as u64, &fitting, task, at);
        let wait = self.waits[&id].clone();
        if wait.until_ms <= at.now_ms || !self.lives(&wait.holder.owner, at) {
            return self.end_wait(id, at);
        }
        let ready = self
            .tasks
            .values()
            .filter(|task| task.ready() && task.added.terms.queue == *name);
        let share = ready.count().div_ceil(waiting.len());
        let wants = Wants {
            queue: Some(name.clone()),
            capabilities: wait.capabilities.clone(),
            ..Wants::default()
        };
        let mut offered = vec![self.grant(task, &wait.holder, Some(id), at)];
        while offered.len() < share.min(wait.limit as usize)
            && let Some(next) = self.best(&wait.kinds, &wants, &wait.holder.owner, at)
        {
            offered.push(self.grant(next, &wait.holder, Some(id), at));
        }
        let queue = self.queues.get_mut(name).unwrap();
        queue.offers += 1;
        queue.last = began(&wait.holder.owner);
        let until_ms = at.now_ms.saturating_add(10_000);
        let offer = Wait {
            until_ms,
            offered,
            ..wait
        };
        self.waits.insert(id, offer);
        self.nobody_waits(name);
        self.look_at_queue(name);
    }

    /// Which of those that a task fits gets it: they stand oldest first.
    fn chosen(&self, queue: &ModelQueue, waiting: u64, fitting: &[WaitId], task: TaskId, at: &At) -> WaitId {
        let oldest = fitting[0];
        if queue.offers - self.waits[&oldest].since >= 16 * waiting {
            return oldest;
        }
        let owner = |id: &WaitId| self.waits[id].holder.owner.clone();
        let held = |id: &WaitId| {
            let leases = self.tasks.values().filter_map(super::tasks::lease);
            leases.filter(|lease| lease.holder.owner == owner(id)).count()
        };
        let shared = |id: &WaitId| {
            let Owner::Session { session, .. } = owner(id) else {
                return 0;
            };
            let found = self.sessions.iter().find(|found| found.session.id == session).unwrap();
            let labels = &self.tasks[&task].added.terms.labels;
            labels
                .iter()
                .filter(|label| found.session.opened.labels.contains(label))
                .count()
        };
        let ids = fitting.iter();
        let best = match queue.distribution {
            Distribution::FirstCome => Some(&oldest),
            Distribution::LeastLoaded => ids.min_by_key(|id| held(id)),
            Distribution::CapabilityFit => ids.min_by_key(|id| self.waits[*id].capabilities.len()),
            Distribution::RoundRobin => ids.min_by_key(|id| {
                let began = began(&owner(id));
                (began <= queue.last, began)
            }),
            Distribution::Random => fitting.get((super::endings::drawn(at.seq, task) % fitting.len() as u64) as usize),
            Distribution::Locality => ids.rev().max_by_key(|id| shared(id)),
        };
        *best.unwrap()
    }

    fn lives(&self, owner: &Owner, at: &At) -> bool {
        match owner {
            Owner::Agent { started, .. } => {
                let life = at.lives.iter().find(|life| life.started == *started);
                life.is_some_and(|life| life.over().is_none())
            }
            Owner::Session { session, .. } => {
                let found = self.sessions.iter().find(|found| found.session.id == *session);
                found.is_some_and(|found| found.over(at.now_ms).is_none())
            }
        }
    }
}

fn began(owner: &Owner) -> u64 {
    match owner {
        Owner::Agent { started, .. } => *started,
        Owner::Session { session, .. } => session.0,
    }
}

impl Model {
    /// Ends the waits of those who waited at a node; whether there was any.
    pub(super) fn end_waits_at(&mut self, node: NodeId, wall_ms: u64) {
        for (name, id) in self.waits_at(node) {
            let at = self.at_by_itself(&name, wall_ms);
            self.projects.get_mut(&name).unwrap().end_wait(id, &at);
        }
    }

    /// Who waits at a node, oldest first.
    pub(super) fn waits_at(&self, node: NodeId) -> Vec<(String, WaitId)> {
        let projects = self.projects.iter();
        let waits = projects.flat_map(|(name, project)| project.waits.iter().map(move |(id, wait)| (name, id, wait)));
        let here = waits.filter(|(.., wait)| wait.node == node && wait.offered.is_empty());
        let mut here: Vec<(String, WaitId)> = here.map(|(name, id, _)| (name.clone(), *id)).collect();
        here.sort_by_key(|(_, id)| *id);
        here
    }

    /// The queue that is to be looked at first, and when.
    pub(super) fn first_owed(&self) -> Option<(u64, String, Arc<str>)> {
        let projects = self.projects.iter();
        let owed = projects.flat_map(|(project, state)| {
            let queues = state.queues.iter();
            queues.filter_map(move |(name, queue)| Some((queue.owes_ms?, project.clone(), name.clone())))
        });
        owed.min()
    }
}
