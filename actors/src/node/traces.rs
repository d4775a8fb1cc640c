//! The requests of this node's door that are followed: asking the other nodes when they had the commands, and answering
//! those who ask for a trace.

use std::sync::Weak;
use std::time::Duration;

use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};

use super::Node;
use super::inbox::Control;
use crate::body::encode;
use crate::trace::{
    ActiveTrace, Asked, CommandId, CommandTimes, Sink, TraceCounts, TraceId, TraceRecord, TraceSummary,
};

/// How long after a request the others are asked: they have applied its commands by then, and remember them.
const ASK_AFTER: Duration = Duration::from_millis(300);
/// How long is waited for them: one of an earlier build does not answer.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// How many commands one question is about.
const ASKED_MAX: usize = 4_096;
/// How many traces a list has at most.
const LISTED_MAX: usize = 200;

impl Node {
    /// A request that was followed was answered.
    pub fn traced(&self, active: &ActiveTrace, name: String, status: u16) {
        self.traces.add(active.end(self.name(), name, status));
    }

    /// A request that was not followed ended with an error.
    pub fn traced_error(&self, active: &ActiveTrace, name: String, status: u16) {
        self.traces.add_error(active.end(self.name(), name, status));
    }

    /// Says who takes traces of this node's door once the other nodes were asked.
    ///
    /// # Panics
    /// When it was said before.
    pub fn export_traces(&self, sink: Sink) {
        self.traces.sink_to(sink);
    }

    /// What is counted of traces.
    pub fn trace_counts(&self) -> TraceCounts {
        self.traces.counts()
    }

    /// What all nodes have of a trace, by the time at which its requests arrived. Those that do not answer within half a
    /// second tell nothing.
    pub async fn trace(&self, trace: TraceId) -> Vec<TraceRecord> {
        let others = self.others().into_iter().map(|number| async move {
            let question = encode(&Control::Trace(trace));
            let answer = self
                .router
                .ask(number, Lane::Command, Kind::Control, question, 2 * ASK_TIMEOUT);
            answer.await.ok().and_then(|body| rmp_serde::from_slice(&body).ok())
        });
        let (own, others) = futures::join!(self.own_trace(trace), futures::future::join_all(others));
        let others = others
            .into_iter()
            .flatten()
            .flat_map(|records: Vec<TraceRecord>| records);
        let mut records: Vec<TraceRecord> = own.into_iter().chain(others).collect();
        records.sort_by_key(|record| record.begin_us);
        records
    }

    /// What this node has of a trace, after it has asked the others for what they have not told yet.
    pub(super) async fn own_trace(&self, trace: TraceId) -> Vec<TraceRecord> {
        let mut records = self.traces.of(trace);
        self.ask_for_times(&mut records).await;
        records
    }

    /// The last traces of all nodes, the newest first.
    pub async fn last_traces(&self, limit: usize) -> Vec<TraceSummary> {
        let limit = limit.min(LISTED_MAX);
        let others = self.others().into_iter().map(|number| async move {
            let question = encode(&Control::Traces(limit as u64));
            let answer = self
                .router
                .ask(number, Lane::Command, Kind::Control, question, ASK_TIMEOUT);
            answer.await.ok().and_then(|body| rmp_serde::from_slice(&body).ok())
        });
        let others = futures::future::join_all(others).await;
        let others = others
            .into_iter()
            .flatten()
            .flat_map(|traces: Vec<TraceSummary>| traces);
        let mut traces: Vec<TraceSummary> = self.traces.last(limit).into_iter().chain(others).collect();
        traces.sort_by_key(|trace| std::cmp::Reverse(trace.begin_us));
        traces.truncate(limit);
        traces
    }

    /// The last traces of this node, the newest first.
    pub(super) fn own_traces(&self, limit: u64) -> Vec<TraceSummary> {
        self.traces
            .last(usize::try_from(limit).unwrap_or(LISTED_MAX).min(LISTED_MAX))
    }

    /// When this node had these commands.
    pub(super) fn times_of(&self, commands: &[CommandId]) -> Vec<CommandTimes> {
        let asked = &commands[..commands.len().min(ASKED_MAX)];
        self.replica.journal().times(asked)
    }

    async fn complete_pending(&self) {
        let mut records = self.traces.take_pending();
        self.ask_for_times(&mut records).await;
        records.into_iter().for_each(|record| self.traces.keep(record));
    }

    async fn ask_for_times(&self, records: &mut [TraceRecord]) {
        let own = Asked::of(records, self.name());
        let times = self.times_of(&own.commands);
        own.answered(records, self.name(), times);
        let asked = self.others().into_iter().map(|number| {
            let name = self.name_of(number);
            let mut asked = Asked::of(records, &name);
            asked.truncate(ASKED_MAX);
            async move {
                if asked.commands.is_empty() {
                    return None;
                }
                let question = encode(&Control::Times(asked.commands.clone()));
                let answer = self
                    .router
                    .ask(number, Lane::Command, Kind::Control, question, ASK_TIMEOUT);
                let times: Vec<CommandTimes> = rmp_serde::from_slice(&answer.await.ok()?).ok()?;
                Some((name, asked, times))
            }
        });
        let answers: Vec<_> = futures::future::join_all(asked.collect::<Vec<_>>()).await;
        for (name, asked, times) in answers.into_iter().flatten() {
            asked.answered(records, &name, times);
        }
    }

    fn others(&self) -> Vec<NodeId> {
        let me = self.router.me();
        self.router
            .members()
            .into_iter()
            .filter(|number| *number != me)
            .collect()
    }
}

/// Completes what was followed, for as long as it is polled and the node lives.
pub(super) async fn complete(node: &Weak<Node>) {
    loop {
        // Not the node itself: it would wait for itself to end.
        let Some(traces) = node.upgrade().map(|node| node.traces.clone()) else {
            return;
        };
        traces.wake.notified().await;
        drop(traces);
        tokio::time::sleep(ASK_AFTER).await;
        let Some(node) = node.upgrade() else { return };
        node.complete_pending().await;
    }
}

/// What is told by names.
pub(super) fn by_names(value: &impl serde::Serialize) -> bytes::Bytes {
    rmp_serde::to_vec_named(value)
        .expect("plain data serialises into memory")
        .into()
}
