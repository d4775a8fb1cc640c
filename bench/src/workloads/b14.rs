//! B14, coordination in lock-step: explorers that tell others what they believe, and step all together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queenright_actors::explorer::{Explorer, ExplorerSpec, Scratch, World, WorldSpec};
use queenright_protocol::topology::Kind;
use serde_json::json;

use super::spread::Spread;
use crate::expedition::{Expedition, Host, Neighbours, Outcome, Plan};
use crate::report::{Counts, Report, Row};
use crate::rig::{Rig, Shape, block_on};
use crate::{BenchError, Options, claims};

/// The id of the workload.
pub const ID: &str = "B14";
/// What the workload is about.
pub const TITLE: &str = "lock-step: explorers tell what they believe, then all step";

/// How many agents.
const AGENTS: [usize; 4] = [1, 5, 10, 50];
/// How many steps each does: one for each 10,000 signals that the options allow, within these bounds.
const STEPS: (u64, u64) = (20, 200);
/// How many explorers step without messages, to know what there is to reach.
const BARE: u32 = 10;
/// The side of the grid: that of the original.
const SIDE: usize = 10;
/// How many nodes a topology links.
const NODES: usize = 3;
/// How long to wait in a step for an agent that does not say that it is done.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a run may take.
const RUN_WITHIN: Duration = Duration::from_secs(300);

/// In each step every agent i tells its place and its belief to i mod 5 others; when all have heard what was told, the next
/// begins. On one node, and on three in a mesh, a star, a ring and a tree.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Mismatch`] if a belief is lost, late or refused, or an agent did not do all steps.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let bare = bare(options);
    let mut rows = Vec::new();
    let kinds = [
        (1, Kind::Mesh),
        (NODES, Kind::Mesh),
        (NODES, Kind::Star),
        (NODES, Kind::Ring),
        (NODES, "hierarchical".parse().expect("a kind of topology")),
    ];
    for (nodes, kind) in kinds {
        rows.extend(block_on(on(options, bare, Shape { nodes, kind }))?);
    }
    Ok(Report {
        config: json!({
            "agents": AGENTS, "steps": steps(options), "grid": format!("{SIDE}x{SIDE}"), "policy_length": 1,
            "told": "agent i tells i mod 5 others", "repeats": options.cluster_repeats.max(1), "seed": options.seed,
            "transport": "ractor_cluster over TCP on loopback", "data": options.data,
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

fn steps(options: &Options) -> u64 {
    (options.signals / 10_000).clamp(STEPS.0, STEPS.1)
}

fn world(options: &Options, repeat: u32) -> WorldSpec {
    WorldSpec {
        side: SIDE,
        seed: options.seed + u64::from(repeat),
        ..WorldSpec::default()
    }
}

/// Steps a second of explorers of the same world in this thread, one after the other, that hear nobody.
fn bare(options: &Options) -> f64 {
    let good = "the specifications are constants within the bounds";
    let world = Arc::new(World::new(world(options, 0)).expect(good));
    let mut scratch = Scratch::default();
    let (mut steps, mut took) = (0, Duration::ZERO);
    for number in 0..BARE {
        let spec = ExplorerSpec {
            number,
            ..ExplorerSpec::default()
        };
        let mut explorer = Explorer::new(world.clone(), &spec).expect(good);
        let began = Instant::now();
        for _ in 0..self::steps(options) {
            explorer.step(std::iter::empty(), &mut scratch).expect(good);
            steps += 1;
        }
        took += began.elapsed();
    }
    f64::from(steps) / took.as_secs_f64().max(1e-9)
}

async fn on(options: &Options, bare: f64, shape: Shape) -> Result<Vec<Row>, BenchError> {
    let rig = Rig::start_shaped(options, ID, shape).await?;
    let hosts: Vec<Host> = rig.nodes().iter().map(Host::from).collect();
    let name = match shape.nodes {
        1 => "1 node".to_owned(),
        _ => shape.to_string(),
    };
    let topology = match shape.nodes {
        1 => "one node".to_owned(),
        _ => shape.kind.to_string(),
    };
    let point = |row: Row, what: &str, agents: usize| {
        let row = row.at("what", what).at("agents", agents);
        row.at("topology", topology.as_str())
    };
    let mut rows = Vec::new();
    let mut alone = None;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for agents in AGENTS {
        let mut runs = Vec::new();
        for repeat in 0..options.cluster_repeats.max(1) {
            runs.push(one(options, agents, hosts.clone(), repeat).await?);
        }
        let steps = (agents as u64 * steps(options)) as f64;
        let rates = Spread::of(runs.iter().map(|run| steps / run.run.as_secs_f64().max(1e-9)));
        let thinking = Spread::of(runs.iter().map(|run| 1e6 * run.thinking.as_secs_f64() / steps));
        let mut counts = Counts::default();
        for Outcome { beliefs, .. } in &runs {
            counts.sent += beliefs.sent;
            counts.delivered += beliefs.delivered;
            counts.refused += beliefs.refused;
            counts.lost += beliefs.lost;
        }
        let note = format!(
            "{}; {:.1} µs of each step are the explorer's own",
            rates.note(),
            thinking.median()
        );
        let alone = *alone.get_or_insert(rates.median());
        let row = rates.row(format!("{name}, {agents} agents"), "steps/s");
        rows.push(point(row.counts(counts).note(note), "steps in lock-step", agents));
        let threads = agents.min(cores);
        let share = |rate: f64| 100.0 * rate / (threads as f64 * bare);
        let of_linear = 100.0 * rates.median() / (agents as f64 * alone);
        let note = format!(
            "of {threads} times the {bare:.0} steps/s of explorers in one thread without messages; it is {of_linear:.1} % of \
             {agents} times the rate of 1 agent there"
        );
        let row = Row::new(
            format!("{name}, {agents} agents: efficiency"),
            share(rates.median()),
            "%",
            rates.samples(),
        )
        .repeats(rates.repeats().into_iter().map(share));
        rows.push(point(row.note(note), "efficiency", agents));
    }
    rig.stop().await?;
    Ok(rows)
}

async fn one(options: &Options, agents: usize, hosts: Vec<Host>, repeat: u32) -> Result<Outcome, BenchError> {
    let steps = steps(options);
    let plan = Plan {
        world: world(options, repeat),
        explorers: agents,
        steps,
        neighbours: Neighbours::Mod5,
        trust: 0.5,
        update_every: 1,
        lockstep: true,
        history: false,
        patience: PATIENCE,
    };
    let expedition = Expedition::new(plan, hosts);
    let outcome = async {
        expedition.begin().await?;
        expedition.done(RUN_WITHIN, |_| {}).await
    };
    let outcome = outcome.await;
    expedition.stop().await;
    let outcome = outcome?;
    let equal = |what: &str, found: u64, expected: u64| {
        BenchError::unless_equal(ID, format!("{what}, {agents} agents"), found, expected)
    };
    let told: u64 = (0..agents as u64).map(|i| (i % 5).min(agents as u64 - 1)).sum();
    equal("beliefs sent", outcome.beliefs.sent, told * steps)?;
    equal("beliefs lost", outcome.beliefs.lost, 0)?;
    equal("beliefs late", outcome.late, 0)?;
    equal("agents silent", outcome.silent, 0)?;
    let least = outcome.last.iter().map(|sight| sight.steps).min().unwrap_or_default();
    equal("steps of the slowest", least, steps)?;
    Ok(outcome)
}
