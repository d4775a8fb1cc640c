//! What happened in a project, in order, for those who follow it.

mod kept;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::kept::{CursorError, EVENT_BYTES_KEPT_MAX, EVENTS_KEPT_MAX, EVENTS_KEPT_MS, Events};
use super::agent::AgentEnd;
use super::command::{ContentHash, Key};
use super::projects::ProjectLimits;
use super::reservation::{Mode, ReservationEnd, ReservationId};
use super::session::{SessionEnd, SessionId};
use super::task::{Breaker, Fence, Holder, Owner, Return, StateName, TaskId};
use super::usage::{AccountName, BudgetLimits};
use crate::conflict::Kind;

/// The place of an event: the position of its command, and its place among the events of that command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// The place among the events of that command, from 0.
    pub ordinal: u32,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place.
    pub cursor: Cursor,
    /// Cluster time in milliseconds.
    pub cluster_ms: u64,
    /// The leader's wall clock in milliseconds since 1970.
    pub wall_ms: u64,
    /// Who caused it.
    pub author: Arc<str>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// A key was changed.
    Changed {
        /// The key.
        key: Key,
        /// Its revision from then on.
        revision: u64,
        /// The hash of its value, or `None` when it was deleted.
        hash: Option<ContentHash>,
        /// The length of its value in bytes, 0 when it was deleted.
        bytes: u64,
        /// The tags of its record.
        tags: Vec<Arc<str>>,
    },
    /// A proposal was committed; the changes of its keys follow as events of the same `seq`.
    Committed {
        /// How many keys it wrote.
        writes: u64,
    },
    /// A proposal lost.
    Lost {
        /// The kind of the first conflict.
        kind: Kind,
        /// How many conflicts there were.
        conflicts: u64,
        /// How often in a row the proposer has lost, each attempt following the one before; this time included.
        losses: u64,
    },
    /// A batch of proposals was judged; the changes of those that won stand before it as events of the same `seq`.
    Judged {
        /// How many were committed.
        committed: u64,
        /// How many were not: lost or refused.
        lost: u64,
    },
    /// A task was added.
    TaskAdded {
        /// Its id.
        task: TaskId,
        /// Its kind, if it has one.
        kind: Option<Arc<str>>,
        /// Its name, if it has one.
        name: Option<Arc<str>>,
    },
    /// A task was claimed.
    TaskClaimed {
        /// Its id.
        task: TaskId,
        /// The attempt, from 1.
        attempt: u32,
        /// The fence.
        fence: Fence,
        /// Who holds it.
        owner: Owner,
    },
    /// A task was finished; the changes of its proposal stand before it as events of the same `seq`.
    TaskFinished {
        /// Its id.
        task: TaskId,
        /// The attempt that finished it.
        attempt: u32,
        /// Whether it was done, or has failed.
        done: bool,
    },
    /// A task that was held is pending again.
    TaskReturned {
        /// Its id.
        task: TaskId,
        /// The attempt that ended.
        attempt: u32,
        /// Why.
        reason: Return,
    },
    /// A session was opened.
    SessionOpened {
        /// Its id.
        session: SessionId,
        /// What it is called.
        name: Arc<str>,
    },
    /// A session has ended; what it held returns.
    SessionEnded {
        /// Its id.
        session: SessionId,
        /// Why.
        why: SessionEnd,
    },
    /// A task that nobody holds is in another state, or ready.
    TaskMoved {
        /// Its id.
        task: TaskId,
        /// How it is now.
        state: StateName,
        /// Why, if it was cancelled or is dead.
        reason: Option<Arc<str>>,
    },
    /// A leased task is to be cancelled: its owner should end its lease.
    TaskCancelWanted {
        /// Its id.
        task: TaskId,
        /// The attempt under way.
        attempt: u32,
        /// Why.
        reason: Arc<str>,
    },
    /// The owner of a task offers it to somebody, who takes it by claiming it.
    TaskHandedOff {
        /// Its id.
        task: TaskId,
        /// The attempt under way.
        attempt: u32,
        /// To whom; nobody, if the offer was taken back.
        to: Option<Arc<str>>,
    },
    /// A finished task was forgotten because somebody wanted it.
    TaskDropped {
        /// Its id.
        task: TaskId,
    },
    /// A queue was paused or goes on, or its breaker has opened, tries a task, or has closed.
    QueueChanged {
        /// The queue.
        queue: Arc<str>,
        /// Who paused it.
        paused_by: Option<Arc<str>>,
        /// Its breaker.
        breaker: Breaker,
    },
    /// Resources were reserved: at once, or for one who waited.
    ReservationGranted {
        /// The reservation.
        reservation: ReservationId,
        /// Its fence.
        fence: Fence,
        /// Whose it is.
        holder: Holder,
        /// What it is of.
        resources: Vec<(Arc<str>, Mode)>,
        /// Cluster time in milliseconds at which it ends by itself.
        until_ms: u64,
    },
    /// Somebody waits for resources.
    ReservationWaiting {
        /// The reservation that it is to become.
        reservation: ReservationId,
        /// Who waits.
        holder: Holder,
        /// For what.
        resources: Vec<(Arc<str>, Mode)>,
        /// Cluster time in milliseconds at which it gives up.
        until_ms: u64,
    },
    /// A reservation has ended, or lost resources.
    ReservationEnded {
        /// The reservation.
        reservation: ReservationId,
        /// Whose it was.
        holder: Holder,
        /// What it was of.
        resources: Vec<Arc<str>>,
        /// How many resources it still has.
        left: u32,
        /// Why.
        reason: ReservationEnd,
    },
    /// The project was created, with these limits. One that is made by its first use is not told of.
    ProjectCreated {
        /// What it may have at most.
        limits: ProjectLimits,
    },
    /// The project has these limits from now on.
    ProjectLimited {
        /// What it may have at most.
        limits: ProjectLimits,
    },
    /// A budget was set, counts from 0 again, or was removed.
    BudgetChanged {
        /// Which.
        budget: AccountName,
        /// What may be used; `None` if it was removed.
        limits: Option<BudgetLimits>,
    },
    /// 80 % of a limit of a budget is used.
    BudgetWarned {
        /// Which.
        budget: AccountName,
        /// Which of its limits.
        field: Arc<str>,
        /// What is used of it.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// A limit of a budget is reached: nobody gets a task from there.
    BudgetSpent {
        /// Which.
        budget: AccountName,
        /// Which of its limits.
        field: Arc<str>,
        /// What is used of it.
        used: u64,
        /// The limit.
        limit: u64,
    },
}

/// What an event is about. Its text, such as `key:plan/title` or `task:17-0`, is what a filter names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A key of the memory.
    Key(&'a str),
    /// A task.
    Task(TaskId),
    /// A session.
    Session(SessionId),
    /// A queue.
    Queue(&'a str),
    /// A reservation.
    Reservation(ReservationId),
    /// A budget.
    Budget(&'a AccountName),
}

impl Subject<'_> {
    /// What a subject's text begins with, before the colon.
    pub const KINDS: [&'static str; 6] = ["key", "task", "session", "queue", "reservation", "budget"];
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Key(key) => write!(f, "key:{key}"),
            Subject::Task(task) => write!(f, "task:{task}"),
            Subject::Session(session) => write!(f, "session:{session}"),
            Subject::Queue(queue) => write!(f, "queue:{queue}"),
            Subject::Reservation(reservation) => write!(f, "reservation:{reservation}"),
            Subject::Budget(budget) => write!(f, "budget:{budget}"),
        }
    }
}

impl What {
    /// The names of all types. They never change their meaning.
    pub const TYPES: [&'static str; 23] = [
        "changed",
        "committed",
        "lost",
        "judged",
        "task_added",
        "task_claimed",
        "task_finished",
        "task_returned",
        "session_opened",
        "session_ended",
        "task_moved",
        "task_cancel_wanted",
        "task_handed_off",
        "task_dropped",
        "queue_changed",
        "reservation_granted",
        "reservation_waiting",
        "reservation_ended",
        "project_created",
        "project_limited",
        "budget_changed",
        "budget_warned",
        "budget_spent",
    ];

    /// The name of its type: one of [`What::TYPES`].
    pub fn type_name(&self) -> &'static str {
        match self {
            What::Changed { .. } => "changed",
            What::Committed { .. } => "committed",
            What::Lost { .. } => "lost",
            What::Judged { .. } => "judged",
            What::TaskAdded { .. } => "task_added",
            What::TaskClaimed { .. } => "task_claimed",
            What::TaskFinished { .. } => "task_finished",
            What::TaskReturned { .. } => "task_returned",
            What::SessionOpened { .. } => "session_opened",
            What::SessionEnded { .. } => "session_ended",
            What::TaskMoved { .. } => "task_moved",
            What::TaskCancelWanted { .. } => "task_cancel_wanted",
            What::TaskHandedOff { .. } => "task_handed_off",
            What::TaskDropped { .. } => "task_dropped",
            What::QueueChanged { .. } => "queue_changed",
            What::ReservationGranted { .. } => "reservation_granted",
            What::ReservationWaiting { .. } => "reservation_waiting",
            What::ReservationEnded { .. } => "reservation_ended",
            What::ProjectCreated { .. } => "project_created",
            What::ProjectLimited { .. } => "project_limited",
            What::BudgetChanged { .. } => "budget_changed",
            What::BudgetWarned { .. } => "budget_warned",
            What::BudgetSpent { .. } => "budget_spent",
        }
    }

    /// What it is about; a proposal has no name.
    pub fn subject(&self) -> Option<Subject<'_>> {
        match self {
            What::Changed { key, .. } => Some(Subject::Key(key)),
            What::TaskAdded { task, .. }
            | What::TaskClaimed { task, .. }
            | What::TaskFinished { task, .. }
            | What::TaskReturned { task, .. }
            | What::TaskMoved { task, .. }
            | What::TaskCancelWanted { task, .. }
            | What::TaskHandedOff { task, .. }
            | What::TaskDropped { task } => Some(Subject::Task(*task)),
            What::SessionOpened { session, .. } | What::SessionEnded { session, .. } => {
                Some(Subject::Session(*session))
            }
            What::QueueChanged { queue, .. } => Some(Subject::Queue(queue)),
            What::ReservationGranted { reservation, .. }
            | What::ReservationWaiting { reservation, .. }
            | What::ReservationEnded { reservation, .. } => Some(Subject::Reservation(*reservation)),
            What::BudgetChanged { budget, .. }
            | What::BudgetWarned { budget, .. }
            | What::BudgetSpent { budget, .. } => Some(Subject::Budget(budget)),
            What::Committed { .. } | What::Lost { .. } | What::Judged { .. } => None,
            What::ProjectCreated { .. } | What::ProjectLimited { .. } => None,
        }
    }

    /// The hosted agent, or the name of a session, that it names beside its author: who holds a task or a reservation,
    /// waits for one, or is offered a task.
    pub fn agent(&self) -> Option<&Arc<str>> {
        match self {
            What::TaskClaimed {
                owner: Owner::Agent { agent, .. },
                ..
            } => Some(&agent.name),
            What::TaskClaimed {
                owner: Owner::Session { name, .. },
                ..
            }
            | What::SessionOpened { name, .. } => Some(name),
            What::TaskHandedOff { to, .. } => to.as_ref(),
            What::ReservationGranted { holder, .. }
            | What::ReservationWaiting { holder, .. }
            | What::ReservationEnded { holder, .. } => Some(holder.owner.name()),
            _ => None,
        }
    }
}

impl Event {
    /// What this event counts towards [`EVENT_BYTES_KEPT_MAX`]: its text and a fixed share for the rest.
    pub fn bytes(&self) -> u64 {
        let what = match &self.what {
            What::Changed { key, tags, .. } => key.len() + tags.iter().map(|tag| tag.len() + 16).sum::<usize>(),
            What::TaskAdded { kind, name, .. } => [kind, name].into_iter().flatten().map(|text| text.len()).sum(),
            What::TaskClaimed {
                owner: Owner::Agent { agent, .. },
                ..
            } => agent.name.len(),
            What::TaskClaimed {
                owner: Owner::Session { name, .. },
                ..
            }
            | What::SessionOpened { name, .. } => name.len(),
            What::TaskReturned {
                reason: Return::Agent(AgentEnd::Ended(reason)) | Return::Stolen(reason) | Return::HandedOff(reason),
                ..
            } => reason.len(),
            What::TaskReturned {
                reason: Return::Failed(failure),
                ..
            } => failure.message.len() + failure.class.as_ref().map_or(0, |class| class.len()),
            What::TaskMoved { reason, .. } => reason.as_ref().map_or(0, |reason| reason.len()),
            What::TaskCancelWanted { reason, .. } => reason.len(),
            What::TaskHandedOff { to, .. } => to.as_ref().map_or(0, |to| to.len()),
            What::QueueChanged { queue, paused_by, .. } => queue.len() + paused_by.as_ref().map_or(0, |by| by.len()),
            What::TaskDropped { .. } => 0,
            What::ReservationGranted { holder, resources, .. } | What::ReservationWaiting { holder, resources, .. } => {
                let texts = resources.iter().map(|(text, _)| text.len() + 24);
                holder.text_bytes() + texts.sum::<usize>()
            }
            What::ReservationEnded {
                holder,
                resources,
                reason,
                ..
            } => {
                let texts = resources.iter().map(|text| text.len() + 16);
                let reason = match reason {
                    ReservationEnd::Forced { by, reason } => by.len() + reason.len(),
                    ReservationEnd::Agent(AgentEnd::Ended(reason)) => reason.len(),
                    _ => 0,
                };
                holder.text_bytes() + reason + texts.sum::<usize>()
            }
            What::Committed { .. } | What::Lost { .. } | What::Judged { .. } => 0,
            What::TaskFinished { .. } | What::TaskReturned { .. } | What::SessionEnded { .. } => 0,
            What::ProjectCreated { .. } | What::ProjectLimited { .. } => 0,
            What::BudgetChanged { budget, .. } => budget.text_bytes(),
            What::BudgetWarned { budget, field, .. } | What::BudgetSpent { budget, field, .. } => {
                budget.text_bytes() + field.len()
            }
        };
        (128 + self.author.len() + what) as u64
    }
}
