//! B11, events: agents in swarms change the memory at a steady rate and as fast as they can, one subscriber for each swarm
//! and one for all; and a subscriber that stops reading.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use hdrhistogram::Histogram;
use queenright_actors::node::Consistency;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::client::wire::{ProposalRequest, WireWhat};
use crate::client::{Client, ClientError, Filter, PutOptions, Watched};
use crate::report::{Counts, Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, block_on, door, late};
use crate::{BenchError, Options, claims, load};

/// The id of the workload.
pub const ID: &str = "B11";
/// What the workload is about.
pub const TITLE: &str =
    "events: delivered = emitted, a subscriber for each swarm and one for all, one that stops reading";

/// How many agents there are, in swarms of 1 to 5.
const AGENTS: [u64; 4] = [10, 20, 50, 100];
/// What each swarm does in a second: 10 events, and 20 messages of 1 KB.
const EVENTS_PER_SECOND: u64 = 10;
const MESSAGES_PER_SECOND: u64 = 20;
const MESSAGE_BYTES: usize = 1_000;
/// What all agents together do besides.
const TRANSITIONS_PER_SECOND: u64 = 10;
/// How many puts of one swarm may be under way: at its rate as many as come in a second.
const UNDER_WAY: usize = 30;
/// How many puts are under way when as many are made as can be.
const FLOOD: usize = 64;
/// How long the last events may take to arrive.
const ARRIVED_WITHIN: Duration = Duration::from_secs(30);
/// What is written for the subscriber that stops reading: so many proposals with so many keys of so many bytes.
const SLOW_WRITES: (u64, u64, usize) = (8, 1_000, 3_000);
/// How long a door may take to drop it: ten seconds, and what it takes to fill what lies between.
const DROPPED_WITHIN: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

/// 10, 20, 50 and 100 agents in swarms of 1 to 5 put 10 small values and 20 of 1 KB a second for each swarm, and 10 a
/// second in all besides, each on disk at a majority before it counts; one subscriber for each swarm follows its keys and
/// one follows everything, spread over the nodes. Then 64 puts at a time, as fast as they go. Then a subscriber that stops
/// reading, beside one that reads.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a subscriber saw another number of events than there were.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let rows = block_on(cluster(options))?;
    Ok(Report {
        config: json!({
            "nodes": 3, "topology": "mesh", "measured_ms": options.load_ms, "events_per_swarm_and_second": EVENTS_PER_SECOND,
            "messages_per_swarm_and_second": MESSAGES_PER_SECOND, "message_bytes": MESSAGE_BYTES,
            "transitions_per_second": TRANSITIONS_PER_SECOND, "agents": "outside the nodes, over HTTP",
            "subscribers": "server-sent events, one for each swarm and one for all, spread over the nodes",
            "latency": "from the sending of a put to the arrival of its event", "data": options.data,
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

async fn cluster(options: &Options) -> Result<Vec<Row>, BenchError> {
    let rig = Rig::start(options, ID).await?;
    let mut rows = Vec::new();
    for agents in AGENTS
        .into_iter()
        .filter(|agents| *agents <= options.agents_max.max(AGENTS[0]))
    {
        rows.extend(steady(&rig, options, agents).await?);
    }
    rows.extend(flood(&rig, options).await?);
    rows.extend(slow(&rig).await?);
    rig.stop().await?;
    Ok(rows)
}

/// How many agents each swarm has: 1, 2, 3, 4, 5, 1, …
fn swarms(agents: u64) -> Vec<u64> {
    let (mut left, mut swarms) = (agents, Vec::new());
    for size in (1..=5).cycle() {
        if left == 0 {
            break;
        }
        swarms.push(size.min(left));
        left -= size.min(left);
    }
    swarms
}

/// When a put was sent, in its key: what arrives tells how long it took.
struct Clock(Instant);

impl Clock {
    fn key(&self, prefix: &str, number: u64) -> String {
        format!("{prefix}{number}/{}", self.0.elapsed().as_nanos())
    }

    fn since(&self, key: &str) -> Option<u64> {
        let sent: u64 = key.rsplit('/').next()?.parse().ok()?;
        Some((self.0.elapsed().as_nanos() as u64).saturating_sub(sent))
    }
}

/// A subscriber that reads, until the last key below its prefix.
struct Reader {
    name: String,
    task: JoinHandle<Result<(u64, Histogram<u64>), BenchError>>,
}

/// What the last key below a prefix ends with; it is not counted.
const LAST: &str = "last";

impl Reader {
    async fn begin(client: &Client, prefix: &str, clock: &Arc<Clock>) -> Result<Reader, BenchError> {
        let name = format!("the subscriber of {prefix:?} at {}", client.base_url());
        let filter = Filter {
            prefix: prefix.to_owned(),
            types: vec!["changed".to_owned()],
            ..Filter::default()
        };
        let subscribed = client.subscribe(None, &filter, None, Consistency::Local).await;
        let watched = subscribed.map_err(|error| door("subscribe to events", error))?;
        let last = format!("{prefix}{LAST}");
        let task = tokio::spawn(read(watched, last, name.clone(), clock.clone()));
        Ok(Reader { name, task })
    }

    /// Waits until it has seen its last key: as many events as were emitted must have come before it; and how long they
    /// took.
    async fn end(self, emitted: u64) -> Result<Histogram<u64>, BenchError> {
        let started = Instant::now();
        let Ok(Ok(ended)) = tokio::time::timeout(ARRIVED_WITHIN, self.task).await else {
            return Err(late(format!("{} has not come to the end", self.name), started));
        };
        let (seen, latencies) = ended?;
        BenchError::unless_equal(ID, format!("events seen by {}", self.name), seen, emitted)?;
        Ok(latencies)
    }
}

async fn read(
    mut watched: BoxStream<'static, Result<Watched, ClientError>>,
    last: String,
    name: String,
    clock: Arc<Clock>,
) -> Result<(u64, Histogram<u64>), BenchError> {
    let (mut seen, mut latencies, mut before) = (0, load::histogram(), None);
    while let Some(next) = watched.next().await {
        let next = next.map_err(|error| door(format!("go on as {name}"), error))?;
        let Watched::Event(event) = next else { continue };
        let WireWhat::Changed { key, .. } = &event.what else {
            continue;
        };
        if before >= Some(event.cursor) {
            return Err(BenchError::Mismatch {
                workload: ID,
                what: format!("order of the events of {name}"),
                found: event.cursor.to_string(),
                expected: format!("one behind {before:?}"),
            });
        }
        before = Some(event.cursor);
        if **key == *last {
            break;
        }
        if !key.ends_with(LAST) {
            seen += 1;
            let nanos = clock.since(key).unwrap_or_default();
            latencies.saturating_record(nanos.max(1));
        }
    }
    Ok((seen, latencies))
}

async fn put(client: &Client, key: &str) -> Result<(), BenchError> {
    let put = client.put(key, "x".into(), &PutOptions::default()).await;
    put.map(drop).map_err(|error| door("put", error))
}

/// Puts at a rate, for a time, whatever becomes of those before; how many.
async fn at_rate(
    clients: &[Client],
    prefix: &str,
    per_second: u64,
    span: Duration,
    bytes: impl Fn(u64) -> usize,
    clock: &Clock,
) -> Result<u64, BenchError> {
    let started = tokio::time::Instant::now();
    let every = Duration::from_secs(1) / per_second as u32;
    let total = (span.as_millis() as u64 * per_second / 1_000).max(1);
    let puts = stream::iter(0..total).then(|number| async move {
        tokio::time::sleep_until(started + every * number as u32).await;
        number
    });
    let puts = puts.map(|number| {
        let client = &clients[number as usize % clients.len()];
        let value = vec![b'x'; bytes(number)];
        async move {
            let (key, options) = (clock.key(prefix, number), PutOptions::default());
            let put = client.put(&key, value.into(), &options).await;
            put.map_err(|error| door("put", error))
        }
    });
    let mut puts = std::pin::pin!(puts.buffer_unordered(UNDER_WAY));
    while let Some(put) = puts.next().await {
        put?;
    }
    Ok(total)
}

fn in_project<'r>(rig: &'r Rig, project: &'r str) -> impl Fn(usize) -> Client + 'r {
    |place| {
        let nodes = rig.nodes();
        nodes[place % nodes.len()].client.in_project(project)
    }
}

async fn steady(rig: &Rig, options: &Options, agents: u64) -> Result<Vec<Row>, BenchError> {
    let (project, clock) = (format!("b11-{agents}"), Arc::new(Clock(Instant::now())));
    let at = in_project(rig, &project);
    let swarms = swarms(agents);
    let all = Reader::begin(&at(1), "", &clock).await?;
    let mut readers = Vec::new();
    for swarm in 0..swarms.len() {
        readers.push(Reader::begin(&at(swarm), &format!("s{swarm}/"), &clock).await?);
    }
    let span = Duration::from_millis(options.load_ms.max(1));
    let per_swarm = EVENTS_PER_SECOND + MESSAGES_PER_SECOND;
    let mut first = 0;
    let works = swarms.iter().enumerate().map(|(swarm, size)| {
        let clients: Vec<Client> = (first..first + size)
            .map(|agent| at(swarm).as_agent(&format!("agent-{agent}")))
            .collect();
        first += size;
        let clock = clock.clone();
        async move {
            let bytes = |number: u64| match number % 3 {
                0 => 20,
                _ => MESSAGE_BYTES,
            };
            at_rate(&clients, &format!("s{swarm}/"), per_swarm, span, bytes, &clock).await
        }
    });
    let works = futures::future::try_join_all(works.collect::<Vec<_>>());
    let clients = [at(2)];
    let transitions = at_rate(&clients, "t/", TRANSITIONS_PER_SECOND, span, |_| 20, &clock);
    let (emitted, transitions) = futures::future::try_join(works, transitions).await?;
    let total: u64 = emitted.iter().sum::<u64>() + transitions;
    for swarm in 0..swarms.len() {
        put(&at(0), &format!("s{swarm}/{LAST}")).await?;
    }
    put(&at(0), LAST).await?;
    let mut latencies = all.end(total).await?;
    for (reader, emitted) in readers.into_iter().zip(&emitted) {
        let of_swarm = reader.end(*emitted).await?;
        let added = latencies.add(&of_swarm);
        added.expect("all have the bounds of a load's histogram");
    }
    // Each event is for two subscribers, but those of the transitions.
    let sent = 2 * total - transitions;
    let percentiles = Percentiles::of(&latencies, 1e6);
    Ok(vec![
        Row::new(
            format!("delivery latency, {agents} agents"),
            percentiles.p50,
            "ms",
            sent,
        )
        .percentiles(percentiles)
        .counts(all_of(sent))
        .note(format!("{} swarms; {total} events were emitted", swarms.len()))
        .at("what", "delivery latency")
        .at("agents", agents),
    ])
}

/// Everything arrived: the readers have been compared.
fn all_of(sent: u64) -> Counts {
    Counts {
        sent,
        delivered: sent,
        refused: 0,
        lost: 0,
    }
}

/// As many puts as can be made, and two subscribers of all of them, each at another node.
async fn flood(rig: &Rig, options: &Options) -> Result<Vec<Row>, BenchError> {
    let (project, clock) = ("b11-flood", Arc::new(Clock(Instant::now())));
    let at = in_project(rig, project);
    let readers = [
        Reader::begin(&at(0), "", &clock).await?,
        Reader::begin(&at(1), "", &clock).await?,
    ];
    let (started, span) = (Instant::now(), Duration::from_millis(options.load_ms.max(1)));
    let clients: Vec<Client> = (0..FLOOD).map(&at).collect();
    let floods = clients.iter().enumerate().map(|(place, client)| {
        let clock = clock.clone();
        async move {
            let mut done = 0;
            while started.elapsed() < span {
                put(client, &clock.key(&format!("f{place}/"), done)).await?;
                done += 1;
            }
            Ok::<u64, BenchError>(done)
        }
    });
    let done = futures::future::try_join_all(floods).await?;
    let (total, seconds) = (done.iter().sum::<u64>(), started.elapsed().as_secs_f64());
    put(&at(0), LAST).await?;
    let mut latencies = load::histogram();
    for reader in readers {
        let of_one = reader.end(total).await?;
        latencies
            .add(&of_one)
            .expect("all have the bounds of a load's histogram");
    }
    let percentiles = Percentiles::of(&latencies, 1e6);
    Ok(vec![
        Row::new(
            format!("events, {FLOOD} puts at a time"),
            total as f64 / seconds,
            "events/s",
            total,
        )
        .counts(all_of(2 * total))
        .note("each was delivered to two subscribers"),
        Row::new(
            format!("delivery latency, {FLOOD} puts at a time"),
            percentiles.p50,
            "ms",
            2 * total,
        )
        .percentiles(percentiles),
    ])
}

/// A subscriber that stops reading, beside one that reads, at one node.
async fn slow(rig: &Rig) -> Result<Vec<Row>, BenchError> {
    let project = "b11-slow";
    let node = &rig.nodes()[1];
    let at = in_project(rig, project);
    let clock = Arc::new(Clock(Instant::now()));
    let reader = Reader::begin(&at(1), "", &clock).await?;
    let before = node.figures().await?.subscribers.slow;
    let stopped = stops_reading(node, project)?;
    let resident = node.resident_mib();
    let (proposals, writes, bytes) = SLOW_WRITES;
    for proposal in 0..proposals {
        let long = "k".repeat(bytes);
        let writes: Vec<_> = (0..writes)
            .map(|write| json!({ "key": format!("{long}/{proposal}/{write}"), "put": "" }))
            .collect();
        let proposal: ProposalRequest =
            serde_json::from_value(json!({ "writes": writes })).expect("it has the form of a proposal");
        let proposed = at(0).propose(&proposal, None).await;
        proposed.map_err(|error| door("propose", error))?;
    }
    let (written, mut peak) = (Instant::now(), resident);
    while node.figures().await?.subscribers.slow == before {
        if written.elapsed() > DROPPED_WITHIN {
            return Err(late("a subscriber that reads nothing is still served", written));
        }
        peak = peak.zip(node.resident_mib()).map(|(peak, now)| peak.max(now));
        tokio::time::sleep(POLL).await;
    }
    let dropped = written.elapsed();
    put(&at(0), LAST).await?;
    reader.end(proposals * writes).await?;
    drop(stopped);
    let written_mib = (proposals * writes * bytes as u64) as f64 / f64::from(1 << 20);
    let mut rows = vec![
        Row::new("a subscriber that reads nothing is dropped after", dropped.as_secs_f64(), "s", 1).note(format!(
            "after the last of {written_mib:.0} MiB of events was committed; another one at the same node saw all of them"
        )),
    ];
    if let (Some(resident), Some(peak)) = (resident, peak) {
        rows.push(
            Row::new(
                "resident memory of its node, growth meanwhile",
                peak - resident,
                "MiB",
                1,
            )
            .note("with what the events take in the state and in the log"),
        );
    }
    Ok(rows)
}

/// Subscribes and reads nothing of the answer.
fn stops_reading(node: &RigNode, project: &str) -> Result<TcpStream, BenchError> {
    let address = node.client.base_url().trim_start_matches("http://");
    let lost = |error: std::io::Error| {
        let url = node.client.base_url().to_owned();
        let problem = error.to_string();
        door("subscribe by hand", ClientError::Lost { url, problem })
    };
    let mut stream = TcpStream::connect(address).map_err(lost)?;
    let request =
        format!("GET /v1/events?project={project} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(lost)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swarms_have_one_to_five_agents() {
        assert_eq!(swarms(10), [1, 2, 3, 4]);
        assert_eq!(swarms(20), [1, 2, 3, 4, 5, 1, 2, 2]);
        for agents in AGENTS {
            assert_eq!(swarms(agents).iter().sum::<u64>(), agents);
        }
    }

    #[test]
    fn a_key_says_when_it_was_sent() {
        let clock = Clock(Instant::now());
        let key = clock.key("s1/", 7);
        assert!(key.starts_with("s1/7/"), "{key}");
        assert!(clock.since(&key).is_some() && clock.since("s1/last").is_none());
    }
}
