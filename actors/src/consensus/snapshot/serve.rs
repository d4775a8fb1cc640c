//! The sending end of a snapshot's way: offers it, and hands out its blocks to whoever asks, no faster than a rate.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::errors::{NetworkError, ReplicationClosed, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::VoteOf;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Envelope, Kind, Lane};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::file::BLOCK_BYTES;
use super::{Library, Snapshot, SnapshotError, SnapshotId};
use crate::body::{decode, encode};
use crate::consensus::types::TypeConfig;
use crate::router::Router;

/// How often a leader repeats its offer, to hear how far the other node is.
const OFFER_EVERY: Duration = Duration::from_millis(250);
/// How long one offer may be without an answer.
const OFFER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node that answers may make no progress before the leader gives this snapshot up; the next attempt may be
/// with a newer one.
const STALLED: Duration = Duration::from_secs(60);
/// How long a node that has answered may be silent: longer than a link takes to come back.
const SILENT: Duration = Duration::from_secs(15);
/// Most blocks of one answer.
pub(crate) const BLOCKS_MAX: u64 = 4;
/// How many answers may be in the making. Each node that receives asks for two at a time.
const ANSWERS_MAX: usize = 16;
/// How long an answer may wait for room on its lane; whoever asked asks again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

/// A leader's offer of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) vote: VoteOf<TypeConfig>,
    /// The head of its file.
    pub(crate) head: ByteBuf,
}

/// What became of an offer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum OfferAnswer {
    /// So many blocks have arrived.
    Receiving(u64),
    /// Everything has arrived; the state is being replaced.
    Installing,
    /// openraft's answer.
    Done(SnapshotResponse<TypeConfig>),
    /// It could not be received. The leader tries again, perhaps with another one.
    Failed(String),
}

/// A node that has lost its state asks for a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// The state must hold this entry at least.
    pub(crate) index: u64,
}

/// What it is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WantedAnswer {
    /// The head of a snapshot's file.
    Head(ByteBuf),
    /// There is none yet; if this node has got that far, one is being built.
    NotYet,
}

/// Asks for blocks of a snapshot.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct BlocksWanted {
    pub(crate) id: SnapshotId,
    pub(crate) first: u64,
    /// At most [`BLOCKS_MAX`].
    pub(crate) count: u64,
}

/// What it is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Blocks {
    /// Blocks as they stand in the file.
    Blocks(ByteBuf),
    /// The snapshot is not here any more, or damaged.
    Gone,
}

/// A snapshot on its way.
struct Sent {
    target: NodeId,
    snapshot: Arc<Snapshot>,
    /// Whether the target is there.
    answers: bool,
}

/// Hands out snapshots.
pub(crate) struct Server {
    /// Absent where there are no snapshots.
    library: Option<Arc<Library>>,
    router: Arc<Router>,
    pace: Pace,
    answers: Semaphore,
    /// Snapshots on their way to other nodes: kept readable until they have arrived. A mutex: entered and left by
    /// transfers, looked into by the compaction and for each answer.
    sending: Mutex<Vec<Sent>>,
}

impl Server {
    pub(crate) fn new(library: Option<Arc<Library>>, router: Arc<Router>, bytes_per_s: u64) -> Server {
        Server {
            library,
            router,
            pace: Pace::new(bytes_per_s),
            answers: Semaphore::new(ANSWERS_MAX),
            sending: Mutex::new(Vec::new()),
        }
    }

    /// The position of the oldest snapshot on its way to a node that is there: the log behind it will be needed.
    pub(crate) fn oldest_sent(&self) -> Option<u64> {
        let sending = self.sending.lock().expect("nothing panics under this lock");
        let there = sending.iter().filter(|sent| sent.answers);
        there.map(|sent| sent.snapshot.index()).min()
    }

    /// Takes a snapshot to a node: offers it again and again until the node has installed it.
    pub(crate) async fn send(
        &self,
        target: NodeId,
        vote: VoteOf<TypeConfig>,
        snapshot: Arc<Snapshot>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tracing::debug!(%target, %snapshot, "offering a snapshot");
        let sending = Sending::enter(self, target, snapshot.clone());
        let offer = encode(&Offer {
            vote,
            head: ByteBuf::from(snapshot.head.encode()),
        });
        let offering = async {
            let (mut seen, mut progress) = (None, Instant::now());
            loop {
                let answer = self
                    .router
                    .ask(
                        target,
                        Lane::Urgent,
                        Kind::SnapshotRequest,
                        offer.clone(),
                        OFFER_TIMEOUT,
                    )
                    .await;
                match answer.map(|answer| decode::<OfferAnswer>(&answer)) {
                    Ok(Ok(OfferAnswer::Done(response))) => return Ok(response),
                    Ok(Ok(OfferAnswer::Failed(reason))) => {
                        let failed = std::io::Error::other(reason);
                        return Err(StreamingError::Network(NetworkError::new(&failed)));
                    }
                    Ok(Ok(OfferAnswer::Receiving(blocks))) => {
                        sending.answered(true);
                        if seen.replace(blocks) != Some(blocks) {
                            progress = Instant::now();
                        }
                    }
                    // Bounded by the other node: it answers, one way or the other.
                    Ok(Ok(OfferAnswer::Installing)) => progress = Instant::now(),
                    Ok(Err(error)) => return Err(StreamingError::Network(NetworkError::new(&error))),
                    // One that never answered is not there: the next attempt is with the newest snapshot.
                    Err(error) if seen.is_none() || progress.elapsed() > SILENT => {
                        return Err(StreamingError::Unreachable(Unreachable::new(&error)));
                    }
                    Err(_) => sending.answered(false),
                }
                if progress.elapsed() > STALLED {
                    let error = std::io::Error::other("no progress");
                    return Err(StreamingError::Unreachable(Unreachable::new(&error)));
                }
                tokio::time::sleep(OFFER_EVERY).await;
            }
        };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            result = offering => result,
        }
    }

    /// The head of a snapshot for a node that has lost its state.
    pub(crate) fn wanted(&self, envelope: &Envelope) -> Option<u64> {
        let Wanted { index } = decode(&envelope.body).ok()?;
        let newest = self.library.as_ref().and_then(|library| library.newest());
        let newest = newest.filter(|newest| newest.index() >= index);
        let missing = newest.is_none().then_some(index);
        let answer = newest.map_or(WantedAnswer::NotYet, |newest| {
            WantedAnswer::Head(ByteBuf::from(newest.head.encode()))
        });
        // The other node asks again.
        let _ = self
            .router
            .answer(envelope, Lane::Command, Kind::SnapshotFound, encode(&answer));
        missing
    }

    /// Answers a question for blocks, when it is their turn.
    pub(crate) fn blocks(self: &Arc<Self>, envelope: Envelope) {
        let Ok(wanted) = decode::<BlocksWanted>(&envelope.body) else {
            return;
        };
        let server = self.clone();
        tokio::spawn(async move {
            // Whoever finds no room asks again.
            let Ok(_permit) = server.answers.try_acquire() else {
                return;
            };
            let answer = server.read(wanted).await;
            let (kind, lane) = (Kind::SnapshotBlocks, Lane::Snapshot);
            let sent = server
                .router
                .send_waiting(envelope.from, lane, kind, envelope.correlation, encode(&answer));
            // An answer that is lost is asked for again.
            let _ = tokio::time::timeout(ROOM_TIMEOUT, sent).await;
        });
    }

    async fn read(&self, wanted: BlocksWanted) -> Blocks {
        let Some(snapshot) = self.find(wanted.id) else {
            return Blocks::Gone;
        };
        let count = wanted.count.min(BLOCKS_MAX);
        self.pace.take(count * BLOCK_BYTES as u64).await;
        let read = tokio::task::spawn_blocking(move || snapshot.head.read_blocks(&snapshot.file, wanted.first, count));
        match read.await {
            Ok(Ok(blocks)) => Blocks::Blocks(ByteBuf::from(blocks)),
            Ok(Err(SnapshotError::Damaged(reason))) => {
                let library = self.library.as_ref();
                if let Some(Err(error)) = library.map(|library| library.discard(wanted.id, &reason)) {
                    tracing::warn!(%error, "a damaged snapshot could not be set aside");
                }
                let mut sending = self.sending.lock().expect("nothing panics under this lock");
                sending.retain(|sent| sent.snapshot.head.id != wanted.id);
                Blocks::Gone
            }
            Ok(Err(error @ (SnapshotError::Io(_) | SnapshotError::OtherBuild(_)))) => {
                tracing::warn!(%error, "a snapshot cannot be read");
                Blocks::Gone
            }
            Err(_) => Blocks::Gone,
        }
    }

    fn find(&self, id: SnapshotId) -> Option<Arc<Snapshot>> {
        let sending = self.sending.lock().expect("nothing panics under this lock");
        let sent = sending.iter().find(|sent| sent.snapshot.head.id == id);
        sent.map(|sent| sent.snapshot.clone())
            .or_else(|| self.library.as_ref()?.find(id))
    }
}

/// Notes that a snapshot is on its way, for as long as it lives.
struct Sending<'a> {
    server: &'a Server,
    target: NodeId,
}

impl Sending<'_> {
    fn enter(server: &Server, target: NodeId, snapshot: Arc<Snapshot>) -> Sending<'_> {
        let mut sending = server.sending.lock().expect("nothing panics under this lock");
        // openraft sends a node one snapshot at a time.
        sending.retain(|sent| sent.target != target);
        sending.push(Sent {
            target,
            snapshot,
            answers: false,
        });
        drop(sending);
        Sending { server, target }
    }

    /// Notes whether the target is there.
    fn answered(&self, answers: bool) {
        let mut sending = self.server.sending.lock().expect("nothing panics under this lock");
        for sent in sending.iter_mut().filter(|sent| sent.target == self.target) {
            sent.answers = answers;
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let mut sending = self.server.sending.lock().expect("nothing panics under this lock");
        sending.retain(|sent| sent.target != self.target);
    }
}

/// Spaces out what is sent.
struct Pace {
    bytes_per_s: u64,
    // A mutex: taken by each answer, held for a sum.
    free_at: Mutex<Instant>,
}

impl Pace {
    fn new(bytes_per_s: u64) -> Pace {
        Pace {
            bytes_per_s,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Returns when so many bytes may be sent.
    async fn take(&self, bytes: u64) {
        let turn = {
            let mut free_at = self.free_at.lock().expect("nothing panics under this lock");
            let turn = (*free_at).max(Instant::now());
            *free_at = turn + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}
