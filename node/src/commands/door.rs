//! How a command reaches the door of a node, and what the errors on the way are to a person.

use std::path::Path;
use std::sync::Arc;

use queenright_actors::node::Consistency;
use queenright_actors::tls::{AUTHORITY_FILE, client_config};
use queenright_bench::client::wire::Code;
use queenright_bench::client::{Bearer, Client, ClientError, ClientOptions};
use tokio_rustls::rustls::ClientConfig;

use super::{CliError, advice};
use crate::cli::{AccessArgs, ClientArgs, ReadMode, TargetArgs};
use crate::config::ClusterConfig;
use crate::exit::Exit;
use crate::state::{Door, Registry, RunningNode};

/// The environment variable with the trace that a command belongs to, as other programs have it.
const TRACE_PARENT: &str = "TRACEPARENT";

/// The environment variable with a token for doors. Not QUEENRIGHT_TOKEN, which has that of a session.
const AUTH_TOKEN: &str = "QUEENRIGHT_AUTH_TOKEN";

/// The client of the node that is meant.
pub(super) fn client(args: &ClientArgs) -> Result<Client, CliError> {
    let (door, way) = find(args)?;
    let options = ClientOptions {
        agent: args.acts_as.clone(),
        timeout: args.timeout,
        // What is no trace is none to the door either.
        traceparent: std::env::var(TRACE_PARENT).ok(),
        ..ClientOptions::default()
    };
    Ok(Client::new(&door.url(""), way.options(options))?)
}

/// How a door is known, and what is shown to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    tls: Option<Arc<ClientConfig>>,
    bearer: Option<Bearer>,
}

impl Way {
    /// As the command line and the environment say, and else as a running node of this host has recorded it.
    pub(super) fn to(args: &AccessArgs, known: Option<&RunningNode>) -> Result<Way, CliError> {
        let ca = args.ca.as_deref().or(known.and_then(|node| node.ca.as_deref()));
        let of_host = known.and_then(|node| node.admin_token.as_deref());
        Way::by(ca, args, of_host)
    }

    /// To the nodes of a cluster file; `of_host` is where the token of this host would lie.
    pub(super) fn of_file(config: &ClusterConfig, args: &AccessArgs, of_host: Option<&Path>) -> Result<Way, CliError> {
        let ca = config.tls.as_ref().map(|folder| folder.join(AUTHORITY_FILE));
        Way::by(args.ca.as_deref().or(ca.as_deref()), args, of_host)
    }

    fn by(ca: Option<&Path>, args: &AccessArgs, of_host: Option<&Path>) -> Result<Way, CliError> {
        let tls = ca.map(client_config).transpose().map_err(|error| CliError::Failed {
            message: "the authority of the doors is not known".to_owned(),
            source: error.into(),
        })?;
        Ok(Way {
            tls: tls.map(Arc::new),
            bearer: secret(args, of_host)?.as_deref().map(Bearer::new).transpose()?,
        })
    }

    /// Whether doors are in TLS unless they say otherwise.
    pub(super) fn in_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// These options, by this way.
    pub(super) fn options(&self, options: ClientOptions) -> ClientOptions {
        ClientOptions {
            tls: self.tls.clone(),
            bearer: self.bearer.clone(),
            ..options
        }
    }
}

/// The door that is meant, and the way to it.
pub(super) fn find(args: &ClientArgs) -> Result<(Door, Way), CliError> {
    let Some(text) = &args.node else {
        let node = Registry::of_user()?.find()?;
        return Ok((node.door(), Way::to(&args.access, Some(&node))?));
    };
    named(text, &args.access)
}

/// The door of this name, and the way to it.
pub(super) fn named(text: &str, args: &AccessArgs) -> Result<(Door, Way), CliError> {
    let door = Door::parse(text)?;
    // Without a home, or with records that cannot be read, a door is still a door.
    let known = Registry::of_user().and_then(|registry| registry.with_door(&door));
    let way = Way::to(args, known.ok().flatten().as_ref())?;
    Ok((door.in_tls(way.in_tls()), way))
}

/// The token to show, if there is one. What was named must be there; that of the host is taken if it can be read.
fn secret(args: &AccessArgs, of_host: Option<&Path>) -> Result<Option<String>, CliError> {
    let trimmed = |text: String| text.trim().to_owned();
    if let Some(file) = &args.token_file {
        let text = std::fs::read_to_string(file).map_err(|source| CliError::Failed {
            message: format!("--token-file: cannot read {}", file.display()),
            source: source.into(),
        })?;
        return Ok(Some(trimmed(text)));
    }
    if let Ok(secret) = std::env::var(AUTH_TOKEN) {
        return Ok(Some(trimmed(secret)));
    }
    Ok(of_host.and_then(|file| std::fs::read_to_string(file).ok()).map(trimmed))
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
        ClientError::Untrusted { .. } => (Exit::Error, "UNTRUSTED".to_owned()),
        ClientError::Unreachable { .. } => (Exit::Unavailable, Code::Unavailable.to_string()),
        ClientError::Timeout { .. } | ClientError::Lost { .. } => (Exit::Timeout, Code::UnknownOutcome.to_string()),
        ClientError::BadResponse { .. } => (Exit::Error, "BAD_RESPONSE".to_owned()),
        ClientError::Unsendable { .. } => (Exit::Error, Code::Invalid.to_string()),
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> CliError {
        let (exit, code) = of_error(&error);
        CliError::Door {
            exit,
            code,
            message: error.to_string(),
            next: advice::next(&error),
        }
    }
}

/// As `From`, for a request that changes nothing: it has no outcome that could be unknown.
pub(super) fn of_read(error: ClientError) -> CliError {
    match error {
        ClientError::Lost { .. } => CliError::Door {
            exit: Exit::Unavailable,
            code: Code::Unavailable.to_string(),
            message: error.to_string(),
            next: advice::of_code(Code::Unavailable),
        },
        ClientError::Timeout { .. } => {
            let (exit, code) = of_error(&error);
            CliError::Door {
                exit,
                code,
                message: error.to_string(),
                next: advice::of_code(Code::Unavailable),
            }
        }
        error => error.into(),
    }
}

/// The exit code of a refusal.
pub(super) fn exit_of(code: Code) -> Exit {
    match code {
        Code::Conflict | Code::Held | Code::IdempotencyKeyConflict => Exit::Conflict,
        Code::Fenced | Code::Expired | Code::CursorExpired => Exit::Fenced,
        Code::Forbidden | Code::Unauthorized => Exit::Unauthorized,
        Code::Unavailable => Exit::Unavailable,
        Code::Busy | Code::Quota | Code::DiskLow | Code::MemoryLow | Code::SlowSubscriber => Exit::Temporary,
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
        check(problem(Code::MemoryLow), Exit::Temporary, "MEMORY_LOW");
        check(problem(Code::NotFound), Exit::Error, "NOT_FOUND");
        check(problem(Code::Unauthorized), Exit::Unauthorized, "UNAUTHORIZED");
        check(problem(Code::Forbidden), Exit::Unauthorized, "FORBIDDEN");
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
