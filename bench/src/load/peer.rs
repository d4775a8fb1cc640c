//! Agents that send each other messages in a closed loop: each has one message under way, and sends the next when it hears
//! that this one was handled.
//!
//! | first byte | then | from | to | meaning |
//! |---|---|---|---|---|
//! | 0 | targets, as JSON | conductor | peer | begin, and send to these |
//! | 1 | moment, filling | peer | peer | a message of the warm-up |
//! | 2 | moment, filling | peer | peer | a message that is measured |
//! | 3 | | peer | peer | the message was handled |
//!
//! A moment is Unix time in nanoseconds, 8 bytes, little-endian: the peers are on one host, and have one clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentAddress, AgentContext, Behaviour, BehaviourError, Signal, Step, TellError};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde::Deserialize;

use super::pulse::unix_ns;

/// The first byte of each kind of signal.
const BEGIN: u8 = 0;
const WARM_UP: u8 = 1;
const MEASURED: u8 = 2;
const HANDLED: u8 = 3;
/// Where the moment stands, and how long a message is at least.
const MOMENT: std::ops::Range<usize> = 1..9;
const BYTES_MIN: usize = MOMENT.end;

/// What a peer is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerArguments {
    /// Bytes of each message.
    bytes: usize,
    /// How long it sends before it is measured, in milliseconds.
    warm_up_ms: u64,
    /// How long it is measured, in milliseconds.
    work_ms: u64,
    /// What it draws its targets from.
    seed: u64,
}

/// One of those who send each other messages. Of those that are measured it reports how many it has `sent`, how many of
/// them were `handled`, and how many it has `received`, with their `latency_ns` from sending to handling; of all how often
/// one was refused at first (`busy`). It reports when its time is `over`, and whenever it handles one after that.
pub struct Peer {
    arguments: PeerArguments,
    targets: Vec<AgentAddress>,
    random: StdRng,
    began: Option<Instant>,
    /// The first byte of the message under way.
    under_way: u8,
    /// What was refused, and is sent when there is room.
    waiting: VecDeque<(AgentAddress, Vec<u8>)>,
    all: u64,
    sent: u64,
    handled: u64,
    received: u64,
    busy: u64,
    is_over: bool,
    latency: Histogram<u64>,
}

impl Peer {
    pub(super) fn new(arguments: PeerArguments) -> Peer {
        Peer {
            random: StdRng::seed_from_u64(arguments.seed),
            arguments,
            targets: Vec::new(),
            began: None,
            under_way: WARM_UP,
            waiting: VecDeque::new(),
            all: 0,
            sent: 0,
            handled: 0,
            received: 0,
            busy: 0,
            is_over: false,
            latency: super::histogram(),
        }
    }

    fn take(&mut self, signal: &Signal, context: &AgentContext) -> Result<(), BehaviourError> {
        match signal.payload.split_first() {
            Some((&BEGIN, targets)) => {
                self.targets = serde_json::from_slice(targets).map_err(|error| BehaviourError(error.to_string()))?;
                self.began = Some(Instant::now());
                self.next(context)
            }
            Some((&(WARM_UP | MEASURED), _)) => self.handle(signal, context),
            Some((&HANDLED, _)) => {
                self.handled += u64::from(self.under_way == MEASURED);
                self.next(context)
            }
            _ => Err(BehaviourError(format!(
                "a signal of {} B from nobody known",
                signal.payload.len()
            ))),
        }
    }

    fn handle(&mut self, signal: &Signal, context: &AgentContext) -> Result<(), BehaviourError> {
        let moment = signal.payload.get(MOMENT).and_then(|moment| moment.try_into().ok());
        let moment = moment.map(u64::from_le_bytes);
        let moment = moment.ok_or_else(|| BehaviourError("a message without its moment".to_owned()))?;
        if signal.payload[0] == MEASURED {
            self.latency.saturating_record(unix_ns().saturating_sub(moment).max(1));
            self.received += 1;
        }
        self.tell(signal.from, vec![HANDLED], context)?;
        if self.is_over {
            self.report(context);
        }
        Ok(())
    }

    /// Sends the next message, unless the time is over.
    fn next(&mut self, context: &AgentContext) -> Result<(), BehaviourError> {
        let since = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        let warm_up = Duration::from_millis(self.arguments.warm_up_ms);
        if since >= warm_up + Duration::from_millis(self.arguments.work_ms) {
            self.is_over = true;
            self.report(context);
            return Ok(());
        }
        let to = self.targets.choose(&mut self.random).copied();
        let to = to.ok_or_else(|| BehaviourError("nobody to send to".to_owned()))?;
        self.under_way = if since < warm_up { WARM_UP } else { MEASURED };
        self.all += 1;
        self.sent += u64::from(self.under_way == MEASURED);
        let mut message = vec![7; self.arguments.bytes.max(BYTES_MIN)];
        message[0] = self.under_way;
        message[MOMENT].copy_from_slice(&unix_ns().to_le_bytes());
        self.tell(to, message, context)
    }

    fn tell(&mut self, to: AgentAddress, payload: Vec<u8>, context: &AgentContext) -> Result<(), BehaviourError> {
        // Behind those that wait: the order stands.
        if !self.waiting.is_empty() {
            self.waiting.push_back((to, payload));
            return Ok(());
        }
        match context.tell(to, &payload) {
            Err(TellError::Busy { .. }) => {
                self.busy += 1;
                self.waiting.push_back((to, payload));
                Ok(())
            }
            told => told.map_err(|error| BehaviourError(error.to_string())),
        }
    }

    async fn flush(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        while let Some((to, payload)) = self.waiting.pop_front() {
            let told = context.tell_waiting(to, &payload).await;
            told.map_err(|error| BehaviourError(error.to_string()))?;
        }
        Ok(Step::Wait)
    }

    fn report(&self, context: &AgentContext) {
        context.report("all", self.all);
        context.report("sent", self.sent);
        context.report("handled", self.handled);
        context.report("busy", self.busy);
        context.report("latency_ns", super::to_report(&self.latency));
        // After the latencies: who sees all of them received sees all latencies.
        context.report("received", self.received);
        context.report("over", u64::from(self.is_over));
    }
}

impl Behaviour for Peer {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.flush(context))
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        for signal in &signals {
            self.take(signal, context)?;
        }
        Ok(if self.waiting.is_empty() {
            Step::Wait
        } else {
            Step::Again
        })
    }
}

/// What a conductor is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConductorArguments {
    /// Each peer, and whom it sends to.
    peers: Vec<(AgentAddress, Vec<AgentAddress>)>,
}

/// Lets all peers begin.
pub struct Conductor {
    arguments: ConductorArguments,
}

impl Conductor {
    pub(super) fn new(arguments: ConductorArguments) -> Conductor {
        Conductor { arguments }
    }

    async fn begin(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        for (peer, targets) in &self.arguments.peers {
            let targets = serde_json::to_vec(targets).map_err(|error| BehaviourError(error.to_string()))?;
            let begin = [&[BEGIN][..], &targets].concat();
            let told = context.tell_waiting(*peer, &begin).await;
            told.map_err(|error| BehaviourError(error.to_string()))?;
        }
        Ok(Step::Done)
    }
}

impl Behaviour for Conductor {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.begin(context))
    }
}
