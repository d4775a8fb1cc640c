//! The follower's side of consensus: what arrives from other nodes is fed to openraft, in order, and answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::Raft;
use openraft::raft::AppendEntriesRequest;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Envelope, Kind, Lane};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::machine::Machine;
use super::network::{AppendAnswer, HEARTBEAT, VoteMessage};
use super::snapshot::Library;
use super::snapshot::transfer::Receiver;
use super::types::TypeConfig;
use crate::body::{decode, encode};
use crate::router::Router;

/// How many append requests of one peer may wait; a leader has at most 64 under way in a stream.
const APPENDS_WAITING: usize = 256;

/// An append request with its correlation.
type Numbered = (u64, AppendEntriesRequest<TypeConfig>);

/// Feeds openraft with what other nodes send.
pub(super) struct Ingress {
    raft: Raft<TypeConfig, Machine>,
    router: Arc<Router>,
    // A mutex: gateways look a queue up. One for each member that has led, of which there are as many as numbers were given.
    appends: Mutex<BTreeMap<NodeId, mpsc::Sender<Numbered>>>,
    stop: CancellationToken,
    /// Absent where there are no snapshots.
    receiver: Option<Arc<Receiver>>,
    dropped: AtomicU64,
    // A mutex: noted by gateways, read once in a while. Held for a copy.
    heard: Mutex<Instant>,
}

impl Ingress {
    pub(super) fn new(
        raft: Raft<TypeConfig, Machine>,
        router: Arc<Router>,
        library: Option<Arc<Library>>,
        stop: CancellationToken,
    ) -> Ingress {
        Ingress {
            receiver: library.map(|library| Arc::new(Receiver::new(raft.clone(), router.clone(), library))),
            raft,
            router,
            appends: Mutex::default(),
            stop,
            dropped: AtomicU64::new(0),
            heard: Mutex::new(Instant::now()),
        }
    }

    /// For how long no leader has sent anything, or since when this node runs.
    pub(super) fn leader_silence(&self) -> Duration {
        self.heard.lock().expect("nothing panics under this lock").elapsed()
    }

    /// The queue of a peer's append requests; none for whoever is no member.
    fn queue(&self, peer: NodeId) -> Option<mpsc::Sender<Numbered>> {
        let mut appends = self.appends.lock().expect("nothing panics under this lock");
        if let Some(queue) = appends.get(&peer) {
            return Some(queue.clone());
        }
        if !self.router.members().contains(&peer) {
            return None;
        }
        let (sender, waiting) = mpsc::channel(APPENDS_WAITING);
        let feeder = Feeder {
            raft: self.raft.clone(),
            router: self.router.clone(),
            peer,
            waiting,
        };
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(feeder.run()).await });
        appends.insert(peer, sender.clone());
        Some(sender)
    }

    /// Takes a request of consensus. Does not block: what finds its queue full is dropped, and its sender repeats it.
    pub(super) fn receive(&self, envelope: Envelope) {
        let (from, kind) = (envelope.from, envelope.kind);
        if kind == Kind::AppendRequest {
            *self.heard.lock().expect("nothing panics under this lock") = Instant::now();
        }
        let taken = match kind {
            Kind::AppendRequest if envelope.correlation & HEARTBEAT != 0 => self.heartbeat(envelope),
            Kind::AppendRequest => self.append(&envelope),
            Kind::VoteRequest => self.vote(envelope),
            Kind::SnapshotRequest => self.snapshot(envelope),
            Kind::LeadRequest => self.lead(envelope),
            _ => false,
        };
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%from, %kind, "a request of consensus was dropped: malformed, or too many wait");
        }
    }

    fn append(&self, envelope: &Envelope) -> bool {
        let Ok(request) = decode(&envelope.body) else {
            return false;
        };
        let queue = self.queue(envelope.from);
        queue.is_some_and(|queue| queue.try_send((envelope.correlation, request)).is_ok())
    }

    fn heartbeat(&self, envelope: Envelope) -> bool {
        let Ok(request) = decode(&envelope.body) else {
            return false;
        };
        let (raft, router) = (self.raft.clone(), self.router.clone());
        tokio::spawn(async move {
            let AppendEntriesRequest { prev_log_id, .. } = &request;
            let prev_log_id = *prev_log_id;
            let answer = match raft.append_entries(request).await {
                Ok(answer) => answer.into_stream_result(prev_log_id, prev_log_id).into(),
                Err(_) => AppendAnswer::Stopped,
            };
            let _ = router.answer(&envelope, Lane::Urgent, Kind::AppendReply, encode(&answer));
        });
        true
    }

    fn vote(&self, envelope: Envelope) -> bool {
        let Ok(VoteMessage { pre, request }) = decode(&envelope.body) else {
            return false;
        };
        let (raft, router) = (self.raft.clone(), self.router.clone());
        tokio::spawn(async move {
            let answer = if pre {
                raft.pre_vote(request).await
            } else {
                raft.vote(request).await
            };
            // Without an answer the candidate asks again: a stopped consensus grants nothing.
            if let Ok(answer) = answer {
                let _ = router.answer(&envelope, Lane::Urgent, Kind::VoteReply, encode(&answer));
            }
        });
        true
    }

    fn lead(&self, envelope: Envelope) -> bool {
        let Ok(request) = decode(&envelope.body) else {
            return false;
        };
        let (raft, router) = (self.raft.clone(), self.router.clone());
        tokio::spawn(async move {
            // A stopped consensus does not lead.
            if let Ok(answer) = raft.handle_transfer_leader(request).await {
                let _ = router.answer(&envelope, Lane::Urgent, Kind::LeadReply, encode(&answer));
            }
        });
        true
    }

    fn snapshot(&self, envelope: Envelope) -> bool {
        let (Ok(offer), Some(receiver)) = (decode(&envelope.body), self.receiver.clone()) else {
            return false;
        };
        let router = self.router.clone();
        // A file may be made.
        tokio::task::spawn_blocking(move || {
            let answer = receiver.offered(envelope.from, &offer);
            let _ = router.answer(&envelope, Lane::Urgent, Kind::SnapshotReply, encode(&answer));
        });
        true
    }
}

/// Feeds the append requests of one peer to openraft.
struct Feeder {
    raft: Raft<TypeConfig, Machine>,
    router: Arc<Router>,
    peer: NodeId,
    waiting: mpsc::Receiver<Numbered>,
}

impl Feeder {
    async fn run(mut self) {
        let mut first = None;
        loop {
            let next = match first.take() {
                Some(next) => next,
                None => match self.waiting.recv().await {
                    Some(next) => next,
                    None => return,
                },
            };
            first = self.session(next).await;
        }
    }

    /// Feeds one session, until a request of another one comes or openraft ends the stream.
    async fn session(&mut self, first: Numbered) -> Option<Numbered> {
        let session = first.0 >> 32;
        let (requests, receiver) = mpsc::channel(APPENDS_WAITING);
        let stream = drain(receiver);
        let mut results = std::pin::pin!(self.raft.stream_append(stream));
        let mut correlations = VecDeque::from([first.0]);
        requests.try_send(first.1).ok()?;
        let mut requests = Some(requests);
        let mut following = None;
        loop {
            tokio::select! {
                biased;
                result = results.next() => {
                    let Some(result) = result else { break };
                    let correlation = correlations.pop_front().expect("openraft answers what it was given");
                    let answer = result.map_or(AppendAnswer::Stopped, AppendAnswer::from);
                    let ended = !matches!(answer, AppendAnswer::Flushed(_));
                    // An answer that cannot be sent is lost with its link; the leader starts a new stream then.
                    let _ = self.router.send(self.peer, Lane::Urgent, Kind::AppendReply, correlation, encode(&answer));
                    if ended {
                        break;
                    }
                }
                next = self.waiting.recv(), if requests.is_some() => {
                    let Some(next) = next else { requests = None; continue };
                    if next.0 >> 32 != session {
                        // What is under way is answered first.
                        following = Some(next);
                        requests = None;
                        continue;
                    }
                    let (correlation, request) = next;
                    if requests.as_ref().is_none_or(|requests| requests.try_send(request).is_err()) {
                        // A leader has fewer under way than fit; the stream is given up, and it starts another.
                        return None;
                    }
                    correlations.push_back(correlation);
                }
            }
        }
        following
    }
}

fn drain<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send + 'static {
    futures::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    })
}
