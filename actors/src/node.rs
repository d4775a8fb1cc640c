//! A running node, as its doors see it.

mod backlog;
mod backup;
mod comparison;
mod detours;
mod health;
mod inbox;
mod joins;
mod leaving;
mod options;
mod pools;
mod replacement;
mod rules;
mod sessions;
mod shaping;
mod start;
mod status;
mod subscribers;
mod tasks;
mod traces;
mod vigil;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use queenright_protocol::colony::{
    Body, Key, Outcome, Record, Refusal, SessionId, TaskCommand, TokenHash, content_prefix, read_records, record_key,
};
use queenright_protocol::id::{ClusterId, NodeId};
use queenright_protocol::topology;
use ractor::ActorRef;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::comparison::Judge;
pub(crate) use self::comparison::noted as noted_difference;
use self::detours::Detours;
pub use self::health::Health;
pub use self::joins::JoinError;
use self::joins::Joins;
use self::leaving::EndedSender;
pub use self::leaving::{ChangeError, Fate};
pub use self::options::{Member, NodeOptions, StartError};
pub use self::replacement::ReplaceError;
use self::replacement::Steward;
pub use self::sessions::Heartbeat;
use self::sessions::Keeper;
use self::shaping::Shaping;
pub use self::status::{
    ClusterStatus, LinkRole, LinkStatus, NodeFigures, NodeStatus, OpinionStatus, Role, Standing, Traffic,
};
pub use self::subscribers::{SubscriberCounts, Subscribers, Subscription};
use self::tasks::{Outlived, outlived};
use crate::agent::{
    AgentError, AgentFilter, AgentOrder, AgentPage, AgentSpec, AgentStatus, Agents, Signals, submit_followed,
};
use crate::consensus::{Consensus, LogStore};
pub use crate::consensus::{RecoveredBy, Recovery};
use crate::disk::Disk;
pub use crate::founding::{Admission, FoundingError, attempt, come_in};
use crate::latency::Meters;
use crate::liveness::Liveness;
pub use crate::liveness::{DatagramCounts, View};
use crate::memory::{Memory, MemoryLow};
use crate::pool::Hosting;
use crate::queen::{QueenCounts, QueenMessage, Request, SubmitError};
use crate::replica::{Replica, Snapshot};
use crate::roster::Roster;
use crate::router::Router;
pub use crate::router::{Loss, TransitCounts};
use crate::store::{DataFolder, Store, StoreError};
use crate::topic::Topics;
use crate::trace::{Traces, active};

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

/// A running node.
pub struct Node {
    cluster: String,
    cluster_id: ClusterId,
    /// Where all nodes are.
    roster: Arc<Roster>,
    /// How the cluster file links the nodes.
    topology: topology::Kind,
    shaping: Arc<Shaping>,
    detours: Arc<Detours>,
    folder: Arc<DataFolder>,
    store: Arc<Store>,
    log: LogStore,
    replica: Arc<Replica>,
    router: Arc<Router>,
    consensus: Arc<Consensus>,
    queen: ActorRef<QueenMessage>,
    queen_counts: Arc<QueenCounts>,
    meters: Arc<Meters>,
    agents: Arc<Agents>,
    signals: Arc<Signals>,
    topics: Arc<Topics>,
    subscribers: Arc<Subscribers>,
    disk: Arc<Disk>,
    memory: Arc<Memory>,
    traces: Arc<Traces>,
    liveness: Arc<Liveness>,
    judge: Arc<Judge>,
    steward: Arc<Steward>,
    joins: Joins,
    keeper: Arc<Keeper>,
    hosting: Arc<Hosting>,
    outlived: Arc<Outlived>,
    /// How this node has ended as a member, if it has.
    ended: EndedSender,
    /// Whether it wants to.
    leaves: AtomicBool,
    stop: CancellationToken,
    // A mutex: taken once, by whoever stops the node.
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Node {
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
            reason = self.removed() => reason,
            reason = self.store.failed() => format!("the store: {reason}"),
            _ = leadership.wait_for(|leadership| !leadership.running) => {
                self.replica.unfit().unwrap_or_else(|| "consensus has stopped".to_string())
            }
        }
    }

    /// The name of this node.
    pub fn name(&self) -> &str {
        self.roster.own_name()
    }

    fn name_of(&self, number: NodeId) -> Arc<str> {
        self.roster.name_of(number)
    }

    /// Carries out a command: returns its outcome once a majority has it on disk.
    ///
    /// # Errors
    /// When there was no quorum until the deadline, or the queen does not take it: nothing was changed. When no outcome came
    /// before the deadline: then it is unknown.
    pub async fn submit(&self, request: Request, deadline: Duration) -> Result<Outcome, SubmitError> {
        let asked = Instant::now();
        let until = asked + deadline;
        // The queen keeps what she was handed: nobody could tell then whether it will be carried out.
        self.consensus.quorum(until).await.ok_or(SubmitError::NoQuorum {
            waited_ms: deadline.as_millis() as u64,
        })?;
        let deadline = until.saturating_duration_since(Instant::now());
        // Any call with a token is a sign of life of its session.
        let token = request.body.token();
        let elsewhere = token.and_then(|token| self.keeper.heard(&request.project, token));
        let claims = matches!(&request.body, Body::Task(TaskCommand::Claim(_)));
        let followed = active().and_then(|trace| trace.command(&request.body));
        let outcome = submit_followed(&self.queen, request, followed.clone(), deadline).await;
        if let Some(followed) = followed {
            followed.end(&outcome);
        }
        if outcome.is_ok() {
            let took = asked.elapsed();
            self.meters.commands.note(took);
            if claims {
                self.meters.claims.note(took);
            }
        }
        // A proposal that was found to have lost before the log was judged by this node alone.
        if matches!(&outcome, Ok(outcome) if !matches!(outcome, Outcome::Lost { seq: 0, .. })) {
            self.consensus.confirm(asked);
        }
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

    /// Why this node takes no new work for want of memory, if it does not; asked for by whoever brings some.
    pub fn memory_low(&self) -> Option<MemoryLow> {
        self.memory.refusal()
    }

    /// This node's copy of the colony.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Where the door counts those who follow events.
    pub fn subscribers(&self) -> &Arc<Subscribers> {
        &self.subscribers
    }

    /// The topics, as this node's agents and door use them.
    pub fn topics(&self) -> &Arc<Topics> {
        &self.topics
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

    /// A page of the agents of this node that a filter chooses, by name.
    pub async fn agents(&self, filter: AgentFilter) -> AgentPage {
        let agents = self.agents.clone();
        let page = tokio::task::spawn_blocking(move || agents.page(&filter)).await;
        page.expect("looking at agents does not panic")
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

    /// Tells an agent to do something else than to stop, and says how it is then; a restart is under way then.
    ///
    /// # Errors
    /// When there is no such agent, or it has ended and is not to be restarted.
    pub async fn order_agent(&self, name: &str, order: AgentOrder) -> Result<AgentStatus, AgentError> {
        let (reply, answer) = oneshot::channel();
        let message = QueenMessage::OrderAgent(name.to_string(), order, reply);
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
