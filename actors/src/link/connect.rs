//! The loops that open connections and hand them to ractor_cluster: one that accepts, one per neighbour that is
//! dialled. ractor_cluster's own listener has no deadlines and no bound on connections, and it never dials again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::wire::{FRAME_BYTES_MAX, Greeting};
use ractor::ActorRef;
use ractor_cluster::NodeServerMessage;
use rand::Rng;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::config::LinkLimits;
use super::greeting::{self, End, GreetError, Incompatible};
use super::refusals::Why;
use super::sessions::Sessions;
use super::socket;
use super::stream::{Carrier, Connection, Deadlines, Stream};
use super::{Deliver, Peer};
use crate::tls::Tls;

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
    /// Who is told of nodes that cannot be linked.
    pub(super) deliver: Arc<dyn Deliver>,
    /// What this node says first on each connection.
    pub(super) greeting: Greeting,
    pub(super) limits: LinkLimits,
    /// What both sides prove who they are with; `None` for links in plain TCP.
    pub(super) tls: Option<Arc<Tls>>,
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
        // Handshakes go on side by side: one that is slow keeps nobody waiting. Each has a slot and a deadline.
        let mut handshakes = JoinSet::new();
        let mut count = 0u64;
        loop {
            while handshakes.try_join_next().is_some() {}
            let (tcp, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                let limit = self.limits.unauthenticated_max;
                self.sessions
                    .refusals()
                    .note(Why::Flood, &address.to_string(), format_args!("limit {limit}"));
                continue;
            };
            socket::set_up(&tcp, self.limits.idle_timeout);
            count += 1;
            let label = format!("in-{count} {address}");
            handshakes.spawn(self.clone().receive(tcp, address, label, slot));
        }
    }

    /// Lets one connection prove whose it is and say what it speaks, and hands it over if it belongs to a node of this
    /// cluster with which this one can speak.
    async fn receive(self, tcp: TcpStream, address: SocketAddr, label: String, slot: OwnedSemaphorePermit) {
        let opened = Instant::now();
        let deadline = opened + self.limits.handshake_timeout;
        let (mut carrier, certified) = match self.tls.clone() {
            None => (Carrier::Plain(tcp), None),
            Some(tls) => match self.prove(&tls, tcp, address, &label, deadline).await {
                Some((carrier, node)) => (carrier, Some(node)),
                None => return,
            },
        };
        // What failed was counted.
        let Ok(theirs) = self.greet(&mut carrier, End::Accepted, &label, deadline).await else {
            return;
        };
        match greeting::agree(self.greeting.speaks, &theirs) {
            Ok(version) => {
                let connection = Connection::new(label, certified, version, Some(slot));
                self.hand_over(carrier, &connection, opened, true);
            }
            Err(why) => {
                self.sessions.refusals().note(Why::Version, &label, &why);
                // Without a certificate it is only what it says of itself; it goes no further than to who looks at links.
                self.incompatible(certified.as_deref().unwrap_or(&theirs.name), &why);
            }
        }
    }

    /// Lets a connection show its certificate; `None` if it was refused, and that was counted.
    async fn prove(
        &self,
        tls: &Tls,
        tcp: TcpStream,
        address: SocketAddr,
        label: &str,
        deadline: Instant,
    ) -> Option<(Carrier, Arc<str>)> {
        let refusals = self.sessions.refusals();
        let stream = match timeout_at(deadline, TlsAcceptor::from(tls.link_in()).accept(tcp)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                if !has_left(&error) {
                    refusals.note(Why::of_tls(&error), label, error);
                }
                return None;
            }
            Err(elapsed) => {
                refusals.note(Why::Silent, label, elapsed);
                return None;
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let names = self.sessions.peer_names();
        let node = shown.and_then(|shown| {
            tls.node_of(shown, names.iter().map(String::as_str))
                .map(Arc::<str>::from)
        });
        let Some(node) = node else {
            refusals.note(Why::Name, label, "its certificate is for no neighbour of this node");
            return None;
        };
        tracing::debug!(%address, %node, "a node has shown its certificate");
        Some((Carrier::Tls(Box::new(TlsStream::Server(stream))), node))
    }

    /// Exchanges greetings. What fails is counted, unless the other end has only gone away.
    async fn greet(&self, carrier: &mut Carrier, end: End, label: &str, deadline: Instant) -> io::Result<Greeting> {
        let exchanged = async {
            match carrier {
                Carrier::Plain(tcp) => greeting::exchange(tcp, end, &self.greeting).await,
                Carrier::Tls(tls) => greeting::exchange(&mut **tls, end, &self.greeting).await,
            }
        };
        let refusals = self.sessions.refusals();
        match timeout_at(deadline, exchanged).await {
            Ok(Ok(theirs)) => Ok(theirs),
            Ok(Err(GreetError::Io(error))) => {
                if !has_left(&error) {
                    // A certificate that the other end does not take is told of behind the handshake.
                    let why = if self.tls.is_some() {
                        Why::of_tls(&error)
                    } else {
                        Why::Handshake
                    };
                    refusals.note(why, label, &error);
                }
                Err(error)
            }
            Ok(Err(GreetError::Greeting(error))) => {
                refusals.note(Why::Handshake, label, &error);
                Err(io::Error::other(error))
            }
            Err(elapsed) => {
                refusals.note(Why::Silent, label, &elapsed);
                Err(elapsed.into())
            }
        }
    }

    /// Keeps one neighbour connected for as long as the process runs.
    pub(super) async fn dial(self, peer: Arc<str>, address: String) {
        let mut backoff = Backoff::new(&self.limits);
        let mut failures = 0u64;
        let mut count = 0u64;
        loop {
            match self.connect(&peer, &address).await {
                Ok((carrier, version)) => {
                    let opened = Instant::now();
                    failures = 0;
                    count += 1;
                    let certified = self.tls.is_some().then(|| peer.clone());
                    let connection = Connection::new(format!("out-{count} {address}"), certified, version, None);
                    self.hand_over(carrier, &connection, opened, false);
                    connection.closed().await;
                    if connection.is_authenticated() && opened.elapsed() >= GOOD_CONNECTION {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    self.sessions.trouble(&peer, &error);
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

    /// Connects, proves and sees who is there, and agrees with it on a version.
    async fn connect(&self, peer: &str, address: &str) -> io::Result<(Carrier, u8)> {
        let mut carrier = self.reach(peer, address).await?;
        let deadline = Instant::now() + self.limits.handshake_timeout;
        let label = format!("out {address}");
        let theirs = self.greet(&mut carrier, End::Dialled, &label, deadline).await?;
        match greeting::agree(self.greeting.speaks, &theirs) {
            Ok(version) => Ok((carrier, version)),
            Err(why) => {
                self.sessions.refusals().note(Why::Version, &label, &why);
                self.incompatible(peer, &why);
                Err(io::Error::other(why.to_string()))
            }
        }
    }

    /// A node of this name was there, but speaks no version that this one does.
    fn incompatible(&self, name: &str, why: &Incompatible) {
        if let Some(index) = self.sessions.trouble(name, why) {
            let name = name.into();
            self.deliver.incompatible(&Peer { name, index }, why);
        }
    }

    /// Connects, and proves and sees who is there.
    async fn reach(&self, peer: &str, address: &str) -> io::Result<Carrier> {
        let tcp = match timeout(self.limits.connect_timeout, TcpStream::connect(address)).await {
            Ok(connected) => connected?,
            Err(elapsed) => return Err(elapsed.into()),
        };
        // Of the socket, whatever is spoken over it.
        socket::set_up(&tcp, self.limits.idle_timeout);
        let Some(tls) = &self.tls else {
            return Ok(Carrier::Plain(tcp));
        };
        let name = tls.name_of(peer).map_err(io::Error::other)?;
        let connector = TlsConnector::from(tls.link_out());
        let shaken = match timeout(self.limits.handshake_timeout, connector.connect(name, tcp)).await {
            Ok(shaken) => shaken,
            Err(elapsed) => return Err(elapsed.into()),
        };
        match shaken {
            Ok(stream) => Ok(Carrier::Tls(Box::new(TlsStream::Client(stream)))),
            Err(error) => {
                if !has_left(&error) {
                    let connection = format!("out {address}");
                    self.sessions.refusals().note(Why::of_tls(&error), &connection, &error);
                }
                Err(error)
            }
        }
    }

    fn hand_over(&self, carrier: Carrier, connection: &Arc<Connection>, opened: Instant, is_server: bool) {
        self.sessions.add(connection);
        let deadlines = Deadlines {
            handshake: self.limits.handshake_timeout,
            idle: self.limits.idle_timeout,
        };
        let refusals = self.sessions.refusals().clone();
        let stream = Box::new(Stream::new(carrier, connection.clone(), deadlines, opened, refusals));
        // Fails only while the node stops; the connection is dropped with the message then.
        let _ = self
            .server
            .cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server });
    }
}

/// Whether the other side has only gone away: nothing was refused then.
fn has_left(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
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
