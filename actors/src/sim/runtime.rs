//! The runtime that openraft has in tests: tokio, but what openraft draws at random comes from a seed while a simulated
//! node runs on this thread, who waits on a watch is woken in the order of waiting, and blocking work is done in place.
//! Outside of a simulation it is tokio.

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::impls::TokioRuntime;
use rand::{RngCore, SeedableRng};
use rand_of_libraries::SeedableRng as _;
use rand_of_libraries::rngs::SmallRng;

use super::watch::OrderedWatch;

thread_local! {
    /// Where the randomness of the node that runs on this thread comes from; `None` outside of a simulation.
    static RANDOM: RefCell<Option<rand::rngs::StdRng>> = const { RefCell::new(None) };
}

/// Makes what openraft draws on this thread depend on a seed, until it is dropped.
pub(super) struct Seeded(());

impl Seeded {
    pub(super) fn with(seed: u64) -> Seeded {
        RANDOM.set(Some(rand::rngs::StdRng::seed_from_u64(seed)));
        Seeded(())
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        RANDOM.set(None);
    }
}

fn next_seed() -> Option<u64> {
    RANDOM.with_borrow_mut(|random| random.as_mut().map(RngCore::next_u64))
}

/// See the module.
#[derive(Debug)]
pub struct SimRuntime(TokioRuntime);

impl AsyncRuntime for SimRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + Send> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> SmallRng {
        SmallRng::seed_from_u64(next_seed().unwrap_or_else(rand::random))
    }

    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = OrderedWatch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn new(threads: usize) -> Self {
        SimRuntime(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    async fn spawn_blocking<F, T>(f: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if RANDOM.with_borrow(Option::is_some) {
            // Another thread would finish at a moment that no seed decides.
            return Ok(f());
        }
        tokio::task::spawn_blocking(f).await.map_err(io::Error::other)
    }
}
