//! The task that keeps the agents of pools on this node: looks at them, and has the queen start, pause and stop them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use queenright_protocol::colony::Pools;
use queenright_protocol::id::NodeId;
use ractor::ActorRef;
use tokio::sync::{oneshot, watch};

use super::keeper::{Keeper, Order};
use super::member::Seen;
use super::{HostReport, NODE_LABEL, PoolFigures, spec};
use crate::agent::{AgentError, AgentStatus, Agents};
use crate::queen::QueenMessage;
use crate::replica::Replica;

/// How often the agents are looked at while there are any, or are to be.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What keeps the agents of pools on a node.
pub(crate) struct Hosting {
    name: Arc<str>,
    labels: BTreeMap<String, String>,
    cores: u32,
    agents: Arc<Agents>,
    queen: ActorRef<QueenMessage>,
    replica: Arc<Replica>,
    started: Instant,
    /// Whether agents may be started.
    open: watch::Sender<bool>,
    // A mutex: the task changes it, whoever asks for a report looks. Held for a look.
    keeper: Mutex<Keeper>,
}

impl Hosting {
    pub(crate) fn new(
        (me, name): (NodeId, Arc<str>),
        labels: BTreeMap<String, String>,
        agents: Arc<Agents>,
        queen: ActorRef<QueenMessage>,
        replica: Arc<Replica>,
    ) -> Hosting {
        let mut labels = labels;
        labels.insert(NODE_LABEL.to_owned(), name.to_string());
        Hosting {
            name,
            labels,
            cores: std::thread::available_parallelism().map_or(1, usize::from) as u32,
            agents,
            queen,
            replica,
            started: Instant::now(),
            open: watch::Sender::new(false),
            keeper: Mutex::new(Keeper::new(me)),
        }
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().expect("nothing panics under this lock")
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The door of the node is open: agents that work by it may be started.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// How this node and its agents of pools are.
    pub(crate) fn report(&self) -> HostReport {
        let (pools, active) = (self.keeper().figures(self.now_ms()), self.agents.counts().active);
        let of_pools: u64 = pools.values().map(|figures| u64::from(figures.live())).sum();
        HostReport {
            hosting: *self.open.borrow(),
            cores: self.cores,
            others: active.saturating_sub(of_pools) as u32,
            labels: self.labels.clone(),
            pools,
        }
    }

    /// Keeps the agents as the pools say, for as long as it is polled.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut open = self.open.subscribe();
        // An error says that the node is gone.
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        let mut pools = self.replica.follow_pools();
        loop {
            let present = pools.borrow_and_update().clone();
            self.look(&present).await;
            let rests = present.is_empty() && self.keeper().is_empty();
            let changed = tokio::select! {
                changed = pools.changed() => changed,
                () = tokio::time::sleep(LOOK_EVERY), if !rests => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    async fn look(&self, pools: &Pools) {
        let orders = self.keeper().look(pools, self.now_ms(), |pool, index, agent| {
            let status = self.agents.status(&self.agent_name(pool, index)).ok()?;
            (status.number == agent).then(|| Seen::of(&status))
        });
        for order in orders {
            match order {
                Order::Start { pool, index } => {
                    // It is not gone: the orders are of this look.
                    let Some(found) = pools.get(&pool) else { continue };
                    let spec = spec(&pool, &found.settings, &self.name, index);
                    let started = match spec {
                        Ok(spec) => self.ask(|reply| QueenMessage::SpawnAgent(spec, reply)).await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = &started {
                        tracing::warn!(%pool, index, %error, "an agent of a pool was not started");
                    }
                    let started = started.map(|status: AgentStatus| status.number);
                    let started = started.map_err(|error| error.to_string());
                    self.keeper()
                        .started((&pool, index), found.epoch, started, self.now_ms());
                }
                // One that has ended meanwhile is found so at the next look.
                Order::Tell { pool, index, order } => {
                    let name = self.agent_name(&pool, index);
                    let _ = self.ask(|reply| QueenMessage::OrderAgent(name, order, reply)).await;
                }
                Order::Stop { pool, index } => {
                    let name = self.agent_name(&pool, index);
                    let _ = self.ask(|reply| QueenMessage::StopAgent(name, reply)).await;
                }
            }
        }
    }

    fn agent_name(&self, pool: &str, index: u32) -> String {
        format!("{pool}-{index}@{}", self.name)
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, AgentError>>) -> QueenMessage,
    ) -> Result<T, AgentError> {
        let (reply, answer) = oneshot::channel();
        self.queen.cast(message(reply)).map_err(|_| AgentError::Stopping)?;
        answer.await.unwrap_or(Err(AgentError::Stopping))
    }
}

/// The figures of one pool in a report.
pub(super) fn figures_of(report: &HostReport, pool: &str) -> PoolFigures {
    report.pools.get(pool).cloned().unwrap_or_default()
}
