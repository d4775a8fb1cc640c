//! What is measured on one cluster of one kind, once: the loads, one after the other.

use std::time::Duration;

use hdrhistogram::Histogram;
use queenright_actors::agent::AgentStatus;
use serde_json::json;

use super::{ID, Plan};
use crate::report::Counts;
use crate::rig::{RigNode, for_all, reported};
use crate::traffic::closed::{Closed, Exchange, To};
use crate::traffic::latencies;
use crate::traffic::meter::Meter;
use crate::traffic::open::{Flow, Offered, Until};
use crate::workloads::tasks::{self, Tasks, Work};
use crate::{BenchError, Options};

/// How many keys each agent puts in turn.
const KEYS: u64 = 100;
/// How long an agent may take beyond its time.
const DONE_WITHIN: Duration = Duration::from_secs(60);

/// Where the loads run, and under which names.
pub(super) struct Stage<'a> {
    /// Who measures.
    pub(super) id: &'static str,
    pub(super) nodes: &'a [RigNode],
    /// What the names of agents begin with.
    pub(super) name: String,
    /// Where keys are put.
    pub(super) project: String,
    /// What the project of the tasks ends with.
    pub(super) label: String,
    /// Up to where messages at a constant rate are followed.
    pub(super) until: Until,
}

/// What one cluster gave.
pub(super) struct Cell {
    pub(super) closed: Exchange,
    /// One for each rate of the plan.
    pub(super) open: Vec<Flow>,
    pub(super) puts: Puts,
    pub(super) tasks: tasks::Run,
    /// How long the load of tasks was measured, in milliseconds.
    pub(super) tasks_ms: u64,
}

/// What a load of puts gave.
pub(crate) struct Puts {
    pub(crate) per_second: f64,
    /// Until each was on disk at a majority and applied where it was asked for, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    pub(crate) counts: Counts,
    /// What the nodes counted and used, the warm-up included.
    pub(crate) cost: Meter,
}

impl Cell {
    /// How many steps it is told of for one cluster, its start included.
    pub(super) fn steps(plan: &Plan) -> u64 {
        4 + plan.rates.len() as u64
    }

    /// Measures a cluster that is whole.
    pub(super) async fn measure(
        plan: &Plan,
        options: &Options,
        stage: &Stage<'_>,
        mut begins: impl FnMut(&str),
    ) -> Result<Cell, BenchError> {
        let (id, nodes, name) = (stage.id, stage.nodes, &stage.name);
        begins("closed loop");
        let closed = Closed {
            workload: id,
            agents: plan.agents,
            bytes: plan.payload_bytes,
            to: To::Random,
            warm_up_ms: plan.warm_up_ms(),
            work_ms: plan.work_ms,
            seed: plan.seed,
        };
        let closed = closed.run(nodes, &format!("{name}.closed")).await?;
        let mut open = Vec::new();
        for rate in &plan.rates {
            begins(&format!("{rate} messages/s"));
            let offered = Offered {
                workload: id,
                agents: plan.agents,
                bytes: plan.payload_bytes,
                rate: *rate,
                until: stage.until,
                warm_up_ms: plan.warm_up_ms(),
                work_ms: plan.work_ms,
                seed: plan.seed,
            };
            open.push(offered.run(nodes, &format!("{name}.{rate}")).await?);
        }
        begins("puts");
        let puts = Putting {
            agents: plan.agents,
            value_bytes: plan.payload_bytes,
            warm_up_ms: plan.warm_up_ms(),
            work_ms: plan.work_ms,
            project: &stage.project,
        };
        let puts = puts.run(nodes, &format!("{name}.put")).await?;
        begins("tasks");
        let options = Options {
            load_ms: plan.work_ms,
            ..options.clone()
        };
        let load = Tasks {
            id,
            nodes,
            options: &options,
        };
        let tasks = load.run(Work::Finish, plan.agents, &stage.label).await?;
        Ok(Cell {
            closed,
            open,
            puts,
            tasks,
            tasks_ms: tasks::spans(&options)[1],
        })
    }
}

/// A load of puts by agents, one at a time each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Putting<'a> {
    pub(crate) agents: u64,
    pub(crate) value_bytes: usize,
    pub(crate) warm_up_ms: u64,
    pub(crate) work_ms: u64,
    /// Where the keys are.
    pub(crate) project: &'a str,
}

impl Putting<'_> {
    /// Runs the load with agents whose names begin with `name`.
    pub(crate) async fn run(&self, nodes: &[RigNode], name: &str) -> Result<Puts, BenchError> {
        // Those that were started first are measured while those that were started last work too.
        let cool_down_ms = self.warm_up_ms;
        let before = Meter::read(nodes).await?;
        for_all(0..self.agents, async |place| {
            let arguments = json!({
                "prefix": format!("{name}/{place}"), "keys": KEYS, "value_bytes": self.value_bytes,
                "warm_up_ms": self.warm_up_ms, "work_ms": self.work_ms, "cool_down_ms": cool_down_ms,
                "project": self.project,
            });
            let node = &nodes[place as usize % nodes.len()];
            node.spawn(&format!("{name}.{place}"), "load-put", arguments).await
        })
        .await?;
        // Nobody is asked while it is measured.
        tokio::time::sleep(Duration::from_millis(self.warm_up_ms + self.work_ms + cool_down_ms)).await;
        let agents: Vec<AgentStatus> = for_all(0..self.agents, async |place| {
            let node = &nodes[place as usize % nodes.len()];
            node.done(&format!("{name}.{place}"), DONE_WITHIN).await
        })
        .await?;
        let cost = Meter::read(nodes).await?.since(&before);
        let sum = |what: &str| -> Result<u64, BenchError> { agents.iter().map(|agent| reported(agent, what)).sum() };
        let counts = Counts {
            sent: sum("sent")?,
            delivered: sum("delivered")?,
            refused: sum("refused")?,
            lost: sum("unknown")?,
        };
        BenchError::unless_equal(ID, "puts accounted for", counts.add_up(), true)?;
        Ok(Puts {
            per_second: sum("puts")? as f64 / (self.work_ms.max(1) as f64 / 1e3),
            latency: latencies(&agents, "latency_ns")?,
            counts,
            cost,
        })
    }
}
