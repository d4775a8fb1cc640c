//! What goes over a door in JSON: the bodies and answers of `/v1`, shared by server and client.
//!
//! Unknown fields of a request are refused, unknown fields of an answer are ignored: a newer door may say more.

mod event;
mod export;
mod log_level;
mod memory;
mod node;
mod overview;
mod pool;
mod prime;
mod problem;
mod project;
mod proposal;
mod rate;
mod reservation;
mod session;
mod task;
mod terms;
mod token;
mod topic;
mod topology;
mod trace;
mod usage;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use queenright_actors::agent::AgentStatus;
use queenright_protocol::colony::ContentHash;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::event::{EventCursor, EventPage, ParseCursorError, WireEvent, WireState, WireWhat};
pub use self::export::{
    EXPORT_FORMAT, EXPORT_FORMAT_OLDEST, ExportEnd, ExportHead, ExportLine, ExportedRecord, ExportedSetting,
    ExportedTask,
};
pub use self::log_level::{LogLevel, SetLogLevel};
pub use self::memory::{ChangeOp, ChangeRequest, Changed, KeyInfo, KeyList, RangeList};
pub use self::node::{NodeAnswer, NodeQuestion, Sealed};
pub use self::overview::{
    OVERVIEW_TASKS_MAX, OverviewCluster, OverviewDoubt, OverviewLink, OverviewLoss, OverviewNode, OverviewSort,
    OverviewTask, OverviewTraffic, OverviewWork, TrafficLink, TrafficNode,
};
pub use self::pool::{PoolChanged, PoolList, PoolNode, PoolStatus, SetPool, SetRecycle, WirePool};
pub use self::prime::{Happening, Happenings, HeldReservation, HeldTask, Listed, NextCall, Pinned, Prime};
pub use self::problem::{Code, Problem};
pub use self::project::{CreateProject, DestroyedProject, ProjectList, ProjectSet, ProjectState, WireProject};
pub use self::proposal::{
    BatchOutcome, BatchRequest, BatchVerdict, FenceRequest, Loss, MergeRequest, ProposalOutcome, ProposalRequest,
    RangeRequest, ReadRequest, Reread, WireConflict, WriteRequest,
};
pub use self::rate::{RateList, SetRate, WireRate};
pub use self::reservation::ends as reservation_ends;
pub use self::reservation::{
    AcquireRequest, Acquired, CheckRequest, ForceRequest, ReleaseRequest, ReleasedReservations, RenewRequest,
    RenewedReservation, ReservationList, ReservationSettingsRequest, SettingsChanged, SlotList, SlotRequest, Standings,
    WireBlocker, WireReservation, WireReservationId, WireSlot, WireStanding, WireWant,
};
pub use self::session::{
    ClosedSession, Heartbeat, OpenSession, OpenedSession, ReopenedSession, SessionList, SessionState, SessionToken,
    WireHeld, WireSession, WireSessionId,
};
pub use self::task::{
    AcceptTask, AcceptedTask, AddTasks, AddedTask, AddedTasks, ClaimTasks, ClaimedTask, ClaimedTasks, ControlTask,
    FinishTask, FinishedTask, HandOffTask, TaskList, TaskNow, UpdateTask, WireAttempt, WireClosed, WireEnding,
    WireFailure, WireFinished, WireHolder, WireLease, WireNeed, WireTask, WireTaskId, from_bytes, to_bytes,
};
pub use self::terms::{
    AddTask, ChangeBreaker, ChangeQueue, QueueList, QueueSet, WireBreaker, WireQueue, WireRetry, WireTerms, sorted,
};
pub use self::token::{CreateToken, CreatedToken, RevokedToken, TokenList, WireToken};
pub use self::topic::WireMessage;
pub use self::topology::{LinkState, SetTopology, TopologySet, WireLink, WireMember, WireTopology};
pub use self::trace::{TraceFound, TraceList};
pub use self::usage::{BudgetList, UsageList, WireAccount, WireBudget, waits_for};

/// A body that parses but says something that no command can be made of. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct BodyError {
    /// Where in the body, such as `writes[2]`.
    pub field: String,
    /// What is wrong there.
    pub problem: String,
}

impl BodyError {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> BodyError {
        BodyError {
            field: field.into(),
            problem: problem.into(),
        }
    }

    fn below(self, outer: &str) -> BodyError {
        BodyError {
            field: format!("{outer}.{}", self.field),
            ..self
        }
    }
}

/// The hash of a value, as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(extend("pattern" = r"^[0-9a-fA-F]{64}$"))]
pub struct HexHash(pub ContentHash);

impl From<HexHash> for String {
    fn from(hash: HexHash) -> String {
        hash.to_string()
    }
}

impl TryFrom<String> for HexHash {
    type Error = ParseHashError;

    fn try_from(text: String) -> Result<HexHash, ParseHashError> {
        text.parse()
    }
}

impl FromStr for HexHash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<HexHash, ParseHashError> {
        ContentHash::from_hex(text)
            .map(HexHash)
            .ok_or_else(|| ParseHashError { text: text.to_owned() })
    }
}

impl fmt::Display for HexHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text is not a hash. Correct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a BLAKE3 hash (expected 64 hexadecimal digits)")]
pub struct ParseHashError {
    /// What was read.
    pub text: String,
}

/// Tags as a record has them: sorted, each once.
pub fn sorted_tags<T: AsRef<str>>(tags: impl IntoIterator<Item = T>) -> Vec<Arc<str>> {
    let mut tags: Vec<Arc<str>> = tags.into_iter().map(|tag| Arc::from(tag.as_ref())).collect();
    tags.sort();
    tags.dedup();
    tags
}

/// The answer to `GET /v1/agents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentList {
    /// Agents of the node, by name.
    pub agents: Vec<AgentStatus>,
    /// What the next page comes `after`, if there may be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests;
