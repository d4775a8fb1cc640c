//! What the log holds, in memory: vote, positions, and where each entry stands. Replayed from the records at the start,
//! changed by the same calls afterwards.

use std::collections::VecDeque;

use openraft::alias::VoteOf;

use super::record::{Body, ENTRY_HEAD_BYTES, HEAD_BYTES, Head, Kind, Payload, PayloadKind, Position};
use super::record::{read_vote, vote_bytes};
use crate::consensus::types::TypeConfig;

/// What an entry costs in memory besides its bytes, rounded up.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 128;

/// What does not fit what the log holds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    /// There is a gap in front of an entry, or it is there already.
    #[error("entry {entry} follows entry {last}")]
    NotNext {
        /// Its index.
        entry: u64,
        /// That of the entry before.
        last: u64,
    },
    /// Entries that are not purged are not there.
    #[error("entries {first} to {last} are missing")]
    Missing {
        /// The index of the first of them.
        first: u64,
        /// And of the last.
        last: u64,
    },
    /// A chunk begins with another state than its predecessors end with.
    #[error("it begins with another state than the log has there")]
    OtherStart,
    /// The body of a record.
    #[error("a record of the kind {0:?} that does not decode")]
    Undecodable(Kind),
}

/// Where a payload stands on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The chunk, by where it begins in the log.
    pub(super) chunk: u64,
    /// Where the payload begins in the chunk's file.
    pub(super) at: u64,
    pub(super) length: usize,
    /// Where its record ends in the log.
    pub(super) end: u64,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) position: Position,
    pub(super) kind: PayloadKind,
    pub(super) place: Place,
    /// `None` once it is on disk and memory was needed for later entries.
    pub(super) payload: Option<Payload>,
}

/// The log in memory.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) vote: Option<VoteOf<TypeConfig>>,
    pub(super) committed: Option<Position>,
    pub(super) purged: Option<Position>,
    /// What stands in front of the first slot.
    before: Option<Position>,
    slots: VecDeque<Slot>,
    /// How many slots in front have no payload in memory.
    evicted: usize,
    cached_bytes: usize,
}

impl State {
    /// The last position of the log, purged or not.
    pub(super) fn last(&self) -> Option<Position> {
        self.slots.back().map(|slot| slot.position).or(self.before)
    }

    /// The index of the first entry that is kept, or that would follow.
    pub(super) fn first_index(&self) -> u64 {
        match self.slots.front() {
            Some(slot) => slot.position.index,
            None => self.before.map_or(0, |before| before.index + 1),
        }
    }

    /// The entries with an index in `[from, to)`.
    pub(super) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &Slot> {
        let first = self.first_index();
        let place = |index: u64| (index.saturating_sub(first) as usize).min(self.slots.len());
        let (from, to) = (place(from), place(to));
        self.slots.range(from..to.max(from))
    }

    /// The chunk of the first entry that is kept.
    pub(super) fn first_chunk(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.place.chunk)
    }

    /// Adds an entry behind the last one.
    ///
    /// # Errors
    /// [`Misfit::NotNext`].
    pub(super) fn append(&mut self, slot: Slot) -> Result<(), Misfit> {
        self.check_next(slot.position)?;
        self.cached_bytes += slot.cost_bytes();
        if slot.payload.is_none() && self.evicted == self.slots.len() {
            self.evicted += 1;
        }
        self.slots.push_back(slot);
        Ok(())
    }

    /// Whether an entry at `position` may follow.
    ///
    /// # Errors
    /// [`Misfit::NotNext`].
    pub(super) fn check_next(&self, position: Position) -> Result<(), Misfit> {
        self.last().map_or(Ok(()), |last| follows(last, position))
    }

    /// Drops the entries from `next` on.
    pub(super) fn truncate(&mut self, next: u64) {
        while self.slots.back().is_some_and(|slot| slot.position.index >= next) {
            let slot = self.slots.pop_back().expect("it has a back");
            self.cached_bytes -= slot.cost_bytes();
        }
        self.evicted = self.evicted.min(self.slots.len());
    }

    /// Drops the entries up to `position`.
    pub(super) fn purge(&mut self, position: Position) {
        if self.purged >= Some(position) {
            return;
        }
        self.purged = Some(position);
        while self
            .slots
            .front()
            .is_some_and(|slot| slot.position.index <= position.index)
        {
            let slot = self.slots.pop_front().expect("it has a front");
            self.cached_bytes -= slot.cost_bytes();
            self.evicted = self.evicted.saturating_sub(1);
        }
        if self.before.is_none_or(|before| before.index < position.index) {
            self.before = Some(position);
        }
    }

    /// Drops the oldest payloads that are on disk (up to `synced`) while more than `bytes_max` are held.
    pub(super) fn evict(&mut self, bytes_max: usize, synced: u64) {
        while self.cached_bytes > bytes_max
            && let Some(slot) = self.slots.get_mut(self.evicted)
            && slot.place.end <= synced
        {
            self.cached_bytes -= slot.cost_bytes();
            slot.payload = None;
            self.evicted += 1;
        }
    }

    /// The body of the record that begins a chunk.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let vote = self.vote.as_ref().map(vote_bytes);
        put_option(&mut out, vote.as_ref().map(|vote| vote.as_slice()));
        for position in [self.committed, self.purged, self.last()] {
            let bytes = position.map(Position::to_bytes);
            put_option(&mut out, bytes.as_ref().map(|bytes| bytes.as_slice()));
        }
        out
    }

    /// The state with which the oldest chunk begins: what is in front of it is gone.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<State> {
        let mut body = Body(bytes);
        let vote = match body.byte()? {
            0 => None,
            1 => Some(read_vote(&mut body)?),
            _ => return None,
        };
        let mut position = || match body.byte()? {
            0 => Some(None),
            1 => Some(Some(Position::read(&mut body)?)),
            _ => None,
        };
        let (committed, purged, before) = (position()?, position()?, position()?);
        body.ends().then_some(State {
            vote,
            committed,
            purged,
            before,
            ..State::default()
        })
    }

    /// Replays a record. `chunk` is where its chunk begins.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn replay(&mut self, chunk: u64, head: &Head, bytes: &[u8]) -> Result<(), Misfit> {
        let mut body = Body(bytes);
        match head.kind {
            Kind::Start => {
                if bytes != self.to_bytes() {
                    return Err(Misfit::OtherStart);
                }
                return Ok(());
            }
            Kind::Entry => {
                let slot = entry(chunk, head, &mut body).ok_or_else(|| unreadable(head))?;
                return self.append(slot);
            }
            Kind::Vote => self.vote = Some(read_vote(&mut body).ok_or_else(|| unreadable(head))?),
            Kind::Committed => self.committed = Some(Position::read(&mut body).ok_or_else(|| unreadable(head))?),
            Kind::Truncate => {
                let next = body.long().ok_or_else(|| unreadable(head))?;
                self.truncate(next);
            }
            Kind::Purge => {
                let position = Position::read(&mut body).ok_or_else(|| unreadable(head))?;
                self.purge(position);
            }
        }
        body.ends().then_some(()).ok_or_else(|| unreadable(head))
    }

    /// Whether every entry behind the purged ones is there.
    ///
    /// # Errors
    /// [`Misfit::Missing`].
    pub(super) fn check_whole(&self) -> Result<(), Misfit> {
        let purged = self.purged.map(|purged| purged.index);
        let before = self.before.map(|before| before.index);
        match before {
            Some(last) if Some(last) > purged => {
                let first = purged.map_or(0, |purged| purged + 1);
                Err(Misfit::Missing { first, last })
            }
            _ => Ok(()),
        }
    }
}

impl Slot {
    fn cost_bytes(&self) -> usize {
        let payload = self.payload.as_ref();
        payload.map_or(0, |payload| payload.bytes.len() + ENTRY_OVERHEAD_BYTES)
    }
}

/// Entries are replayed without their payload: it is read when it is asked for.
fn entry(chunk: u64, head: &Head, body: &mut Body<'_>) -> Option<Slot> {
    let position = Position::read(body)?;
    let kind = PayloadKind::of(body.byte()?)?;
    Some(Slot {
        position,
        kind,
        place: Place {
            chunk,
            at: head.offset - chunk + (HEAD_BYTES + ENTRY_HEAD_BYTES) as u64,
            length: body.0.len(),
            end: head.offset + (HEAD_BYTES + head.padded()) as u64,
        },
        payload: None,
    })
}

fn put_option(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.push(u8::from(bytes.is_some()));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn unreadable(head: &Head) -> Misfit {
    Misfit::Undecodable(head.kind)
}

/// Whether an entry at `next` may stand behind one at `last`.
pub(super) fn follows(last: Position, next: Position) -> Result<(), Misfit> {
    match last.index + 1 == next.index {
        true => Ok(()),
        false => Err(Misfit::NotNext {
            entry: next.index,
            last: last.index,
        }),
    }
}
