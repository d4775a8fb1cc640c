//! Events and their cursors.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use queenright_protocol::colony::{BudgetLimits, Cursor, Event, Mode, ProjectLimits, SessionEnd, StateName, What};
use queenright_protocol::conflict::Kind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reservation::ends;
use super::{
    HexHash, KeyInfo, WireBreaker, WireHolder, WireReservationId, WireSessionId, WireTask, WireTaskId, WireWant,
    is_false,
};

/// The place of an event, written `seq.ordinal`; a `seq` alone is the place behind all events of that command. Callers
/// take it as it comes and give it back: what it is made of may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(extend("pattern" = r"^[0-9]+([.][0-9]+)?$"))]
pub struct EventCursor(pub Cursor);

impl EventCursor {
    /// The place behind all events of the command at `seq`.
    pub fn behind(seq: u64) -> EventCursor {
        EventCursor(Cursor { seq, ordinal: u32::MAX })
    }
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Cursor { seq, ordinal: u32::MAX } => write!(f, "{seq}"),
            Cursor { seq, ordinal } => write!(f, "{seq}.{ordinal}"),
        }
    }
}

impl FromStr for EventCursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<EventCursor, ParseCursorError> {
        let (seq, ordinal) = match text.split_once('.') {
            Some((seq, ordinal)) => (seq, number(ordinal).and_then(|ordinal| u32::try_from(ordinal).ok())),
            None => (text, Some(u32::MAX)),
        };
        match (number(seq), ordinal) {
            (Some(seq), Some(ordinal)) => Ok(EventCursor(Cursor { seq, ordinal })),
            _ => Err(ParseCursorError { text: text.to_owned() }),
        }
    }
}

fn number(text: &str) -> Option<u64> {
    // `parse` would take a sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

impl TryFrom<String> for EventCursor {
    type Error = ParseCursorError;

    fn try_from(text: String) -> Result<EventCursor, ParseCursorError> {
        text.parse()
    }
}

impl From<EventCursor> for String {
    fn from(cursor: EventCursor) -> String {
        cursor.to_string()
    }
}

/// A text is not a cursor. Correct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a cursor (expected SEQ or SEQ.ORDINAL, such as 1500 or 1500.2)")]
pub struct ParseCursorError {
    /// What was read.
    pub text: String,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireEvent {
    /// Its place.
    pub cursor: EventCursor,
    /// The position of its command in the order of all commands.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: WireWhat,
    /// Who caused it.
    pub author: Arc<str>,
    /// Cluster time in milliseconds.
    pub cluster_ms: u64,
    /// The leader's wall clock in milliseconds since 1970.
    pub wall_ms: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WireWhat {
    /// A key was changed.
    Changed {
        /// The key.
        key: Arc<str>,
        /// Its revision from then on.
        revision: u64,
        /// Whether it was deleted.
        #[serde(default, skip_serializing_if = "is_false")]
        deleted: bool,
        /// The hash of its value; absent when it was deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<HexHash>,
        /// The length of its value.
        bytes: u64,
        /// The tags of its record.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<Arc<str>>,
    },
    /// A proposal was committed; the changes of its keys have the same `seq`.
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
        /// How often in a row the proposer has lost.
        #[serde(default)]
        losses: u64,
    },
    /// A batch of proposals was judged; the changes of those that won have the same `seq`.
    Judged {
        /// How many were committed.
        committed: u64,
        /// How many lost.
        lost: u64,
    },
    /// A task was added.
    TaskAdded {
        /// Its id.
        task: WireTaskId,
        /// Its kind, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<Arc<str>>,
        /// Its name, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Arc<str>>,
    },
    /// A task was claimed.
    TaskClaimed {
        /// Its id.
        task: WireTaskId,
        /// The attempt, from 1.
        attempt: u32,
        /// The number that every later call of the holder names.
        fence: u64,
        /// Who holds it.
        holder: WireHolder,
    },
    /// A task was finished; the changes of its proposal have the same `seq`.
    TaskFinished {
        /// Its id.
        task: WireTaskId,
        /// The attempt that finished it.
        attempt: u32,
        /// Done or failed.
        state: StateName,
    },
    /// A task that was held is pending again.
    TaskReturned {
        /// Its id.
        task: WireTaskId,
        /// The attempt that ended.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// A session was opened.
    SessionOpened {
        /// Its id.
        session: WireSessionId,
        /// What it is called.
        name: Arc<str>,
    },
    /// A session has ended; what it held returns.
    SessionEnded {
        /// Its id.
        session: WireSessionId,
        /// Why.
        why: SessionEnd,
    },
    /// A task that nobody holds is in another state, or ready.
    TaskMoved {
        /// Its id.
        task: WireTaskId,
        /// How it is now.
        state: StateName,
        /// Why, if it was cancelled or is dead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
    },
    /// A leased task is to be cancelled: its owner should end its lease.
    TaskCancelWanted {
        /// Its id.
        task: WireTaskId,
        /// The attempt under way.
        attempt: u32,
        /// Why.
        reason: Arc<str>,
    },
    /// The owner of a task offers it to somebody, who takes it by claiming it.
    TaskHandedOff {
        /// Its id.
        task: WireTaskId,
        /// The attempt under way.
        attempt: u32,
        /// To whom; absent if the offer was taken back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Arc<str>>,
    },
    /// A finished task was forgotten because somebody wanted it.
    TaskDropped {
        /// Its id.
        task: WireTaskId,
    },
    /// A queue was paused or goes on, or its breaker has opened, tries a task, or has closed.
    QueueChanged {
        /// The queue.
        queue: Arc<str>,
        /// Who paused it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        paused_by: Option<Arc<str>>,
        /// Its breaker.
        breaker: WireBreaker,
    },
    /// Resources were reserved: at once, or for one who waited.
    ReservationGranted {
        /// The reservation.
        reservation: WireReservationId,
        /// The position of the command that granted it.
        fence: u64,
        /// Whose it is.
        holder: WireHolder,
        /// What it is of.
        resources: Vec<WireWant>,
        /// Cluster time in milliseconds at which it ends by itself; absent if it goes with the lease of a task.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_ms: Option<u64>,
    },
    /// Somebody waits for resources.
    ReservationWaiting {
        /// The reservation that it is to become.
        reservation: WireReservationId,
        /// Who waits.
        holder: WireHolder,
        /// For what.
        resources: Vec<WireWant>,
        /// Cluster time in milliseconds at which it gives up.
        until_ms: u64,
    },
    /// A reservation has ended, or lost resources.
    ReservationEnded {
        /// The reservation.
        reservation: WireReservationId,
        /// Whose it was.
        holder: WireHolder,
        /// What it was of.
        resources: Vec<Arc<str>>,
        /// How many resources it still has.
        left: u32,
        /// Why.
        reason: String,
    },
    /// The project was created, with these limits.
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
        /// Which: `project` or `queue:NAME`.
        budget: String,
        /// How much may be used; absent if it was removed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limits: Option<BudgetLimits>,
    },
    /// 80 % of a limit of a budget is used.
    BudgetWarned {
        /// Which: `project` or `queue:NAME`.
        budget: String,
        /// Which of its limits.
        field: Arc<str>,
        /// What is used of it.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// A limit of a budget is reached: nobody gets a task from there.
    BudgetSpent {
        /// Which: `project` or `queue:NAME`.
        budget: String,
        /// Which of its limits.
        field: Arc<str>,
        /// What is used of it.
        used: u64,
        /// The limit.
        limit: u64,
    },
}

impl WireWhat {
    /// The name of its type, as in `type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            WireWhat::Changed { .. } => "changed",
            WireWhat::Committed { .. } => "committed",
            WireWhat::Lost { .. } => "lost",
            WireWhat::Judged { .. } => "judged",
            WireWhat::TaskAdded { .. } => "task_added",
            WireWhat::TaskClaimed { .. } => "task_claimed",
            WireWhat::TaskFinished { .. } => "task_finished",
            WireWhat::TaskReturned { .. } => "task_returned",
            WireWhat::SessionOpened { .. } => "session_opened",
            WireWhat::SessionEnded { .. } => "session_ended",
            WireWhat::TaskMoved { .. } => "task_moved",
            WireWhat::TaskCancelWanted { .. } => "task_cancel_wanted",
            WireWhat::TaskHandedOff { .. } => "task_handed_off",
            WireWhat::TaskDropped { .. } => "task_dropped",
            WireWhat::QueueChanged { .. } => "queue_changed",
            WireWhat::ReservationGranted { .. } => "reservation_granted",
            WireWhat::ReservationWaiting { .. } => "reservation_waiting",
            WireWhat::ReservationEnded { .. } => "reservation_ended",
            WireWhat::ProjectCreated { .. } => "project_created",
            WireWhat::ProjectLimited { .. } => "project_limited",
            WireWhat::BudgetChanged { .. } => "budget_changed",
            WireWhat::BudgetWarned { .. } => "budget_warned",
            WireWhat::BudgetSpent { .. } => "budget_spent",
        }
    }
}

fn wants(resources: &[(Arc<str>, Mode)]) -> Vec<WireWant> {
    let wire = |(resource, mode): &(Arc<str>, Mode)| WireWant {
        resource: resource.clone(),
        mode: *mode,
    };
    resources.iter().map(wire).collect()
}

impl From<&Event> for WireEvent {
    fn from(event: &Event) -> WireEvent {
        let what = match &event.what {
            What::Changed {
                key,
                revision,
                hash,
                bytes,
                tags,
            } => WireWhat::Changed {
                key: key.clone(),
                revision: *revision,
                deleted: hash.is_none(),
                hash: hash.map(HexHash),
                bytes: *bytes,
                tags: tags.clone(),
            },
            What::Committed { writes } => WireWhat::Committed { writes: *writes },
            What::Lost {
                kind,
                conflicts,
                losses,
            } => WireWhat::Lost {
                losses: *losses,
                kind: *kind,
                conflicts: *conflicts,
            },
            What::Judged { committed, lost } => WireWhat::Judged {
                committed: *committed,
                lost: *lost,
            },
            What::TaskAdded { task, kind, name } => WireWhat::TaskAdded {
                task: WireTaskId(*task),
                kind: kind.clone(),
                name: name.clone(),
            },
            What::TaskClaimed {
                task,
                attempt,
                fence,
                owner,
            } => WireWhat::TaskClaimed {
                task: WireTaskId(*task),
                attempt: *attempt,
                fence: fence.0,
                holder: WireHolder::new(owner, &event.author),
            },
            What::TaskFinished { task, attempt, done } => WireWhat::TaskFinished {
                task: WireTaskId(*task),
                attempt: *attempt,
                state: if *done { StateName::Done } else { StateName::Failed },
            },
            What::TaskReturned { task, attempt, reason } => WireWhat::TaskReturned {
                task: WireTaskId(*task),
                attempt: *attempt,
                reason: reason.to_string(),
            },
            What::SessionOpened { session, name } => WireWhat::SessionOpened {
                session: WireSessionId(*session),
                name: name.clone(),
            },
            What::SessionEnded { session, why } => WireWhat::SessionEnded {
                session: WireSessionId(*session),
                why: *why,
            },
            What::TaskMoved { task, state, reason } => WireWhat::TaskMoved {
                task: WireTaskId(*task),
                state: *state,
                reason: reason.clone(),
            },
            What::TaskCancelWanted { task, attempt, reason } => WireWhat::TaskCancelWanted {
                task: WireTaskId(*task),
                attempt: *attempt,
                reason: reason.clone(),
            },
            What::TaskHandedOff { task, attempt, to } => WireWhat::TaskHandedOff {
                task: WireTaskId(*task),
                attempt: *attempt,
                to: to.clone(),
            },
            What::TaskDropped { task } => WireWhat::TaskDropped {
                task: WireTaskId(*task),
            },
            What::QueueChanged {
                queue,
                paused_by,
                breaker,
            } => WireWhat::QueueChanged {
                queue: queue.clone(),
                paused_by: paused_by.clone(),
                breaker: (*breaker).into(),
            },
            What::ReservationGranted {
                reservation,
                fence,
                holder,
                resources,
                until_ms,
            } => WireWhat::ReservationGranted {
                reservation: WireReservationId(*reservation),
                fence: fence.0,
                holder: WireHolder::from(holder),
                resources: wants(resources),
                until_ms: ends(*until_ms),
            },
            What::ReservationWaiting {
                reservation,
                holder,
                resources,
                until_ms,
            } => WireWhat::ReservationWaiting {
                reservation: WireReservationId(*reservation),
                holder: WireHolder::from(holder),
                resources: wants(resources),
                until_ms: *until_ms,
            },
            What::ReservationEnded {
                reservation,
                holder,
                resources,
                left,
                reason,
            } => WireWhat::ReservationEnded {
                reservation: WireReservationId(*reservation),
                holder: WireHolder::from(holder),
                resources: resources.clone(),
                left: *left,
                reason: reason.to_string(),
            },
            What::ProjectCreated { limits } => WireWhat::ProjectCreated { limits: *limits },
            What::ProjectLimited { limits } => WireWhat::ProjectLimited { limits: *limits },
            What::BudgetChanged { budget, limits } => WireWhat::BudgetChanged {
                budget: budget.to_string(),
                limits: *limits,
            },
            What::BudgetWarned {
                budget,
                field,
                used,
                limit,
            } => WireWhat::BudgetWarned {
                budget: budget.to_string(),
                field: field.clone(),
                used: *used,
                limit: *limit,
            },
            What::BudgetSpent {
                budget,
                field,
                used,
                limit,
            } => WireWhat::BudgetSpent {
                budget: budget.to_string(),
                field: field.clone(),
                used: *used,
                limit: *limit,
            },
        };
        WireEvent {
            cursor: EventCursor(event.cursor),
            seq: event.cursor.seq,
            what,
            author: event.author.clone(),
            cluster_ms: event.cluster_ms,
            wall_ms: event.wall_ms,
        }
    }
}

/// The answer to `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<WireEvent>,
    /// What to ask `after` next: behind all that was looked at, also where the filter let nothing through.
    pub next_cursor: EventCursor,
    /// Whether there is more to look at now.
    pub has_more: bool,
    /// The oldest event that is kept, if any is.
    pub oldest: Option<EventCursor>,
    /// The place behind the last command that this answer has seen.
    pub tail: EventCursor,
    /// A part of the present state, if that was asked for: as of `next_cursor`, but for what has changed behind it, which
    /// the events behind it tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<WireState>,
    /// What to ask `snapshot_after` for the rest of the state, with `next_cursor` as `after`; absent at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_next: Option<String>,
}

/// One thing of the present state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "each is made, sent and printed once")]
pub enum WireState {
    /// A key that has a value.
    Key(KeyInfo),
    /// A task that is not finished.
    Task(WireTask),
}
