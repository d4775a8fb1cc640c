//! Agents that measure signals: one sends as fast as it may, others count.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use queenright_actors::agent::{AgentAddress, AgentContext, Behaviour, BehaviourError, Signal, Step, TellError};
use serde::Deserialize;

use super::unix_us;

/// How many signals a source sends before it lets others have a turn.
const SIGNALS_PER_STEP: u64 = 1024;
/// How long a source that gives up waits after a refusal.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);
/// After how many signals a sink that knows how many will come reports.
const SIGNALS_PER_REPORT: u64 = 8192;

/// What a source is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceArguments {
    /// To whom it sends.
    to: AgentAddress,
    /// To whom it sends in turn with that one.
    #[serde(default)]
    also_to: Vec<AgentAddress>,
    /// How many signals.
    count: u64,
    /// Bytes of each payload.
    bytes: usize,
    /// Send for so many milliseconds at most, and give up what is refused.
    #[serde(default)]
    for_ms: Option<u64>,
}

/// Sends a number of signals, each with its place in front of the payload; a full lane makes it wait, nothing is given
/// up. Reports how many were `sent`, how often one was refused at first (`busy`), and when it started. With a time at hand it
/// gives up what is refused, and reports those for which there was no way (`unreachable`) as well, all the time.
pub struct Source {
    targets: Vec<AgentAddress>,
    count: u64,
    payload: Vec<u8>,
    sent: u64,
    busy: u64,
    unreachable: u64,
    patience: Option<Duration>,
    started: Option<(Instant, u64)>,
}

impl Source {
    pub(super) fn new(arguments: SourceArguments) -> Source {
        let mut targets = vec![arguments.to];
        targets.extend(arguments.also_to);
        Source {
            targets,
            count: arguments.count,
            payload: vec![7; arguments.bytes.max(8)],
            sent: 0,
            busy: 0,
            unreachable: 0,
            patience: arguments.for_ms.map(Duration::from_millis),
            started: None,
        }
    }

    async fn send(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        if let Some(patience) = self.patience {
            return self.send_for(patience, context).await;
        }
        let (started, started_at_us) = *self.started.get_or_insert_with(|| (Instant::now(), unix_us()));
        let until = self.count.min(self.sent + SIGNALS_PER_STEP);
        let targets = self.targets.len() as u64;
        while self.sent < until {
            let to = self.targets[(self.sent % targets) as usize];
            let place = self.sent / targets;
            self.payload[..8].copy_from_slice(&place.to_le_bytes());
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
        if self.sent < self.count {
            return Ok(Step::Again);
        }
        context.report("sent", self.sent);
        context.report("busy", self.busy);
        context.report("sending_ms", started.elapsed().as_secs_f64() * 1e3);
        context.report("started_at_us", started_at_us);
        Ok(Step::Done)
    }
}

impl Source {
    /// Sends what is taken at once.
    async fn send_for(&mut self, patience: Duration, context: &AgentContext) -> Result<Step, BehaviourError> {
        let (started, _) = *self.started.get_or_insert_with(|| (Instant::now(), unix_us()));
        for _ in 0..SIGNALS_PER_STEP {
            let to = self.targets[(self.sent % self.targets.len() as u64) as usize];
            match context.tell(to, &self.payload) {
                Ok(()) => {
                    self.sent += 1;
                    continue;
                }
                Err(TellError::Busy { .. }) => self.busy += 1,
                Err(_) => self.unreachable += 1,
            }
            // Whoever is refused tries another one a little later.
            tokio::time::sleep(REFUSED_PAUSE).await;
            break;
        }
        context.report("busy", self.busy);
        context.report("unreachable", self.unreachable);
        context.report("sent", self.sent);
        match self.sent < self.count && started.elapsed() < patience {
            true => Ok(Step::Again),
            false => Ok(Step::Done),
        }
    }
}

impl Behaviour for Source {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.send(context))
    }
}

/// What a sink is told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkArguments {
    /// How many signals will come. It reports at the last of them and seldom before; without this, all the time.
    #[serde(default)]
    expect: u64,
}

/// Counts signals, and those that are out of the order in which their sender sent them. Reports `received`,
/// `out_of_order`, and from when to when.
#[derive(Default)]
pub struct Sink {
    expect: u64,
    received: u64,
    reported: u64,
    out_of_order: u64,
    next: std::collections::HashMap<AgentAddress, u64>,
    first: Option<(Instant, u64)>,
}

impl Sink {
    pub(super) fn new(SinkArguments { expect }: SinkArguments) -> Sink {
        Sink {
            expect,
            ..Sink::default()
        }
    }
}

impl Behaviour for Sink {
    fn step<'a>(&'a mut self, _: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async { Ok(Step::Wait) })
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        let (first, first_at_us) = *self.first.get_or_insert_with(|| (Instant::now(), unix_us()));
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
        if self.received >= self.expect || self.received - self.reported >= SIGNALS_PER_REPORT {
            self.reported = self.received;
            context.report("out_of_order", self.out_of_order);
            context.report("receiving_ms", first.elapsed().as_secs_f64() * 1e3);
            context.report("first_at_us", first_at_us);
            context.report("last_at_us", unix_us());
            // The last of them: who sees it complete sees the others of the same moment or later.
            context.report("received", self.received);
        }
        Ok(Step::Wait)
    }
}
