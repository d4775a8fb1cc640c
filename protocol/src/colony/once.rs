//! Each command is applied once, although nodes repeat it until they have its outcome.
//!
//! Each start of a node is a dedup session: commands are numbered, and `settled` says below which number every command
//! has been answered, so that their outcomes may be forgotten. A restarted node is a new incarnation; what its old one
//! still has under way is ignored. A caller's own idempotency key is kept apart, in its project, for a bounded time.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::command::Outcome;
use super::digest::Digest;
use crate::id::NodeId;

/// How long an idempotency key is remembered, in milliseconds of cluster time.
pub const IDEMPOTENCY_MS: u64 = 3_600_000;
/// How many forgotten idempotency keys one command clears away at most.
const FORGOTTEN_PER_COMMAND: usize = 4;

/// The dedup session of one start of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DedupSession {
    /// Which start of the node.
    pub incarnation: u64,
    /// All commands below this number have been answered at the node.
    pub settled: u64,
    /// The outcomes from `settled` on.
    pub outcomes: OrdMap<u64, Outcome>,
}

/// What a session knows of a command.
pub(crate) enum Seen {
    /// Nothing: apply it.
    New,
    /// It was applied, with this outcome.
    Before(Outcome),
    /// Nobody waits for it any more: its outcome was handed out, or its node was restarted.
    Forgotten,
}

/// The dedup sessions of all nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DedupSessions {
    pub(crate) by_node: OrdMap<NodeId, DedupSession>,
}

impl DedupSessions {
    /// What is known of the command `number` of this session; opens the session if the node was restarted.
    pub(crate) fn look_up(&mut self, node: NodeId, incarnation: u64, number: u64) -> Seen {
        let session = self.by_node.entry(node).or_default();
        if incarnation < session.incarnation {
            return Seen::Forgotten;
        }
        if incarnation > session.incarnation {
            *session = DedupSession {
                incarnation,
                settled: 0,
                outcomes: OrdMap::new(),
            };
        }
        #[cfg(feature = "planted-bugs")]
        if crate::planted::has(crate::planted::Bug::ForgetSession) {
            return Seen::New;
        }
        match session.outcomes.get(&number) {
            Some(outcome) => Seen::Before(outcome.clone()),
            None if number < session.settled => Seen::Forgotten,
            None => Seen::New,
        }
    }

    /// Notes the outcome of a command that [`DedupSessions::look_up`] found new.
    pub(crate) fn record(&mut self, node: NodeId, number: u64, settled: u64, outcome: Outcome) {
        let session = self.by_node.get_mut(&node).expect("look_up opened the session");
        session.outcomes.insert(number, outcome);
        if settled > session.settled {
            session.settled = settled;
            while let Some(oldest) = session
                .outcomes
                .get_min()
                .map(|(number, _)| *number)
                .filter(|oldest| *oldest < settled)
            {
                session.outcomes.remove(&oldest);
            }
        }
    }

    /// The nodes of which a command was ever seen.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.by_node.keys().copied()
    }

    /// The newest start of a node of which a command was seen.
    pub fn incarnation(&self, node: NodeId) -> Option<u64> {
        self.by_node.get(&node).map(|session| session.incarnation)
    }

    /// The outcome of a command of the given session, if it is still known.
    pub fn outcome(&self, node: NodeId, incarnation: u64, number: u64) -> Option<&Outcome> {
        let session = self
            .by_node
            .get(&node)
            .filter(|session| session.incarnation == incarnation)?;
        session.outcomes.get(&number)
    }
}

/// What is remembered of a command that came with an idempotency key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// The digest of the command's body, by which another command under the same key is told apart.
    pub body: Digest,
    /// What it was answered.
    pub outcome: Outcome,
    /// Cluster time in milliseconds at which it is forgotten.
    pub until_ms: u64,
}

/// The idempotency keys of a project.
#[derive(Clone, Debug, Default)]
pub struct IdempotencyKeys {
    by_key: OrdMap<Arc<str>, Arc<Remembered>>,
    by_time: OrdSet<(u64, Arc<str>)>,
    pub(crate) digest: Digest,
}

const REMEMBERED_DIGEST: u8 = 3;
const BODY_DIGEST: u8 = 4;

/// The digest by which two bodies under one idempotency key are compared.
pub(crate) fn body_digest(body: &impl Serialize) -> Digest {
    Digest::of(BODY_DIGEST, body)
}

impl IdempotencyKeys {
    /// What is remembered under `key` at `now_ms`.
    pub fn get(&self, key: &str, now_ms: u64) -> Option<&Arc<Remembered>> {
        self.by_key.get(key).filter(|remembered| remembered.until_ms > now_ms)
    }

    /// Remembers the outcome of a command, and clears away a few keys whose time is over; tells `changed` of each key
    /// that came or went.
    pub(crate) fn remember(
        &mut self,
        key: Arc<str>,
        body: Digest,
        outcome: Outcome,
        now_ms: u64,
        changed: &mut dyn FnMut(Arc<str>),
    ) {
        for _ in 0..FORGOTTEN_PER_COMMAND {
            let Some((until_ms, old)) = self.by_time.get_min().cloned() else {
                break;
            };
            if until_ms > now_ms {
                break;
            }
            self.remove(&old);
            changed(old);
        }
        self.remove(&key);
        self.restore(
            key.clone(),
            Remembered {
                body,
                outcome,
                until_ms: now_ms.saturating_add(IDEMPOTENCY_MS),
            },
        );
        changed(key);
    }

    pub(crate) fn restore(&mut self, key: Arc<str>, remembered: Remembered) {
        self.digest.add(Digest::of(REMEMBERED_DIGEST, &(&key, &remembered)));
        self.by_time.insert((remembered.until_ms, key.clone()));
        self.by_key.insert(key, Arc::new(remembered));
    }

    fn remove(&mut self, key: &Arc<str>) {
        if let Some(old) = self.by_key.remove(key) {
            self.by_time.remove(&(old.until_ms, key.clone()));
            self.digest.subtract(Digest::of(REMEMBERED_DIGEST, &(key, &*old)));
        }
    }

    /// How many are stored, those included whose time is over.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is stored.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Forgets the first of them, and says which that was.
    pub(crate) fn forget_first(&mut self) -> Option<Arc<str>> {
        let key = self.by_key.get_min()?.0.clone();
        self.remove(&key);
        Some(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Remembered>)> {
        self.by_key.iter()
    }

    pub(crate) fn stored(&self, key: &str) -> Option<&Arc<Remembered>> {
        self.by_key.get(key)
    }
}
