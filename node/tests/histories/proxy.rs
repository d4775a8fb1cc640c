//! Links between nodes that can be cut: a TCP proxy of this process stands in each of them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// As much as is on its way through one direction of a connection.
const BUFFER_BYTES: usize = 64 << 10;
/// How long connecting to the node behind may take: it is on this host.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// What a link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkMode {
    /// It carries.
    Up,
    /// Its connections end, and new ones end at once.
    Cut,
    /// Nothing passes and nothing ends, as if packets were lost. What was sent meanwhile arrives when it is up again.
    Silent,
}

/// A link that can be cut. It ends with the runtime on which it was started.
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<LinkMode>,
}

impl Proxy {
    /// Listens on a free port, for connections to `target`.
    pub(crate) async fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, _) = watch::channel(LinkMode::Up);
        let modes = mode.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mode = modes.subscribe();
                tokio::spawn(carry(near, target, mode));
            }
        });
        Proxy { address, mode }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, mode: LinkMode) {
        self.mode.send_replace(mode);
    }
}

/// Carries one connection until either end closes it or the link is cut.
async fn carry(near: TcpStream, target: SocketAddr, mode: watch::Receiver<LinkMode>) {
    let mut cut = mode.clone();
    let both_ways = async {
        let connected = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(target)).await;
        // A node that is not there is for the one that dialled to see: its connection ends.
        let Ok(Ok(far)) = connected else { return };
        for stream in [&near, &far] {
            let _ = stream.set_nodelay(true);
        }
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        tokio::select! {
            () = pump(near_read, far_write, mode.clone()) => {}
            () = pump(far_read, near_write, mode) => {}
        }
    };
    tokio::select! {
        () = both_ways => {}
        _ = cut.wait_for(|mode| *mode == LinkMode::Cut) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<LinkMode>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if mode.wait_for(|mode| *mode == LinkMode::Up).await.is_err() || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}
