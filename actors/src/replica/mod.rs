//! This node's copy of the colony: the state machine under the log. openraft's worker is its only writer; readers take
//! snapshots; the store thread takes what changed.

mod apply;
mod checkpoints;
mod dirty;
mod losses;
mod passes;
mod reservations;
mod revisions;
#[cfg(test)]
mod tests;
mod waiters;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use openraft::type_config::alias::{LogIdOf, StoredMembershipOf, VoteOf};
use queenright_protocol::colony::{
    Answer, Claimable, Colony, Digest, DoorTokens, Epoch, Key, LostTo, Pools, RULES, Record, ReservationId, Serves,
    Session, TokenHash, Wait, WaitId,
};
use queenright_protocol::id::NodeId;
use queenright_protocol::version::Versions;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

pub(crate) use self::apply::Payload;
pub use self::apply::{ApplyCounts, ApplyError};
use self::checkpoints::Checkpoints;
pub(crate) use self::checkpoints::Difference;
pub use self::dirty::{DIRTY_RECORDS_MAX, DIRTY_RECORDS_WANTED};
use self::dirty::{Dirty, EventBlocks};
pub use self::losses::LOSSES_KEPT;
pub(crate) use self::passes::Flushed;
pub use self::passes::RestoreError;
use self::reservations::ReservationWaiters;
use self::revisions::RevisionTable;
use self::waiters::Waiters;
use crate::consensus::types::TypeConfig;
use crate::trace::Journal;

type LogId = LogIdOf<TypeConfig>;
type Membership = StoredMembershipOf<TypeConfig>;

/// The state, and how far the log was applied to it. Changed only under the lock of [`Replica::state`].
struct State {
    colony: Colony,
    last_applied: Option<LogId>,
    membership: Membership,
    dirty: Dirty,
}

/// A reader's view of the state: it does not change, and keeps no writer waiting. Drop it when done: while one is alive
/// each write copies the path that it changes.
#[derive(Debug)]
pub struct Snapshot {
    /// The state.
    pub colony: Colony,
    /// The index of the last log entry applied to it; 0 before the first.
    pub index: u64,
}

/// Takes the outcomes of this node's commands, in order. Set once, when the queen starts.
pub type AnswerSink = Box<dyn Fn(Vec<Answer>) + Send + Sync>;

/// Says the last vote and entry that the log has on disk.
pub(crate) type LogFlushed = Box<dyn Fn() -> Option<(VoteOf<TypeConfig>, Option<LogId>)> + Send + Sync>;

/// Wakes the store thread.
pub type StoreWaker = Box<dyn Fn(bool) + Send + Sync>;

/// This node's copy of the colony.
pub struct Replica {
    me: NodeId,
    /// The versions of the rules that can be applied.
    knows: Versions,
    /// Why no more can be applied.
    unfit: watch::Sender<Option<String>>,
    // A mutex and not an actor: openraft's worker must apply on its own task, and a reader that only wants an O(1) clone
    // must not wait in a mailbox behind rounds. Held for one entry, or for one clone; never across an await.
    state: Mutex<State>,
    /// The state after the last applied entry, once somebody has read it. Put in and taken out under the lock of the state,
    /// and taken out before each change: what stands here is never old, and the next write finds nobody but readers that
    /// shares what it changes.
    published: ArcSwapOption<Snapshot>,
    applied: AtomicU64,
    /// The position of the last applied command, for those who follow events.
    seq: watch::Sender<u64>,
    /// The index of the last applied entry, for those who wait for a position.
    index: watch::Sender<u64>,
    /// The present epoch.
    epoch: watch::Sender<Option<Epoch>>,
    /// Cluster time of the last entry, and when this node saw it.
    clock: Mutex<(u64, Instant)>,
    revisions: RevisionTable,
    waiters: Waiters<(String, Key)>,
    reservation_waiters: ReservationWaiters,
    /// The callers of this node whose claims wait.
    claims: Waiters<(Arc<str>, WaitId)>,
    counts: Mutex<ApplyCounts>,
    /// The proposals that lost of late. A mutex: noted by the writer and the queen, read by those who look on. Held for one
    /// copy.
    losses: Mutex<VecDeque<LostTo>>,
    answers: OnceLock<AnswerSink>,
    wake_store: OnceLock<StoreWaker>,
    /// Asked for the last vote and entry that the log has on disk.
    log_flushed: OnceLock<LogFlushed>,
    /// What the store said of it when this copy was read.
    flushed_before: Option<Flushed>,
    blocks: Mutex<EventBlocks>,
    // A mutex: noted by the writer, read by the queen and by those who compare. Held for one look-up.
    checkpoints: Mutex<Checkpoints>,
    /// Where this replica differs from what a leader has logged.
    difference: watch::Sender<Option<Difference>>,
    /// The tokens of doors, which are asked for with every request: no snapshot is taken for that.
    door_tokens: ArcSwap<DoorTokens>,
    /// The pools, for those who carry them out.
    pools: watch::Sender<Pools>,
    /// What the store has not taken yet, in steps of [`dirty::BACKLOG_STEP`].
    backlog: watch::Sender<usize>,
    /// When the rounds of the last moments were here.
    journal: Journal,
}

impl Replica {
    /// An empty copy, for the node `me`.
    pub fn new(me: NodeId) -> Arc<Replica> {
        Replica::with(
            me,
            Colony::default(),
            None,
            Membership::default(),
            EventBlocks::default(),
            None,
        )
    }

    /// An empty copy as another build would have it, which knows these rules.
    #[cfg(test)]
    pub(crate) fn knowing(me: NodeId, knows: Versions) -> Arc<Replica> {
        let mut replica = Replica::new(me);
        Arc::get_mut(&mut replica).expect("it was just made").knows = knows;
        replica
    }

    fn with(
        me: NodeId,
        colony: Colony,
        last_applied: Option<LogId>,
        membership: Membership,
        blocks: EventBlocks,
        flushed_before: Option<Flushed>,
    ) -> Arc<Replica> {
        let applied = last_applied.as_ref().map_or(0, |id| id.index);
        let revisions = RevisionTable::default();
        revisions.fill(&colony);
        Arc::new(Replica {
            me,
            knows: RULES,
            unfit: watch::Sender::new(None),
            door_tokens: ArcSwap::from_pointee(colony.door_tokens().clone()),
            pools: watch::Sender::new(colony.pools().clone()),
            applied: AtomicU64::new(applied),
            seq: watch::Sender::new(colony.seq()),
            index: watch::Sender::new(applied),
            epoch: watch::Sender::new(colony.epoch().cloned()),
            clock: Mutex::new((colony.cluster_ms(), Instant::now())),
            state: Mutex::new(State {
                colony,
                last_applied,
                membership,
                dirty: Dirty::default(),
            }),
            published: ArcSwapOption::empty(),
            revisions,
            waiters: Waiters::default(),
            reservation_waiters: ReservationWaiters::default(),
            claims: Waiters::default(),
            counts: Mutex::new(ApplyCounts::default()),
            losses: Mutex::default(),
            answers: OnceLock::new(),
            wake_store: OnceLock::new(),
            log_flushed: OnceLock::new(),
            flushed_before,
            blocks: Mutex::new(blocks),
            checkpoints: Mutex::new(Checkpoints::default()),
            difference: watch::Sender::new(None),
            backlog: watch::Sender::new(0),
            journal: Journal::default(),
        })
    }

    /// When the rounds of the last moments were here.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Says where the outcomes of this node's commands go.
    ///
    /// # Panics
    /// When it was said before.
    pub fn answer_to(&self, sink: AnswerSink) {
        assert!(self.answers.set(sink).is_ok(), "a node has one queen");
    }

    /// Says how the store thread is woken: with `true` when so much is dirty that it should not wait for more.
    ///
    /// # Panics
    /// When it was said before.
    pub fn wake_store_by(&self, wake: StoreWaker) {
        assert!(self.wake_store.set(wake).is_ok(), "a node has one store");
    }

    /// Says who knows what the log has on disk.
    ///
    /// # Panics
    /// When it was said before.
    pub(crate) fn log_is_flushed_by(&self, log_flushed: LogFlushed) {
        assert!(self.log_flushed.set(log_flushed).is_ok(), "a node has one log");
    }

    /// What the log had on disk when the store that this copy was read from was written.
    pub(crate) fn flushed_before(&self) -> Option<Flushed> {
        self.flushed_before
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("apply does not panic while it holds the state")
    }

    /// The state after the last applied entry. The first reader after an entry clones the state, under its lock; all others
    /// wait for nobody.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        if let Some(snapshot) = self.published.load_full() {
            return snapshot;
        }
        let state = self.state();
        // Another reader may have been faster.
        if let Some(snapshot) = self.published.load_full() {
            return snapshot;
        }
        let snapshot = Arc::new(Snapshot {
            colony: state.colony.clone(),
            index: state.last_applied.as_ref().map_or(0, |id| id.index),
        });
        self.published.store(Some(snapshot.clone()));
        snapshot
    }

    /// Takes the published snapshot out, because the state is about to change.
    fn unpublish(&self, _: &MutexGuard<'_, State>) -> Option<Arc<Snapshot>> {
        // Where nobody reads there is none, and a look costs less than a swap.
        self.published.load().as_ref()?;
        self.published.swap(None)
    }

    /// The tokens that let callers in at this node's door.
    pub fn door_tokens(&self) -> Arc<DoorTokens> {
        self.door_tokens.load_full()
    }

    /// The version of the rules in force.
    pub(crate) fn rules_version(&self) -> u32 {
        self.state().colony.rules_version()
    }

    /// Why no more of the log can be applied here: it holds what this build does not know.
    pub(crate) fn unfit(&self) -> Option<String> {
        self.unfit.borrow().clone()
    }

    /// The index of the last applied entry; 0 before the first.
    pub fn applied_index(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Returns when the entry `index` has been applied here.
    pub async fn wait_applied(&self, index: u64) {
        let mut watch = self.index.subscribe();
        // The sender lives as long as this replica, so waiting cannot fail.
        let _ = watch.wait_for(|applied| *applied >= index).await;
    }

    /// Follows the index of the last applied entry.
    pub(crate) fn follow_index(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }

    /// Follows the position of the last applied command.
    pub fn follow_seq(&self) -> watch::Receiver<u64> {
        self.seq.subscribe()
    }

    /// Follows the present epoch.
    pub(crate) fn follow_epoch(&self) -> watch::Receiver<Option<Epoch>> {
        self.epoch.subscribe()
    }

    /// Follows the pools.
    pub(crate) fn follow_pools(&self) -> watch::Receiver<Pools> {
        self.pools.subscribe()
    }

    /// How many tasks agents of each pool could claim now. No snapshot is taken for that.
    pub(crate) fn ready_for(&self, pools: &Pools) -> BTreeMap<Arc<str>, u64> {
        let state = self.state();
        let ready = pools
            .iter()
            .map(|(name, pool)| (name.clone(), state.colony.ready_for(&pool.settings)));
        ready.collect()
    }

    /// The position, the last applied index and the digest, all of one state.
    pub fn digest(&self) -> (u64, u64, Digest) {
        let snapshot = self.snapshot();
        (snapshot.colony.seq(), snapshot.index, snapshot.colony.digest())
    }

    /// The best that this node knows of cluster time, in milliseconds: that of the last entry, plus the time since. Not
    /// exact while there is no leader; good for giving commands a time to live.
    pub fn cluster_ms_estimate(&self) -> u64 {
        let (cluster_ms, seen) = *self.clock.lock().expect("nothing panics under this lock");
        cluster_ms + seen.elapsed().as_millis() as u64
    }

    /// Counts of what was applied since this node started.
    pub fn counts(&self) -> ApplyCounts {
        self.counts.lock().expect("nothing panics under this lock").clone()
    }

    /// The record of `key`, if this node has already seen a revision of it that is higher than `revision`: then a proposal
    /// that read that one has lost, and need not burden the log.
    pub fn newer_record(&self, project: &str, key: &str, revision: u64) -> Option<Arc<Record>> {
        // The table may confuse keys; the state does not.
        if !self.revisions.may_exceed(project, key, revision) {
            return None;
        }
        let state = self.state();
        let found = state.colony.project(project)?.memory().record(key)?;
        (found.revision > revision).then(|| found.clone())
    }

    /// Returns the revision of `key` when it is at least `revision`: at once, or when the change is applied.
    pub fn wait_revision(&self, project: &str, key: &Key, revision: u64) -> oneshot::Receiver<u64> {
        let receiver = self.waiters.register((project.to_string(), key.clone()), revision);
        // Looked up after registering: a change in between finds the waiter, one before is found here.
        self.waiters.changed(self.current_revision(project, key), || {
            (project.to_string(), key.clone())
        });
        receiver
    }

    /// Completes when a reservation no longer waits: at once, or when it is granted or goes here.
    pub fn wait_reservation(&self, project: &str, reservation: ReservationId) -> oneshot::Receiver<()> {
        let receiver = self.reservation_waiters.register(project, reservation);
        // Looked up after registering: a change in between finds the caller, one before is found here.
        self.wake_if_settled(project, reservation);
        receiver
    }

    fn wake_if_settled(&self, project: &str, reservation: ReservationId) {
        let waits = {
            let state = self.state();
            let project = state.colony.project(project);
            let found = project.and_then(|project| project.reservations().get(reservation));
            found.is_some_and(|found| found.is_waiting())
        };
        if !waits {
            self.reservation_waiters.wake(project, reservation);
        }
    }

    /// Returns once a claim does not wait any more: what it was offered, or `None` if that is nothing, or over.
    pub async fn wait_offer(&self, project: &Arc<str>, id: WaitId) -> Option<Arc<Wait>> {
        loop {
            // Looked up after registering: what happens in between finds the waiter.
            let changed = self.claims.register((project.clone(), id), 0);
            let found = {
                let state = self.state();
                let tasks = state.colony.project(project).map(|project| project.tasks());
                tasks.and_then(|tasks| tasks.wait(id)).cloned()
            };
            match found {
                Some(wait) if wait.is_waiting() => {}
                over => return over,
            }
            // An error says that this replica is gone, and with it who waits.
            let _ = changed.await;
        }
    }

    /// What a worker could claim, by this node's copy, at a cluster time.
    pub(crate) fn claimable(&self, serves: &Serves, cluster_ms: u64, most: usize) -> Claimable {
        self.state().colony.claimable(serves, cluster_ms, most)
    }

    fn current_revision(&self, project: &str, key: &str) -> u64 {
        let state = self.state();
        state
            .colony
            .project(project)
            .map_or(0, |project| project.memory().revision(key))
    }

    /// Cluster time at which a round is due although nobody commands anything, and whether nodes other than `me` have
    /// agents.
    pub(crate) fn due(&self, me: NodeId) -> (Option<u64>, bool) {
        let state = self.state();
        let agents = state.colony.agents();
        let owners = agents.nodes().chain(state.colony.sessions().homes());
        let mut owners = owners.chain(agents.nodes_of_waits());
        (state.colony.due_ms(), owners.any(|node| node != me))
    }

    /// Those of the nodes that have agents or sessions that live, or claims that wait, each with its newest start.
    pub(crate) fn with_agents(&self, nodes: &[NodeId]) -> Vec<(NodeId, u64)> {
        let state = self.state();
        let (agents, sessions) = (state.colony.agents(), state.colony.sessions());
        let mut found = Vec::new();
        for node in nodes.iter().filter(|node| {
            agents.any_live(**node) || sessions.any_at(**node) || agents.waits_at(**node).next().is_some()
        }) {
            found.push((*node, state.colony.dedup().incarnation(*node).unwrap_or_default()));
        }
        found
    }

    /// Whether open sessions live on a node.
    pub(crate) fn has_sessions(&self, node: NodeId) -> bool {
        self.state().colony.sessions().count_at(node) > 0
    }

    /// The session of a project that has this token, and until when it has a grace, if it has one.
    pub(crate) fn session_of(&self, project: &Arc<str>, token: TokenHash) -> Option<(Arc<Session>, Option<u64>)> {
        let state = self.state();
        let sessions = state.colony.sessions();
        let session = sessions.of_token(project, token)?;
        Some((session.clone(), sessions.grace_ms(session)))
    }

    /// How far the log was applied, and the members as of then.
    pub(crate) fn position(&self) -> (Option<LogId>, Membership) {
        let state = self.state();
        (state.last_applied, state.membership.clone())
    }

    /// The whole state with its position, all of one moment.
    pub(crate) fn whole(&self) -> (Colony, Option<LogId>, Membership) {
        let state = self.state();
        (state.colony.clone(), state.last_applied, state.membership.clone())
    }

    /// Replaces everything by what a snapshot holds. Takes time with the size of the state, but others wait for the swap
    /// alone. Nothing may be applied meanwhile.
    pub(crate) fn install(&self, colony: Colony, last_applied: Option<LogId>, membership: Membership) {
        let index = last_applied.as_ref().map_or(0, |id| id.index);
        self.revisions.fill(&colony);
        self.door_tokens.store(Arc::new(colony.door_tokens().clone()));
        self.pools.send_replace(colony.pools().clone());
        *self.clock.lock().expect("nothing panics under this lock") = (colony.cluster_ms(), Instant::now());
        let (seq, epoch) = (colony.seq(), colony.epoch().cloned());
        let old = self.state().colony.clone();
        let replacement = Dirty::replacement(&old, &colony);
        let swapped = {
            let mut state = self.state();
            let published = self.unpublish(&state);
            state.dirty.replace(replacement);
            let swapped = std::mem::replace(&mut state.colony, colony);
            state.last_applied = last_applied;
            state.membership = membership;
            self.applied.store(index, Ordering::Release);
            (published, swapped)
        };
        // Freeing a large state takes time: not under the lock.
        drop((old, swapped));
        for (project, key) in self.waiters.keys() {
            let revision = self.current_revision(&project, &key);
            self.waiters.changed(revision, || (project, key));
        }
        for claim in self.claims.keys() {
            self.claims.changed(0, || claim);
        }
        for (project, reservation) in self.reservation_waiters.all() {
            self.wake_if_settled(&project, reservation);
        }
        self.seq.send_replace(seq);
        self.epoch.send_replace(epoch);
        self.index.send_replace(index);
        self.wake_store(self.dirty_records());
    }
}
