//! Those who wait for a key to reach a revision.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use queenright_protocol::colony::Key;
use tokio::sync::oneshot;

/// A waiter and the revision that it waits for.
type Waiter = (u64, oneshot::Sender<u64>);

/// So many keys may be waited for before those whose waiters have all given up are cleared away.
const KEYS_BEFORE_SWEEP_MIN: usize = 64;

/// All waiters, by project and key.
#[derive(Default)]
pub(crate) struct Waiters {
    // A mutex: agents register from their own tasks, the applier wakes them from its own. Held for a look-up.
    list: Mutex<List>,
    /// How many keys are waited for, so that applying costs nothing while nobody waits.
    keys: AtomicUsize,
}

#[derive(Default)]
struct List {
    by_key: HashMap<(String, Key), Vec<Waiter>>,
    /// How many keys the last sweep left; the next one comes at twice as many.
    swept_to: usize,
}

impl List {
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

impl Waiters {
    /// Registers a waiter.
    pub(crate) fn register(&self, project: &str, key: &Key, revision: u64) -> oneshot::Receiver<u64> {
        let (sender, receiver) = oneshot::channel();
        let mut list = self.lock();
        list.sweep_if_grown();
        let by_key = &mut list.by_key;
        let waiters = by_key.entry((project.to_string(), key.clone())).or_default();
        waiters.retain(|(_, sender)| !sender.is_closed());
        waiters.push((revision, sender));
        self.keys.store(by_key.len(), Ordering::SeqCst);
        receiver
    }

    /// The keys that are waited for.
    pub(crate) fn keys(&self) -> Vec<(String, Key)> {
        self.lock().by_key.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().expect("nothing panics under this lock")
    }

    /// Wakes those who wait for `key` and are content with `revision`.
    pub(crate) fn changed(&self, project: &str, key: &Key, revision: u64) {
        if self.keys.load(Ordering::SeqCst) == 0 {
            return;
        }
        let by_key = &mut self.lock().by_key;
        let name = (project.to_string(), key.clone());
        let Some(waiters) = by_key.get_mut(&name) else { return };
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
            by_key.remove(&name);
            self.keys.store(by_key.len(), Ordering::SeqCst);
        } else {
            *waiters = rest;
        }
    }
}
