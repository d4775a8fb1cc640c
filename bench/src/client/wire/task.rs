//! Tasks over a door.

mod calls;
mod shown;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use queenright_protocol::colony::{Holder, Owner, TaskId, TaskIdError};
use queenright_protocol::id::NodeId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::calls::{
    AcceptTask, AcceptedTask, AddTasks, AddedTask, AddedTasks, ClaimTasks, ClaimedTask, ClaimedTasks, ControlTask,
    FinishTask, FinishedTask, HandOffTask, TaskNow, UpdateTask, WireEnding, WireFailure,
};
pub use self::shown::{TaskList, WireAttempt, WireClosed, WireFinished, WireLease, WireNeed, WireTask};
use super::WireSessionId;

/// The id of a task, written `17-0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(extend("pattern" = r"^[0-9]+-[0-9]+$"))]
pub struct WireTaskId(pub TaskId);

impl fmt::Display for WireTaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for WireTaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<WireTaskId, TaskIdError> {
        text.parse().map(WireTaskId)
    }
}

impl TryFrom<String> for WireTaskId {
    type Error = TaskIdError;

    fn try_from(text: String) -> Result<WireTaskId, TaskIdError> {
        text.parse()
    }
}

impl From<WireTaskId> for String {
    fn from(id: WireTaskId) -> String {
        id.to_string()
    }
}

/// Who holds a task, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WireHolder {
    /// A hosted agent.
    Agent {
        /// Its name.
        name: Arc<str>,
        /// The number of its node.
        node: u64,
        /// Which start of that node.
        incarnation: u64,
        /// Its generation.
        generation: u64,
    },
    /// An external agent.
    Session {
        /// Its session.
        session: WireSessionId,
        /// What it is called.
        name: Arc<str>,
        /// Who claimed in it.
        author: Arc<str>,
    },
}

impl WireHolder {
    pub(super) fn new(owner: &Owner, author: &Arc<str>) -> WireHolder {
        match owner {
            Owner::Agent { agent, .. } => WireHolder::Agent {
                name: agent.name.clone(),
                node: agent.node.0,
                incarnation: agent.incarnation,
                generation: agent.generation,
            },
            Owner::Session { session, name } => WireHolder::Session {
                session: WireSessionId(*session),
                name: name.clone(),
                author: author.clone(),
            },
        }
    }
}

impl From<&Holder> for WireHolder {
    fn from(holder: &Holder) -> WireHolder {
        WireHolder::new(&holder.owner, &holder.author)
    }
}

impl fmt::Display for WireHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireHolder::Agent {
                name, node, generation, ..
            } => {
                let node = NodeId(*node);
                write!(
                    f,
                    "agent {} of node {node}, generation {generation}",
                    name.escape_debug()
                )
            }
            WireHolder::Session { session, name, author } => {
                let (name, author) = (name.escape_debug(), author.escape_debug());
                write!(f, "session {session} ({name}) of {author}")
            }
        }
    }
}

/// A payload or a result as the colony keeps it: the text of the JSON, nothing for null.
pub fn to_bytes(value: &Value) -> Bytes {
    match value {
        Value::Null => Bytes::new(),
        value => Bytes::from(value.to_string()),
    }
}

/// The other way round; bytes that are no JSON, which only an agent of a node may have put there, are shown as text, or
/// as `{"hex": …}` if they are not even that.
pub fn from_bytes(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let text = || str::from_utf8(bytes).ok().map(Value::from);
    let json = serde_json::from_slice(bytes).ok();
    json.or_else(text).unwrap_or_else(|| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serde_json::json!({ "hex": hex })
    })
}
