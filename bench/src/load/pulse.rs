//! Agents that send at a constant rate, whatever comes back, and those that count and time what arrives. A signal that was
//! sent late, since those before it were, is as old as its place in the plan: nobody's slowness hides another one's.
//!
//! | byte | field | meaning |
//! |---|---|---|
//! | 0 | phase | 1: of the warm-up, 2: measured |
//! | 1 to 8 | moment | when it was to be sent, in nanoseconds of Unix time, little-endian |
//! | 9 to 16 | place | how many were sent to this target before it, little-endian |
//! | 17 to 40 | address | where it is to be sent on to by whoever receives it: node, number, generation; all 0: it stays |
//!
//! One that stays is timed by the clock of the host where it arrives, so sender and receiver must be on one host. One that is
//! sent on to the gauge beside its sender is timed there: that is a round trip, and takes one clock on any number of hosts.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentAddress, AgentContext, Behaviour, BehaviourError, Signal, Step, TellError};
use queenright_protocol::id::NodeId;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Deserialize;

/// The phases of a signal.
const WARM_UP: u8 = 1;
const MEASURED: u8 = 2;
/// Where its fields stand, and how long it is at least.
const MOMENT: std::ops::Range<usize> = 1..9;
const PLACE: std::ops::Range<usize> = 9..17;
const ADDRESS: std::ops::Range<usize> = 17..41;
/// The fewest bytes of a signal.
pub const PULSE_BYTES_MIN: usize = ADDRESS.end;
/// How many signals that are due a pulse sends before others have a turn.
const SIGNALS_PER_STEP: u32 = 256;

/// What a pulse is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PulseArguments {
    /// The gauges that it sends to.
    targets: Vec<AgentAddress>,
    /// The gauge to which those are to send on what they receive.
    #[serde(default)]
    back_to: Option<AgentAddress>,
    /// Bytes of each signal.
    bytes: usize,
    /// When the first one is to be sent, in nanoseconds of Unix time, and how long after that the next.
    first_at_ns: u64,
    every_ns: u64,
    /// From when to when signals are measured, by their moments: the last one is to be sent before the end.
    measured_from_ns: u64,
    measured_until_ns: u64,
    /// When it gives up what it could not send by then.
    give_up_at_ns: u64,
    /// What it draws its targets from.
    seed: u64,
}

/// Sends signals at the moments of its plan. Reports how many of those measured were `planned`, `sent`, and `given_up`
/// since too much waited; how many it sent in `all`, those of the warm-up included; how often one found no room at first
/// (`busy`); and how late it sent those that are measured (`late_ns`).
pub struct Pulse {
    arguments: PulseArguments,
    payload: Vec<u8>,
    random: StdRng,
    /// How many were sent to each target, by its place among them.
    sent_to: Vec<u64>,
    next_at_ns: u64,
    planned: u64,
    sent: u64,
    given_up: u64,
    all: u64,
    busy: u64,
    late: Histogram<u64>,
}

impl Pulse {
    pub(super) fn new(arguments: PulseArguments) -> Result<Pulse, BehaviourError> {
        if arguments.targets.is_empty() || arguments.every_ns == 0 {
            let (targets, every_ns) = (arguments.targets.len(), arguments.every_ns);
            return Err(BehaviourError(format!(
                "{targets} targets and a signal every {every_ns} ns: both are at least 1"
            )));
        }
        let mut payload = vec![7; arguments.bytes.max(PULSE_BYTES_MIN)];
        write_address(&mut payload, arguments.back_to);
        Ok(Pulse {
            payload,
            random: StdRng::seed_from_u64(arguments.seed),
            sent_to: vec![0; arguments.targets.len()],
            next_at_ns: arguments.first_at_ns,
            planned: 0,
            sent: 0,
            given_up: 0,
            all: 0,
            busy: 0,
            late: super::histogram(),
            arguments,
        })
    }

    async fn pulse(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        for _ in 0..SIGNALS_PER_STEP {
            if self.next_at_ns >= self.arguments.measured_until_ns {
                self.report(context);
                return Ok(Step::Done);
            }
            let now_ns = unix_ns();
            if now_ns < self.next_at_ns {
                let wait = Duration::from_nanos(self.next_at_ns - now_ns);
                // The runtime's own timer counts in whole milliseconds; the system's is exact to some 0.1 ms.
                let waited = tokio::task::spawn_blocking(move || std::thread::sleep(wait)).await;
                waited.map_err(|error| BehaviourError(error.to_string()))?;
                continue;
            }
            self.send(now_ns, context).await?;
            self.next_at_ns += self.arguments.every_ns;
        }
        Ok(Step::Again)
    }

    /// Sends the signal that is due, or gives it up.
    async fn send(&mut self, now_ns: u64, context: &AgentContext) -> Result<(), BehaviourError> {
        let at_ns = self.next_at_ns;
        let measured = at_ns >= self.arguments.measured_from_ns;
        self.planned += u64::from(measured);
        // Drawn for those given up too: the next ones go where they always go.
        let chosen = self.random.random_range(0..self.sent_to.len());
        if now_ns >= self.arguments.give_up_at_ns {
            self.given_up += u64::from(measured);
            return Ok(());
        }
        self.payload[0] = if measured { MEASURED } else { WARM_UP };
        self.payload[MOMENT].copy_from_slice(&at_ns.to_le_bytes());
        self.payload[PLACE].copy_from_slice(&self.sent_to[chosen].to_le_bytes());
        let to = self.arguments.targets[chosen];
        let told = match context.tell(to, &self.payload) {
            Err(TellError::Busy { .. }) => {
                self.busy += 1;
                context.tell_waiting(to, &self.payload).await
            }
            told => told,
        };
        told.map_err(|error| BehaviourError(error.to_string()))?;
        self.sent_to[chosen] += 1;
        self.all += 1;
        if measured {
            self.sent += 1;
            self.late.saturating_record(unix_ns().saturating_sub(at_ns).max(1));
        }
        Ok(())
    }

    fn report(&self, context: &AgentContext) {
        context.report("planned", self.planned);
        context.report("given_up", self.given_up);
        context.report("all", self.all);
        context.report("busy", self.busy);
        context.report("late_ns", super::to_report(&self.late));
        context.report("sent", self.sent);
    }
}

impl Behaviour for Pulse {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.pulse(context))
    }
}

/// What a gauge is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GaugeArguments {
    /// From when to when arrivals are counted as `in_time`, in nanoseconds of Unix time.
    measured_from_ns: u64,
    measured_until_ns: u64,
}

/// Counts signals of pulses and times those that are measured; sends on those that are to be sent on. It reports when it is
/// nudged: how many of those that stay it has `received`, of `all`; how many came `in_time`; how many came again (`repeated`);
/// `latency_ns`; and how many it sent on (`passed`), gave up to send on (`dropped`), or could not read (`strange`).
pub struct Gauge {
    arguments: GaugeArguments,
    counts: Arrivals,
    passed: u64,
    dropped: u64,
    strange: u64,
    latency: Histogram<u64>,
}

/// What has arrived and stays.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arrivals {
    all: u64,
    received: u64,
    in_time: u64,
    repeated: u64,
    /// The place of the next signal of each sender: those of a pair come in order.
    next: HashMap<AgentAddress, u64>,
}

impl Arrivals {
    /// Counts an arrival; whether it came for the first time.
    fn take(&mut self, from: AgentAddress, pulse: &Read, in_time: bool) -> bool {
        let next = self.next.entry(from).or_insert(0);
        // One that is behind came again: those of a pair are never out of order. Of those between it says nothing: they are
        // lost, which is counted elsewhere.
        if pulse.place < *next {
            self.repeated += 1;
            return false;
        }
        *next = pulse.place + 1;
        self.all += 1;
        self.received += u64::from(pulse.measured);
        self.in_time += u64::from(in_time);
        true
    }
}

impl Gauge {
    pub(super) fn new(arguments: GaugeArguments) -> Gauge {
        Gauge {
            arguments,
            counts: Arrivals::default(),
            passed: 0,
            dropped: 0,
            strange: 0,
            latency: super::histogram(),
        }
    }

    fn take(&mut self, signal: &Signal, now_ns: u64, context: &AgentContext) {
        let Some(pulse) = Read::of(&signal.payload) else {
            self.strange += 1;
            return;
        };
        if let Some(to) = pulse.on_to {
            let mut payload = signal.payload.to_vec();
            write_address(&mut payload, None);
            // Nobody waits here: a gauge that waits to send on would time the others wrong.
            match context.tell(to, &payload) {
                Ok(()) => self.passed += 1,
                Err(_) => self.dropped += 1,
            }
            return;
        }
        let span = self.arguments.measured_from_ns..self.arguments.measured_until_ns;
        if self.counts.take(signal.from, &pulse, span.contains(&now_ns)) && pulse.measured {
            self.latency
                .saturating_record(now_ns.saturating_sub(pulse.at_ns).max(1));
        }
    }
}

impl Behaviour for Gauge {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        context.report("received", self.counts.received);
        context.report("in_time", self.counts.in_time);
        context.report("repeated", self.counts.repeated);
        context.report("passed", self.passed);
        context.report("dropped", self.dropped);
        context.report("strange", self.strange);
        context.report("latency_ns", super::to_report(&self.latency));
        // The last: who sees all of them sees all latencies.
        context.report("all", self.counts.all);
        Box::pin(async { Ok(Step::Wait) })
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        // One moment for all that were handed over together.
        let now_ns = unix_ns();
        signals.iter().for_each(|signal| self.take(signal, now_ns, context));
        Ok(Step::Wait)
    }
}

/// A signal of a pulse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Read {
    measured: bool,
    at_ns: u64,
    place: u64,
    on_to: Option<AgentAddress>,
}

impl Read {
    /// Nothing of what no pulse has sent.
    fn of(payload: &[u8]) -> Option<Read> {
        let number = |range: std::ops::Range<usize>| {
            let bytes = payload.get(range)?.first_chunk().copied()?;
            Some(u64::from_le_bytes(bytes))
        };
        let address = AgentAddress {
            node: NodeId(number(ADDRESS)?),
            number: number(ADDRESS.start + 8..ADDRESS.end)?,
            generation: number(ADDRESS.start + 16..ADDRESS.end)?,
        };
        Some(Read {
            measured: match *payload.first()? {
                WARM_UP => false,
                MEASURED => true,
                _ => return None,
            },
            at_ns: number(MOMENT)?,
            place: number(PLACE)?,
            on_to: (address.node != NodeId::NONE).then_some(address),
        })
    }
}

fn write_address(payload: &mut [u8], address: Option<AgentAddress>) {
    let fields = address.map_or([0; 3], |address| [address.node.0, address.number, address.generation]);
    for (place, field) in payload[ADDRESS].chunks_exact_mut(8).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
}

/// The present in nanoseconds of Unix time; 0 if the clock stands before 1970.
pub(super) fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(node: u64) -> AgentAddress {
        AgentAddress {
            node: NodeId(node),
            number: 5,
            generation: 2,
        }
    }

    #[test]
    fn what_a_pulse_writes_is_read_again_and_nothing_else() {
        let mut payload = vec![7; 64];
        payload[0] = MEASURED;
        payload[MOMENT].copy_from_slice(&9_u64.to_le_bytes());
        payload[PLACE].copy_from_slice(&4_u64.to_le_bytes());
        for on_to in [None, Some(sender(3))] {
            write_address(&mut payload, on_to);
            let read = Read::of(&payload).unwrap();
            assert_eq!((read.measured, read.at_ns, read.place, read.on_to), (true, 9, 4, on_to));
        }
        for bytes in 0..PULSE_BYTES_MIN {
            assert_eq!(Read::of(&payload[..bytes]), None);
        }
        payload[0] = 3;
        assert_eq!(Read::of(&payload), None);
    }

    #[test]
    fn what_comes_again_is_counted_apart_and_what_is_missing_is_not_counted() {
        let mut arrivals = Arrivals::default();
        let pulse = |place| Read {
            measured: place > 0,
            at_ns: 0,
            place,
            on_to: None,
        };
        for (from, place, is_first) in [
            (1, 0, true),
            (2, 0, true),
            (1, 1, true),
            (1, 1, false),
            (1, 5, true),
            (1, 3, false),
        ] {
            assert_eq!(
                arrivals.take(sender(from), &pulse(place), place > 1),
                is_first,
                "{from} {place}"
            );
        }
        assert_eq!(
            (arrivals.all, arrivals.received, arrivals.in_time, arrivals.repeated),
            (4, 2, 1, 2)
        );
    }
}
