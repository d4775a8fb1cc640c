//! How a command reaches the door of a node, and what the errors on the way are to a person.

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::Code;
use queenright_bench::client::{Client, ClientError, ClientOptions};

use super::CliError;
use crate::cli::{ClientArgs, ReadMode, TargetArgs};
use crate::exit::Exit;

/// Who changes something, if it was changed from the command line.
const AUTHOR: &str = "cli";

/// The client of the node that is meant.
pub(super) fn client(args: &ClientArgs) -> Result<Client, CliError> {
    let options = ClientOptions {
        agent: AUTHOR.to_owned(),
        timeout: args.timeout,
        ..ClientOptions::default()
    };
    Ok(Client::new(&args.door()?.url(""), options)?)
}

/// The client of the node that is meant, for the project that is meant.
pub(super) fn client_of_project(target: &TargetArgs) -> Result<Client, CliError> {
    Ok(client(&target.client)?.in_project(&target.project))
}

impl From<ReadMode> for Consistency {
    fn from(mode: ReadMode) -> Consistency {
        match mode {
            ReadMode::Linearizable => Consistency::Linearizable,
            ReadMode::Local => Consistency::Local,
        }
    }
}

/// The exit code of an error, and its word for programs.
pub(super) fn of_error(error: &ClientError) -> (Exit, String) {
    match error {
        ClientError::Problem(problem) => (exit_of(problem.code), problem.code.to_string()),
        ClientError::Unreachable { .. } => (Exit::Unavailable, Code::Unavailable.to_string()),
        ClientError::Timeout { .. } | ClientError::Lost { .. } => (Exit::Timeout, Code::UnknownOutcome.to_string()),
        ClientError::BadResponse { .. } => (Exit::Error, "BAD_RESPONSE".to_owned()),
        ClientError::Unsendable { .. } => (Exit::Error, Code::Invalid.to_string()),
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> CliError {
        let (exit, code) = of_error(&error);
        CliError::Refused {
            exit,
            code,
            message: error.to_string(),
        }
    }
}

/// As `From`, for a request that changes nothing: it has no outcome that could be unknown.
pub(super) fn of_read(error: ClientError) -> CliError {
    match error {
        ClientError::Lost { .. } => CliError::Refused {
            exit: Exit::Unavailable,
            code: Code::Unavailable.to_string(),
            message: error.to_string(),
        },
        error => error.into(),
    }
}

/// The exit code of a refusal.
pub(super) fn exit_of(code: Code) -> Exit {
    match code {
        Code::Conflict | Code::Held | Code::IdempotencyKeyConflict => Exit::Conflict,
        Code::Fenced | Code::Expired | Code::CursorExpired => Exit::Fenced,
        Code::Forbidden => Exit::Unauthorized,
        Code::Unavailable => Exit::Unavailable,
        Code::Busy | Code::Quota | Code::DiskLow | Code::SlowSubscriber => Exit::Temporary,
        Code::UnknownOutcome => Exit::Timeout,
        Code::NotFound
        | Code::CursorAhead
        | Code::Invalid
        | Code::TooLarge
        | Code::WrongType
        | Code::MissingContent
        | Code::MethodNotAllowed
        | Code::Internal
        | Code::Other => Exit::Error,
    }
}

#[cfg(test)]
mod tests {
    use queenright_bench::client::wire::Problem;

    use super::*;

    #[test]
    fn scripts_can_tell_errors_apart() {
        let check = |error: ClientError, exit: Exit, code: &str| {
            let error = CliError::from(error);
            assert_eq!((error.exit(), error.code()), (exit, code), "{error}");
        };
        let problem = |code| ClientError::Problem(Box::new(Problem::new(code, "detail")));
        let url = || "http://127.0.0.1:1".to_owned();
        check(problem(Code::Conflict), Exit::Conflict, "CONFLICT");
        check(problem(Code::CursorExpired), Exit::Fenced, "CURSOR_EXPIRED");
        check(problem(Code::Unavailable), Exit::Unavailable, "UNAVAILABLE");
        check(problem(Code::UnknownOutcome), Exit::Timeout, "UNKNOWN_OUTCOME");
        check(problem(Code::Busy), Exit::Temporary, "BUSY");
        check(problem(Code::DiskLow), Exit::Temporary, "DISK_LOW");
        check(problem(Code::NotFound), Exit::Error, "NOT_FOUND");
        check(
            ClientError::Unreachable { url: url() },
            Exit::Unavailable,
            "UNAVAILABLE",
        );
        let timeout = ClientError::Timeout {
            url: url(),
            waited_ms: 1,
        };
        check(timeout, Exit::Timeout, "UNKNOWN_OUTCOME");
        let lost = || ClientError::Lost {
            url: url(),
            problem: "reset".to_owned(),
        };
        check(lost(), Exit::Timeout, "UNKNOWN_OUTCOME");
        assert_eq!(of_read(lost()).exit(), Exit::Unavailable);
    }
}
