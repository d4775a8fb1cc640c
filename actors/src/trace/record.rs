//! What is known of a request that was followed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{SpanId, TraceId};
use super::journal::{AppliedTimes, CommandId, CommandTimes};

/// A request that was followed: when it was served, its commands, and when each node had them. Times are those of each
/// node's wall clock, in microseconds since 1970. It travels by names: builds may differ in what they tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceRecord {
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// Its own span.
    pub span: SpanId,
    /// The span of the caller, if it told of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SpanId>,
    /// The node whose door served it.
    pub node: String,
    /// The method and the route.
    pub name: String,
    /// The status of the answer.
    pub status: u16,
    /// When it arrived.
    pub begin_us: u64,
    /// When it was answered.
    pub end_us: u64,
    /// Its commands, in their order.
    #[serde(default)]
    pub commands: Vec<CommandRecord>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRecord {
    /// What it is.
    pub what: String,
    /// When it was handed to the queen.
    pub begin_us: u64,
    /// When it was put into a round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_us: Option<u64>,
    /// When it had an outcome, or the caller none any more.
    pub end_us: u64,
    /// What came of it: `done`, `refused`, `lost`, `not taken`, `unknown`.
    pub outcome: String,
    /// Which command it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    /// When each node had it, by name; those that told.
    #[serde(default)]
    pub nodes: Vec<NodeTimes>,
}

/// When a node had a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeTimes {
    /// The node.
    pub node: String,
    /// When its round reached the queen of this node, while that led.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived_us: Option<u64>,
    /// When she handed it to consensus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appended_us: Option<u64>,
    /// When it was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedTimes>,
}

impl TraceRecord {
    /// Whether something went wrong: the door answered with an error of its own, or a command has no outcome.
    pub fn is_error(&self) -> bool {
        self.status >= 500 || self.commands.iter().any(|command| command.outcome == "unknown")
    }

    /// The commands whose times this node has not told, with their places.
    pub(super) fn unknown_at(&self, node: &str) -> Vec<(usize, CommandId)> {
        let commands = self.commands.iter().enumerate();
        let unknown = commands.filter(|(_, command)| {
            let told = command.nodes.iter().find(|times| times.node == node);
            told.is_none_or(|told| told.applied.is_none())
        });
        unknown
            .filter_map(|(place, command)| Some((place, command.command?)))
            .collect()
    }

    /// A node tells when it had a command.
    pub(super) fn told(&mut self, place: usize, node: &str, times: CommandTimes) {
        let Some(command) = self.commands.get_mut(place) else {
            return;
        };
        if times == CommandTimes::default() {
            return;
        }
        command.nodes.retain(|told| told.node != node);
        command.nodes.push(NodeTimes {
            node: node.to_owned(),
            arrived_us: times.arrived_us,
            appended_us: times.appended_us,
            applied: times.applied,
        });
        command.nodes.sort_by(|one, other| one.node.cmp(&other.node));
    }
}
