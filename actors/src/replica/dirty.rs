//! What changed since the last pass of the store: a set and not a stream, so that a key that is overwritten many times
//! between two passes is written once.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use queenright_protocol::colony::{
    AccountName, Applied, Colony, ContentHash, Cursor, Event, HOLD_BYTES_MAX, Key, LifeKey, POOL_ARGUMENTS_BYTES_MAX,
    Pair, ReservationId, SessionId, TaskId, WaitId, account_key, account_pair, content_pair, event_pair, hold_key,
    hold_pair, life_key, life_pair, pool_key, pool_pair, queue_key, queue_pair, rate_key, rate_pair, record_key,
    record_pair, remembered_key, remembered_pair, reservation_key, reservation_pair, reservation_settings_key,
    reservation_settings_pair, session_key, session_pair, task_key, task_pair, wait_key, wait_pair,
};

/// How many changed records may wait for the store before applying waits for it.
pub const DIRTY_RECORDS_MAX: usize = 1 << 16;
/// In which steps it is told how many records are changed.
pub(super) const BACKLOG_STEP: usize = 1 << 12;
/// How many changed records let the store write its pass at once. What sled keeps in memory while it writes a pass is
/// some 9 KB for each (see [`Pass`](crate::store::Pass)).
pub const DIRTY_RECORDS_WANTED: usize = 1 << 14;
/// How many events count like one record: they are stored many in a pair, and cost next to nothing there.
const EVENTS_PER_RECORD: usize = 8;
/// How many changes one pass of a replaced state has at most, and how many bytes of values: what sled keeps in memory
/// for a batch grows with both (see `store::Pass`).
const PART_CHANGES_MAX: usize = 8 << 10;
const PART_BYTES_MAX: usize = 16 << 20;
/// What a task or a reservation counts for among them: its text is not looked at.
const TASK_BYTES: usize = 4 << 10;
/// How many events stand in one pair of the store.
const EVENTS_PER_PAIR: usize = 256;

type Name = Arc<str>;

/// The changed set.
#[derive(Default)]
pub(crate) struct Dirty {
    records: HashSet<(Name, Key)>,
    contents: HashSet<(Name, ContentHash)>,
    remembered: HashSet<(Name, Arc<str>)>,
    tasks: HashSet<(Name, TaskId)>,
    holds: HashSet<(Name, u64)>,
    queues: HashSet<(Name, Name)>,
    rates: HashSet<(Name, Name)>,
    accounts: HashSet<(Name, AccountName)>,
    pools: HashSet<Name>,
    reservations: HashSet<(Name, ReservationId)>,
    /// The projects whose settings of reservations have changed.
    settings: HashSet<Name>,
    waits: HashSet<(Name, WaitId)>,
    lives: HashSet<LifeKey>,
    sessions: HashSet<(Name, SessionId)>,
    events: Vec<(Name, Arc<Event>)>,
    /// Whether a snapshot replaced the state: then all pairs of events that the store holds are to go.
    replaced: bool,
    /// The other pairs of an earlier state that are to go, after a snapshot replaced it.
    removed: Vec<Vec<u8>>,
    /// Whether the store is on its way from a state that a snapshot replaced: it holds a mixture until nothing is left.
    replacing: bool,
    /// How much a snapshot brought at once: nobody waits for that.
    brought: usize,
    /// The index at which the last pass was taken.
    taken: u64,
}

impl Dirty {
    pub(crate) fn note(&mut self, applied: &Applied) {
        let records = applied.records.iter();
        self.records
            .extend(records.map(|(project, key, _)| (project.clone(), key.clone())));
        self.records.extend(applied.removed.iter().cloned());
        self.contents.extend(applied.contents.iter().cloned());
        self.remembered.extend(applied.remembered.iter().cloned());
        self.tasks.extend(applied.tasks.iter().cloned());
        self.holds.extend(applied.holds.iter().cloned());
        self.queues.extend(applied.queues.iter().cloned());
        self.rates.extend(applied.rates.iter().cloned());
        self.accounts.extend(applied.accounts.iter().cloned());
        self.pools.extend(applied.pools.iter().cloned());
        self.reservations.extend(applied.reservations.iter().cloned());
        self.settings.extend(applied.reservation_settings.iter().cloned());
        self.waits.extend(applied.waits.iter().cloned());
        self.lives.extend(applied.agents.iter().copied());
        self.sessions.extend(applied.sessions.iter().cloned());
        self.events.extend(applied.events.iter().cloned());
    }

    /// How many records have changed beside those that a snapshot brought: the greater number.
    pub(crate) fn len(&self) -> usize {
        let sets = [
            self.records.len(),
            self.tasks.len(),
            self.holds.len(),
            self.reservations.len(),
            self.waits.len(),
            self.lives.len(),
            self.sessions.len(),
            self.events.len() / EVENTS_PER_RECORD,
        ];
        let most = sets.into_iter().max().unwrap_or_default();
        most.saturating_sub(self.brought)
    }

    /// Whether the store already holds the state at `index`.
    pub(crate) fn is_clean(&self, index: u64) -> bool {
        self.taken == index && !self.replacing
    }

    /// Whether what is left is to be written in parts, the store being a mixture until the last one.
    pub(crate) fn is_in_parts(&self) -> bool {
        let of_memory = self.records.len() + self.contents.len() + self.remembered.len();
        let of_tasks = self.tasks.len() + self.queues.len() + self.rates.len() + self.waits.len();
        let held = of_tasks + self.accounts.len() + self.reservations.len() + self.settings.len();
        let owners = self.lives.len() + self.sessions.len() + self.holds.len() + self.pools.len();
        self.replacing && self.removed.len() + of_memory + held + owners + self.events.len() > 0
    }

    pub(crate) fn take(&mut self, index: u64) -> Dirty {
        std::mem::replace(
            self,
            Dirty {
                taken: index,
                ..Dirty::default()
            },
        )
    }

    /// Takes a part of what a snapshot brought, and of what has changed since: what goes before what comes.
    pub(crate) fn take_part(&mut self, colony: &Colony) -> Dirty {
        let mut part = Dirty {
            replaced: std::mem::take(&mut self.replaced),
            ..Dirty::default()
        };
        if !self.removed.is_empty() {
            let rest = self.removed.len().saturating_sub(PART_CHANGES_MAX);
            part.removed = self.removed.split_off(rest);
            return part;
        }
        let mut room = Room::default();
        part.contents = room.fill(&mut self.contents, |(name, hash)| {
            let project = colony.remains(name);
            let kept = project.and_then(|project| project.memory().content(hash));
            kept.map_or(0, |kept| kept.bytes.len())
        });
        part.records = room.fill(&mut self.records, |(name, key)| {
            let project = colony.remains(name);
            let record = project.and_then(|project| project.memory().record(key));
            let value = record.and_then(|record| record.value.as_ref());
            value
                .filter(|value| !value.is_kept())
                .map_or(0, |value| value.bytes.len())
        });
        part.remembered = room.fill(&mut self.remembered, |_| 0);
        part.holds = room.fill(&mut self.holds, |_| HOLD_BYTES_MAX);
        part.lives = room.fill(&mut self.lives, |_| 0);
        part.sessions = room.fill(&mut self.sessions, |_| 0);
        part.pools = room.fill(&mut self.pools, |_| POOL_ARGUMENTS_BYTES_MAX);
        part.queues = room.fill(&mut self.queues, |_| TASK_BYTES);
        part.rates = room.fill(&mut self.rates, |_| 0);
        part.accounts = room.fill(&mut self.accounts, |_| 0);
        part.tasks = room.fill(&mut self.tasks, |_| TASK_BYTES);
        part.reservations = room.fill(&mut self.reservations, |_| TASK_BYTES);
        part.settings = room.fill(&mut self.settings, |_| TASK_BYTES);
        part.waits = room.fill(&mut self.waits, |_| TASK_BYTES);
        let events = self.events.len().min(room.changes * EVENTS_PER_PAIR);
        part.events = self.events.drain(..events).collect();
        part
    }

    /// Everything changes: the pairs of `old` go, those of `new` come. Takes time with their number.
    pub(crate) fn replacement(old: &Colony, new: &Colony) -> Dirty {
        let mut dirty = Dirty {
            replaced: true,
            replacing: true,
            removed: old.pair_keys().collect(),
            ..Dirty::default()
        };
        dirty.lives.extend(new.agents().lives().map(|(key, _)| *key));
        dirty.pools.extend(new.pools().iter().map(|(name, _)| name.clone()));
        let sessions = new.sessions().all();
        dirty
            .sessions
            .extend(sessions.map(|session| (session.project.clone(), session.id)));
        for (name, project) in new.projects() {
            let tasks = project.tasks().after(None);
            dirty.tasks.extend(tasks.map(|task| (name.clone(), task.id)));
            let holds = project.holds().iter();
            dirty.holds.extend(holds.map(|(seq, _)| (name.clone(), seq)));
            let queues = project.tasks().queues();
            dirty
                .queues
                .extend(queues.map(|(queue, _)| (name.clone(), queue.clone())));
            let rates = project.rates().iter();
            dirty.rates.extend(rates.map(|(rate, _)| (name.clone(), rate.clone())));
            let accounts = project.accounts().iter();
            dirty
                .accounts
                .extend(accounts.map(|(account, _)| (name.clone(), account.clone())));
            let reservations = project.reservations().after(None);
            let reservations = reservations.map(|reservation| (name.clone(), reservation.id));
            dirty.reservations.extend(reservations);
            dirty.settings.insert(name.clone());
            let waits = project.tasks().waits();
            dirty.waits.extend(waits.map(|(id, _)| (name.clone(), id)));
            for (key, record) in project.memory().range("", None) {
                dirty.records.insert((name.clone(), key.clone()));
                if let Some(value) = record.value.as_ref().filter(|value| value.is_kept()) {
                    dirty.contents.insert((name.clone(), value.hash));
                }
            }
            dirty
                .remembered
                .extend(project.remembered_keys().map(|key| (name.clone(), key.clone())));
            let after = project.events().dropped().unwrap_or_default();
            let events = project.events().after(after).into_iter().flatten();
            dirty.events.extend(events.map(|event| (name.clone(), event.clone())));
        }
        dirty.brought = dirty.len();
        dirty
    }

    /// Puts a replacement in the place of what had changed before it.
    pub(crate) fn replace(&mut self, replacement: Dirty) {
        let before = std::mem::replace(self, replacement);
        self.removed.extend(before.removed);
        // What went since the last pass is no longer in the old state, but still in the store.
        let records = before.records.iter();
        self.removed.extend(records.map(|(name, key)| record_key(name, key)));
        let contents = before.contents.iter();
        self.removed
            .extend(contents.map(|(name, hash)| content_pair(name, hash, None).0));
        let remembered = before.remembered.iter();
        self.removed
            .extend(remembered.map(|(name, key)| remembered_key(name, key)));
        let tasks = before.tasks.iter();
        self.removed.extend(tasks.map(|(name, task)| task_key(name, *task)));
        let holds = before.holds.iter();
        self.removed.extend(holds.map(|(name, seq)| hold_key(name, *seq)));
        let queues = before.queues.iter();
        self.removed.extend(queues.map(|(name, queue)| queue_key(name, queue)));
        let rates = before.rates.iter();
        self.removed.extend(rates.map(|(name, rate)| rate_key(name, rate)));
        let accounts = before.accounts.iter();
        self.removed
            .extend(accounts.map(|(name, account)| account_key(name, account)));
        let reservations = before.reservations.iter();
        self.removed
            .extend(reservations.map(|(name, reservation)| reservation_key(name, *reservation)));
        self.removed
            .extend(before.settings.iter().map(|name| reservation_settings_key(name)));
        let waits = before.waits.iter();
        self.removed.extend(waits.map(|(name, id)| wait_key(name, *id)));
        self.removed.extend(before.lives.iter().map(life_key));
        self.removed.extend(before.pools.iter().map(|name| pool_key(name)));
        let sessions = before.sessions.iter();
        self.removed
            .extend(sessions.map(|(name, session)| session_key(name, *session)));
    }

    /// The changes of the store that bring it to `colony`.
    pub(crate) fn into_changes(self, colony: &Colony, blocks: &mut EventBlocks) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        // A later change of the same key in one batch wins, so what is removed comes first.
        let mut changes: Vec<_> = self.removed.into_iter().map(|key| (key, None)).collect();
        if self.replaced {
            blocks.remove_all(&mut changes);
        }
        for (name, key) in &self.records {
            let record = colony.remains(name).and_then(|project| project.memory().record(key));
            changes.push(match record {
                Some(record) => some(record_pair(name, key, record)),
                // It went with its project.
                None => (record_key(name, key), None),
            });
        }
        for (name, hash) in &self.contents {
            let kept = colony.remains(name).and_then(|project| project.memory().content(hash));
            changes.push(content_pair(name, hash, kept.map(|kept| &kept.bytes)));
        }
        for (name, key) in &self.remembered {
            let remembered = colony.remains(name).and_then(|project| project.remembered(key));
            changes.push(match remembered {
                Some(remembered) => some(remembered_pair(name, key, remembered)),
                None => (remembered_key(name, key), None),
            });
        }
        for (name, id) in &self.tasks {
            let task = colony.remains(name).and_then(|project| project.tasks().get(*id));
            changes.push(match task {
                Some(task) => some(task_pair(name, task)),
                None => (task_key(name, *id), None),
            });
        }
        for (name, seq) in &self.holds {
            let hold = colony.remains(name).and_then(|project| project.holds().get(*seq));
            changes.push(match hold {
                Some(hold) => some(hold_pair(name, *seq, hold)),
                None => (hold_key(name, *seq), None),
            });
        }
        for (name, queue) in &self.queues {
            let state = colony.remains(name).and_then(|project| project.tasks().queue(queue));
            changes.push(match state {
                Some(state) => some(queue_pair(name, queue, state)),
                None => (queue_key(name, queue), None),
            });
        }
        for (name, rate) in &self.rates {
            let state = colony.remains(name).and_then(|project| project.rates().get(rate));
            changes.push(match state {
                Some(state) => some(rate_pair(name, rate, state)),
                None => (rate_key(name, rate), None),
            });
        }
        for (name, account) in &self.accounts {
            let project = colony.remains(name);
            let state = project.and_then(|project| project.accounts().get(account));
            changes.push(match state {
                Some(state) => some(account_pair(name, account, state)),
                None => (account_key(name, account), None),
            });
        }
        for (name, id) in &self.reservations {
            let project = colony.remains(name);
            let reservation = project.and_then(|project| project.reservations().get(*id));
            changes.push(match reservation {
                Some(reservation) => some(reservation_pair(name, reservation)),
                None => (reservation_key(name, *id), None),
            });
        }
        for name in &self.settings {
            let project = colony.remains(name);
            let pair = project.and_then(|project| reservation_settings_pair(name, project.reservations().settings()));
            changes.push(match pair {
                Some(pair) => some(pair),
                None => (reservation_settings_key(name), None),
            });
        }
        for (name, id) in &self.waits {
            let wait = colony.project(name).and_then(|project| project.tasks().wait(*id));
            changes.push(match wait {
                Some(wait) => some(wait_pair(name, *id, wait)),
                None => (wait_key(name, *id), None),
            });
        }
        for name in &self.pools {
            changes.push(match colony.pools().get(name) {
                Some(pool) => some(pool_pair(name, pool)),
                None => (pool_key(name), None),
            });
        }
        for key in &self.lives {
            changes.push(match colony.agents().life(key) {
                Some(life) => some(life_pair(key, life)),
                None => (life_key(key), None),
            });
        }
        for (name, id) in &self.sessions {
            changes.push(match colony.sessions().get(*id) {
                Some(session) => some(session_pair(session)),
                None => (session_key(name, *id), None),
            });
        }
        blocks.write(&self.events, &mut changes);
        blocks.drop_old(colony, &mut changes);
        changes
    }
}

fn some((key, value): Pair) -> (Vec<u8>, Option<Vec<u8>>) {
    (key, Some(value))
}

/// How much a part may still take.
struct Room {
    changes: usize,
    bytes: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room {
            changes: PART_CHANGES_MAX,
            bytes: PART_BYTES_MAX,
        }
    }
}

impl Room {
    /// Moves what fits out of a set: at least one if there is room at all.
    fn fill<T: Eq + Hash>(&mut self, from: &mut HashSet<T>, bytes: impl Fn(&T) -> usize) -> HashSet<T> {
        let room = self;
        let fits = |item: &T| {
            let fits = room.changes > 0 && room.bytes > 0;
            if fits {
                room.changes -= 1;
                room.bytes = room.bytes.saturating_sub(bytes(item));
            }
            fits
        };
        from.extract_if(fits).collect()
    }
}

/// Which pairs of events the store holds: for each project the key of each pair and the last event in it.
#[derive(Default)]
pub(crate) struct EventBlocks {
    by_project: BTreeMap<Name, VecDeque<(Vec<u8>, Cursor)>>,
}

impl EventBlocks {
    /// The blocks among the pairs of a store. The last event of a block is not read: a block counts as ending where the
    /// next one begins, which only keeps it a little longer.
    pub(crate) fn of(pairs: &[(Vec<u8>, Vec<u8>)]) -> EventBlocks {
        let mut found: BTreeMap<Name, Vec<(Vec<u8>, Cursor)>> = BTreeMap::new();
        for (key, _) in pairs {
            if let Some((project, first)) = parse(key) {
                found.entry(project).or_default().push((key.clone(), first));
            }
        }
        let mut blocks = EventBlocks::default();
        for (project, mut list) in found {
            list.sort_by_key(|(_, first)| *first);
            let ends: Vec<Cursor> = list
                .iter()
                .skip(1)
                .map(|(_, next)| *next)
                .chain([Cursor {
                    seq: u64::MAX,
                    ordinal: u32::MAX,
                }])
                .collect();
            let list = list.into_iter().zip(ends).map(|((key, _), end)| (key, end)).collect();
            blocks.by_project.insert(project, list);
        }
        blocks
    }

    fn write(&mut self, events: &[(Name, Arc<Event>)], changes: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let mut by_project: BTreeMap<&Name, Vec<&Arc<Event>>> = BTreeMap::new();
        for (name, event) in events {
            by_project.entry(name).or_default().push(event);
        }
        for (name, events) in by_project {
            let blocks = self.by_project.entry(name.clone()).or_default();
            if let (Some(last), Some(event)) = (blocks.back_mut(), events.first())
                && last.1.seq == u64::MAX
            {
                // The open end of what was found at the start is known now.
                last.1 = event.cursor;
            }
            for chunk in events.chunks(EVENTS_PER_PAIR) {
                let (key, value) = event_pair(name, chunk);
                blocks.push_back((key.clone(), chunk[chunk.len() - 1].cursor));
                changes.push((key, Some(value)));
            }
        }
    }

    fn remove_all(&mut self, changes: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let blocks = std::mem::take(&mut self.by_project).into_values().flatten();
        changes.extend(blocks.map(|(key, _)| (key, None)));
    }

    fn drop_old(&mut self, colony: &Colony, changes: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        for (name, blocks) in &mut self.by_project {
            let project = colony.remains(name);
            let dropped = project.and_then(|project| project.events().dropped());
            // A project that is gone may have a successor of its name.
            let made = project.map_or(u64::MAX, |project| project.about().made);
            let is_old = |last: &Cursor| project.is_none() || Some(*last) <= dropped || last.seq < made;
            while blocks.front().is_some_and(|(_, last)| is_old(last)) {
                let (key, _) = blocks.pop_front().expect("it was just looked at");
                changes.push((key, None));
            }
        }
        self.by_project.retain(|_, blocks| !blocks.is_empty());
    }
}

/// The project and the first cursor of a pair of events; `None` for other pairs.
fn parse(key: &[u8]) -> Option<(Name, Cursor)> {
    let rest = key.strip_prefix(b"e")?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let project = std::str::from_utf8(&rest[..end]).ok()?;
    let (seq, ordinal) = rest[end + 1..].split_at_checked(8)?;
    let cursor = Cursor {
        seq: u64::from_be_bytes(seq.try_into().ok()?),
        ordinal: u32::from_be_bytes(ordinal.try_into().ok()?),
    };
    Some((project.into(), cursor))
}
