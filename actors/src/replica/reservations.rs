//! Those who wait for a reservation to be granted: woken by this node's own apply.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use queenright_protocol::colony::ReservationId;
use tokio::sync::oneshot;

type ByReservation = HashMap<(String, ReservationId), Vec<oneshot::Sender<()>>>;

/// All of them, by project and reservation. Those who gave up are cleared away when theirs is woken, or somebody else
/// waits for it: every reservation settles within the longest wait.
#[derive(Default)]
pub(crate) struct ReservationWaiters {
    // A mutex: doors register from their own tasks, the applier wakes them from its own. Held for a look-up.
    by_reservation: Mutex<ByReservation>,
    /// How many reservations are waited for, so that applying costs nothing while nobody waits.
    count: AtomicUsize,
}

impl ReservationWaiters {
    fn lock(&self) -> MutexGuard<'_, ByReservation> {
        self.by_reservation.lock().expect("nothing panics under this lock")
    }

    pub(crate) fn register(&self, project: &str, reservation: ReservationId) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.lock();
        let of_this = waiters.entry((project.to_owned(), reservation)).or_default();
        of_this.retain(|sender| !sender.is_closed());
        of_this.push(sender);
        self.count.store(waiters.len(), Ordering::SeqCst);
        receiver
    }

    /// Whether anybody waits for it.
    pub(crate) fn has(&self, project: &str, reservation: ReservationId) -> bool {
        self.count.load(Ordering::SeqCst) > 0 && self.lock().contains_key(&(project.to_owned(), reservation))
    }

    pub(crate) fn all(&self) -> Vec<(String, ReservationId)> {
        self.lock().keys().cloned().collect()
    }

    pub(crate) fn wake(&self, project: &str, reservation: ReservationId) {
        let mut waiters = self.lock();
        let woken = waiters.remove(&(project.to_owned(), reservation));
        self.count.store(waiters.len(), Ordering::SeqCst);
        drop(waiters);
        for sender in woken.into_iter().flatten() {
            // A caller whose time is up does not listen any more.
            let _ = sender.send(());
        }
    }
}
