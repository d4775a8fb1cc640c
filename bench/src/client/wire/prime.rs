//! What an agent needs to know when it starts.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EventCursor, WireHolder, WireReservationId, WireTaskId, WireWant, is_false};

/// The answer to `GET /v1/prime`: as JSON no longer than was asked for. What has no room is counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Prime {
    /// The project.
    pub project: Arc<str>,
    /// The agent.
    pub agent: Arc<str>,
    /// Where to go on: what happened until here is in this answer.
    pub cursor: EventCursor,
    /// The tasks that it holds, by id.
    pub claims: Listed<HeldTask>,
    /// What it has reserved, and what it waits for, by id.
    pub reservations: Listed<HeldReservation>,
    /// What every agent is to know: the memory with the tag `pinned`, by key.
    pub pinned: Listed<Pinned>,
    /// What happened since its cursor, the newest first.
    pub happened: Happenings,
    /// What to call next.
    pub next: Vec<NextCall>,
}

/// What had room, and how many had not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listed<T> {
    /// Those that had room.
    pub items: Vec<T>,
    /// How many had not.
    pub left_out: u64,
}

impl<T> Default for Listed<T> {
    fn default() -> Listed<T> {
        Listed {
            items: Vec::new(),
            left_out: 0,
        }
    }
}

/// Something that the agent has reserved, or waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldReservation {
    /// Its id.
    pub reservation: WireReservationId,
    /// What it is of.
    pub resources: Vec<WireWant>,
    /// Whether it waits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub waits: bool,
    /// Whose it is.
    pub holder: WireHolder,
    /// For how long, in milliseconds of cluster time; absent if it goes with the lease of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// For which task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<WireTaskId>,
}

/// A task that the agent holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldTask {
    /// Its id.
    pub task: WireTaskId,
    /// What is to be done.
    pub title: Arc<str>,
    /// What sort of work it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Arc<str>>,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The number that every call of the holder names.
    pub fence: u64,
    /// Who holds it: which session, or which life of the agent.
    pub holder: WireHolder,
    /// When its lease ends although its holder lives, in milliseconds from now, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// How much is done, in hundredths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// What was said last about the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Arc<str>>,
}

/// A pinned record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pinned {
    /// The key.
    pub key: Arc<str>,
    /// Its revision.
    pub revision: u64,
    /// The length of its value in bytes.
    pub bytes: u64,
    /// Its value, if that is text: the beginning of a long one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether this is the beginning only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cut: bool,
}

/// What happened, by type and subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Happenings {
    /// How many events there were that are kept and were looked at.
    pub events: u64,
    /// The newest first.
    pub items: Vec<Happening>,
    /// How many kinds of happenings had no room: older ones than those that had.
    pub left_out: u64,
    /// Whether older events since the cursor were not looked at, or are no longer kept.
    #[serde(default, skip_serializing_if = "is_false")]
    pub incomplete: bool,
}

/// Events of one type about one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Happening {
    /// The type of the events.
    #[serde(rename = "type")]
    pub kind: String,
    /// What they are about, such as `key:plan/title`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How many there were.
    pub times: u64,
    /// The last of them.
    pub last: EventCursor,
    /// Who caused the last of them.
    pub author: Arc<str>,
}

/// A call that makes sense next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextCall {
    /// On the command line.
    pub command: String,
    /// At the door.
    pub http: String,
}
