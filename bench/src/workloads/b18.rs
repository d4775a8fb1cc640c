//! B18, a large project: what a claim and a put cost in a project with a million tasks and as many keys, how long others
//! wait while all of it expires or is destroyed, how long a node takes to start with it, and what memory it takes.
//!
//! First the rules alone, without nodes: what `apply` takes for one command at a thousand and at a million, and for the
//! rounds in which such a project is cleared away. Then three nodes.

mod others;
mod rules;

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use queenright_actors::node::Consistency;
use queenright_protocol::colony::ADD_TASKS_MAX;
use serde_json::json;

use self::others::watch;
use crate::client::wire::{AddTask, ClaimTasks, OpenSession, OpenedSession, ProposalRequest, WriteRequest};
use crate::client::{Client, ClientError, PutOptions};
use crate::load;
use crate::report::{Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, block_on, door, for_all, late};
use crate::{BenchError, Options};

/// The id of the workload.
pub const ID: &str = "B18";
/// What the workload is about.
pub const TITLE: &str = "a large project: claim and put, expiry, destroy, restart, memory";

/// Tasks, and keys, of the small project.
const SMALL: u64 = 1_000;
/// Of the large one, and for how many in a millisecond of a load short runs have one.
const LARGE: u64 = 1_000_000;
const LARGE_PER_MS: u64 = 50;
/// From this load on the large project has its full size.
const FULL_LOAD_MS: u64 = 4_000;
/// How many keys one proposal writes, and tasks one command adds.
const AT_ONCE: u64 = ADD_TASKS_MAX as u64;
/// How many tasks one claim takes when all are taken.
const CLAIMED_AT_ONCE: u32 = 100;
/// Bytes of a value.
const VALUE_BYTES: usize = 64;
/// How many claims, and puts, are timed in each project.
const TIMED: u64 = 500;
/// How many keys lie in one folder.
const FOLDER_KEYS: u64 = 1_000;
/// For how many times the load others are watched while nothing else happens.
const QUIET_LOADS: u64 = 8;
/// How long anything that goes on in the background may take.
const DONE_WITHIN: Duration = Duration::from_secs(1_200);
/// For how long nodes that are idle use less than this share of a processor each.
const IDLE_FOR: Duration = Duration::from_millis(500);
const IDLE_SHARE: f64 = 0.1;
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The large project.
const BIG: &str = "b18-large";

/// The rules alone, then three nodes: claims and puts by one client in a project of a thousand tasks and keys and in one of
/// a million; the puts of others while a session that holds all its tasks closes, and while it is destroyed; a node that
/// is killed and started again; resident memory.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if something of the project is left or missing.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let large = large(options);
    let mut rows = rules::rows(SMALL, large)?;
    rows.extend(block_on(cluster(options, large))?);
    Ok(Report {
        config: json!({
            "nodes": 3, "topology": "mesh", "tasks_and_keys": [SMALL, large], "value_bytes": VALUE_BYTES,
            "timed_one_at_a_time": TIMED, "data": options.data,
        }),
        rows,
        ..report
    })
}

/// How many tasks and keys the large project has.
fn large(options: &Options) -> u64 {
    match options.load_ms >= FULL_LOAD_MS {
        true => LARGE,
        false => (options.load_ms.max(1) * LARGE_PER_MS).next_multiple_of(AT_ONCE),
    }
}

fn key(place: u64) -> String {
    format!("folder-{}/key-{}", place / FOLDER_KEYS, place % FOLDER_KEYS)
}

async fn cluster(options: &Options, large: u64) -> Result<Vec<Row>, BenchError> {
    let mut rig = Rig::start(options, ID).await?;
    let mut rows = Vec::new();
    let empty = resident(&rig);
    let costs = [
        one_by_one(&rig, "b18-small", SMALL).await?,
        one_by_one(&rig, BIG, large).await?,
    ];
    rows.extend(cost_rows(&costs, large));
    let full = settled(&rig).await?;
    rows.extend(memory_row(
        "resident memory of a node, both projects",
        full,
        "before",
        empty,
    ));

    let quiet = Duration::from_millis(options.load_ms * QUIET_LOADS);
    let quiet = watch(&rig, options, tokio::time::sleep(quiet)).await?;
    rows.extend(quiet.0.rows("nothing else happens", "for comparison"));
    rows.extend(expire(&rig, options, large).await?);
    rows.push(restart(&mut rig).await?);
    rows.extend(destroy(&rig, options, large).await?);
    let after = settled(&rig).await?;
    rows.extend(memory_row(
        "resident memory of a node, the large project destroyed",
        after,
        "before",
        full,
    ));
    rig.stop().await?;
    Ok(rows)
}

/// What one claim and one put took in a project of a size.
struct Costs {
    size: u64,
    claim: Histogram<u64>,
    put: Histogram<u64>,
}

/// Fills a project, and claims and puts there one by one.
async fn one_by_one(rig: &Rig, project: &str, size: u64) -> Result<Costs, BenchError> {
    let (leader, _) = rig.leader_and_follower().await?;
    let client = &leader.client.in_project(project);
    fill(client, size).await?;
    settled(rig).await?;
    let mut costs = Costs {
        size,
        claim: load::histogram(),
        put: load::histogram(),
    };
    let session = open(client).await?;
    let claim = claim_of(&session, 1);
    for place in 0..TIMED.min(size / 2) {
        let asked = Instant::now();
        let claimed = client.claim_tasks(&claim, None).await;
        costs.claim.saturating_record(asked.elapsed().as_nanos() as u64);
        let claimed = claimed.map_err(|error| door("claim a task", error))?;
        BenchError::unless_equal(ID, "tasks of a claim", claimed.tasks.len(), 1)?;
        let asked = Instant::now();
        put(client, &key(place * 7_919 % size)).await?;
        costs.put.saturating_record(asked.elapsed().as_nanos() as u64);
    }
    close(client, &session).await?;
    Ok(costs)
}

async fn fill(client: &Client, size: u64) -> Result<(), BenchError> {
    for_all(0..size / AT_ONCE, |part| async move {
        let write = |place: u64| WriteRequest {
            key: key(part * AT_ONCE + place),
            put: Some("x".repeat(VALUE_BYTES)),
            ..WriteRequest::default()
        };
        let proposal = ProposalRequest {
            writes: (0..AT_ONCE).map(write).collect(),
            ..ProposalRequest::default()
        };
        patiently("write keys", || client.propose(&proposal, None)).await?;
        let task = AddTask {
            title: "work".into(),
            ..AddTask::default()
        };
        let tasks = vec![task; AT_ONCE as usize];
        patiently("add tasks", || client.add_tasks(tasks.clone(), None)).await?;
        Ok(())
    })
    .await?;
    Ok(())
}

/// Asks again while the node is busy: nothing was changed then.
async fn patiently<T, F: Future<Output = Result<T, ClientError>>>(
    what: &str,
    ask: impl Fn() -> F,
) -> Result<T, BenchError> {
    let started = Instant::now();
    loop {
        match ask().await {
            // Not what is unknown: it may have been carried out.
            Err(ClientError::Problem(problem)) if problem.retryable && started.elapsed() < DONE_WITHIN => {
                tokio::time::sleep(LOOK).await;
            }
            answer => return answer.map_err(|error| door(what, error)),
        }
    }
}

async fn put(client: &Client, key: &str) -> Result<(), BenchError> {
    let value = "y".repeat(VALUE_BYTES).into();
    let put = client.put(key, value, &PutOptions::default()).await;
    put.map(drop).map_err(|error| door("put a value", error))
}

async fn open(client: &Client) -> Result<OpenedSession, BenchError> {
    let open = OpenSession::default();
    let opened = client.open_session(&open, None).await;
    opened.map_err(|error| door("open a session", error))
}

async fn close(client: &Client, session: &OpenedSession) -> Result<(), BenchError> {
    let closed = client.close_session(session.session.0, &session.token).await;
    closed.map(drop).map_err(|error| door("close a session", error))
}

fn claim_of(session: &OpenedSession, limit: u32) -> ClaimTasks {
    ClaimTasks {
        limit: Some(limit),
        token: Some(session.token.clone()),
        ..ClaimTasks::default()
    }
}

/// Waits until the stores of all nodes have what the nodes have, and nothing is done behind any more, such as a snapshot;
/// their resident memory then.
async fn settled(rig: &Rig) -> Result<Option<f64>, BenchError> {
    let started = Instant::now();
    for node in rig.nodes() {
        while node.figures().await?.store_waits > 0 {
            if started.elapsed() > DONE_WITHIN {
                return Err(late(format!("the store of {} is not up to date", node.name), started));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    while !is_idle(rig).await {
        if started.elapsed() > DONE_WITHIN {
            return Err(late("the nodes are still at work", started));
        }
    }
    Ok(resident(rig))
}

/// Whether the nodes do next to nothing, as far as the system tells it.
async fn is_idle(rig: &Rig) -> bool {
    let used = || {
        let each: Option<Vec<Duration>> = rig.nodes().iter().map(RigNode::processor_time).collect();
        each.map(|each| each.into_iter().sum::<Duration>())
    };
    let before = used();
    tokio::time::sleep(IDLE_FOR).await;
    let Some((before, after)) = before.zip(used()) else {
        return true;
    };
    after - before < IDLE_FOR.mul_f64(IDLE_SHARE) * rig.nodes().len() as u32
}

/// The most resident memory of a node, in MiB, where the system tells it.
fn resident(rig: &Rig) -> Option<f64> {
    let all: Option<Vec<f64>> = rig.nodes().iter().map(RigNode::resident_mib).collect();
    all?.into_iter().reduce(f64::max)
}

/// One session takes all tasks and closes: they all return.
async fn expire(rig: &Rig, options: &Options, size: u64) -> Result<Vec<Row>, BenchError> {
    let (leader, _) = rig.leader_and_follower().await?;
    let client = &leader.client.in_project(BIG);
    let session = &open(client).await?;
    let claims = size.div_ceil(u64::from(CLAIMED_AT_ONCE));
    for_all(0..claims, |_| async move {
        let claim = claim_of(session, CLAIMED_AT_ONCE);
        patiently("claim tasks", || client.claim_tasks(&claim, None)).await
    })
    .await?;
    BenchError::unless_equal(ID, "tasks that are ready when all are held", ready(client).await?, 0)?;
    let (delays, returned) = watch(rig, options, async {
        close(client, session).await?;
        let started = Instant::now();
        while ready(client).await? < size {
            if started.elapsed() > DONE_WITHIN {
                return Err(late("tasks of a closed session are still held", started));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    })
    .await?;
    returned?;
    let mut rows = vec![Row::new(
        format!("{size} tasks of one session return"),
        delays.lasted.as_secs_f64(),
        "s",
        size,
    )];
    rows.extend(delays.rows("tasks return meanwhile", "the bound is 50 ms"));
    Ok(rows)
}

async fn ready(client: &Client) -> Result<u64, BenchError> {
    let queues = client.queues(Consistency::Local).await;
    let queues = queues.map_err(|error| door("look at the queues", error))?;
    Ok(queues.queues.iter().map(|queue| queue.ready).sum())
}

/// The large project goes.
async fn destroy(rig: &Rig, options: &Options, size: u64) -> Result<Vec<Row>, BenchError> {
    let client = &rig.leader_and_follower().await?.0.client;
    let (delays, destroyed) = watch(rig, options, async {
        let destroyed = client.destroy_project(BIG, false).await;
        let destroyed = destroyed.map_err(|error| door("destroy a project", error))?;
        let started = Instant::now();
        for node in rig.nodes() {
            while is_there(node).await? {
                if started.elapsed() > DONE_WITHIN {
                    return Err(late("a destroyed project is still cleared away", started));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(destroyed)
    })
    .await?;
    let lost = destroyed?.lost;
    BenchError::unless_equal(ID, "lost keys", lost.memory_keys, size)?;
    BenchError::unless_equal(ID, "lost tasks", lost.open_tasks, size)?;
    let things = 2 * size + lost.events;
    let cleared = Row::new(
        "the large project is cleared away on all nodes",
        delays.lasted.as_secs_f64(),
        "s",
        things,
    );
    let mut rows = vec![cleared.note(format!(
        "{} events went with its {size} tasks and {size} keys",
        lost.events
    ))];
    rows.extend(delays.rows("the project is cleared away meanwhile", "the bound is 50 ms"));
    Ok(rows)
}

async fn is_there(node: &RigNode) -> Result<bool, BenchError> {
    match node.client.project(BIG, Consistency::Local).await {
        Ok(_) => Ok(true),
        Err(ClientError::Problem(problem)) if problem.status == 404 => Ok(false),
        Err(error) => Err(door("look for the project", error)),
    }
}

/// A node that follows is killed and started again.
async fn restart(rig: &mut Rig) -> Result<Row, BenchError> {
    let follower = rig.leader_and_follower().await?.1.name.clone();
    let took = rig.restart(&follower).await?;
    Ok(Row::new("a killed node serves reads again after", took.as_secs_f64(), "s", 1)
        .note("from the start of its process to the first linearizable read; the state from its store, the rest from its log"))
}

fn cost_rows(costs: &[Costs; 2], large: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, of) in [
        ("claim", (|costs| &costs.claim) as fn(&Costs) -> &Histogram<u64>),
        ("put", |costs| &costs.put),
    ] {
        let medians: Vec<f64> = costs
            .iter()
            .map(|costs| {
                let percentiles = Percentiles::of(of(costs), 1e3);
                let name = format!("{what} over HTTP, {} tasks and keys", costs.size);
                rows.push(Row::new(name, percentiles.p50, "µs", of(costs).len()).percentiles(percentiles));
                percentiles.p50
            })
            .collect();
        let name = format!("{what} over HTTP at {large} over that at {SMALL}");
        rows.push(Row::new(name, medians[1] / medians[0].max(1e-9), "times", 2).note("of the medians; the bound is 3"));
    }
    rows
}

fn memory_row(name: &str, now: Option<f64>, other: &str, then: Option<f64>) -> Option<Row> {
    let (now, then) = now.zip(then)?;
    Some(Row::new(name, now, "MiB", 3).note(format!("the most of the three; {then:.0} MiB {other} that")))
}
