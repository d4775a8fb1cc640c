//! Why commands are refused, and the text of each reason.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::size::CUT_TEXT_BYTES;
use super::{ContentHash, Key};
use crate::colony::growth::DiskLow;
use crate::colony::reservation::{Blocker, ReservationId};
use crate::colony::session::{SessionEnd, SessionId};
use crate::colony::task::{Fence, Holder, Owner, StateName, TaskId};

/// Why a command was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// It arrived after its time; the caller may try again as a new command.
    #[error("the command expired at {expires_ms} ms of cluster time, it is {cluster_ms} ms")]
    Expired {
        /// When it expired.
        expires_ms: u64,
        /// The cluster time at its place in the order.
        cluster_ms: u64,
    },
    /// The condition of a change does not hold.
    #[error("{key}: {} (revision {revision})", if *.present { "has a value" } else { "has no value" })]
    Condition {
        /// The key.
        key: Key,
        /// Its revision at the command's place in the order.
        revision: u64,
        /// Whether it has a value.
        present: bool,
    },
    /// A field is out of its bounds.
    #[error("{field}: {value} is over the limit of {limit}")]
    OverLimit {
        /// Which field.
        field: Arc<str>,
        /// Its size.
        value: u64,
        /// The bound.
        limit: u64,
    },
    /// A field does not have the form it must have.
    #[error("{field}: {problem}")]
    Malformed {
        /// Which field.
        field: Arc<str>,
        /// What is wrong with it.
        problem: Arc<str>,
    },
    /// Content was named by a hash under which the project keeps nothing.
    #[error("{key}: the project keeps no content with hash {hash}")]
    MissingContent {
        /// The key that was to receive it.
        key: Key,
        /// The hash.
        hash: ContentHash,
    },
    /// The operation does not fit the value that stands there.
    #[error("{key}: its value is not {wanted}")]
    WrongType {
        /// The key.
        key: Key,
        /// What the operation needs.
        wanted: Arc<str>,
    },
    /// The idempotency key was used for another command.
    #[error("idempotency key {key:?} was used for another command")]
    IdempotencyKeyReused {
        /// The key.
        key: Arc<str>,
    },
    /// Too few disks have room for a command that makes the state grow.
    #[error("{0}")]
    DiskLow(DiskLow),
    /// There is no task of this id, or it was finished so long ago that it is no longer kept.
    #[error("no task has the id {task}")]
    UnknownTask {
        /// The id.
        task: TaskId,
    },
    /// Somebody holds the task.
    #[error("task {task} is held by {holder} (attempt {attempt})")]
    TaskHeld {
        /// The task.
        task: TaskId,
        /// The attempt under way.
        attempt: u32,
        /// Who holds it.
        holder: Holder,
    },
    /// The task was finished: nothing changes it any more.
    #[error("task {task} is {state}: {holder} finished it (attempt {attempt})")]
    TaskFinished {
        /// The task.
        task: TaskId,
        /// The attempt that finished it.
        attempt: u32,
        /// Whether it was done or has failed.
        state: StateName,
        /// Who finished it.
        holder: Holder,
    },
    /// The caller does not hold the task, or no longer: its fence is not that of the present lease, or it is somebody
    /// else. What it did for the task does not count.
    #[error(
        "fence {fence} does not hold task {task}: {} (attempt {attempt})",
        .holder.as_ref().map_or_else(|| "nobody does".to_string(), |holder| format!("{holder} does"))
    )]
    Fenced {
        /// The task.
        task: TaskId,
        /// The fence that the caller named.
        fence: Fence,
        /// The last attempt.
        attempt: u32,
        /// Who holds the task, or finished it; nobody while it is pending.
        holder: Option<Holder>,
    },
    /// The colony does not know this life of an agent, or it has ended: what it held was given to others.
    #[error(
        "agent {name} does not live under generation {generation}{}",
        .live.map_or(String::new(), |live| format!(", but under {live}"))
    )]
    AgentNotLive {
        /// The agent's name.
        name: Arc<str>,
        /// The generation that the caller named.
        generation: u64,
        /// The one that lives, if one does.
        live: Option<u64>,
    },
    /// The agent lives already, under this generation or a later one.
    #[error("agent {name} lives under generation {generation} already")]
    AgentLive {
        /// The agent's name.
        name: Arc<str>,
        /// The generation that lives.
        generation: u64,
    },
    /// No session of the project has this id and this token, or it has ended so long ago that it is no longer kept.
    #[error("{}", .session.map_or("no session has this token".into(), |session| format!("no session {session} has this token")))]
    UnknownSession {
        /// The id that the caller named, if it did.
        session: Option<SessionId>,
    },
    /// The session has ended: what it held was given to others.
    #[error("session {session} has ended: {why}")]
    SessionEnded {
        /// Its id.
        session: SessionId,
        /// Why.
        why: SessionEnd,
    },
    /// The key is held for a proposal that has lost again and again. Try again when the hold is over.
    #[error("{key} is held for a proposal of {author} until {until_ms} ms of cluster time")]
    KeyHeld {
        /// The key.
        key: Key,
        /// Whose proposal.
        author: Arc<str>,
        /// Until when.
        until_ms: u64,
    },
    /// The task is in no state for what is wanted of it.
    #[error("task {task} is {state}: {why}")]
    TaskNotReady {
        /// The task.
        task: TaskId,
        /// How it is.
        state: StateName,
        /// Why that does not do.
        why: Arc<str>,
    },
    /// Tasks would need each other.
    #[error("needs: a task would wait for itself: {cycle}")]
    NeedCycle {
        /// Who needs whom, from one task to itself.
        cycle: Arc<str>,
    },
    /// Others have what was to be reserved, or wait for it.
    #[error("{}", held_text(.blockers, *.more))]
    Held {
        /// What stands in the way.
        blockers: Vec<Blocker>,
        /// Whether there is more.
        more: bool,
        /// The places of the resources that would be granted if they were wanted alone.
        free: Vec<u32>,
    },
    /// The key lies under the exclusive reservation of somebody else.
    #[error("{key}: reserved by {holder} ({reservation})")]
    Reserved {
        /// The key.
        key: Key,
        /// The reservation.
        reservation: ReservationId,
        /// Who holds it.
        holder: Box<Holder>,
    },
    /// No command has made a reservation of this id.
    #[error("no reservation has the id {reservation}")]
    UnknownReservation {
        /// The id.
        reservation: ReservationId,
    },
    /// The reservation is not the caller's, or no longer.
    #[error(
        "reservation {reservation} {}",
        .holder.as_ref().map_or_else(|| "has ended".to_string(), |holder| format!("is held by {holder}"))
    )]
    NotHeld {
        /// The reservation.
        reservation: ReservationId,
        /// Whose it is; nobody's when it has ended.
        holder: Option<Holder>,
    },
    /// No reservation of the caller is of this resource.
    #[error("{resource}: no reservation of yours is of it")]
    NotReserved {
        /// The resource.
        resource: Arc<str>,
    },
    /// The caller waits already: meanwhile it takes nothing, and there is nothing to renew.
    #[error(
        "reservation {reservation} is still waited for: until it is granted or released its owner takes nothing else"
    )]
    Waits {
        /// What it waits for.
        reservation: ReservationId,
    },
    /// The caller holds what somebody waits for, so it may not wait itself: the two could wait for one another.
    #[error(
        "reservation {reservation} is waited for by {holder} ({waiter}): its owner may not wait itself before it is released"
    )]
    Deadlock {
        /// The caller's reservation.
        reservation: ReservationId,
        /// That of the one who waits for it.
        waiter: ReservationId,
        /// Who that is.
        holder: Holder,
    },
    /// There is no project of this name, and what is wanted does not make it.
    #[error("there is no project {project}, and this does not make it")]
    UnknownProject {
        /// The name.
        project: Arc<str>,
    },
    /// The project is destroyed, and not cleared away yet. Its name is free when it is.
    #[error(
        "project {project} is destroyed, and {left} things of it are still to be cleared away: its name is free after that"
    )]
    ProjectClearing {
        /// The name.
        project: Arc<str>,
        /// How many things are left.
        left: u64,
    },
    /// There is a project of this name.
    #[error("project {project} is there already")]
    ProjectExists {
        /// The name.
        project: Arc<str>,
    },
    /// The project may not have so much. Other commands go on, also those that take something away.
    #[error("{field}: the project has {has} and may have {limit}, {asked} more would be too many")]
    Quota {
        /// Which of its limits.
        field: Arc<str>,
        /// What it has.
        has: u64,
        /// By how much the command would make it grow.
        asked: u64,
        /// The limit.
        limit: u64,
    },
    /// There is a token of this name.
    #[error("a token {name:?} is there already; revoke it first")]
    DoorTokenExists {
        /// The name.
        name: Arc<str>,
    },
    /// There is no token of this name.
    #[error("there is no token {name:?}")]
    UnknownDoorToken {
        /// The name.
        name: Arc<str>,
    },
    /// The project has no rate of this name. It must be set before tasks name it.
    #[error("the project has no rate {rate:?}")]
    UnknownRate {
        /// The name.
        rate: Arc<str>,
    },
    /// Open tasks name the rate: it is not deleted.
    #[error("rate {rate:?} is named by {tasks} open tasks")]
    RateInUse {
        /// Its name.
        rate: Arc<str>,
        /// How many.
        tasks: u64,
    },
    /// A claim names tasks whose tokens are not there yet.
    #[error("rate:{rate}: it has {wanted} tokens in {wait_ms} ms")]
    RateSpent {
        /// The name of the rate.
        rate: Arc<str>,
        /// How many tokens the tasks take.
        wanted: u64,
        /// How long until it has them, if nobody takes any before, in milliseconds of cluster time.
        wait_ms: u64,
    },
    /// There is no budget of this name: nothing bounds what is used there.
    #[error("the project has no budget {budget:?}")]
    UnknownBudget {
        /// The name.
        budget: Arc<str>,
    },
    /// There is no pool of this name.
    #[error("there is no pool {pool:?}")]
    UnknownPool {
        /// The name.
        pool: Arc<str>,
    },
}

fn held_text(blockers: &[Blocker], more: bool) -> String {
    let Some(first) = blockers.first() else {
        return "it is taken".to_owned();
    };
    let Blocker {
        resource,
        mode,
        holder,
        reservation,
        ..
    } = first;
    let does = if first.waits { "waited for" } else { "held" };
    let others = match blockers.len() - 1 {
        0 if !more => String::new(),
        others => format!(", and {}{others} more", if more { "at least " } else { "" }),
    };
    format!("{resource} is {does} ({mode}) by {holder} ({reservation}){others}")
}

impl Refusal {
    /// The bytes of the key or the text in it that may be long.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Refusal::Condition { key, .. }
            | Refusal::MissingContent { key, .. }
            | Refusal::WrongType { key, .. }
            | Refusal::Reserved { key, .. } => key.len(),
            Refusal::Malformed { problem, .. } => problem.len(),
            Refusal::IdempotencyKeyReused { key } => key.len(),
            Refusal::AgentNotLive { name, .. } | Refusal::AgentLive { name, .. } => name.len(),
            Refusal::Expired { .. } | Refusal::OverLimit { .. } | Refusal::DiskLow(_) => 0,
            Refusal::TaskFinished { holder, .. } => holder.text_bytes(),
            Refusal::Fenced { holder, .. } => holder.as_ref().map_or(0, Holder::text_bytes),
            // None of these is the verdict of a proposal; what they name is bounded.
            Refusal::UnknownTask { .. }
            | Refusal::TaskHeld { .. }
            | Refusal::TaskNotReady { .. }
            | Refusal::NeedCycle { .. }
            | Refusal::KeyHeld { .. }
            | Refusal::UnknownSession { .. }
            | Refusal::SessionEnded { .. }
            | Refusal::Held { .. }
            | Refusal::UnknownReservation { .. }
            | Refusal::NotHeld { .. }
            | Refusal::NotReserved { .. }
            | Refusal::Waits { .. }
            | Refusal::Deadlock { .. }
            | Refusal::UnknownProject { .. }
            | Refusal::ProjectClearing { .. }
            | Refusal::ProjectExists { .. }
            | Refusal::Quota { .. }
            | Refusal::DoorTokenExists { .. }
            | Refusal::UnknownDoorToken { .. }
            | Refusal::UnknownRate { .. }
            | Refusal::RateInUse { .. }
            | Refusal::RateSpent { .. }
            | Refusal::UnknownBudget { .. }
            | Refusal::UnknownPool { .. } => 0,
        }
    }

    /// Cuts that key or text to a few bytes.
    pub(crate) fn cut_text(&mut self) {
        let text = match self {
            Refusal::TaskFinished { holder, .. } => return cut_holder(holder),
            Refusal::Fenced { holder, .. } => return holder.iter_mut().for_each(cut_holder),
            Refusal::Condition { key, .. }
            | Refusal::MissingContent { key, .. }
            | Refusal::WrongType { key, .. }
            | Refusal::Reserved { key, .. } => key,
            Refusal::Malformed { problem, .. } => problem,
            Refusal::IdempotencyKeyReused { key } => key,
            Refusal::AgentNotLive { name, .. } | Refusal::AgentLive { name, .. } => name,
            // Those without, as they are listed above.
            _ => return,
        };
        cut(text);
    }
}

fn cut(text: &mut Arc<str>) {
    let room = CUT_TEXT_BYTES - '…'.len_utf8();
    if text.len() > room {
        *text = format!("{}…", &text[..text.floor_char_boundary(room)]).into();
    }
}

fn cut_holder(holder: &mut Holder) {
    cut(&mut holder.author);
    match &mut holder.owner {
        Owner::Agent { agent, .. } => cut(&mut agent.name),
        Owner::Session { name, .. } => cut(name),
    }
}
