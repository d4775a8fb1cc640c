//! Where connections come from: plain TCP, or TLS. Handshakes go on side by side, each with a deadline, so that nobody
//! who connects and stays silent keeps others out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use queenright_actors::tls::Tls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many may be under way; further connections are closed at once.
const HANDSHAKES_MAX: usize = 256;
/// How many connections wait for the door to take them.
const READY_MAX: usize = 64;
/// The pause after the system refused to accept, mostly for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection of a caller.
pub(super) enum Carrier {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The listener of a door.
pub(super) enum Doorway {
    Plain(TcpListener),
    Tls {
        ready: mpsc::Receiver<Carrier>,
        /// Ends the loop with this.
        _accepting: JoinSet<()>,
    },
}

impl Doorway {
    /// Takes over a listener.
    pub(super) fn open(listener: TcpListener, tls: Option<Arc<Tls>>) -> Doorway {
        let Some(tls) = tls else {
            return Doorway::Plain(listener);
        };
        let (sender, ready) = mpsc::channel(READY_MAX);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept_all(listener, tls, sender));
        Doorway::Tls {
            ready,
            _accepting: accepting,
        }
    }

    /// The next connection.
    pub(super) async fn accept(&mut self) -> Carrier {
        match self {
            Doorway::Plain(listener) => Carrier::Plain(accept(listener).await.0),
            Doorway::Tls { ready, .. } => match ready.recv().await {
                Some(accepted) => accepted,
                // The loop lives as long as this.
                None => std::future::pending().await,
            },
        }
    }
}

async fn accept_all(listener: TcpListener, tls: Arc<Tls>, ready: mpsc::Sender<Carrier>) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let (tcp, address) = accept(&listener).await;
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::debug!(%address, limit = HANDSHAKES_MAX, "too many handshakes are under way");
            continue;
        };
        let (acceptor, ready) = (TlsAcceptor::from(tls.door()), ready.clone());
        handshakes.spawn(async move {
            match timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                // An error says that the door is gone.
                Ok(Ok(stream)) => drop(ready.send(Carrier::Tls(Box::new(stream))).await),
                Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS at the door"),
                Err(elapsed) => tracing::debug!(%address, %elapsed, "no TLS at the door"),
            }
            drop(slot);
        });
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((tcp, address)) => {
                // Answers are small and waited for. A stream that refuses still works.
                if let Err(error) = tcp.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
                return (tcp, address);
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl AsyncRead for Carrier {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Carrier::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Carrier::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Carrier::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Carrier::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Carrier::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bytes),
            Carrier::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Carrier::Plain(tcp) => tcp.is_write_vectored(),
            Carrier::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Carrier::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Carrier::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Carrier::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Carrier::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}
