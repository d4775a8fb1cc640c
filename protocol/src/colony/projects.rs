//! Projects themselves: how they begin, what each may have at most, and how they end.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`ProjectCommand::Create`] | door | colony | [`Outcome::ProjectSet`] | a project begins, with these limits |
//! | [`ProjectCommand::Limit`] | door | colony | [`Outcome::ProjectSet`] | its limits are these from now on |
//! | [`ProjectCommand::Destroy`] | door | colony | [`Outcome::ProjectDestroyed`] | it ends, with all that it holds; or what that is |
//!
//! ```text
//!                          Limit
//!                         ┌─────┐
//!                         │     ▼
//!   Create, or a use ──▶ there ────── Destroy ──▶ clearing ──── the last thing is gone ──▶ gone: the name is free
//!   that may make it
//! ```
//!
//! A destroyed project is none to every command from then on: what names it is refused by name until all that it held is
//! cleared away, some things at a time ([`super::clearing`]). After that its name is free, and a project of that name is a
//! new one, whose revisions begin at 1.
//!
//! **Limits** bound what makes a project grow, never what takes something away: [`ProjectLimits`]. A project that has more
//! than a new limit allows keeps it.
//!
//! **The rate** is counted in cluster time, which is part of the log: each project has a bucket that holds as many commands
//! as it may have in a second, fills at that rate, and gives one to each command that is carried out. So every node comes to
//! the same answer. What an owner says of its work, what renews or releases a reservation, and what closes or re-opens a
//! session, takes one too, if there is one left, and is never refused: work that is done would be lost.
//!
//! [`Outcome::ProjectSet`]: super::Outcome::ProjectSet
//! [`Outcome::ProjectDestroyed`]: super::Outcome::ProjectDestroyed

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::Agents;
use super::command::{Body, Command, Outcome, Refusal};
use super::event::What;
use super::memory::{Growth, malformed, over_limit};
use super::project::{Project, Scope, Step};
use super::reservation::ReservationCommand;
use super::session::SessionCommand;
use super::task::TaskCommand;
use super::{Applied, Colony, PROJECTS_MAX, Round};

/// How many commands a second a limit may allow at most.
pub const COMMANDS_PER_S_MAX: u64 = 1_000_000;
/// A command, in the unit in which buckets are filled: so a millisecond fills in as many as a second has commands.
const COMMAND: u64 = 1_000;

/// What is wanted of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ProjectCommand {
    /// Begin it.
    Create(ProjectLimits),
    /// Give it these limits, in place of those that it has.
    Limit(ProjectLimits),
    /// End it, with all that it holds.
    Destroy {
        /// Only say what would be lost.
        dry_run: bool,
    },
}

/// What a project may have at most; what is not said is bounded by the rules of the colony alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProjectLimits {
    /// Open sessions, and hosted agents that hold something of it.
    pub agents: Option<u64>,
    /// Tasks that are still to be done.
    pub tasks: Option<u64>,
    /// Keys that have a value.
    pub memory_keys: Option<u64>,
    /// Bytes of the memory, as [`super::Memory::bytes`] counts them.
    pub memory_bytes: Option<u64>,
    /// Commands in a second of cluster time; as many may come at once.
    pub commands_per_s: Option<u64>,
}

impl ProjectLimits {
    /// All of them, with their names.
    pub fn named(&self) -> [(&'static str, Option<u64>); 5] {
        [
            ("agents", self.agents),
            ("tasks", self.tasks),
            ("memory_keys", self.memory_keys),
            ("memory_bytes", self.memory_bytes),
            ("commands_per_s", self.commands_per_s),
        ]
    }

    fn check_form(&self) -> Result<(), Refusal> {
        if let Some((field, _)) = self.named().iter().find(|(_, limit)| *limit == Some(0)) {
            return Err(malformed(field, "0 is under the least, 1"));
        }
        match self.commands_per_s.filter(|rate| *rate > COMMANDS_PER_S_MAX) {
            Some(rate) => Err(over_limit("commands_per_s", rate as usize, COMMANDS_PER_S_MAX as usize)),
            None => Ok(()),
        }
    }
}

/// What a project holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holdings {
    /// Open sessions, and hosted agents that hold something of it.
    pub agents: u64,
    /// Sessions, those included that have ended and are still known.
    pub sessions: u64,
    /// Tasks that are still to be done.
    pub open_tasks: u64,
    /// Tasks that are finished in some way and still kept.
    pub finished_tasks: u64,
    /// Bytes of all tasks, by [`super::Task::bytes`].
    pub task_bytes: u64,
    /// Keys that have a value.
    pub memory_keys: u64,
    /// Bytes of the memory.
    pub memory_bytes: u64,
    /// Events that are kept.
    pub events: u64,
    /// Idempotency keys that are remembered.
    pub idempotency_keys: u64,
    /// Reservations, those that are waited for included.
    pub reservations: u64,
    /// Claims that wait, or whose offers are not answered yet.
    pub waiting_claims: u64,
}

/// What is known of a project beside what it holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// What it may have at most.
    pub limits: ProjectLimits,
    /// The position of the command that made it.
    pub made: u64,
    /// Cluster time of that, in milliseconds.
    pub made_ms: u64,
    /// Who made it.
    pub author: Arc<str>,
    /// The position of the command that destroyed it.
    pub destroyed: Option<u64>,
    /// What is left in the bucket of its rate, in thousandths of commands, and the cluster time of that.
    pub(crate) bucket: (u64, u64),
}

impl About {
    /// That of a project that begins.
    pub(crate) fn new(limits: ProjectLimits, scope: &Scope<'_>) -> About {
        let mut about = About {
            made: scope.seq,
            made_ms: scope.cluster_ms,
            author: scope.author.clone(),
            ..About::default()
        };
        about.limit(limits, scope.cluster_ms);
        about
    }

    fn limit(&mut self, limits: ProjectLimits, now_ms: u64) {
        self.limits = limits;
        self.bucket = (limits.commands_per_s.unwrap_or_default() * COMMAND, now_ms);
    }

    /// Takes one command out of the bucket; refuses it if there is none, unless it may not be refused.
    pub(crate) fn take_command(&mut self, body: &Body, now_ms: u64) -> Result<(), Refusal> {
        let Some(rate) = self.limits.commands_per_s else {
            return Ok(());
        };
        let (left, since_ms) = self.bucket;
        let filled = now_ms.saturating_sub(since_ms).saturating_mul(rate);
        let left = left.saturating_add(filled).min(rate * COMMAND);
        if left < COMMAND && may_be_put_off(body) {
            return Err(quota("commands_per_s", rate, 1, rate));
        }
        self.bucket = (left.saturating_sub(COMMAND), now_ms);
        Ok(())
    }
}

/// Whether the rate of a project may refuse this: nothing that was done is lost then.
fn may_be_put_off(body: &Body) -> bool {
    let of_an_owner = matches!(
        body,
        Body::Task(TaskCommand::Accept(_) | TaskCommand::Update(_) | TaskCommand::Finish(_))
    );
    let of_a_session = matches!(
        body,
        Body::Session(SessionCommand::Reopen { .. } | SessionCommand::Close { .. })
    );
    let of_a_reservation = matches!(
        body,
        Body::Reservation(ReservationCommand::Release(_) | ReservationCommand::Renew(_))
    );
    !of_an_owner && !of_a_session && !of_a_reservation
}

fn quota(field: &str, has: u64, asked: u64, limit: u64) -> Refusal {
    Refusal::Quota {
        field: field.into(),
        has,
        asked,
        limit,
    }
}

/// Whether there may be so many more of something.
pub(crate) fn check_quota(field: &str, has: u64, asked: u64, limit: Option<u64>) -> Result<(), Refusal> {
    match limit.filter(|limit| asked > 0 && has.saturating_add(asked) > *limit) {
        Some(limit) => Err(quota(field, has, asked, limit)),
        None => Ok(()),
    }
}

impl Step<'_> {
    /// Whether one more agent may work in the project.
    pub(crate) fn check_agents(&self) -> Result<(), Refusal> {
        let has = self.agents.working_in(self.scope.project) as u64;
        check_quota("agents", has, 1, self.project.about.limits.agents)
    }

    /// Whether the memory may grow like this.
    pub(crate) fn check_growth(&self, growth: impl FnOnce() -> Growth) -> Result<(), Refusal> {
        let limits = self.project.about.limits;
        if limits.memory_keys.is_none() && limits.memory_bytes.is_none() {
            return Ok(());
        }
        let (memory, Growth { keys, bytes }) = (&self.project.memory, growth());
        let more = |growth: i64| growth.max(0) as u64;
        check_quota("memory_keys", memory.live(), more(keys), limits.memory_keys)?;
        check_quota("memory_bytes", memory.bytes(), more(bytes), limits.memory_bytes)
    }
}

impl Project {
    /// What is known of it beside what it holds.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// What it holds.
    pub fn holdings(&self, name: &Arc<str>, agents: &Agents) -> Holdings {
        let (open_bytes, finished_bytes) = self.tasks.bytes();
        Holdings {
            agents: agents.working_in(name) as u64,
            sessions: agents.sessions.count_in(name) as u64,
            open_tasks: self.tasks.open() as u64,
            finished_tasks: (self.tasks.len() - self.tasks.open()) as u64,
            task_bytes: open_bytes + finished_bytes,
            memory_keys: self.memory.live(),
            memory_bytes: self.memory.bytes(),
            events: self.events.len() as u64,
            idempotency_keys: self.idempotency.len() as u64,
            reservations: self.reservations.count().0 as u64,
            waiting_claims: self.tasks.waits.len() as u64,
        }
    }
}

impl Colony {
    /// What is wanted of a project itself.
    pub(super) fn project_command(
        &mut self,
        round: &Round,
        command: &Command,
        wanted: &ProjectCommand,
        applied: &mut Applied,
    ) -> Result<Outcome, Refusal> {
        let (name, seq) = (&command.project, self.seq);
        let scope = Scope {
            seq,
            cluster_ms: self.cluster_ms,
            wall_ms: self.wall_ms,
            node: round.node,
            incarnation: round.incarnation,
            project: name,
            author: &command.author,
        };
        self.check_not_clearing(name)?;
        let what = match wanted {
            ProjectCommand::Create(limits) => {
                limits.check_form()?;
                if self.projects.contains_key(name) {
                    return Err(Refusal::ProjectExists { project: name.clone() });
                }
                self.check_room_for_a_project()?;
                let project = Project {
                    about: About::new(*limits, &scope),
                    ..Project::default()
                };
                self.projects.insert(name.clone(), project);
                What::ProjectCreated { limits: *limits }
            }
            ProjectCommand::Limit(limits) => {
                limits.check_form()?;
                self.known_project(name)?.about.limit(*limits, scope.cluster_ms);
                What::ProjectLimited { limits: *limits }
            }
            ProjectCommand::Destroy { dry_run } => {
                self.known_project(name)?;
                let lost = self.projects[name].holdings(name, &self.agents);
                if !dry_run {
                    self.known_project(name)?.about.destroyed = Some(seq);
                    self.clearing.insert(name.clone());
                }
                return Ok(Outcome::ProjectDestroyed { seq, lost });
            }
        };
        let mut step = Step {
            project: self.projects.get_mut(name).expect("it is there"),
            agents: &mut self.agents,
            scope: &scope,
            applied,
            ordinal: 0,
        };
        step.event(what);
        Ok(Outcome::ProjectSet { seq })
    }

    fn known_project(&mut self, name: &Arc<str>) -> Result<&mut Project, Refusal> {
        let unknown = || Refusal::UnknownProject { project: name.clone() };
        self.projects.get_mut(name).ok_or_else(unknown)
    }

    /// Whether one more project may begin.
    pub(super) fn check_room_for_a_project(&self) -> Result<(), Refusal> {
        match self.projects.len() >= PROJECTS_MAX {
            true => Err(over_limit("projects", self.projects.len() + 1, PROJECTS_MAX)),
            false => Ok(()),
        }
    }

    /// Refuses the name of a project that is being cleared away.
    ///
    /// # Errors
    /// [`Refusal::ProjectClearing`].
    pub fn check_not_clearing(&self, name: &Arc<str>) -> Result<(), Refusal> {
        match self.clearing.contains(name) {
            true => Err(Refusal::ProjectClearing {
                project: name.clone(),
                left: self.left_of(name),
            }),
            false => Ok(()),
        }
    }
}
