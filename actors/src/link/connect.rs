//! The loops that open connections and hand them to ractor_cluster: one that accepts, one per neighbour that is
//! dialled. ractor_cluster's own listener has no deadlines and no bound on connections, and it never dials again.

use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::wire::FRAME_BYTES_MAX;
use ractor::ActorRef;
use ractor_cluster::NodeServerMessage;
use rand::Rng;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::config::LinkLimits;
use super::sessions::Sessions;
use super::socket;
use super::stream::{Connection, Deadlines, Stream};

/// A connection that lasted this long was a good one: the next attempt starts with the shortest pause again.
const GOOD_CONNECTION: Duration = Duration::from_secs(1);

/// The pause after the system refused to accept, mostly for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The largest message that ractor_cluster takes from a peer: a frame of ours with its own framing, or its list of
/// actors and groups, which grows with the number of gateways.
pub(super) const INBOUND_BYTES_MAX: u64 = 16 * FRAME_BYTES_MAX as u64;

/// Hands connections over.
#[derive(Clone)]
pub(super) struct Hangar {
    pub(super) server: ActorRef<NodeServerMessage>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) limits: LinkLimits,
}

/// Pauses that double, with jitter so that nodes that lost each other at once do not meet at once.
struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Hangar {
    /// Accepts for as long as the process runs.
    pub(super) async fn accept(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(self.limits.unauthenticated_max));
        let mut count = 0u64;
        loop {
            let (tcp, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                tracing::debug!(%address, limit = self.limits.unauthenticated_max, "too many unauthenticated connections");
                continue;
            };
            count += 1;
            let connection = Connection::new(format!("in-{count} {address}"), Some(slot));
            self.hand_over(tcp, &connection, true);
        }
    }

    /// Keeps one neighbour connected for as long as the process runs.
    pub(super) async fn dial(self, peer: Arc<str>, address: String) {
        let mut backoff = Backoff::new(&self.limits);
        let mut failures = 0u64;
        let mut count = 0u64;
        loop {
            match self.connect(&address).await {
                Ok(tcp) => {
                    failures = 0;
                    count += 1;
                    let connection = Connection::new(format!("out-{count} {address}"), None);
                    let opened = Instant::now();
                    self.hand_over(tcp, &connection, false);
                    connection.closed().await;
                    if connection.is_authenticated() && opened.elapsed() >= GOOD_CONNECTION {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::info!(%peer, address, %error, "cannot connect; trying on");
                    } else {
                        tracing::debug!(%peer, address, %error, failures, "cannot connect");
                    }
                }
            }
            let pause = backoff.pause(&mut rand::rng());
            tokio::time::sleep(pause).await;
        }
    }

    async fn connect(&self, address: &str) -> std::io::Result<TcpStream> {
        match tokio::time::timeout(self.limits.connect_timeout, TcpStream::connect(address)).await {
            Ok(connected) => connected,
            Err(elapsed) => Err(elapsed.into()),
        }
    }

    fn hand_over(&self, tcp: TcpStream, connection: &Arc<Connection>, is_server: bool) {
        socket::set_up(&tcp, self.limits.idle_timeout);
        self.sessions.add(connection);
        let deadlines = Deadlines {
            handshake: self.limits.handshake_timeout,
            idle: self.limits.idle_timeout,
        };
        let stream = Box::new(Stream::new(tcp, connection.clone(), deadlines));
        // Fails only while the node stops; the connection is dropped with the message then.
        let _ = self
            .server
            .cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server });
    }
}

impl Backoff {
    fn new(limits: &LinkLimits) -> Self {
        Backoff {
            min: limits.backoff_min,
            max: limits.backoff_max,
            next: limits.backoff_min,
        }
    }

    fn reset(&mut self) {
        self.next = self.min;
    }

    /// Half of the pause is certain, half is chance.
    fn pause(&mut self, random: &mut impl Rng) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(random.random_range(0.5..1.0))
    }
}
