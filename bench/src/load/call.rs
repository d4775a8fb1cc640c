//! Agents that measure calls: one sends a signal and waits for its echo before it sends the next.

use std::collections::VecDeque;
use std::time::Instant;

use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentAddress, AgentContext, Behaviour, BehaviourError, Signal, Step, TellError};
use serde::Deserialize;

use super::unix_us;

/// What a caller is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallerArguments {
    /// Whom it calls: an agent that sends back what it gets.
    to: AgentAddress,
    /// How many calls are measured.
    calls: u64,
    /// How many it makes before.
    #[serde(default)]
    warm_up_calls: u64,
    /// Bytes of each payload.
    bytes: usize,
}

/// Calls an echo, one call after the other. Reports `calls` with their `latency_ns`, how many were `sent` and how many
/// answers nobody waited for (`unexpected`), and from when to when it measured.
pub struct Caller {
    arguments: CallerArguments,
    payload: Vec<u8>,
    /// Calls sent, the open one included.
    sent: u64,
    answered: u64,
    unexpected: u64,
    asked: Instant,
    /// When the first measured call was sent.
    first_at_us: u64,
    latency: Histogram<u64>,
}

impl Caller {
    pub(super) fn new(arguments: CallerArguments) -> Caller {
        let payload = vec![7; arguments.bytes.max(8)];
        Caller {
            arguments,
            payload,
            sent: 0,
            answered: 0,
            unexpected: 0,
            asked: Instant::now(),
            first_at_us: 0,
            latency: super::histogram(),
        }
    }

    /// Notes the moment of the next call and puts its number into the payload.
    fn prepare(&mut self) {
        self.payload[..8].copy_from_slice(&self.sent.to_le_bytes());
        if self.sent == self.arguments.warm_up_calls {
            self.first_at_us = unix_us();
        }
        self.asked = Instant::now();
    }

    /// The next call, at the start and when the lane was full.
    async fn call(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        if self.sent > self.answered {
            // A step that was asked for before the answer came.
            return Ok(Step::Wait);
        }
        self.prepare();
        let told = context.tell_waiting(self.arguments.to, &self.payload).await;
        told.map_err(|error| BehaviourError(error.to_string()))?;
        self.sent += 1;
        Ok(Step::Wait)
    }

    fn answer(&mut self, signal: &Signal) {
        let number = signal.payload.first_chunk().map(|number| u64::from_le_bytes(*number));
        if self.sent == self.answered || number != Some(self.answered) {
            self.unexpected += 1;
            return;
        }
        if self.answered >= self.arguments.warm_up_calls {
            self.latency.saturating_record(self.asked.elapsed().as_nanos() as u64);
        }
        self.answered += 1;
    }

    fn next(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let Self { arguments, .. } = self;
        if self.sent > self.answered {
            return Ok(Step::Wait);
        }
        if self.answered == arguments.warm_up_calls + arguments.calls {
            context.report("last_at_us", unix_us());
            context.report("first_at_us", self.first_at_us);
            context.report("calls", arguments.calls);
            context.report("sent", self.sent);
            context.report("unexpected", self.unexpected);
            context.report("latency_ns", super::to_report(&self.latency));
            return Ok(Step::Done);
        }
        self.prepare();
        match context.tell(self.arguments.to, &self.payload) {
            Ok(()) => {
                self.sent += 1;
                Ok(Step::Wait)
            }
            Err(TellError::Busy { .. }) => Ok(Step::Again),
            Err(error) => Err(BehaviourError(error.to_string())),
        }
    }
}

impl Behaviour for Caller {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.call(context))
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        signals.iter().for_each(|signal| self.answer(signal));
        self.next(context)
    }
}

/// Sends every signal back to the agent that it came from.
#[derive(Default)]
pub struct Echo {
    /// What waits for room on the way back.
    waiting: VecDeque<Signal>,
}

impl Echo {
    async fn send_back(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        while let Some(signal) = self.waiting.pop_front() {
            ended_or(context.tell_waiting(signal.from, &signal.payload).await)?;
        }
        Ok(Step::Wait)
    }
}

/// A caller of this node that has ended needs no answer.
fn ended_or(told: Result<(), TellError>) -> Result<(), BehaviourError> {
    match told {
        Ok(()) | Err(TellError::Unknown { .. }) => Ok(()),
        Err(error) => Err(BehaviourError(error.to_string())),
    }
}

impl Behaviour for Echo {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.send_back(context))
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        for signal in signals {
            // Behind those that wait: the order of each caller's signals stands.
            if !self.waiting.is_empty() {
                self.waiting.push_back(signal);
                continue;
            }
            match context.tell(signal.from, &signal.payload) {
                Err(TellError::Busy { .. }) => self.waiting.push_back(signal),
                told => ended_or(told)?,
            }
        }
        Ok(if self.waiting.is_empty() {
            Step::Wait
        } else {
            Step::Again
        })
    }

    fn passivate(&mut self) -> Option<Vec<u8>> {
        self.waiting.is_empty().then(Vec::new)
    }
}
