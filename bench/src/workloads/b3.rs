//! B3, memory put and get: durable puts by agents on the nodes and by clients outside, and reads.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use queenright_actors::node::Consistency;
use serde_json::json;

use super::spread::Spread;
use crate::client::{ClientError, Lookup, PutOptions};
use crate::disk::fdatasync_probe;
use crate::report::{Counts, Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, add_reported, block_on, door, for_all, reported};
use crate::traffic::meter::Meter;
use crate::{BenchError, Options, claims, load};

/// The id of the workload.
pub const ID: &str = "B3";
/// What the workload is about.
pub const TITLE: &str = "durable memory: put and get, 3 nodes";

/// How many agents, or clients, put at the same time.
const AGENTS: [u64; 4] = [1, 16, 64, 256];
/// How many clients outside the nodes put at the same time.
const CLIENTS: u64 = 64;
/// Bytes of a value.
const VALUE_BYTES: usize = 256;
/// Keys that all agents of a load write together.
const KEYS: u64 = 10_000;
/// How long a load runs before it is measured, in milliseconds.
const WARM_UP_MS: u64 = 1_000;
/// How long it runs after that, so that no agent is measured while others have ended.
const COOL_DOWN_MS: u64 = 500;
/// How long an agent may take beyond its time.
const DONE_WITHIN: Duration = Duration::from_secs(90);
/// Bytes and number of the syncs of the probe.
const SYNC_BYTES: usize = 4096;
const SYNCS_MAX: u32 = 2_000;

/// Puts by 1, 16, 64 and 256 agents that are hosted on the nodes, one at a time each, every one on disk at a majority
/// before it counts; puts by 64 clients over kept-alive HTTP; gets, one after the other. After each load the revisions
/// of its keys are added up on a node that follows: every acknowledged put must be there.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if an acknowledged put is missing.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let syncs = options.syncs.clamp(1, SYNCS_MAX);
    let probe = fdatasync_probe(&options.data, SYNC_BYTES, syncs)?;
    let sync = Percentiles::of(&probe.nanos, 1e3);
    let mut rows = vec![
        Row::new("write and sync 4 KiB", sync.p50, "µs", probe.nanos.len())
            .percentiles(sync)
            .note("the same disk, before the cluster was started"),
    ];
    rows.extend(block_on(cluster(options, sync.p50))?);
    Ok(Report {
        config: json!({
            "nodes": 3, "topology": "mesh", "value_bytes": VALUE_BYTES, "keys": KEYS, "warm_up_ms": WARM_UP_MS,
            "measured_ms": options.load_ms, "cool_down_ms": COOL_DOWN_MS, "repeats": repeats(options),
            "agents": "hosted on the nodes in turn, one put at a time each", "gets": options.gets,
            "client_transport": "HTTP/1.1, one kept-alive connection each, all from one process",
            "data": options.data,
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

fn repeats(options: &Options) -> u32 {
    options.cluster_repeats.max(1)
}

async fn cluster(options: &Options, sync_p50_us: f64) -> Result<Vec<Row>, BenchError> {
    let rig = Rig::start(options, ID).await?;
    let mut loads = vec![Load::new("1 agent, leader's node", Place::Leader, 1)];
    loads.push(Load::new("1 agent, follower's node", Place::Follower, 1));
    let many = AGENTS
        .into_iter()
        .filter(|agents| *agents > 1 && *agents <= options.agents_max);
    loads.extend(many.map(|agents| Load::new(format!("{agents} agents"), Place::Nodes, agents)));
    let clients = CLIENTS.min(options.agents_max);
    loads.push(Load::new(
        format!("{clients} clients over HTTP"),
        Place::Outside,
        clients,
    ));
    // Each load once, then all again: a disturbance of the machine falls on different loads.
    for repeat in 0..repeats(options) {
        for load in &mut loads {
            let run = load.run(&rig, options, repeat).await?;
            load.runs.push(run);
        }
    }
    let mut rows = Vec::new();
    for load in &loads {
        rows.extend(load.rows());
        if load.place == Place::Leader {
            let latency = load.medians_us();
            rows.push(
                Row::new(
                    "put p50 in syncs, 1 agent",
                    latency.median() / sync_p50_us,
                    "syncs",
                    load.puts(),
                )
                .repeats(latency.repeats().into_iter().map(|us| us / sync_p50_us))
                .note("the median latency above, divided by the median sync of the same run"),
            );
        }
    }
    rows.extend(gets(&rig, options).await?);
    rig.stop().await?;
    Ok(rows)
}

/// Where those who put are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On the node that leads.
    Leader,
    /// On a node that follows.
    Follower,
    /// On all nodes, in turn.
    Nodes,
    /// In this process, with a door of all nodes in turn.
    Outside,
}

impl Place {
    fn words(self) -> &'static str {
        match self {
            Place::Leader => "leader's node",
            Place::Follower => "follower's node",
            Place::Nodes => "all nodes",
            Place::Outside => "outside, over HTTP",
        }
    }
}

/// A number of agents or clients that put at the same time, and what was measured.
#[derive(Debug)]
struct Load {
    name: String,
    place: Place,
    agents: u64,
    runs: Vec<Run>,
}

/// What one run of a load gave.
#[derive(Debug)]
struct Run {
    puts_per_second: f64,
    measured: u64,
    latency: Histogram<u64>,
    counts: Counts,
    /// What it cost the nodes, with its start, warm-up and cool-down; and how long all that took.
    cost: Meter,
    took: Duration,
}

impl Run {
    /// The processor time of all nodes for one acknowledged put, in microseconds; nothing where the system does not tell it.
    fn processor_us(&self) -> Option<f64> {
        let seconds: f64 = self.cost.processor_seconds()?.iter().sum();
        Some(seconds * 1e6 / self.counts.delivered.max(1) as f64)
    }

    /// Rounds that were applied, which every node applies all of, in a second.
    fn rounds_per_second(&self) -> f64 {
        let rounds = self.cost.nodes.iter().map(|node| node.rounds).max();
        rounds.unwrap_or_default() as f64 / self.took.as_secs_f64()
    }
}

/// What one agent or client gives.
struct Share {
    measured: u64,
    latency: Histogram<u64>,
    delivered: u64,
    refused: u64,
    unknown: u64,
}

impl Load {
    fn new(name: impl Into<String>, place: Place, agents: u64) -> Load {
        Load {
            name: name.into(),
            place,
            agents,
            runs: Vec::new(),
        }
    }

    fn keys_each(&self) -> u64 {
        KEYS.div_ceil(self.agents)
    }

    async fn run(&self, rig: &Rig, options: &Options, repeat: u32) -> Result<Run, BenchError> {
        // Keys that no load before has written.
        let label: String = self.name.chars().filter(char::is_ascii_alphanumeric).collect();
        let prefix = format!("b3.{label}.{repeat}");
        let (leader, follower) = rig.leader_and_follower().await?;
        let nodes: Vec<&RigNode> = match self.place {
            Place::Leader => vec![leader],
            Place::Follower => vec![follower],
            Place::Nodes | Place::Outside => rig.nodes().iter().collect(),
        };
        let place = |agent: u64| (agent, nodes[agent as usize % nodes.len()]);
        let each = (0..self.agents).map(place);
        let before = Meter::read(rig.nodes()).await?;
        let began = Instant::now();
        let shares = if self.place == Place::Outside {
            let clients = each.map(|(client, node)| self.client(node, format!("{prefix}/{client}"), options));
            futures::future::try_join_all(clients).await?
        } else {
            self.agents(each, &prefix, options).await?
        };
        let mut run = Run {
            puts_per_second: 0.0,
            measured: 0,
            latency: load::histogram(),
            counts: Counts::default(),
            took: began.elapsed(),
            cost: Meter::read(rig.nodes()).await?.since(&before),
        };
        for share in shares {
            run.measured += share.measured;
            let added = run.latency.add(&share.latency);
            added.expect("both have the bounds of a load's histogram");
            run.counts.sent += share.delivered + share.refused + share.unknown;
            run.counts.delivered += share.delivered;
            run.counts.refused += share.refused;
            run.counts.lost += share.unknown;
        }
        run.puts_per_second = run.measured as f64 / (options.load_ms as f64 / 1e3);
        check(follower, &prefix, &run.counts).await?;
        Ok(run)
    }

    async fn agents(
        &self,
        each: impl Iterator<Item = (u64, &RigNode)> + Clone,
        prefix: &str,
        options: &Options,
    ) -> Result<Vec<Share>, BenchError> {
        // The author of its puts: without a slash.
        let name = |agent: u64| format!("{prefix}.{agent}");
        let spawning = Instant::now();
        for_all(each.clone(), async |(agent, node)| {
            let arguments = json!({
                "prefix": format!("{prefix}/{agent}"), "keys": self.keys_each(), "value_bytes": VALUE_BYTES,
                "warm_up_ms": WARM_UP_MS, "work_ms": options.load_ms, "cool_down_ms": COOL_DOWN_MS,
            });
            node.spawn(&name(agent), "load-put", arguments).await
        })
        .await?;
        let spread = spawning.elapsed();
        if spread > Duration::from_millis(COOL_DOWN_MS.min(WARM_UP_MS)) {
            tracing::warn!(?spread, "agents were started so slowly that some were measured alone");
        }
        // Nobody is asked while they are measured.
        tokio::time::sleep(Duration::from_millis(WARM_UP_MS + options.load_ms + COOL_DOWN_MS)).await;
        for_all(each, async |(agent, node)| {
            let status = node.done(&name(agent), DONE_WITHIN).await?;
            let mut latency = load::histogram();
            add_reported(&mut latency, &status, "latency_ns")?;
            Ok(Share {
                measured: reported(&status, "puts")?,
                latency,
                delivered: reported(&status, "delivered")?,
                refused: reported(&status, "refused")?,
                unknown: reported(&status, "unknown")?,
            })
        })
        .await
    }

    /// A client outside the nodes: the same work as an agent's, through the door.
    async fn client(&self, node: &RigNode, prefix: String, options: &Options) -> Result<Share, BenchError> {
        let (client, keys, work_ms) = (node.client.clone(), self.keys_each(), options.load_ms);
        let work = tokio::spawn(async move {
            let measured = Duration::from_millis(WARM_UP_MS)..Duration::from_millis(WARM_UP_MS + work_ms);
            let end = measured.end + Duration::from_millis(COOL_DOWN_MS);
            let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
            let mut share = Share {
                measured: 0,
                latency: load::histogram(),
                delivered: 0,
                refused: 0,
                unknown: 0,
            };
            let started = Instant::now();
            let mut sent = 0;
            while started.elapsed() < end {
                let key = format!("{prefix}/{}", sent % keys);
                let asked = Instant::now();
                let put = client.put(&key, value.clone(), &PutOptions::default()).await;
                sent += 1;
                match put {
                    Ok(_) => {
                        share.delivered += 1;
                        if measured.contains(&started.elapsed()) {
                            share.measured += 1;
                            share.latency.saturating_record(asked.elapsed().as_nanos() as u64);
                        }
                    }
                    Err(error) if error.outcome_unknown() => share.unknown += 1,
                    Err(ClientError::Problem(problem)) if problem.retryable => share.refused += 1,
                    Err(error) => return Err(door("put", error)),
                }
            }
            Ok(share)
        });
        work.await.expect("a client of the load does not panic")
    }

    fn puts(&self) -> u64 {
        self.runs.iter().map(|run| run.measured).sum()
    }

    /// The median latency of each run, in microseconds.
    fn medians_us(&self) -> Spread {
        let runs = self.runs.iter();
        Spread::of(runs.map(|run| run.latency.value_at_quantile(0.5) as f64 / 1e3))
    }

    /// The rate and the latency over all runs, and what a put costs.
    fn rows(&self) -> Vec<Row> {
        let rates = Spread::of(self.runs.iter().map(|run| run.puts_per_second));
        let medians = self.medians_us();
        let mut all = load::histogram();
        let mut counts = Counts::default();
        for run in &self.runs {
            all.add(&run.latency)
                .expect("both have the bounds of a load's histogram");
            counts.sent += run.counts.sent;
            counts.delivered += run.counts.delivered;
            counts.refused += run.counts.refused;
            counts.lost += run.counts.lost;
        }
        let unknown = if counts.lost > 0 {
            "; lost: those whose outcome nobody learned"
        } else {
            ""
        };
        let rate = rates
            .row(format!("put rate, {}", self.name), "puts/s")
            .counts(counts)
            .note(format!(
                "{}; counts include warm-up and cool-down{unknown}",
                rates.note()
            ));
        let latency = Row::new(
            format!("put latency, {}", self.name),
            medians.median(),
            "µs",
            self.puts(),
        )
        .repeats(medians.repeats())
        .percentiles(Percentiles::of(&all, 1e3))
        .note(format!("medians: {}", medians.note()));
        let point = |row: Row, what: &str| {
            row.at("what", what)
                .at("agents", self.agents)
                .at("place", self.place.words())
        };
        let mut rows = vec![point(rate, "put rate"), point(latency, "put latency")];
        if let Some(costs) = self.runs.iter().map(Run::processor_us).collect::<Option<Vec<f64>>>() {
            let row = Spread::of(costs).row(format!("processor time of a put, {}", self.name), "µs/put");
            let row = row.note("of all nodes together, their agents with them, not of clients outside");
            rows.push(point(row, "processor time of a put"));
        }
        let rounds = Spread::of(self.runs.iter().map(Run::rounds_per_second));
        let row = rounds.row(format!("round rate, {}", self.name), "rounds/s");
        rows.push(point(row.note("with the start and the end of the load"), "round rate"));
        rows
    }
}

/// Every acknowledged put has raised the revision of its key by one, and only puts have: the revisions of all keys of
/// the load add up to the puts.
async fn check(node: &RigNode, prefix: &str, counts: &Counts) -> Result<(), BenchError> {
    let revisions = node.revisions(&format!("{prefix}/")).await?;
    if (counts.delivered..=counts.delivered + counts.lost).contains(&revisions) {
        return Ok(());
    }
    Err(BenchError::Mismatch {
        workload: ID,
        what: format!("puts in the memory of {} under {prefix}", node.name),
        found: revisions.to_string(),
        expected: format!("{} acknowledged, {} unknown", counts.delivered, counts.lost),
    })
}

/// Reads of one client, one after the other.
async fn gets(rig: &Rig, options: &Options) -> Result<Vec<Row>, BenchError> {
    let (leader, follower) = rig.leader_and_follower().await?;
    let key = |get: u32| format!("b3/get/{}", u64::from(get) % KEYS);
    for_all(0..options.gets.max(1), async |get| {
        let put = leader
            .client
            .put(&key(get), Bytes::from(vec![b'x'; VALUE_BYTES]), &PutOptions::default())
            .await;
        put.map_err(|error| door("put what is read", error))
    })
    .await?;
    let mut rows = Vec::new();
    for (name, node, consistency) in [
        ("local", follower, Consistency::Local),
        ("linearizable, leader's node", leader, Consistency::Linearizable),
        ("linearizable, follower's node", follower, Consistency::Linearizable),
    ] {
        // A local read may be behind; what follows is not.
        let fresh = node.client.get(&key(0), Consistency::Linearizable).await;
        fresh.map_err(|error| door("get", error))?;
        let mut latency = load::histogram();
        // The reads in as many parts as other loads have repeats.
        let mut parts = vec![load::histogram(); repeats(options).min(options.gets.max(1)) as usize];
        let started = Instant::now();
        for get in 0..options.gets.max(1) {
            let asked = Instant::now();
            let found = node.client.get(&key(get), consistency).await;
            let took = asked.elapsed().as_nanos() as u64;
            latency.saturating_record(took);
            let part = get as usize * parts.len() / options.gets.max(1) as usize;
            parts[part].saturating_record(took);
            match found.map_err(|error| door("get", error))? {
                Lookup::Found(found) => {
                    BenchError::unless_equal(ID, format!("bytes of {}", key(get)), found.value.len(), VALUE_BYTES)?;
                }
                Lookup::Absent { .. } => {
                    BenchError::unless_equal(ID, key(get), "absent", "a value")?;
                }
            }
        }
        let rate = latency.len() as f64 / started.elapsed().as_secs_f64();
        let percentiles = Percentiles::of(&latency, 1e3);
        rows.push(
            Row::new(format!("get latency, {name}"), percentiles.p50, "µs", latency.len())
                .percentiles(percentiles)
                .repeats(parts.iter().map(|part| Percentiles::of(part, 1e3).p50))
                .note(format!("over HTTP, one after the other: {rate:.0} gets/s")),
        );
    }
    Ok(rows)
}
