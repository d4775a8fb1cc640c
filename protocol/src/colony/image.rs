//! The state as pairs of bytes: what the store keeps, and what a snapshot carries. A pair's first byte says what it is;
//! in byte order all contents come before the records that hold them, and all owners before what they hold.
//!
//! | key | value |
//! |---|---|
//! | `a` `\0` node (8 B, big-endian) start (8 B, big-endian) | a life of a hosted agent |
//! | `b` project `\0` start (8 B, big-endian) | a session |
//! | `c` project `\0` hash (32 B) | the bytes of a kept content |
//! | `e` project `\0` seq (8 B, big-endian) ordinal (4 B, big-endian) | events, the first of which has this cursor |
//! | `h` project `\0` seq (8 B, big-endian) | a hold, granted at this position |
//! | `i` project `\0` idempotency key | what is remembered under it |
//! | `k` project `\0` | what the project says of reservations as a whole, unless that is nothing |
//! | `q` project `\0` queue | a queue of tasks |
//! | `r` project `\0` key | a record; kept contents by hash only |
//! | `t` project `\0` seq (8 B, big-endian) ordinal (4 B, big-endian) | a task |
//! | `v` project `\0` seq (8 B, big-endian) ordinal (4 B, big-endian) | a reservation |
//! | `w` project `\0` seq (8 B, big-endian) | a claim that waits |
//!
//! Everything else is in [`Meta`]. Values are bincode 1.3 (fixed-size little-endian integers).

use std::sync::Arc;

use bincode::Options;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::agent::{AgentEnd, AgentId, Agents, Life, LifeKey, Sinking, Timer};
use super::command::{ContentHash, Key, Outcome};
use super::digest::Digest;
use super::event::{Cursor, Event, Events};
use super::hold::Hold;
use super::memory::{Kept, Memory, Record, Value};
use super::once::{DedupSession, Remembered};
use super::projects::About;
use super::recovery::Past;
use super::reservation::{Mode, Reservation, ReservationId, ReservationSettings, Reserved, Resource, Standing};
use super::session::{Session, SessionId};
use super::task::{Attempt, Counts, Holder, Queue, State, StoredQueue, Task, TaskId, Terms, Wait, WaitId};
use super::{Colony, Project, RULES_VERSION};
use crate::id::NodeId;

/// How many events stand in one pair of a snapshot.
const EVENTS_PER_PAIR: usize = 256;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// All of the state that is not in pairs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    seq: u64,
    cluster_ms: u64,
    wall_ms: u64,
    rules_version: u32,
    projects: Vec<(Arc<str>, Option<Cursor>)>,
    dedup: Vec<StoredDedup>,
    /// The nodes whose agents ended together and are not cleared away yet.
    sinking: Vec<(NodeId, Sinking)>,
    digest: Digest,
    /// Nodes that are lost: until which position sessions came to live there, and when their grace is over.
    lost: Vec<((NodeId, u64), u64)>,
    past: Vec<Past>,
    /// What is known of each project, in the order of `projects`.
    about: Vec<About>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredDedup {
    node: NodeId,
    incarnation: u64,
    settled: u64,
    outcomes: Vec<(u64, Outcome)>,
}

#[derive(Serialize, Deserialize)]
struct StoredRecord {
    revision: u64,
    value: Option<StoredValue>,
    tags: Vec<Arc<str>>,
    author: Arc<str>,
    seq: u64,
    changed_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredTask {
    title: Arc<str>,
    kind: Option<Arc<str>>,
    payload: Bytes,
    name: Option<Arc<str>>,
    author: Arc<str>,
    added_ms: u64,
    state: State,
    attempts: u32,
    history: Vec<Attempt>,
    terms: Terms,
    unmet: Vec<TaskId>,
    counts: Counts,
    not_until_ms: u64,
    wakes_ms: Option<u64>,
    approved: Option<Arc<str>>,
    checkpoint: Bytes,
}

#[derive(Serialize, Deserialize)]
struct StoredReservation {
    resources: Vec<(Arc<str>, Mode)>,
    holder: Holder,
    reason: Option<Arc<str>>,
    task: Option<TaskId>,
    asked_ms: u64,
    ttl_ms: u64,
    state: Standing,
}

#[derive(Serialize, Deserialize)]
struct StoredLife {
    incarnation: u64,
    name: Arc<str>,
    generation: u64,
    end: Option<AgentEnd>,
}

#[derive(Serialize, Deserialize)]
enum StoredValue {
    Inline(Bytes),
    Kept(ContentHash),
}

/// Pairs from which no state can be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A pair does not have the form that its first byte asks for.
    #[error("pair {key:?}: {problem}")]
    Malformed {
        /// The pair's key, shown as text where it is text.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The rules that made this state are newer than this program.
    #[error("the state follows rules of version {found}, this program knows up to {RULES_VERSION}")]
    NewerRules {
        /// The version found.
        found: u32,
    },
    /// The pairs do not add up to the digest that was noted with them.
    #[error("the digest of the pairs is {found}, {noted} was noted")]
    Digest {
        /// The digest of what was read.
        found: Digest,
        /// The digest noted when it was written.
        noted: Digest,
    },
}

impl Meta {
    /// The digest of the state that this belongs to.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Colony {
    /// What is not in pairs.
    pub fn meta(&self) -> Meta {
        let dedup = self.dedup.by_node.iter().map(|(node, session)| StoredDedup {
            node: *node,
            incarnation: session.incarnation,
            settled: session.settled,
            outcomes: session
                .outcomes
                .iter()
                .map(|(number, outcome)| (*number, outcome.clone()))
                .collect(),
        });
        Meta {
            seq: self.seq,
            cluster_ms: self.cluster_ms,
            wall_ms: self.wall_ms,
            rules_version: self.rules_version,
            projects: self
                .projects
                .iter()
                .map(|(name, project)| (name.clone(), project.events.dropped()))
                .collect(),
            dedup: dedup.collect(),
            sinking: self
                .agents
                .sinking
                .iter()
                .map(|(node, sinking)| (*node, sinking.clone()))
                .collect(),
            digest: self.digest(),
            lost: self
                .agents
                .sessions
                .lost
                .iter()
                .map(|(key, until_ms)| (*key, *until_ms))
                .collect(),
            past: self.past.clone(),
            about: self.projects.values().map(|project| project.about.clone()).collect(),
        }
    }

    /// All pairs, in the order in which [`Colony::restore`] takes them.
    pub fn pairs(&self) -> impl Iterator<Item = Pair> + '_ {
        let contents = self.projects.iter().flat_map(|(name, project)| {
            project
                .memory
                .contents
                .iter()
                .map(move |(hash, kept)| content_pair(name, hash, Some(&kept.bytes)))
        });
        let events = self.projects.iter().flat_map(|(name, project)| {
            let events: Vec<&Arc<Event>> = project.events.iter().collect();
            events
                .chunks(EVENTS_PER_PAIR)
                .map(|chunk| event_pair(name, chunk))
                .collect::<Vec<_>>()
        });
        let holds = self.projects.iter().flat_map(|(name, project)| {
            let holds = project.holds.iter();
            holds.map(move |(seq, hold)| hold_pair(name, seq, hold))
        });
        let remembered = self.projects.iter().flat_map(|(name, project)| {
            project
                .idempotency
                .iter()
                .map(move |(key, remembered)| remembered_pair(name, key, remembered))
        });
        let queues = self.projects.iter().flat_map(|(name, project)| {
            let queues = project.tasks.queues();
            queues.map(move |(queue, state)| queue_pair(name, queue, state))
        });
        let records = self.projects.iter().flat_map(|(name, project)| {
            project
                .memory
                .records
                .iter()
                .map(move |(key, record)| record_pair(name, key, record))
        });
        let tasks = self.projects.iter().flat_map(|(name, project)| {
            let tasks = project.tasks.after(None);
            tasks.map(move |task| task_pair(name, task))
        });
        let reservations = self.projects.iter().flat_map(|(name, project)| {
            let reservations = project.reservations.after(None);
            reservations.map(move |reservation| reservation_pair(name, reservation))
        });
        let settings = self
            .projects
            .iter()
            .filter_map(|(name, project)| reservation_settings_pair(name, project.reservations.settings()));
        let waits = self.projects.iter().flat_map(|(name, project)| {
            let waits = project.tasks.waits();
            waits.map(move |(id, wait)| wait_pair(name, id, wait))
        });
        let lives = self.agents.lives().map(|(key, life)| life_pair(key, life));
        let sessions = self.agents.sessions.all().map(|session| session_pair(session));
        lives
            .chain(sessions)
            .chain(contents.map(|(key, value)| (key, value.unwrap_or_default())))
            .chain(events)
            .chain(holds)
            .chain(remembered)
            .chain(settings)
            .chain(queues)
            .chain(records)
            .chain(tasks)
            .chain(reservations)
            .chain(waits)
    }

    /// The keys of all pairs but those of events, which the store groups in its own way.
    pub fn pair_keys(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let lives = self.agents.lives().map(|(key, _)| life_key(key));
        let sessions = self.agents.sessions.all();
        let sessions = sessions.map(|session| session_key(&session.project, session.id));
        lives
            .chain(sessions)
            .chain(self.projects.iter().flat_map(|(name, project)| {
                let contents = project.memory.contents.keys();
                let contents = contents.map(move |hash| pair_key(b'c', name, &hash.0));
                let remembered = project.remembered_keys().map(move |key| remembered_key(name, key));
                let records = project.memory.records.keys();
                let records = records.map(move |key| pair_key(b'r', name, key.as_bytes()));
                let tasks = project.tasks.after(None).map(move |task| task_key(name, task.id));
                let holds = project.holds.iter().map(move |(seq, _)| hold_key(name, seq));
                let queues = project.tasks.queues().map(move |(queue, _)| queue_key(name, queue));
                let reservations = project.reservations.after(None);
                let reservations = reservations.map(move |reservation| reservation_key(name, reservation.id));
                let settings = reservation_settings_pair(name, project.reservations.settings()).map(|(key, _)| key);
                let waits = project.tasks.waits().map(move |(id, _)| wait_key(name, id));
                let contents = contents.chain(holds).chain(remembered).chain(settings);
                let open = queues.chain(records).chain(tasks);
                contents.chain(open).chain(reservations).chain(waits)
            }))
    }

    /// The state that `meta` and `pairs` describe.
    ///
    /// # Errors
    /// When a pair is malformed, or they do not add up to the digest noted in `meta`.
    pub fn restore(meta: Meta, pairs: impl IntoIterator<Item = Pair>) -> Result<Colony, ImageError> {
        let mut pairs: Vec<Pair> = pairs.into_iter().collect();
        pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Colony::restore_in_order(meta, pairs)
    }

    /// Like [`Colony::restore`], for pairs in the order of [`Colony::pairs`]: they are taken one by one, and nothing is
    /// kept of them but the state.
    ///
    /// # Errors
    /// As [`Colony::restore`]; pairs in another order may be refused.
    pub fn restore_in_order(meta: Meta, pairs: impl IntoIterator<Item = Pair>) -> Result<Colony, ImageError> {
        if meta.rules_version > RULES_VERSION {
            return Err(ImageError::NewerRules {
                found: meta.rules_version,
            });
        }
        let mut restorer = Restorer {
            colony: Colony::default(),
            events: Vec::new(),
        };
        if meta.about.len() != meta.projects.len() {
            return Err(ImageError::Malformed {
                key: "meta".into(),
                problem: "it does not say of every project what is known of it".into(),
            });
        }
        for ((name, _), about) in meta.projects.iter().zip(&meta.about) {
            if about.destroyed.is_some() {
                restorer.colony.clearing.insert(name.clone());
            }
            let project = Project {
                about: about.clone(),
                ..Project::default()
            };
            restorer.colony.projects.insert(name.clone(), project);
        }
        for (key, value) in pairs {
            restorer.take(&key, value).map_err(|problem| ImageError::Malformed {
                key: String::from_utf8_lossy(&key).into_owned(),
                problem,
            })?;
        }
        restorer.finish(meta)
    }

    /// The whole state as one string of bytes: meta and pairs with their lengths. For snapshots.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = encode(&self.meta());
        let mut image = (bytes.len() as u64).to_le_bytes().to_vec();
        image.append(&mut bytes);
        for (key, value) in self.pairs() {
            image.extend((key.len() as u32).to_le_bytes());
            image.extend((value.len() as u32).to_le_bytes());
            image.extend(key);
            image.extend(value);
        }
        image
    }

    /// The state that [`Colony::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes end too early, are malformed, or do not add up to their digest.
    pub fn from_bytes(bytes: &[u8]) -> Result<Colony, ImageError> {
        let mut rest = bytes;
        let length = u64::from_le_bytes(take(&mut rest, 8)?.try_into().expect("eight bytes"));
        let meta = take(&mut rest, usize::try_from(length).unwrap_or(usize::MAX))?;
        let meta = decode(meta).map_err(|problem| ImageError::Malformed {
            key: "meta".into(),
            problem,
        })?;
        let mut pairs = Vec::new();
        while !rest.is_empty() {
            let mut length = || take(&mut rest, 4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")));
            let (key, value) = (length()? as usize, length()? as usize);
            pairs.push((take(&mut rest, key)?.to_vec(), take(&mut rest, value)?.to_vec()));
        }
        Colony::restore(meta, pairs)
    }
}

/// The pair of a kept content; the value is `None` when it went.
pub fn content_pair(project: &str, hash: &ContentHash, bytes: Option<&Bytes>) -> (Vec<u8>, Option<Vec<u8>>) {
    (pair_key(b'c', project, &hash.0), bytes.map(|bytes| bytes.to_vec()))
}

/// The pair of some events of one project, in order.
///
/// # Panics
/// When there is no event.
pub fn event_pair(project: &str, events: &[&Arc<Event>]) -> Pair {
    let first = events.first().expect("a pair holds at least one event").cursor;
    (pair_key(b'e', project, &place(first)), encode(&events))
}

fn place(cursor: Cursor) -> Vec<u8> {
    let mut place = cursor.seq.to_be_bytes().to_vec();
    place.extend(cursor.ordinal.to_be_bytes());
    place
}

/// The pair of a hold.
pub fn hold_pair(project: &str, seq: u64, hold: &Hold) -> Pair {
    (hold_key(project, seq), encode(hold))
}

/// The key of the pair of a hold: to remove it.
pub fn hold_key(project: &str, seq: u64) -> Vec<u8> {
    pair_key(b'h', project, &seq.to_be_bytes())
}

/// The pair of an idempotency key.
pub fn remembered_pair(project: &str, key: &str, remembered: &Remembered) -> Pair {
    (pair_key(b'i', project, key.as_bytes()), encode(remembered))
}

/// The key of the pair of an idempotency key: to remove it.
pub fn remembered_key(project: &str, key: &str) -> Vec<u8> {
    pair_key(b'i', project, key.as_bytes())
}

/// The pair of a task.
pub fn task_pair(project: &str, task: &Task) -> Pair {
    let stored = StoredTask {
        title: task.title.clone(),
        kind: task.kind.clone(),
        payload: task.payload.clone(),
        name: task.name.clone(),
        author: task.author.clone(),
        added_ms: task.added_ms,
        state: task.state.clone(),
        attempts: task.attempts,
        history: task.history.clone(),
        terms: Terms::clone(&task.terms),
        unmet: task.unmet.clone(),
        counts: task.counts,
        not_until_ms: task.not_until_ms,
        wakes_ms: task.wakes_ms,
        approved: task.approved.clone(),
        checkpoint: task.checkpoint.clone(),
    };
    (task_key(project, task.id), encode(&stored))
}

/// The key of the pair of a task: to remove it.
pub fn task_key(project: &str, task: TaskId) -> Vec<u8> {
    let TaskId { seq, ordinal } = task;
    pair_key(b't', project, &place(Cursor { seq, ordinal }))
}

/// The pair of a queue of tasks.
pub fn queue_pair(project: &str, name: &str, queue: &Queue) -> Pair {
    (queue_key(project, name), encode(&queue.stored()))
}

/// The key of the pair of a queue of tasks: to remove it.
pub fn queue_key(project: &str, name: &str) -> Vec<u8> {
    pair_key(b'q', project, name.as_bytes())
}

/// The pair of a reservation.
pub fn reservation_pair(project: &str, reservation: &Reservation) -> Pair {
    let resources = reservation.resources.iter();
    let stored = StoredReservation {
        resources: resources
            .map(|reserved| (reserved.text.clone(), reserved.mode))
            .collect(),
        holder: reservation.holder.clone(),
        reason: reservation.reason.clone(),
        task: reservation.task,
        asked_ms: reservation.asked_ms,
        ttl_ms: reservation.ttl_ms,
        state: reservation.state.clone(),
    };
    (reservation_key(project, reservation.id), encode(&stored))
}

/// The key of the pair of a reservation: to remove it.
pub fn reservation_key(project: &str, reservation: ReservationId) -> Vec<u8> {
    let ReservationId { seq, ordinal } = reservation;
    pair_key(b'v', project, &place(Cursor { seq, ordinal }))
}

/// The pair of what a project says of reservations; `None` when that is nothing.
pub fn reservation_settings_pair(project: &str, settings: &ReservationSettings) -> Option<Pair> {
    let says = *settings != ReservationSettings::default();
    says.then(|| (reservation_settings_key(project), encode(settings)))
}

/// The key of that pair: to remove it.
pub fn reservation_settings_key(project: &str) -> Vec<u8> {
    pair_key(b'k', project, b"")
}

/// The pair of a claim that waits.
pub fn wait_pair(project: &str, id: WaitId, wait: &Wait) -> Pair {
    (wait_key(project, id), encode(wait))
}

/// The key of the pair of a claim that waits: to remove it.
pub fn wait_key(project: &str, id: WaitId) -> Vec<u8> {
    pair_key(b'w', project, &id.0.to_be_bytes())
}

/// The pair of an agent's life.
pub fn life_pair(key: &LifeKey, life: &Life) -> Pair {
    let stored = StoredLife {
        incarnation: life.id.incarnation,
        name: life.id.name.clone(),
        generation: life.id.generation,
        end: life.end.clone(),
    };
    (life_key(key), encode(&stored))
}

/// The key of the pair of an agent's life: to remove it.
pub fn life_key((node, started): &LifeKey) -> Vec<u8> {
    let mut place = node.0.to_be_bytes().to_vec();
    place.extend(started.to_be_bytes());
    pair_key(b'a', "", &place)
}

/// The pair of a session.
pub fn session_pair(session: &Session) -> Pair {
    (session_key(&session.project, session.id), encode(session))
}

/// The key of the pair of a session: to remove it.
pub fn session_key(project: &str, session: SessionId) -> Vec<u8> {
    pair_key(b'b', project, &session.0.to_be_bytes())
}

/// The pair of a record.
pub fn record_pair(project: &str, key: &str, record: &Record) -> Pair {
    let value = record.value.as_ref().map(|value| match value.is_kept() {
        true => StoredValue::Kept(value.hash),
        false => StoredValue::Inline(value.bytes.clone()),
    });
    let stored = StoredRecord {
        revision: record.revision,
        value,
        tags: record.tags.clone(),
        author: record.author.clone(),
        seq: record.seq,
        changed_ms: record.changed_ms,
    };
    (pair_key(b'r', project, key.as_bytes()), encode(&stored))
}

/// The key of the pair of a record; with the beginning of a key, the beginning of all such pairs.
pub fn record_key(project: &str, key: &str) -> Vec<u8> {
    pair_key(b'r', project, key.as_bytes())
}

/// The beginning of the keys of all kept contents of a project.
pub fn content_prefix(project: &str) -> Vec<u8> {
    pair_key(b'c', project, b"")
}

/// Reads pairs of records of one project, given the pairs of its kept contents. Every value is hashed anew from its
/// bytes.
///
/// # Errors
/// When a pair is malformed, a content is missing, or its bytes do not have the hash that they are kept under.
pub fn read_records(records: Vec<Pair>, contents: Vec<Pair>) -> Result<Vec<(Key, Record)>, ImageError> {
    let mut memory = Memory::default();
    let malformed = |key: &[u8], problem: String| ImageError::Malformed {
        key: String::from_utf8_lossy(key).into_owned(),
        problem,
    };
    for (key, bytes) in contents {
        let hash = key.split_last_chunk().map(|(_, hash)| ContentHash(*hash));
        let hash = hash.ok_or_else(|| malformed(&key, "its hash is not 32 bytes long".into()))?;
        if ContentHash::of(&bytes) != hash {
            return Err(malformed(&key, "its bytes have another hash".into()));
        }
        memory.contents.insert(
            hash,
            Kept {
                bytes: Bytes::from(bytes),
                holders: 0,
            },
        );
    }
    let read = |(key, value): Pair| {
        let record = decode(&value).and_then(|stored| stored_record(stored, &memory));
        let record = record.map_err(|problem| malformed(&key, problem))?;
        let end = key.iter().position(|byte| *byte == 0).map_or(key.len(), |end| end + 1);
        let name = std::str::from_utf8(&key[end..]).map_err(|_| malformed(&key, "its key is not UTF-8".into()))?;
        Ok((name.into(), record))
    };
    records.into_iter().map(read).collect()
}

fn pair_key(kind: u8, project: &str, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + project.len() + rest.len());
    key.push(kind);
    key.extend(project.as_bytes());
    key.push(0);
    key.extend(rest);
    key
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .serialize(value)
        .expect("plain data serialises into memory")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // The limit is the input itself: lengths inside it cannot make the decoder allocate more.
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(bytes.len() as u64)
        .deserialize(bytes)
        .map_err(|error| error.to_string())
}

/// Takes `length` bytes off the front of an image.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], ImageError> {
    rest.split_off(..length).ok_or_else(|| ImageError::Malformed {
        key: "image".into(),
        problem: "ends too early".into(),
    })
}

struct Restorer {
    colony: Colony,
    events: Vec<(Arc<str>, Vec<Event>)>,
}

impl Restorer {
    fn take(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), String> {
        let (kind, rest) = key.split_first().ok_or("is empty")?;
        let end = rest.iter().position(|byte| *byte == 0).ok_or("names no project")?;
        let name = std::str::from_utf8(&rest[..end]).map_err(|_| "its project is not UTF-8")?;
        let rest = &rest[end + 1..];
        let text = || {
            std::str::from_utf8(rest)
                .map(Arc::<str>::from)
                .map_err(|_| "its key is not UTF-8".to_string())
        };
        if *kind == b'a' {
            return restore_life(&mut self.colony.agents, name, rest, &value);
        }
        let project = self
            .colony
            .projects
            .get_mut(name)
            .ok_or("its project is not in the meta record")?;
        match kind {
            b'b' => restore_session(&mut self.colony.agents, name, rest, &value)?,
            b'c' => {
                let hash = ContentHash(rest.try_into().map_err(|_| "its hash is not 32 bytes long")?);
                if ContentHash::of(&value) != hash {
                    return Err("its bytes have another hash".into());
                }
                project.memory.contents.insert(
                    hash,
                    Kept {
                        bytes: Bytes::from(value),
                        holders: 0,
                    },
                );
            }
            b'e' => {
                let events: Vec<Event> = decode(&value)?;
                let first = events.first().ok_or("has no event")?;
                if place(first.cursor) != rest {
                    return Err("its first event has another place".into());
                }
                if self.events.last().is_none_or(|(last, _)| &**last != name) {
                    self.events.push((name.into(), Vec::new()));
                }
                let (_, before) = self.events.last_mut().expect("it was pushed if it was not there");
                let before_first = before.last().map(|event| event.cursor);
                if !events.is_sorted_by(|a, b| a.cursor < b.cursor) || before_first >= Some(first.cursor) {
                    return Err("its events are not in order".into());
                }
                before.extend(events);
            }
            b'h' => {
                let seq = u64::from_be_bytes(rest.try_into().map_err(|_| "its position is not 8 bytes long")?);
                let hold: Hold = decode(&value)?;
                if project.holds.get(seq).is_some() {
                    return Err("it stands twice".into());
                }
                self.colony
                    .agents
                    .set_timer(hold.until_ms, &name.into(), Timer::Hold(seq));
                project.holds.set(seq, hold);
            }
            b'i' => project.idempotency.restore(text()?, decode::<Remembered>(&value)?),
            b'q' => {
                let queue = text()?;
                let owes_ms = project
                    .tasks
                    .restore_queue(queue.clone(), decode::<StoredQueue>(&value)?);
                self.colony.agents.set_owed(&name.into(), &queue, None, owes_ms);
            }
            b'r' => {
                let record = stored_record(decode(&value)?, &project.memory)?;
                project.memory.restore(text()?, record);
            }
            b't' => {
                let task = stored_task(rest, &value)?;
                if project.tasks.get(task.id).is_some() {
                    return Err("it stands twice".into());
                }
                if !self.colony.agents.link(&name.into(), &task) {
                    return Err("its owner is not there".into());
                }
                if task
                    .name
                    .as_ref()
                    .is_some_and(|name| project.tasks.named(name).is_some())
                {
                    return Err("its name is that of another task".into());
                }
                if !project.tasks.restore(task) {
                    return Err("its queue says nothing of it".into());
                }
            }
            b'v' => {
                let reservation = stored_reservation(rest, &value)?;
                if project.reservations.get(reservation.id).is_some() {
                    return Err("it stands twice".into());
                }
                if !self.colony.agents.link_reservation(&name.into(), &reservation) {
                    return Err("its owner is not there".into());
                }
                project.reservations.set(reservation);
            }
            b'k' => {
                if !rest.is_empty() {
                    return Err("the settings of reservations have one place".into());
                }
                project.reservations.set_settings(decode(&value)?);
            }
            b'w' => {
                let seq = u64::from_be_bytes(rest.try_into().map_err(|_| "its position is not 8 bytes long")?);
                let (id, wait) = (WaitId(seq), decode::<Wait>(&value)?);
                if project.tasks.wait(id).is_some() {
                    return Err("it stands twice".into());
                }
                if !self.colony.agents.link_wait(&name.into(), id, &wait) {
                    return Err("its owner is not there".into());
                }
                if !project.tasks.restore_wait(id, wait) {
                    return Err("its queue is not there".into());
                }
            }
            other => return Err(format!("is of unknown kind {other}")),
        }
        Ok(())
    }

    fn finish(mut self, meta: Meta) -> Result<Colony, ImageError> {
        for (name, project) in &self.colony.projects {
            let mut contents = project.memory.contents.iter();
            if let Some((hash, _)) = contents.find(|(_, kept)| kept.holders == 0) {
                return Err(ImageError::Malformed {
                    key: format!("c{name} {hash}"),
                    problem: "no record holds this content".into(),
                });
            }
        }
        for (name, project) in &self.colony.projects {
            let clearing = project.about.destroyed.is_some();
            if let Some(problem) = project.tasks.restored_badly(clearing) {
                let key = format!("t{name}");
                return Err(ImageError::Malformed { key, problem });
            }
            for need in project.tasks.releasing() {
                self.colony.agents.set_due_now(name, Timer::Release(need), true);
            }
        }
        for (name, dropped) in meta.projects {
            let place = self.events.iter().position(|(project, _)| *project == name);
            let events = place.map(|place| self.events.swap_remove(place).1).unwrap_or_default();
            let project = self
                .colony
                .projects
                .get_mut(&name)
                .expect("it was made from the same list");
            // A store may still have events of an earlier project of this name.
            let made = project.about.made;
            let events = events.into_iter().filter(|event| event.cursor.seq >= made);
            project.events = Events::restore(dropped, events);
        }
        let mut colony = self.colony;
        colony.seq = meta.seq;
        colony.cluster_ms = meta.cluster_ms;
        colony.wall_ms = meta.wall_ms;
        colony.rules_version = meta.rules_version;
        colony.past = meta.past;
        for stored in meta.dedup {
            let session = DedupSession {
                incarnation: stored.incarnation,
                settled: stored.settled,
                outcomes: stored.outcomes.into_iter().collect(),
            };
            colony.dedup.by_node.insert(stored.node, session);
        }
        for (node, sinking) in meta.sinking {
            if !colony.agents.end_node(node, sinking.floor, sinking.end) {
                return Err(ImageError::Malformed {
                    key: format!("a{node}"),
                    problem: "its agents ended together, and there is none".into(),
                });
            }
        }
        for ((node, floor), until_ms) in meta.lost {
            if !colony.agents.sessions.lose(node, floor, until_ms) {
                return Err(ImageError::Malformed {
                    key: format!("b{node}"),
                    problem: "its sessions have a grace, and there is none".into(),
                });
            }
        }
        let found = colony.digest();
        if found != meta.digest {
            return Err(ImageError::Digest {
                found,
                noted: meta.digest,
            });
        }
        Ok(colony)
    }
}

fn stored_task(place: &[u8], value: &[u8]) -> Result<Task, String> {
    let (seq, ordinal) = place.split_first_chunk().ok_or("its id is too short")?;
    let stored: StoredTask = decode(value)?;
    Ok(Task {
        id: TaskId {
            seq: u64::from_be_bytes(*seq),
            ordinal: u32::from_be_bytes(ordinal.try_into().map_err(|_| "its id is not 12 bytes long")?),
        },
        title: stored.title,
        kind: stored.kind,
        payload: stored.payload,
        name: stored.name,
        author: stored.author,
        added_ms: stored.added_ms,
        state: stored.state,
        attempts: stored.attempts,
        history: stored.history,
        terms: stored.terms.shared(),
        unmet: stored.unmet,
        counts: stored.counts,
        not_until_ms: stored.not_until_ms,
        wakes_ms: stored.wakes_ms,
        approved: stored.approved,
        checkpoint: stored.checkpoint,
        digest: Digest::default(),
    })
}

fn stored_reservation(place: &[u8], value: &[u8]) -> Result<Reservation, String> {
    let (seq, ordinal) = place.split_first_chunk().ok_or("its id is too short")?;
    let stored: StoredReservation = decode(value)?;
    let mut resources = Vec::with_capacity(stored.resources.len());
    for (text, mode) in stored.resources {
        let resource = Resource::parse(&text).map_err(|refusal| refusal.to_string())?;
        if resource.text() != text {
            return Err(format!("{text:?} is not in its one form"));
        }
        resources.push(Reserved { resource, text, mode });
    }
    Ok(Reservation {
        id: ReservationId {
            seq: u64::from_be_bytes(*seq),
            ordinal: u32::from_be_bytes(ordinal.try_into().map_err(|_| "its id is not 12 bytes long")?),
        },
        resources,
        holder: stored.holder,
        reason: stored.reason,
        task: stored.task,
        asked_ms: stored.asked_ms,
        ttl_ms: stored.ttl_ms,
        state: stored.state,
        digest: Digest::default(),
    })
}

fn restore_life(agents: &mut Agents, project: &str, place: &[u8], value: &[u8]) -> Result<(), String> {
    let (node, started) = place.split_first_chunk().ok_or("its place is too short")?;
    if !project.is_empty() {
        return Err("an agent belongs to no project".into());
    }
    let node = NodeId(u64::from_be_bytes(*node));
    let started = u64::from_be_bytes(started.try_into().map_err(|_| "its place is not 16 bytes long")?);
    let StoredLife {
        incarnation,
        name,
        generation,
        end,
    } = decode(value)?;
    let id = AgentId {
        node,
        incarnation,
        name,
        generation,
    };
    if agents.life(&(node, started)).is_some() {
        return Err("it stands twice".into());
    }
    agents.restore((node, started), id, end);
    Ok(())
}

fn restore_session(agents: &mut Agents, project: &str, place: &[u8], value: &[u8]) -> Result<(), String> {
    let session: Session = decode(value)?;
    if session.id.0.to_be_bytes() != place || &*session.project != project {
        return Err("its key is that of another session".into());
    }
    let sessions = &mut agents.sessions;
    if sessions.get(session.id).is_some() {
        return Err("it stands twice".into());
    }
    if sessions.of_token(&session.project, session.opened.token).is_some() {
        return Err("its token is that of another session".into());
    }
    sessions.insert(session);
    Ok(())
}

fn stored_record(stored: StoredRecord, memory: &Memory) -> Result<Record, String> {
    let value = match stored.value {
        None => None,
        Some(StoredValue::Inline(bytes)) => Some(Value::of(bytes)),
        Some(StoredValue::Kept(hash)) => {
            let kept = memory
                .contents
                .get(&hash)
                .ok_or_else(|| format!("its content {hash} is not there"))?;
            Some(Value {
                hash,
                bytes: kept.bytes.clone(),
            })
        }
    };
    Ok(Record {
        revision: stored.revision,
        value,
        tags: stored.tags,
        author: stored.author,
        seq: stored.seq,
        changed_ms: stored.changed_ms,
        digest: Digest::default(),
    })
}
