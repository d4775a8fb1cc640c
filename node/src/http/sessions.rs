//! Sessions.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use queenright_bench::client::wire::{
    ClosedSession, Code, Heartbeat, OpenSession, OpenedSession, Problem, ReopenedSession, SessionList, SessionState,
    SessionToken, WireHeld, WireReservationId, WireSession, WireSessionId, WireTaskId, reservation_ends,
};
use queenright_protocol::colony::{
    Body, Colony, Held, Outcome, SessionCommand, SessionId, State as TaskState, TokenHash,
};

use super::Door;
use super::call::{Call, Caller};
use super::memory::consistency;
use super::problem::{Refused, invalid, misfit, of_submit};

/// What is done with a session.
const VERBS: [&str; 3] = ["heartbeat", "reopen", "close"];
/// How many sessions a list has at most, and unless the caller says otherwise.
pub(super) const LIST_SESSIONS: (u64, u64) = (1_000, 100);
/// How many sessions a list looks at: those that the filter leaves out cost time too.
const LOOKED_AT_MAX: usize = 100_000;
/// How much of what a session holds a heartbeat lists.
const HOLDS_LISTED_MAX: usize = 1_000;
/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 256;

/// The token that the caller brought, or a new one.
pub(super) fn token_of(caller: &Caller, token: Option<String>) -> Result<String, Refused> {
    match token {
        Some(token) if token.is_empty() => Err(invalid("token", "is empty")),
        Some(token) if token.len() > TOKEN_BYTES_MAX => Err(invalid(
            "token",
            format_args!("{} B is over the limit of {TOKEN_BYTES_MAX}", token.len()),
        )),
        Some(token) => Ok(token),
        None if caller.idempotency_key.is_some() => Err(invalid(
            "token",
            "a call with an idempotency key must bring its token: a repeat would get another one",
        )),
        None => Ok(format!("{:032x}", rand::random::<u128>())),
    }
}

/// `POST /v1/sessions`
pub(super) async fn open(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    door.takes_work()?;
    let caller = call.caller()?;
    let mut request: OpenSession = call.json(door.limits.body_bytes, caller.deadline).await?;
    let token = token_of(&caller, request.token.take())?;
    let new = request.into_new(&caller.author, &token);
    let ttl_ms = new.ttl_ms;
    let command = Body::Session(SessionCommand::Open(new));
    match door.submit(&caller, command).await? {
        Outcome::SessionOpen { seq, session, node } => {
            let answer = OpenedSession {
                seq,
                session: WireSessionId(session),
                token,
                node: node.0,
                ttl_ms,
            };
            Ok((StatusCode::CREATED, Json(answer)).into_response())
        }
        other => Err(misfit(&other)),
    }
}

/// `POST /v1/sessions/{session}:heartbeat`, `:reopen`, `:close`
pub(super) async fn act(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let (session, verb) = call.thing_and_verb("session")?;
    let (session, verb) = (id(session), verb.to_owned());
    let caller = call.caller()?;
    let session = session?;
    if !VERBS.contains(&verb.as_str()) {
        let detail = format!("a session has no {verb:?}; it has :heartbeat, :reopen and :close");
        return Err(Problem::new(Code::NotFound, detail).into());
    }
    let SessionToken { token } = call.json(door.limits.body_bytes, caller.deadline).await?;
    let token = TokenHash::of(&token);
    match verb.as_str() {
        "heartbeat" => heartbeat(&door, &caller, session, token).await,
        "reopen" => change(&door, &caller, SessionCommand::Reopen { session, token }).await,
        _ => change(&door, &caller, SessionCommand::Close { session, token }).await,
    }
}

async fn change(door: &Door, caller: &Caller, command: SessionCommand) -> Result<Response, Refused> {
    match door.submit(caller, Body::Session(command)).await? {
        Outcome::SessionOpen { seq, session, node } => {
            let (session, node) = (WireSessionId(session), node.0);
            Ok(Json(ReopenedSession { seq, session, node }).into_response())
        }
        Outcome::SessionClosed { seq, session } => {
            let session = WireSessionId(session);
            Ok(Json(ClosedSession { seq, session }).into_response())
        }
        other => Err(misfit(&other)),
    }
}

async fn heartbeat(door: &Door, caller: &Caller, session: SessionId, token: TokenHash) -> Result<Response, Refused> {
    let (project, author) = (&caller.project, &caller.author);
    let beat = door
        .backend
        .heartbeat(project, author, (session, token), caller.left())
        .await
        .map_err(|error| of_submit(&error, true))??;
    let snapshot = door.backend.snapshot();
    let answer = Heartbeat {
        session: WireSessionId(session),
        left_ms: beat.left_ms,
        holds: holds(&snapshot.colony, caller, session),
        cancelled: cancelled(&snapshot.colony, caller, session),
        uncertain: beat.uncertain,
    };
    Ok(Json(answer).into_response())
}

/// Which tasks of a session are to be cancelled.
fn cancelled(colony: &Colony, caller: &Caller, session: SessionId) -> Vec<WireTaskId> {
    let tasks = colony.project(&caller.project).map(|project| project.tasks());
    let held = colony.sessions().held(session).take(HOLDS_LISTED_MAX);
    let wanted = held.filter_map(|held| match held {
        Held::Task(id) => match &tasks?.get(id)?.state {
            TaskState::Leased(lease) if lease.cancel.is_some() => Some(WireTaskId(id)),
            _ => None,
        },
        Held::Wait(_) | Held::Reservation(_) => None,
    });
    wanted.collect()
}

fn holds(colony: &Colony, caller: &Caller, session: SessionId) -> Vec<WireHeld> {
    let project = colony.project(&caller.project);
    let (tasks, reservations) = (
        project.map(|project| project.tasks()),
        project.map(|project| project.reservations()),
    );
    let held = colony.sessions().held(session).take(HOLDS_LISTED_MAX);
    let held = held.filter_map(|held| match held {
        Held::Task(id) => {
            let task = tasks?.get(id)?;
            let TaskState::Leased(lease) = &task.state else {
                return None;
            };
            Some(WireHeld::Task {
                task: WireTaskId(id),
                attempt: task.attempts,
                fence: lease.fence.0,
                until_ms: lease.until_ms,
            })
        }
        Held::Wait(_) => None,
        Held::Reservation(id) => {
            let reservation = reservations?.get(id)?;
            Some(WireHeld::Reservation {
                reservation: WireReservationId(id),
                fence: reservation.fence().map(|fence| fence.0),
                until_ms: reservation_ends(reservation.until_ms()),
            })
        }
    });
    held.collect()
}

fn id(text: &str) -> Result<SessionId, Refused> {
    text.parse().map_err(|error| invalid("session", error))
}

/// `GET /v1/sessions/{session}`
pub(super) async fn show(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let session = id(call.thing::<SessionId>("session", &VERBS)?);
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let session = session?;
    let snapshot = door.read(read, &caller).await?;
    let colony = &snapshot.colony;
    let found = colony
        .sessions()
        .get(session)
        .filter(|found| found.project == caller.project);
    match found {
        Some(found) => Ok(Json(WireSession::of(found, colony.sessions(), colony.cluster_ms())).into_response()),
        None => Err(Problem::new(Code::NotFound, format!("no session has the id {session}")).into()),
    }
}

/// `GET /v1/sessions`
pub(super) async fn list(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let after: Option<WireSessionId> = call.parse("after")?;
    let (ended, name) = (call.flag("ended")?, call.take("name"));
    let limit = call.number("limit", 1..=LIST_SESSIONS.0)?.unwrap_or(LIST_SESSIONS.1) as usize;
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let snapshot = door.read(read, &caller).await?;
    let (sessions, now_ms) = (snapshot.colony.sessions(), snapshot.colony.cluster_ms());
    let mut list = SessionList {
        sessions: Vec::new(),
        next: None,
    };
    let mut last = None;
    let all = sessions.of_project(&caller.project, after.map(|after| after.0));
    for (looked_at, session) in all.enumerate() {
        if list.sessions.len() == limit || looked_at == LOOKED_AT_MAX {
            list.next = last;
            break;
        }
        last = Some(WireSessionId(session.id));
        if name.as_ref().is_some_and(|name| **name != *session.opened.name) {
            continue;
        }
        let shown = WireSession::of(session, sessions, now_ms);
        if ended || shown.state != SessionState::Ended {
            list.sessions.push(shown);
        }
    }
    Ok(Json(list).into_response())
}
