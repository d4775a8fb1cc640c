//! A running node, as its doors see it.

mod backlog;
mod comparison;
mod replacement;
mod sessions;
mod status;
mod subscribers;
mod vigil;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use queenright_protocol::colony::{
    Body, Key, Outcome, Record, Refusal, SessionId, TokenHash, content_prefix, read_records, record_key,
};
use queenright_protocol::id::{ClusterId, NodeId};
use queenright_protocol::topology;
use queenright_protocol::wire::{Envelope, Kind, Lane};
use ractor::{Actor, ActorRef};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::backlog::tell_unstored;
pub(crate) use self::comparison::noted as noted_difference;
use self::comparison::{ASK_EVERY, Compare, Judge};
pub use self::replacement::ReplaceError;
use self::replacement::{Steward, TurnedAway, follow_members, newest, with_me};
pub use self::sessions::Heartbeat;
use self::sessions::Keeper;
pub use self::status::{ClusterStatus, NodeFigures, NodeStatus, Role};
pub use self::subscribers::{SubscriberCounts, Subscribers, Subscription};
use crate::agent::{AgentError, AgentSpec, AgentStatus, Agents, Kinds, Signals, submit};
use crate::body::{decode, encode};
use crate::consensus::{
    CompactionOptions, Consensus, ConsensusError, Library, LogError, LogOptions, LogStore, Snapshots, Timing, prepare,
};
pub use crate::consensus::{RecoveredBy, Recovery};
use crate::disk::{Disk, DiskLimits, DiskReport, Looker};
use crate::founding::{
    AnsweringHello, FirstStart, FoundingError, Join, Members, answer_hellos, let_in, links_of, place_of, store_members,
    turn_away,
};
use crate::link::{Cookie, LinkConfig, LinkError, LinkLimits, PeerConfig};
use crate::queen::{Queen, QueenArguments, QueenCounts, QueenMessage, Request, RoundLimits, SubmitError};
use crate::replica::{Replica, RestoreError, Snapshot};
use crate::router::{Router, Services};
use crate::store::{DataFolder, Store, StoreError, StoreOptions};

/// How long a node waits for the status of another one.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a node waits for the leader's answer about a new member: an entry is committed meanwhile.
const JOIN_TIMEOUT: Duration = Duration::from_secs(6);
/// How long a member goes on asking for an empty node when that may be let in a moment later: several elections.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
/// How long a leader is looked for when one is to be asked about a new member.
const LEADER_WITHIN: Duration = Duration::from_secs(5);

/// How many bytes of outcomes all nodes together may have kept: they stand in one value of the store, which takes 64 MiB,
/// beside the names of the projects (10 MiB at most).
const OUTCOMES_BYTES: usize = 48 << 20;

/// How long one wait for what a restarted node applies again lasts; it is repeated.
const RECOVERY_WAIT: Duration = Duration::from_secs(60);

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// It sees every write that was acknowledged before it was asked for, on whatever node.
    #[default]
    Linearizable,
    /// It sees what this node has applied.
    Local,
}

/// Why a read was not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed the position of the read in time.
    #[error("no quorum confirmed the read within {waited_ms} ms")]
    NoQuorum {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The state of the node differs from what the leader logged. Ask another node.
    #[error(
        "the state of this node is not the leader's after log entry {index}: it serves nothing until that is settled"
    )]
    Diverged {
        /// Where the two were compared.
        index: u64,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// A node of the cluster file.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where other nodes connect to.
    pub links: SocketAddr,
    /// Its door.
    pub http: SocketAddr,
}

/// What a node is started with.
#[derive(Debug)]
pub struct NodeOptions {
    /// The name of the cluster.
    pub cluster: String,
    /// All nodes, in the order of the cluster file.
    pub nodes: Vec<Member>,
    /// The place of this node among them.
    pub me: usize,
    /// The topology of the links.
    pub topology: topology::Kind,
    /// The folder of this node's data.
    pub data: PathBuf,
    /// The secret that all nodes of the cluster share.
    pub cookie: Cookie,
    /// The times of consensus.
    pub timing: Timing,
    /// How much log is kept, and how snapshots are sent.
    pub compaction: CompactionOptions,
    /// Bounds of rounds.
    pub rounds: RoundLimits,
    /// Bounds of links.
    pub links: LinkLimits,
    /// The kinds of agents that it hosts.
    pub kinds: Kinds,
    /// How much room it wants to have on its disk.
    pub disk: DiskLimits,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its data folder or store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Its links.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// The first start.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// Consensus.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    /// The queen did not start.
    #[error("the queen did not start")]
    Queen(#[source] ractor::SpawnErr),
    /// A thread of this process was broken off.
    #[error("a part of the start was broken off")]
    BrokenOff(#[from] tokio::task::JoinError),
}

/// A running node.
pub struct Node {
    cluster: String,
    cluster_id: String,
    /// Of all nodes, in the order of the configuration, as are the doors.
    names: Vec<String>,
    doors: Vec<SocketAddr>,
    topology: topology::Kind,
    folder: Arc<DataFolder>,
    store: Arc<Store>,
    log: LogStore,
    replica: Arc<Replica>,
    router: Arc<Router>,
    consensus: Arc<Consensus>,
    queen: ActorRef<QueenMessage>,
    queen_counts: Arc<QueenCounts>,
    agents: Arc<Agents>,
    signals: Arc<Signals>,
    subscribers: Arc<Subscribers>,
    disk: Arc<Disk>,
    judge: Arc<Judge>,
    steward: Arc<Steward>,
    keeper: Arc<Keeper>,
    outlived: Arc<Outlived>,
    stop: CancellationToken,
    // A mutex: taken once, by whoever stops the node.
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

/// What one node asks of another.
#[derive(Debug, Serialize, Deserialize)]
enum Control {
    /// How are you?
    Status,
    /// This is the room on my disk; and on yours?
    Disk(DiskReport),
    /// What is your digest after this entry?
    Compare(Compare),
    /// May an empty node of this place join?
    Allow(u16),
    /// Let this node in.
    Join(Join),
}

/// The parts that envelopes from other nodes reach; complete once the node is.
struct Inbox {
    me: NodeId,
    consensus: Arc<Consensus>,
    queen: ActorRef<QueenMessage>,
    signals: Arc<Signals>,
    node: OnceLock<std::sync::Weak<Node>>,
}

impl Services for Inbox {
    fn receive(&self, envelope: Envelope) {
        if envelope.to != self.me {
            // For a number that this place had before.
            tracing::debug!(to = %envelope.to, kind = %envelope.kind, "an envelope for another node was dropped");
            return;
        }
        match envelope.kind {
            Kind::Round => {
                // A queen that has stopped takes nothing; the sender repeats the round to the next leader.
                let _ = self.queen.cast(QueenMessage::Round {
                    from: envelope.from,
                    bytes: envelope.body,
                });
            }
            // The sender's timer repeats the round: this only says that nothing else will come of it.
            Kind::RoundRefused => tracing::debug!(from = %envelope.from, "a round was refused"),
            Kind::Unstored => match decode(&envelope.body) {
                Ok(records) => drop(self.queen.cast(QueenMessage::Unstored {
                    from: envelope.from,
                    records,
                })),
                Err(error) => tracing::debug!(from = %envelope.from, %error, "what is said of a store cannot be read"),
            },
            Kind::Control => {
                let node = self.node.get().and_then(std::sync::Weak::upgrade);
                if let Some(node) = node {
                    tokio::spawn(async move { node.answer_control(envelope).await });
                }
            }
            _ => self.consensus.receive(envelope),
        }
    }

    fn signals(&self, mut signals: Vec<Envelope>) {
        let count = signals.len();
        signals.retain(|signal| signal.to == self.me);
        self.signals.misaddressed(count - signals.len());
        self.signals.arrived(signals);
    }
}

impl Node {
    /// Starts a node. At its first start it returns when all nodes of the cluster have met.
    ///
    /// # Errors
    /// See [`StartError`]: the data folder is in use or damaged, a port is taken, the other nodes belong elsewhere.
    pub async fn start(options: NodeOptions) -> Result<Arc<Node>, StartError> {
        let name = options.nodes[options.me].name.clone();
        let (folder, looker, room) = {
            let (data, name, limits) = (options.data.clone(), name.clone(), options.disk);
            let opened = tokio::task::spawn_blocking(move || {
                let folder = DataFolder::open(&data, &name)?;
                let (looker, room) = Looker::open(&data, limits);
                Ok::<_, StoreError>((folder, looker, room))
            });
            opened.await??
        };
        let (router, mut inbox) = Router::start(link_config(&options)).await?;
        let first_start = FirstStart {
            folder: &folder,
            router: &router,
            cluster_name: options.cluster.clone(),
            nodes: options.nodes.iter().map(|node| node.name.clone()).collect(),
            me: options.me,
        };
        let founded = first_start.run(&mut inbox).await?;
        let numbers = founded.members.iter().map(|(_, number)| *number);
        let numbers: BTreeSet<NodeId> = numbers.filter(|number| *number != NodeId::NONE).collect();
        router.set_members(founded.me, options.topology, &numbers, links_of(&numbers, founded.me));

        let disk = Arc::new(Disk::new(folder.path(), room, founded.me, &founded.members));
        // The log first: if it is damaged, this node must not go on, whatever else there is.
        let log = {
            let (path, options) = (folder.log_path(), log_options(&options.compaction));
            tokio::task::spawn_blocking(move || LogStore::open(&path, &options)).await??
        };
        let opened = open_state(&folder, founded.me, &disk).await?;
        let OpenState {
            store,
            replica,
            library,
            set_aside,
        } = opened;
        let recovery = prepare(&log, &library, &replica, &router, set_aside).await?;
        let snapshots = Snapshots {
            options: options.compaction,
            library,
            log: log.clone(),
            recovery,
        };
        let consensus = Consensus::start(
            options.timing,
            options.cluster.clone(),
            log.clone(),
            replica.clone(),
            Some(store.clone()),
            router.clone(),
            Some(snapshots),
        )
        .await?;
        let consensus = Arc::new(consensus);
        let signals = Arc::new(Signals::new(router.clone()));
        let agents = Arc::new(Agents::new(options.kinds, replica.clone(), signals.clone()));
        let queen_counts = Arc::new(QueenCounts::default());
        let arguments = QueenArguments {
            incarnation: folder.incarnation(),
            limits: RoundLimits {
                outcome_bytes: options.rounds.outcome_bytes.min(OUTCOMES_BYTES / options.nodes.len()),
                ..options.rounds
            },
            replica: replica.clone(),
            consensus: consensus.clone(),
            router: router.clone(),
            agents: agents.clone(),
            disk: disk.clone(),
            counts: queen_counts.clone(),
        };
        let (queen, _) = Actor::spawn(None, Queen, arguments).await.map_err(StartError::Queen)?;
        answer_through(&replica, &queen);
        let services = Arc::new(Inbox {
            me: founded.me,
            consensus: consensus.clone(),
            queen: queen.clone(),
            signals: signals.clone(),
            node: OnceLock::new(),
        });
        router.serve(services.clone());

        if founded.unfinished {
            consensus.meet().await;
            consensus.initialise(&numbers).await?;
            first_start.finish()?;
        }
        let hello = AnsweringHello::of(&first_start, &founded, {
            let replica = replica.clone();
            Box::new(move || {
                replica
                    .snapshot()
                    .colony
                    .past()
                    .iter()
                    .map(|past| past.cluster)
                    .collect()
            })
        });
        let outlived = Arc::new(watch::Sender::new(None));
        let stop = CancellationToken::new();
        let mut tasks = vec![tokio::spawn(run_until(
            stop.clone(),
            follow_leader(consensus.clone(), queen.clone()),
        ))];
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            tell_recovered(consensus.clone(), queen.clone()),
        )));
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            tell_unstored(replica.clone(), consensus.clone(), router.clone()),
        )));
        let names: Vec<String> = options.nodes.iter().map(|node| node.name.clone()).collect();
        let steward = Arc::new(Steward::new(consensus.clone(), replica.clone(), names.clone()));
        tasks.push(tokio::spawn(run_until(stop.clone(), steward.clone().watch())));
        let joins = Joins {
            router: router.clone(),
            consensus: consensus.clone(),
            steward: steward.clone(),
            cluster: founded.cluster,
        };
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            log_end_of_hellos(hello, joins, outlived.clone(), inbox),
        )));
        tasks.extend(watch_disk(&disk, looker, &router, &replica, &store, names.len(), &stop));
        let folder = Arc::new(folder);
        tasks.push(tokio::spawn(follow_members(consensus.clone(), stop.clone(), {
            let (router, disk, folder, names) = (router.clone(), disk.clone(), folder.clone(), names.clone());
            let (me, topology) = (founded.me, options.topology);
            move |members| {
                let nodes = with_me(&members.nodes, me);
                router.set_members(me, topology, &nodes, links_of(&nodes, me));
                disk.set_voters(members.voters());
                let (folder, known) = (folder.clone(), newest(&names, &nodes));
                // The next start begins with these, until its log tells more.
                tokio::task::spawn_blocking(move || store_members(&folder, &known));
            }
        })));
        let judge = Arc::new(Judge::new(replica.clone(), folder.clone()));
        tasks.push(tokio::spawn(run_until(
            stop.clone(),
            compare_with_others(judge.clone(), router.clone()),
        )));
        let keeper = Keeper::new(founded.me, replica.clone(), consensus.clone(), queen.clone());
        let keeper = Arc::new(keeper);
        tasks.push(tokio::spawn(run_until(stop.clone(), keeper.clone().watch())));
        let node = Arc::new(Node {
            cluster: options.cluster,
            cluster_id: founded.cluster.to_string(),
            names,
            doors: options.nodes.iter().map(|node| node.http).collect(),
            topology: options.topology,
            folder,
            store,
            log,
            replica,
            router,
            consensus,
            queen,
            queen_counts,
            agents,
            signals,
            subscribers: Arc::default(),
            disk,
            judge,
            steward,
            keeper,
            outlived,
            stop,
            tasks: std::sync::Mutex::new(tasks),
        });
        assert!(services.node.set(Arc::downgrade(&node)).is_ok(), "it was just made");
        Ok(node)
    }

    /// Stops the node: agents first, then consensus, then the links; the log is synced and the store written last.
    pub async fn stop(&self) {
        self.stop.cancel();
        if let Err(error) = self.queen.stop_and_wait(None, Some(Duration::from_secs(2))).await {
            tracing::debug!(%error, "the queen did not end in time");
        }
        self.consensus.stop().await;
        self.router.stop().await;
        if let Err(error) = self.log.close().await {
            tracing::error!(%error, "the log was not closed cleanly");
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store was not closed cleanly");
        }
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("nothing panics under this lock"));
        for task in tasks {
            // A task that was cancelled has nothing to say.
            let _ = task.await;
        }
    }

    /// Resolves with the reason when this node cannot go on: its disk has failed, or consensus has. The process must
    /// end then, so that the others do not count on it.
    pub async fn failed(&self) -> String {
        let mut leadership = self.consensus.leadership();
        tokio::select! {
            reason = self.log.failed() => format!("the log: {reason}"),
            reason = self.judge.outvoted() => reason,
            reason = outlived(&self.outlived) => reason,
            reason = self.store.failed() => format!("the store: {reason}"),
            _ = leadership.wait_for(|leadership| !leadership.running) => "consensus has stopped".to_string(),
        }
    }

    /// The name of this node.
    pub fn name(&self) -> &str {
        self.name_of(self.router.me())
    }

    fn name_of(&self, number: NodeId) -> &str {
        self.names.get(place_of(number)).map_or("", String::as_str)
    }

    /// Carries out a command: returns its outcome once a majority has it on disk.
    ///
    /// # Errors
    /// When the queen does not take it, or no outcome came before the deadline: then it is unknown.
    pub async fn submit(&self, request: Request, deadline: Duration) -> Result<Outcome, SubmitError> {
        // Any call with a token is a sign of life of its session.
        let token = request.body.token();
        let elsewhere = token.and_then(|token| self.keeper.heard(&request.project, token));
        let outcome = submit(&self.queen, request, deadline).await;
        if let (Some(session), Ok(outcome)) = (elsewhere, &outcome)
            && !matches!(outcome, Outcome::Refused(_))
        {
            self.keeper.reopen(&session);
        }
        outcome
    }

    /// Who has this token is connected to this node: a sign of life of its session, if that lives here.
    pub fn connected(&self, project: &Arc<str>, token: TokenHash) {
        // One that lives elsewhere is heard of there.
        let _ = self.keeper.heard(project, token);
    }

    /// A sign of life of a session, whose author calls this node.
    ///
    /// # Errors
    /// When the session does not live here, and the colony did not say before the deadline whether it lives at all. A
    /// refusal says that it does not.
    pub async fn heartbeat(
        &self,
        project: &Arc<str>,
        author: &Arc<str>,
        session: (SessionId, TokenHash),
        deadline: Duration,
    ) -> Result<Result<Heartbeat, Refusal>, SubmitError> {
        let request = |command| Request {
            project: project.clone(),
            author: author.clone(),
            idempotency_key: None,
            body: Body::Session(command),
        };
        self.keeper.heartbeat(request, project, session, deadline).await
    }

    /// The state, as fresh as asked for. Drop it when done.
    ///
    /// # Errors
    /// When no quorum confirmed the read before the deadline.
    pub async fn read(&self, consistency: Consistency, deadline: Duration) -> Result<Arc<Snapshot>, ReadError> {
        let until = Instant::now() + deadline;
        let served = match consistency {
            Consistency::Linearizable => self.consensus.read_barrier(until).await,
            Consistency::Local => self.consensus.recovery(until).await,
        };
        served.ok_or(ReadError::NoQuorum {
            waited_ms: deadline.as_millis() as u64,
        })?;
        if let Some(difference) = self.replica.difference() {
            return Err(ReadError::Diverged {
                index: difference.index,
            });
        }
        Ok(self.replica.snapshot())
    }

    /// This node's copy of the colony.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Where the door counts those who follow events.
    pub fn subscribers(&self) -> &Arc<Subscribers> {
        &self.subscribers
    }

    /// The cluster as this node sees it; asks the other nodes, and waits for those that do not answer no longer than a
    /// second.
    pub async fn cluster_status(&self) -> ClusterStatus {
        let others = self.router.members().into_iter().map(|number| async move {
            if number == self.router.me() {
                return self.own_status();
            }
            let question = encode(&Control::Status);
            let answer = self
                .router
                .ask(number, Lane::Command, Kind::Control, question, STATUS_TIMEOUT)
                .await;
            let status = answer.ok().and_then(|body| decode(&body).ok());
            status.unwrap_or_else(|| NodeStatus {
                name: self.name_of(number).to_string(),
                number: number.0,
                role: Role::Unreachable,
                applied: None,
                seq: None,
                digest: None,
                agents: None,
                http: self.doors[place_of(number)].to_string(),
                pid: None,
                disk: None,
                recovery: None,
                subscribers: None,
            })
        });
        let nodes = futures::future::join_all(others).await;
        let leadership = self.consensus.current();
        let voters = self.consensus.members().borrow().voters();
        let votes = |node: &&NodeStatus| voters.contains(&NodeId(node.number));
        let reachable = nodes
            .iter()
            .filter(votes)
            .filter(|node| node.role != Role::Unreachable)
            .count();
        // A leader that cannot reach a majority may not know yet that it leads no more, and one that has died is followed
        // until the election.
        let answers = |leader: NodeId| {
            let mut reachable = nodes.iter().filter(|node| node.role != Role::Unreachable);
            reachable.any(|node| node.number == leader.0)
        };
        let queenright = leadership.leader.is_some_and(answers) && reachable > voters.len() / 2;
        ClusterStatus {
            cluster: self.cluster.clone(),
            cluster_id: Some(self.cluster_id.clone()),
            node: self.name().to_string(),
            queenright,
            leader: leadership.leader.map(|leader| self.name_of(leader).to_string()),
            term: leadership.term,
            topology: self.topology.to_string(),
            nodes,
        }
    }

    fn own_status(&self) -> NodeStatus {
        let (seq, applied, digest) = self.replica.digest();
        let me = self.router.me();
        NodeStatus {
            name: self.name().to_string(),
            number: me.0,
            role: self.consensus.current().role,
            applied: Some(applied),
            seq: Some(seq),
            digest: Some(digest.to_string()),
            agents: Some(self.agents.live()),
            http: self.doors[place_of(me)].to_string(),
            pid: Some(std::process::id()),
            disk: Some(self.disk.status()),
            recovery: Some(self.consensus.recovered_by()),
            subscribers: Some(self.subscribers.counts()),
        }
    }

    async fn answer_control(&self, envelope: Envelope) {
        let body = match decode(&envelope.body) {
            Ok(Control::Status) => encode(&self.own_status()),
            Ok(Control::Compare(asked)) => encode(&self.judge.answer(asked)),
            Ok(Control::Allow(place)) => encode(&self.steward.allow(place, |node| self.answers(node)).await),
            Ok(Control::Join(join)) => encode(&self.steward.admit(join).await),
            Ok(Control::Disk(report)) => encode(&self.disk.hear(envelope.from, report)),
            Err(_) => return,
        };
        // The one who asked gives up after a second.
        let _ = self.router.answer(&envelope, Lane::Command, Kind::ControlReply, body);
    }

    /// Whether a node is there.
    async fn answers(&self, node: NodeId) -> bool {
        let question = encode(&Control::Status);
        let asked = self
            .router
            .ask(node, Lane::Command, Kind::Control, question, STATUS_TIMEOUT);
        node == self.router.me() || asked.await.is_ok()
    }

    /// Allows the node of this name, which has lost its disk, to come back with an empty folder, as a new node.
    ///
    /// # Errors
    /// [`ReplaceError`]; nothing has changed then.
    pub async fn replace(&self, name: &str) -> Result<(), ReplaceError> {
        let place = self.steward.place(name)?;
        let until = Instant::now() + LEADER_WITHIN;
        loop {
            let allowed = match self.consensus.current().leader {
                Some(leader) if leader == self.router.me() => {
                    self.steward.allow(place, |node| self.answers(node)).await
                }
                Some(leader) => {
                    let question = encode(&Control::Allow(place));
                    let answer = self
                        .router
                        .ask(leader, Lane::Command, Kind::Control, question, JOIN_TIMEOUT)
                        .await;
                    let answer = answer.ok().and_then(|answer| decode(&answer).ok());
                    answer.unwrap_or(Err(ReplaceError::NoLeader))
                }
                None => Err(ReplaceError::NoLeader),
            };
            if allowed != Err(ReplaceError::NoLeader) || Instant::now() > until {
                return allowed;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What this node counts and measures.
    ///
    /// # Errors
    /// When its store has failed.
    pub async fn figures(&self) -> Result<NodeFigures, StoreError> {
        let counts = self.replica.counts();
        let snapshot = self.replica.snapshot();
        let kept = snapshot.colony.projects().map(|(_, project)| project.memory().kept());
        let (contents, content_bytes) = kept.fold((0, 0), |sum, kept| (sum.0 + kept.0, sum.1 + kept.1));
        drop(snapshot);
        let log = self.log.metrics().unwrap_or_default();
        Ok(NodeFigures {
            entries: counts.entries,
            rounds: counts.rounds,
            commands: counts.commands,
            bytes: counts.bytes,
            rounds_by_commands: counts.rounds_by_commands.to_vec(),
            entries_by_commands: counts.entries_by_commands.to_vec(),
            contents,
            content_bytes,
            refused_early: self.queen_counts.refused_early.load(Ordering::Relaxed),
            rounds_repeated: self.queen_counts.rounds_repeated.load(Ordering::Relaxed),
            links: serde_json::to_value(self.router.link_stats()).unwrap_or_default(),
            unclaimed: self.router.unclaimed(),
            signals: self.signals.counts(),
            log_bytes: log.bytes_on_disk,
            log_syncs: log.syncs,
            log_sync_p50_us: log.sync_p50.as_micros() as u64,
            log_sync_p99_us: log.sync_p99.as_micros() as u64,
            data: self.folder.path().display().to_string(),
            store_bytes: self.store.size_on_disk()?,
            store_waits: self.replica.dirty_records() as u64,
            subscribers: self.subscribers.counts(),
        })
    }

    /// Starts an agent on this node.
    ///
    /// # Errors
    /// When its kind is unknown, its name is taken or its arguments do not fit.
    pub async fn spawn_agent(&self, spec: AgentSpec) -> Result<AgentStatus, AgentError> {
        let (reply, answer) = oneshot::channel();
        self.queen
            .cast(QueenMessage::SpawnAgent(spec, reply))
            .map_err(|_| AgentError::Stopping)?;
        answer.await.unwrap_or(Err(AgentError::Stopping))
    }

    /// The agents of this node, by name.
    pub fn agents(&self) -> Vec<AgentStatus> {
        self.agents.all()
    }

    /// One agent, with its report.
    ///
    /// # Errors
    /// When there is no such agent.
    pub fn agent(&self, name: &str) -> Result<AgentStatus, AgentError> {
        self.agents.status(name)
    }

    /// Stops an agent.
    ///
    /// # Errors
    /// When there is no such agent.
    pub async fn stop_agent(&self, name: &str) -> Result<(), AgentError> {
        let (reply, answer) = oneshot::channel();
        let message = QueenMessage::StopAgent(name.to_string(), reply);
        self.queen.cast(message).map_err(|_| AgentError::Stopping)?;
        answer.await.unwrap_or(Err(AgentError::Stopping))
    }

    /// The records whose keys begin with `prefix`, as the store on disk holds them once everything applied so far has
    /// been written to it, by key; deleted keys are among them, without a value.
    ///
    /// # Errors
    /// When the store has failed or holds what does not decode.
    pub async fn stored(&self, project: &str, prefix: &str) -> Result<Vec<(Key, Record)>, StoreError> {
        self.store.flush().await?;
        let records = self.store.scan(&record_key(project, prefix)).await?;
        let contents = self.store.scan(&content_prefix(project)).await?;
        let decoded = tokio::task::spawn_blocking(move || read_records(records, contents)).await;
        let decoded = decoded.map_err(|_| StoreError::Closed)?;
        decoded.map_err(|problem| StoreError::Failed {
            reason: problem.to_string().into(),
        })
    }
}

fn link_config(options: &NodeOptions) -> LinkConfig {
    let me = &options.nodes[options.me];
    let peers = options
        .nodes
        .iter()
        .enumerate()
        .filter(|(place, _)| *place != options.me);
    LinkConfig {
        name: me.name.clone(),
        index: options.me as u16,
        listen: me.links,
        peers: peers
            .map(|(place, peer)| PeerConfig {
                name: peer.name.clone(),
                index: place as u16,
                address: peer.links.to_string(),
            })
            .collect(),
        cookie: options.cookie.clone(),
        limits: options.links.clone(),
    }
}

/// The largest chunk of the log, in bytes, and the smallest: a chunk goes as a whole, and costs a file and some syncs.
const CHUNK_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(64 << 20);

fn log_options(compaction: &CompactionOptions) -> LogOptions {
    // So that the log can shrink to about what is kept.
    let chunk = compaction.keep_bytes.clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end());
    LogOptions {
        chunk_bytes: chunk as usize,
        ..LogOptions::default()
    }
}

/// What a node holds besides its log.
struct OpenState {
    store: Arc<Store>,
    replica: Arc<Replica>,
    library: Arc<Library>,
    /// Where that went which could not be read.
    set_aside: Vec<String>,
}

/// Opens the store and the snapshots, and takes over what the store holds; what does not add up is set aside.
async fn open_state(folder: &DataFolder, me: NodeId, disk: &Arc<Disk>) -> Result<OpenState, StartError> {
    let library = {
        let (path, data) = (folder.snapshot_path(), folder.path().to_owned());
        let opened = tokio::task::spawn_blocking(move || {
            Library::open(&path, &data).map_err(|source| StoreError::Io { path, source })
        });
        Arc::new(opened.await??)
    };
    let (mut store, mut contents) = Store::open(folder, &StoreOptions::default())?;
    if let Some(reason) = comparison::noted(folder)? {
        library.discard_all(&reason).map_err(|source| StoreError::Io {
            path: folder.snapshot_path(),
            source,
        })?;
        let place = store.set_aside(reason.clone()).await?;
        tracing::warn!(place = %place.display(), %reason, "the state was set aside; it comes back from the log or a peer");
        comparison::settled(folder, &place, &reason)?;
        (store, contents) = Store::open(folder, &StoreOptions::default())?;
        contents.set_aside = Some(place);
    }
    let mut set_aside: Vec<String> = contents
        .set_aside
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    let restored = contents.meta.map(|meta| Replica::restore(me, &meta, contents.records));
    let (store, replica) = match restored {
        None => (store, Replica::new(me)),
        Some(Ok(replica)) => (store, replica),
        Some(Err(RestoreError::Unfinished)) => {
            tracing::info!("the store was being replaced by what a snapshot holds; the state comes back from there");
            store.discard().await?;
            (Store::open(folder, &StoreOptions::default())?.0, Replica::new(me))
        }
        Some(Err(error)) => {
            let place = store.set_aside(error.to_string()).await?;
            tracing::warn!(place = %place.display(), %error, "the store did not add up and was set aside");
            set_aside.push(place.display().to_string());
            (Store::open(folder, &StoreOptions::default())?.0, Replica::new(me))
        }
    };
    let (source, disk) = (replica.clone(), disk.clone());
    store.start(move || {
        let appended = source.counts().bytes;
        let pass = source.take_pass()?;
        disk.behind().taken(appended);
        Some(pass)
    });
    let wake = store.clone();
    replica.wake_store_by(Box::new(move |hurry| if hurry { wake.hurry() } else { wake.wake() }));
    Ok(OpenState {
        store: Arc::new(store),
        replica,
        library,
        set_aside,
    })
}

async fn compare_with_others(judge: Arc<Judge>, router: Arc<Router>) {
    let others = || {
        let me = router.me();
        router.members().into_iter().filter(|member| *member != me).collect()
    };
    let ask = |peer, asked| {
        let question = encode(&Control::Compare(asked));
        let answer = router.ask(peer, Lane::Command, Kind::Control, question, ASK_EVERY);
        async move { decode(&answer.await.ok()?).ok().flatten() }
    };
    judge.watch(others, ask).await;
}

/// The tasks that look at the disk and tell the other nodes.
fn watch_disk(
    disk: &Arc<Disk>,
    looker: Looker,
    router: &Arc<Router>,
    replica: &Arc<Replica>,
    store: &Arc<Store>,
    nodes: usize,
    stop: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let (replica, store) = (replica.clone(), store.clone());
    let watching = disk.clone().watch(
        looker,
        router.me(),
        move || replica.counts().bytes,
        move || store.passes(),
    );
    let mut tasks = vec![tokio::spawn(run_until(stop.clone(), watching))];
    for place in (0..nodes).filter(|place| *place != place_of(router.me())) {
        let router = router.clone();
        let ask = move |report, timeout| {
            let (router, question) = (router.clone(), encode(&Control::Disk(report)));
            async move {
                let peer = router
                    .members()
                    .into_iter()
                    .filter(|member| place_of(*member) == place)
                    .max();
                let Some(peer) = peer else {
                    tokio::time::sleep(timeout).await;
                    return None;
                };
                let answer = router.ask(peer, Lane::Command, Kind::Control, question, timeout).await;
                Some((peer, decode(&answer.ok()?).ok()?))
            }
        };
        tasks.push(tokio::spawn(run_until(stop.clone(), disk.clone().inform(ask))));
    }
    tasks
}

fn answer_through(replica: &Replica, queen: &ActorRef<QueenMessage>) {
    let queen = queen.clone();
    replica.answer_to(Box::new(move |answers| {
        // A queen that has stopped has nobody waiting.
        let _ = queen.cast(QueenMessage::Applied(answers));
    }));
}

async fn follow_leader(consensus: Arc<Consensus>, queen: ActorRef<QueenMessage>) {
    let mut leadership = consensus.leadership();
    loop {
        let leader = leadership.borrow_and_update().leader;
        if queen.cast(QueenMessage::Leader(leader)).is_err() || leadership.changed().await.is_err() {
            return;
        }
    }
}

async fn tell_recovered(consensus: Arc<Consensus>, queen: ActorRef<QueenMessage>) {
    while consensus.recovery(Instant::now() + RECOVERY_WAIT).await.is_none() {
        // None at once when consensus stops.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // A queen that has stopped tells nobody.
    let _ = queen.cast(QueenMessage::Recovered);
}

/// What a member does for an empty node.
#[derive(Clone)]
struct Joins {
    router: Arc<Router>,
    consensus: Arc<Consensus>,
    steward: Arc<Steward>,
    cluster: ClusterId,
}

impl Joins {
    async fn join(self, link: u16, join: Join) {
        let until = Instant::now() + JOIN_WITHIN;
        let asked = loop {
            let asked = self.ask(join).await;
            let again = asked.as_ref().is_err_and(|turned_away| turned_away.for_now);
            if !again || Instant::now() > until {
                break asked;
            }
            // An election, or another change of members, may be under way.
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        match asked {
            Ok(members) => let_in(&self.router, link, self.cluster, members),
            Err(turned_away) => turn_away(&self.router, link, turned_away.reason),
        }
    }

    async fn ask(&self, join: Join) -> Result<Members, TurnedAway> {
        match self.consensus.current().leader {
            Some(leader) if leader != self.router.me() => {
                let question = encode(&Control::Join(join));
                let answer = self
                    .router
                    .ask(leader, Lane::Command, Kind::Control, question, JOIN_TIMEOUT)
                    .await;
                let answer = answer.ok().and_then(|answer| decode(&answer).ok());
                answer.unwrap_or_else(|| Err(TurnedAway::for_now("the leader has not answered: start it again")))
            }
            _ => self.steward.admit(join).await,
        }
    }
}

/// Why this node belongs to a cluster that has ended, if it does.
type Outlived = watch::Sender<Option<String>>;

/// Resolves with the reason when this node belongs to a cluster that has ended.
async fn outlived(outlived: &Outlived) -> String {
    let mut told = outlived.subscribe();
    let reason = told.wait_for(Option::is_some).await.expect("its sender is borrowed");
    reason.clone().expect("the condition asks for a reason")
}

async fn log_end_of_hellos(
    hello: AnsweringHello,
    joins: Joins,
    outlived: Arc<Outlived>,
    inbox: crate::router::FoundingInbox,
) {
    let router = joins.router.clone();
    let consensus = joins.consensus.clone();
    let stranger = move |error| {
        // A cluster that has a leader was not lost: it is not for this node to end it.
        if matches!(error, FoundingError::Outlived { .. }) && !consensus.has_recovered() {
            outlived.send_replace(Some(error.to_string()));
        }
    };
    let join = |link, join| {
        // One for each link that came up: an empty node says hello no oftener.
        tokio::spawn(joins.clone().join(link, join));
    };
    let error = answer_hellos(hello, router, inbox, join, stranger).await;
    tracing::debug!(%error, "no hello is answered any more");
}

async fn run_until(stop: CancellationToken, task: impl Future<Output = ()>) {
    stop.run_until_cancelled(task).await;
}
