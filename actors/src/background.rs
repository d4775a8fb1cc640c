//! Work that takes long and for which no caller waits: on a thread of its own, which lets the others of the node go first.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How far such a thread steps back (see nice(2)): to a tenth of what another gets of a busy core. So it may stand still for
/// a tenth of a second, and must hold no lock then that others wait for: see [`promptly`].
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

/// Lets the threads of this name, at most fifteen bytes of it, go behind the others of the node: those that a library has
/// started, which do not give way by themselves. Says whether there is one.
#[cfg(target_os = "linux")]
pub(crate) fn send_back(name: &str) -> bool {
    use rustix::process::{Pid, setpriority_process};
    let mut found = false;
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for task in tasks {
        let known = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let id = task.file_name().to_str().and_then(|id| id.parse().ok());
        if known.trim_end() == name
            && let Some(id) = id.and_then(Pid::from_raw)
        {
            // As above: Linux lowers that of the thread alone, and where it may not it works all the same.
            let _ = setpriority_process(Some(id), NICE);
            found = true;
        }
    }
    found
}

/// Elsewhere a thread has no priority of its own.
#[cfg(not(target_os = "linux"))]
pub(crate) fn send_back(_: &str) -> bool {
    true
}

/// Does for a thread that has given way what is to be done under locks that others wait for: on a thread of the runtime, while
/// the caller waits. Here, if the runtime has ended: then nobody else waits.
pub(crate) fn promptly<T: Send + 'static>(runtime: &Handle, work: &Arc<impl Fn() -> T + Send + Sync + 'static>) -> T {
    let (done, result) = oneshot::channel();
    let there = work.clone();
    runtime.spawn(async move {
        // The caller waits for it.
        let _ = done.send(there());
    });
    result.blocking_recv().unwrap_or_else(|_| work())
}

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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_is_sent_back_by_its_name() {
        use std::sync::mpsc::sync_channel;
        let ((say, said), (go, gone)) = (sync_channel(1), sync_channel(1));
        let thread = thread::Builder::new().name("sent back".to_owned());
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let other = thread.spawn(move || {
            say.send(priority()).unwrap();
            gone.recv().unwrap();
            priority()
        });
        let before = said.recv().unwrap();
        assert!(!send_back("of another name"));
        assert!(send_back("sent back"));
        go.send(()).unwrap();
        assert_eq!(other.unwrap().join().unwrap(), (before + NICE).min(19));
        assert_eq!(priority(), before);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_is_to_be_done_promptly_is_not_done_on_a_thread_that_has_given_way() {
        let work = Arc::new(|| rustix::process::getpriority_process(None).unwrap());
        let (before, runtime) = (work(), Handle::current());
        let found = run("waits", move || (work(), promptly(&runtime, &work)));
        assert_eq!(found.await.unwrap(), ((before + NICE).min(19), before));
    }

    #[test]
    fn it_is_done_by_the_caller_when_the_runtime_has_ended() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let handle = runtime.handle().clone();
        drop(runtime);
        assert_eq!(promptly(&handle, &Arc::new(|| 1 + 1)), 2);
    }
}
