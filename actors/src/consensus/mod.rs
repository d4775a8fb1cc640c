//! Consensus of the nodes: openraft behind the types of this project. Nothing outside this module names openraft.

mod ingress;
mod log;
mod machine;
mod membership;
mod network;
mod recovery;
pub(crate) mod salvage;
mod snapshot;
pub mod types;
mod vacancy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::raft::ReadPolicy;
use openraft::raft::responder::ProgressResponder;
use openraft::storage::{RaftLogReader as _, RaftLogStorage};
use openraft::{Config, EmptyNode, Raft, ServerState, SnapshotPolicy};
use queenright_protocol::id::NodeId;
#[cfg(feature = "planted-bugs")]
use queenright_protocol::planted::{self, Bug};
use queenright_protocol::wire::{Envelope, Kind, Lane};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::ingress::Ingress;
pub use self::log::{LogError, LogOptions, LogStore};
use self::machine::Machine;
use self::membership::watch_members;
pub(crate) use self::membership::{Membership, Step, Wish, next_step, voting_places};
use self::network::{Network, Streams};
pub use self::recovery::{RecoveredBy, Recovery};
pub(crate) use self::recovery::{RecoveryNote, prepare};
pub(crate) use self::snapshot::Library;
use self::snapshot::compaction::Compaction;
pub use self::snapshot::compaction::CompactionOptions;
use self::snapshot::serve::Server;
use self::types::{EntryBytes, TypeConfig};
use self::vacancy::Vacancy;
use crate::body::{decode, encode};
use crate::node::Role;
use crate::replica::Replica;
use crate::router::{Notice, Router};
use crate::store::Store;

/// How long one question for a read position may take before it is asked again.
const READ_INDEX_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait before asking again when nobody leads.
const READ_INDEX_PAUSE: Duration = Duration::from_millis(20);

/// How long a founder waits for consensus to run on the other members: a start on a busy host takes some hundred
/// milliseconds.
const MEETING: Duration = Duration::from_secs(2);
/// After which time a question that a starting member did not hear is asked again.
const MEETING_QUESTION: Duration = Duration::from_millis(50);
/// How long a leader that stops waits for another one to lead: some round trips, and two votes on a busy disk.
const HAND_OVER: Duration = Duration::from_secs(1);

/// The times of consensus.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How often a leader sends a heartbeat.
    pub heartbeat: Duration,
    /// After how long without one a follower stands for election: a random time between these.
    pub election: (Duration, Duration),
}

/// Who leads, as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leadership {
    /// The leader, if there is one that this node follows (or is).
    pub leader: Option<NodeId>,
    /// The term.
    pub term: u64,
    /// What this node does.
    pub role: Role,
    /// Whether openraft still runs: a failed log stops it for good.
    pub running: bool,
}

/// Why consensus did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    /// The configuration is inconsistent.
    #[error("configuration of consensus: {0}")]
    Config(#[from] openraft::ConfigError),
    /// The log or the state machine failed; the node must stop.
    #[error("consensus has failed: {0}")]
    Failed(String),
    /// The log has lost its end, or a vote: this node may have voted or acknowledged what is lost.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Neither the store nor a snapshot is left, the log begins later, and there is no other node to ask.
    #[error("the state up to log entry {index} is lost: there is no other node to ask for a snapshot")]
    StateLost {
        /// The last entry that is not in the log any more.
        index: u64,
    },
}

/// The answer to a question for a read position.
#[derive(Serialize, Deserialize)]
enum ReadIndexAnswer {
    /// Reads behind this index are linearizable.
    Index(u64),
    /// The node asked does not lead.
    NotLeader,
}

/// What lets the log be cut.
pub(crate) struct Snapshots {
    pub(crate) options: CompactionOptions,
    pub(crate) library: Arc<Library>,
    /// The log that is cut.
    pub(crate) log: LogStore,
    pub(crate) recovery: RecoveryNote,
}

/// What became of an entry that was handed to openraft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was applied here, or this node lost sight of it.
    Over,
    /// It was not taken: this node does not lead, or no quorum has acknowledged yet that it does.
    NotTaken,
}

/// Consensus of this node.
pub(crate) struct Consensus {
    raft: Raft<TypeConfig, Machine>,
    router: Arc<Router>,
    replica: Arc<Replica>,
    streams: Arc<Streams>,
    ingress: Ingress,
    leadership: watch::Receiver<Leadership>,
    members: watch::Receiver<Membership>,
    /// Whether everything that this node may have applied before it was restarted has been applied again.
    recovered: watch::Receiver<bool>,
    recovery: Arc<RecoveryNote>,
    server: Arc<Server>,
    /// Somebody needs a snapshot of what is applied now.
    snapshot_wanted: Arc<Notify>,
    // A mutex: noted and looked at once for each command of a door and each read. Held for a copy.
    /// When the newest question was asked that a majority has answered.
    confirmed: Mutex<Option<Instant>>,
    /// For how long a majority counts as being there after that.
    lease: Duration,
    stop: CancellationToken,
}

impl Consensus {
    /// Starts consensus on a log of this node and its replica. The members must be known to the router, and with snapshots
    /// the replica must be [prepared](prepare). Without them the log is kept whole.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn start(
        timing: Timing,
        cluster: String,
        mut log: impl RaftLogStorage<TypeConfig>,
        replica: Arc<Replica>,
        store: Option<Arc<Store>>,
        router: Arc<Router>,
        snapshots: Option<Snapshots>,
    ) -> Result<Consensus, ConsensusError> {
        let config = Arc::new(config(timing, cluster).validate()?);
        let streams = Arc::new(Streams::default());
        let library = snapshots.as_ref().map(|snapshots| snapshots.library.clone());
        let (options, compacted, recovery) = match snapshots {
            Some(snapshots) => (snapshots.options, Some(snapshots.log), snapshots.recovery),
            None => (CompactionOptions::default(), None, RecoveryNote::default()),
        };
        let server = Arc::new(Server::new(library.clone(), router.clone(), options.sent_bytes_per_s));
        let network = Network {
            router: router.clone(),
            streams: streams.clone(),
            server: server.clone(),
        };
        let recovery = Arc::new(recovery);
        let machine = Machine::new(replica.clone(), store, library.clone(), recovery.clone());
        let me = router.me();
        let vote = log.get_log_reader().await.read_vote().await;
        let vote = vote.map_err(|error| ConsensusError::Failed(error.to_string()))?;
        let led = vote.filter(|vote| vote.committed && vote.leader_id.node_id == me.0);
        let raft = Raft::new(me.0, config, network, log, machine)
            .await
            .map_err(|error| ConsensusError::Failed(error.to_string()))?;
        let flushed = raft.watch_log_progress();
        replica.log_is_flushed_by(Box::new(move || {
            let point = flushed.get()?;
            Some((point.vote, point.last_log_id))
        }));
        let stop = CancellationToken::new();
        let ingress = Ingress::new(raft.clone(), router.clone(), library.clone(), stop.clone());
        let leadership = watch_leadership(&raft, &stop);
        let members = watch_members(&raft, &stop);
        let recovered = watch_recovery(&raft, &replica, &recovery, &stop);
        let vacancy = Vacancy {
            raft: raft.clone(),
            router: router.clone(),
            leadership: leadership.clone(),
            members: members.clone(),
            patience: timing.heartbeat,
            led,
        };
        let until = stop.clone();
        tokio::spawn(async move { until.run_until_cancelled(vacancy.watch()).await });
        let snapshot_wanted = Arc::new(Notify::new());
        if let (Some(library), Some(log)) = (library, compacted) {
            let compaction = Compaction {
                options,
                raft: raft.clone(),
                log,
                replica: replica.clone(),
                library,
                server: server.clone(),
                wanted: snapshot_wanted.clone(),
            };
            let until = stop.clone();
            tokio::spawn(async move { until.run_until_cancelled(compaction.run()).await });
        }
        Ok(Consensus {
            raft,
            router,
            replica,
            streams,
            ingress,
            leadership,
            members,
            recovered,
            recovery,
            server,
            snapshot_wanted,
            confirmed: Mutex::new(None),
            lease: timing.election.1,
            stop,
        })
    }

    /// Returns once consensus runs on all other members, or after a while: the founder asks for votes only then. A request
    /// that finds nobody is answered by nobody, and would cost a whole election time-out.
    pub(crate) async fn meet(&self) {
        let me = self.router.me();
        let met = self
            .router
            .members()
            .into_iter()
            .filter(|member| *member != me)
            .map(|member| async move {
                // Whoever answers runs; that it does not lead is no news.
                let ask = || {
                    let (lane, kind) = (Lane::Command, Kind::ReadIndexRequest);
                    self.router.ask(member, lane, kind, Bytes::new(), MEETING_QUESTION)
                };
                while ask().await.is_err() {
                    tokio::time::sleep(READ_INDEX_PAUSE).await;
                }
            });
        if tokio::time::timeout(MEETING, futures::future::join_all(met))
            .await
            .is_err()
        {
            tracing::warn!("not all members have consensus running; the first election may take longer");
        }
    }

    /// Makes `members` the voters of a new cluster: the founder's act, once. Does nothing when that was done before.
    ///
    /// # Errors
    /// When consensus has failed.
    pub(crate) async fn initialise(&self, members: &BTreeSet<NodeId>) -> Result<(), ConsensusError> {
        let failed = |error: String| ConsensusError::Failed(error);
        if self
            .raft
            .is_initialized()
            .await
            .map_err(|error| failed(error.to_string()))?
        {
            return Ok(());
        }
        let members: BTreeMap<u64, EmptyNode> = members.iter().map(|member| (member.0, EmptyNode {})).collect();
        self.raft
            .initialize(members)
            .await
            .map_err(|error| failed(error.to_string()))
    }

    /// Hands an entry to openraft, in order; `done` is called when it was applied here, or will not be. Only a leader's
    /// entries are taken, once a quorum has acknowledged her.
    pub(crate) async fn append(&self, entry: Bytes, done: impl FnOnce(Fate) + Send + 'static) {
        let (responder, receiver) = ProgressResponder::complete_only();
        let handed = self.raft.client_write_ff(EntryBytes(entry), Some(responder)).await;
        if handed.is_err() {
            done(Fate::Over);
            return;
        }
        tokio::spawn(async move {
            // Applied, refused, or forgotten by a stopping consensus: in each case the next entry may follow.
            done(match receiver.await {
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => Fate::NotTaken,
                _ => Fate::Over,
            });
        });
    }

    /// Follows who leads.
    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Who leads now.
    pub(crate) fn current(&self) -> Leadership {
        *self.leadership.borrow()
    }

    /// For how long this node has heard no leader; nothing while it leads.
    pub(crate) fn leader_silence(&self) -> Duration {
        match self.current().role {
            Role::Leader => Duration::ZERO,
            _ => self.ingress.leader_silence(),
        }
    }

    /// For how long each other member has acknowledged nothing to this node, while it leads; `None` for one that never has.
    pub(crate) fn silence(&self) -> BTreeMap<NodeId, Option<Duration>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let me = self.router.me();
        let heard = metrics.heartbeat.iter().flatten();
        let others = heard.filter(|(node, _)| **node != me.0);
        others
            .map(|(node, heard)| {
                (
                    NodeId(*node),
                    heard.as_ref().map(|heard| openraft::Instant::elapsed(&**heard)),
                )
            })
            .collect()
    }

    /// Notes that a majority answered something that was asked at this moment.
    pub(crate) fn confirm(&self, asked: Instant) {
        let mut confirmed = self.confirmed.lock().expect("nothing panics under this lock");
        *confirmed = (*confirmed).max(Some(asked));
    }

    fn is_confirmed(&self) -> bool {
        let confirmed = *self.confirmed.lock().expect("nothing panics under this lock");
        confirmed.is_some_and(|asked| asked.elapsed() <= self.lease)
    }

    /// Returns once a majority is there, or was a moment ago; `None` when none was before the deadline. That a leader is heard
    /// says nothing: one that is cut off with this node goes on leading it.
    pub(crate) async fn quorum(&self, deadline: Instant) -> Option<()> {
        let mut leadership = self.leadership();
        while !self.is_confirmed() {
            leadership.mark_unchanged();
            tokio::select! {
                index = self.ask_read_index(deadline) => if index.is_some() {
                    return Some(());
                },
                // The one that was asked leads no more.
                changed = leadership.changed() => {
                    changed.ok()?;
                    continue;
                }
            }
            if Instant::now() + READ_INDEX_PAUSE >= deadline {
                return None;
            }
            if let Ok(Err(_)) = tokio::time::timeout(READ_INDEX_PAUSE, leadership.changed()).await {
                // Consensus has stopped.
                return None;
            }
        }
        Some(())
    }

    /// Returns once this node has applied everything that was acknowledged before the call, on whatever node: the read
    /// index of Raft (Ongaro's thesis, section 6.4). `None` when no leader confirmed it before the deadline.
    pub(crate) async fn read_barrier(&self, deadline: Instant) -> Option<()> {
        #[cfg(feature = "planted-bugs")]
        if planted::has(Bug::StaleRead) {
            return Some(());
        }
        let mut leadership = self.leadership();
        loop {
            // Only what changes from now on ends the pause below early: a copy of a receiver has seen what the first has.
            leadership.mark_unchanged();
            if let Some(index) = self.ask_read_index(deadline).await {
                let applied = self.replica.wait_applied(index);
                return tokio::time::timeout_at(deadline, applied).await.ok();
            }
            if Instant::now() + READ_INDEX_PAUSE >= deadline {
                return None;
            }
            // Nobody leads, or the leader changed while it was asked.
            if let Ok(Err(_)) = tokio::time::timeout(READ_INDEX_PAUSE, leadership.changed()).await {
                // Consensus has stopped.
                return None;
            }
        }
    }

    /// Returns once this node, if it was restarted, has applied what it may have applied before: so that what it shows does
    /// not go back. `None` when no leader confirmed that before the deadline.
    pub(crate) async fn recovery(&self, deadline: Instant) -> Option<()> {
        let mut recovered = self.recovered.clone();
        let waited = tokio::time::timeout_at(deadline, recovered.wait_for(|recovered| *recovered)).await;
        waited.ok()?.ok().map(drop)
    }

    /// Whether a leader has confirmed, since this node was started, what it had applied before.
    pub(crate) fn has_recovered(&self) -> bool {
        *self.recovered.borrow()
    }

    /// By which way this node came back.
    pub(crate) fn recovered_by(&self) -> Recovery {
        self.recovery.get()
    }

    async fn ask_read_index(&self, deadline: Instant) -> Option<u64> {
        let asked = Instant::now();
        let index = self.ask_leader(deadline).await?;
        self.confirm(asked);
        Some(index)
    }

    async fn ask_leader(&self, deadline: Instant) -> Option<u64> {
        let leader = self.current().leader?;
        if leader == self.router.me() {
            return tokio::time::timeout_at(deadline, self.own_read_index()).await.ok()?;
        }
        let timeout = READ_INDEX_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        let answer = self
            .router
            .ask(leader, Lane::Command, Kind::ReadIndexRequest, Bytes::new(), timeout)
            .await;
        match decode(&answer.ok()?) {
            Ok(ReadIndexAnswer::Index(index)) => Some(index),
            Ok(ReadIndexAnswer::NotLeader) | Err(_) => None,
        }
    }

    async fn own_read_index(&self) -> Option<u64> {
        let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await.ok()?;
        Some(linearizer.read_log_id().log_id().index)
    }

    /// Takes an envelope of consensus from another node. Does not block.
    pub(crate) fn receive(self: &Arc<Self>, envelope: Envelope) {
        match envelope.kind {
            Kind::AppendReply => {
                if let Ok(answer) = decode(&envelope.body) {
                    self.streams.answer(envelope.correlation, answer);
                }
            }
            Kind::Unreachable => {
                if let Ok(Notice { correlation, .. }) = decode(&envelope.body) {
                    self.streams.lost(correlation);
                }
            }
            Kind::ReadIndexRequest => {
                let consensus = self.clone();
                tokio::spawn(async move {
                    let index = consensus.own_read_index().await;
                    let answer = index.map_or(ReadIndexAnswer::NotLeader, ReadIndexAnswer::Index);
                    let _ = consensus
                        .router
                        .answer(&envelope, Lane::Command, Kind::ReadIndexReply, encode(&answer));
                });
            }
            Kind::SnapshotWanted => {
                // Without one that holds the entry: a new one does, if this node has applied it.
                let missing = self.server.wanted(&envelope);
                if missing.is_some_and(|index| self.replica.applied_index() >= index) {
                    self.snapshot_wanted.notify_one();
                }
            }
            Kind::SnapshotBlocksWanted => self.server.blocks(envelope),
            _ => self.ingress.receive(envelope),
        }
    }

    /// Stops consensus, after another node has been asked to lead if this one does; the log is closed when this returns.
    pub(crate) async fn stop(&self) {
        self.step_down().await;
        self.stop.cancel();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not end cleanly");
        }
    }

    /// Lets another voter lead if this node does and one is near enough.
    async fn step_down(&self) {
        let mut leadership = self.leadership();
        if leadership.borrow_and_update().role != Role::Leader {
            return;
        }
        let (voters, progress) = (self.members.borrow().voters(), self.progress());
        let me = self.router.me();
        let is_ready = |voter: &&NodeId| {
            **voter != me
                && progress.caught_up.contains(voter)
                && progress.up.contains(voter)
                && self.router.is_linked(**voter)
        };
        let Some(next) = voters.iter().find(is_ready) else {
            return;
        };
        if self.hand_over(*next).await.is_err() {
            return;
        }
        let other = leadership.wait_for(|now| now.role != Role::Leader);
        match tokio::time::timeout(HAND_OVER, other).await {
            Ok(_) => tracing::info!(leader = %next, "handed over"),
            Err(_) => tracing::warn!(to = %next, "not handed over within {HAND_OVER:?}"),
        }
    }
}

fn config(timing: Timing, cluster: String) -> Config {
    Config {
        cluster_name: cluster,
        heartbeat_interval: timing.heartbeat.as_millis() as u64,
        election_timeout_min: timing.election.0.as_millis() as u64,
        election_timeout_max: timing.election.1.as_millis() as u64,
        // Both are the compaction's, which goes by bytes and not by entries.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: 64,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(false),
        broadcast_submitted_on_append: Some(true),
        ..Config::default()
    }
}

fn watch_recovery(
    raft: &Raft<TypeConfig, Machine>,
    replica: &Arc<Replica>,
    note: &Arc<RecoveryNote>,
    stop: &CancellationToken,
) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    let (raft, replica, note, stop) = (raft.clone(), replica.clone(), note.clone(), stop.clone());
    tokio::spawn(async move {
        if let Some(Ok(_)) = stop.run_until_cancelled(raft.wait_for_recovery(None)).await {
            note.caught_up(replica.counts().bytes);
            sender.send_replace(true);
        }
        // Kept until the node stops: a receiver must not take its end for an answer.
        stop.cancelled().await;
    });
    receiver
}

fn watch_leadership(raft: &Raft<TypeConfig, Machine>, stop: &CancellationToken) -> watch::Receiver<Leadership> {
    let mut metrics = raft.metrics();
    let me = *raft.node_id();
    let look = move |metrics: &openraft::RaftMetrics<TypeConfig>| Leadership {
        leader: metrics.current_leader.map(NodeId),
        term: metrics.current_term,
        role: match metrics.state {
            _ if metrics.current_leader == Some(me) => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner => Role::Learner,
            _ => Role::Follower,
        },
        running: metrics.running_state.is_ok(),
    };
    let (sender, receiver) = watch::channel(look(&metrics.borrow_watched()));
    let stop = stop.clone();
    tokio::spawn(async move {
        let follow = async {
            while metrics.changed().await.is_ok() {
                let now = look(&metrics.borrow_watched());
                sender.send_if_modified(|before| std::mem::replace(before, now) != now);
            }
        };
        stop.run_until_cancelled(follow).await;
    });
    receiver
}
