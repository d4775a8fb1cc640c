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
//! | `l` project `\0` name | a rate |
//! | `p` `\0` name | a pool |
//! | `q` project `\0` queue | a queue of tasks |
//! | `r` project `\0` key | a record; kept contents by hash only |
//! | `t` project `\0` seq (8 B, big-endian) ordinal (4 B, big-endian) | a task |
//! | `u` project `\0` name | an account: what was used, and its budget |
//! | `v` project `\0` seq (8 B, big-endian) ordinal (4 B, big-endian) | a reservation |
//! | `w` project `\0` seq (8 B, big-endian) | a claim that waits |
//!
//! Everything else is in [`Meta`]. Values are bincode 1.3 (fixed-size little-endian integers). Pairs are made in
//! [`pair`], and read in [`restore`].

mod pair;
mod restore;

use std::sync::Arc;

use bincode::Options;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::pair::pair_key;
pub use self::pair::{
    account_key, account_pair, content_pair, content_prefix, event_pair, hold_key, hold_pair, life_key, life_pair,
    pool_key, pool_pair, queue_key, queue_pair, rate_key, rate_pair, record_key, record_pair, remembered_key,
    remembered_pair, reservation_key, reservation_pair, reservation_settings_key, reservation_settings_pair,
    session_key, session_pair, task_key, task_pair, wait_key, wait_pair,
};
pub use self::restore::read_records;
use super::agent::{AgentEnd, Sinking};
use super::command::{ContentHash, Outcome, Refusal};
use super::digest::Digest;
use super::door_token::DoorToken;
use super::epoch::Epoch;
use super::event::{Cursor, Event};
use super::projects::About;
use super::recovery::Past;
use super::reservation::{Mode, Standing};
use super::task::{Attempt, Counts, Holder, State, TaskId, Terms};
use super::usage::Usage;
use super::{Colony, RULES};
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
    /// What lets callers in at the doors, by name.
    door_tokens: Vec<(Arc<str>, DoorToken)>,
    epoch: Option<Epoch>,
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
    usage: Usage,
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
        problem: PairProblem,
    },
    /// This program does not know the rules that made this state: it is whole, and for another program.
    #[error("the state follows version {found} of the rules, this program knows {RULES}")]
    UnknownRules {
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

/// What is wrong with a pair.
#[derive(Debug, thiserror::Error)]
pub enum PairProblem {
    /// It says something that cannot be.
    #[error("{0}")]
    Wrong(&'static str),
    /// No pair begins with this byte.
    #[error("is of unknown kind {0}")]
    Kind(u8),
    /// Its value does not decode.
    #[error(transparent)]
    Decode(#[from] bincode::Error),
    /// What it reserves is nothing that can be reserved.
    #[error("{0}")]
    Resource(Box<Refusal>),
    /// What it reserves can be, written in another way.
    #[error("{0:?} is not in its one form")]
    Form(Arc<str>),
    /// It holds a content of this hash, of which there is no pair.
    #[error("its content {0} is not there")]
    Content(ContentHash),
    /// A queue counts what it does not have.
    #[error("queue {0} says more than its tasks")]
    Queue(Arc<str>),
    /// A task waits for one that there is not.
    #[error("task {0} is needed, and is not there")]
    Need(TaskId),
}

impl From<&'static str> for PairProblem {
    fn from(problem: &'static str) -> PairProblem {
        PairProblem::Wrong(problem)
    }
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
            door_tokens: self
                .door_tokens
                .iter()
                .map(|(name, token)| (name.clone(), token.clone()))
                .collect(),
            epoch: self.epoch.clone(),
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
        let rates = self.projects.iter().flat_map(|(name, project)| {
            let rates = project.rates.iter();
            rates.map(move |(rate, state)| rate_pair(name, rate, state))
        });
        let accounts = self.projects.iter().flat_map(|(name, project)| {
            let accounts = project.accounts.iter();
            accounts.map(move |(account, state)| account_pair(name, account, state))
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
        let pools = self.pools.iter().map(|(name, pool)| pool_pair(name, pool));
        lives
            .chain(sessions)
            .chain(pools)
            .chain(contents.map(|(key, value)| (key, value.unwrap_or_default())))
            .chain(events)
            .chain(holds)
            .chain(remembered)
            .chain(settings)
            .chain(rates)
            .chain(accounts)
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
        let pools = self.pools.iter().map(|(name, _)| pool_key(name));
        lives
            .chain(sessions)
            .chain(pools)
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
                let rates = project.rates.iter().map(move |(rate, _)| rate_key(name, rate));
                let accounts = project.accounts.iter();
                let accounts = accounts.map(move |(account, _)| account_key(name, account));
                let contents = contents.chain(holds).chain(remembered).chain(settings).chain(rates);
                let open = accounts.chain(queues).chain(records).chain(tasks);
                contents.chain(open).chain(reservations).chain(waits)
            }))
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
        let meta = decode(meta).map_err(|error| ImageError::Malformed {
            key: "meta".into(),
            problem: error.into(),
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

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .serialize(value)
        .expect("plain data serialises into memory")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, bincode::Error> {
    // The limit is the input itself: lengths inside it cannot make the decoder allocate more.
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(bytes.len() as u64)
        .deserialize(bytes)
}

/// Takes `length` bytes off the front of an image.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], ImageError> {
    rest.split_off(..length).ok_or_else(|| ImageError::Malformed {
        key: "image".into(),
        problem: "ends too early".into(),
    })
}
