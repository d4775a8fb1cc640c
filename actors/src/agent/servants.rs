//! The passive agents of a node that take tasks, by which tasks they take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use queenright_protocol::colony::Serves;
use tokio::sync::Notify;

/// How many different sets of tasks the passive agents of a node may take, in projects, queues, kinds and capabilities: all
/// of them are looked at when something has changed. Past it an agent that takes others stays active.
pub const SERVED_MAX: usize = 1_024;

/// The numbers of the agents that take the same tasks.
type Numbers = BTreeSet<u64>;

/// All of them.
#[derive(Default)]
pub(crate) struct Servants {
    // A mutex: the queen writes, who looks for tasks reads. Held for a look-up, or for a copy of what is served.
    by_served: Mutex<BTreeMap<Arc<Serves>, Numbers>>,
    /// Somebody has come.
    came: Notify,
}

impl Servants {
    fn by_served(&self) -> MutexGuard<'_, BTreeMap<Arc<Serves>, Numbers>> {
        self.by_served.lock().expect("nothing panics under this lock")
    }

    /// These, as others have them who take the same; nothing if there is no room for one more who takes others.
    pub(super) fn admit(&self, serves: Serves) -> Option<Arc<Serves>> {
        let by_served = self.by_served();
        match by_served.get_key_value(&serves) {
            Some((known, _)) => Some(known.clone()),
            None => (by_served.len() < SERVED_MAX).then(|| Arc::new(serves)),
        }
    }

    /// An agent takes these from now on.
    pub(super) fn insert(&self, serves: &Arc<Serves>, number: u64) {
        self.by_served().entry(serves.clone()).or_default().insert(number);
        self.came.notify_one();
    }

    /// It does not any more; nothing if it did not.
    pub(super) fn remove(&self, serves: &Arc<Serves>, number: u64) {
        let mut by_served = self.by_served();
        if let Some(numbers) = by_served.get_mut(serves) {
            numbers.remove(&number);
            if numbers.is_empty() {
                by_served.remove(serves);
            }
        }
    }

    /// Takes out the agent with the lowest number of those that take these: the same few work while there is little to do,
    /// and the others stay records.
    pub(super) fn take(&self, serves: &Arc<Serves>) -> Option<u64> {
        let mut by_served = self.by_served();
        let numbers = by_served.get_mut(serves)?;
        let number = numbers.pop_first();
        if numbers.is_empty() {
            by_served.remove(serves);
        }
        number
    }

    /// What is served, and by how many.
    pub(super) fn served(&self) -> Vec<(Arc<Serves>, usize)> {
        let by_served = self.by_served();
        let counted = by_served
            .iter()
            .map(|(serves, numbers)| (serves.clone(), numbers.len()));
        counted.collect()
    }

    /// Returns when somebody has come since it last returned.
    pub(super) async fn came(&self) {
        self.came.notified().await;
    }
}
