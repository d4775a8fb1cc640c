//! The agents of a node in the order of their names, which stand in the agents alone.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use super::entry::Entry;

/// So many agents are looked at before the lock on them is given up for others.
pub(super) const LOOK_AGENTS: usize = 1_024;

/// An agent in its place by name.
pub(super) struct Named(pub(super) Arc<Entry>);

impl Borrow<str> for Named {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Ord for Named {
    fn cmp(&self, other: &Named) -> Ordering {
        self.0.name.cmp(&other.0.name)
    }
}

impl PartialOrd for Named {
    fn partial_cmp(&self, other: &Named) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Named) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Named {}

/// The agents by name.
#[derive(Default)]
pub(super) struct Names {
    // A mutex: the queen writes, doors read. Held for a look-up, or to note some of the agents that there are.
    named: Mutex<BTreeSet<Named>>,
}

impl Names {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeSet<Named>> {
        self.named.lock().expect("nothing panics under this lock")
    }

    /// The agent of this name.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Entry>> {
        self.lock().get(name).map(|Named(entry)| entry.clone())
    }

    /// Up to [`LOOK_AGENTS`] agents behind a name.
    pub(super) fn look(&self, after: Option<&str>) -> Vec<Arc<Entry>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let named = self.lock();
        let behind = named.range::<str, _>((from, Bound::Unbounded));
        behind.take(LOOK_AGENTS).map(|Named(entry)| entry.clone()).collect()
    }
}
