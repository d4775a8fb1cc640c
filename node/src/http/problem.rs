//! Every error of the door, as problem details: the only place where errors get their codes.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use queenright_actors::agent::AgentError;
use queenright_actors::memory::MemoryLow;
use queenright_actors::node::{ChangeError, JoinError, ReadError, ReplaceError};
use queenright_actors::queen::SubmitError;
use queenright_actors::store::StoreError;
use queenright_actors::topic::{PublishError, SubscribeError};
use queenright_bench::client::wire::{BodyError, Code, EventCursor, Loss, Problem, Standings, WireHolder};
use queenright_protocol::colony::{CursorError, DiskLow, Outcome, Refusal};
use queenright_protocol::conflict::Kind;
use queenright_protocol::topic::{TOPIC_BYTES_MAX, TOPIC_WORDS_MAX, TopicError};
use serde_json::json;

/// When to try again if a queue was full: it empties within some rounds.
const BUSY_RETRY_MS: u64 = 50;
/// When to try again if the disks are nearly full: nodes look at them and tell each other about every second.
const DISK_LOW_RETRY_MS: u64 = 2_000;
/// When to try again if a node has no memory for new work: it looks twice a second.
const MEMORY_LOW_RETRY_MS: u64 = 1_000;
/// When to try again while a project of this name is cleared away: some hundred thousand things take about as long.
const CLEARING_RETRY_MS: u64 = 1_000;
/// When to try again without a quorum: an election takes about this long.
const NO_QUORUM_RETRY_MS: u64 = 500;

/// An error on its way to the caller.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) problem: Box<Problem>,
    /// The methods that there are, where that one is not (RFC 9110, section 15.5.6).
    allow: Option<&'static str>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused {
            problem: Box::new(problem),
            allow: None,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let problem = self.problem;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(retry_after_ms) = problem.retry_after_ms {
            // The header counts whole seconds.
            headers.insert(header::RETRY_AFTER, retry_after_ms.div_ceil(1000).into());
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// A method that there is not, and those that there are.
pub(super) fn no_method(detail: String, allow: &'static str) -> Refused {
    Refused {
        problem: Box::new(Problem::new(Code::MethodNotAllowed, detail)),
        allow: Some(allow),
    }
}

/// Something in the request that is not as it must be.
pub(super) fn invalid(field: &str, problem: impl std::fmt::Display) -> Refused {
    Problem::new(Code::Invalid, format!("{field}: {problem}"))
        .with_details(json!({ "field": field }))
        .into()
}

/// A size or a number over its bound.
pub(super) fn too_large(field: &str, value: u64, limit: u64) -> Refused {
    over_limit(
        field,
        value,
        limit,
        format!("{field}: {value} is over the limit of {limit}"),
    )
    .into()
}

fn over_limit(field: &str, value: u64, limit: u64, detail: String) -> Problem {
    Problem::new(Code::TooLarge, detail).with_details(json!({ "field": field, "value": value, "limit": limit }))
}

/// A queue of the door itself that is full.
pub(super) fn busy(what: &str, limit: usize) -> Refused {
    Problem::new(Code::Busy, format!("the door has {limit} {what}, which is its limit"))
        .with_details(json!({ "limit": limit }))
        .retry_after(BUSY_RETRY_MS)
        .into()
}

/// The node did not answer a question in time; nothing was to be changed.
pub(super) fn no_answer(waited_ms: u64) -> Refused {
    Problem::new(
        Code::Unavailable,
        format!("the node did not answer within {waited_ms} ms"),
    )
    .retry_after(NO_QUORUM_RETRY_MS)
    .into()
}

/// An outcome that does not fit its command.
pub(super) fn misfit(outcome: &Outcome) -> Refused {
    Problem::new(
        Code::Internal,
        format!("the outcome does not fit the command: {outcome:?}"),
    )
    .into()
}

/// A proposal that lost.
pub(super) fn lost(loss: &Loss) -> Refused {
    let first = loss.conflicts.first();
    let detail = match first.map(|first| (first, &first.holder)) {
        Some((first, Some(holder))) => format!(
            "{} at {:?}: {holder} has it reserved ({} in all); nothing was changed",
            first.kind, first.key, loss.total
        ),
        Some((first, None)) if first.kind == Kind::Phantom => format!(
            "phantom below {:?}: expected {} keys as they were, found {} ({} in all); nothing was changed",
            first.key, first.expected, first.revision, loss.total
        ),
        Some((first, None)) => format!(
            "{} at {:?}: expected revision {}, found {} ({} in all); nothing was changed",
            first.kind, first.key, first.expected, first.revision, loss.total
        ),
        None => "the proposal lost; nothing was changed".to_owned(),
    };
    let details = serde_json::to_value(loss).expect("a loss is plain data");
    Problem::new(Code::Conflict, detail).with_details(details).into()
}

fn disk_low(low: &DiskLow) -> Problem {
    let details = serde_json::to_value(low).expect("a name and two numbers");
    Problem::new(Code::DiskLow, low.to_string())
        .with_details(details)
        .retry_after(DISK_LOW_RETRY_MS)
}

/// A node without memory for new work.
pub(super) fn memory_low(low: &MemoryLow) -> Problem {
    let details = serde_json::to_value(low).expect("two numbers");
    Problem::new(Code::MemoryLow, low.to_string())
        .with_details(details)
        .retry_after(MEMORY_LOW_RETRY_MS)
}

/// What a refusal by the colony is to a caller.
pub(super) fn of_refusal(refusal: &Refusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        Refusal::Expired { .. } => Problem::new(Code::Expired, detail),
        Refusal::Condition { key, revision, present } => {
            let has = if *present { "a value" } else { "no value" };
            let detail = format!("{key:?} has {has} and is at revision {revision}; nothing was changed");
            Problem::new(Code::Conflict, detail)
                .with_status(412)
                .with_details(json!({ "key": key, "revision": revision, "present": present }))
        }
        Refusal::OverLimit { field, value, limit } => over_limit(field, *value, *limit, detail),
        Refusal::Malformed { field, .. } => Problem::new(Code::Invalid, detail).with_details(json!({ "field": field })),
        Refusal::MissingContent { key, hash } => {
            Problem::new(Code::MissingContent, detail).with_details(json!({ "key": key, "hash": hash.to_string() }))
        }
        Refusal::WrongType { key, .. } => Problem::new(Code::WrongType, detail).with_details(json!({ "key": key })),
        Refusal::IdempotencyKeyReused { .. } => Problem::new(Code::IdempotencyKeyConflict, detail),
        Refusal::DiskLow(low) => disk_low(low),
        Refusal::UnknownTask { task } => Problem::new(Code::NotFound, detail).with_details(json!({ "task": task.to_string() })),
        Refusal::TaskHeld { task, attempt, holder } => Problem::new(Code::Held, detail)
            .with_details(json!({ "task": task.to_string(), "attempt": attempt, "holder": WireHolder::from(holder) })),
        Refusal::TaskFinished {
            task,
            attempt,
            state,
            holder,
        } => Problem::new(Code::Conflict, detail).with_details(json!({
            "task": task.to_string(), "attempt": attempt, "state": state, "holder": WireHolder::from(holder),
        })),
        Refusal::Fenced {
            task,
            fence,
            attempt,
            holder,
        } => Problem::new(Code::Fenced, detail).with_details(json!({
            "task": task.to_string(), "fence": fence, "attempt": attempt, "holder": holder.as_ref().map(WireHolder::from),
        })),
        Refusal::TaskNotReady { task, state, .. } => {
            Problem::new(Code::Conflict, detail).with_details(json!({ "task": task.to_string(), "state": state }))
        }
        Refusal::NeedCycle { .. } => Problem::new(Code::Invalid, detail).with_details(json!({ "field": "needs" })),
        // Whoever knows what was wanted says more.
        Refusal::Held { .. } => {
            let standings = Standings::of_refusal(&[], refusal).map(serde_json::to_value);
            let details = standings.and_then(Result::ok).unwrap_or_default();
            Problem::new(Code::Held, detail).with_details(details)
        }
        Refusal::Reserved { key, reservation, holder } => Problem::new(Code::Held, detail).with_details(json!({
            "kind": Kind::Reservation, "key": key, "reservation": reservation.to_string(),
            "holder": WireHolder::from(&**holder),
        })),
        Refusal::UnknownReservation { reservation } => {
            Problem::new(Code::NotFound, detail).with_details(json!({ "reservation": reservation.to_string() }))
        }
        Refusal::NotHeld { reservation, holder } => Problem::new(Code::Fenced, detail).with_details(json!({
            "reservation": reservation.to_string(), "holder": holder.as_ref().map(WireHolder::from),
        })),
        Refusal::NotReserved { resource } => {
            Problem::new(Code::Fenced, detail).with_details(json!({ "resource": resource }))
        }
        Refusal::Waits { reservation } => {
            Problem::new(Code::Conflict, detail).with_details(json!({ "reservation": reservation.to_string() }))
        }
        Refusal::Deadlock {
            reservation,
            waiter,
            holder,
        } => Problem::new(Code::Conflict, detail).with_details(json!({
            "reservation": reservation.to_string(), "waiter": waiter.to_string(), "holder": WireHolder::from(holder),
        })),
        Refusal::AgentNotLive { .. } => Problem::new(Code::Fenced, detail),
        Refusal::AgentLive { .. } => Problem::new(Code::Conflict, detail),
        Refusal::KeyHeld { key, author, until_ms } => Problem::new(Code::Held, detail)
            .with_details(json!({ "key": key, "author": author, "until_ms": until_ms })),
        Refusal::UnknownSession { session } => {
            let session = session.map(|session| session.to_string());
            session_over(detail, json!({ "session": session, "why": null }))
        }
        Refusal::UnknownProject { project } => {
            Problem::new(Code::NotFound, detail).with_details(json!({ "project": project }))
        }
        Refusal::ProjectClearing { project, left } => Problem::new(Code::Conflict, detail)
            .with_details(json!({ "project": project, "left": left }))
            .retry_after(CLEARING_RETRY_MS),
        Refusal::ProjectExists { project } => {
            Problem::new(Code::Conflict, detail).with_details(json!({ "project": project }))
        }
        Refusal::Quota {
            field,
            has,
            asked,
            limit,
        } => {
            let problem = Problem::new(Code::Quota, detail)
                .with_details(json!({ "field": field, "has": has, "asked": asked, "limit": limit }));
            match &**field {
                // So long until there is one more.
                "commands_per_s" => problem.retry_after(1_000_u64.div_ceil((*limit).max(1))),
                _ => problem,
            }
        }
        Refusal::DoorTokenExists { name } => Problem::new(Code::Conflict, detail).with_details(json!({ "token": name })),
        Refusal::UnknownDoorToken { name } => Problem::new(Code::NotFound, detail).with_details(json!({ "token": name })),
        Refusal::UnknownBudget { budget } => {
            Problem::new(Code::NotFound, detail).with_details(json!({ "budget": budget }))
        }
        Refusal::UnknownRate { rate } => Problem::new(Code::NotFound, detail).with_details(json!({ "rate": rate })),
        Refusal::UnknownPool { pool } => Problem::new(Code::NotFound, detail).with_details(json!({ "pool": pool })),
        Refusal::RateInUse { rate, tasks } => {
            Problem::new(Code::Conflict, detail).with_details(json!({ "rate": rate, "tasks": tasks }))
        }
        Refusal::RateSpent { rate, wanted, wait_ms } => Problem::new(Code::Quota, detail)
            .with_details(json!({ "rate": rate, "wanted": wanted, "wait_ms": wait_ms }))
            .retry_after(*wait_ms),
        Refusal::SessionEnded { session, why } => {
            session_over(detail, json!({ "session": session.to_string(), "why": why }))
        }
    }
}

/// A session that is no more; unlike a command that came too late it will not be again.
fn session_over(detail: String, details: serde_json::Value) -> Problem {
    Problem {
        retryable: false,
        ..Problem::new(Code::Expired, detail)
            .with_status(410)
            .with_details(details)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        of_refusal(&refusal).into()
    }
}

/// A command without an outcome. One whose outcome is unknown may be repeated only if it has an identity by which its
/// first outcome is found.
pub(super) fn of_submit(error: &SubmitError, repeatable: bool) -> Refused {
    let detail = error.to_string();
    let problem = match error {
        SubmitError::Busy { held, unit, limit } => Problem::new(Code::Busy, detail)
            .with_details(json!({ "held": held, "unit": unit, "limit": limit }))
            .retry_after(BUSY_RETRY_MS),
        SubmitError::TooLarge { bytes, limit } => over_limit("command_bytes", *bytes, *limit, detail),
        SubmitError::OutcomeTooLarge { bytes, limit } => over_limit("outcome_bytes", *bytes, *limit, detail),
        SubmitError::DiskLow(low) => disk_low(low),
        SubmitError::MemoryLow(low) => memory_low(low),
        SubmitError::Diverged { .. } => Problem::new(Code::Unavailable, detail),
        SubmitError::NoQuorum { .. } => Problem::new(Code::Unavailable, detail).retry_after(NO_QUORUM_RETRY_MS),
        SubmitError::Unknown { .. } => Problem {
            retryable: repeatable,
            ..Problem::new(Code::UnknownOutcome, detail)
        },
        SubmitError::Stopping => Problem {
            retryable: repeatable,
            ..Problem::new(Code::UnknownOutcome, detail).with_status(503)
        },
    };
    problem.into()
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Refused {
        let problem = Problem::new(Code::Unavailable, error.to_string());
        match error {
            ReadError::NoQuorum { .. } => problem.retry_after(NO_QUORUM_RETRY_MS).into(),
            ReadError::Diverged { .. } | ReadError::Stopping => problem.into(),
        }
    }
}

impl From<ReplaceError> for Refused {
    fn from(error: ReplaceError) -> Refused {
        let code = match &error {
            ReplaceError::Unknown { .. } => Code::NotFound,
            ReplaceError::Runs { .. } => Code::Conflict,
            ReplaceError::Suspect { .. } | ReplaceError::NoLeader => Code::Unavailable,
        };
        Problem::new(code, error.to_string()).into()
    }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Refused {
        let code = match &error {
            ChangeError::Unknown { .. } => Code::NotFound,
            ChangeError::Runs { .. } | ChangeError::Last { .. } | ChangeError::Majority { .. } => Code::Conflict,
            ChangeError::Refused(_) => Code::Conflict,
            ChangeError::NoLeader => Code::Unavailable,
        };
        Problem::new(code, error.to_string()).into()
    }
}

impl From<JoinError> for Refused {
    fn from(error: JoinError) -> Refused {
        let code = match &error {
            JoinError::Refused(_) => Code::Conflict,
            JoinError::NotNow(_) => Code::Unavailable,
        };
        Problem::new(code, error.to_string()).into()
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Refused {
        // The log is on the same disk: the node is about to end.
        Problem::new(Code::Unavailable, error.to_string()).into()
    }
}

impl From<AgentError> for Refused {
    fn from(error: AgentError) -> Refused {
        let field = match &error {
            AgentError::UnknownKind { .. } => Some("kind"),
            AgentError::Name { .. } => Some("name"),
            AgentError::Restart(_) => Some("restart"),
            AgentError::Arguments { .. } => Some("arguments"),
            AgentError::Field { field, .. } => Some(*field),
            AgentError::NoParent { .. } => Some("parent"),
            _ => None,
        };
        let code = match &error {
            AgentError::UnknownKind { .. }
            | AgentError::Name { .. }
            | AgentError::Restart(_)
            | AgentError::Field { .. }
            | AgentError::NoParent { .. }
            | AgentError::Arguments { .. } => Code::Invalid,
            AgentError::NameTaken { .. } | AgentError::NotLive { .. } => Code::Conflict,
            AgentError::NotFound { .. } => Code::NotFound,
            AgentError::TooMany { .. } => Code::Quota,
            AgentError::Stopping => Code::Unavailable,
        };
        let problem = Problem::new(code, error.to_string());
        match field {
            Some(field) => problem.with_details(json!({ "field": field })).into(),
            None => problem.into(),
        }
    }
}

impl From<TopicError> for Refused {
    fn from(error: TopicError) -> Refused {
        let detail = error.to_string();
        let problem = match error {
            TopicError::TooLong { field, bytes } => over_limit(field, bytes as u64, TOPIC_BYTES_MAX as u64, detail),
            TopicError::TooManyWords { field, words } => {
                over_limit(field, words as u64, TOPIC_WORDS_MAX as u64, detail)
            }
            TopicError::Word { field, .. } => {
                Problem::new(Code::Invalid, detail).with_details(json!({ "field": field }))
            }
        };
        problem.into()
    }
}

impl From<PublishError> for Refused {
    fn from(error: PublishError) -> Refused {
        match error {
            PublishError::Busy { .. } => Problem::new(Code::Busy, error.to_string())
                .retry_after(BUSY_RETRY_MS)
                .into(),
            PublishError::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<SubscribeError> for Refused {
    fn from(error: SubscribeError) -> Refused {
        match error {
            SubscribeError::TooMany { limit, .. } => Problem::new(Code::Quota, error.to_string())
                .with_details(json!({ "limit": limit }))
                .into(),
            SubscribeError::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<CursorError> for Refused {
    fn from(error: CursorError) -> Refused {
        match error {
            CursorError::Expired { after, oldest } => {
                let (after, oldest) = (EventCursor(after), EventCursor(oldest));
                Problem::new(
                    Code::CursorExpired,
                    format!(
                        "events after {after} are no longer kept; the oldest one kept is {oldest}: begin with a snapshot, or \
                         there"
                    ),
                )
                .with_details(json!({ "after": after, "oldest": oldest }))
                .into()
            }
            CursorError::Lost {
                after,
                certain,
                resumed,
            } => {
                let after = EventCursor(after);
                let [certain, resumed] = [certain, resumed].map(EventCursor::behind);
                Problem::new(
                    Code::CursorAhead,
                    format!(
                        "the cursor {after} lies behind {certain}, up to where nothing was lost when the cluster was \
                         recovered: begin with a snapshot, or follow from {resumed}"
                    ),
                )
                .with_details(json!({ "after": after, "certain": certain, "resumed": resumed }))
                .into()
            }
        }
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Refused {
        invalid(&error.field, error.problem)
    }
}
