//! Sessions over a door.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use queenright_protocol::colony::{
    NewSession, SESSION_TTL_MS, Session, SessionEnd, SessionId, SessionIdError, Sessions, TokenHash,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{WireReservationId, WireTaskId, is_false, sorted_tags};

/// The id of a session, written `s42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(extend("pattern" = r"^s[0-9]+$"))]
pub struct WireSessionId(pub SessionId);

impl fmt::Display for WireSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for WireSessionId {
    type Err = SessionIdError;

    fn from_str(text: &str) -> Result<WireSessionId, SessionIdError> {
        text.parse().map(WireSessionId)
    }
}

impl TryFrom<String> for WireSessionId {
    type Error = SessionIdError;

    fn try_from(text: String) -> Result<WireSessionId, SessionIdError> {
        text.parse()
    }
}

impl From<WireSessionId> for String {
    fn from(id: WireSessionId) -> String {
        id.to_string()
    }
}

/// The body of `POST /v1/sessions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenSession {
    /// What it is called, for people; the author unless it says otherwise. Others may be called the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Which program works in it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Arc<str>>,
    /// What it can do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Arc<str>>,
    /// Where and what it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Arc<str>>,
    /// For how long it lives without a sign of life, in milliseconds; 90,000 unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// A secret of the caller's own, which must be hard to guess; the door makes one when there is none. An opening with
    /// an idempotency key must bring it: a repeat would get another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl OpenSession {
    /// As a command has it.
    pub fn into_new(self, author: &Arc<str>, token: &str) -> NewSession {
        NewSession {
            program: self.program,
            capabilities: sorted_tags(self.capabilities),
            labels: sorted_tags(self.labels),
            ttl_ms: self.ttl_ms.unwrap_or(SESSION_TTL_MS),
            ..NewSession::new(self.name.unwrap_or_else(|| author.clone()), TokenHash::of(token))
        }
    }
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenedSession {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// Its id.
    pub session: WireSessionId,
    /// By which its agent shows that it is the one. Shown here only.
    pub token: String,
    /// The number of the node that it lives on.
    pub node: u64,
    /// For how long it lives without a sign of life, in milliseconds.
    pub ttl_ms: u64,
}

/// The body of `POST /v1/sessions/ID:heartbeat`, `:reopen` and `:close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionToken {
    /// Its token.
    pub token: String,
}

/// The answer to `POST /v1/sessions/ID:reopen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReopenedSession {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// Its id.
    pub session: WireSessionId,
    /// The number of the node that it lives on from now on.
    pub node: u64,
}

/// The answer to `POST /v1/sessions/ID:close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClosedSession {
    /// The position of the command in the order of all commands.
    pub seq: u64,
    /// Its id.
    pub session: WireSessionId,
}

/// The answer to `POST /v1/sessions/ID:heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// Its id.
    pub session: WireSessionId,
    /// For how long it lives without another sign of life, in milliseconds. While `uncertain`, what it holds may be given
    /// to others after that.
    pub left_ms: u64,
    /// What it holds, as far as this node knows.
    pub holds: Vec<WireHeld>,
    /// Which of it is no longer wanted.
    pub cancelled: Vec<WireTaskId>,
    /// Whether the node has no contact to a quorum, so that it does not know whether the session still lives. Work that
    /// must not be done twice has to end before `left_ms` is over, unless a later heartbeat is certain again.
    pub uncertain: bool,
}

/// Something that a session holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WireHeld {
    /// A task.
    Task {
        /// Its id.
        task: WireTaskId,
        /// The attempt.
        attempt: u32,
        /// The number to name in every call.
        fence: u64,
        /// Cluster time in milliseconds at which its lease ends although the session lives, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_ms: Option<u64>,
    },
    /// A reservation, or the place of one that waits.
    Reservation {
        /// Its id.
        reservation: WireReservationId,
        /// The position of the command that granted it; absent while it waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fence: Option<u64>,
        /// Cluster time in milliseconds at which it ends by itself, or gives up waiting; absent if it goes with the lease
        /// of a task.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_ms: Option<u64>,
    },
}

/// How a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It is open.
    Open,
    /// Its node is lost; it may be re-opened elsewhere for a while.
    Grace,
    /// It has ended.
    Ended,
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SessionState::Open => "open",
            SessionState::Grace => "grace",
            SessionState::Ended => "ended",
        })
    }
}

/// A session as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireSession {
    /// Its id.
    pub session: WireSessionId,
    /// How it is.
    pub state: SessionState,
    /// What it is called.
    pub name: Arc<str>,
    /// Which program works in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Arc<str>>,
    /// What it can do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Arc<str>>,
    /// Where and what it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Arc<str>>,
    /// For how long it lives without a sign of life, in milliseconds.
    pub ttl_ms: u64,
    /// Whether it was opened for a claim, and closes by itself.
    #[serde(default, skip_serializing_if = "is_false")]
    pub passing: bool,
    /// Who opened it.
    pub author: Arc<str>,
    /// Cluster time of that, in milliseconds.
    pub opened_ms: u64,
    /// The number of the node that it lives on, or lived on last.
    pub node: u64,
    /// Cluster time in milliseconds until which it may be re-opened, in a grace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    /// Why it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<SessionEnd>,
    /// Cluster time in milliseconds at which that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// How many things it holds, or held and are not returned yet.
    pub holds: u64,
}

impl WireSession {
    /// A session among all, at a cluster time.
    pub fn of(session: &Session, sessions: &Sessions, now_ms: u64) -> WireSession {
        let (grace_ms, why) = (sessions.grace_ms(session), sessions.end_of(session, now_ms));
        WireSession {
            session: WireSessionId(session.id),
            state: match (why, grace_ms) {
                (Some(_), _) => SessionState::Ended,
                (None, Some(_)) => SessionState::Grace,
                (None, None) => SessionState::Open,
            },
            name: session.opened.name.clone(),
            program: session.opened.program.clone(),
            capabilities: session.opened.capabilities.clone(),
            labels: session.opened.labels.clone(),
            ttl_ms: session.opened.ttl_ms,
            passing: session.opened.passing,
            author: session.author.clone(),
            opened_ms: session.opened_ms,
            node: session.home.0,
            grace_ms: grace_ms.filter(|_| why.is_none()),
            why,
            ended_ms: session
                .ended
                .as_ref()
                .map(|ended| ended.at_ms)
                .or(grace_ms.filter(|_| why.is_some())),
            holds: sessions.held(session.id).count() as u64,
        }
    }
}

/// The answer to `GET /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionList {
    /// The sessions, oldest first.
    pub sessions: Vec<WireSession>,
    /// What to ask `after` next: behind all that was looked at, also where the filter let nothing through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<WireSessionId>,
}
