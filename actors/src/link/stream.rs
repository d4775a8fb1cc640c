//! A TCP connection as ractor_cluster is given it: buffered, watched for silence, counted until it is authenticated.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use tokio::io::{AsyncRead, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep};

/// ractor_cluster reads 8 bytes, then pieces of at most 8 KiB. Two frames in one system call instead.
const READ_BUFFER_BYTES: usize = 128 * 1024;

/// What a connection may send before it is authenticated: names, challenges, and what ractor_cluster tells about
/// actors and groups right behind them.
const UNAUTHENTICATED_BYTES_MAX: u64 = 1024 * 1024;

/// What is known about a connection outside of ractor_cluster.
#[derive(Debug)]
pub(super) struct Connection {
    /// Names the connection in ractor_cluster's events and logs.
    pub(super) label: String,
    authenticated: AtomicBool,
    /// The neighbour at the other end, once it is authenticated.
    peer: OnceLock<u16>,
    /// Held until the connection is authenticated or closed. A mutex since either side of that may come first.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    closed: watch::Sender<bool>,
    made: Instant,
    /// When something was read last, in milliseconds since it was made.
    read_ms: AtomicU64,
}

/// Deadlines of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    pub(super) handshake: Duration,
    pub(super) idle: Duration,
}

/// What ractor_cluster is given.
pub(super) struct Stream {
    tcp: TcpStream,
    connection: Arc<Connection>,
    deadlines: Deadlines,
}

/// The read half: fails when the handshake or the next bytes take too long. The reader of ractor_cluster always waits
/// on it, so its timer needs no task of its own.
struct WatchedRead {
    half: OwnedReadHalf,
    connection: Arc<Connection>,
    deadlines: Deadlines,
    opened: Instant,
    last_read: Instant,
    timer: Pin<Box<Sleep>>,
    unauthenticated_bytes: u64,
}

impl Connection {
    pub(super) fn new(label: String, permit: Option<OwnedSemaphorePermit>) -> Arc<Self> {
        let (closed, _) = watch::channel(false);
        Arc::new(Connection {
            label,
            authenticated: AtomicBool::new(false),
            peer: OnceLock::new(),
            permit: Mutex::new(permit),
            closed,
            made: Instant::now(),
            read_ms: AtomicU64::new(0),
        })
    }

    pub(super) fn authenticated(&self, peer: u16) {
        // Once: a connection has one session.
        let _ = self.peer.set(peer);
        // Nothing else is published by this flag, and a read that misses it looks again later.
        self.authenticated.store(true, Ordering::Relaxed);
        self.release();
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Relaxed)
    }

    /// Waits until ractor_cluster has let go of the connection.
    pub(super) async fn closed(&self) {
        // The sender lives as long as self, so this cannot fail.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Whether it is the authenticated connection with a neighbour.
    pub(super) fn is_with(&self, peer: u16) -> bool {
        self.peer.get() == Some(&peer)
    }

    /// For how long nothing was read.
    pub(super) fn silence(&self) -> Duration {
        let read = Duration::from_millis(self.read_ms.load(Ordering::Relaxed));
        self.made.elapsed().saturating_sub(read)
    }

    fn read(&self, at: Instant) {
        let since = at.saturating_duration_since(self.made).as_millis();
        self.read_ms.store(since as u64, Ordering::Relaxed);
    }

    fn release(&self) {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Stream {
    pub(super) fn new(tcp: TcpStream, connection: Arc<Connection>, deadlines: Deadlines) -> Self {
        Stream {
            tcp,
            connection,
            deadlines,
        }
    }
}

impl ClusterBidiStream for Stream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (half, write) = self.tcp.into_split();
        let opened = Instant::now();
        let read = WatchedRead {
            half,
            connection: self.connection,
            deadlines: self.deadlines,
            opened,
            last_read: opened,
            timer: Box::pin(tokio::time::sleep(self.deadlines.handshake)),
            unauthenticated_bytes: 0,
        };
        (
            Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, read)),
            Box::new(write),
        )
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.connection.label.clone())
    }
}

impl WatchedRead {
    /// When the connection has been quiet for too long.
    fn deadline(&self) -> Instant {
        if self.connection.is_authenticated() {
            self.last_read + self.deadlines.idle
        } else {
            self.opened + self.deadlines.handshake
        }
    }

    fn count(&mut self, bytes: usize) -> io::Result<()> {
        if self.connection.is_authenticated() {
            return Ok(());
        }
        self.unauthenticated_bytes += bytes as u64;
        if self.unauthenticated_bytes > UNAUTHENTICATED_BYTES_MAX {
            let limit = UNAUTHENTICATED_BYTES_MAX;
            return Err(io::Error::other(format!("more than {limit} B before authentication")));
        }
        Ok(())
    }
}

impl AsyncRead for WatchedRead {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.half).poll_read(cx, buf) {
            read?;
            self.last_read = Instant::now();
            self.connection.read(self.last_read);
            return Poll::Ready(self.count(buf.filled().len() - before));
        }
        // The timer is moved only when it fires: once per timeout instead of once per read.
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer is silent")));
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

impl Drop for WatchedRead {
    fn drop(&mut self) {
        self.connection.release();
        self.connection.closed.send_replace(true);
    }
}
