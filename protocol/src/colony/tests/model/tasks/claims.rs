//! Claims: which tasks they get, and whether they may.

use super::*;
use crate::colony::tests::model::forms::bad_claim;

impl ModelProject {
    pub(super) fn claim(&mut self, claim: &Claim, at: &At) -> Result<Outcome, Refusal> {
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
                self.check_tokens(ids, at)?;
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

    pub(in crate::colony::tests::model) fn best(
        &self,
        kinds: &[Arc<str>],
        wants: &Wants,
        owner: &Owner,
        at: &At,
    ) -> Option<TaskId> {
        let name: Arc<str> = wants.queue.clone().unwrap_or("default".into());
        let fits = |task: &ModelTask| {
            let mut requires = task.added.terms.requires.iter();
            let kind = task.added.kind.as_ref();
            let right = kinds.is_empty() || kind.is_some_and(|kind| kinds.contains(kind));
            right && requires.all(|one| wants.capabilities.contains(one))
        };
        let may = |task: &ModelTask| self.may_reserve(&task.added.terms.resources, owner, at);
        self.best_of(&name, at, fits, may).ok()
    }

    /// The task of a queue that goes first of those that fit, or when there may be one because tokens are there.
    pub(in crate::colony::tests::model) fn best_of(
        &self,
        name: &Arc<str>,
        at: &At,
        fits: impl Fn(&ModelTask) -> bool,
        may: impl Fn(&ModelTask) -> bool,
    ) -> Result<TaskId, Option<u64>> {
        let queue = self.queues.get(name).ok_or(None)?;
        if queue.closed(at.now_ms).is_some() || self.over_budget(name).is_some() {
            return Err(None);
        }
        let mut fitting: Vec<(&TaskId, &ModelTask)> = self.tasks.iter().collect();
        fitting.retain(|(_, task)| task.ready() && task.added.terms.queue == *name && fits(task));
        let waited = |task: &ModelTask| queue.grants - queue.since[&task.line()];
        let turn = 16 * queue.since.len() as u64;
        let rank = |id: TaskId, task: &ModelTask| match queue.passed[&task.line()] >= 16 {
            true if self.oldest_of_line(name, task).0 == id => (0, id),
            _ => (task.cost(), id),
        };
        // From the line that goes first on: what one lacks is kept from those behind it.
        let mut heads: BTreeMap<LineOf, (u32, TaskId)> = BTreeMap::new();
        for (id, task) in &fitting {
            let head = heads.entry(task.line()).or_insert(rank(**id, task));
            *head = rank(**id, task).min(*head);
        }
        let mut heads: Vec<(LineOf, (u32, TaskId))> = heads.into_iter().collect();
        heads.sort_by_key(|(line, head)| match queue.grants - queue.since[line] >= turn {
            true => (false, queue.since[line], None),
            false => (true, line.0.into(), Some(*head)),
        });
        let (mut kept, mut open, mut later) = (Vec::new(), BTreeSet::new(), Vec::new());
        for (line, _) in heads {
            let lacks = self.lacking(&line.3, at);
            let is_kept = line.3.iter().any(|tokens| kept.contains(&tokens.rate));
            let lacked: Vec<Arc<str>> = lacks.iter().map(|(rate, _)| Arc::clone(rate)).collect();
            let last = lacks.iter().map(|(_, at_ms)| *at_ms).max();
            match last {
                Some(last) if !is_kept => later.push(last),
                None if !is_kept => drop(open.insert(line)),
                _ => {}
            }
            kept.extend(lacked);
        }
        fitting.retain(|(_, task)| open.contains(&task.line()) && may(task));
        let due = fitting.iter().filter(|(_, task)| waited(task) >= turn);
        // The line that has waited longest, the first of them in the order of lines, and its first task.
        let due = due.min_by_key(|(id, task)| (queue.since[&task.line()], task.line(), rank(**id, task)));
        let best = fitting
            .iter()
            .min_by_key(|(id, task)| (task.line().0, rank(**id, task)));
        let found = due.or(best).map(|(id, _)| **id);
        found.ok_or(later.into_iter().min())
    }

    /// The oldest ready task of the line of this one, and what it costs.
    fn oldest_of_line(&self, name: &Arc<str>, like: &ModelTask) -> (TaskId, u32) {
        let here = |task: &ModelTask| task.ready() && task.added.terms.queue == *name && task.line() == like.line();
        let (id, task) = self.tasks.iter().find(|(_, task)| here(task)).unwrap();
        (*id, task.cost())
    }

    pub(in crate::colony::tests::model) fn grant(
        &mut self,
        id: TaskId,
        holder: &Holder,
        offer: Option<WaitId>,
        at: &At,
    ) -> Claimed {
        let mut task = self.tasks[&id].clone();
        let oldest = task
            .ready()
            .then(|| self.oldest_of_line(&task.added.terms.queue, &task));
        let queue = self.queues.get_mut(&task.added.terms.queue).unwrap();
        if let Some((oldest, cost)) = oldest {
            let passed = queue.passed.get_mut(&task.line()).unwrap();
            match (oldest == id, task.cost() < cost) {
                (true, _) => *passed = 0,
                (false, true) => *passed = (*passed + 1).min(16),
                (false, false) => {}
            }
        }
        if queue.since.len() > 1 && task.ready() {
            queue.grants += 1;
            queue.since.insert(task.line(), queue.grants);
        }
        if let Breaker::Open { .. } = queue.breaker {
            queue.breaker = Breaker::HalfOpen { trial: id };
        }
        self.take_tokens(&task.added.terms.rates, at);
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
            usage: Usage::default(),
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
                let over = self.over_budget(&task.added.terms.queue);
                let closed = queue
                    .closed(at.now_ms)
                    .or(over.map(|over| format!("it waits for {over}")));
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
}
