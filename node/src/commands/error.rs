//! Everything that a command can fail with, and the exit code of each.

use std::error::Error;
use std::io;

use serde::Serialize;

use crate::config::ConfigError;
use crate::exit::Exit;
use crate::server::ServerError;
use crate::state::StateError;
use crate::tree::TreeError;
use crate::up::UpError;

/// Why a command failed. `main` prints it with its causes, once.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The cluster file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// State, or a running node, was not found or cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The cluster did not start.
    #[error(transparent)]
    Up(#[from] UpError),
    /// The node did not start, or could not go on.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// All nodes of the cluster ended although nobody stopped them.
    #[error("all nodes of {cluster} have ended")]
    AllEnded {
        /// The cluster.
        cluster: String,
    },
    /// The command line parses, but what it asks for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Files did not come in or out.
    #[error(transparent)]
    Tree(TreeError),
    /// A refusal by a node, or by anything else with a code of its own.
    #[error("{message}")]
    Refused {
        /// The exit code.
        exit: Exit,
        /// A stable word for programs, such as `CONFLICT`.
        code: String,
        /// One line for people.
        message: String,
    },
    /// A refusal by a node, or that none answers, with what to do next.
    #[error("{message}")]
    Door {
        /// The exit code.
        exit: Exit,
        /// A stable word for programs, such as `HELD`.
        code: String,
        /// One line for people.
        message: String,
        /// What helps, if anything is known.
        next: Option<&'static str>,
    },
    /// Anything else, with its cause.
    #[error("{message}")]
    Failed {
        /// One line for people.
        message: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Stdout cannot be written. That its reader has gone away is no failure.
    #[error("cannot write to stdout")]
    Stdout(#[source] io::Error),
    /// The command is to come in a later version.
    #[error("{verb}: not available yet")]
    NotYet {
        /// The command.
        verb: &'static str,
    },
}

impl From<TreeError> for CliError {
    fn from(error: TreeError) -> CliError {
        match error {
            // What a door refuses has a code of its own.
            TreeError::Client(error) => error.into(),
            error => CliError::Tree(error),
        }
    }
}

impl CliError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            CliError::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            CliError::Usage(_) | CliError::Tree(TreeError::Prefix { .. }) => Exit::Usage,
            CliError::Tree(TreeError::Restless { .. }) => Exit::Temporary,
            CliError::Tree(TreeError::NotEmpty { .. } | TreeError::InTheWay { .. }) => Exit::Conflict,
            CliError::Refused { exit, .. } | CliError::Door { exit, .. } => *exit,
            CliError::State(error) => match error {
                StateError::NothingRunning => Exit::Unavailable,
                StateError::BadDoor { .. } => Exit::Usage,
                StateError::NoHome { .. }
                | StateError::Io { .. }
                | StateError::BadCookie { .. }
                | StateError::BadAdminToken { .. }
                | StateError::BadRecord { .. }
                | StateError::SeveralClusters { .. } => Exit::Error,
            },
            CliError::Config(_)
            | CliError::Tree(_)
            | CliError::Up(_)
            | CliError::Server(_)
            | CliError::AllEnded { .. }
            | CliError::Failed { .. }
            | CliError::Stdout(_)
            | CliError::NotYet { .. } => Exit::Error,
        }
    }

    /// A stable word for programs.
    pub fn code(&self) -> &str {
        match self {
            CliError::Config(_) => "INVALID_CONFIG",
            CliError::State(StateError::NothingRunning) => "UNAVAILABLE",
            CliError::State(StateError::SeveralClusters { .. }) => "AMBIGUOUS",
            CliError::State(StateError::BadDoor { .. }) | CliError::Usage(_) => "USAGE",
            CliError::State(_) => "STATE",
            CliError::Tree(TreeError::Git(_)) => "GIT",
            CliError::Tree(_) => "TREE",
            CliError::Up(_) | CliError::Server(_) => "START_FAILED",
            CliError::AllEnded { .. } => "ALL_ENDED",
            CliError::Refused { code, .. } | CliError::Door { code, .. } => code,
            CliError::Failed { .. } => "FAILED",
            CliError::Stdout(_) => "STDOUT",
            CliError::NotYet { .. } => "NOT_YET",
        }
    }

    /// The error with its causes in one line.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }

    /// What is printed on stderr: a line for people, or an object for programs.
    pub fn report(&self, json: bool) -> String {
        let line = self.line();
        match (json, self.next()) {
            (true, next) => error_json(self.code(), &line, next),
            (false, Some(next)) => format!("error: {line}; next: {next}"),
            (false, None) => format!("error: {line}"),
        }
    }

    fn next(&self) -> Option<&'static str> {
        match self {
            CliError::Door { next, .. } => *next,
            _ => None,
        }
    }
}

fn error_json(code: &str, message: &str, next: Option<&str>) -> String {
    #[derive(Serialize)]
    struct ErrorObject<'a> {
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<&'a str>,
    }
    serde_json::to_string(&ErrorObject { code, message, next }).expect("strings are always JSON")
}
