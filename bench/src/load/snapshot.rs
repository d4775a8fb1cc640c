//! Tasks that read the state of their node, as fast as they can, while the agent that started them writes. They have threads of
//! their own: among the tasks of the node they would leave it no time for anything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentContext, Behaviour, BehaviourError, Step};
use queenright_actors::queen::Request;
use queenright_actors::replica::{Replica, Snapshot};
use queenright_protocol::colony::{Body, Change, Condition, Content, Op, Outcome};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::unix_us;

/// How many reads are timed together: one alone takes no longer than looking at the clock.
pub const BATCH_READS: u64 = 1_000;
/// How long one put may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// The most readers, and the longest work, that one agent is told.
const READERS_MAX: u64 = 100_000;
const WORK_MS_MAX: u64 = 600_000;

/// What the agent is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadsArguments {
    project: Arc<str>,
    /// The key that is written, and looked at between batches.
    key: Arc<str>,
    /// How many tasks read, 100,000 at most.
    readers: u64,
    /// Whether this agent writes meanwhile.
    writes: bool,
    /// How long the readers read before they are measured, in milliseconds, up to ten minutes.
    warm_up_ms: u64,
    /// How long they are measured, in milliseconds, up to ten minutes.
    work_ms: u64,
}

/// Starts readers and writes one key until they are done. Reports `batches` and `batch_ns`, which is what each thousand reads
/// of one task took; `batch_cpu_ns`, the time of a processor in it, without that of others who took it meanwhile; `age_ns`, how old the newest put was that a reader saw after each batch; `stale`, how often one saw less
/// than had been acknowledged before; and of the writer `puts` and their `latency_ns`.
pub struct Reads {
    arguments: ReadsArguments,
}

/// What readers and writer share.
struct Shared {
    replica: Arc<Replica>,
    arguments: ReadsArguments,
    begun: Instant,
    /// The number of the last put that was acknowledged.
    acknowledged: AtomicU64,
    over: AtomicBool,
}

/// The threads that readers run on, one for each processor. When it goes the readers end, wherever they are.
struct Threads {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
}

/// What one reader has seen.
#[derive(Default)]
struct Seen {
    batch_ns: Vec<u64>,
    batch_cpu_ns: Vec<u64>,
    age_us: Vec<u64>,
    stale: u64,
}

impl Reads {
    pub(super) fn new(arguments: ReadsArguments) -> Result<Reads, BehaviourError> {
        let within = |what: &str, value: u64, most: u64| match value > most {
            true => Err(BehaviourError(format!("{what} = {value} is over {most}"))),
            false => Ok(()),
        };
        within("readers", arguments.readers, READERS_MAX)?;
        within("warm_up_ms", arguments.warm_up_ms, WORK_MS_MAX)?;
        within("work_ms", arguments.work_ms, WORK_MS_MAX)?;
        Ok(Reads { arguments })
    }

    async fn work(&self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let Self { arguments } = self;
        let shared = Arc::new(Shared {
            replica: context.replica().clone(),
            arguments: arguments.clone(),
            begun: Instant::now(),
            acknowledged: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        // Dropped with this future, should the agent be stopped.
        let threads = Threads::start(shared.clone())?;
        let mut readers = JoinSet::new();
        for _ in 0..arguments.readers {
            threads.spawn(&mut readers);
        }
        let (mut puts, mut latency) = (0, super::histogram());
        while shared.is_under_way() {
            match arguments.writes {
                true => {
                    puts += 1;
                    let asked = Instant::now();
                    put(context, arguments, puts).await?;
                    latency.saturating_record(asked.elapsed().as_nanos() as u64);
                    shared.acknowledged.store(puts, Ordering::Release);
                }
                false => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        shared.over.store(true, Ordering::Release);
        let (mut batches, mut on_cpu, mut ages) = (super::histogram(), super::histogram(), super::histogram());
        let mut stale = 0;
        while let Some(seen) = readers.join_next().await {
            let seen = seen.map_err(|error| BehaviourError(format!("a reader has failed: {error}")))?;
            record(&mut batches, seen.batch_ns.into_iter());
            record(&mut on_cpu, seen.batch_cpu_ns.into_iter());
            record(&mut ages, seen.age_us.into_iter().map(|us| us * 1_000));
            stale += seen.stale;
        }
        drop(threads);
        context.report("batches", batches.len());
        context.report("batch_ns", super::to_report(&batches));
        context.report("batch_cpu_ns", super::to_report(&on_cpu));
        context.report("age_ns", super::to_report(&ages));
        context.report("stale", stale);
        context.report("puts", puts);
        context.report("latency_ns", super::to_report(&latency));
        context.report("micros", shared.begun.elapsed().as_micros() as u64);
        Ok(Step::Done)
    }
}

impl Threads {
    fn start(shared: Arc<Shared>) -> Result<Threads, BehaviourError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread().worker_threads(threads).build();
        let runtime = runtime.map_err(|error| BehaviourError(format!("no threads for readers: {error}")))?;
        Ok(Threads {
            runtime: Some(runtime),
            shared,
        })
    }

    fn spawn(&self, readers: &mut JoinSet<Seen>) {
        if let Some(runtime) = &self.runtime {
            readers.spawn_on(read(self.shared.clone()), runtime.handle());
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        // Waiting for its threads is not allowed among the tasks of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn record(histogram: &mut Histogram<u64>, nanos: impl Iterator<Item = u64>) {
    nanos.for_each(|nanos| histogram.saturating_record(nanos.max(1)));
}

impl Shared {
    fn measured_from(&self) -> Instant {
        self.begun + Duration::from_millis(self.arguments.warm_up_ms)
    }

    fn is_under_way(&self) -> bool {
        Instant::now() < self.measured_from() + Duration::from_millis(self.arguments.work_ms)
    }

    /// The number of the newest put in a state, and when it was sent; nothing before the first.
    fn newest(&self, snapshot: &Snapshot) -> Option<(u64, u64)> {
        let project = snapshot.colony.project(&self.arguments.project)?;
        let record = project.memory().record(&self.arguments.key)?;
        let (number, sent) = record.value.as_ref()?.bytes.split_first_chunk()?;
        let sent = sent.first_chunk()?;
        Some((u64::from_le_bytes(*number), u64::from_le_bytes(*sent)))
    }
}

/// The time of a processor that this thread has had, in nanoseconds.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

async fn read(shared: Arc<Shared>) -> Seen {
    let mut seen = Seen::default();
    while !shared.over.load(Ordering::Acquire) {
        let (asked, asked_cpu) = (Instant::now(), thread_cpu_ns());
        let mut indices = 0_u64;
        for _ in 0..BATCH_READS {
            indices = indices.wrapping_add(shared.replica.snapshot().index);
        }
        std::hint::black_box(indices);
        let (took, took_cpu) = (asked.elapsed(), thread_cpu_ns().saturating_sub(asked_cpu));
        let acknowledged = shared.acknowledged.load(Ordering::Acquire);
        let newest = shared.newest(&shared.replica.snapshot());
        seen.stale += u64::from(newest.map_or(0, |(number, _)| number) < acknowledged);
        if asked >= shared.measured_from() {
            seen.batch_ns.push(took.as_nanos() as u64);
            seen.batch_cpu_ns.push(took_cpu);
            // The clock of a host may be set back.
            seen.age_us
                .extend(newest.map(|(_, sent_us)| unix_us().saturating_sub(sent_us)));
        }
        tokio::task::yield_now().await;
    }
    seen
}

/// Writes the number of a put and the present.
async fn put(context: &AgentContext, arguments: &ReadsArguments, number: u64) -> Result<(), BehaviourError> {
    let value = [number.to_le_bytes(), unix_us().to_le_bytes()].concat();
    let change = Change {
        key: arguments.key.clone(),
        op: Op::Put(Content::Inline(value.into())),
        tags: Vec::new(),
        condition: Condition::None,
        caller: None,
    };
    let request = Request {
        project: arguments.project.clone(),
        author: context.name().into(),
        idempotency_key: None,
        body: Body::Change(change),
    };
    match context.submit(request, DEADLINE).await {
        Ok(Outcome::Changed { .. }) => Ok(()),
        other => Err(BehaviourError(format!("put {number} was answered by {other:?}"))),
    }
}

impl Behaviour for Reads {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.work(context))
    }
}
