//! The exit codes of `queenright`, for scripts. They never change their meaning.

use std::process::{ExitCode, Termination};

/// How a command ended. The number of each is its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It failed; the message says why.
    Error = 1,
    /// The command line was wrong; nothing was tried.
    Usage = 2,
    /// Refused because of another: a conflict, or something held by somebody else.
    Conflict = 3,
    /// The lease or the fence that the caller held is no longer valid.
    Fenced = 4,
    /// Nothing to do, such as a claim when no task is ready.
    Nothing = 5,
    /// The caller may not do that.
    Unauthorized = 6,
    /// No node, or no quorum.
    Unavailable = 7,
    /// Refused for now; the same command may succeed later.
    Temporary = 75,
    /// The time was up; whether the command took effect is unknown.
    Timeout = 124,
}

impl Exit {
    /// Every code with its meaning, in the order of the numbers: what `--help` and the README list.
    pub const TABLE: [(Exit, &str); 10] = [
        (Exit::Ok, "done"),
        (Exit::Error, "failed"),
        (Exit::Usage, "usage: the command line is wrong"),
        (Exit::Conflict, "conflict, or held by another"),
        (Exit::Fenced, "fenced or expired"),
        (Exit::Nothing, "nothing to do"),
        (Exit::Unauthorized, "unauthorized"),
        (Exit::Unavailable, "unavailable: no node or no quorum"),
        (Exit::Temporary, "temporary: try again"),
        (Exit::Timeout, "timeout: the outcome is unknown"),
    ];

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}
