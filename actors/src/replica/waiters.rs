//! Those who wait for a key to reach a revision.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use queenright_protocol::colony::Key;
use tokio::sync::oneshot;

/// A waiter and the revision that it waits for.
type Waiter = (u64, oneshot::Sender<u64>);

/// All waiters, by project and key.
#[derive(Default)]
pub(crate) struct Waiters {
    // A mutex: agents register from their own tasks, the applier wakes them from its own. Held for a look-up.
    by_key: Mutex<HashMap<(String, Key), Vec<Waiter>>>,
    /// How many keys are waited for, so that applying costs nothing while nobody waits.
    keys: AtomicUsize,
}

impl Waiters {
    /// Registers a waiter.
    pub(crate) fn register(&self, project: &str, key: &Key, revision: u64) -> oneshot::Receiver<u64> {
        let (sender, receiver) = oneshot::channel();
        let mut by_key = self.by_key.lock().expect("nothing panics under this lock");
        let waiters = by_key.entry((project.to_string(), key.clone())).or_default();
        // Those who gave up are cleared away by the next one who waits for the same key.
        waiters.retain(|(_, sender)| !sender.is_closed());
        waiters.push((revision, sender));
        self.keys.store(by_key.len(), Ordering::SeqCst);
        receiver
    }

    /// Wakes those who wait for `key` and are content with `revision`.
    pub(crate) fn changed(&self, project: &str, key: &Key, revision: u64) {
        if self.keys.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut by_key = self.by_key.lock().expect("nothing panics under this lock");
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
