//! A colony without a cluster: every command is a round of its own, applied at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use queenright_actors::agent::{AgentError, AgentFilter, AgentOrder, AgentPage, AgentSpec, AgentState, AgentStatus};
use queenright_actors::node::{
    ClusterStatus, Consistency, Heartbeat, NodeFigures, ReadError, ReplaceError, Subscribers,
};
use queenright_actors::queen::{Request, SubmitError};
use queenright_actors::replica::Snapshot;
use queenright_actors::store::StoreError;
use queenright_actors::topic::Topics;
use queenright_protocol::colony::{
    Body, Colony, Command, DoorTokens, LostTo, Outcome, Refusal, ReservationId, Round, SESSION_TTL_MS, SessionCommand,
    SessionId, TokenHash, Wait, WaitId,
};
use queenright_protocol::id::NodeId;
use tokio::sync::watch;

use crate::http::backend::Backend;
use crate::replay::tree::StoredTree;

const ME: NodeId = NodeId(1);

pub(super) struct Alone {
    // A mutex: the calls of a test may overlap. Held for one command.
    colony: Mutex<Colony>,
    agents: Mutex<BTreeMap<String, AgentStatus>>,
    losses: Mutex<Vec<LostTo>>,
    seq: watch::Sender<u64>,
    subscribers: Arc<Subscribers>,
    topics: Arc<Topics>,
    /// By how much time is ahead of one millisecond for each command.
    pub(super) ahead_ms: AtomicU64,
    /// Without a quorum nothing is submitted, and only local reads are served.
    pub(super) quorum: AtomicBool,
}

impl Default for Alone {
    fn default() -> Alone {
        Alone {
            colony: Mutex::default(),
            agents: Mutex::default(),
            losses: Mutex::default(),
            seq: watch::Sender::new(0),
            subscribers: Arc::default(),
            topics: Arc::new(Topics::alone()),
            ahead_ms: AtomicU64::new(0),
            quorum: AtomicBool::new(true),
        }
    }
}

impl Alone {
    fn apply(&self, request: Request) -> Outcome {
        let mut colony = self.colony.lock().expect("no test panics under this lock");
        let number = colony.seq() + 1;
        let round = Round {
            node: ME,
            incarnation: 1,
            commands: vec![Command {
                number,
                settled: number,
                expires_ms: u64::MAX,
                project: request.project,
                author: request.author,
                idempotency_key: request.idempotency_key,
                body: request.body,
                listed: false,
            }],
        };
        let now_ms = number + self.ahead_ms.load(Ordering::SeqCst);
        let mut applied = colony.apply(now_ms, now_ms, &[round], ME);
        self.seq.send_replace(colony.seq());
        let mut losses = self.losses.lock().expect("no test panics under this lock");
        losses.append(&mut applied.losses);
        applied.outcomes.remove(0).outcome
    }
}

impl Backend for Alone {
    fn submit(&self, request: Request, deadline: Duration) -> BoxFuture<'_, Result<Outcome, SubmitError>> {
        let waited_ms = deadline.as_millis() as u64;
        let quorum = self.quorum.load(Ordering::SeqCst);
        let outcome = quorum.then(|| self.apply(request));
        ready(outcome.ok_or(SubmitError::Unknown { waited_ms })).boxed()
    }

    fn heartbeat<'a>(
        &'a self,
        project: &'a Arc<str>,
        author: &'a Arc<str>,
        (session, token): (SessionId, TokenHash),
        _: Duration,
    ) -> BoxFuture<'a, Result<Result<Heartbeat, Refusal>, SubmitError>> {
        // Every session lives elsewhere: it is re-opened here. Without a quorum nobody knows.
        let uncertain = !self.quorum.load(Ordering::SeqCst);
        let outcome = (!uncertain).then(|| {
            self.apply(Request {
                project: project.clone(),
                author: author.clone(),
                idempotency_key: None,
                body: Body::Session(SessionCommand::Reopen { session, token }),
            })
        });
        let beat = Heartbeat {
            session,
            left_ms: SESSION_TTL_MS,
            uncertain,
        };
        let answer = match outcome {
            Some(Outcome::Refused(refusal)) => Err(refusal),
            _ => Ok(beat),
        };
        ready(Ok(answer)).boxed()
    }

    fn connected(&self, _: &Arc<str>, _: TokenHash) {}

    fn wait_offer<'a>(&'a self, project: &'a Arc<str>, wait: WaitId) -> BoxFuture<'a, Option<Arc<Wait>>> {
        let mut seq = self.seq.subscribe();
        async move {
            loop {
                seq.borrow_and_update();
                let snapshot = self.snapshot();
                let tasks = snapshot.colony.project(project).map(|project| project.tasks());
                match tasks.and_then(|tasks| tasks.wait(wait)) {
                    Some(found) if found.is_waiting() => {}
                    over => return over.cloned(),
                }
                // The sender is part of this backend.
                let _ = seq.changed().await;
            }
        }
        .boxed()
    }

    fn losses(&self, project: &str) -> Vec<LostTo> {
        let losses = self.losses.lock().expect("no test panics under this lock");
        let of_project = losses.iter().rev().filter(|lost| *lost.project == *project);
        of_project.cloned().collect()
    }

    fn read(&self, consistency: Consistency, deadline: Duration) -> BoxFuture<'_, Result<Arc<Snapshot>, ReadError>> {
        let served = consistency == Consistency::Local || self.quorum.load(Ordering::SeqCst);
        let waited_ms = deadline.as_millis() as u64;
        let snapshot = served.then(|| self.snapshot());
        ready(snapshot.ok_or(ReadError::NoQuorum { waited_ms })).boxed()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        let colony = self.colony.lock().expect("no test panics under this lock").clone();
        let index = colony.seq();
        Arc::new(Snapshot { colony, index })
    }

    fn door_tokens(&self) -> Arc<DoorTokens> {
        let colony = self.colony.lock().expect("no test panics under this lock");
        Arc::new(colony.door_tokens().clone())
    }

    fn follow_seq(&self) -> watch::Receiver<u64> {
        self.seq.subscribe()
    }

    fn subscribers(&self) -> &Arc<Subscribers> {
        &self.subscribers
    }

    fn topics(&self) -> &Arc<Topics> {
        &self.topics
    }

    fn wait_reservation<'a>(&'a self, project: &str, reservation: ReservationId) -> BoxFuture<'a, ()> {
        let (project, mut seq) = (project.to_owned(), self.seq.subscribe());
        let settled = move |colony: &Colony| {
            let found = colony
                .project(&project)
                .and_then(|project| project.reservations().get(reservation));
            found.is_none_or(|found| !found.is_waiting())
        };
        Box::pin(async move {
            let wait = seq.wait_for(|_| settled(&self.snapshot().colony));
            wait.await.expect("the sender lives as long as this");
        })
    }

    fn cluster_status(&self) -> BoxFuture<'_, ClusterStatus> {
        ready(ClusterStatus {
            cluster: "alone".to_owned(),
            cluster_id: None,
            node: "n1".to_owned(),
            queenright: self.quorum.load(Ordering::SeqCst),
            leader: None,
            term: 1,
            topology: "mesh".to_owned(),
            epoch: 0,
            rules_version: 1,
            cuts: Vec::new(),
            nodes: Vec::new(),
        })
        .boxed()
    }

    fn figures(&self) -> BoxFuture<'_, Result<NodeFigures, StoreError>> {
        // A node that never answers this.
        std::future::pending().boxed()
    }

    fn stored_tree<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<StoredTree, StoreError>> {
        // It has no store.
        ready(Err(StoreError::Closed)).boxed()
    }

    fn spawn_agent(&self, spec: AgentSpec) -> BoxFuture<'_, Result<AgentStatus, AgentError>> {
        let mut agents = self.agents.lock().expect("no test panics under this lock");
        let status = AgentStatus {
            name: spec.name.clone(),
            kind: spec.kind,
            number: agents.len() as u64,
            generation: 1,
            state: AgentState::Idle,
            restarts: 0,
            next_restart_ms: None,
            reason: None,
            report: BTreeMap::new(),
            labels: spec.labels,
            parent: spec.parent,
            letters: 0,
            children: None,
            accounts: None,
        };
        let taken = agents.contains_key(&spec.name);
        let answer = if taken {
            Err(AgentError::NameTaken { name: spec.name })
        } else {
            agents.insert(spec.name, status.clone());
            Ok(status)
        };
        ready(answer).boxed()
    }

    fn agents(&self, filter: AgentFilter) -> BoxFuture<'_, AgentPage> {
        // It knows of names and pages only.
        let agents = self.agents.lock().expect("no test panics under this lock");
        let behind = |name: &&String| filter.after.as_ref().is_none_or(|after| *name > after);
        let limit = filter.limit.unwrap_or(usize::MAX);
        let names: Vec<&String> = agents.keys().filter(behind).collect();
        let page = AgentPage {
            agents: names.iter().take(limit).map(|name| agents[*name].clone()).collect(),
            next: names.get(limit - 1).map(|name| (*name).clone()),
        };
        ready(page).boxed()
    }

    fn agent<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<AgentStatus, AgentError>> {
        let agents = self.agents.lock().expect("no test panics under this lock");
        let found = agents.get(name).cloned();
        ready(found.ok_or_else(|| AgentError::NotFound { name: name.to_owned() })).boxed()
    }

    fn stop_agent<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), AgentError>> {
        let mut agents = self.agents.lock().expect("no test panics under this lock");
        let gone = agents.remove(name).map(drop);
        ready(gone.ok_or_else(|| AgentError::NotFound { name: name.to_owned() })).boxed()
    }

    fn order_agent<'a>(&'a self, name: &'a str, order: AgentOrder) -> BoxFuture<'a, Result<AgentStatus, AgentError>> {
        let mut agents = self.agents.lock().expect("no test panics under this lock");
        let ordered = agents.get_mut(name).map(|status| {
            status.state = match order {
                AgentOrder::Pause => AgentState::Paused,
                _ => AgentState::Idle,
            };
            status.clone()
        });
        ready(ordered.ok_or_else(|| AgentError::NotFound { name: name.to_owned() })).boxed()
    }

    fn replace_node<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ReplaceError>> {
        // There is no other node.
        ready(Err(ReplaceError::Unknown { name: name.to_owned() })).boxed()
    }
}
