//! Work that takes long and for which no caller waits: on a thread of its own, which lets the others of the node go first.

use std::io;
use std::thread;

use tokio::sync::oneshot;

/// How far such a thread steps back (see nice(2)): to a tenth of what another gets of a busy core. Not further, since
/// the store's thread holds the lock of the replica for some microseconds of a pass.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lets the other threads of the node go before the calling one, for good: a thread may not take its priority back.
#[cfg(target_os = "linux")]
pub(crate) fn give_way() {
    // Linux lowers the priority of the calling thread alone. Where it may not be lowered it works all the same.
    let _ = rustix::process::nice(NICE);
}

/// Elsewhere it would be the priority of the whole process.
#[cfg(not(target_os = "linux"))]
pub(crate) fn give_way() {}

/// Does `work` on such a thread, called `name`, which ends with it. It is finished even if nobody waits any more.
///
/// # Errors
/// When the system gives no thread, or `work` has panicked.
pub(crate) async fn run<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        give_way();
        // Whoever asked may have stopped waiting.
        let _ = done.send(work());
    })?;
    result
        .await
        .map_err(|_| io::Error::other(format!("the thread {name} has panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_gives_its_result_or_says_that_it_panicked() {
        assert_eq!(run("adder", || 1 + 1).await.unwrap(), 2);
        let failed = run("panics", || -> u8 { panic!("on purpose") }).await.unwrap_err();
        assert_eq!(failed.to_string(), "the thread panics has panicked");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_thread_steps_back_and_no_other() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        assert_eq!(run("nice", priority).await.unwrap(), (before + NICE).min(19));
        assert_eq!(priority(), before);
    }
}
