//! `GET /v1/overview`: what the dashboard shows, as server-sent events. The first of each kind tells all of its part, a
//! later one comes when that has changed and tells all of it again: who reconnects has missed nothing.
//!
//! | message | data |
//! |---|---|
//! | `event: cluster` | [`OverviewCluster`]: nodes, links, agents by state |
//! | `event: traffic` | [`OverviewTraffic`]: how far nodes are, what went over links |
//! | `event: figures` | what this node counts and measures, as `GET /v1/figures` without its links |
//! | `event: pools` | all pools, each as `GET /v1/pools/{name}` |
//! | `event: projects` | the names of the first projects |
//! | `event: work` | [`OverviewWork`]: tasks by state, queues, the tasks that somebody should look at |
//! | `event: budgets` | as `GET /v1/budgets` |
//! | `event: sessions` | as `GET /v1/sessions` |
//! | `event: reservations` | as `GET /v1/reservations`, without how long each is left |
//! | `event: losses` | the last proposals that lost as [`OverviewLoss`], the newest first |
//! | a comment | nothing to tell for a while |
//! | `event: error` | problem details; the last message |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use queenright_actors::latency::BUCKETS_US;
use queenright_actors::pool::PoolFigures;
use queenright_bench::client::wire::{
    BudgetList, Code, OverviewCluster, OverviewLoss, OverviewTraffic, OverviewWork, PoolNode, PoolStatus, Problem,
    ReservationList, SessionList, WireAccount, WirePool, WireReservation, WireSession,
};
use queenright_protocol::colony::{Colony, Project};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::samples::{Sample, Samples};
use crate::http::Door;
use crate::http::call::{Call, Caller};
use crate::http::problem::Refused;
use crate::http::sse::{End, Feed, KEEP_ALIVE, Outlet, respond};

/// For how long an owner must have said nothing of a task for it to count as stalled, in milliseconds: what may be asked
/// for, and what is unless something is.
pub(in crate::http) const STALLED_MS: (u64, u64, u64) = (1_000, 300_000, 86_400_000);
/// How many tasks are looked at: those that nobody needs to look at cost time too.
const LOOKED_AT_MAX: usize = 65_536;
/// After so many looks at a state that stays the same its tasks are looked at again.
const LOOKS_AT_TIME: u64 = 5;
/// How many projects, sessions and reservations are named.
const NAMED_MAX: usize = 100;

/// `GET /v1/overview`
pub(in crate::http) async fn overview(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let (least, usual, most) = STALLED_MS;
    let stalled_ms = call.number("stalled_ms", least..=most)?.unwrap_or(usual);
    if !call.accepts("text/event-stream") {
        let problem = Problem::new(
            Code::Invalid,
            "accept: an overview is a stream, ask for text/event-stream",
        );
        return Err(problem.into());
    }
    let caller = call.caller()?;
    let permit = door.place_to_wait()?;
    let feeder = Feeder {
        samples: Samples::follow(&door),
        door: door.clone(),
        caller,
        stalled_ms,
        told: BTreeMap::new(),
        seen: None,
        looks: 0,
    };
    Ok(respond(&door, permit, call.switch(), feeder))
}

/// Feeds one who looks on.
struct Feeder {
    samples: watch::Receiver<Option<Arc<Sample>>>,
    door: Door,
    caller: Caller,
    stalled_ms: u64,
    /// What was told last of each part.
    told: BTreeMap<&'static str, Value>,
    /// The position of the state that was told last.
    seen: Option<u64>,
    /// How often the project was looked at.
    looks: u64,
}

/// Why a feeder goes on.
enum Woken {
    Changed,
    /// It has sent nothing for long.
    Quiet,
    Over,
}

impl Feed for Feeder {
    const AGAIN: &'static str = "look again: all of it is told anew";

    async fn feed(&mut self, outlet: &mut Outlet) -> Result<Infallible, End> {
        let mut closing = self.door.closing.clone();
        let mut quiet_until = Instant::now() + KEEP_ALIVE;
        loop {
            let sample = self.samples.borrow_and_update().clone();
            if let Some(sample) = sample {
                self.tell_cluster(outlet, &sample).await?;
                self.tell_project(outlet).await?;
            }
            if outlet.flush().await? {
                quiet_until = Instant::now() + KEEP_ALIVE;
            }
            // What the channels lend must not be held while this sends.
            let woken = tokio::select! {
                // The door holds the sender.
                _ = self.samples.changed() => Woken::Changed,
                _ = closing.wait_for(|closing| *closing) => Woken::Over,
                () = outlet.closed() => Woken::Over,
                () = tokio::time::sleep_until(quiet_until) => Woken::Quiet,
            };
            match woken {
                Woken::Changed => {}
                Woken::Over => return Err(End::Over),
                Woken::Quiet => {
                    quiet_until += KEEP_ALIVE;
                    outlet.keep_alive(None).await?;
                }
            }
        }
    }
}

impl Feeder {
    /// Tells a part if it is not as it was told last.
    async fn tell(&mut self, outlet: &mut Outlet, part: &'static str, of: &impl Serialize) -> Result<(), End> {
        let now = serde_json::to_value(of).expect("plain data serialises into memory");
        if self.told.get(part) == Some(&now) {
            return Ok(());
        }
        outlet.message(part, None, &now).await?;
        self.told.insert(part, now);
        Ok(())
    }

    async fn tell_cluster(&mut self, outlet: &mut Outlet, sample: &Sample) -> Result<(), End> {
        let Sample { status, at_ms, .. } = sample;
        self.tell(outlet, "cluster", &OverviewCluster::of(status)).await?;
        let traffic = OverviewTraffic::of(status, *at_ms, self.now_ms());
        self.tell(outlet, "traffic", &traffic).await?;
        if let Some(figures) = &sample.figures {
            let mut figures = serde_json::to_value(figures).expect("plain data serialises into memory");
            // Those of all nodes stand in the traffic.
            if let Some(fields) = figures.as_object_mut() {
                fields.remove("links");
                fields.insert("latency_bounds_us".to_owned(), json!(BUCKETS_US));
            }
            self.tell(outlet, "figures", &figures).await?;
        }
        let pools = pools(&self.door.backend.snapshot().colony, sample);
        self.tell(outlet, "pools", &pools).await
    }

    async fn tell_project(&mut self, outlet: &mut Outlet) -> Result<(), End> {
        let now_ms = self.now_ms();
        let name = self.caller.project.clone();
        let snapshot = self.door.backend.snapshot();
        let (colony, seq) = (&snapshot.colony, snapshot.colony.seq());
        let project = colony.project(&name);
        let changed = self.seen.replace(seq) != Some(seq);
        self.looks += 1;
        // Time alone lets a task stall.
        let work = (changed || self.looks.is_multiple_of(LOOKS_AT_TIME)).then(|| match project {
            Some(project) => OverviewWork::of(project, now_ms, self.stalled_ms, LOOKED_AT_MAX),
            None => OverviewWork {
                complete: true,
                ..OverviewWork::default()
            },
        });
        let rest = changed.then(|| {
            let budgets = project.into_iter().flat_map(WireAccount::all);
            let budgets = BudgetList {
                budgets: budgets.filter(|account| account.budget.is_some()).collect(),
            };
            let names: Vec<Arc<str>> = colony
                .projects()
                .map(|(name, _)| name.clone())
                .take(NAMED_MAX)
                .collect();
            (names, budgets, sessions(colony, &name), reservations(colony, project))
        });
        drop(snapshot);
        if let Some(work) = work {
            self.tell(outlet, "work", &work).await?;
        }
        if let Some((names, budgets, sessions, reservations)) = rest {
            self.tell(outlet, "projects", &names).await?;
            self.tell(outlet, "budgets", &budgets).await?;
            self.tell(outlet, "sessions", &sessions).await?;
            self.tell(outlet, "reservations", &reservations).await?;
        }
        // A proposal that its node refused leaves no trace in the state.
        let losses = self.door.backend.losses(&name);
        let losses: Vec<OverviewLoss> = losses.into_iter().take(NAMED_MAX).map(OverviewLoss::from).collect();
        self.tell(outlet, "losses", &losses).await
    }

    /// The best that is known of cluster time.
    fn now_ms(&self) -> u64 {
        let backend = &self.door.backend;
        match backend.node() {
            Some(node) => node.replica().cluster_ms_estimate(),
            None => backend.snapshot().colony.cluster_ms(),
        }
    }
}

fn pools(colony: &Colony, sample: &Sample) -> Vec<PoolStatus> {
    let shown = colony.pools().iter().map(|(name, pool)| {
        let nodes = sample.pools.iter().map(|(number, node, report)| {
            let agents = report.as_ref().and_then(|report| report.pools.get(&**name).cloned());
            PoolNode {
                node: node.clone(),
                answers: report.is_some(),
                fits: report.as_ref().is_some_and(|report| report.fits(&pool.settings)),
                agents: PoolFigures {
                    wanted: pool.share(*number),
                    ..agents.unwrap_or_default()
                },
            }
        });
        let nodes: Vec<PoolNode> = nodes.collect();
        PoolStatus {
            pool: WirePool::of(name, pool),
            ready: colony.ready_for(&pool.settings),
            agents: nodes
                .iter()
                .fold(PoolFigures::default(), |sum, node| sum.and(&node.agents)),
            nodes,
        }
    });
    shown.collect()
}

fn sessions(colony: &Colony, project: &Arc<str>) -> SessionList {
    let (all, now_ms) = (colony.sessions(), colony.cluster_ms());
    let open = all
        .of_project(project, None)
        .filter(|session| all.end_of(session, now_ms).is_none());
    SessionList {
        sessions: open
            .take(NAMED_MAX)
            .map(|session| WireSession::of(session, all, now_ms))
            .collect(),
        next: None,
    }
}

fn reservations(colony: &Colony, project: Option<&Project>) -> ReservationList {
    let nothing = Default::default();
    let all = project.map_or(&nothing, |project| project.reservations());
    let (total, waiting) = all.count();
    let now_ms = colony.cluster_ms();
    let stand = all.after(None).filter(|found| !found.is_over(colony.agents(), now_ms));
    ReservationList {
        reservations: stand
            .take(NAMED_MAX)
            .map(|found| WireReservation {
                left_ms: None,
                ..WireReservation::of(found, now_ms)
            })
            .collect(),
        next: None,
        total: total as u64,
        waiting: waiting as u64,
        advisory: all.settings().advisory,
        // Each of them would be another one otherwise.
        cluster_ms: 0,
    }
}
