//! What a tool answers, and how it fails, in the words of a model.

use queenright_bench::client::ClientError;
use queenright_bench::client::wire::{Code, Problem};
use rmcp::model::CallToolResult;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What came of a call.
#[derive(Debug, Default)]
pub(super) struct Answer {
    data: Value,
    warnings: Vec<String>,
    next: Vec<String>,
}

impl Answer {
    /// What there is to say.
    pub(super) fn of(data: &impl Serialize) -> Answer {
        Answer {
            data: serde_json::to_value(data).expect("answers are plain data"),
            ..Answer::default()
        }
    }

    /// A field of its own beside those of the answer.
    #[must_use]
    pub(super) fn with(mut self, field: &str, value: impl Serialize) -> Answer {
        if let Value::Object(fields) = &mut self.data {
            let value = serde_json::to_value(value).expect("answers are plain data");
            fields.insert(field.to_owned(), value);
        }
        self
    }

    /// Something that the caller should know although the call went well.
    #[must_use]
    pub(super) fn warn(mut self, warning: impl Into<String>) -> Answer {
        self.warnings.push(warning.into());
        self
    }

    /// Which call makes sense then.
    #[must_use]
    pub(super) fn next(mut self, next: impl Into<String>) -> Answer {
        self.next.push(next.into());
        self
    }

    pub(super) fn into_result(self) -> CallToolResult {
        let mut fields = Map::new();
        fields.insert("ok".to_owned(), true.into());
        fields.insert("data".to_owned(), self.data);
        for (name, lines) in [("warnings", self.warnings), ("next", self.next)] {
            if !lines.is_empty() {
                fields.insert(name.to_owned(), lines.into());
            }
        }
        CallToolResult::structured(Value::Object(fields))
    }
}

/// Why a call failed.
#[derive(Debug)]
pub struct Failure {
    /// A stable word for programs, such as `HELD`.
    pub code: Box<str>,
    /// One line about this error, with values and limits.
    pub message: Box<str>,
    /// Whether the same call may succeed later without any change to it.
    pub retryable: bool,
    /// When, in milliseconds from now, if that is known.
    pub retry_after_ms: Option<u64>,
    /// Values of this error, for programs.
    pub details: Value,
    /// What to do next.
    pub next: Box<str>,
    /// Whether no node answered.
    pub unreached: bool,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure::from(Problem::new(code, message))
    }

    /// An argument that is not as it must be.
    pub(super) fn invalid(field: &str, problem: impl std::fmt::Display) -> Failure {
        Failure {
            details: json!({ "field": field }),
            ..Failure::new(Code::Invalid, format!("{field}: {problem}"))
        }
    }

    /// No door is known.
    pub fn no_door(message: impl Into<String>) -> Failure {
        Failure {
            unreached: true,
            ..Failure::new(Code::Unavailable, message)
        }
    }

    #[must_use]
    pub(super) fn with_next(self, next: impl Into<String>) -> Failure {
        Failure {
            next: next.into().into(),
            ..self
        }
    }

    #[must_use]
    pub(super) fn with_details(self, details: &impl Serialize) -> Failure {
        Failure {
            details: serde_json::to_value(details).expect("details are plain data"),
            ..self
        }
    }

    /// The error as data, for a tool and for a JSON-RPC error.
    pub(super) fn as_json(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message, "retryable": self.retryable });
        if let Some(retry_after_ms) = self.retry_after_ms {
            error["retry_after_ms"] = retry_after_ms.into();
        }
        if !self.details.is_null() {
            error["details"] = self.details.clone();
        }
        error
    }

    pub(super) fn into_result(self) -> CallToolResult {
        CallToolResult::structured_error(json!({ "ok": false, "error": self.as_json(), "next": [self.next] }))
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure {
            next: advice(problem.code).into(),
            code: problem.code.to_string().into(),
            message: problem.detail.into(),
            retryable: problem.retryable,
            retry_after_ms: problem.retry_after_ms,
            details: problem.details,
            unreached: false,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let message = error.to_string();
        match error {
            ClientError::Problem(problem) => Failure::from(*problem),
            ClientError::Unreachable { .. } => Failure {
                retryable: true,
                ..Failure::no_door(message)
            },
            ClientError::Timeout { .. } | ClientError::Lost { .. } => Failure {
                unreached: true,
                ..Failure::new(Code::UnknownOutcome, message)
            },
            ClientError::Untrusted { .. } | ClientError::BadResponse { .. } => Failure::new(Code::Internal, message),
            ClientError::Unsendable { .. } => Failure::new(Code::Invalid, message),
        }
    }
}

/// What to do about an error of a kind, where the call itself knows nothing better.
fn advice(code: Code) -> &'static str {
    match code {
        Code::NotFound => "look it up: task_get lists tasks, memory with op list lists keys",
        Code::Conflict => "read again what details name, decide anew, then call again",
        Code::Held => {
            "work on something else, wait by wait_ms, or ask the holder in details; \
             reserve_check says what is free"
        }
        Code::Fenced => "this is not yours any more: drop the work and call task_claim or reserve anew",
        Code::Expired => "if the session has ended call session_start, else call again",
        Code::CursorExpired | Code::CursorAhead => "begin anew: events with snapshot, then follow its next_cursor",
        Code::Unavailable => "call again in some seconds; `queenright status` says how the cluster is",
        Code::UnknownOutcome => {
            "look whether it took effect before you call again, or repeat under the same idempotency_key"
        }
        Code::Busy | Code::Quota | Code::SlowSubscriber => "call again after retry_after_ms, or else in some seconds",
        Code::DiskLow => "tell a person: the disks of the cluster are nearly full",
        Code::MemoryLow => "call again after retry_after_ms, or at another node: this one is short of memory",
        Code::Invalid | Code::TooLarge | Code::WrongType | Code::MissingContent => {
            "correct the argument, then call again"
        }
        Code::IdempotencyKeyConflict => "use another idempotency_key",
        Code::Forbidden | Code::Unauthorized => "tell a person: the token that this client shows may not do that",
        Code::MethodNotAllowed | Code::Internal | Code::Other => "tell a person: this is no fault of the call",
    }
}
