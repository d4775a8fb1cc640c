//! What a node counts of requests that are followed.

use queenright_actors::trace::TraceCounts;

use super::text::Page;

/// Writes all of it.
pub(super) fn write(counts: TraceCounts, page: &mut Page) {
    page.counter(
        "queenright_traces_followed_total",
        "Requests that were followed through all nodes.",
        counts.followed,
    );
    page.counter(
        "queenright_traces_incomplete_total",
        "Those kept without what the other nodes know, since too many came at once.",
        counts.incomplete,
    );
    page.counter(
        "queenright_traces_errors_total",
        "Requests that were not followed and are kept since they ended with an error of the node.",
        counts.errors,
    );
    page.gauge("queenright_traces_kept", "Requests that are kept now.", counts.kept);
    if let (Some(exported), Some(dropped)) = (counts.exported, counts.dropped) {
        page.counter(
            "queenright_traces_exported_total",
            "Traces that the collector took.",
            exported,
        );
        page.counter(
            "queenright_traces_dropped_total",
            "Traces that the collector did not get.",
            dropped,
        );
    }
}
