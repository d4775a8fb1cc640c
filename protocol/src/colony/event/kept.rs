//! The events that a project keeps. Bounded by count, bytes and age: the oldest events go, and a reader whose cursor lies
//! before them is told so.
//!
//! Events go when others come, never by themselves: an idle project writes nothing. What is over count or bytes goes at
//! once, for one event can be over by no more than its own bytes; of what is too old a few go with each new event, so that
//! a project that was silent for long makes no command expensive.

use std::sync::Arc;

use imbl::Vector;

use super::{Cursor, Event, What};
use crate::colony::digest::Digest;

/// How many events a project keeps.
pub const EVENTS_KEPT_MAX: usize = 262_144;
/// How many bytes of events a project keeps, by [`Event::bytes`].
pub const EVENT_BYTES_KEPT_MAX: u64 = 64 << 20;
/// How long a project keeps an event, in milliseconds of cluster time: a week. It goes with the next events after that.
pub const EVENTS_KEPT_MS: u64 = 7 * 24 * 3_600_000;
/// How many events that are too old go with each new one: more than one, so that they grow fewer.
const AGED_PER_EVENT: usize = 4;

/// Why events cannot be read from a cursor on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Events after the cursor have been dropped; `oldest` is the first one that is kept.
    #[error("events after {after:?} are no longer kept, the oldest kept one is at seq {}", oldest.seq)]
    Expired {
        /// The cursor asked for.
        after: Cursor,
        /// The oldest event kept.
        oldest: Cursor,
    },
    /// The cluster was recovered after its majority was lost, and the cursor lies in what went with it: the events up to
    /// it may be gone, or be others than were read. Read the state anew, and follow from `resumed` on.
    #[error(
        "the cluster was recovered from what one node had: it is the same up to seq {certain}, goes on behind seq \
         {resumed}, and {after:?} lies between"
    )]
    Lost {
        /// The cursor asked for.
        after: Cursor,
        /// Up to here nothing was lost.
        certain: u64,
        /// New events are behind this.
        resumed: u64,
    },
}

/// The events that a project keeps.
#[derive(Clone, Debug, Default)]
pub struct Events {
    kept: Vector<(Arc<Event>, Digest)>,
    bytes: u64,
    /// The newest event that was dropped.
    dropped: Option<Cursor>,
    pub(crate) digest: Digest,
}

const EVENT_DIGEST: u8 = 2;

impl Events {
    /// The newest event dropped so far, if any was.
    pub fn dropped(&self) -> Option<Cursor> {
        self.dropped
    }

    /// How many events are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether no event is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The events after `after`, oldest first.
    ///
    /// # Errors
    /// When some of them have been dropped already: never a silent gap.
    pub fn after(
        &self,
        after: Cursor,
    ) -> Result<impl DoubleEndedIterator<Item = &Arc<Event>> + ExactSizeIterator, CursorError> {
        if let Some(dropped) = self.dropped
            && after < dropped
        {
            let oldest = self.kept.front().map_or(dropped, |(event, _)| event.cursor);
            return Err(CursorError::Expired { after, oldest });
        }
        let start = match self.kept.binary_search_by(|(event, _)| event.cursor.cmp(&after)) {
            Ok(place) => place + 1,
            Err(place) => place,
        };
        Ok(self.kept.focus().narrow(start..).into_iter().map(|(event, _)| event))
    }

    /// The newest event.
    pub fn newest(&self) -> Option<&Arc<Event>> {
        self.kept.back().map(|(event, _)| event)
    }

    /// Who caused what happened at this position, if that is still kept.
    pub fn author_at(&self, seq: u64) -> Option<&Arc<str>> {
        let first = Cursor { seq, ordinal: 0 };
        let place = match self.kept.binary_search_by(|(event, _)| event.cursor.cmp(&first)) {
            Ok(place) | Err(place) => place,
        };
        let (event, _) = self.kept.get(place).filter(|(event, _)| event.cursor.seq == seq)?;
        Some(&event.author)
    }

    /// How often in a row the proposal had lost that lost at this position, if its author was this one and it is still
    /// known.
    pub(crate) fn losses(&self, seq: u64, author: &str) -> Option<u64> {
        let first = Cursor { seq, ordinal: 0 };
        let start = match self.kept.binary_search_by(|(event, _)| event.cursor.cmp(&first)) {
            Ok(place) | Err(place) => place,
        };
        // The event of a loss is the last of its command, after at most one about a task.
        let told = (start..start + 2)
            .map_while(|place| self.kept.get(place))
            .map(|(event, _)| event);
        let mut told = told.filter(|event| event.cursor.seq == seq && *event.author == *author);
        told.find_map(|event| match event.what {
            What::Lost { losses, .. } => Some(losses),
            _ => None,
        })
    }

    /// Adds an event, and drops the oldest ones past the limits.
    pub(crate) fn push(&mut self, event: Arc<Event>) {
        let now_ms = event.cluster_ms;
        self.append(event);
        while self.kept.len() > EVENTS_KEPT_MAX || (self.bytes > EVENT_BYTES_KEPT_MAX && self.kept.len() > 1) {
            self.drop_oldest();
        }
        for _ in 0..AGED_PER_EVENT {
            let oldest = self.kept.front();
            if oldest.is_none_or(|(event, _)| event.cluster_ms.saturating_add(EVENTS_KEPT_MS) >= now_ms) {
                break;
            }
            self.drop_oldest();
        }
    }

    fn append(&mut self, event: Arc<Event>) {
        let digest = Digest::of(EVENT_DIGEST, &event);
        self.digest.add(digest);
        self.bytes += event.bytes();
        self.kept.push_back((event, digest));
    }

    /// Drops the oldest event.
    ///
    /// # Panics
    /// When none is kept.
    pub(crate) fn drop_oldest(&mut self) {
        let (event, digest) = self.kept.pop_front().expect("the caller has looked at the oldest");
        self.digest.subtract(digest);
        self.bytes -= event.bytes();
        self.dropped = Some(event.cursor);
    }

    /// Puts back what was stored or sent. Drops nothing: what was kept when it was written is kept.
    pub(crate) fn restore(dropped: Option<Cursor>, events: impl IntoIterator<Item = Event>) -> Events {
        let mut restored = Events {
            dropped,
            ..Events::default()
        };
        for event in events {
            if dropped.is_none_or(|dropped| event.cursor > dropped) {
                restored.append(Arc::new(event));
            }
        }
        restored
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.kept.iter().map(|(event, _)| event)
    }
}
