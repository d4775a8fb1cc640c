//! Those who wait for something to reach a revision: a key of the memory, or a claim that waits for a task.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;

/// A waiter and the revision that it waits for.
type Waiter = (u64, oneshot::Sender<u64>);

/// So many keys may be waited for before those whose waiters have all given up are cleared away.
const KEYS_BEFORE_SWEEP_MIN: usize = 64;

/// All waiters, by what they wait for.
pub(crate) struct Waiters<K> {
    // A mutex: agents register from their own tasks, the applier wakes them from its own. Held for a look-up.
    list: Mutex<List<K>>,
    /// How many keys are waited for, so that applying costs nothing while nobody waits.
    keys: AtomicUsize,
}

struct List<K> {
    by_key: HashMap<K, Vec<Waiter>>,
    /// How many keys the last sweep left; the next one comes at twice as many.
    swept_to: usize,
}

impl<K> Default for Waiters<K> {
    fn default() -> Waiters<K> {
        Waiters {
            list: Mutex::new(List {
                by_key: HashMap::new(),
                swept_to: 0,
            }),
            keys: AtomicUsize::new(0),
        }
    }
}

impl<K> List<K> {
    /// Clears away all who gave up, seldom enough that registering stays cheap.
    fn sweep_if_grown(&mut self) {
        if self.by_key.len() >= 2 * self.swept_to.max(KEYS_BEFORE_SWEEP_MIN) {
            self.by_key.retain(|_, waiters| {
                waiters.retain(|(_, sender)| !sender.is_closed());
                !waiters.is_empty()
            });
            self.swept_to = self.by_key.len();
        }
    }
}

impl<K: Clone + Eq + Hash> Waiters<K> {
    /// Registers a waiter.
    pub(crate) fn register(&self, key: K, revision: u64) -> oneshot::Receiver<u64> {
        let (sender, receiver) = oneshot::channel();
        let mut list = self.lock();
        list.sweep_if_grown();
        let by_key = &mut list.by_key;
        let waiters = by_key.entry(key).or_default();
        waiters.retain(|(_, sender)| !sender.is_closed());
        waiters.push((revision, sender));
        self.keys.store(by_key.len(), Ordering::SeqCst);
        receiver
    }

    /// The keys that are waited for.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.lock().by_key.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, List<K>> {
        self.list.lock().expect("nothing panics under this lock")
    }

    /// Wakes those who wait for what `key` makes, which is not asked while nobody waits, and are content with `revision`.
    pub(crate) fn changed(&self, revision: u64, key: impl FnOnce() -> K) {
        if self.keys.load(Ordering::SeqCst) == 0 {
            return;
        }
        let by_key = &mut self.lock().by_key;
        let key = key();
        let Some(waiters) = by_key.get_mut(&key) else { return };
        let mut rest = Vec::new();
        for (wanted, sender) in waiters.drain(..) {
            if wanted <= revision {
                // The waiter may have given up; then nobody is to be told.
                let _ = sender.send(revision);
            } else {
                rest.push((wanted, sender));
            }
        }
        if rest.is_empty() {
            by_key.remove(&key);
            self.keys.store(by_key.len(), Ordering::SeqCst);
        } else {
            *waiters = rest;
        }
    }
}
