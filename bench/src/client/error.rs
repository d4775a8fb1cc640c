//! Why a request has no good answer.

use super::wire::{Code, Problem};

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there: nothing was changed.
    #[error("no node answers at {url}")]
    Unreachable {
        /// The address of the door.
        url: String,
    },
    /// Who listens there did not prove to be a node of the cluster, or does not speak TLS: nothing was sent.
    #[error("{url} did not prove to be a node of this cluster: {problem}")]
    Untrusted {
        /// The address of the door.
        url: String,
        /// What TLS says.
        problem: String,
    },
    /// The door refused, or the node has no outcome.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No answer in time. A mutation may have been carried out.
    #[error("no answer from {url} within {waited_ms} ms")]
    Timeout {
        /// The address of the door.
        url: String,
        /// How long was waited.
        waited_ms: u64,
    },
    /// The connection ended before the answer. A mutation may have been carried out.
    #[error("the connection to {url} ended before the answer: {problem}")]
    Lost {
        /// The address of the door.
        url: String,
        /// What happened to the connection.
        problem: String,
    },
    /// The answer is not what a door answers: something else listens there, or the versions do not fit.
    #[error("{url} does not answer as a door does: {problem}")]
    BadResponse {
        /// The address of the door.
        url: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// HTTP cannot carry this; nothing was sent.
    #[error("{what}: {problem}")]
    Unsendable {
        /// What cannot be sent.
        what: &'static str,
        /// Why.
        problem: String,
    },
}

impl ClientError {
    /// The code of a problem that the door answered.
    pub fn code(&self) -> Option<Code> {
        match self {
            ClientError::Problem(problem) => Some(problem.code),
            _ => None,
        }
    }

    /// Whether a command that ended so may have been carried out, or may be later.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            ClientError::Problem(problem) => problem.code == Code::UnknownOutcome,
            // An answer that cannot be read may have been a good one.
            ClientError::Timeout { .. } | ClientError::Lost { .. } | ClientError::BadResponse { .. } => true,
            ClientError::Unreachable { .. } | ClientError::Untrusted { .. } | ClientError::Unsendable { .. } => false,
        }
    }

    /// Whether the same request may have a better answer later.
    pub fn is_temporary(&self) -> bool {
        match self {
            ClientError::Problem(problem) => problem.retryable,
            ClientError::Unreachable { .. } | ClientError::Timeout { .. } | ClientError::Lost { .. } => true,
            ClientError::Untrusted { .. } | ClientError::BadResponse { .. } | ClientError::Unsendable { .. } => false,
        }
    }
}
