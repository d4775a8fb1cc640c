//! The connections of callers, each served by a task of its own, and how they end.
//!
//! A subscriber that reads nothing would keep its place for ever, since nobody asks for the rest of an answer while the
//! beginning cannot be written: each connection has a [`Switch`]. A caller who never sends the whole head of a request
//! has [`HEAD_WITHIN`].

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::ServiceExt as _;

use super::listener::{Carrier, Doorway};

/// How long a connection may be without the whole head of a request, from when it was made or its last request was
/// answered. Longer than clients keep a connection that is not in use (90 s), so that none is ended while a request is
/// on its way.
pub(super) const HEAD_WITHIN: Duration = Duration::from_secs(120);

/// Ends one connection, from wherever.
#[derive(Clone, Debug)]
pub(super) struct Switch(CancellationToken);

impl Switch {
    /// Ends the connection if it waits to read or to write.
    pub(super) fn end(&self) {
        self.0.cancel();
    }
}

/// Serves whoever comes until the door closes; then returns when the last request is answered. Whoever drops this ends
/// all connections. A request finds the [`Switch`] of its connection among its extensions.
pub(super) async fn serve(mut doorway: Doorway, router: Router, closing: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut over = pin!(closed(closing.clone()));
    loop {
        tokio::select! {
            () = &mut over => break,
            carrier = doorway.accept() => drop(connections.spawn(serve_one(carrier, router.clone(), closing.clone()))),
            Some(_) = connections.join_next() => {}
        }
    }
    drop(doorway);
    while connections.join_next().await.is_some() {}
}

/// Completes when the door closes.
async fn closed(mut closing: watch::Receiver<bool>) {
    // An error says that the sender is gone, with the door.
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn serve_one(stream: Carrier, router: Router, closing: watch::Receiver<bool>) {
    let switch = Switch(CancellationToken::new());
    let connection = Connection {
        stream,
        ended: Box::pin(switch.0.clone().cancelled_owned()),
    };
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(switch.clone());
        router.clone().oneshot(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(connection), service);
    let mut served = pin!(served);
    let outcome = tokio::select! {
        outcome = &mut served => outcome,
        () = closed(closing) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection at the door has ended");
    }
}

/// A connection that its switch ends.
struct Connection {
    stream: Carrier,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    /// What has to wait is over once the switch is turned.
    fn unless_ended<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.ended.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the other side reads nothing",
        )))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.unless_ended(cx),
            done => done,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Pending => self.unless_ended(cx),
            done => done,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, bytes) {
            Poll::Pending => self.unless_ended(cx),
            done => done,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
