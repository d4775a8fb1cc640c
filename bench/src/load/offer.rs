//! Agents that offer work at a constant rate, whatever becomes of what they offered before; and those that time the signals
//! that reach them. Latency counts from the moment at which something was to begin, not from when there was room to begin
//! it: what waits behind something slow is as late as it is (no coordinated omission).
//!
//! | bytes of a signal | meaning |
//! |---|---|
//! | 0 to 7 | when it was to be sent, in microseconds of Unix time, little-endian |
//! | 8 | 0: of the warm-up; 1: measured; 2: no more will come from its sender |

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentAddress, AgentContext, Behaviour, BehaviourError, Signal, Step, TellError};
use queenright_actors::queen::{Request, SubmitError};
use queenright_protocol::colony::{Body, Change, Condition, Content, Op, Outcome};
use serde::Deserialize;

use super::task::{claim, finish, ready};
use super::unix_us;

/// How long one piece of work may take before its outcome is unknown.
const DEADLINE: Duration = Duration::from_secs(10);
/// What waits longer than this after the end to begin is given up.
const GRACE: Duration = Duration::from_secs(5);
/// How much may be under way for one agent: what is due then waits, and its latency grows.
const UNDER_WAY_MAX: usize = 8_192;
/// It is not woken more often than that: what is due in between begins so much later at most.
const WAKE_EVERY: Duration = Duration::from_micros(250);
/// Where a signal says what it is, and how many bytes it has at least.
const SORT: usize = 8;
const SIGNAL_BYTES_MIN: usize = SORT + 1;
/// The sorts of a signal.
const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const LAST: u8 = 2;

/// What is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// A put, until a majority has it on disk.
    Put,
    /// The claim of a ready task and its finish, until both are on disk.
    Claim,
    /// A signal, which its receiver times.
    Signal,
    /// A question to an agent, until its answer.
    Call,
}

/// What the agent is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfferArguments {
    what: What,
    /// Whose tasks it claims.
    project: Arc<str>,
    /// What its keys begin with, and how many it writes in turn.
    prefix: String,
    keys: u64,
    /// Bytes of a value or payload.
    bytes: usize,
    /// Whom it calls or sends signals to.
    to: Option<AgentAddress>,
    /// When the first is to begin, in microseconds of Unix time, and how long after that the next.
    start_at_us: u64,
    every_ns: u64,
    warm_up_ms: u64,
    work_ms: u64,
}

/// Offers work. Reports, of all and of what is measured by its moment: how much was `planned`, `delivered`, `refused` (by
/// a queen or a lane without room, or never begun), and `unknown`, each as `NAME` and `NAME_measured`; and `latency_ns` of
/// what is measured.
pub struct Offer {
    arguments: OfferArguments,
    value: Bytes,
}

/// What became of one piece of work.
#[derive(Clone, Copy)]
enum Fate {
    Delivered,
    Refused,
    Unknown,
}

#[derive(Default)]
struct Tally {
    planned: u64,
    delivered: u64,
    refused: u64,
    unknown: u64,
}

impl Tally {
    fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Delivered => self.delivered += 1,
            Fate::Refused => self.refused += 1,
            Fate::Unknown => self.unknown += 1,
        }
    }

    fn report(&self, context: &AgentContext, suffix: &str) {
        context.report(&format!("planned{suffix}"), self.planned);
        context.report(&format!("delivered{suffix}"), self.delivered);
        context.report(&format!("refused{suffix}"), self.refused);
        context.report(&format!("unknown{suffix}"), self.unknown);
    }
}

impl Offer {
    pub(super) fn new(arguments: OfferArguments) -> Result<Offer, BehaviourError> {
        if arguments.every_ns == 0 {
            return Err(BehaviourError("every_ns: 0 is below 1".to_owned()));
        }
        if arguments.to.is_none() && matches!(arguments.what, What::Signal | What::Call) {
            return Err(BehaviourError("to: is missing".to_owned()));
        }
        Ok(Offer {
            value: Bytes::from(vec![b'x'; arguments.bytes.max(SIGNAL_BYTES_MIN)]),
            arguments,
        })
    }

    async fn work(&self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let Self { arguments, .. } = self;
        let wait = arguments.start_at_us.saturating_sub(unix_us());
        tokio::time::sleep(Duration::from_micros(wait)).await;
        // The moments of the plan, by both clocks.
        let late = Duration::from_micros(unix_us().saturating_sub(arguments.start_at_us));
        let started = Instant::now().checked_sub(late).unwrap_or_else(Instant::now);
        let warm_up = Duration::from_millis(arguments.warm_up_ms);
        let end = warm_up + Duration::from_millis(arguments.work_ms);
        let every = Duration::from_nanos(arguments.every_ns);
        let (mut all, mut measured) = (Tally::default(), Tally::default());
        let mut latency = super::histogram();
        let mut under_way = FuturesUnordered::new();
        let mut next = 0_u64;
        loop {
            let due = every.saturating_mul(u32::try_from(next).unwrap_or(u32::MAX));
            if due >= end && under_way.is_empty() {
                break;
            }
            let ended = |(at, is_measured, fate): (Duration, bool, Fate),
                         all: &mut Tally,
                         measured: &mut Tally,
                         latency: &mut Histogram<u64>| {
                all.add(fate);
                if is_measured {
                    measured.add(fate);
                    if matches!(fate, Fate::Delivered) {
                        let took = started.elapsed().saturating_sub(at);
                        latency.saturating_record(took.as_nanos().max(1) as u64);
                    }
                }
            };
            let now = started.elapsed();
            let is_measured = due >= warm_up;
            if due < end && now >= due && under_way.len() < UNDER_WAY_MAX {
                all.planned += 1;
                measured.planned += u64::from(is_measured);
                if now > end + GRACE {
                    ended((due, is_measured, Fate::Refused), &mut all, &mut measured, &mut latency);
                } else if arguments.what == What::Signal {
                    // It is under way for nobody here: its receiver times it.
                    let fate = self.signal(context, due, is_measured)?;
                    all.add(fate);
                    if is_measured {
                        measured.add(fate);
                    }
                } else {
                    under_way.push(self.one(context, next, due, is_measured));
                }
                next += 1;
                // Others, what has ended among them, have their turn now and then.
                if !next.is_multiple_of(64) {
                    continue;
                }
                while let Some(Some(done)) = futures::FutureExt::now_or_never(under_way.next()) {
                    ended(done?, &mut all, &mut measured, &mut latency);
                }
                tokio::task::yield_now().await;
                continue;
            }
            let wait = due.saturating_sub(now).max(WAKE_EVERY);
            let may_begin = due < end && under_way.len() < UNDER_WAY_MAX;
            tokio::select! {
                Some(done) = under_way.next(), if !under_way.is_empty() => {
                    ended(done?, &mut all, &mut measured, &mut latency);
                    // All that has ended meanwhile as well.
                    while let Some(Some(done)) = futures::FutureExt::now_or_never(under_way.next()) {
                        ended(done?, &mut all, &mut measured, &mut latency);
                    }
                }
                slept = exact_sleep(wait), if may_begin => slept?,
            }
        }
        drop(under_way);
        if let (What::Signal, Some(to)) = (arguments.what, arguments.to) {
            let mut last = vec![0; SIGNAL_BYTES_MIN];
            last[SORT] = LAST;
            let told = context.tell_waiting(to, &last).await;
            told.map_err(|error| BehaviourError(error.to_string()))?;
        }
        all.report(context, "");
        measured.report(context, "_measured");
        context.report("latency_ns", super::to_report(&latency));
        Ok(Step::Done)
    }

    /// One put, claim or call; its moment, whether it is measured, and what became of it.
    async fn one(
        &self,
        context: &AgentContext,
        place: u64,
        due: Duration,
        is_measured: bool,
    ) -> Result<(Duration, bool, Fate), BehaviourError> {
        let fate = match self.arguments.what {
            What::Put => self.put(context, place).await?,
            What::Claim => self.claim(context).await?,
            What::Call | What::Signal => {
                let to = self.arguments.to.expect("it was looked at when the agent was made");
                match context.ask(to, &self.value, DEADLINE).await {
                    Ok(_) => Fate::Delivered,
                    Err(_) => Fate::Unknown,
                }
            }
        };
        Ok((due, is_measured, fate))
    }

    async fn put(&self, context: &AgentContext, place: u64) -> Result<Fate, BehaviourError> {
        let Self { arguments, value } = self;
        let change = Change {
            key: format!("{}/{}", arguments.prefix, place % arguments.keys.max(1)).into(),
            op: Op::Put(Content::Inline(value.clone())),
            tags: Vec::new(),
            condition: Condition::None,
            caller: None,
        };
        match self.submit(context, "default".into(), Body::Change(change)).await? {
            Ok(Outcome::Changed { .. }) => Ok(Fate::Delivered),
            Ok(other) => Err(BehaviourError(format!("a put was answered by {other:?}"))),
            Err(fate) => Ok(fate),
        }
    }

    async fn claim(&self, context: &AgentContext) -> Result<Fate, BehaviourError> {
        let project = &self.arguments.project;
        let claim = claim(context, ready(1));
        let claimed = match self.submit(context, project.clone(), Body::Task(claim)).await? {
            Ok(Outcome::Claimed { tasks, .. }) => tasks.first().copied(),
            Ok(other) => return Err(BehaviourError(format!("a claim was answered by {other:?}"))),
            Err(fate) => return Ok(fate),
        };
        let claimed = claimed.ok_or_else(|| BehaviourError("all tasks were used up before the end".to_owned()))?;
        let finish = finish(context, claimed.task, claimed.fence, Bytes::new());
        match self.submit(context, project.clone(), Body::Task(finish)).await? {
            Ok(Outcome::Refused(refusal)) => Err(BehaviourError(format!("a finish was refused: {refusal}"))),
            Ok(_) => Ok(Fate::Delivered),
            Err(fate) => Ok(fate),
        }
    }

    async fn submit(
        &self,
        context: &AgentContext,
        project: Arc<str>,
        body: Body,
    ) -> Result<Result<Outcome, Fate>, BehaviourError> {
        let request = Request {
            project,
            author: context.name().into(),
            idempotency_key: None,
            body,
        };
        match context.submit(request, DEADLINE).await {
            Ok(outcome) => Ok(Ok(outcome)),
            Err(SubmitError::Busy { .. } | SubmitError::NoQuorum { .. }) => Ok(Err(Fate::Refused)),
            Err(SubmitError::Unknown { .. }) => Ok(Err(Fate::Unknown)),
            Err(error) => Err(BehaviourError(error.to_string())),
        }
    }

    fn signal(&self, context: &AgentContext, due: Duration, is_measured: bool) -> Result<Fate, BehaviourError> {
        let to = self.arguments.to.expect("it was looked at when the agent was made");
        let mut payload = self.value.to_vec();
        let moment = self.arguments.start_at_us + due.as_micros() as u64;
        payload[..SORT].copy_from_slice(&moment.to_le_bytes());
        payload[SORT] = if is_measured { MEASURED } else { WARM_UP };
        match context.tell(to, &payload) {
            Ok(()) => Ok(Fate::Delivered),
            Err(TellError::Busy { .. }) => Ok(Fate::Refused),
            Err(error) => Err(BehaviourError(error.to_string())),
        }
    }
}

/// The runtime's timer counts in whole milliseconds; the system's is exact to some tenth of one.
async fn exact_sleep(wait: Duration) -> Result<(), BehaviourError> {
    let slept = tokio::task::spawn_blocking(move || std::thread::sleep(wait)).await;
    slept.map_err(|error| BehaviourError(error.to_string()))
}

impl Behaviour for Offer {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.work(context))
    }
}

/// Times the signals of offers. When a sender has sent its last it reports how many it has `received` and `received_measured`,
/// with the `latency_ns` of the latter, and again whenever one comes after that.
pub struct Meter {
    received: u64,
    measured: u64,
    is_over: bool,
    latency: Histogram<u64>,
}

impl Default for Meter {
    fn default() -> Meter {
        Meter {
            received: 0,
            measured: 0,
            is_over: false,
            latency: super::histogram(),
        }
    }
}

impl Behaviour for Meter {
    fn step<'a>(&'a mut self, _: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async { Ok(Step::Wait) })
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        let now_us = unix_us();
        for signal in &signals {
            let moment = signal.payload.first_chunk().map(|moment| u64::from_le_bytes(*moment));
            let (Some(moment), Some(sort)) = (moment, signal.payload.get(SORT)) else {
                return Err(BehaviourError(format!("a signal of {} B", signal.payload.len())));
            };
            match *sort {
                LAST => self.is_over = true,
                sort => {
                    self.received += 1;
                    if sort == MEASURED {
                        self.measured += 1;
                        let took_ns = now_us.saturating_sub(moment).max(1) * 1_000;
                        self.latency.saturating_record(took_ns);
                    }
                }
            }
        }
        if self.is_over {
            context.report("latency_ns", super::to_report(&self.latency));
            context.report("received_measured", self.measured);
            // After the others: who sees all of them received sees the rest.
            context.report("received", self.received);
        }
        Ok(Step::Wait)
    }
}
