//! Following a command: from the door of a node through its queen, its round, the leader and the log to every node that
//! applies it.
//!
//! A request that is *followed* has an [`ActiveTrace`], which the task that serves it carries along. [`Node::submit`] notes in it
//! each command that the request brings; the queen notes which number in which round that got. Nothing of that travels: a
//! command has an identity already, (node, start, number), and every node keeps for a while when each round arrived, was
//! appended and was applied (the `Journal`, the same small cost for all rounds). Once the request is over, its node
//! asks the others for the times of its commands, and keeps the whole as a [`TraceRecord`] in a bounded ring.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | `Control::Times` | a node with commands that are followed | each other node | times by command, by names | when did you have these? |
//! | `Control::Trace` | a node that is asked for a trace | each other node | its records, by names | what do you have of this trace? |
//! | `Control::Traces` | a node that is asked for a list | each other node | summaries, by names | which were your last ones? |
//!
//! Nodes of earlier builds answer neither: then their part is missing.
//!
//! [`Node::submit`]: crate::node::Node::submit

mod active;
mod id;
mod journal;
mod record;
mod ring;
mod span;
#[cfg(test)]
mod tests;

pub(crate) use self::active::CommandTrace;
pub use self::active::{ActiveTrace, active};
pub use self::id::{BadTraceId, SpanId, TraceId, TraceParent};
pub use self::journal::{AppliedTimes, CommandId, CommandTimes};
pub(crate) use self::journal::{Journal, RoundHead};
pub use self::record::{CommandRecord, NodeTimes, TraceRecord};
pub(crate) use self::ring::{Asked, Traces};
pub use self::ring::{ExportCounts, Sink, TraceCounts, TraceSummary};
pub use self::span::{Span, spans};

use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock, in microseconds since 1970: times of several nodes are compared by it, as well as their clocks agree.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
