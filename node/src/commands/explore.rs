//! `queenright explore`: a swarm of explorers, shown while it walks.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use queenright_actors::explorer::{World, WorldError, WorldSpec};
use queenright_bench::BenchError;
use queenright_bench::client::{Client, ClientOptions};
use queenright_bench::expedition::{Expedition, Host, Neighbours, Outcome, Plan, PlanError, Sight};
use queenright_bench::rig::is_whole;
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::Kind;

use super::replay::{nodes_of, stop_signals};
use super::up::interrupted;
use super::{CliError, Context, door};
use crate::cli::ExploreArgs;
use crate::config::ClusterConfig;
use crate::exit::Exit;
use crate::explore::{Frame, Report, drawing};
use crate::state::Door;
use crate::up::{Cluster, StopCause, StopSignals, UpOptions};

/// Who starts the explorers, in the records.
const AUTHOR: &str = "explore";
/// How long to wait in lock-step for one that does not say that its step is done.
const STEP_PATIENCE: Duration = Duration::from_secs(60);
/// How long all steps may take.
const RUN_WITHIN: Duration = Duration::from_secs(24 * 3_600);
/// How long the nodes may take until they know each other, and how often they are asked.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
const WHOLE_POLL: Duration = Duration::from_millis(50);
/// How many lines of progress there are where no frame can be drawn.
const LINES: u64 = 10;

/// Runs an expedition.
///
/// # Errors
/// [`CliError`] says what cannot be, could not be started or did not end. Nothing is left running.
pub async fn run(args: ExploreArgs, context: &Context) -> Result<Exit, CliError> {
    let plan = plan(&args);
    plan.check().map_err(usage)?;
    let world = World::new(plan.world.clone()).map_err(|error| usage(error.into()))?;
    let mut svg = Drawing::open(&args.svg)?;
    let mut stop = stop_signals()?;
    let (outcome, nodes) = match &args.client.node {
        Some(_) => {
            let hosts = running(&args).await?;
            let nodes = hosts.len();
            (walk(&plan, &world, hosts, &mut stop, context).await?, nodes)
        }
        None => (
            on_own_nodes(&args, &plan, &world, &mut stop, context).await?,
            args.nodes.into(),
        ),
    };
    svg.write(&drawing(&plan, &world, &outcome))?;
    drop(svg);
    let report = Report::of(&plan, &world, &outcome, nodes, args.svg);
    context.answer(&report, &report)?;
    Ok(Exit::Ok)
}

fn plan(args: &ExploreArgs) -> Plan {
    Plan {
        world: WorldSpec {
            side: args.grid,
            obstacles: args.obstacles,
            sites: args.sites,
            noise: args.noise,
            seed: args.seed,
            policy_length: args.policy_length,
            learn: args.learn,
            ..WorldSpec::default()
        },
        explorers: args.agents,
        steps: args.steps,
        neighbours: Neighbours::Kind(args.neighbours),
        trust: args.trust,
        update_every: args.update_every,
        lockstep: !args.free,
        history: true,
        patience: if args.free { RUN_WITHIN } else { STEP_PATIENCE },
    }
}

/// A problem of a plan, with the flag that its field comes from.
fn usage(error: PlanError) -> CliError {
    CliError::Usage(match &error {
        PlanError::Bound { field, found, bound } | PlanError::World(WorldError::Bound { field, found, bound }) => {
            format!("{}: {found} is not {bound}", flag(field))
        }
        PlanError::World(WorldError::Full { sites, places }) => {
            format!("--sites: {sites} do not fit on {places} places")
        }
        PlanError::World(WorldError::Model(_)) => error.to_string(),
    })
}

/// The flag of a field, or the field where it has none.
fn flag(field: &str) -> String {
    match field {
        "side" => "--grid".to_owned(),
        "explorers" => "--agents".to_owned(),
        "steps" | "sites" | "obstacles" | "noise" | "trust" | "policy_length" | "update_every" => {
            format!("--{}", field.replace('_', "-"))
        }
        _ => field.to_owned(),
    }
}

/// The file that the drawing goes to. Opened before an hour of walking, changed after it.
struct Drawing<'a> {
    path: &'a Path,
    written: bool,
}

impl<'a> Drawing<'a> {
    fn open(path: &'a Path) -> Result<Drawing<'a>, CliError> {
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
        opened.map_err(|source| cannot_draw(path, source))?;
        Ok(Drawing { path, written: false })
    }

    fn write(&mut self, text: &str) -> Result<(), CliError> {
        std::fs::write(self.path, text).map_err(|source| cannot_draw(self.path, source))?;
        self.written = true;
        Ok(())
    }
}

impl Drop for Drawing<'_> {
    /// Leaves no empty file behind a run that did not end.
    fn drop(&mut self) {
        let is_empty = || std::fs::metadata(self.path).is_ok_and(|file| file.is_file() && file.len() == 0);
        if !self.written && is_empty() {
            let _ = std::fs::remove_file(self.path);
        }
    }
}

fn cannot_draw(path: &Path, source: std::io::Error) -> CliError {
    CliError::Failed {
        message: format!("--svg: cannot write {}", path.display()),
        source: source.into(),
    }
}

async fn on_own_nodes(
    args: &ExploreArgs,
    plan: &Plan,
    world: &World,
    stop: &mut StopSignals,
    context: &Context,
) -> Result<Outcome, CliError> {
    let data = data_folder(args.data.as_deref())?;
    let name = format!("explore-{}", std::process::id());
    let failed = |source: std::io::Error| CliError::Failed {
        message: format!("cannot prepare the cluster in {}", data.display()),
        source: source.into(),
    };
    let text = cluster_file(&name, args.nodes, args.topology);
    let config = ClusterConfig::parse(Path::new("explore.toml"), &text)?;
    let config = config
        .with_free_ports()
        .and_then(|config| config.write_to(&data))
        .map_err(failed)?;
    context.note(format_args!(
        "starting {} nodes ({})",
        config.nodes.len(),
        config.topology
    ));
    let options = ClientOptions {
        agent: AUTHOR.to_owned(),
        timeout: args.client.timeout,
        ..ClientOptions::default()
    };
    let clients = nodes_of(&config, options)?;
    let mut cluster = tokio::select! {
        started = Cluster::start(UpOptions::new(config, Some(&data))?) => started?,
        // Dropping the start kills the nodes that have started.
        cause = stop.next() => return Err(interrupted(&name, cause)),
    };
    let walked = async {
        let hosts = tokio::select! {
            hosts = whole(clients) => hosts?,
            cause = stop.next() => return Err(interrupted(&name, cause)),
        };
        walk(plan, world, hosts, stop, context).await
    }
    .await;
    for node in cluster.stop().await {
        context.note(format_args!("node {node} did not end in time and was killed"));
    }
    match (&walked, &args.data) {
        (Ok(_), None) => {
            let _ = std::fs::remove_dir_all(&data);
        }
        // What failed is kept to be looked at.
        _ => context.note(format_args!("the state of the cluster is in {}", data.display())),
    }
    walked
}

/// A cluster file; its ports are drawn afterwards.
fn cluster_file(name: &str, nodes: u8, topology: Kind) -> String {
    let topology = match topology {
        Kind::Hierarchical { fan_out } => format!("\"hierarchical\"\nfan_out = {}", fan_out.get()),
        kind => format!("\"{kind}\""),
    };
    let mut text = format!("[cluster]\nname = \"{name}\"\ntopology = {topology}\n");
    for node in 1..=nodes {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n[[nodes]]\nname = \"n{node}\"\nlinks = \"127.0.0.1:{}\"\nhttp = \"127.0.0.1:{}\"\n",
            7_100 + u16::from(node),
            7_200 + u16::from(node)
        );
    }
    text
}

fn data_folder(named: Option<&Path>) -> Result<PathBuf, CliError> {
    let folder = match named {
        Some(folder) => folder.to_owned(),
        None => super::build_folder()?.join(format!("queenright-explore/{}", std::process::id())),
    };
    std::fs::create_dir_all(&folder).map_err(|source| CliError::Failed {
        message: format!("cannot create {}", folder.display()),
        source: source.into(),
    })?;
    Ok(folder)
}

/// Waits until all nodes know each other: what goes over links before may be lost.
async fn whole(clients: Vec<(String, Client)>) -> Result<Vec<Host>, CliError> {
    let started = Instant::now();
    let mut hosts = Vec::new();
    for (name, client) in clients {
        loop {
            match client.status().await {
                Ok(status) if is_whole(&status) => {
                    let listed = status.nodes.iter().find(|node| node.name == name);
                    let id = NodeId(listed.map_or(0, |node| node.number));
                    hosts.push(Host { name, id, client });
                    break;
                }
                Err(error) if started.elapsed() > WHOLE_WITHIN => return Err(error.into()),
                Ok(_) if started.elapsed() > WHOLE_WITHIN => {
                    return Err(CliError::Refused {
                        exit: Exit::Unavailable,
                        code: "UNAVAILABLE".to_owned(),
                        message: format!(
                            "node {name} did not find the others within {} s",
                            WHOLE_WITHIN.as_secs()
                        ),
                    });
                }
                _ => tokio::time::sleep(WHOLE_POLL).await,
            }
        }
    }
    Ok(hosts)
}

/// The nodes of the cluster that the named node belongs to, as far as they answer.
async fn running(args: &ExploreArgs) -> Result<Vec<Host>, CliError> {
    let (door, way) = door::find(&args.client)?;
    let options = way.options(ClientOptions {
        agent: AUTHOR.to_owned(),
        timeout: args.client.timeout,
        ..ClientOptions::default()
    });
    let first = Client::new(&door.url(""), options.clone())?;
    let status = first.status().await.map_err(door::of_read)?;
    let answer = status.nodes.iter().filter(|node| node.applied.is_some());
    let hosts = answer.map(|node| {
        let door = Door::parse(&node.http)?.in_tls(way.in_tls());
        Ok(Host {
            name: node.name.clone(),
            id: NodeId(node.number),
            client: Client::new(&door.url(""), options.clone())?,
        })
    });
    let hosts: Vec<Host> = hosts.collect::<Result<_, CliError>>()?;
    match hosts.is_empty() {
        false => Ok(hosts),
        true => Err(CliError::Refused {
            exit: Exit::Unavailable,
            code: "UNAVAILABLE".to_owned(),
            message: "no node of the cluster answers".to_owned(),
        }),
    }
}

/// Lets the explorers walk, and shows them; stops them at the end, however it comes.
async fn walk(
    plan: &Plan,
    world: &World,
    hosts: Vec<Host>,
    stop: &mut StopSignals,
    context: &Context,
) -> Result<Outcome, CliError> {
    context.note(format_args!(
        "{} explorers on {} places, {} of them sites",
        plan.explorers,
        world.places().len(),
        world.sites().len()
    ));
    let expedition = Expedition::new(plan.clone(), hosts);
    let walked = shown(&expedition, plan, world, stop, context).await;
    expedition.stop().await;
    walked
}

async fn shown(
    expedition: &Expedition,
    plan: &Plan,
    world: &World,
    stop: &mut StopSignals,
    context: &Context,
) -> Result<Outcome, CliError> {
    tokio::select! {
        begun = expedition.begin() => begun?,
        cause = stop.next() => return Err(ended(cause)),
    }
    let mut shown = Shown::new(world, plan.steps, context);
    let outcome = tokio::select! {
        outcome = expedition.done(RUN_WITHIN, |sights| shown.look(sights)) => outcome.map_err(CliError::from),
        cause = stop.next() => Err(ended(cause)),
    };
    if let Ok(outcome) = &outcome {
        shown.look(&outcome.last);
    }
    shown.bar.abandon();
    outcome
}

/// What is said of explorers that were stopped.
fn ended(cause: StopCause) -> CliError {
    CliError::Refused {
        exit: Exit::Error,
        code: "INTERRUPTED".to_owned(),
        message: format!("{cause} before all steps were done; the explorers were stopped"),
    }
}

/// A frame that is drawn over and over on a terminal, or else a few lines.
struct Shown<'a> {
    world: &'a World,
    steps: u64,
    context: &'a Context,
    bar: ProgressBar,
    /// Where no frame is drawn: the step that the next line is for.
    next: u64,
}

impl<'a> Shown<'a> {
    fn new(world: &'a World, steps: u64, context: &'a Context) -> Shown<'a> {
        let bar = match context.shows_progress() {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        };
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is a constant"));
        Shown {
            world,
            steps,
            context,
            bar,
            next: 1,
        }
    }

    fn look(&mut self, sights: &[Sight]) {
        let frame = Frame {
            world: self.world,
            sights,
            steps: self.steps,
            colours: true,
        };
        if self.context.shows_progress() {
            self.bar.set_message(frame.to_string());
            self.bar.tick();
        } else if frame.step() >= self.next {
            self.context.note(frame.line());
            self.next = frame.step() + self.steps.div_ceil(LINES);
        }
    }
}

impl From<BenchError> for CliError {
    fn from(error: BenchError) -> CliError {
        match error {
            BenchError::Door { source, .. } => (*source).into(),
            error => CliError::Failed {
                message: "the expedition did not end".to_owned(),
                source: error.into(),
            },
        }
    }
}
