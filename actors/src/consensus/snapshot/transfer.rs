//! The receiving end of a snapshot's way: asks for the blocks one after the other, checks each, and goes on where it was
//! when a link comes back.
//!
//! What arrives goes to a file at once. Two questions of four blocks are under way, so no more than half a mebibyte is in
//! memory, and the lanes that go before that of snapshots are never behind it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::file::{self, BLOCK_BYTES, Head};
use super::serve::{BLOCKS_MAX, Blocks, BlocksWanted, Offer, OfferAnswer};
use super::{Library, Snapshot, SnapshotError, SnapshotId, image};
use crate::body::{decode, encode};
use crate::consensus::machine::Machine;
use crate::consensus::types::TypeConfig;
use crate::router::Router;

/// How many questions for blocks are under way.
const QUESTIONS: usize = 2;
/// How long a question may be without an answer: the pace of the other end may hold it back.
const BLOCKS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(200);
/// For how long a transfer without a single block goes on.
const STALLED: Duration = Duration::from_secs(60);
/// How many questions lie between two syncs of the file.
const SYNC_EVERY: u64 = 32;

/// Why a snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    /// The other end does not have it any more.
    #[error("the other node has the snapshot no more")]
    Gone,
    /// Nothing came for long.
    #[error("no block for {} s", STALLED.as_secs())]
    Stalled,
    /// What came is not a snapshot.
    #[error("what arrived is damaged: {0}")]
    Damaged(String),
    /// The disk.
    #[error("it could not be written")]
    Io(#[from] std::io::Error),
}

impl From<SnapshotError> for TransferError {
    fn from(error: SnapshotError) -> TransferError {
        match error {
            SnapshotError::Io(error) => TransferError::Io(error),
            SnapshotError::Damaged(reason) | SnapshotError::OtherBuild(reason) => TransferError::Damaged(reason),
        }
    }
}

/// A snapshot of which some blocks are here. Its file goes with it, unless it became whole and was kept.
pub(crate) struct Partial {
    head: Head,
    file: File,
    path: PathBuf,
    /// Blocks that are here: all before this one.
    arrived: AtomicU64,
    whole: std::sync::atomic::AtomicBool,
}

impl Partial {
    /// Begins to receive the snapshot with this head.
    pub(crate) fn begin(library: &Library, head: &[u8]) -> Result<Partial, TransferError> {
        let head = Head::decode(head)?;
        let path = library.part(head.id);
        Ok(Partial {
            file: file::create(&path)?,
            head,
            path,
            arrived: AtomicU64::new(0),
            whole: false.into(),
        })
    }

    pub(crate) fn id(&self) -> SnapshotId {
        self.head.id
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.head.file_bytes()
    }

    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Asks `from` for what is missing. Whoever comes back goes on where it was.
    ///
    /// # Errors
    /// [`TransferError`]; what has arrived stays.
    pub(crate) async fn receive(self: &Arc<Self>, router: &Router, from: NodeId) -> Result<(), TransferError> {
        let mut progress = Instant::now();
        while self.arrived() < self.head.blocks() {
            let questions = (self.arrived()..self.head.blocks())
                .step_by(BLOCKS_MAX as usize)
                .map(|first| self.ask(router, from, first));
            let mut answers = futures::stream::iter(questions).buffered(QUESTIONS);
            while let Some(answer) = answers.next().await {
                let Some((first, blocks)) = answer? else { break };
                let partial = self.clone();
                let written = tokio::task::spawn_blocking(move || partial.write(first, &blocks)).await;
                written.map_err(std::io::Error::other)??;
                progress = Instant::now();
            }
            if progress.elapsed() > STALLED {
                return Err(TransferError::Stalled);
            }
            if self.arrived() < self.head.blocks() {
                // The link is down, or an answer was lost.
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// `None` when there was no answer.
    async fn ask(&self, router: &Router, from: NodeId, first: u64) -> Result<Option<(u64, Vec<u8>)>, TransferError> {
        let wanted = BlocksWanted {
            id: self.head.id,
            first,
            count: BLOCKS_MAX,
        };
        let answer = router
            .ask(
                from,
                Lane::Command,
                Kind::SnapshotBlocksWanted,
                encode(&wanted),
                BLOCKS_TIMEOUT,
            )
            .await;
        let Ok(answer) = answer else { return Ok(None) };
        match decode(&answer) {
            Ok(Blocks::Blocks(blocks)) => Ok(Some((first, blocks.into_vec()))),
            Ok(Blocks::Gone) => Err(TransferError::Gone),
            Err(error) => Err(TransferError::Damaged(error.to_string())),
        }
    }

    /// Checks blocks and writes them to their place.
    fn write(&self, first: u64, blocks: &[u8]) -> Result<(), TransferError> {
        let count = blocks.len().div_ceil(BLOCK_BYTES) as u64;
        if first != self.arrived() || count == 0 {
            let arrived = self.arrived();
            return Err(TransferError::Damaged(format!(
                "{count} blocks from {first}, expected from {arrived}"
            )));
        }
        self.head.check_all(first, blocks)?;
        self.head.write_blocks(&self.file, first, blocks)?;
        if first / BLOCKS_MAX % SYNC_EVERY == SYNC_EVERY - 1 {
            self.file.sync_data()?;
        }
        self.arrived.store(first + count, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the file, puts it on disk and reads the state in it. Blocks for as long as that takes.
    pub(crate) fn finish(&self) -> Result<Arc<Snapshot>, TransferError> {
        use std::os::unix::fs::FileExt;
        self.file.write_all_at(&self.head.encode(), 0)?;
        self.file.sync_all()?;
        let file = File::open(&self.path)?;
        let head = Head::read(&file)?;
        let snapshot = Snapshot {
            meta: image::read_meta(&file, head)?,
            file,
            head,
            path: Mutex::new(self.path.clone()),
            colony: Mutex::new(None),
        };
        // Checks every block once more, where it will be read from.
        snapshot.read_ahead()?;
        self.whole.store(true, Ordering::Relaxed);
        Ok(Arc::new(snapshot))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.whole.load(Ordering::Relaxed) {
            // Else it is removed at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Receives the snapshots that leaders offer, one at a time.
pub(crate) struct Receiver {
    raft: Raft<TypeConfig, Machine>,
    router: Arc<Router>,
    library: Arc<Library>,
    // A mutex: offers come from the gateways. Held for a look.
    current: Mutex<Option<Current>>,
}

/// The snapshot that is being received, or was last.
struct Current {
    partial: Arc<Partial>,
    from: NodeId,
    /// What its task says of it.
    state: watch::Receiver<State>,
    /// Whether the leader knows that it failed.
    told: bool,
    task: JoinHandle<()>,
}

enum State {
    Receiving,
    Installing,
    Done(SnapshotResponse<TypeConfig>),
    Failed {
        reason: String,
        /// Whether what has arrived is good.
        resumable: bool,
    },
}

impl Drop for Current {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub(crate) fn new(raft: Raft<TypeConfig, Machine>, router: Arc<Router>, library: Arc<Library>) -> Receiver {
        Receiver {
            raft,
            router,
            library,
            current: Mutex::default(),
        }
    }

    /// Takes an offer, again and again the same while it is carried out, and says how far that is. Does not wait for it.
    pub(crate) fn offered(&self, from: NodeId, offer: &Offer) -> OfferAnswer {
        let own_vote = self.raft.metrics().borrow_watched().vote;
        if offer.vote < own_vote {
            return OfferAnswer::Done(SnapshotResponse::new(own_vote));
        }
        let id = match Head::decode(&offer.head) {
            Ok(head) => head.id,
            Err(error) => return OfferAnswer::Failed(error.to_string()),
        };
        let mut current = self.current.lock().expect("nothing panics under this lock");
        let resumed = match current.as_mut() {
            Some(running) if running.partial.id() == id => match &*running.state.borrow() {
                // Another leader has the same one: what has arrived is good.
                State::Receiving if running.from != from => Some(running.partial.clone()),
                State::Receiving => return OfferAnswer::Receiving(running.partial.arrived()),
                State::Installing => return OfferAnswer::Installing,
                State::Done(response) => return OfferAnswer::Done(response.clone()),
                State::Failed { reason, .. } if !running.told => {
                    running.told = true;
                    return OfferAnswer::Failed(reason.clone());
                }
                State::Failed { resumable, .. } => resumable.then(|| running.partial.clone()),
            },
            Some(running) if matches!(*running.state.borrow(), State::Installing) => return OfferAnswer::Installing,
            _ => None,
        };
        // What was received before goes, unless it is gone on with.
        *current = None;
        let partial = match resumed.map_or_else(|| Partial::begin(&self.library, &offer.head).map(Arc::new), Ok) {
            Ok(partial) => partial,
            Err(error) => return OfferAnswer::Failed(error.to_string()),
        };
        tracing::info!(%from, id = %id, bytes = partial.bytes(), "receiving a snapshot");
        let answer = OfferAnswer::Receiving(partial.arrived());
        let (tell, state) = watch::channel(State::Receiving);
        let task = tokio::spawn(carry_out(
            self.raft.clone(),
            self.router.clone(),
            tell,
            partial.clone(),
            from,
            offer.vote,
        ));
        *current = Some(Current {
            partial,
            from,
            state,
            told: false,
            task,
        });
        answer
    }
}

async fn carry_out(
    raft: Raft<TypeConfig, Machine>,
    router: Arc<Router>,
    state: watch::Sender<State>,
    partial: Arc<Partial>,
    from: NodeId,
    vote: VoteOf<TypeConfig>,
) {
    let bytes = partial.bytes();
    // Also when nobody looks any more.
    let tell = |now: State| drop(state.send_replace(now));
    let arrived = async {
        partial.receive(&router, from).await?;
        tell(State::Installing);
        let finished = tokio::task::spawn_blocking(move || partial.finish()).await;
        finished.map_err(std::io::Error::other)?
    };
    let snapshot = match arrived.await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            tracing::warn!(%from, %error, "a snapshot did not arrive");
            tell(failed(error.to_string(), matches!(error, TransferError::Stalled)));
            return;
        }
    };
    if let Err(problem) = fits(&raft, vote, &snapshot) {
        tracing::warn!(%from, problem, "a snapshot was refused");
        tell(failed(problem.to_owned(), false));
        return;
    }
    let index = snapshot.index();
    let whole = SnapshotOf::<TypeConfig, Arc<Snapshot>> {
        meta: snapshot.meta().clone(),
        snapshot,
    };
    match raft.install_full_snapshot(vote, whole).await {
        Ok(response) => {
            tracing::info!(%from, index, bytes, "a snapshot from a peer was installed");
            tell(State::Done(response));
        }
        Err(error) => tell(failed(error.to_string(), false)),
    }
}

fn failed(reason: String, resumable: bool) -> State {
    State::Failed { reason, resumable }
}

/// What openraft takes for granted, and would panic about.
fn fits(raft: &Raft<TypeConfig, Machine>, vote: VoteOf<TypeConfig>, snapshot: &Snapshot) -> Result<(), &'static str> {
    let Some(last) = snapshot.meta().last_log_id else {
        return Err("it holds no entry");
    };
    if last.leader_id > vote.leader_id {
        return Err("its last entry is of a later leader than the one that sends it");
    }
    let applied = raft.metrics().borrow_watched().last_applied;
    if applied.is_some_and(|applied| last > applied && last.index <= applied.index) {
        return Err("it contradicts what has been applied here");
    }
    Ok(())
}
