//! Errors as RFC 9457 problem details.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What kind of error it is: stable words for programs. New ones may come; a client reads those that it does not know as
/// [`Code::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// There is no such thing.
    NotFound,
    /// The present state is not the one that the caller counted on; read again.
    Conflict,
    /// Somebody holds it.
    Held,
    /// The caller's fence is no longer the newest.
    Fenced,
    /// It came too late, or its session has ended; nothing was changed.
    Expired,
    /// Events after the cursor are no longer kept.
    CursorExpired,
    /// The cursor lies after the last event.
    CursorAhead,
    /// No quorum, or the node is stopping; nothing was changed.
    Unavailable,
    /// No outcome in time: the command may have been carried out, or may be later.
    UnknownOutcome,
    /// A queue is full; nothing was changed.
    Busy,
    /// A limit on how many there may be is reached.
    Quota,
    /// The disks of a majority have no room for what makes the state grow; nothing was changed.
    DiskLow,
    /// The request does not have the form that it must have.
    Invalid,
    /// Something is larger than it may be.
    TooLarge,
    /// The operation does not fit the value that stands there.
    WrongType,
    /// Content was named by a hash under which nothing is kept.
    MissingContent,
    /// The idempotency key was used for another command.
    IdempotencyKeyConflict,
    /// The request did not come from this host, or its token does not have the scope for it.
    Forbidden,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// A bug of the node.
    Internal,
    /// A subscriber did not read what was sent, and was dropped; follow again from the last cursor.
    SlowSubscriber,
    /// The request shows no token that is known.
    Unauthorized,
    /// The node has no memory left for new work; nothing was changed.
    MemoryLow,
    /// A code that this program does not know.
    #[serde(other)]
    #[schemars(skip)]
    Other,
}

impl Code {
    /// The status that an answer with this code usually has.
    pub fn status(self) -> u16 {
        match self {
            Code::NotFound => 404,
            Code::Conflict | Code::Fenced | Code::CursorAhead | Code::MissingContent => 409,
            Code::Held => 423,
            Code::CursorExpired => 410,
            Code::Expired | Code::Unavailable | Code::Busy | Code::SlowSubscriber | Code::MemoryLow => 503,
            Code::UnknownOutcome => 504,
            Code::Quota => 429,
            Code::DiskLow => 507,
            Code::Invalid => 400,
            Code::TooLarge => 413,
            Code::WrongType | Code::IdempotencyKeyConflict => 422,
            Code::Forbidden => 403,
            Code::Unauthorized => 401,
            Code::MethodNotAllowed => 405,
            Code::Internal | Code::Other => 500,
        }
    }

    /// One line about the kind of error, the same for all of its kind.
    pub fn title(self) -> &'static str {
        match self {
            Code::NotFound => "Not found",
            Code::Conflict => "The state is not the expected one",
            Code::Held => "Somebody holds it",
            Code::Fenced => "The fence is no longer the newest",
            Code::Expired => "It came too late",
            Code::CursorExpired => "Events after the cursor are no longer kept",
            Code::CursorAhead => "The cursor lies after the last event",
            Code::Unavailable => "No quorum",
            Code::UnknownOutcome => "The outcome is unknown",
            Code::Busy => "Busy",
            Code::Quota => "A limit is reached",
            Code::DiskLow => "Too little room on the disks",
            Code::MemoryLow => "Too little memory",
            Code::Invalid => "The request is malformed",
            Code::TooLarge => "Too large",
            Code::WrongType => "The operation does not fit the value",
            Code::MissingContent => "No content is kept under this hash",
            Code::IdempotencyKeyConflict => "The idempotency key was used for another command",
            Code::Forbidden => "Refused",
            Code::Unauthorized => "A token is needed",
            Code::MethodNotAllowed => "The method is not allowed here",
            Code::SlowSubscriber => "The subscriber did not read",
            Code::Internal | Code::Other => "Internal error",
        }
    }

    /// Whether the same request may succeed later without any change to it.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Code::Expired
                | Code::Unavailable
                | Code::Busy
                | Code::Quota
                | Code::DiskLow
                | Code::MemoryLow
                | Code::SlowSubscriber
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// An error as a door answers it: `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A URI that names the kind of error.
    #[serde(rename = "type")]
    pub kind: String,
    /// One line about the kind of error.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// One line about this error, with values and limits.
    pub detail: String,
    /// The kind of error, for programs.
    pub code: Code,
    /// Whether the same request may be sent again.
    pub retryable: bool,
    /// When, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Values of this error, for programs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl Problem {
    /// A problem with the usual status of its code.
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!(
                "urn:queenright:problem:{}",
                code.to_string().to_lowercase().replace('_', "-")
            ),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            retryable: code.retryable(),
            retry_after_ms: None,
            details: Value::Null,
        }
    }

    /// With another status than the usual one.
    #[must_use]
    pub fn with_status(self, status: u16) -> Problem {
        Problem { status, ..self }
    }

    /// With values for programs.
    #[must_use]
    pub fn with_details(self, details: Value) -> Problem {
        Problem { details, ..self }
    }

    /// To be tried again after this many milliseconds.
    #[must_use]
    pub fn retry_after(self, retry_after_ms: u64) -> Problem {
        Problem {
            retryable: true,
            retry_after_ms: Some(retry_after_ms),
            ..self
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.detail)
    }
}
