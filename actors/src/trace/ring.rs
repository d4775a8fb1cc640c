//! The traces that a node keeps: those of its last requests that were followed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::id::TraceId;
use super::journal::{CommandId, CommandTimes};
use super::record::TraceRecord;

/// How many requests are kept, and how many commands they have together: a few megabytes at the most.
const RECORDS_KEPT: usize = 1_024;
const COMMANDS_KEPT: usize = 4_096;
/// How many are kept besides that were not followed and ended with an error: a door that refuses all pushes out nothing else.
const ERRORS_KEPT: usize = 256;
/// How many requests of one trace are told, the last ones.
const TOLD_MAX: usize = 256;
/// How many may wait until the other nodes were asked; beyond, the oldest is kept as it is.
const PENDING_MAX: usize = 256;

/// Takes traces once they are complete.
pub struct Sink {
    /// Is given each; it must not wait.
    pub take: Box<dyn Fn(&TraceRecord) + Send + Sync>,
    /// What became of them.
    pub counts: Arc<ExportCounts>,
}

/// What became of the traces that a collector was to be told.
#[derive(Debug, Default)]
pub struct ExportCounts {
    /// Those that it took.
    pub exported: AtomicU64,
    /// Those that it did not get: too many waited, or it did not take them.
    pub dropped: AtomicU64,
}

/// What a node counts of its traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// Requests that were followed.
    pub followed: u64,
    /// Requests that were not, and ended with an error.
    pub errors: u64,
    /// Those among them that are kept without what other nodes know, since too many came at once.
    pub incomplete: u64,
    /// Those that are kept now.
    pub kept: u64,
    /// Those that a collector took, if one is told.
    pub exported: Option<u64>,
    /// Those that it did not get, if one is told.
    pub dropped: Option<u64>,
}

/// A trace in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceSummary {
    /// The trace.
    pub trace: TraceId,
    /// The node whose door served the request.
    pub node: String,
    /// The method and the route.
    pub name: String,
    /// The status of the answer.
    pub status: u16,
    /// When it arrived, in microseconds since 1970.
    pub begin_us: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// How many commands it brought.
    pub commands: u64,
    /// Whether something went wrong.
    pub error: bool,
}

impl TraceSummary {
    fn of(record: &TraceRecord) -> TraceSummary {
        TraceSummary {
            trace: record.trace,
            node: record.node.clone(),
            name: record.name.clone(),
            status: record.status,
            begin_us: record.begin_us,
            took_us: record.end_us.saturating_sub(record.begin_us),
            commands: record.commands.len() as u64,
            error: record.is_error(),
        }
    }
}

/// The traces of a node.
#[derive(Default)]
pub(crate) struct Traces {
    // A mutex: doors add, one task completes, whoever asks reads. Held for one step of plain code.
    state: Mutex<State>,
    /// Tells the task that asks the others.
    pub(crate) wake: Notify,
    sink: OnceLock<Sink>,
}

#[derive(Default)]
struct State {
    /// Those for which the other nodes were not asked yet, oldest first.
    pending: VecDeque<TraceRecord>,
    kept: VecDeque<TraceRecord>,
    /// How many commands those have.
    commands: usize,
    errors: VecDeque<TraceRecord>,
    counts: TraceCounts,
}

impl Traces {
    /// Says who takes traces that are complete.
    ///
    /// # Panics
    /// When it was said before.
    pub(crate) fn sink_to(&self, sink: Sink) {
        assert!(self.sink.set(sink).is_ok(), "a node has one sink of traces");
    }

    /// A request that was followed is over.
    pub(crate) fn add(&self, record: TraceRecord) {
        let wanted = record.commands.iter().any(|command| command.command.is_some());
        let to_keep = {
            let mut state = self.lock();
            state.counts.followed += 1;
            if wanted {
                state.pending.push_back(record);
                let over = state.pending.len() > PENDING_MAX;
                state.counts.incomplete += u64::from(over);
                over.then(|| state.pending.pop_front()).flatten()
            } else {
                Some(record)
            }
        };
        match to_keep {
            Some(record) => self.keep(record),
            None => self.wake.notify_one(),
        }
    }

    /// A request that was not followed has ended with an error.
    pub(crate) fn add_error(&self, record: TraceRecord) {
        self.tell(&record);
        let mut state = self.lock();
        state.counts.errors += 1;
        if state.errors.len() >= ERRORS_KEPT {
            state.errors.pop_front();
        }
        state.errors.push_back(record);
    }

    /// Those for which the others are to be asked; they are nobody's until they are kept.
    pub(crate) fn take_pending(&self) -> Vec<TraceRecord> {
        self.lock().pending.drain(..).collect()
    }

    /// What is to be kept.
    pub(crate) fn keep(&self, record: TraceRecord) {
        self.tell(&record);
        let mut state = self.lock();
        state.commands += record.commands.len();
        state.kept.push_back(record);
        while state.kept.len() > RECORDS_KEPT || state.commands > COMMANDS_KEPT {
            let Some(oldest) = state.kept.pop_front() else { break };
            state.commands -= oldest.commands.len();
        }
    }

    /// What this node has of a trace: its last requests.
    pub(crate) fn of(&self, trace: TraceId) -> Vec<TraceRecord> {
        let state = self.lock();
        let all = state.pending.iter().rev().chain(state.kept.iter().rev());
        let all = all.chain(state.errors.iter().rev());
        all.filter(|record| record.trace == trace)
            .take(TOLD_MAX)
            .cloned()
            .collect()
    }

    /// The last ones, the newest first.
    pub(crate) fn last(&self, limit: usize) -> Vec<TraceSummary> {
        let state = self.lock();
        let followed = state.pending.iter().rev().chain(state.kept.iter().rev());
        let mut all: Vec<TraceSummary> = followed
            .take(limit)
            .chain(state.errors.iter().rev().take(limit))
            .map(TraceSummary::of)
            .collect();
        all.sort_by_key(|summary| std::cmp::Reverse(summary.begin_us));
        all.truncate(limit);
        all
    }

    /// Tells whoever takes what is complete.
    fn tell(&self, record: &TraceRecord) {
        if let Some(sink) = self.sink.get() {
            (sink.take)(record);
        }
    }

    pub(crate) fn counts(&self) -> TraceCounts {
        let exports = self.sink.get().map(|sink| &sink.counts);
        let state = self.lock();
        TraceCounts {
            exported: exports.map(|counts| counts.exported.load(Ordering::Relaxed)),
            dropped: exports.map(|counts| counts.dropped.load(Ordering::Relaxed)),
            kept: (state.kept.len() + state.errors.len()) as u64,
            ..state.counts
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

/// The commands of these records that a node has not told of, and what it tells of them.
pub(crate) struct Asked {
    places: Vec<(usize, usize)>,
    /// What to ask.
    pub(crate) commands: Vec<CommandId>,
}

impl Asked {
    /// What to ask of a node.
    pub(crate) fn of(records: &[TraceRecord], node: &str) -> Asked {
        let (mut places, mut commands) = (Vec::new(), Vec::new());
        for (record_place, record) in records.iter().enumerate() {
            for (place, command) in record.unknown_at(node) {
                places.push((record_place, place));
                commands.push(command);
            }
        }
        Asked { places, commands }
    }

    /// Asks for no more than this many.
    pub(crate) fn truncate(&mut self, most: usize) {
        self.places.truncate(most);
        self.commands.truncate(most);
    }

    /// What it answers, in the same order.
    pub(crate) fn answered(self, records: &mut [TraceRecord], node: &str, times: Vec<CommandTimes>) {
        for ((record, place), times) in self.places.into_iter().zip(times) {
            records[record].told(place, node, times);
        }
    }
}
