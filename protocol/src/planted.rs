//! Bugs that are put in on purpose, to see whether the tests find them. Only in builds with the feature `planted-bugs`,
//! which no other feature turns on and which does not compile without debug assertions; and there only when the program
//! chooses one at its start.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

#[cfg(not(debug_assertions))]
compile_error!("the feature `planted-bugs` is for tests: it has no place in an optimised build");

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The log acknowledges entries that it still holds in memory, and writes them a second later.
    AcknowledgeBeforeSync,
    /// A vote is never written, so that a restarted node votes again in the same term.
    ForgetVote,
    /// A read that must see all acknowledged writes is served from what the node has applied.
    StaleRead,
    /// The colony forgets which commands it has applied: a repeated one is applied again.
    ForgetSession,
    /// A task is finished whatever fence the caller names.
    IgnoreFence,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 5] = [
        Bug::AcknowledgeBeforeSync,
        Bug::ForgetVote,
        Bug::StaleRead,
        Bug::ForgetSession,
        Bug::IgnoreFence,
    ];

    /// Its name, as it is chosen.
    pub fn name(self) -> &'static str {
        match self {
            Bug::AcknowledgeBeforeSync => "acknowledge-before-sync",
            Bug::ForgetVote => "forget-vote",
            Bug::StaleRead => "stale-read",
            Bug::ForgetSession => "forget-session",
            Bug::IgnoreFence => "ignore-fence",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no planted bug has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no planted bug (expected one of: {})", Bug::ALL.map(Bug::name).join(", "))]
pub struct UnknownBug {
    /// The name.
    pub name: String,
}

impl FromStr for Bug {
    type Err = UnknownBug;

    fn from_str(name: &str) -> Result<Bug, UnknownBug> {
        let bug = Bug::ALL.into_iter().find(|bug| bug.name() == name);
        bug.ok_or_else(|| UnknownBug { name: name.to_owned() })
    }
}

static CHOSEN: OnceLock<Bug> = OnceLock::new();

/// Lets this process have a bug from now on. The first choice stays.
pub fn choose(bug: Bug) {
    let _ = CHOSEN.set(bug);
}

/// Whether this process has this bug.
pub fn has(bug: Bug) -> bool {
    CHOSEN.get() == Some(&bug)
}
