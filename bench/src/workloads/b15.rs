//! B15, scaling: the same work by more agents, on more nodes, and while a node joins.

use std::time::Duration;

use queenright_protocol::topology::Kind;
use serde_json::json;

use super::spread::Spread;
use super::tasks::{PAYLOAD_BYTES, Run, Tasks, Work, spans};
use crate::report::{Counts, Report, Row};
use crate::rig::{Joined, Rig, Shape, block_on};
use crate::{BenchError, Options, claims};

/// The id of the workload.
pub const ID: &str = "B15";
/// What the workload is about.
pub const TITLE: &str = "scaling: tasks by 1 to 100 agents, on 1 to 5 nodes, and while a node joins";

/// How many agents work on three nodes.
const AGENTS: [u64; 6] = [1, 5, 10, 25, 50, 100];
/// How many nodes the same number of agents works on.
const NODES: [usize; 3] = [1, 3, 5];
/// That number.
const AGENTS_OF_NODES: u64 = 50;
/// From the preparation of tasks to the start of the node that joins: the agents are at work then.
const JOIN_AFTER: Duration = Duration::from_millis(1_500);

/// Tasks of 256 B are claimed and finished, each command on disk at a majority of the nodes. *Efficiency* is the rate
/// divided by the number of agents, or of nodes, times the rate of one. All nodes share this host, so that more of
/// them mean more work for the same processors, not more processors.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if the tasks are not as the agents say.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let rows = block_on(rows(options))?;
    Ok(Report {
        config: json!({
            "agents": AGENTS, "nodes": NODES, "agents_of_nodes": AGENTS_OF_NODES, "topology": "mesh", "payload_bytes": PAYLOAD_BYTES,
            "warm_up_measured_cool_down_ms": spans(options), "first_load_of_a_cluster": "not measured", "repeats": repeats(options),
            "efficiency": "rate / (number x rate of one)", "host": "all nodes share it", "data": options.data,
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

fn repeats(options: &Options) -> u32 {
    options.cluster_repeats.max(1)
}

/// A number of agents or nodes, and what was measured.
struct Load {
    number: u64,
    runs: Vec<Run>,
}

impl Load {
    fn new(number: u64) -> Load {
        let runs = Vec::new();
        Load { number, runs }
    }

    fn median(&self) -> f64 {
        Spread::of(self.runs.iter().map(|run| run.per_second)).median()
    }

    fn rate(&self, what: &str) -> Row {
        let rates = Spread::of(self.runs.iter().map(|run| run.per_second));
        let mut counts = Counts::default();
        for run in &self.runs {
            counts.sent += run.counts.sent;
            counts.delivered += run.counts.delivered;
            counts.refused += run.counts.refused;
            counts.lost += run.counts.lost;
        }
        let row = rates.row(what, "tasks/s").counts(counts);
        row.note(format!("{}; counts are of commands", rates.note()))
    }
}

/// The rates of loads, and how they grow with their numbers: of agents or of nodes, as `parameter` says.
fn scaled(loads: &[Load], parameter: &str, what: impl Fn(u64) -> String) -> Vec<Row> {
    let point = |row: Row, measure: &str, number: u64| {
        let row = row.at("what", format!("{measure}, more {parameter}"));
        row.at(parameter, number)
    };
    let rate = |load: &Load| point(load.rate(&what(load.number)), "task rate", load.number);
    let mut rows: Vec<Row> = loads.iter().map(rate).collect();
    let Some(one) = loads.iter().find(|load| load.number == 1) else {
        return rows;
    };
    for load in loads.iter().filter(|load| load.number > 1) {
        let efficiency = |rate: f64| 100.0 * rate / (load.number as f64 * one.median());
        let row = Row::new(
            format!("efficiency, {}", what(load.number)),
            efficiency(load.median()),
            "%",
            load.runs.len() as u64,
        );
        let row = row.repeats(load.runs.iter().map(|run| efficiency(run.per_second)));
        rows.push(point(row, "efficiency", load.number));
    }
    rows
}

/// What is measured, in the order of its rows.
struct Measured {
    agents: Vec<Load>,
    nodes: Vec<Load>,
    meanwhile: Load,
    afterwards: Load,
    let_in: Vec<f64>,
    caught_up: Vec<f64>,
}

async fn rows(options: &Options) -> Result<Vec<Row>, BenchError> {
    let many = AGENTS_OF_NODES.min(options.agents_max);
    let numbers = AGENTS.into_iter().filter(|agents| *agents <= options.agents_max);
    let mut measured = Measured {
        agents: numbers.map(Load::new).collect(),
        nodes: NODES.into_iter().map(|nodes| Load::new(nodes as u64)).collect(),
        meanwhile: Load::new(many),
        afterwards: Load::new(many),
        let_in: Vec::new(),
        caught_up: Vec::new(),
    };
    for repeat in 0..repeats(options) {
        for (place, nodes) in NODES.into_iter().enumerate() {
            let shape = Shape {
                nodes,
                kind: Kind::Mesh,
            };
            let mut rig = Rig::start_shaped(options, ID, shape).await?;
            // Not measured: the memory of a node that has done nothing is new to its process, which costs the first load
            // more than any later one.
            tasks(&rig, options, many, "warm-up").await?;
            let run = tasks(&rig, options, many, &format!("nodes-{repeat}")).await?;
            measured.nodes[place].runs.push(run);
            if nodes == Shape::default().nodes {
                measured.joining(&mut rig, options, many).await?;
            }
            rig.stop().await?;
        }
        let rig = Rig::start(options, ID).await?;
        tasks(&rig, options, many, "warm-up").await?;
        for load in &mut measured.agents {
            let run = tasks(&rig, options, load.number, &repeat.to_string()).await?;
            load.runs.push(run);
        }
        rig.stop().await?;
    }
    Ok(measured.rows(many))
}

async fn tasks(rig: &Rig, options: &Options, agents: u64, label: &str) -> Result<Run, BenchError> {
    let tasks = Tasks {
        id: ID,
        nodes: rig.nodes(),
        options,
    };
    tasks.run(Work::Finish, agents, label).await
}

impl Measured {
    /// A node joins others whose agents are at work.
    async fn joining(&mut self, rig: &mut Rig, options: &Options, agents: u64) -> Result<(), BenchError> {
        let joins = async {
            tokio::time::sleep(JOIN_AFTER).await;
            rig.join("n4").await
        };
        let (meanwhile, joined): (Run, Joined) = tokio::try_join!(tasks(rig, options, agents, "while"), joins)?;
        self.meanwhile.runs.push(meanwhile);
        self.let_in.push(joined.let_in.as_secs_f64() * 1e3);
        self.caught_up.push(joined.caught_up.as_secs_f64() * 1e3);
        rig.adopt(joined);
        rig.whole().await?;
        self.afterwards.runs.push(tasks(rig, options, agents, "after").await?);
        Ok(())
    }

    fn rows(self, many: u64) -> Vec<Row> {
        let mut rows = scaled(&self.agents, "agents", |agents| match agents {
            1 => "1 agent on 3 nodes".to_owned(),
            _ => format!("{agents} agents on 3 nodes"),
        });
        rows.extend(scaled(&self.nodes, "nodes", |nodes| match nodes {
            1 => format!("1 node, {many} agents"),
            _ => format!("{nodes} nodes, {many} agents"),
        }));
        rows.push(
            self.meanwhile
                .rate(&format!("{many} agents, 3 nodes, while a fourth joins")),
        );
        rows.push(self.afterwards.rate(&format!("{many} agents afterwards, on 4 nodes")));
        for (what, took) in [("let in", self.let_in), ("caught up", self.caught_up)] {
            let took = Spread::of(took);
            let row = took.row(format!("a node that joins is {what}"), "ms");
            rows.push(row.note(format!("{}; from the start of its process", took.note())));
        }
        rows
    }
}
