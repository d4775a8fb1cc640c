//! B10, the primitives of coordination by the rules alone: every command goes through `Colony::apply`, the function that
//! each node calls for each entry of its log, on one thread and without network, log and store.
//!
//! | part | axis | what must be so |
//! |---|---|---|
//! | snapshot writes | 10 to 200 commits, a snapshot after each | every snapshot reads as when it was made |
//! | commutative aggregation | 10 to 500 proposals that add to one key, one batch | all commit, the value is the sum |
//! | conditional aggregation | 10 to 200 proposals on `resource-(i mod 10)`, one batch, the first writer wins | all but 10 lose, and name who won |
//! | proposal merging | 2 to 20 proposals that change lines of one text, one batch | all commit, all changes are in the text |
//! | priority scheduling | 10 to 100,000 tasks of four priorities | claims get them in the order of the oracle |
//! | starvation bound | 2, 4 and 12 lanes, the best never empty | the lowest is passed by at most 17 grants for each lane |
//! | queue depth | 100 to 5,000 tasks | the counts are those of what was added |
//! | scheduling hints | 100 to 5,000 tasks of drawn priority, tier and cost | claims get them in the order of the oracle |
//! | dependency depth | chains of 2, 4 and 8 tasks | each finish makes the next ready, and no other can be claimed |
//! | concurrent swarms | 2 to 20 projects, their commands in turn | the order of each is its own |
//! | permits | a slot of 5 to 50 places, twice as many that ask | never more hold one; all get one, in the order in which they asked |
//! | time-outs | 1,000 leases that end at once | all tasks are ready again after so many rounds |
//! | allocation | 10 to 200 projects | nothing of them is left |
//!
//! The names and axes are those of the original's benches. Where the original's were wrong they are mended: its conditional
//! aggregation let no proposal fail, since after the first merge everything was about the resource "mixed".

mod flow;
mod memory;
mod order;
mod queue;

use serde_json::json;

use crate::report::{Report, Row};
use crate::timing::Timing;
use crate::{BenchError, Options, claims};

/// The id of the workload.
pub const ID: &str = "B10";
/// What the workload is about.
pub const TITLE: &str = "primitives of coordination, by the rules alone";

/// Runs all parts.
///
/// # Errors
/// [`BenchError::Mismatch`] if anything is not as it must be.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let mut rows = memory::rows(options)?;
    rows.extend(queue::rows(options)?);
    rows.extend(flow::rows(options)?);
    Ok(Report {
        config: json!({
            "seed": options.seed,
            "repeats": options.repeats,
            "tasks_max": options.proposals_max,
            "timed": "Colony::apply, one thread, one command a round; no network, log or store",
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

/// A row of a timing, in nanoseconds.
fn nanos(name: String, unit: &str, timing: &Timing) -> Row {
    let (least, greatest) = timing.spread();
    let spread = format!("{least:.0} to {greatest:.0} ns over the samples");
    timing.row(name, unit, 1.0).note(spread)
}

/// A row of a timing, in microseconds.
fn micros(name: String, timing: &Timing) -> Row {
    let (least, greatest) = timing.spread();
    let spread = format!("{:.1} to {:.1} µs over the samples", least / 1e3, greatest / 1e3);
    timing.row(name, "µs", 1e3).note(spread)
}

/// A row of a count that was compared with what it must be.
fn counted(name: String, count: usize, unit: &str) -> Row {
    Row::new(name, count as f64, unit, 1)
}
