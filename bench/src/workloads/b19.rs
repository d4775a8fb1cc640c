//! B19, from a kill to the next acknowledged write: a follower, the leader and the hub, by SIGKILL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use queenright_actors::node::Consistency;
use queenright_protocol::topology::Kind;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::{Client, ListQuery, PutOptions};
use crate::report::{Counts, Percentiles, Report, Row};
use crate::rig::{Rig, RigNode, Shape, block_on, door, late};
use crate::{BenchError, Options, load};

/// The id of the workload.
pub const ID: &str = "B19";
/// What the workload is about.
pub const TITLE: &str = "from kill -9 to the next acknowledged write: follower, leader, hub";

/// Bytes of each value.
const VALUE_BYTES: usize = 256;
/// How long a write may take to be acknowledged after a kill.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);
/// How long a whole cluster works before somebody is killed.
const CALM: Duration = Duration::from_secs(1);
/// How many acknowledged writes are kept until the first after a kill is found: one client has far fewer in that time.
const ACKNOWLEDGED_MAX: usize = 1 << 16;
/// How long the client waits after a write without an outcome.
const PAUSE: Duration = Duration::from_millis(10);
/// How many keys a page of a list has.
const LIST_KEYS: u64 = 1_000;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// A node that neither leads nor is the hub.
    Follower,
    Leader,
    /// The first node.
    Hub,
}

impl Victim {
    fn words(self) -> &'static str {
        match self {
            Victim::Follower => "a follower",
            Victim::Leader => "the leader",
            Victim::Hub => "the hub",
        }
    }
}

/// Clusters, and who is killed in them.
const ROLES: [(Shape, &[(Victim, &str)]); 2] = [
    (
        Shape {
            nodes: 3,
            kind: Kind::Mesh,
        },
        &[
            (Victim::Follower, "mesh of 3, a follower"),
            (Victim::Leader, "mesh of 3, the leader"),
        ],
    ),
    (
        Shape {
            nodes: 5,
            kind: Kind::Star,
        },
        &[
            (Victim::Follower, "star of 5, a leaf that follows"),
            (Victim::Leader, "star of 5, the leader"),
            (Victim::Hub, "star of 5, the hub"),
        ],
    ),
];

/// One client of a node that lives puts one value after the other while nodes are killed: the time from the signal until
/// the first put that was begun after it is acknowledged. The node is started again, and the cluster whole, before the
/// next kill. Every acknowledged put must be there at the end.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if an acknowledged put is missing.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let mut rows = Vec::new();
    for (shape, victims) in ROLES {
        rows.extend(block_on(kills(options, shape, victims))?);
    }
    Ok(Report {
        config: json!({
            "clusters": "mesh of 3, star of 5", "kills": options.kills.max(1), "value_bytes": VALUE_BYTES,
            "client": "one, over HTTP, of a node that lives, one put after the other",
            "heartbeat_ms": 250, "election_ms": [1000, 2000],
            "counts": "puts of all kills of a row; lost are those without a known outcome",
            "transport": "HTTP and ractor_cluster over TCP on loopback", "data": options.data,
        }),
        rows,
        ..report
    })
}

async fn kills(options: &Options, shape: Shape, victims: &[(Victim, &str)]) -> Result<Vec<Row>, BenchError> {
    let mut rig = Rig::start_shaped(options, ID, shape).await?;
    let mut rows = Vec::new();
    for (place, (victim, name)) in victims.iter().enumerate() {
        let mut run = Kills {
            prefix: format!("b19/{place}"),
            times: load::histogram(),
            counts: Counts::default(),
            both: 0,
        };
        for _ in 0..options.kills.max(1) {
            run.kill(&mut rig, *victim).await?;
        }
        run.check(&rig.nodes()[0]).await?;
        rows.push(run.row(name, *victim, shape));
    }
    rig.stop().await?;
    Ok(rows)
}

/// The kills of one sort.
struct Kills {
    prefix: String,
    times: Histogram<u64>,
    counts: Counts,
    /// How often the leader was the hub.
    both: u64,
}

impl Kills {
    async fn kill(&mut self, rig: &mut Rig, victim: Victim) -> Result<(), BenchError> {
        let leader = rig.whole().await?;
        let hub = rig.nodes()[0].name.clone();
        let plain = |node: &&RigNode| node.name != leader && node.name != hub;
        let killed = match victim {
            Victim::Follower => rig.nodes().iter().rev().find(plain).map(|node| node.name.clone()),
            Victim::Leader => Some(leader.clone()),
            Victim::Hub => Some(hub.clone()),
        };
        let killed = killed.ok_or_else(|| late("no node follows", Instant::now()))?;
        self.both += u64::from(victim != Victim::Follower && leader == hub);
        // Another one than the victim that neither leads nor is the hub; in a mesh of three there may be the hub alone.
        let lives = |node: &&RigNode| node.name != killed && node.name != leader;
        let lives = rig.nodes().iter().rev().find(lives).map(|node| node.client.clone());
        let client = lives.ok_or_else(|| late("no node lives", Instant::now()))?;
        let mut writer = Writer::start(client, format!("{}/{}", self.prefix, self.times.len()));
        tokio::time::sleep(CALM).await;
        let at = rig.kill(&killed).await?;
        let acknowledged = writer.first_begun_after(at).await?;
        self.times.saturating_record((acknowledged - at).as_nanos() as u64);
        rig.start_again(&killed).await?;
        let counts = writer.end().await?;
        self.counts.sent += counts.sent;
        self.counts.delivered += counts.delivered;
        self.counts.refused += counts.refused;
        self.counts.lost += counts.lost;
        Ok(())
    }

    /// Every acknowledged put is there, each under a key of its own.
    async fn check(&self, node: &RigNode) -> Result<(), BenchError> {
        let mut query = ListQuery {
            prefix: format!("{}/", self.prefix),
            limit: Some(LIST_KEYS),
            consistency: Consistency::Linearizable,
            ..ListQuery::default()
        };
        let mut found = 0;
        loop {
            let page = node.client.list(&query).await;
            let page = page.map_err(|error| door("list the keys", error))?;
            found += page.keys.len() as u64;
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        let Counts { delivered, lost, .. } = self.counts;
        match (delivered..=delivered + lost).contains(&found) {
            true => Ok(()),
            false => Err(BenchError::Mismatch {
                workload: ID,
                what: format!("puts in the memory under {}", self.prefix),
                found: found.to_string(),
                expected: format!("{delivered} acknowledged, {lost} unknown"),
            }),
        }
    }

    fn row(&self, name: &str, victim: Victim, shape: Shape) -> Row {
        let percentiles = Percentiles::of(&self.times, 1e6);
        let kills = self.times.iter_recorded().flat_map(|time| {
            let ms = time.value_iterated_to() as f64 / 1e6;
            std::iter::repeat_n(ms, time.count_at_value() as usize)
        });
        let both = match (victim, shape.kind) {
            (Victim::Leader, Kind::Star) => format!("; it was the hub {} times", self.both),
            (Victim::Hub, _) => format!("; it led {} times", self.both),
            _ => String::new(),
        };
        Row::new(format!("{name}, killed"), percentiles.p50, "ms", self.times.len())
            .percentiles(percentiles)
            .repeats(kills)
            .counts(self.counts)
            .note(format!("{} kills; lost: outcome unknown{both}", self.times.len()))
            .at("what", "from a kill to the next acknowledged put")
            .at("topology", shape.kind.to_string())
            .at("victim", victim.words())
    }
}

/// A client that puts one value after the other.
struct Writer {
    ended: Arc<AtomicBool>,
    /// When each acknowledged put was begun, and acknowledged: some thousands until somebody is killed.
    acknowledged: mpsc::Receiver<(Instant, Instant)>,
    running: JoinHandle<Result<Counts, BenchError>>,
}

impl Writer {
    fn start(client: Client, prefix: String) -> Writer {
        let ended = Arc::new(AtomicBool::new(false));
        let (told, acknowledged) = mpsc::channel(ACKNOWLEDGED_MAX);
        let until = ended.clone();
        let running = tokio::spawn(async move {
            let mut counts = Counts::default();
            while !until.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let (key, value) = (
                    format!("{prefix}/{}", counts.sent),
                    Bytes::from(vec![b'x'; VALUE_BYTES]),
                );
                counts.sent += 1;
                match client.put(&key, value, &PutOptions::default()).await {
                    Ok(_) => {
                        counts.delivered += 1;
                        // Nobody asks for those after the one that was waited for: they may find no room.
                        let _ = told.try_send((begun, Instant::now()));
                        continue;
                    }
                    Err(error) if error.outcome_unknown() => counts.lost += 1,
                    Err(error) if error.is_temporary() => counts.refused += 1,
                    Err(error) => return Err(door("put", error)),
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(counts)
        });
        Writer {
            ended,
            acknowledged,
            running,
        }
    }

    /// When the first put was acknowledged that was begun after this moment.
    async fn first_begun_after(&mut self, moment: Instant) -> Result<Instant, BenchError> {
        let first = async {
            while let Some((begun, acknowledged)) = self.acknowledged.recv().await {
                if begun > moment {
                    return Some(acknowledged);
                }
            }
            None
        };
        let first = tokio::time::timeout(ACKNOWLEDGED_WITHIN, first).await;
        first
            .ok()
            .flatten()
            .ok_or_else(|| late("no put was acknowledged after a kill", moment))
    }

    async fn end(self) -> Result<Counts, BenchError> {
        self.ended.store(true, Ordering::Relaxed);
        let ended = self.running.await;
        ended.unwrap_or_else(|error| {
            Err(BenchError::Agent {
                name: "the writer".to_owned(),
                problem: error.to_string(),
            })
        })
    }
}
