//! Tasks and agents in the model: a list of lives, and tasks that are looked through from the first to the last.

use super::*;

/// A life of an agent.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::colony::tests) struct ModelLife {
    pub(in crate::colony::tests) started: u64,
    pub(in crate::colony::tests) id: AgentId,
    /// Why it ended alone.
    pub(in crate::colony::tests) end: Option<AgentEnd>,
    /// Why it ended with all others of its node.
    sunk: Option<AgentEnd>,
}

impl ModelLife {
    fn over(&self) -> Option<AgentEnd> {
        self.end.clone().or(self.sunk.clone())
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::colony::tests) struct ModelTask {
    pub(in crate::colony::tests) added: NewTask,
    pub(in crate::colony::tests) author: Arc<str>,
    pub(in crate::colony::tests) added_ms: u64,
    pub(in crate::colony::tests) state: State,
    pub(in crate::colony::tests) attempts: u32,
    pub(in crate::colony::tests) history: Vec<Attempt>,
}

pub(super) type ModelTasks = BTreeMap<TaskId, ModelTask>;

pub(super) fn lease(task: &ModelTask) -> Option<&Lease> {
    match &task.state {
        State::Leased(lease) => Some(lease),
        _ => None,
    }
}

pub(super) fn bad_text(field: &str, text: &str, most: usize) -> Option<Refusal> {
    if text.len() > most {
        return Some(over(field, text.len(), most as u64));
    }
    (text.is_empty() || text.contains(char::is_control)).then(|| bad(field, "is empty or has a control character"))
}

fn bad_task(task: &NewTask) -> Option<Refusal> {
    bad_text("title", &task.title, 1024)
        .or(task.kind.as_ref().and_then(|kind| bad_text("kind", kind, 128)))
        .or(task.name.as_ref().and_then(|name| bad_text("name", name, 256)))
        .or((task.payload.len() > 65_536).then(|| over("payload", task.payload.len(), 65_536)))
}

fn bad_claim(claim: &Claim) -> Option<Refusal> {
    match &claim.which {
        Which::Ids(ids) => {
            let mut seen = BTreeSet::new();
            let twice = ids.iter().find(|id| !seen.insert(**id));
            twice.map(|id| bad("ids", &format!("{id} stands twice")))
        }
        Which::Ready { limit, .. } if *limit > 100 => Some(over("limit", *limit as usize, 100)),
        Which::Ready { .. } => None,
    }
}

fn bad_finish(finish: &Finish) -> Option<Refusal> {
    if finish.ending == Ending::Released && !finish.result.is_empty() {
        return Some(bad("result", "a task that is given back has no result"));
    }
    let proposal = finish.proposal.as_ref()?;
    if finish.ending != Ending::Done {
        return Some(bad("proposal", "only a task that is done brings a proposal"));
    }
    proposal.dry_run.then(|| bad("proposal", "a dry run finishes nothing"))
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

impl ModelProject {
    pub(super) fn task_command(&mut self, command: &TaskCommand, at: &At) -> Result<Outcome, Refusal> {
        let seq = at.seq;
        match command {
            TaskCommand::Add(new) => self.add_tasks(new, at),
            TaskCommand::Claim(claim) => {
                bad_claim(claim).map_or(Ok(()), Err)?;
                let holder = Holder {
                    owner: self.claimant(&claim.caller, at)?,
                    author: at.author.clone(),
                };
                let ids = self.ids_to_claim(&claim.which, at)?;
                let until_ms = None;
                let mut session = None;
                if !ids.is_empty() {
                    if let Owner::Session { session: id, .. } = &holder.owner {
                        session = Some(*id);
                    }
                    if let Caller::Opens(new) = &claim.caller {
                        self.open_session(new, at);
                    }
                }
                let mut tasks = Vec::new();
                for id in ids {
                    let task = self.tasks.get_mut(&id).unwrap();
                    task.attempts += 1;
                    task.state = State::Leased(Lease {
                        holder: holder.clone(),
                        fence: Fence(seq),
                        since_ms: at.now_ms,
                        until_ms,
                        accepted: false,
                        progress: None,
                        note: None,
                    });
                    let (attempt, fence, owner) = (task.attempts, Fence(seq), holder.owner.clone());
                    tasks.push(Claimed {
                        task: id,
                        attempt,
                        fence,
                    });
                    let told = What::TaskClaimed {
                        task: id,
                        attempt,
                        fence,
                        owner,
                    };
                    self.event(told, at);
                }
                Ok(Outcome::Claimed {
                    seq,
                    tasks,
                    until_ms,
                    session,
                })
            }
            TaskCommand::Accept(accept) => self.go_on(accept, None, None, at),
            TaskCommand::Update(update) => {
                if let Some(progress) = update.progress.filter(|progress| *progress > 100) {
                    return Err(over("progress", usize::from(progress), 100));
                }
                let bad_note = update.note.as_ref().and_then(|note| bad_text("note", note, 256));
                bad_note.map_or(Ok(()), Err)?;
                let Update {
                    task, fence, caller, ..
                } = update.clone();
                self.go_on(
                    &Accept { task, fence, caller },
                    update.progress,
                    update.note.as_ref(),
                    at,
                )
            }
            TaskCommand::Finish(finish) => {
                bad_finish(finish).map_or(Ok(()), Err)?;
                self.check_held(finish.task, finish.fence, &finish.caller, at)?;
                let mut revisions = Vec::new();
                if let Some(proposal) = &finish.proposal {
                    match self.carry_out(&Body::Propose(proposal.clone()), at)? {
                        Outcome::Committed { revisions: new, .. } => revisions = new,
                        lost => return Ok(lost),
                    }
                }
                let done = match finish.ending {
                    Ending::Released => {
                        self.give_back(finish.task, Return::Released, at);
                        return Ok(Outcome::Finished { seq, revisions });
                    }
                    Ending::Done => true,
                    Ending::Failed => false,
                };
                let task = self.tasks.get_mut(&finish.task).unwrap();
                task.state = State::Finished(Finished {
                    done,
                    holder: lease(task).unwrap().holder.clone(),
                    fence: finish.fence,
                    seq,
                    at_ms: at.now_ms,
                    result: finish.result.clone(),
                });
                let (task, attempt) = (finish.task, task.attempts);
                self.event(What::TaskFinished { task, attempt, done }, at);
                self.close_idle_sessions(at);
                Ok(Outcome::Finished { seq, revisions })
            }
        }
    }

    fn go_on(
        &mut self,
        accept: &Accept,
        progress: Option<u8>,
        note: Option<&Arc<str>>,
        at: &At,
    ) -> Result<Outcome, Refusal> {
        self.check_held(accept.task, accept.fence, &accept.caller, at)?;
        let task = self.tasks.get_mut(&accept.task).unwrap();
        let attempt = task.attempts;
        let State::Leased(lease) = &mut task.state else {
            unreachable!()
        };
        lease.accepted = true;
        lease.progress = progress.or(lease.progress);
        lease.note = note.cloned().or(lease.note.take());
        let (seq, until_ms) = (at.seq, lease.until_ms);
        Ok(Outcome::Accepted { seq, attempt, until_ms })
    }

    fn add_tasks(&mut self, new: &[NewTask], at: &At) -> Result<Outcome, Refusal> {
        new.iter().find_map(bad_task).map_or(Ok(()), Err)?;
        let mut tasks = Vec::new();
        for (place, new) in new.iter().enumerate() {
            let mut named = self.tasks.iter().filter(|(_, task)| task.added.name == new.name);
            if let Some((known, _)) = named.next().filter(|_| new.name.is_some()) {
                tasks.push(Added {
                    task: *known,
                    existing: true,
                });
                continue;
            }
            let task = TaskId {
                seq: at.seq,
                ordinal: place as u32,
            };
            tasks.push(Added { task, existing: false });
            self.tasks.insert(
                task,
                ModelTask {
                    added: new.clone(),
                    author: at.author.clone(),
                    added_ms: at.now_ms,
                    state: State::Pending,
                    attempts: 0,
                    history: Vec::new(),
                },
            );
            let (kind, name) = (new.kind.clone(), new.name.clone());
            self.event(What::TaskAdded { task, kind, name }, at);
        }
        Ok(Outcome::Added { seq: at.seq, tasks })
    }

    fn ids_to_claim(&mut self, which: &Which, at: &At) -> Result<Vec<TaskId>, Refusal> {
        match which {
            Which::Ready { kinds, limit } => {
                let ready = self.tasks.iter().filter(|(_, task)| task.state == State::Pending);
                let wanted = ready.filter(|(_, task)| {
                    kinds.is_empty() || task.added.kind.as_ref().is_some_and(|kind| kinds.contains(kind))
                });
                Ok(wanted.map(|(id, _)| *id).take(*limit as usize).collect())
            }
            Which::Ids(ids) => {
                for id in ids {
                    self.free_what_is_over(*id, at);
                    let task = self.tasks.get(id).ok_or(Refusal::UnknownTask { task: *id })?;
                    let (task, attempt) = (*id, task.attempts);
                    match &self.tasks[id].state {
                        State::Pending => {}
                        State::Leased(lease) => {
                            let holder = lease.holder.clone();
                            return Err(Refusal::TaskHeld { task, attempt, holder });
                        }
                        State::Finished(finished) => return Err(was_finished(task, attempt, finished)),
                    }
                }
                Ok(ids.clone())
            }
        }
    }

    pub(super) fn check_held(&mut self, id: TaskId, fence: Fence, caller: &Caller, at: &At) -> Result<(), Refusal> {
        self.free_what_is_over(id, at);
        let task = self.tasks.get(&id).ok_or(Refusal::UnknownTask { task: id })?;
        let holder = match &task.state {
            State::Pending => None,
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
        };
        Err(Refusal::Fenced {
            task: id,
            fence,
            attempt: task.attempts,
            holder,
        })
    }

    fn free_what_is_over(&mut self, id: TaskId, at: &At) {
        let Some(lease) = self.tasks.get(&id).and_then(lease) else {
            return;
        };
        if lease.until_ms.is_some_and(|until_ms| until_ms <= at.now_ms) {
            return self.give_back(id, Return::Expired, at);
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
        if let Some(end) = end {
            self.give_back(id, end, at);
        }
    }

    pub(super) fn give_back(&mut self, id: TaskId, reason: Return, at: &At) {
        let task = self.tasks.get_mut(&id).unwrap();
        let lease = lease(task).unwrap().clone();
        task.history.push(Attempt {
            number: task.attempts,
            holder: lease.holder,
            fence: lease.fence,
            since_ms: lease.since_ms,
            ended_ms: at.now_ms,
            reason: reason.clone(),
        });
        while task.history.len() > 8 {
            task.history.remove(0);
        }
        task.state = State::Pending;
        let attempt = task.attempts;
        let told = What::TaskReturned {
            task: id,
            attempt,
            reason,
        };
        self.event(told, at);
        self.close_idle_sessions(at);
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

impl Model {
    /// What an agent's queen told.
    pub(super) fn agent_command(
        &mut self,
        step: &Step,
        command: &AgentCommand,
        wall_ms: u64,
    ) -> Result<Outcome, Refusal> {
        let (seq, node, incarnation) = (self.seq, step.node, step.incarnation);
        let live = |lives: &[ModelLife], name: &Arc<str>| {
            let mut lives = lives.iter();
            lives.position(|life| {
                life.over().is_none() && (life.id.node, life.id.incarnation, &life.id.name) == (node, incarnation, name)
            })
        };
        let outcome = match command {
            AgentCommand::Started { name, generation } => {
                if name.len() > 128 {
                    return Err(over("name", name.len(), 128));
                }
                if name.is_empty() || name.contains('/') || name.contains(char::is_control) {
                    return Err(bad("name", "is empty, or has a slash or a control character"));
                }
                if let Some(place) = live(&self.lives, name) {
                    let known = self.lives[place].id.generation;
                    if known >= *generation {
                        return Err(Refusal::AgentLive {
                            name: name.clone(),
                            generation: known,
                        });
                    }
                    self.lives[place].end = Some(AgentEnd::Replaced);
                }
                self.lives.push(ModelLife {
                    started: seq,
                    id: AgentId {
                        node,
                        incarnation,
                        name: name.clone(),
                        generation: *generation,
                    },
                    end: None,
                    sunk: None,
                });
                Outcome::AgentStarted { seq }
            }
            AgentCommand::Ended {
                name,
                generation,
                reason,
            } => {
                let place = live(&self.lives, name);
                let known = place.map(|place| self.lives[place].id.generation);
                if known != Some(*generation) {
                    return Err(Refusal::AgentNotLive {
                        name: name.clone(),
                        generation: *generation,
                        live: known,
                    });
                }
                self.lives[place.unwrap()].end = Some(AgentEnd::Ended(reason.clone()));
                Outcome::AgentsEnded { seq, ended: true }
            }
            AgentCommand::NodeStarted => Outcome::AgentsEnded { seq, ended: false },
            AgentCommand::NodeLost { node, incarnation } => {
                let newer = self.newest(*node).is_some_and(|newest| newest > *incarnation);
                let ended = !newer && (self.sink(*node, AgentEnd::NodeLost) | self.lose(*node));
                Outcome::AgentsEnded { seq, ended }
            }
            AgentCommand::SessionsSilent(told) => {
                let changed = self.end_silent(node, told, wall_ms)?;
                Outcome::SessionsTold { seq, changed }
            }
            AgentCommand::SessionsAlive(told) => {
                let changed = self.keep_alive(node, told)?;
                return Ok(Outcome::SessionsTold { seq, changed });
            }
        };
        self.do_due(wall_ms);
        Ok(outcome)
    }

    /// The newest start of a node that was seen.
    pub(super) fn newest(&self, node: NodeId) -> Option<u64> {
        let starts = self.dedup.keys().filter(|(known, _)| *known == node);
        starts.map(|key| key.1).max()
    }

    /// Ends all lives of a node; whether there was any that is not cleared away.
    pub(super) fn sink(&mut self, node: NodeId, end: AgentEnd) -> bool {
        let lives = self.lives.iter_mut().filter(|life| life.id.node == node);
        lives.map(|life| life.sunk = Some(end.clone())).count() > 0
    }

    pub(super) fn sweep(&mut self, wall_ms: u64) {
        let expired = self.projects.values().flat_map(|project| project.tasks.values());
        let now_ms = self.cluster_ms;
        let expired = expired
            .filter_map(lease)
            .any(|lease| lease.until_ms.is_some_and(|until_ms| until_ms <= now_ms));
        let held = self.projects.values().flat_map(|project| project.holds.values());
        let expired = expired || held.map(|hold| hold.until_ms).any(|until_ms| until_ms <= now_ms);
        if expired || self.lives.iter().any(|life| life.over().is_some()) || self.next_session_step().is_some() {
            self.seq += 1;
            self.do_due(wall_ms);
        }
    }

    fn do_due(&mut self, wall_ms: u64) {
        for _ in 0..64 {
            if let Some((project, seq)) = self.next_hold_due() {
                self.projects.get_mut(&project).unwrap().holds.remove(&seq);
                continue;
            }
            if let Some((project, task, reason)) = self.next_due() {
                let at = self.at_by_itself(&project, wall_ms);
                self.projects.get_mut(&project).unwrap().give_back(task, reason, &at);
                continue;
            }
            // A life that holds nothing is cleared away; that is a step as well.
            let over = self.lives.iter().enumerate().filter(|(_, life)| life.over().is_some());
            let next = over.min_by_key(|(_, life)| (life.end.is_none(), life.id.node, life.started));
            if let Some(place) = next.map(|(place, _)| place) {
                self.lives.remove(place);
            } else if let Some(step) = self.next_session_step() {
                self.do_session_step(step, wall_ms);
            } else {
                return;
            }
        }
    }

    /// The place of what nobody commanded.
    pub(super) fn at_by_itself(&self, project: &str, wall_ms: u64) -> At {
        let elsewhere = self.projects.iter().filter(|(name, _)| **name != project);
        let elsewhere = elsewhere.flat_map(|(_, project)| &project.events);
        At {
            seq: self.seq,
            now_ms: self.cluster_ms,
            wall_ms,
            author: "colony".into(),
            project: project.into(),
            node: NodeId(0),
            incarnation: 0,
            lives: Vec::new(),
            told_elsewhere: elsewhere.filter(|event| event.cursor.seq == self.seq).count() as u32,
        }
    }

    /// The next hold to end, if the next step ends one: holds and leases end in the order of their times.
    fn next_hold_due(&self) -> Option<(String, u64)> {
        let holds = self.projects.iter().flat_map(|(name, project)| {
            let holds = project.holds.iter();
            holds.map(move |(seq, hold)| (hold.until_ms, name.clone(), 1, *seq))
        });
        let leases = self.projects.iter().flat_map(|(name, project)| {
            let leases = project.tasks.values().filter_map(lease);
            leases.filter_map(move |lease| Some((lease.until_ms?, name.clone(), 0, 0)))
        });
        let first = holds
            .chain(leases)
            .filter(|(until_ms, ..)| *until_ms <= self.cluster_ms)
            .min();
        first.filter(|first| first.2 == 1).map(|(_, name, _, seq)| (name, seq))
    }

    /// The next task to return, if the next step returns one.
    fn next_due(&self) -> Option<(String, TaskId, Return)> {
        let leased = || {
            let projects = self.projects.iter();
            projects.flat_map(|(name, project)| {
                let leased = project.tasks.iter();
                leased.filter_map(move |(id, task)| Some((name.clone(), *id, lease(task)?)))
            })
        };
        let expired = leased().filter_map(|(name, id, lease)| Some((lease.until_ms?, name, id)));
        if let Some((_, name, id)) = expired.filter(|(until_ms, ..)| *until_ms <= self.cluster_ms).min() {
            return Some((name, id, Return::Expired));
        }
        let over = self.lives.iter().filter(|life| life.over().is_some());
        let life = over.min_by_key(|life| (life.end.is_none(), life.id.node, life.started))?;
        let held = leased().filter(
            |(_, _, lease)| matches!(&lease.holder.owner, Owner::Agent { started, .. } if *started == life.started),
        );
        let first = held.map(|(name, id, _)| (name, id)).min()?;
        Some((first.0, first.1, Return::Agent(life.over()?)))
    }
}
