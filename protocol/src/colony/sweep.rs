//! What time and the end of owners bring, although nobody commands it: leases, reservations and holds end, tasks return,
//! their waits end, those that needed a task that is done are released, those who waited for a reservation are granted it,
//! claims that wait are given what has become ready, lives are cleared away.
//!
//! Each command first does up to [`STEPS_PER_COMMAND`] steps of it, so few that they cost about as much as the command
//! itself; a round without commands does up to [`STEPS_PER_EMPTY_ROUND`]. The leader proposes such an empty round when
//! something is due, and the next when it was applied. So a command costs a bounded time however many tasks a lost node
//! held or a destroyed project has, and where rounds are cut does not show. A claim by id, and every call of an owner, sees
//! the lease of its task as it is at that moment, however far this has come; only a claim of any ready task finds what has
//! returned. How far it has come stands in the state itself: what is still to be done is what the timers, the holds of an
//! ended owner and the needs of tasks still name. Destroyed projects are cleared away ([`super::clearing`]) when nothing else is due.
//!
//! A sweep that does something takes a position in the order of all commands, for its events.

use std::sync::Arc;

use super::agent::{AgentCommand, AgentEnd, AgentId, Due, Timer};
use super::command::{Outcome, Refusal};
use super::memory::over_limit;
use super::project::{Scope, Step, check_name};
use super::reservation::{ReservationEnd, ReservationId};
use super::session::SESSION_GRACE_MS;
use super::task::Return;
use super::{AGENT_REASON_BYTES_MAX, Applied, Colony, Round};
use crate::id::NodeId;

/// How many tasks are returned, reservations ended, lives or things of destroyed projects cleared away, and so on, before one
/// command.
pub const STEPS_PER_COMMAND: usize = 4;
/// How many in a round without commands: some milliseconds.
pub const STEPS_PER_EMPTY_ROUND: usize = 256;
/// For how many of them it counts to look at one who waits for a reservation.
const LOOK_STEPS: usize = 8;

/// The author of events that nobody commanded.
pub const COLONY_AUTHOR: &str = "colony";

/// How many steps are left. With a task that ends old finished ones may be forgotten: each of those counts as well.
pub(super) struct Steps {
    left: usize,
    forgotten: usize,
}

impl Steps {
    /// So many, from here on.
    pub(super) fn new(left: usize, applied: &Applied) -> Steps {
        Steps {
            left,
            forgotten: applied.forgotten,
        }
    }

    /// Whether there is one more, which is taken.
    pub(super) fn go_on(&mut self, applied: &Applied) -> bool {
        self.left = self.left.saturating_sub(applied.forgotten - self.forgotten);
        self.forgotten = applied.forgotten;
        let left = self.left > 0;
        self.left -= usize::from(left);
        left
    }

    /// Takes so many more, or what is left, for a step that costs more than one.
    fn spend(&mut self, more: usize) {
        self.left = self.left.saturating_sub(more);
    }
}

impl Step<'_> {
    fn time_is_over(&mut self, timer: Timer) {
        match timer {
            Timer::Lease(task) => self.lease_over(task),
            Timer::Wake(task) => self.wake_task(task),
            Timer::Release(need) => self.release_dependant(need),
            Timer::Reservation(id) => self.reservation_over(id),
            Timer::Look(id) => self.look_at(id),
            Timer::Wait(wait) => self.end_wait(wait),
            Timer::Hold(_) => unreachable!("a hold is of the project alone"),
        }
    }

    fn reservation_over(&mut self, id: ReservationId) {
        let known = self.project.reservations.get(id);
        let waited = known.is_some_and(|reservation| reservation.is_waiting());
        let reason = match waited {
            true => ReservationEnd::WaitOver,
            false => ReservationEnd::Expired,
        };
        self.end_reservation(id, reason);
    }
}

impl Colony {
    /// Cluster time in milliseconds at which a round is due although nobody commands anything; 0 when it is due now.
    pub fn due_ms(&self) -> Option<u64> {
        match self.clearing.is_empty() {
            true => self.agents.due_ms(),
            false => Some(0),
        }
    }

    /// Does some of what is due.
    pub(super) fn sweep(&mut self, steps: usize, applied: &mut Applied) {
        let due = self.due_ms().is_some_and(|due_ms| due_ms <= self.cluster_ms);
        if due {
            self.seq += 1;
            self.do_due(steps, 0, applied);
        }
    }

    fn do_due(&mut self, steps: usize, mut ordinal: u32, applied: &mut Applied) {
        let mut steps = Steps::new(steps, applied);
        while steps.go_on(applied) {
            let Some(due) = self.agents.due(self.cluster_ms) else {
                match self.clear_one(applied) {
                    true => continue,
                    false => return,
                }
            };
            if let Due::Expired(_, Timer::Look(_)) = due {
                steps.spend(LOOK_STEPS - 1);
            }
            match due {
                Due::Expired(project, Timer::Hold(seq)) => {
                    let holder = self.projects.get_mut(&project).expect("a project with a hold stays");
                    holder.end_hold(seq, &mut self.agents, &project, applied);
                }
                Due::Expired(project, timer) => {
                    self.on_project(&project, &mut ordinal, applied, |step| step.time_is_over(timer));
                }
                Due::Owed(project, queue) => {
                    self.on_project(&project, &mut ordinal, applied, |step| step.offer_next(&queue));
                }
                Due::Orphan(project, held, end) => {
                    self.on_project(&project, &mut ordinal, applied, |step| {
                        step.give_up(held, Return::Agent(end));
                    });
                }
                Due::Gone(key) => {
                    self.agents.clear(&key);
                    applied.agents.push(key);
                }
                Due::Session(due) => self.do_session_due(due, &mut ordinal, applied),
            }
        }
    }

    /// Lets the colony itself do something to a project; `ordinal` is the place of its next event.
    pub(super) fn on_project(
        &mut self,
        project: &Arc<str>,
        ordinal: &mut u32,
        applied: &mut Applied,
        work: impl FnOnce(&mut Step<'_>),
    ) {
        let author: Arc<str> = COLONY_AUTHOR.into();
        let scope = Scope {
            seq: self.seq,
            cluster_ms: self.cluster_ms,
            wall_ms: self.wall_ms,
            node: NodeId::NONE,
            incarnation: 0,
            project,
            author: &author,
        };
        let mut step = Step {
            project: self.projects.get_mut(project).expect("a project with an owner stays"),
            agents: &mut self.agents,
            scope: &scope,
            applied,
            ordinal: *ordinal,
        };
        work(&mut step);
        *ordinal = step.ordinal;
    }

    /// What a queen tells of agents.
    pub(super) fn agent(
        &mut self,
        round: &Round,
        command: &AgentCommand,
        applied: &mut Applied,
    ) -> Result<Outcome, Refusal> {
        let (node, seq) = (round.node, self.seq);
        let mut ordinal = 0;
        let ended = match command {
            AgentCommand::Started { name, generation } => {
                check_name("name", name)?;
                let id = AgentId {
                    node,
                    incarnation: round.incarnation,
                    name: name.clone(),
                    generation: *generation,
                };
                let replaced = self.agents.start(id, seq)?;
                applied.agents.extend(replaced);
                applied.agents.push((node, seq));
                self.do_due(STEPS_PER_COMMAND, 0, applied);
                return Ok(Outcome::AgentStarted { seq });
            }
            AgentCommand::Ended {
                name,
                generation,
                reason,
            } => {
                if reason.len() > AGENT_REASON_BYTES_MAX {
                    return Err(over_limit("reason", reason.len(), AGENT_REASON_BYTES_MAX));
                }
                let key = self.agents.caller(node, round.incarnation, name, *generation)?;
                self.agents.end(key, AgentEnd::Ended(reason.clone()));
                applied.agents.push(key);
                true
            }
            // A new start has ended its earlier ones before its first command.
            AgentCommand::NodeStarted => false,
            AgentCommand::NodeLost { node, incarnation } => {
                let lost = self.dedup.incarnation(*node) <= Some(*incarnation);
                if lost {
                    self.end_waits_at(*node, &mut ordinal, applied);
                }
                lost && self.lose_node(*node)
            }
            AgentCommand::SessionsSilent(told) => {
                let (changed, ordinal) = self.end_silent(node, told, applied)?;
                self.do_due(STEPS_PER_COMMAND, ordinal, applied);
                return Ok(Outcome::SessionsTold { seq, changed });
            }
            AgentCommand::SessionsAlive(told) => {
                let changed = self.keep_alive(node, told, applied)?;
                return Ok(Outcome::SessionsTold { seq, changed });
            }
        };
        self.do_due(STEPS_PER_COMMAND, ordinal, applied);
        Ok(Outcome::AgentsEnded { seq, ended })
    }

    /// Ends the agents of a node, and gives its sessions a grace; returns whether there was any.
    pub(super) fn lose_node(&mut self, node: NodeId) -> bool {
        let until_ms = self.cluster_ms.saturating_add(SESSION_GRACE_MS);
        let ended = self.agents.end_node(node, self.seq, AgentEnd::NodeLost);
        self.agents.sessions.lose(node, self.seq, until_ms) | ended
    }
}
