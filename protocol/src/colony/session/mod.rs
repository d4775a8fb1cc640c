//! Sessions: each is the identity of one *acquisition* of work by an external agent. Its name is for people and need not
//! be unique: two sessions of one name share nothing.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`SessionCommand::Open`] | door | colony | [`Outcome::SessionOpen`] | a session begins, and lives on the node of the command |
//! | [`SessionCommand::Reopen`] | door | colony | [`Outcome::SessionOpen`] | it goes on, and lives on the node of the command from now on |
//! | [`SessionCommand::Close`] | door | colony | [`Outcome::SessionClosed`] | it ends, what it held returns |
//! | [`AgentCommand::SessionsSilent`] | queen | colony | [`Outcome::SessionsTold`] | sessions that live with her gave no sign of life for their time |
//! | [`AgentCommand::SessionsAlive`] | queen | colony | [`Outcome::SessionsTold`] | her node was taken for lost, but these live there |
//!
//! ```text
//!                    Reopen, at any node
//!                      ┌───────┐
//!                      │       ▼
//!   Open, a claim ──▶ open ──────────── Close ──────────────────────────▶ ended: closed
//!   that opens it    │ ▲  │ └────────── it is passing, holds nothing ───▶ ended: idle
//!                    │ │  └──────────── SessionsSilent, of its home ────▶ ended: silent
//!           NodeLost │ │ Reopen, at any node
//!        of its home │ │ SessionsAlive, of its home                          forgotten: after
//!                    ▼ │                                                     a day, or when
//!                   grace ───────────── the grace is over ──────────────▶ ended: its node was lost
//! ```
//!
//! Signs of life are not replicated: the node that a session lives on, its *home*, keeps the time of the last one, and
//! proposes its end. A lost node (see [`AgentCommand::NodeLost`]) puts all its sessions into a *grace* at once, in one
//! step; whoever is not re-opened within it, or claimed by its node that was only away, has ended when it is over. What
//! an ended session held returns a few at a time, see [`super::sweep`].
//!
//! The token itself is in no command and in no state: its hash is.
//!
//! [`Outcome::SessionOpen`]: super::Outcome::SessionOpen
//! [`Outcome::SessionClosed`]: super::Outcome::SessionClosed
//! [`Outcome::SessionsTold`]: super::Outcome::SessionsTold
//! [`AgentCommand::SessionsSilent`]: super::AgentCommand::SessionsSilent
//! [`AgentCommand::SessionsAlive`]: super::AgentCommand::SessionsAlive
//! [`AgentCommand::NodeLost`]: super::AgentCommand::NodeLost

mod rules;
mod sessions;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::sessions::SessionDue;
pub use self::sessions::Sessions;
use super::command::{NAME_BYTES_MAX, Refusal, TAG_BYTES_MAX};
use super::memory::{malformed, over_limit};
use crate::id::NodeId;

/// For how long a session lives without a sign of life unless it says otherwise, in milliseconds: three heartbeats.
pub const SESSION_TTL_MS: u64 = 90_000;
/// The shortest such time: a change of leader and a few repeats fit into it.
pub const SESSION_TTL_MS_MIN: u64 = 10_000;
/// The longest such time: a day.
pub const SESSION_TTL_MS_MAX: u64 = 86_400_000;
/// How long the sessions of a lost node may be re-opened elsewhere, in milliseconds of cluster time.
pub const SESSION_GRACE_MS: u64 = 30_000;
/// How many open sessions may live on one node.
pub const SESSIONS_PER_NODE_MAX: usize = 100_000;
/// How many ended sessions are kept, so that a late caller learns why; the oldest go.
pub const SESSIONS_ENDED_KEPT_MAX: usize = 65_536;
/// How long they are kept at most, in milliseconds of cluster time, once another one ends.
pub const SESSIONS_ENDED_KEPT_MS: u64 = 86_400_000;
/// How many capabilities, and how many labels, a session may have.
pub const SESSION_WORDS_MAX: usize = 32;
/// The longest name of a session's program, in bytes.
pub const PROGRAM_BYTES_MAX: usize = 256;
/// How many sessions a queen tells of in one command.
pub const SESSIONS_TOLD_MAX: usize = 256;

/// The identity of a session: the position of the command that opened it. Shown as `s42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// A text that is not the id of a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the id of a session (expected s and a number, like s42)")]
pub struct SessionIdError {
    /// The text.
    pub text: String,
}

impl FromStr for SessionId {
    type Err = SessionIdError;

    fn from_str(text: &str) -> Result<SessionId, SessionIdError> {
        let number = text.strip_prefix('s').and_then(|number| number.parse().ok());
        // One session has one id: no sign and no leading zeros.
        let id = number.map(SessionId).filter(|id| id.to_string() == text);
        id.ok_or_else(|| SessionIdError { text: text.to_string() })
    }
}

/// The first 128 bits of the BLAKE3 of a token: the log and the state hold no token that would let others act.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 16]);

impl TokenHash {
    /// The hash of `token`.
    pub fn of(token: &str) -> TokenHash {
        let mut half = [0; 16];
        half.copy_from_slice(&blake3::hash(token.as_bytes()).as_bytes()[..16]);
        TokenHash(half)
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What is wanted of sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SessionCommand {
    /// Begin one.
    Open(NewSession),
    /// Let one go on, and live where the command comes from.
    Reopen {
        /// Which.
        session: SessionId,
        /// The hash of its token.
        token: TokenHash,
    },
    /// End one.
    Close {
        /// Which.
        session: SessionId,
        /// The hash of its token.
        token: TokenHash,
    },
}

/// A session that is to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewSession {
    /// What it is called, for people; others may be called the same.
    pub name: Arc<str>,
    /// Which program works in it, for people.
    pub program: Option<Arc<str>>,
    /// What it can do, sorted and distinct: tasks may require it.
    pub capabilities: Vec<Arc<str>>,
    /// Where and what it is, sorted and distinct.
    pub labels: Vec<Arc<str>>,
    /// For how long it lives without a sign of life, in milliseconds.
    pub ttl_ms: u64,
    /// The hash of its token.
    pub token: TokenHash,
    /// Whether it closes by itself when it gives up the last thing that it holds.
    pub passing: bool,
}

impl NewSession {
    /// A session with defaults for everything else.
    pub fn new(name: impl Into<Arc<str>>, token: TokenHash) -> NewSession {
        NewSession {
            name: name.into(),
            program: None,
            capabilities: Vec::new(),
            labels: Vec::new(),
            ttl_ms: SESSION_TTL_MS,
            token,
            passing: false,
        }
    }

    pub(crate) fn check_form(&self) -> Result<(), Refusal> {
        check_text("name", &self.name, NAME_BYTES_MAX)?;
        if let Some(program) = &self.program {
            check_text("program", program, PROGRAM_BYTES_MAX)?;
        }
        check_words("capabilities", &self.capabilities)?;
        check_words("labels", &self.labels)?;
        if self.ttl_ms < SESSION_TTL_MS_MIN {
            let problem = format!("{} is under the least, {SESSION_TTL_MS_MIN}", self.ttl_ms);
            return Err(malformed("ttl_ms", &problem));
        }
        match self.ttl_ms > SESSION_TTL_MS_MAX {
            true => Err(over_limit("ttl_ms", self.ttl_ms as usize, SESSION_TTL_MS_MAX as usize)),
            false => Ok(()),
        }
    }
}

fn check_text(field: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.len() > bytes_max {
        return Err(over_limit(field, text.len(), bytes_max));
    }
    match text.is_empty() || text.chars().any(char::is_control) {
        true => Err(malformed(field, "is empty or has a control character")),
        false => Ok(()),
    }
}

fn check_words(field: &str, words: &[Arc<str>]) -> Result<(), Refusal> {
    if words.len() > SESSION_WORDS_MAX {
        return Err(over_limit(field, words.len(), SESSION_WORDS_MAX));
    }
    words
        .iter()
        .try_for_each(|word| check_text(field, word, TAG_BYTES_MAX))?;
    match words.is_sorted_by(|a, b| a < b) {
        true => Ok(()),
        false => Err(malformed(field, "are not sorted and distinct")),
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its identity.
    pub id: SessionId,
    /// Its project.
    pub project: Arc<str>,
    /// What it was opened as.
    pub opened: NewSession,
    /// Who opened it.
    pub author: Arc<str>,
    /// Cluster time of that, in milliseconds.
    pub opened_ms: u64,
    /// The node that it lives on.
    pub home: NodeId,
    /// The position of the command by which it came to live there.
    pub homed: u64,
    /// How it has ended.
    pub ended: Option<Ended>,
}

/// How a session has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Why.
    pub why: SessionEnd,
    /// Cluster time of that, in milliseconds.
    pub at_ms: u64,
}

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// Its agent closed it.
    Closed,
    /// It was opened for a claim, and holds nothing any more.
    Idle,
    /// It gave no sign of life for its time.
    Silent,
    /// Its node was lost, and it was not re-opened within the grace.
    NodeLost,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SessionEnd::Closed => "its session was closed",
            SessionEnd::Idle => "its session held nothing any more",
            SessionEnd::Silent => "its session gave no sign of life",
            SessionEnd::NodeLost => "the node of its session was lost",
        })
    }
}
