//! openraft's network over the router: votes as questions, appends as a stream of numbered requests and answers.
//!
//! An append request carries (session, number) in its correlation: the session is one replication stream of the leader,
//! the number counts its requests. The follower feeds a session into one `stream_append` of openraft, so that requests
//! are pipelined, and answers in order. Heartbeats are sessions of one request; they are marked, travel on the urgent
//! lane and are not fed into the stream of entries.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::EmptyNode;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{LogIdOf, SnapshotOf, VoteOf};
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::snapshot::Snapshot;
use super::snapshot::serve::Server;
use super::types::TypeConfig;
use crate::body::{decode, encode};
use crate::router::{AskError, Router, Way};

/// How many append requests of one stream may be without an answer.
const APPENDS_IN_FLIGHT: usize = 64;
/// How long a stream waits for an answer before it gives up. Longer than any healthy fdatasync; a link that went down
/// ends it at once.
const APPEND_TIMEOUT: Duration = Duration::from_secs(3);
type C = TypeConfig;

/// A vote or a question for one.
#[derive(Serialize, Deserialize)]
pub(super) struct VoteMessage {
    /// Whether it only asks how the vote would be.
    pub(super) pre: bool,
    pub(super) request: VoteRequest<C>,
}

/// The answer to an append request.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum AppendAnswer {
    Flushed(Option<LogIdOf<C>>),
    Conflict(LogIdOf<C>),
    HigherVote(VoteOf<C>),
    /// The follower's consensus has stopped.
    Stopped,
}

impl From<StreamAppendResult<C>> for AppendAnswer {
    fn from(result: StreamAppendResult<C>) -> AppendAnswer {
        match result {
            Ok(log_id) => AppendAnswer::Flushed(log_id),
            Err(StreamAppendError::Conflict(log_id)) => AppendAnswer::Conflict(log_id),
            Err(StreamAppendError::HigherVote(vote)) => AppendAnswer::HigherVote(vote),
        }
    }
}

/// Marks the correlation of a heartbeat.
pub(super) const HEARTBEAT: u64 = 1 << 63;

/// The correlation of a request of a stream.
pub(super) fn correlation(session: u32, number: u32) -> u64 {
    u64::from(session) << 32 | u64::from(number)
}

/// Answers of the streams of this node, on their way from the gateways.
#[derive(Default)]
pub(super) struct Streams {
    next: AtomicU32,
    // A mutex: gateways look a stream up, replication tasks open and close one. Held for one look-up.
    by_session: Mutex<HashMap<u32, mpsc::Sender<(u32, AppendAnswer)>>>,
}

impl Streams {
    /// Hands an answer to its stream; one that comes after its stream has ended is dropped.
    pub(super) fn answer(&self, correlation: u64, answer: AppendAnswer) {
        let sessions = self.by_session.lock().expect("nothing panics under this lock");
        if let Some(stream) = sessions.get(&(((correlation & !HEARTBEAT) >> 32) as u32)) {
            // A stream has no more requests under way than its channel has places.
            let _ = stream.try_send((correlation as u32, answer));
        }
    }

    /// A request of a stream, or its answer, was lost on its way: the stream ends, and openraft begins another.
    pub(super) fn lost(&self, correlation: u64) {
        let mut sessions = self.by_session.lock().expect("nothing panics under this lock");
        sessions.remove(&(((correlation & !HEARTBEAT) >> 32) as u32));
    }

    fn open(self: &Arc<Self>) -> (Session, mpsc::Receiver<(u32, AppendAnswer)>) {
        let (sender, receiver) = mpsc::channel(APPENDS_IN_FLIGHT);
        // One bit is left for the mark of heartbeats.
        let id = self.next.fetch_add(1, Ordering::Relaxed) & (u32::MAX >> 1);
        self.by_session
            .lock()
            .expect("nothing panics under this lock")
            .insert(id, sender);
        (
            Session {
                streams: self.clone(),
                id,
            },
            receiver,
        )
    }
}

/// An open stream; closed when it goes.
struct Session {
    streams: Arc<Streams>,
    id: u32,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.streams
            .by_session
            .lock()
            .expect("nothing panics under this lock")
            .remove(&self.id);
    }
}

/// Makes the clients of openraft.
pub(super) struct Network {
    pub(super) router: Arc<Router>,
    pub(super) streams: Arc<Streams>,
    pub(super) server: Arc<Server>,
}

impl RaftNetworkFactory<C> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Client {
        Client {
            router: self.router.clone(),
            streams: self.streams.clone(),
            server: self.server.clone(),
            target: NodeId(target),
        }
    }
}

/// The way to one node.
pub(super) struct Client {
    router: Arc<Router>,
    streams: Arc<Streams>,
    server: Arc<Server>,
    target: NodeId,
}

impl Client {
    fn appends<'s, S>(&'s self, input: S, heartbeat: bool) -> BoxStream<'s, Item>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
    {
        let (session, answers) = self.streams.open();
        let appends = Appends {
            client: self,
            session,
            heartbeat,
            answers,
            input: Some(input),
            sent: VecDeque::new(),
            next: 0,
            failed: false,
            links: self.router.follow_links(),
        };
        futures::stream::unfold(appends, Appends::next).boxed()
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        lane: Lane,
        kind: Kind,
        body: Bytes,
        timeout: Duration,
        action: RPCTypes,
    ) -> Result<T, RPCError<C>> {
        let answer = self.router.ask(self.target, lane, kind, body, timeout).await;
        let answer = answer.map_err(|error| match error {
            AskError::Timeout { .. } => self.timeout(action, timeout),
            other => RPCError::Unreachable(Unreachable::new(&other)),
        })?;
        decode(&answer).map_err(|error| RPCError::Network(NetworkError::new(&error)))
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RPCError<C> {
        RPCError::Timeout(Timeout {
            action,
            id: self.router.me().0,
            target: self.target.0,
            timeout,
        })
    }
}

impl RaftNetworkV2<C> for Client {
    type SnapshotData = Arc<Snapshot>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        // openraft sends its heartbeats this way.
        let mut answers = self.appends(futures::stream::iter([request]), true);
        match tokio::time::timeout(option.hard_ttl(), answers.next()).await {
            Ok(Some(Ok(result))) => Ok(result.into()),
            Ok(Some(Err(error))) => Err(error),
            Ok(None) => Err(unreachable_link()),
            Err(_) => Err(self.timeout(RPCTypes::AppendEntries, option.hard_ttl())),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
    {
        let client: &'s Client = self;
        Box::pin(async move { Ok(client.appends(input, false)) })
    }

    async fn vote(&mut self, request: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        let body = encode(&VoteMessage { pre: false, request });
        self.ask(Lane::Urgent, Kind::VoteRequest, body, option.hard_ttl(), RPCTypes::Vote)
            .await
    }

    async fn pre_vote(&mut self, request: VoteRequest<C>, option: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        let body = encode(&VoteMessage { pre: true, request });
        self.ask(Lane::Urgent, Kind::VoteRequest, body, option.hard_ttl(), RPCTypes::Vote)
            .await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        let (body, timeout) = (encode(&request), option.hard_ttl());
        self.ask(Lane::Urgent, Kind::LeadRequest, body, timeout, RPCTypes::TransferLeader)
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<C>,
        snapshot: SnapshotOf<C, Arc<Snapshot>>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        self.server.send(self.target, vote, snapshot.snapshot, cancel).await
    }
}

/// One replication stream: requests go out as openraft gives them, answers come back in order.
struct Appends<'s, S> {
    client: &'s Client,
    session: Session,
    heartbeat: bool,
    answers: mpsc::Receiver<(u32, AppendAnswer)>,
    /// `None` once openraft has no more requests.
    input: Option<S>,
    sent: VecDeque<Sent>,
    next: u32,
    failed: bool,
    /// Links that come up and go down.
    links: watch::Receiver<u64>,
}

/// A request without an answer.
struct Sent {
    number: u32,
    at: Instant,
    way: Way,
}

/// What a stream does next.
enum Step {
    Answer(Option<(u32, AppendAnswer)>),
    Request(Option<Box<AppendEntriesRequest<C>>>),
    Links,
    Late,
}

type Item = Result<StreamAppendResult<C>, RPCError<C>>;

impl<'s, S> Appends<'s, S>
where
    S: Stream<Item = AppendEntriesRequest<C>> + Send + Unpin + 'static,
{
    async fn next(mut self) -> Option<(Item, Self)> {
        loop {
            if self.failed || (self.input.is_none() && self.sent.is_empty()) {
                return None;
            }
            match self.step().await {
                Step::Answer(Some((number, answer))) => {
                    // Answers of one stream come in order; one that is missing was lost with its link.
                    match self.sent.pop_front() {
                        Some(sent) if sent.number == number => return Some((self.result(answer), self)),
                        _ => return Some(self.fail(unreachable_link())),
                    }
                }
                Step::Answer(None) => return Some(self.fail(unreachable_link())),
                Step::Request(Some(request)) => {
                    if let Err(error) = self.send(&request).await {
                        return Some(self.fail(error));
                    }
                }
                Step::Request(None) => self.input = None,
                // The oldest tells: those behind it may have taken a way that stands, but answers come in order.
                Step::Links
                    if self
                        .sent
                        .front()
                        .is_some_and(|sent| self.client.router.is_broken(sent.way)) =>
                {
                    return Some(self.fail(unreachable_link()));
                }
                Step::Links => {}
                Step::Late => {
                    let error = self.client.timeout(RPCTypes::AppendEntries, APPEND_TIMEOUT);
                    return Some(self.fail(error));
                }
            }
        }
    }

    async fn step(&mut self) -> Step {
        let late = self.sent.front().map(|sent| sent.at + APPEND_TIMEOUT);
        let room = self.sent.len() < APPENDS_IN_FLIGHT;
        let input = &mut self.input;
        tokio::select! {
            biased;
            answer = self.answers.recv() => Step::Answer(answer),
            request = async { input.as_mut().expect("checked by the guard").next().await },
                if room && input.is_some() => Step::Request(request.map(Box::new)),
            Ok(()) = self.links.changed() => Step::Links,
            () = async { tokio::time::sleep_until(late.expect("checked by the guard")).await },
                if late.is_some() => Step::Late,
        }
    }

    async fn send(&mut self, request: &AppendEntriesRequest<C>) -> Result<(), RPCError<C>> {
        let number = self.next;
        self.next += 1;
        let mut correlation = correlation(self.session.id, number);
        let mut lane = Lane::Append;
        if self.heartbeat {
            // It must not wait behind entries.
            (correlation, lane) = (correlation | HEARTBEAT, Lane::Urgent);
        }
        let body = encode(request);
        let target = self.client.target;
        let sent = self
            .client
            .router
            .send_waiting(target, lane, Kind::AppendRequest, correlation, body);
        match tokio::time::timeout(APPEND_TIMEOUT, sent).await {
            Ok(Ok(way)) => {
                let at = Instant::now();
                self.sent.push_back(Sent { number, at, way });
                Ok(())
            }
            Ok(Err(error)) => Err(RPCError::Unreachable(Unreachable::new(&error))),
            Err(_) => Err(self.client.timeout(RPCTypes::AppendEntries, APPEND_TIMEOUT)),
        }
    }

    fn result(&mut self, answer: AppendAnswer) -> Item {
        let result = match answer {
            AppendAnswer::Flushed(log_id) => return Ok(Ok(log_id)),
            AppendAnswer::Conflict(log_id) => Ok(Err(StreamAppendError::Conflict(log_id))),
            AppendAnswer::HigherVote(vote) => Ok(Err(StreamAppendError::HigherVote(vote))),
            AppendAnswer::Stopped => Err(unreachable_link()),
        };
        self.failed = true;
        result
    }

    fn fail(mut self, error: RPCError<C>) -> (Item, Self) {
        self.failed = true;
        (Err(error), self)
    }
}

fn unreachable_link() -> RPCError<C> {
    RPCError::Unreachable(Unreachable::new(&AskError::LinkDown))
}
