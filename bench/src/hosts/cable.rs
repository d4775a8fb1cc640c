//! The cables between hosts and bridge where the kernel has no netem: what a host sends is read from a macvtap device, and
//! written to another one later, or not at all. What is sent to a host is carried at once.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::fs::OFlags;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{HostsError, Weather};

/// As much as a frame may have, with what the device puts before it.
const FRAME_BYTES_MAX: usize = 80 << 10;
/// How many packets of a host may be on their way; as in netem more are lost.
const WAITING_MAX: usize = 1_000;

/// The cables of all hosts, on a thread of their own.
#[derive(Debug)]
pub(super) struct Cables {
    /// They end when this is dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One end of a cable.
type End = Arc<AsyncFd<File>>;

impl Cables {
    /// Each cable lies between a device at a host and one at the bridge.
    pub(super) fn start(
        devices: impl Iterator<Item = (String, String)>,
        weather: Weather,
    ) -> Result<Cables, HostsError> {
        let ends: Vec<(File, File)> = devices
            .map(|(host, bridge)| Ok((open(&host)?, open(&bridge)?)))
            .collect::<Result<_, HostsError>>()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| of_device("the runtime", source))?;
        let thread = thread::spawn(move || runtime.block_on(carry(ends, weather, stopped)));
        Ok(Cables {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

fn of_device(device: &str, source: io::Error) -> HostsError {
    HostsError::Device {
        device: device.to_owned(),
        source,
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        self.stop = None;
        // Why one has failed was logged then.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Opens the device of this name. What is read from it and written to it begins with a virtio_net_hdr, which says what is
/// still to be done about the checksum: it is carried as it is.
fn open(name: &str) -> Result<File, HostsError> {
    let opened = fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).and_then(|index| {
        File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(format!("/dev/tap{}", index.trim()))
    });
    opened.map_err(|source| of_device(name, source))
}

/// Carries until it is stopped. A cable that fails before that carries no more: all that it had to carry is lost.
async fn carry(ends: Vec<(File, File)>, weather: Weather, stopped: oneshot::Receiver<()>) {
    let mut cables = JoinSet::new();
    for (place, (host, bridge)) in ends.into_iter().enumerate() {
        // What took its place is unsafe code. The files are neither replaced nor closed while they are registered.
        #[allow(deprecated, reason = "see above")]
        let [host, bridge] = [host, bridge].map(|end| AsyncFd::new(end).map(Arc::new));
        let (host, bridge) = match (host, bridge) {
            (Ok(host), Ok(bridge)) => (host, bridge),
            (Err(error), _) | (_, Err(error)) => return tracing::error!(%error, "a cable cannot be used"),
        };
        cables.spawn(carry_late(host.clone(), bridge.clone(), weather, place as u64));
        cables.spawn(carry_at_once(bridge, host));
    }
    tokio::select! {
        // Its sender was dropped: that is how it is stopped.
        _ = stopped => {}
        ended = cables.join_next() => tracing::error!(?ended, "a cable has ended"),
    }
}

async fn carry_at_once(from: End, to: End) -> io::Result<()> {
    let mut frame = vec![0; FRAME_BYTES_MAX];
    loop {
        let length = read(&from, &mut frame).await?;
        write(&to, &frame[..length]);
    }
}

async fn carry_late(from: End, to: End, weather: Weather, seed: u64) -> io::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut frame = vec![0; FRAME_BYTES_MAX];
    loop {
        let due = waiting.front().map(|(due, _)| *due);
        tokio::select! {
            length = read(&from, &mut frame) => {
                let length = length?;
                let is_lost = random.random_bool(weather.loss_percent / 100.0);
                if !is_lost && waiting.len() < WAITING_MAX {
                    waiting.push_back((Instant::now() + weather.delay, frame[..length].to_vec()));
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let now = Instant::now();
                while waiting.front().is_some_and(|(due, _)| *due <= now) {
                    let (_, frame) = waiting.pop_front().expect("it was looked at");
                    write(&to, &frame);
                }
            }
        }
    }
}

async fn read(from: &AsyncFd<File>, frame: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = from.readable().await?;
        match ready.try_io(|from| from.get_ref().read(frame)) {
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(read) => return read,
            Err(_not_ready) => {}
        }
    }
}

/// Writes a frame. One that the device does not take is lost, as on any line.
fn write(to: &AsyncFd<File>, frame: &[u8]) {
    let _ = to.get_ref().write(frame);
}
