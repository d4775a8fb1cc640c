//! Connections that the door can end: a subscriber that reads nothing would otherwise keep its place for ever, since
//! nobody asks for the rest of an answer while the beginning cannot be written.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::listener::Carrier;

/// Ends one connection, from wherever.
#[derive(Clone, Debug)]
pub(super) struct Switch(CancellationToken);

impl Switch {
    /// Ends the connection if it waits to read or to write.
    pub(super) fn end(&self) {
        self.0.cancel();
    }
}

/// A listener whose connections have a switch.
pub(super) struct Ended<L>(pub(super) L);

impl<L: Listener<Io = Carrier>> Listener for Ended<L> {
    type Io = Connection;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Connection, L::Addr) {
        let (stream, address) = self.0.accept().await;
        let token = CancellationToken::new();
        let connection = Connection {
            stream,
            ended: Box::pin(token.clone().cancelled_owned()),
            switch: Switch(token),
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.0.local_addr()
    }
}

impl<L: Listener<Io = Carrier>> Connected<IncomingStream<'_, Ended<L>>> for Switch {
    fn connect_info(stream: IncomingStream<'_, Ended<L>>) -> Switch {
        stream.io().switch.clone()
    }
}

/// A connection that its switch ends.
pub(super) struct Connection {
    stream: Carrier,
    switch: Switch,
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
