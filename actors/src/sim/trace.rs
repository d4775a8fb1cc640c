//! What happened, in order: each event changes a hash, so that two runs of one seed can be compared. The last events are
//! kept as text for the report of a failure, all of them on request.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

/// How many events the report of a failure shows.
const EVENTS_SHOWN: usize = 60;

/// Shared by the parts of one simulated cluster.
#[derive(Clone)]
pub(super) struct Trace(Arc<Mutex<Events>>);

struct Events {
    now_ms: u64,
    count: u64,
    // Seeded with constants by the standard library, unlike the hasher of a `HashMap`.
    hash: DefaultHasher,
    kept: VecDeque<String>,
    kept_max: usize,
}

/// What two runs of one seed must have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) events: u64,
    pub(super) hash: u64,
}

impl Trace {
    /// Keeps the last events.
    pub(super) fn last() -> Trace {
        Trace::keeping(EVENTS_SHOWN)
    }

    /// Keeps them all.
    pub(super) fn whole() -> Trace {
        Trace::keeping(usize::MAX)
    }

    fn keeping(kept_max: usize) -> Trace {
        Trace(Arc::new(Mutex::new(Events {
            now_ms: 0,
            count: 0,
            hash: DefaultHasher::new(),
            kept: VecDeque::new(),
            kept_max,
        })))
    }

    fn events(&self) -> std::sync::MutexGuard<'_, Events> {
        self.0.lock().expect("nothing panics under this lock")
    }

    /// Moves time on.
    pub(super) fn at(&self, now_ms: u64) {
        self.events().now_ms = now_ms;
    }

    /// Notes an event.
    pub(super) fn note(&self, event: fmt::Arguments<'_>) {
        let mut events = self.events();
        let line = format!("{:>6} ms {event}", events.now_ms);
        line.hash(&mut events.hash);
        events.count += 1;
        if events.kept.len() >= events.kept_max {
            events.kept.pop_front();
        }
        events.kept.push_back(line);
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let events = self.events();
        Fingerprint {
            events: events.count,
            hash: events.hash.finish(),
        }
    }

    /// The events that are kept, in order.
    pub(super) fn lines(&self) -> Vec<String> {
        self.events().kept.iter().cloned().collect()
    }
}

/// A short name for bytes in a trace.
pub(super) fn mark(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
