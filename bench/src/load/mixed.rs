//! Agents that do all sorts of work, one thing after the other, and what the agents of one node have done together.
//!
//! | kind | one on each node | does |
//! |---|---|---|
//! | `load-mixed` | many | puts, counts, reads, adds and finishes tasks, sends signals, proposes |
//! | `load-ear` | one | hears the signals |
//! | `load-tally` | one | reports, again and again, what all of these have done |
//! | `load-halt` | one, at the end | tells the others of its node to end |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentAddress, AgentContext, Behaviour, BehaviourError, Kinds, Signal, Step, TellError};
use queenright_actors::queen::{Request, SubmitError};
use queenright_protocol::colony::{
    Body, Change, Condition, Content, Expected, NewTask, Op, Outcome, Proposal, Read, TaskCommand, Write,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::Deserialize;

use super::task::{claim, finish, ready};

/// How long one command may take before its outcome is unknown.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait after a command that was not taken.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);
/// How often a tally reports.
const TALLY_EVERY: Duration = Duration::from_millis(200);
/// Keys of an agent that are put in turn.
const KEYS: u64 = 10;
/// Bytes of a task's payload, and of a signal.
const PAYLOAD_BYTES: usize = 64;
/// Two digits: the tally is read every second.
const DIGITS: u8 = 2;
const NANOS_MAX: u64 = 60_000_000_000;

/// What the agents of this node have done. The behaviours of one node share it, so that it is read at once and not agent by
/// agent.
#[derive(Default)]
struct Tally {
    /// Agents at work.
    live: AtomicU64,
    counts: BTreeMap<&'static str, AtomicU64>,
    /// Told by `load-halt`.
    is_over: AtomicBool,
    /// Of commands, in nanoseconds. Behind a lock, since a histogram is no number; held for a microsecond.
    latency: Mutex<Option<Histogram<u64>>>,
}

/// What is counted: what became of each sort of work, and what came of it.
pub const COUNTED: [&str; 12] = [
    "puts",
    "counted",
    "reads",
    "added",
    "claimed",
    "finished",
    "signals",
    "heard",
    "committed",
    "conflicts",
    "refused",
    "unknown",
];

impl Tally {
    fn new() -> Tally {
        Tally {
            counts: COUNTED.into_iter().map(|name| (name, AtomicU64::new(0))).collect(),
            ..Tally::default()
        }
    }

    fn add(&self, name: &'static str, count: u64) {
        self.counts[name].fetch_add(count, Relaxed);
    }

    fn took(&self, took: Duration) {
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        latency
            .get_or_insert_with(coarse)
            .saturating_record(took.as_nanos().max(1) as u64);
    }
}

fn coarse() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NANOS_MAX, DIGITS).expect("the bounds are constants in order")
}

/// Adds the kinds to those that a node hosts.
pub(super) fn add_kinds(kinds: &mut Kinds) {
    let tally = Arc::new(Tally::new());
    let shared = tally.clone();
    kinds.add("load-mixed", move |spec| {
        let arguments = super::arguments(spec)?;
        Ok(Box::new(Mixed::new(arguments, shared.clone())) as Box<dyn Behaviour>)
    });
    let shared = tally.clone();
    kinds.add("load-ear", move |_| {
        Ok(Box::new(Ear(shared.clone())) as Box<dyn Behaviour>)
    });
    let shared = tally.clone();
    kinds.add("load-tally", move |_| {
        Ok(Box::new(Teller(shared.clone())) as Box<dyn Behaviour>)
    });
    kinds.add("load-halt", move |_| {
        Ok(Box::new(Halt(tally.clone())) as Box<dyn Behaviour>)
    });
}

/// What the agent is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MixedArguments {
    /// Where all of it is kept.
    project: Arc<str>,
    /// What it draws its work from.
    seed: u64,
    /// Bytes of a value.
    bytes: usize,
    /// How many keys the proposals of all agents share.
    hot_keys: u64,
    /// Who hears signals.
    ears: Vec<AgentAddress>,
}

/// Does one thing after the other until its node is told to end. Reports `counter`, how often its own counter was raised with
/// an outcome, and `counter_unknown`, how often without.
struct Mixed {
    arguments: MixedArguments,
    tally: Arc<Tally>,
    random: StdRng,
    value: Bytes,
    is_live: bool,
    puts: u64,
    counter: u64,
    counter_unknown: u64,
}

/// What became of a command.
enum Sent {
    Done(Outcome),
    /// Nothing was changed.
    NotTaken,
    Unknown,
}

impl Mixed {
    fn new(arguments: MixedArguments, tally: Arc<Tally>) -> Mixed {
        Mixed {
            random: StdRng::seed_from_u64(arguments.seed),
            value: Bytes::from(vec![b'x'; arguments.bytes]),
            arguments,
            tally,
            is_live: false,
            puts: 0,
            counter: 0,
            counter_unknown: 0,
        }
    }

    async fn work(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        if !self.is_live {
            self.is_live = true;
            self.tally.live.fetch_add(1, Relaxed);
        }
        if self.tally.is_over.load(Relaxed) {
            context.report("counter_unknown", self.counter_unknown);
            context.report("counter", self.counter);
            return Ok(Step::Done);
        }
        match self.random.random_range(0..100) {
            0..30 => self.put(context).await?,
            30..40 => self.count(context).await?,
            40..65 => self.read(context),
            65..80 => self.task(context).await?,
            80..95 => self.signal(context)?,
            _ => self.propose(context).await?,
        }
        // Reads and signals alone would never let others have a turn.
        tokio::task::yield_now().await;
        Ok(Step::Again)
    }

    /// Hands a command over.
    async fn submit(&self, context: &AgentContext, body: Body) -> Result<Sent, BehaviourError> {
        let request = Request {
            project: self.arguments.project.clone(),
            author: context.name().into(),
            idempotency_key: None,
            body,
        };
        let asked = Instant::now();
        match context.submit(request, DEADLINE).await {
            Ok(outcome) => {
                self.tally.took(asked.elapsed());
                Ok(Sent::Done(outcome))
            }
            Err(SubmitError::Unknown { .. } | SubmitError::Stopping) => {
                self.tally.add("unknown", 1);
                Ok(Sent::Unknown)
            }
            Err(
                SubmitError::Busy { .. }
                | SubmitError::NoQuorum { .. }
                | SubmitError::DiskLow(_)
                | SubmitError::MemoryLow(_),
            ) => {
                self.tally.add("refused", 1);
                tokio::time::sleep(REFUSED_PAUSE).await;
                Ok(Sent::NotTaken)
            }
            Err(error) => Err(BehaviourError(error.to_string())),
        }
    }

    async fn put(&mut self, context: &AgentContext) -> Result<(), BehaviourError> {
        let key = format!("value/{}/{}", context.name(), self.puts % KEYS);
        self.puts += 1;
        let op = Op::Put(Content::Inline(self.value.clone()));
        match self.submit(context, change(&key, op)).await? {
            Sent::Done(Outcome::Changed { .. }) => self.tally.add("puts", 1),
            Sent::Done(other) => return Err(unexpected("a put", &other)),
            Sent::NotTaken | Sent::Unknown => {}
        }
        Ok(())
    }

    async fn count(&mut self, context: &AgentContext) -> Result<(), BehaviourError> {
        let key = format!("counter/{}", context.name());
        match self.submit(context, change(&key, Op::Increment(1))).await? {
            Sent::Done(Outcome::Changed { .. }) => {
                self.counter += 1;
                self.tally.add("counted", 1);
            }
            Sent::Done(other) => return Err(unexpected("an increment", &other)),
            Sent::Unknown => self.counter_unknown += 1,
            Sent::NotTaken => {}
        }
        Ok(())
    }

    fn read(&mut self, context: &AgentContext) {
        let key = format!("value/{}/{}", context.name(), self.random.random_range(0..KEYS));
        let snapshot = context.replica().snapshot();
        let project = snapshot.colony.project(&self.arguments.project);
        let record = project.and_then(|project| project.memory().record(&key).cloned());
        std::hint::black_box(record);
        self.tally.add("reads", 1);
    }

    /// Adds a task, takes the oldest one that is ready and finishes it.
    async fn task(&mut self, context: &AgentContext) -> Result<(), BehaviourError> {
        let task = NewTask {
            title: "a task of a stress".into(),
            payload: Bytes::from(vec![b'x'; PAYLOAD_BYTES]),
            ..NewTask::default()
        };
        match self.submit(context, Body::Task(TaskCommand::Add(vec![task]))).await? {
            Sent::Done(Outcome::Added { .. }) => self.tally.add("added", 1),
            Sent::Done(other) => return Err(unexpected("an addition of a task", &other)),
            Sent::NotTaken | Sent::Unknown => return Ok(()),
        }
        let claim = claim(context, ready(1));
        let claimed = match self.submit(context, Body::Task(claim)).await? {
            Sent::Done(Outcome::Claimed { tasks, .. }) => tasks.first().copied(),
            Sent::Done(other) => return Err(unexpected("a claim", &other)),
            Sent::NotTaken | Sent::Unknown => None,
        };
        let Some(claimed) = claimed else { return Ok(()) };
        self.tally.add("claimed", 1);
        loop {
            let finish = finish(context, claimed.task, claimed.fence, Bytes::new());
            match self.submit(context, Body::Task(finish)).await? {
                Sent::Done(Outcome::Finished { .. } | Outcome::TaskSet { .. }) => {
                    self.tally.add("finished", 1);
                    return Ok(());
                }
                Sent::Done(other) => return Err(unexpected("a finish", &other)),
                Sent::Unknown => return Ok(()),
                // What it holds it has to finish.
                Sent::NotTaken => {}
            }
        }
    }

    fn signal(&mut self, context: &AgentContext) -> Result<(), BehaviourError> {
        let to = self.arguments.ears.choose(&mut self.random).copied();
        let to = to.ok_or_else(|| BehaviourError("ears: is empty".to_owned()))?;
        match context.tell(to, &[7; PAYLOAD_BYTES]) {
            Ok(()) => self.tally.add("signals", 1),
            Err(TellError::Busy { .. }) => self.tally.add("refused", 1),
            Err(error) => return Err(BehaviourError(error.to_string())),
        }
        Ok(())
    }

    /// Changes a key that others want to change as well, if it is still what this node knows.
    async fn propose(&mut self, context: &AgentContext) -> Result<(), BehaviourError> {
        let key = format!("hot/{}", self.random.random_range(0..self.arguments.hot_keys.max(1)));
        let revision = {
            let snapshot = context.replica().snapshot();
            let project = snapshot.colony.project(&self.arguments.project);
            project.map_or(0, |project| project.memory().revision(&key))
        };
        let proposal = Proposal {
            reads: vec![Read {
                key: key.as_str().into(),
                revision,
                content: Expected::Any,
            }],
            writes: vec![Write {
                key: key.as_str().into(),
                op: Op::Put(Content::Inline(self.value.clone())),
                tags: Vec::new(),
                before: None,
            }],
            priority: 0,
            dry_run: false,
            ranges: Vec::new(),
            fence: None,
            follows: None,
            caller: None,
        };
        match self.submit(context, Body::Propose(proposal)).await? {
            Sent::Done(Outcome::Committed { .. }) => self.tally.add("committed", 1),
            Sent::Done(Outcome::Lost { .. }) => self.tally.add("conflicts", 1),
            Sent::Done(other) => return Err(unexpected("a proposal", &other)),
            Sent::NotTaken | Sent::Unknown => {}
        }
        Ok(())
    }
}

impl Drop for Mixed {
    fn drop(&mut self) {
        if self.is_live {
            self.tally.live.fetch_sub(1, Relaxed);
        }
    }
}

fn change(key: &str, op: Op) -> Body {
    Body::Change(Change {
        key: key.into(),
        op,
        tags: Vec::new(),
        condition: Condition::None,
        caller: None,
    })
}

fn unexpected(what: &str, outcome: &Outcome) -> BehaviourError {
    BehaviourError(format!("{what} was answered by {outcome:?}"))
}

impl Behaviour for Mixed {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.work(context))
    }
}

/// Hears signals.
struct Ear(Arc<Tally>);

impl Behaviour for Ear {
    fn step<'a>(&'a mut self, _: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async { Ok(Step::Wait) })
    }

    fn signals(&mut self, signals: Vec<Signal>, _: &AgentContext) -> Result<Step, BehaviourError> {
        self.0.add("heard", signals.len() as u64);
        Ok(Step::Wait)
    }
}

/// Reports the tally: `live`, each of [`COUNTED`], and `latency_ns` of commands.
struct Teller(Arc<Tally>);

impl Behaviour for Teller {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async {
            for (name, count) in &self.0.counts {
                context.report(name, count.load(Relaxed));
            }
            let latency = self.0.latency.lock().unwrap_or_else(PoisonError::into_inner).clone();
            context.report("latency_ns", super::to_report(&latency.unwrap_or_else(coarse)));
            context.report("live", self.0.live.load(Relaxed));
            tokio::time::sleep(TALLY_EVERY).await;
            Ok(Step::Again)
        })
    }
}

/// Tells the others of its node to end.
struct Halt(Arc<Tally>);

impl Behaviour for Halt {
    fn step<'a>(&'a mut self, _: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        self.0.is_over.store(true, Relaxed);
        Box::pin(async { Ok(Step::Done) })
    }
}
