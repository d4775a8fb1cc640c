//! One node, from its start to its end.

mod certificates;
mod fate;
mod pools;
mod progress;
mod webhooks;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use queenright_actors::agent::Kinds;
use queenright_actors::consensus::{CompactionOptions, Timing};
use queenright_actors::disk::DiskLimits;
use queenright_actors::link::{Cookie as LinkCookie, LinkError, LinkLimits};
use queenright_actors::node::{Member, Node, NodeOptions, StartError};
use queenright_actors::queen::RoundLimits;
use queenright_actors::tls::{AUTHORITY_FILE, Tls, TlsError};
use queenright_protocol::topology::{self, FanOut};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::progress::JoinStep;
use crate::config::{ClusterConfig, Compression, ControlLinks, NodeConfig, Projects, Topology};
use crate::hosted::Hosted;
use crate::http::{self, DoorAccess, DoorError, DoorLimits};
use crate::replay;
use crate::state::{AdminToken, Cookie, Door, Registration, Registry, RunningNode, StateError};
use crate::telemetry::{ExportError, Exporter};
use crate::up::{Announcement, StopSignals, service};

/// How long the door may take to close.
const DOOR_CLOSES_WITHIN: Duration = Duration::from_secs(1);

/// What a node needs to run.
#[derive(Debug)]
pub struct NodePlan {
    /// Its cluster.
    pub config: ClusterConfig,
    /// Its name, which the cluster file lists.
    pub name: String,
    /// The folder of its data, which exists.
    pub data_dir: PathBuf,
    /// What the nodes of the cluster prove to each other that they know.
    pub cookie: Cookie,
    /// The token that its door takes besides those of the colony; `None` if the door asks for none.
    pub admin_token: Option<AdminToken>,
    /// Where its running is recorded.
    pub registry: Registry,
    /// Whether another process started it, waits for one line on stdout, and holds the pipe on stdin.
    pub parent_pipe: bool,
    /// What tells it to end.
    pub stop: StopSignals,
    /// Whether whoever started it says by itself what there is to say.
    pub quiet: bool,
}

impl NodePlan {
    /// The node in the cluster file.
    ///
    /// # Panics
    /// If the plan was made for a name that the file does not list.
    pub fn node(&self) -> &NodeConfig {
        self.config
            .node(&self.name)
            .expect("a plan is made for a node of its file")
    }

    /// The place of the node in the cluster file.
    fn place(&self) -> usize {
        let place = self.config.nodes.iter().position(|node| node.name == self.name);
        place.expect("a plan is made for a node of its file")
    }

    /// Says that the door is open: records the node and tells the process that started it, or the person who did. The
    /// record goes when the returned value is dropped.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn announce_ready(&self) -> Result<Registration, StateError> {
        let node = self.node();
        let running = RunningNode {
            ca: self.config.tls.as_ref().map(|folder| folder.join(AUTHORITY_FILE)),
            admin_token: self.admin_token.as_ref().map(|token| token.path().to_path_buf()),
            ..RunningNode::this_process(
                &self.config.name,
                &self.name,
                node.http,
                node.links,
                self.data_dir.clone(),
            )
        };
        let registration = self.registry.record(running.clone())?;
        // Whoever started the node may have stopped reading; the record says the same.
        let _ = if self.parent_pipe {
            Announcement::Ready(running).print()
        } else if self.quiet {
            Ok(())
        } else {
            let (name, cluster, door) = (&self.name, &self.config.name, running.door());
            writeln!(
                io::stdout(),
                "node {name} of {cluster} is ready at {door} (stop with Ctrl-C)"
            )
        };
        Ok(registration)
    }
}

/// Why a node could not run, or not go on.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The door's address is taken or not of this host.
    #[error("nodes[{place}].http: cannot listen on {address}")]
    Door {
        /// The place of the node in the cluster file.
        place: usize,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Its certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its running could not be recorded.
    #[error(transparent)]
    State(#[from] StateError),
    /// The link settings make no sense together.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// The collector of traces cannot be told.
    #[error("tracing.otlp")]
    Export(#[from] ExportError),
    /// It cannot go on: its disk or consensus has failed. What was acknowledged is on disk.
    #[error("the node cannot go on: {0}")]
    Failed(String),
    /// The door failed.
    #[error("the door failed")]
    Serve(#[source] DoorError),
}

/// Runs a node until it is told to end.
///
/// # Errors
/// [`ServerError`] says why it could not start or go on.
pub async fn run(plan: NodePlan) -> Result<(), ServerError> {
    run_node(plan, None::<fn(JoinStep)>).await
}

/// As [`run`], for a node that joins: `tell` is told of its steps.
///
/// # Errors
/// As [`run`].
pub async fn run_telling(
    plan: NodePlan,
    tell: impl Fn(JoinStep) + Clone + Send + Sync + 'static,
) -> Result<(), ServerError> {
    run_node(plan, Some(tell)).await
}

async fn run_node(
    mut plan: NodePlan,
    tell: Option<impl Fn(JoinStep) + Clone + Send + Sync + 'static>,
) -> Result<(), ServerError> {
    let address = plan.node().http;
    let place = plan.place();
    // Bound before anything else: a port in use must not leave a half-started node behind.
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ServerError::Door { place, address, source })?;
    let tls = plan.config.tls.as_ref();
    let tls = tls
        .map(|folder| Tls::load(folder, &plan.config.name, &plan.name))
        .transpose()?;
    let hosted = hosted(&plan, tls.is_some());
    let options = options(&plan, tls.clone(), &hosted)?;
    let node = tokio::select! {
        node = Node::start(options) => node?,
        _ = plan.stop.next() => return Ok(()),
    };
    let closing = CancellationToken::new();
    let shutdown = closing.clone();
    let limits = DoorLimits::of(&plan.config);
    if let Some(tls) = &tls {
        tokio::spawn(certificates::follow(tls.clone(), closing.clone()));
    }
    if let Some(url) = plan.config.tracing.otlp.clone() {
        let (exporter, sink) = Exporter::new(url, &plan.config.name)?;
        node.export_traces(sink);
        let closing = closing.clone();
        tokio::spawn(async move { closing.run_until_cancelled(exporter.run()).await });
    }
    let cookie = LinkCookie::new(plan.cookie.as_hex())?;
    let (tell_opened, opened) = watch::channel(None);
    let serving = http::serve(
        listener,
        node.clone(),
        limits,
        door_access(&plan, tls, cookie.clone()),
        {
            let hosted = hosted.clone();
            move |inside| {
                let webhooks = inside.webhooks();
                hosted.open(inside);
                tell_opened.send_replace(Some(webhooks));
            }
        },
        async move { shutdown.cancelled().await },
    );
    let mut door = tokio::spawn(serving);
    let registration = plan.announce_ready()?;
    service::ready();
    let mut beside = tell_of(&node, tell.clone(), registration.node());
    // From here on what agents do has a door.
    node.host_pools();
    beside.spawn(pools::begin(node.clone(), plan.config.pools.clone()));
    webhooks::begin(&mut beside, &plan, &hosted, &opened);
    let config = plan.config.clone();
    let result = tokio::select! {
        () = fate::watch(node.clone(), &config, cookie) => unreachable!("it watches for ever"),
        () = node.left() => {
            tracing::info!("this node has left its cluster");
            if let Some(tell) = &tell {
                tell(JoinStep::Left);
            }
            Ok(())
        }
        cause = plan.stop.next() => {
            tracing::info!(?cause, "stopping");
            Ok(())
        }
        reason = node.failed() => Err(ServerError::Failed(reason)),
        served = &mut door => match served {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ServerError::Serve(error)),
            Err(error) => Err(ServerError::Failed(error.to_string())),
        },
    };
    service::stopping();
    drop(beside);
    drop(registration);
    // While the door is still open: what they have in hand is given back by it.
    hosted.stop().await;
    closing.cancel();
    // Long polls and followers end with the node; they are not waited for longer than this.
    if !door.is_finished() {
        let _ = tokio::time::timeout(DOOR_CLOSES_WITHIN, door).await;
    }
    node.stop().await;
    result
}

/// Follows a node that joins, for as long as what this returns is kept.
fn tell_of(
    node: &Arc<Node>,
    tell: Option<impl Fn(JoinStep) + Clone + Send + Sync + 'static>,
    running: &RunningNode,
) -> JoinSet<()> {
    let mut beside = JoinSet::new();
    if let Some(tell) = tell {
        let (name, door) = (running.node.clone(), running.door().url(""));
        tell(JoinStep::Ready { node: name, door });
        beside.spawn(progress::follow(node.clone(), tell));
    }
    beside
}

fn door_access(plan: &NodePlan, tls: Option<Arc<Tls>>, cookie: LinkCookie) -> DoorAccess {
    let node = plan.node();
    let advertised = node.advertise_http.as_deref().and_then(|text| text.rsplit_once(':'));
    DoorAccess {
        tls,
        tokens: plan.admin_token.clone(),
        cookie: Some(cookie),
        // What that demands was checked before the plan was made.
        beyond_loopback: !node.http.ip().is_loopback(),
        name: advertised.map(|(host, _)| host.to_owned()),
    }
}

/// What the workers of the node share.
fn hosted(plan: &NodePlan, in_tls: bool) -> Arc<Hosted> {
    let node = plan.node();
    let address = node.http;
    // Whoever reaches such a door would run what they like as the user of the node.
    let open = !address.ip().is_loopback() && plan.admin_token.is_none();
    let forbidden = if !plan.config.agent_commands {
        Some("the cluster file of this node says agents.commands = false".to_owned())
    } else if open {
        Some(format!(
            "the door at {address} is open to all who reach it and asks for no token: commands cannot be run for them"
        ))
    } else {
        None
    };
    // An address of the file is one, and so is what it says instead of that.
    let door = Door::parse(&node.http_advertised()).unwrap_or_else(|_| address.into());
    let worktrees = plan.data_dir.join("worktrees");
    Hosted::new(door.in_tls(in_tls).url(""), worktrees, forbidden)
}

fn options(plan: &NodePlan, tls: Option<Arc<Tls>>, hosted: &Arc<Hosted>) -> Result<NodeOptions, ServerError> {
    let ClusterConfig {
        name,
        nodes,
        topology,
        projects,
        consensus,
        compression,
        limits,
        rounds,
        log,
        ..
    } = &plan.config;
    let members = nodes.iter().map(|node| Member {
        name: node.name.clone(),
        links: node.links,
        links_advertised: node.links_advertised(),
        http_advertised: node.http_advertised(),
    });
    let mut kinds = Kinds::default();
    queenright_bench::load::add_kinds(&mut kinds);
    queenright_actors::explorer::add_kinds(&mut kinds);
    replay::add_kind(&mut kinds);
    hosted.add_kinds(&mut kinds);
    Ok(NodeOptions {
        cluster: name.clone(),
        nodes: members.collect(),
        me: plan.place(),
        topology: kind(*topology),
        voters: consensus.voters,
        routed: consensus.links == ControlLinks::Routed,
        data: plan.data_dir.clone(),
        cookie: LinkCookie::new(plan.cookie.as_hex())?,
        timing: Timing {
            heartbeat: consensus.heartbeat,
            election: (consensus.election_min, consensus.election_max),
        },
        compaction: CompactionOptions {
            snapshot_bytes: log.snapshot_bytes,
            snapshot_every: log.snapshot_every,
            keep_bytes: log.keep_bytes,
            sent_bytes_per_s: log.sent_bytes_per_s,
        },
        rounds: RoundLimits {
            rounds_in_flight: limits.rounds_in_flight,
            entries_in_flight: limits.rounds_in_flight,
            round_bytes: limits.round_bytes,
            round_commands: rounds.max,
            command_bytes: limits.command_bytes,
            listed: *projects == Projects::Listed,
            ..RoundLimits::default()
        },
        links: LinkLimits {
            outbox_bytes: limits.outbox_bytes,
            compression: match compression {
                Compression::Off => queenright_actors::link::Compression::Off,
                Compression::Lz4 => queenright_actors::link::Compression::Lz4,
            },
            ..LinkLimits::default()
        },
        kinds,
        labels: plan.node().labels.clone(),
        disk: DiskLimits {
            watermark_bytes: limits.disk_watermark_bytes,
            ballast_bytes: limits.ballast_bytes,
        },
        memory_bytes: limits.memory_bytes,
        tls,
    })
}

fn kind(topology: Topology) -> topology::Kind {
    match topology {
        Topology::Mesh => topology::Kind::Mesh,
        Topology::Star => topology::Kind::Star,
        Topology::Ring => topology::Kind::Ring,
        Topology::Hierarchical { fan_out } => topology::Kind::Hierarchical {
            fan_out: FanOut::new(fan_out as u16).expect("the cluster file bounds the fan-out"),
        },
    }
}
