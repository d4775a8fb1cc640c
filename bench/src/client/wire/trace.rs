//! Requests that were followed through all nodes.

use queenright_actors::trace::{Span, TraceId, TraceRecord, TraceSummary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The last requests that were followed, on all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceList {
    /// The newest first.
    pub traces: Vec<TraceSummary>,
}

/// What all nodes have of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceFound {
    /// The trace.
    pub trace: TraceId,
    /// Its requests, by the time at which they arrived.
    pub requests: Vec<TraceRecord>,
    /// The same as spans, each behind the one that it is a part of.
    pub spans: Vec<Span>,
}
