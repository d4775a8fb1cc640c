//! Answers that a thread of their own writes, piece by piece, as fast as they are taken: those that are too long to be held
//! in memory. One that cannot be finished ends its connection, so that nobody takes it for whole.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// How large a piece is, in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// How many pieces wait to be taken.
const PIECES: usize = 8;
/// How long a caller may take nothing: the state that is written is held for it meanwhile.
const STALLED_MAX: Duration = Duration::from_secs(30);

/// The answer that `write` writes. It may block; the permit is kept until it has ended.
pub(super) fn respond<F, T>(permit: OwnedSemaphorePermit, kind: &'static str, write: F) -> Response
where
    F: FnOnce(&mut Pipe) -> io::Result<T> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(PIECES);
    let mut pipe = Pipe {
        sender,
        runtime: Handle::current(),
        piece: Vec::with_capacity(PIECE_BYTES),
    };
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let written = write(&mut pipe).and_then(|_| pipe.flush());
        if let Err(error) = written {
            tracing::info!(%error, "an answer was not written to its end");
            // If the caller is gone, nobody is to be told.
            let _ = pipe.send(Err(error));
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        let piece: io::Result<Bytes> = receiver.recv().await?;
        Some((piece, receiver))
    });
    let kind = HeaderValue::from_static(kind);
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response()
}

/// The way to the caller.
pub(super) struct Pipe {
    sender: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
    piece: Vec<u8>,
}

impl Pipe {
    fn send(&mut self, piece: io::Result<Bytes>) -> io::Result<()> {
        let sent = self.runtime.block_on(self.sender.send_timeout(piece, STALLED_MAX));
        sent.map_err(|error| match error {
            SendTimeoutError::Closed(_) => io::Error::new(io::ErrorKind::BrokenPipe, "the caller has gone"),
            SendTimeoutError::Timeout(_) => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the caller took nothing for {STALLED_MAX:?}"),
            ),
        })
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.send(Ok(piece.into()))
    }
}
