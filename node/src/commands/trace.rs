//! `queenright trace`: a request that was followed, as a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use queenright_actors::trace::{Span, SpanId, TraceId};
use queenright_bench::client::wire::{TraceFound, TraceList};

use super::door::{client, of_read};
use super::table::{Table, shown};
use super::{CliError, Context};
use crate::cli::TraceArgs;
use crate::exit::Exit;
use crate::wall_time::rfc3339;

/// Shows a trace, or lists the last ones.
///
/// # Errors
/// [`CliError`].
pub async fn run(args: TraceArgs, context: &Context) -> Result<Exit, CliError> {
    let Some(trace) = &args.trace else {
        let list = client(&args.client)?.traces(args.limit).await.map_err(of_read)?;
        context.answer(&list, list_text(&list))?;
        return Ok(if list.traces.is_empty() {
            Exit::Nothing
        } else {
            Exit::Ok
        });
    };
    let trace: TraceId = trace.parse().map_err(|error| CliError::Usage(format!("ID: {error}")))?;
    let found = client(&args.client)?.trace(&trace.to_string()).await.map_err(of_read)?;
    context.answer(&found, text(&found))?;
    Ok(Exit::Ok)
}

fn list_text(list: &TraceList) -> String {
    if list.traces.is_empty() {
        return "no request was followed".to_owned();
    }
    let mut table = Table::new(["TRACE", "NODE", "TOOK", "STATUS", "COMMANDS", "AT", "REQUEST"]);
    for trace in &list.traces {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_micros(trace.begin_us);
        table.row([
            trace.trace.to_string(),
            shown(&trace.node),
            time(trace.took_us),
            format!("{}{}", trace.status, if trace.error { " !" } else { "" }),
            trace.commands.to_string(),
            rfc3339(at),
            shown(&trace.name),
        ]);
    }
    table.to_string()
}

/// The tree of a trace: each span with its node, when it began after the first one, and how long it took.
fn text(found: &TraceFound) -> String {
    let known: BTreeSet<SpanId> = found.spans.iter().map(|span| span.span).collect();
    let mut tree = Tree {
        below: BTreeMap::new(),
        first_us: found.spans.iter().map(|span| span.begin_us).min().unwrap_or_default(),
        text: format!("trace {}", found.trace),
    };
    let mut roots = Vec::new();
    for span in &found.spans {
        // The span of a caller is nobody's here.
        match span.parent.filter(|parent| known.contains(parent)) {
            Some(parent) => tree.below.entry(parent).or_default().push(span),
            None => roots.push(span),
        }
    }
    for root in roots {
        tree.write(root, "", "");
    }
    tree.text
}

struct Tree<'a> {
    /// The parts of spans that were not written yet.
    below: BTreeMap<SpanId, Vec<&'a Span>>,
    first_us: u64,
    text: String,
}

impl Tree<'_> {
    fn write(&mut self, span: &Span, branch: &str, below: &str) {
        let after = time(span.begin_us.saturating_sub(self.first_us));
        let took = time(span.end_us.saturating_sub(span.begin_us));
        let (name, node) = (format!("{branch}{}", shown(&span.name)), shown(&span.node));
        let about = span.attributes.iter();
        let about: Vec<String> = about.map(|(name, value)| format!("{name}={}", shown(value))).collect();
        let error = if span.error { "  ERROR" } else { "" };
        let line = format!("{name:36} {node:10} +{after:>9} {took:>9}  {}{error}", about.join(" "));
        let _ = write!(self.text, "\n{}", line.trim_end());
        let parts = self.below.remove(&span.span).unwrap_or_default();
        for (place, part) in parts.iter().enumerate() {
            let (branch, more) = match place + 1 == parts.len() {
                true => ("└─ ", "   "),
                false => ("├─ ", "│  "),
            };
            self.write(part, &format!("{below}{branch}"), &format!("{below}{more}"));
        }
    }
}

fn time(us: u64) -> String {
    format!("{:.3} ms", us as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_a_tree_with_times_from_its_beginning() {
        let id = |digit: char| -> SpanId { digit.to_string().repeat(16).parse().unwrap() };
        let span = |own: char, parent: Option<char>, name: &str, begin_us: u64, end_us: u64| Span {
            span: id(own),
            parent: parent.map(id),
            node: "n1".to_owned(),
            name: name.to_owned(),
            begin_us,
            end_us,
            attributes: BTreeMap::new(),
            error: name == "apply",
        };
        let found = TraceFound {
            trace: "4".repeat(32).parse().unwrap(),
            requests: Vec::new(),
            spans: vec![
                // The caller's span is nobody's here.
                span('1', Some('9'), "PUT /v1/memory", 1_000, 6_000),
                span('2', Some('1'), "memory change", 1_100, 5_900),
                span('3', Some('2'), "gather", 1_100, 1_200),
                span('4', Some('2'), "round", 1_200, 5_900),
                span('5', Some('4'), "apply", 5_000, 5_010),
            ],
        };
        let expected = [
            "trace 44444444444444444444444444444444",
            "PUT /v1/memory                       n1         + 0.000 ms  5.000 ms",
            "└─ memory change                     n1         + 0.100 ms  4.800 ms",
            "   ├─ gather                         n1         + 0.100 ms  0.100 ms",
            "   └─ round                          n1         + 0.200 ms  4.700 ms",
            "      └─ apply                       n1         + 4.000 ms  0.010 ms  ERROR",
        ];
        let text = text(&found);
        for (line, expected) in text.lines().zip(expected) {
            assert_eq!(
                line.split_whitespace().collect::<Vec<_>>(),
                expected.split_whitespace().collect::<Vec<_>>()
            );
        }
        assert_eq!(text.lines().count(), expected.len());
    }
}
