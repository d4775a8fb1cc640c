//! A connection as ractor_cluster is given it: plain TCP or TLS, buffered, watched for silence, counted until it is
//! authenticated.

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
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsStream;

use super::connect::INBOUND_BYTES_MAX;
use super::refusals::{Refusals, Why};

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
    /// The node that its certificate is for; `None` for a connection without TLS.
    pub(super) certified: Option<Arc<str>>,
    /// The version that both ends speak.
    pub(super) version: u8,
    authenticated: AtomicBool,
    /// Whether it is known why it ends unauthenticated: the other side closed it, or its refusal was counted.
    explained: AtomicBool,
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

/// What carries a connection.
pub(super) enum Carrier {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What ractor_cluster is given.
pub(super) struct Stream {
    carrier: Carrier,
    connection: Arc<Connection>,
    deadlines: Deadlines,
    /// When it was accepted, or connected: the handshake of TLS counts towards the deadline.
    opened: Instant,
    refusals: Arc<Refusals>,
}

/// The read half: fails when the handshake or the next bytes take too long. The reader of ractor_cluster always waits
/// on it, so its timer needs no task of its own.
struct WatchedRead {
    half: BoxRead,
    connection: Arc<Connection>,
    deadlines: Deadlines,
    opened: Instant,
    last_read: Instant,
    timer: Pin<Box<Sleep>>,
    unauthenticated_bytes: u64,
    /// The first bytes: the length of the first frame.
    first: FirstLength,
    refusals: Arc<Refusals>,
}

/// The length that a frame of ractor_cluster begins with.
#[derive(Default)]
struct FirstLength {
    bytes: [u8; 8],
    read: usize,
}

impl FirstLength {
    /// Takes what was read next; the length once it is complete, and only then.
    fn take(&mut self, bytes: &[u8]) -> Option<u64> {
        if self.read == self.bytes.len() {
            return None;
        }
        let count = bytes.len().min(self.bytes.len() - self.read);
        self.bytes[self.read..self.read + count].copy_from_slice(&bytes[..count]);
        self.read += count;
        (self.read == self.bytes.len()).then(|| u64::from_be_bytes(self.bytes))
    }
}

impl Connection {
    pub(super) fn new(
        label: String,
        certified: Option<Arc<str>>,
        version: u8,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Arc<Self> {
        let (closed, _) = watch::channel(false);
        Arc::new(Connection {
            label,
            certified,
            version,
            authenticated: AtomicBool::new(false),
            explained: AtomicBool::new(false),
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

    /// Says that it is known why the connection ends.
    pub(super) fn explain(&self) {
        self.explained.store(true, Ordering::Relaxed);
    }

    fn is_explained(&self) -> bool {
        self.explained.load(Ordering::Relaxed)
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
    pub(super) fn new(
        carrier: Carrier,
        connection: Arc<Connection>,
        deadlines: Deadlines,
        opened: Instant,
        refusals: Arc<Refusals>,
    ) -> Self {
        Stream {
            carrier,
            connection,
            deadlines,
            opened,
            refusals,
        }
    }
}

impl ClusterBidiStream for Stream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (half, write): (BoxRead, BoxWrite) = match self.carrier {
            Carrier::Plain(tcp) => {
                let (read, write) = tcp.into_split();
                (Box::new(read), Box::new(write))
            }
            Carrier::Tls(tls) => {
                let (read, write) = tokio::io::split(*tls);
                (Box::new(read), Box::new(write))
            }
        };
        let read = WatchedRead {
            half,
            connection: self.connection,
            deadlines: self.deadlines,
            opened: self.opened,
            last_read: Instant::now(),
            timer: Box::pin(tokio::time::sleep_until(self.opened + self.deadlines.handshake)),
            unauthenticated_bytes: 0,
            first: FirstLength::default(),
            refusals: self.refusals,
        };
        (Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, read)), write)
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

    /// Counts what was read, and refuses what is too much.
    fn count(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.connection.is_authenticated() {
            return Ok(());
        }
        self.unauthenticated_bytes += bytes.len() as u64;
        let problem = match self.first.take(bytes) {
            Some(length) if length > INBOUND_BYTES_MAX => {
                format!("a first frame of {length} B, {INBOUND_BYTES_MAX} B are allowed")
            }
            _ if self.unauthenticated_bytes > UNAUTHENTICATED_BYTES_MAX => {
                let limit = UNAUTHENTICATED_BYTES_MAX;
                format!("more than {limit} B before authentication")
            }
            _ => return Ok(()),
        };
        self.refuse(Why::Oversized, &problem);
        Err(io::Error::other(problem))
    }

    fn refuse(&self, why: Why, detail: &str) {
        self.connection.explain();
        self.refusals.note(why, &self.connection.label, detail);
    }

    /// Takes note of what a read came to: `bytes` were read, none at the end.
    fn ended_or_counted(&mut self, read: io::Result<()>, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = read {
            if !self.connection.is_authenticated() && error.get_ref().is_some_and(|error| error.is::<rustls::Error>()) {
                self.refuse(Why::of_tls(&error), &error.to_string());
            }
            self.connection.explain();
            return Err(error);
        }
        if bytes.is_empty() {
            self.connection.explain();
        }
        self.last_read = Instant::now();
        self.connection.read(self.last_read);
        self.count(bytes)
    }
}

impl AsyncRead for WatchedRead {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.half).poll_read(cx, buf) {
            return Poll::Ready(self.ended_or_counted(read, &buf.filled()[before..]));
        }
        // The timer is moved only when it fires: once per timeout instead of once per read.
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                if !self.connection.is_authenticated() {
                    let within = self.deadlines.handshake;
                    self.refuse(Why::Silent, &format!("not authenticated within {within:?}"));
                }
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer is silent")));
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

impl Drop for WatchedRead {
    fn drop(&mut self) {
        // ractor_cluster has closed it, and says why in its own log only.
        if !self.connection.is_explained() && !self.connection.is_authenticated() {
            self.refuse(Why::Handshake, "its handshake was refused");
        }
        self.connection.release();
        self.connection.closed.send_replace(true);
    }
}
