//! A pair of agents that measures signals: one sends as fast as it may, the other counts.

use std::time::Instant;

use futures::future::BoxFuture;
use queenright_actors::agent::{AgentAddress, AgentContext, Behaviour, BehaviourError, Signal, Step, TellError};
use serde::Deserialize;

/// How many signals a source sends before it lets others have a turn.
const SIGNALS_PER_STEP: u64 = 1024;

/// What a source is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceArguments {
    /// To whom it sends.
    to: AgentAddress,
    /// How many signals.
    count: u64,
    /// Bytes of each payload.
    bytes: usize,
}

/// Sends a number of signals, each with its place in front of the payload; a full lane makes it wait, nothing is given
/// up.
pub struct Source {
    arguments: SourceArguments,
    payload: Vec<u8>,
    sent: u64,
    busy: u64,
    started: Option<Instant>,
}

impl Source {
    pub(super) fn new(arguments: SourceArguments) -> Source {
        let payload = vec![7; arguments.bytes.max(8)];
        Source {
            arguments,
            payload,
            sent: 0,
            busy: 0,
            started: None,
        }
    }

    async fn send(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let started = *self.started.get_or_insert_with(Instant::now);
        let to = self.arguments.to;
        let until = self.arguments.count.min(self.sent + SIGNALS_PER_STEP);
        while self.sent < until {
            self.payload[..8].copy_from_slice(&self.sent.to_le_bytes());
            let told = match context.tell(to, &self.payload) {
                Err(TellError::Busy { .. }) => {
                    self.busy += 1;
                    context.tell_waiting(to, &self.payload).await
                }
                told => told,
            };
            told.map_err(|error| BehaviourError(error.to_string()))?;
            self.sent += 1;
        }
        if self.sent < self.arguments.count {
            return Ok(Step::Again);
        }
        context.report("sent", self.sent);
        context.report("busy", self.busy);
        context.report("sending_ms", started.elapsed().as_secs_f64() * 1e3);
        Ok(Step::Done)
    }
}

impl Behaviour for Source {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.send(context))
    }
}

/// Counts signals, and those that are out of the order in which their sender sent them.
#[derive(Default)]
pub struct Sink {
    received: u64,
    out_of_order: u64,
    next: std::collections::HashMap<AgentAddress, u64>,
    first: Option<Instant>,
}

impl Behaviour for Sink {
    fn step<'a>(&'a mut self, _: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async { Ok(Step::Wait) })
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        let first = *self.first.get_or_insert_with(Instant::now);
        for signal in &signals {
            let place = signal
                .payload
                .first_chunk()
                .map_or(0, |place| u64::from_le_bytes(*place));
            let next = self.next.entry(signal.from).or_insert(0);
            self.out_of_order += u64::from(place != *next);
            *next = place + 1;
        }
        self.received += signals.len() as u64;
        context.report("received", self.received);
        context.report("out_of_order", self.out_of_order);
        context.report("receiving_ms", first.elapsed().as_secs_f64() * 1e3);
        Ok(Step::Wait)
    }
}
