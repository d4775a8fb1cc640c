//! Projects themselves in the model: what each may have, and its end, one thing after the other.

use super::tasks::lease;
use super::*;

/// What is known of a project beside what it holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::colony::tests) struct ModelAbout {
    pub(in crate::colony::tests) limits: ProjectLimits,
    pub(in crate::colony::tests) made: u64,
    pub(in crate::colony::tests) made_ms: u64,
    pub(in crate::colony::tests) author: Arc<str>,
    pub(in crate::colony::tests) destroyed: Option<u64>,
    /// Thousandths of commands that are left, and when that was.
    pub(in crate::colony::tests) left: (u64, u64),
}

fn bad_limits(limits: &ProjectLimits) -> Option<Refusal> {
    let ProjectLimits {
        agents,
        tasks,
        memory_keys,
        memory_bytes,
        commands_per_s,
    } = *limits;
    let all = [
        ("agents", agents),
        ("tasks", tasks),
        ("memory_keys", memory_keys),
        ("memory_bytes", memory_bytes),
        ("commands_per_s", commands_per_s),
    ];
    if let Some((field, _)) = all.iter().find(|(_, limit)| *limit == Some(0)) {
        return Some(bad(field, "0 is under the least, 1"));
    }
    let rate = commands_per_s.filter(|rate| *rate > 1_000_000)?;
    Some(over("commands_per_s", rate as usize, 1_000_000))
}

fn quota(field: &str, has: u64, asked: u64, limit: Option<u64>) -> Result<(), Refusal> {
    match limit {
        Some(limit) if asked > 0 && has + asked > limit => Err(Refusal::Quota {
            field: field.into(),
            has,
            asked,
            limit,
        }),
        _ => Ok(()),
    }
}

/// How many keys have a value, and the bytes of all.
pub(in crate::colony::tests) fn counted(state: &Holds) -> (u64, u64) {
    let mut contents: BTreeSet<&[u8]> = BTreeSet::new();
    let (mut keys, mut bytes) = (0, 0);
    for (key, held) in state {
        bytes += 128 + key.len() + held.tags.iter().map(|tag| tag.len() + 16).sum::<usize>();
        keys += u64::from(held.value.is_some());
        match held.value.as_deref() {
            Some(value) if value.len() >= 1_024 => drop(contents.insert(value)),
            value => bytes += value.map_or(0, <[u8]>::len),
        }
    }
    bytes += contents.iter().map(|content| content.len()).sum::<usize>();
    (keys, bytes as u64)
}

impl ModelAbout {
    pub(super) fn new(limits: ProjectLimits, at: &At) -> ModelAbout {
        ModelAbout {
            limits,
            made: at.seq,
            made_ms: at.now_ms,
            author: at.author.clone(),
            destroyed: None,
            left: (limits.commands_per_s.unwrap_or(0) * 1_000, at.now_ms),
        }
    }
}

impl ModelProject {
    /// How many things it has.
    fn things(&self) -> u64 {
        let things = [
            self.waits.len(),
            self.tasks.len(),
            self.queues.len(),
            self.rates.len(),
            self.accounts.len(),
            self.holds.len(),
            self.reservations.list.len(),
            usize::from(self.reservations.are_set()),
            self.sessions.len(),
            self.held.len(),
            self.once.len(),
            self.events.len(),
        ];
        things.iter().sum::<usize>() as u64
    }

    fn holdings(&self) -> Holdings {
        let over = self.tasks.values().filter(|task| task.over()).count();
        let bytes = self.tasks.iter().map(|(id, task)| task.bytes(*id));
        let (memory_keys, memory_bytes) = counted(&self.held);
        Holdings {
            agents: self.agents(),
            sessions: self.sessions.len() as u64,
            open_tasks: (self.tasks.len() - over) as u64,
            finished_tasks: over as u64,
            task_bytes: bytes.sum(),
            memory_keys,
            memory_bytes,
            events: self.events.len() as u64,
            idempotency_keys: self.once.len() as u64,
            reservations: self.reservations.list.len() as u64,
            waiting_claims: self.waits.len() as u64,
        }
    }

    fn owners(&self) -> impl Iterator<Item = &Owner> {
        let leases = self.tasks.values().filter_map(lease).map(|lease| &lease.holder.owner);
        let reservations = self.reservations.list.iter().map(|found| &found.holder.owner);
        let waits = self.waits.values().filter(|wait| wait.is_waiting());
        leases.chain(reservations).chain(waits.map(|wait| &wait.holder.owner))
    }

    /// How many agents work in it.
    fn agents(&self) -> u64 {
        let open = self.sessions.iter().filter(|found| found.session.ended.is_none());
        let hosted = self.owners().filter_map(|owner| match owner {
            Owner::Agent { started, .. } => Some(*started),
            Owner::Session { .. } => None,
        });
        (open.count() + hosted.collect::<BTreeSet<u64>>().len()) as u64
    }

    /// Whether one more agent may work in it.
    pub(super) fn check_agents(&self) -> Result<(), Refusal> {
        quota("agents", self.agents(), 1, self.about.limits.agents)
    }

    pub(super) fn works_here(&self, owner: &Owner) -> bool {
        self.owners().any(|other| other == owner)
    }

    /// Whether there may be so many more tasks that are to be done.
    pub(super) fn check_tasks(&self, more: usize) -> Result<(), Refusal> {
        let open = self.tasks.values().filter(|task| !task.over()).count();
        quota("tasks", open as u64, more as u64, self.about.limits.tasks)
    }

    /// Whether its memory may become this.
    pub(super) fn check_memory(&self, after: &Holds) -> Result<(), Refusal> {
        let ((keys, bytes), (keys_after, bytes_after)) = (counted(&self.held), counted(after));
        let limits = self.about.limits;
        quota("memory_keys", keys, keys_after.saturating_sub(keys), limits.memory_keys)?;
        quota(
            "memory_bytes",
            bytes,
            bytes_after.saturating_sub(bytes),
            limits.memory_bytes,
        )
    }

    /// Its memory with these values under these keys.
    pub(super) fn memory_with<'l>(&self, changes: impl IntoIterator<Item = (&'l Key, &'l Left)>) -> Holds {
        let mut after = self.held.clone();
        for (key, left) in changes {
            let held = Held {
                value: left.value.clone(),
                tags: left.tags.clone(),
                ..Held::default()
            };
            after.insert(key.to_string(), held);
        }
        after
    }

    pub(super) fn within_rate(&mut self, body: &Body, at: &At) -> Result<Outcome, Refusal> {
        if let Some(rate) = self.about.limits.commands_per_s {
            let (left, since_ms) = self.about.left;
            let left = std::cmp::min(left + (at.now_ms - since_ms) * rate, rate * 1_000);
            let spared = match body {
                Body::Task(TaskCommand::Accept(_) | TaskCommand::Update(_) | TaskCommand::Finish(_)) => true,
                Body::Session(command) => !matches!(command, SessionCommand::Open(_)),
                Body::Reservation(ReservationCommand::Release(_) | ReservationCommand::Renew(_)) => true,
                _ => false,
            };
            if left < 1_000 && !spared {
                quota("commands_per_s", rate, 1, Some(rate))?;
            }
            self.about.left = (left.saturating_sub(1_000), at.now_ms);
        }
        self.carry_out(body, at)
    }
}

impl Model {
    pub(super) fn project_command(
        &mut self,
        name: &str,
        command: &ProjectCommand,
        at: &At,
    ) -> Result<Outcome, Refusal> {
        let seq = at.seq;
        self.not_clearing(name)?;
        let known = self.projects.contains_key(name);
        let unknown = Refusal::UnknownProject { project: name.into() };
        let (limits, what) = match command {
            ProjectCommand::Create(limits) => {
                bad_limits(limits).map_or(Ok(()), Err)?;
                if known {
                    return Err(Refusal::ProjectExists { project: name.into() });
                }
                (limits, What::ProjectCreated { limits: *limits })
            }
            ProjectCommand::Limit(limits) => {
                bad_limits(limits).map_or(Ok(()), Err)?;
                if !known {
                    return Err(unknown);
                }
                (limits, What::ProjectLimited { limits: *limits })
            }
            ProjectCommand::Destroy { dry_run } => {
                let project = self.projects.get_mut(name).ok_or(unknown)?;
                if !dry_run {
                    project.about.destroyed = Some(seq);
                }
                let lost = project.holdings();
                return Ok(Outcome::ProjectDestroyed { seq, lost });
            }
        };
        let project = self.projects.entry(name.to_owned()).or_default();
        let new = ModelAbout::new(*limits, at);
        match known {
            true => (project.about.limits, project.about.left) = (new.limits, new.left),
            false => project.about = new,
        }
        project.event(what, at);
        Ok(Outcome::ProjectSet { seq })
    }

    pub(super) fn not_clearing(&self, name: &str) -> Result<(), Refusal> {
        match self.projects.get(name) {
            Some(project) if project.about.destroyed.is_some() => Err(Refusal::ProjectClearing {
                project: name.into(),
                left: project.things(),
            }),
            _ => Ok(()),
        }
    }

    fn first_to_clear(&self) -> Option<String> {
        let mut projects = self.projects.iter();
        let found = projects.find(|(_, project)| project.about.destroyed.is_some());
        found.map(|(name, _)| name.clone())
    }

    pub(super) fn clears(&self) -> bool {
        self.first_to_clear().is_some()
    }

    /// Clears one thing away of the first destroyed project, if there is one.
    pub(super) fn clear_one(&mut self) -> bool {
        let Some(name) = self.first_to_clear() else {
            return false;
        };
        let project = self.projects.get_mut(&name).unwrap();
        if let Some((_, task)) = project.tasks.pop_first() {
            project.look_at_queue(&task.added.terms.queue);
            let reserved = lease(&task).and_then(|lease| lease.reservation);
            project.reservations.list.retain(|found| Some(found.id) != reserved);
        } else if project.queues.pop_first().is_some()
            || project.rates.pop_first().is_some()
            || project.accounts.pop_first().is_some()
            || project.holds.pop_first().is_some()
        {
        } else if !project.reservations.list.is_empty() {
            project.reservations.list.remove(0);
        } else if project.reservations.are_set() {
            project.reservations = ModelReservations::default();
        } else if !project.sessions.is_empty() {
            project.sessions.remove(0);
        } else if project.held.pop_first().is_some() || project.once.pop_first().is_some() {
        } else if !project.events.is_empty() {
            for event in project.events.drain(..project.events.len().min(16)) {
                project.dropped = Some(event.cursor);
            }
        } else {
            self.projects.remove(&name);
        }
        true
    }
}
