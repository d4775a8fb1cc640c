//! The spans of a request, as a tree: what began when, where, and below what.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::SpanId;
use super::record::{CommandRecord, TraceRecord};

/// A part of what was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// Its identity.
    pub span: SpanId,
    /// What it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SpanId>,
    /// The node.
    pub node: String,
    /// What was done.
    pub name: String,
    /// When it began, in microseconds since 1970 by the clock of the node.
    pub begin_us: u64,
    /// When it ended.
    pub end_us: u64,
    /// What else is known of it.
    pub attributes: BTreeMap<String, String>,
    /// Whether it went wrong.
    pub error: bool,
}

/// The spans of a request, each behind the one that it is a part of.
pub fn spans(record: &TraceRecord) -> Vec<Span> {
    let mut spans = vec![Span {
        span: record.span,
        parent: record.parent,
        node: record.node.clone(),
        name: record.name.clone(),
        begin_us: record.begin_us,
        end_us: record.end_us.max(record.begin_us),
        attributes: BTreeMap::from([("http.response.status_code".to_owned(), record.status.to_string())]),
        error: record.is_error(),
    }];
    for (place, command) in record.commands.iter().enumerate() {
        of_command(record, place, command, &mut spans);
    }
    spans
}

fn of_command(record: &TraceRecord, place: usize, command: &CommandRecord, spans: &mut Vec<Span>) {
    let identity = |name: &str, node: &str| {
        let place = (place as u64).to_le_bytes();
        SpanId::of(&[
            record.trace.bytes(),
            record.span.bytes(),
            &place,
            name.as_bytes(),
            node.as_bytes(),
        ])
    };
    let mut add =
        |name: &str, parent: SpanId, node: &str, (begin_us, end_us): (u64, u64), attributes: Vec<(&str, String)>| {
            let span = identity(name, node);
            let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value));
            spans.push(Span {
                span,
                parent: Some(parent),
                node: node.to_owned(),
                name: name.to_owned(),
                begin_us,
                // Clocks of nodes may differ by more than a step takes.
                end_us: end_us.max(begin_us),
                attributes: attributes.collect(),
                error: false,
            });
            span
        };
    let mut about = vec![("outcome", command.outcome.clone())];
    if let Some(id) = command.command {
        about.push(("number", id.number.to_string()));
    }
    let whole = (command.begin_us, command.end_us);
    let of = add(&command.what, record.span, &record.node, whole, about);
    let Some(cut_us) = command.cut_us else { return };
    add("gather", of, &record.node, (command.begin_us, cut_us), Vec::new());
    let round = add("round", of, &record.node, (cut_us, command.end_us), Vec::new());
    for times in &command.nodes {
        let applied = times.applied;
        if let (Some(arrived), Some(appended)) = (times.arrived_us, times.appended_us) {
            add("order", round, &times.node, (arrived, appended), Vec::new());
        }
        if let (Some(appended), Some(applied)) = (times.appended_us, applied) {
            let index = vec![("index", applied.index.to_string())];
            add("consensus", round, &times.node, (appended, applied.begin_us), index);
        }
        if let Some(applied) = applied {
            let index = vec![("index", applied.index.to_string())];
            add("apply", round, &times.node, (applied.begin_us, applied.end_us), index);
        }
    }
    if command.outcome == "unknown"
        && let Some(span) = spans.iter_mut().find(|span| span.span == of)
    {
        span.error = true;
    }
}
