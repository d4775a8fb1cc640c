//! The child's end of the pipe that ties a node to the process that started it.

use std::io::{self, ErrorKind, Read};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// How long a node may take to end cleanly after its parent is gone; then its process exits, whatever it is doing.
/// Together with the detection, which is immediate, this stays under five seconds.
pub const GRACE: Duration = Duration::from_secs(4);

/// Resolves when stdin ends, which is when the parent has closed its end or died in any way. Call it once.
///
/// The watch has a thread of its own: a blocked read on the runtime would hold up the node's own end, and a runtime that
/// hangs must not keep an orphan alive. Dropping the future does not end the watch.
pub fn watch() -> impl Future<Output = ()> + Send + Unpin + 'static {
    let (gone, ended) = oneshot::channel();
    thread::Builder::new()
        .name("parent-pipe".to_owned())
        .spawn(move || {
            wait_for_end();
            // The receiver may be gone: then the node is ending already, and has the same time for it.
            let _ = gone.send(());
            thread::sleep(GRACE);
            std::process::exit(1);
        })
        .expect("a process that starts can make a thread");
    Box::pin(async move {
        let _ = ended.await;
    })
}

fn wait_for_end() {
    let mut stdin = io::stdin().lock();
    let mut ignored = [0; 256];
    loop {
        match stdin.read(&mut ignored) {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::Interrupted => return,
            _ => {}
        }
    }
}
