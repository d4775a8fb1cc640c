//! B22, a node at whose door many wait: subscribers of events as server-sent events, and workers whose claims wait for tasks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use hdrhistogram::Histogram;
use queenright_actors::node::Consistency;
use queenright_protocol::colony::Distribution;
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::wire::{AddTask, ChangeQueue, ClaimTasks, FinishTask, WireWhat};
use crate::client::{Client, ClientError, Filter, PutOptions, Watched};
use crate::report::{Counts, Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, block_on, door, late};
use crate::settings::Setting;
use crate::{BenchError, Options, claims, load};

/// The id of the workload.
pub const ID: &str = "B22";
/// What the workload is about.
pub const TITLE: &str = "a door at which many wait: subscribers of events, and claims that wait for tasks";

/// How many subscribe to events, for each agent of [`Options::agents_max`], and at most.
const SUBSCRIBERS: (u64, u64) = (4, 1_000);
/// How many workers wait for tasks at most.
const WORKERS: u64 = 200;
/// A load has an event, or a task, for each so many milliseconds of [`Options::load_ms`].
const MS_FOR_EACH: u64 = 40;
/// From one event, or task, to the next: all of them have long got the one before.
const EVERY: Duration = Duration::from_millis(200);
/// Where the events are that are followed.
const PREFIX: &str = "b22/";
/// The queue at which workers wait.
const QUEUE: &str = "b22";
/// How long a claim waits; then the worker asks again.
const WAIT_MS: u64 = 30_000;
/// How long a node is watched that has nothing to do.
const AT_REST: Duration = Duration::from_secs(3);
/// How long what must come may take.
const WITHIN: Duration = Duration::from_secs(120);
/// How often what must come is looked for.
const POLL: Duration = Duration::from_millis(20);

/// All wait at one follower of three nodes; what they wait for is put and added at the leader.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if an event did not reach a subscriber, or a task was not done once.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let size = Size::of(options);
    let rows = block_on(waiting(options, size))?;
    Ok(Report {
        config: json!({
            "nodes": 3, "subscribers": size.subscribers, "workers": size.workers, "events": size.events, "tasks": size.events,
            "every_ms": EVERY.as_millis() as u64, "clients": "in the process of the bench, on the same host",
            "from_to": "events: from the call of the put to the subscriber's having read it; tasks: from the call that adds one to \
                        the worker's having it", "data": options.data,
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

#[derive(Clone, Copy)]
struct Size {
    subscribers: u64,
    workers: u64,
    /// And as many tasks.
    events: u64,
}

impl Size {
    fn of(options: &Options) -> Size {
        let (for_each, most) = SUBSCRIBERS;
        Size {
            subscribers: (options.agents_max * for_each).min(most),
            workers: options.agents_max.min(WORKERS),
            events: (options.load_ms / MS_FOR_EACH).max(5),
        }
    }
}

async fn waiting(options: &Options, size: Size) -> Result<Vec<Row>, BenchError> {
    let mut options = options.clone();
    // Workers have a session each, and so much more room than they take.
    let places = Setting::of("doors", "followers", 2 * (size.subscribers + size.workers));
    options.settings.push(places);
    let rig = Rig::start(&options, ID).await?;
    let (leader, node) = rig.leader_and_follower().await?;
    let mut rows = Vec::new();

    let alone = puts(leader, size.events, "alone").await?;
    rows.push(latency("put latency, nobody follows", &alone));
    let mut meter = Meter::new(node);

    let streams = subscribe(node, size.subscribers).await?;
    rows.extend(meter.row("subscriber of events", size.subscribers));
    let (put, reached) = follow(leader, streams, size).await?;
    let everyone = format!("put latency, {} subscribers follow", size.subscribers);
    rows.push(latency(&everyone, &put));
    let counts = Counts {
        sent: size.events * size.subscribers,
        delivered: reached.len(),
        ..Counts::default()
    };
    rows.push(latency("event latency", &reached.0).counts(counts));
    let last = Percentiles::of(&reached.1, 1e3);
    rows.push(latency("event latency of the last of all", &reached.1).note(format!("at most {:.0} µs", last.max)));

    let mut meter = Meter::new(node);
    let policy = ChangeQueue {
        policy: Some(Distribution::RoundRobin),
        ..ChangeQueue::default()
    };
    let changed = leader.client.change_queue(QUEUE, &policy).await;
    changed.map_err(|error| door("set the policy of a queue", error))?;
    let workers = Workers::begin(node, size.workers);
    workers.wait(leader).await?;
    rows.extend(meter.row("worker whose claim waits", size.workers));
    rows.extend(at_rest(node).await);
    let claimed = workers.work(leader, size.events).await?;
    let counts = Counts {
        sent: size.events,
        delivered: claimed.len(),
        ..Counts::default()
    };
    rows.push(latency("task latency, from added to claimed", &claimed).counts(counts));
    rig.stop().await?;
    Ok(rows)
}

fn latency(name: &str, latency: &Histogram<u64>) -> Row {
    let percentiles = Percentiles::of(latency, 1e3);
    Row::new(name, percentiles.p50, "µs", latency.len()).percentiles(percentiles)
}

/// The memory of a node before some come.
struct Meter<'a> {
    node: &'a RigNode,
    before_mib: Option<f64>,
}

impl Meter<'_> {
    fn new(node: &RigNode) -> Meter<'_> {
        let before_mib = node.resident_mib();
        Meter { node, before_mib }
    }

    /// What each of them takes, where the system tells it.
    fn row(&mut self, what: &str, number: u64) -> Option<Row> {
        let (before, after) = (self.before_mib?, self.node.resident_mib()?);
        let each = (after - before).max(0.0) * 1024.0 / number as f64;
        let row = Row::new(
            format!("memory of a {what}"),
            each,
            format!("KiB/{}", first(what)),
            number,
        );
        Some(row.note(format!(
            "{before:.1} MiB before {number} of them, {after:.1} MiB with them"
        )))
    }
}

fn first(words: &str) -> &str {
    words.split(' ').next().unwrap_or(words)
}

/// The processor time of a node at which all wait and nothing happens.
async fn at_rest(node: &RigNode) -> Option<Row> {
    let (before, began) = (node.processor_time()?, Instant::now());
    tokio::time::sleep(AT_REST).await;
    let used = node.processor_time()?.saturating_sub(before);
    let percent = 100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64();
    let row = Row::new("processor of the node while nothing happens", percent, "% of a core", 1);
    Some(row.note(format!("over {:.0} s", AT_REST.as_secs_f64())))
}

/// Puts a value of 64 B under a key of its own, again and again.
async fn puts(node: &RigNode, number: u64, name: &str) -> Result<Histogram<u64>, BenchError> {
    let mut latency = load::histogram();
    for event in 0..number {
        let called = Instant::now();
        put(&node.client, &format!("{PREFIX}{name}/{event}")).await?;
        latency.saturating_record(called.elapsed().as_nanos() as u64);
        tokio::time::sleep_until((called + EVERY).into()).await;
    }
    Ok(latency)
}

async fn put(client: &Client, key: &str) -> Result<(), BenchError> {
    let options = PutOptions::default();
    let put = client.put(key, Bytes::from_static(&[7; 64]), &options).await;
    put.map_err(|error| door(format!("put {key}"), error))?;
    Ok(())
}

type Stream = BoxStream<'static, Result<Watched, ClientError>>;

/// So many subscribers, each with a connection, who have been answered.
async fn subscribe(node: &RigNode, number: u64) -> Result<Vec<Stream>, BenchError> {
    let filter = Filter {
        prefix: format!("{PREFIX}followed/"),
        ..Filter::default()
    };
    let mut streams = Vec::new();
    for _ in 0..number {
        let subscribed = node.client.subscribe(None, &filter, None, Consistency::Local).await;
        streams.push(subscribed.map_err(|error| door("subscribe to events", error))?);
    }
    Ok(streams)
}

/// How long events were on their way to each subscriber, and to the last of each event.
struct Reached(Histogram<u64>, Histogram<u64>);

impl Reached {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

/// Puts what all of them follow: how long the puts took, and their events.
async fn follow(leader: &RigNode, streams: Vec<Stream>, size: Size) -> Result<(Histogram<u64>, Reached), BenchError> {
    let began = Instant::now();
    let mut readers = JoinSet::new();
    for stream in streams {
        readers.spawn(read(stream, size.events, began));
    }
    let mut put_latency = load::histogram();
    let mut called_ns = Vec::new();
    for event in 0..size.events {
        let called = began.elapsed();
        called_ns.push(called.as_nanos() as u64);
        put(&leader.client, &format!("{PREFIX}followed/{event}")).await?;
        put_latency.saturating_record((began.elapsed() - called).as_nanos() as u64);
        tokio::time::sleep_until((began + called + EVERY).into()).await;
    }
    let mut reached = Reached(load::histogram(), load::histogram());
    let mut last_ns = vec![0; called_ns.len()];
    let all = async {
        while let Some(read) = readers.join_next().await {
            let read = read.expect("a reader does not panic")?;
            for (event, at_ns) in read.into_iter().enumerate() {
                reached.0.saturating_record(at_ns.saturating_sub(called_ns[event]));
                last_ns[event] = last_ns[event].max(at_ns);
            }
        }
        Ok::<(), BenchError>(())
    };
    let in_time = tokio::time::timeout(WITHIN, all).await;
    in_time.map_err(|_| late("not every subscriber has had every event", began))??;
    for (called, last) in called_ns.into_iter().zip(last_ns) {
        reached.1.saturating_record(last.saturating_sub(called));
    }
    BenchError::unless_equal(ID, "events read", reached.len(), size.events * size.subscribers)?;
    Ok((put_latency, reached))
}

/// Reads so many events, in their order: when each was there, in nanoseconds since the beginning.
async fn read(mut stream: Stream, events: u64, began: Instant) -> Result<Vec<u64>, BenchError> {
    let mut read = Vec::new();
    while let Some(watched) = stream.next().await {
        let at_ns = began.elapsed().as_nanos() as u64;
        let Watched::Event(event) = watched.map_err(|error| door("follow events", error))? else {
            continue;
        };
        let WireWhat::Changed { key, .. } = &event.what else {
            continue;
        };
        let expected = format!("{PREFIX}followed/{}", read.len());
        BenchError::unless_equal(ID, "the key of the next event", &**key, &*expected)?;
        read.push(at_ns);
        if read.len() as u64 == events {
            break;
        }
    }
    Ok(read)
}

/// Workers at a node, each of which claims a task, finishes it, and claims the next one.
struct Workers {
    number: u64,
    tasks: JoinSet<BenchError>,
    /// When a worker had which task.
    claimed: tokio::sync::mpsc::Receiver<(u64, Instant)>,
}

impl Workers {
    fn begin(node: &RigNode, number: u64) -> Workers {
        let (sender, claimed) = tokio::sync::mpsc::channel(1_024);
        let mut tasks = JoinSet::new();
        for _ in 0..number {
            let (client, sender) = (node.client.clone(), sender.clone());
            tasks.spawn(async move {
                loop {
                    if let Err(error) = work(&client, &sender).await {
                        return error;
                    }
                }
            });
        }
        Workers { number, tasks, claimed }
    }

    /// Until all claims wait.
    async fn wait(&self, node: &RigNode) -> Result<(), BenchError> {
        let began = Instant::now();
        while began.elapsed() < WITHIN {
            let queues = node.client.queues(Consistency::Linearizable).await;
            let queues = queues.map_err(|error| door("list the queues", error))?.queues;
            let waiting = queues.iter().find(|queue| &*queue.queue == QUEUE);
            if waiting.is_some_and(|queue| queue.waiting == self.number) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(late("not every claim waits", began))
    }

    /// Adds tasks, one after the other: how long each took to be a worker's.
    async fn work(mut self, node: &RigNode, number: u64) -> Result<Histogram<u64>, BenchError> {
        let mut latency = load::histogram();
        for number in 0..number {
            let called = Instant::now();
            let task = AddTask {
                title: number.to_string().into(),
                queue: Some(QUEUE.into()),
                ..AddTask::default()
            };
            let added = node.client.add_tasks(vec![task], None).await;
            added.map_err(|error| door("add a task", error))?;
            let (claimed, at) = tokio::select! {
                claimed = self.claimed.recv() => claimed.expect("workers live as long as this"),
                Some(failed) = self.tasks.join_next() => return Err(failed.expect("a worker does not panic")),
                () = tokio::time::sleep(WITHIN) => return Err(late("nobody has claimed a task", called)),
            };
            BenchError::unless_equal(ID, "the task that was claimed", claimed, number)?;
            latency.saturating_record(at.saturating_duration_since(called).as_nanos() as u64);
            tokio::time::sleep_until((called + EVERY).into()).await;
        }
        Ok(latency)
    }
}

/// Waits for one task and finishes it.
async fn work(client: &Client, had: &tokio::sync::mpsc::Sender<(u64, Instant)>) -> Result<(), BenchError> {
    let claim = ClaimTasks {
        queue: Some(Arc::from(QUEUE)),
        wait_ms: Some(WAIT_MS),
        ..ClaimTasks::default()
    };
    let claimed = client.claim_tasks(&claim, None).await;
    let claimed = claimed.map_err(|error| door("claim a task", error))?;
    let at = Instant::now();
    let Some(token) = claimed.token else {
        return Ok(());
    };
    for task in claimed.tasks {
        let number = task.title.parse().unwrap_or(u64::MAX);
        let finish = FinishTask {
            fence: task.fence,
            token: token.clone(),
            ..FinishTask::default()
        };
        let finished = client.finish_task(task.task.0, &finish, None).await;
        finished.map_err(|error| door("finish a task", error))?;
        // Whoever listens has gone when the workload is over.
        let _ = had.send((number, at)).await;
    }
    Ok(())
}
