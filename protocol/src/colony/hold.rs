//! Short exclusive holds, by which a proposal that has lost again and again gets its turn.
//!
//! ```text
//! lost for the third time ──granted──▶ held ──the attempt that follows is judged, or its time is over──▶ gone
//! ```
//!
//! While a key is held, what others write there loses with kind `reservation`, or is refused; they may read it.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::command::Key;
use super::digest::Digest;
use super::proposal::Proposal;
use super::range::Span;

/// After how many losses in a row the keys of a proposal are held for the attempt that follows, and again after as many
/// more.
pub const HOLD_AFTER_LOSSES: u64 = 3;
/// How long they are held, in milliseconds of cluster time.
pub const HOLD_MS: u64 = 5_000;
/// How many holds a project has at a time.
pub const HOLDS_MAX: usize = 16;
/// How many keys and ranges a hold may have, and how many bytes they may have. No more than that is held for anybody.
pub const HOLD_KEYS_MAX: usize = 1_024;
/// See [`HOLD_KEYS_MAX`].
pub const HOLD_BYTES_MAX: usize = 64 << 10;
/// How many of them may be ranges.
pub const HOLD_RANGES_MAX: usize = 16;

const HOLD_DIGEST: u8 = b'h';

/// Keys that are held for one proposer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Whose attempt lost.
    pub author: Arc<str>,
    /// Cluster time in milliseconds at which the hold ends by itself.
    pub until_ms: u64,
    /// What the attempt read and wrote, sorted.
    pub keys: Vec<Key>,
    /// The ranges that it read.
    pub spans: Vec<Span>,
}

impl Hold {
    /// What is held for this proposal; `None` when that is too much.
    pub(crate) fn of(proposal: &Proposal, author: &Arc<str>, until_ms: u64) -> Option<Hold> {
        let reads = proposal.reads.iter().map(|read| &read.key);
        let keys: BTreeSet<&Key> = reads.chain(proposal.writes.iter().map(|write| &write.key)).collect();
        let spans: Vec<Span> = proposal.ranges.iter().map(|range| range.span.clone()).collect();
        let texts = keys.iter().map(|key| key.len());
        let bytes: usize = texts.chain(spans.iter().map(|span| span.text().len())).sum();
        let fits =
            keys.len() + spans.len() <= HOLD_KEYS_MAX && spans.len() <= HOLD_RANGES_MAX && bytes <= HOLD_BYTES_MAX;
        fits.then(|| Hold {
            author: author.clone(),
            until_ms,
            keys: keys.into_iter().cloned().collect(),
            spans,
        })
    }

    /// Whether the key is held.
    pub fn covers(&self, key: &str) -> bool {
        let named = self.keys.binary_search_by(|held| (**held).cmp(key));
        named.is_ok() || self.spans.iter().any(|span| span.covers(key))
    }

    /// Whether there may be a key that both hold.
    fn meets(&self, other: &Hold) -> bool {
        // Globs are taken for the folders that they begin with.
        let folders_meet =
            |a: &Span, b: &Span| a.folder().starts_with(b.folder()) || b.folder().starts_with(a.folder());
        let mut spans = self.spans.iter();
        self.keys.iter().any(|key| other.covers(key))
            || other.keys.iter().any(|key| self.covers(key))
            || spans.any(|mine| other.spans.iter().any(|theirs| folders_meet(mine, theirs)))
    }
}

/// The holds of a project, by the position of the attempt that lost.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    by_seq: OrdMap<u64, Arc<Hold>>,
    pub(crate) digest: Digest,
}

impl Holds {
    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<Hold>)> {
        self.by_seq.iter().map(|(seq, hold)| (*seq, hold))
    }

    /// The hold that was granted at this position.
    pub fn get(&self, seq: u64) -> Option<&Arc<Hold>> {
        self.by_seq.get(&seq)
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.by_seq.is_empty()
    }

    /// The hold that keeps the attempt that follows `follows`, if any, from writing `key`.
    pub(crate) fn against(&self, key: &str, follows: Option<u64>, now_ms: u64) -> Option<(u64, &Arc<Hold>)> {
        let others = self.iter().filter(|(seq, _)| Some(*seq) != follows);
        let mut live = others.filter(|(_, hold)| hold.until_ms > now_ms);
        live.find(|(_, hold)| hold.covers(key))
    }

    /// Whether one more may be granted beside the others.
    pub(crate) fn has_room_for(&self, hold: &Hold) -> bool {
        self.by_seq.len() < HOLDS_MAX && !self.by_seq.values().any(|other| other.meets(hold))
    }

    /// Grants a hold, or puts one back that was stored.
    pub(crate) fn set(&mut self, seq: u64, hold: Hold) {
        self.remove(seq);
        self.digest.add(Digest::of(HOLD_DIGEST, &(seq, &hold)));
        self.by_seq.insert(seq, Arc::new(hold));
    }

    /// Ends a hold.
    pub(crate) fn remove(&mut self, seq: u64) -> Option<Arc<Hold>> {
        let hold = self.by_seq.remove(&seq)?;
        self.digest.subtract(Digest::of(HOLD_DIGEST, &(seq, &*hold)));
        Some(hold)
    }
}
