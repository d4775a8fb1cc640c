//! One agent of a pool as its keeper sees it.

use queenright_protocol::colony::Recycle;

use super::Recycled;
use crate::agent::{AgentState, AgentStatus};

/// What a keeper sees of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) state: AgentState,
    /// Why it failed, if it did.
    pub(super) reason: Option<String>,
    pub(super) running: u64,
    pub(super) failed: u64,
    pub(super) memory_bytes: u64,
    pub(super) warm: bool,
}

impl Seen {
    pub(super) fn of(status: &AgentStatus) -> Seen {
        let number = |name: &str| {
            let value = status.report.get(name).and_then(serde_json::Value::as_u64);
            value.unwrap_or_default()
        };
        Seen {
            state: status.state,
            reason: status.reason.clone(),
            running: number("running"),
            failed: number("failed"),
            memory_bytes: number("memory_peak_bytes"),
            warm: status.report.get("warm").and_then(serde_json::Value::as_bool) != Some(false),
        }
    }
}

/// Why an agent is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// There are more than there are to be.
    Surplus,
    /// The command of one of its tasks used too much memory.
    Memory,
    /// It has its age.
    Age,
    /// Too many of its tasks have failed.
    Failures,
    /// It began under an earlier epoch of the pool.
    Changed,
}

impl Recycled {
    pub(super) fn count(&mut self, cause: Cause) {
        match cause {
            // Nobody takes its place.
            Cause::Surplus => {}
            Cause::Memory => self.memory += 1,
            Cause::Age => self.age += 1,
            Cause::Failures => self.failures += 1,
            Cause::Changed => self.changed += 1,
        }
    }
}

/// An agent of a pool.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// The number in its name.
    pub(super) index: u32,
    /// The number that it has on its node.
    pub(super) agent: u64,
    pub(super) began_ms: u64,
    /// The epoch of the pool when it began.
    pub(super) epoch: u64,
    /// How it was at the last look; nothing before the first.
    pub(super) seen: Option<Seen>,
    pub(super) ending: Option<Ending>,
}

/// How far one is that is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) cause: Cause,
    /// At how many looks in a row since it was paused it worked on nothing.
    pub(super) quiet: u8,
    /// It was told to stop.
    pub(super) stopped: bool,
}

impl Ending {
    pub(super) fn of(cause: Cause) -> Ending {
        Ending {
            cause,
            quiet: 0,
            stopped: false,
        }
    }
}

impl Member {
    /// How many tasks it works on.
    pub(super) fn running(&self) -> u64 {
        self.seen.as_ref().map_or(0, |seen| seen.running)
    }

    /// Whether it may take tasks.
    pub(super) fn is_ready(&self) -> bool {
        let starts = |seen: &Seen| matches!(seen.state, AgentState::Starting | AgentState::Recovering) || !seen.warm;
        self.seen.as_ref().is_some_and(|seen| !starts(seen))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_ready() && self.running() == 0
    }

    /// Over which limit it is, if it is over one. The number of tasks it keeps by itself.
    pub(super) fn is_over(&self, limits: &Recycle, now_ms: u64) -> Option<Cause> {
        let seen = self.seen.as_ref()?;
        let age_ms = now_ms.saturating_sub(self.began_ms);
        if limits.memory_bytes.is_some_and(|most| seen.memory_bytes > most) {
            return Some(Cause::Memory);
        }
        if limits.failures.is_some_and(|most| seen.failed >= most) {
            return Some(Cause::Failures);
        }
        limits.age_ms.filter(|most| age_ms >= *most).map(|_| Cause::Age)
    }
}
