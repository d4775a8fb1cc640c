//! A watch channel that wakes who waits in the order of waiting. tokio's spreads its waiters over eight lists at random
//! (`sync/watch.rs`, `BigNotify`), which no stable option seeds: with two replication streams waiting for one position,
//! no seed repeats its trace.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::task::{Poll, Waker};

use openraft::async_runtime::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};

/// See the module.
#[derive(Debug)]
pub struct OrderedWatch;

struct Shared<T> {
    value: RwLock<T>,
    state: Mutex<State>,
    next_receiver: AtomicU64,
}

struct State {
    version: u64,
    senders: usize,
    receivers: usize,
    /// Who waits, in order: the number of the receiver, and how it is woken.
    waiting: Vec<(u64, Waker)>,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    fn value(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().expect("whoever changes the value does not panic")
    }

    fn subscribe(self: &Arc<Self>, seen: u64) -> Receiver<T> {
        self.state().receivers += 1;
        Receiver {
            shared: self.clone(),
            number: self.next_receiver.fetch_add(1, Ordering::Relaxed),
            seen,
        }
    }
}

/// The sending half.
pub struct Sender<T>(Arc<Shared<T>>);

/// The receiving half.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    number: u64,
    seen: u64,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state().senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.senders -= 1;
        if state.senders == 0 {
            self.0.wake(state);
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.subscribe(self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.receivers -= 1;
        state.waiting.retain(|(number, _)| *number != self.number);
    }
}

impl Watch for OrderedWatch {
    type Sender<T: Send + Sync> = Sender<T>;
    type Receiver<T: Send + Sync> = Receiver<T>;
    type Ref<'a, T: Send + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: Send + Sync>(init: T) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Shared {
            value: RwLock::new(init),
            state: Mutex::new(State {
                version: 0,
                senders: 1,
                receivers: 0,
                waiting: Vec::new(),
            }),
            next_receiver: AtomicU64::new(0),
        });
        let receiver = shared.subscribe(0);
        (Sender(shared), receiver)
    }
}

impl<T: Send + Sync> WatchSender<OrderedWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.state().receivers == 0 {
            return Err(SendError(value));
        }
        self.send_if_modified(|current| {
            *current = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let mut value = self.0.value.write().expect("whoever changes the value does not panic");
        let modified = modify(&mut value);
        drop(value);
        if modified {
            let mut state = self.0.state();
            state.version += 1;
            self.0.wake(state);
        }
        modified
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.value()
    }

    fn subscribe(&self) -> Receiver<T> {
        let version = self.0.state().version;
        self.0.subscribe(version)
    }
}

impl<T: Send + Sync> WatchReceiver<OrderedWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        poll_fn(|context| {
            let mut state = self.shared.state();
            if state.version != self.seen {
                self.seen = state.version;
                return Poll::Ready(Ok(()));
            }
            if state.senders == 0 {
                return Poll::Ready(Err(RecvError(())));
            }
            let waker = context.waker();
            match state.waiting.iter_mut().find(|(number, _)| *number == self.number) {
                Some((_, waiting)) => waiting.clone_from(waker),
                None => state.waiting.push((self.number, waker.clone())),
            }
            Poll::Pending
        })
        .await
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.shared.value()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        // The version first: a value that is newer than it is only announced once more.
        self.seen = self.shared.state().version;
        self.shared.value()
    }
}
