//! The simulated disk of a node, and the log of consensus on it: in memory, with a sync that takes time, and with nothing
//! but what was synced, and by chance a part of what was under way, after a crash.
//!
//! Like the real log (`consensus::log`): one stream of writes in the order in which openraft asks for them; at most one
//! sync is under way, and what is written meanwhile rides in the next one.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{LogState, OptionalSend, RaftLogReader};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::trace::Trace;
use crate::consensus::types::TypeConfig;

type Entry = EntryOf<TypeConfig>;
type LogId = LogIdOf<TypeConfig>;
type Vote = VoteOf<TypeConfig>;

/// A bug that is planted in the disk, to prove that the invariants see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Planted {
    /// None.
    #[default]
    Nothing,
    /// An append is reported as synced when it is in memory.
    AcknowledgeBeforeSync,
    /// The vote is in memory alone.
    ForgetVote,
}

/// The disk of one node; outlives its crashes. Clones share it.
#[derive(Clone)]
pub(super) struct Disk {
    state: Arc<Mutex<State>>,
    me: usize,
    trace: Trace,
}

struct State {
    random: StdRng,
    planted: Planted,
    /// How long a sync takes, at least and at most.
    sync_ms: (u64, u64),
    durable: Image,
    /// What the running node sees: `durable` and all of `writes`.
    memory: Image,
    /// Not synced, in order.
    writes: VecDeque<Write>,
    /// How many of `writes` the sync under way covers.
    syncing: Option<usize>,
    /// Who waits for which of `writes`: those that have this many or more of them synced.
    waiting: VecDeque<(u64, IOFlushed<TypeConfig>)>,
    written: u64,
    synced: u64,
    /// What openraft has committed here since the last look, with the entry as it stands in the log.
    committed: Vec<Entry>,
}

/// What a disk holds.
#[derive(Clone, Debug, Default)]
struct Image {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
enum Write {
    Vote(Vote),
    Committed(LogId),
    Append(Entry),
    /// Everything from this index on goes.
    Truncate(u64),
    Purge(LogId),
}

impl Image {
    fn take(&mut self, write: Write) {
        match write {
            Write::Vote(vote) => self.vote = Some(vote),
            Write::Committed(committed) => self.committed = Some(committed),
            Write::Append(entry) => {
                let last = self.entries.last_key_value().map(|(index, _)| *index);
                let next = last.or(self.purged.map(|id| id.index)).map_or(0, |last| last + 1);
                assert_eq!(entry.log_id.index, next, "a hole in the log");
                self.entries.insert(entry.log_id.index, entry);
            }
            Write::Truncate(from) => drop(self.entries.split_off(&from)),
            Write::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = Some(upto);
            }
        }
    }
}

impl Write {
    fn copy(&self) -> Write {
        match self {
            Write::Vote(vote) => Write::Vote(*vote),
            Write::Committed(committed) => Write::Committed(*committed),
            Write::Append(entry) => Write::Append(entry.clone()),
            Write::Truncate(from) => Write::Truncate(*from),
            Write::Purge(upto) => Write::Purge(*upto),
        }
    }
}

impl Disk {
    pub(super) fn new(me: usize, seed: u64, planted: Planted, trace: Trace) -> Disk {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            planted,
            sync_ms: (0, 0),
            durable: Image::default(),
            memory: Image::default(),
            writes: VecDeque::new(),
            syncing: None,
            waiting: VecDeque::new(),
            written: 0,
            synced: 0,
            committed: Vec::new(),
        };
        Disk {
            state: Arc::new(Mutex::new(state)),
            me,
            trace,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    /// From now on a sync takes this long, at least and at most.
    pub(super) fn set_sync_ms(&self, sync_ms: (u64, u64)) {
        self.state().sync_ms = sync_ms;
    }

    /// The node has crashed: what was synced is left, and by chance a part of what was written after it.
    pub(super) fn crash(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        let left = state.random.random_range(0..=state.writes.len());
        let before = state.durable.vote;
        for write in state.writes.drain(..).take(left) {
            state.durable.take(write);
        }
        if state.planted == Planted::ForgetVote {
            state.durable.vote = before;
        }
        state.memory = state.durable.clone();
        state.syncing = None;
        let waiting = std::mem::take(&mut state.waiting);
        (state.written, state.synced) = (0, 0);
        state.committed.clear();
        let last = state.memory.entries.last_key_value().map(|(index, _)| *index);
        drop(guard);
        drop(waiting);
        self.trace.note(format_args!(
            "n{} keeps {left} unsynced writes, its log ends at {last:?}",
            self.me + 1
        ));
    }

    /// What openraft has committed here since the last call.
    pub(super) fn take_committed(&self) -> Vec<Entry> {
        std::mem::take(&mut self.state().committed)
    }

    /// The index of the last entry.
    pub(super) fn last_index(&self) -> Option<u64> {
        self.state().memory.entries.last_key_value().map(|(index, _)| *index)
    }

    /// Whether nothing was ever written.
    pub(super) fn is_blank(&self) -> bool {
        let state = self.state();
        state.memory.vote.is_none() && state.memory.entries.is_empty()
    }

    fn write(&self, state: &mut State, write: Write) {
        if state.planted == Planted::ForgetVote
            && let Write::Vote(vote) = write
        {
            state.memory.vote = Some(vote);
            return;
        }
        state.memory.take(write.copy());
        state.writes.push_back(write);
        state.written += 1;
    }

    /// Lets `callback` wait for everything written so far, and starts a sync unless one is under way.
    fn sync(&self, state: &mut State, callback: IOFlushed<TypeConfig>) {
        state.waiting.push_back((state.written, callback));
        self.start_sync(state);
    }

    fn start_sync(&self, state: &mut State) {
        if state.waiting.is_empty() || state.syncing.is_some() {
            return;
        }
        state.syncing = Some(state.writes.len());
        let (least, most) = state.sync_ms;
        let sync_ms = state.random.random_range(least..=most);
        let disk = self.clone();
        // Dies with the node, as the sync of a crashed one does.
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(sync_ms)).await;
            disk.synced();
        });
    }

    fn synced(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        let count = state.syncing.take().expect("a sync is under way");
        for write in state.writes.drain(..count) {
            state.durable.take(write);
        }
        state.synced += count as u64;
        let mut done = Vec::new();
        while let Some((upto, _)) = state.waiting.front()
            && *upto <= state.synced
        {
            done.extend(state.waiting.pop_front().map(|(_, callback)| callback));
        }
        self.start_sync(state);
        drop(guard);
        self.trace.note(format_args!("n{} synced {count} writes", self.me + 1));
        done.into_iter().for_each(|callback| callback.io_completed(Ok(())));
    }
}

impl RaftLogReader<TypeConfig> for Disk {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        if let (Bound::Included(from), Bound::Excluded(to)) = (range.start_bound(), range.end_bound())
            && from >= to
        {
            return Ok(Vec::new());
        }
        let state = self.state();
        Ok(state
            .memory
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.state().memory.vote)
    }
}

impl RaftLogStorage<TypeConfig> for Disk {
    type LogReader = Disk;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.state();
        let last = state.memory.entries.last_key_value();
        Ok(LogState {
            last_purged_log_id: state.memory.purged,
            last_log_id: last.map(|(_, entry)| entry.log_id()).or(state.memory.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Disk {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (tx, synced) = TypeConfig::oneshot();
        {
            let mut state = self.state();
            self.trace.note(format_args!("n{} votes {vote}", self.me + 1));
            self.write(&mut state, Write::Vote(*vote));
            self.sync(&mut state, IOFlushed::signal(tx));
        }
        synced
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the disk is gone")))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut state = self.state();
        let Some(committed) = committed else { return Ok(()) };
        let from = state.memory.committed.map_or(0, |before| before.index + 1);
        if committed.index < from {
            return Ok(());
        }
        let entries: Vec<Entry> = state
            .memory
            .entries
            .range(from..=committed.index)
            .map(|(_, entry)| entry.clone())
            .collect();
        state.committed.extend(entries);
        self.write(&mut state, Write::Committed(committed));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.state().memory.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state();
        for entry in entries {
            self.write(&mut state, Write::Append(entry));
        }
        if state.planted == Planted::AcknowledgeBeforeSync {
            self.sync(&mut state, IOFlushed::noop());
            drop(state);
            callback.io_completed(Ok(()));
        } else {
            self.sync(&mut state, callback);
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let mut state = self.state();
        let from = last_log_id.map_or(0, |id| id.index + 1);
        self.trace.note(format_args!("n{} truncates from {from}", self.me + 1));
        self.write(&mut state, Write::Truncate(from));
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let mut state = self.state();
        self.write(&mut state, Write::Purge(log_id));
        self.sync(&mut state, IOFlushed::noop());
        Ok(())
    }
}
