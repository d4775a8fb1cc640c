//! Server-sent events (the HTML standard's `text/event-stream`) to one subscriber.
//!
//! A task of its own feeds each subscriber through a buffer of bounded bytes. A subscriber whose buffer is full, and who
//! takes nothing from it for a time, is dropped: an error is the last message behind the buffer, and if that is not read
//! either, the connection is ended. So nobody waits for a subscriber but its own task.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use queenright_actors::node::Subscription;
use queenright_bench::client::wire::{Code, EventCursor, Problem};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Door;
use super::connection::Switch;
use super::problem::Refused;

/// After how long without a message a comment is sent: proxies and callers take silence for death after half a minute.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// In how many pieces the buffer of a subscriber is filled: one is made while the others wait.
const PIECES: usize = 4;

/// What a subscriber is fed with.
pub(super) trait Feed: Send + 'static {
    /// What one that was too slow is to do, besides to read faster.
    const AGAIN: &'static str;

    /// Sends messages until there is a reason to end.
    fn feed(&mut self, outlet: &mut Outlet) -> impl Future<Output = Result<Infallible, End>> + Send;
}

/// Why a subscriber is no longer fed.
pub(super) enum End {
    /// It went, or the door closes.
    Over,
    /// It takes nothing.
    Slow,
    /// It cannot be told what it has missed.
    Refused(Refused),
}

impl<E: Into<Refused>> From<E> for End {
    fn from(error: E) -> End {
        End::Refused(error.into())
    }
}

/// The answer that begins a stream, which a task of its own feeds.
pub(super) fn respond<F: Feed>(
    door: &Door,
    permit: OwnedSemaphorePermit,
    switch: Option<Switch>,
    mut feed: F,
) -> Response {
    let limits = door.limits;
    let (sender, receiver) = mpsc::channel(PIECES - 1);
    let (parting, gone) = (Arc::new(OnceLock::new()), CancellationToken::new());
    let mut outlet = Outlet {
        sender,
        pending: ": queenright\n\n".to_owned(),
        piece_bytes: limits.subscriber_bytes / PIECES,
        stalled: limits.subscriber_stalled,
    };
    let buffer = Buffer {
        receiver,
        parting: Some(parting.clone()),
        _subscription: door.backend.subscribers().open(),
        _permit: permit,
        _gone: gone.clone().drop_guard(),
    };
    let door = door.clone();
    tokio::spawn(async move {
        let end = match feed.feed(&mut outlet).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        drop(feed);
        part::<F>(&door, end, outlet, &parting, gone, switch).await;
    });
    let pieces = stream::unfold(buffer, |mut buffer| async move {
        let piece = buffer.next().await?;
        Some((Ok::<Bytes, Infallible>(piece), buffer))
    });
    let kind = HeaderValue::from_static("text/event-stream");
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response()
}

/// Tells a subscriber why it is no longer fed, and ends its connection if it does not read even that.
async fn part<F: Feed>(
    door: &Door,
    end: End,
    outlet: Outlet,
    parting: &OnceLock<Bytes>,
    gone: CancellationToken,
    switch: Option<Switch>,
) {
    let problem = match end {
        End::Over => return,
        End::Slow => {
            door.backend.subscribers().slow();
            slow(door, F::AGAIN)
        }
        End::Refused(Refused { problem, .. }) => {
            if problem.code == Code::CursorExpired {
                door.backend.subscribers().expired();
            }
            *problem
        }
    };
    let stalled = outlet.stalled;
    let mut text = outlet.pending;
    write_message(&mut text, "error", None, &problem);
    // Nobody else sets it.
    let _ = parting.set(text.into());
    drop(outlet.sender);
    if let Some(switch) = switch
        && tokio::time::timeout(stalled, gone.cancelled()).await.is_err()
    {
        switch.end();
    }
}

/// What the connection takes pieces from. It is dropped with the connection.
struct Buffer {
    receiver: mpsc::Receiver<Bytes>,
    /// What is sent last, if there is something to say.
    parting: Option<Arc<OnceLock<Bytes>>>,
    _subscription: Subscription,
    _permit: OwnedSemaphorePermit,
    _gone: DropGuard,
}

impl Buffer {
    async fn next(&mut self) -> Option<Bytes> {
        match self.receiver.recv().await {
            Some(piece) => Some(piece),
            None => self.parting.take()?.get().cloned(),
        }
    }
}

/// The way into the buffer.
pub(super) struct Outlet {
    sender: mpsc::Sender<Bytes>,
    /// Messages that are not in the buffer yet.
    pending: String,
    piece_bytes: usize,
    stalled: Duration,
}

impl Outlet {
    /// How many bytes one piece of the buffer has, and one message more.
    pub(super) fn piece_bytes(&self) -> usize {
        self.piece_bytes
    }

    pub(super) async fn message(
        &mut self,
        kind: &str,
        id: Option<EventCursor>,
        data: &impl Serialize,
    ) -> Result<(), End> {
        write_message(&mut self.pending, kind, id, data);
        match self.pending.len() >= self.piece_bytes {
            true => self.flush().await.map(drop),
            false => Ok(()),
        }
    }

    /// Says that there is nothing to tell.
    pub(super) async fn keep_alive(&mut self, id: Option<EventCursor>) -> Result<(), End> {
        // Writing to a string cannot fail.
        if let Some(id) = id {
            let _ = writeln!(self.pending, "id: {id}");
        }
        self.pending.push_str(": keep-alive\n\n");
        self.flush().await.map(drop)
    }

    /// Says whether there was anything to send.
    pub(super) async fn flush(&mut self) -> Result<bool, End> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        let piece = Bytes::from(std::mem::take(&mut self.pending));
        match self.sender.send_timeout(piece, self.stalled).await {
            Ok(()) => Ok(true),
            Err(SendTimeoutError::Closed(_)) => Err(End::Over),
            Err(SendTimeoutError::Timeout(_)) => Err(End::Slow),
        }
    }

    /// Resolves when the subscriber has gone.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }
}

fn write_message(text: &mut String, kind: &str, id: Option<EventCursor>, data: &impl Serialize) {
    let data = serde_json::to_string(data).expect("plain data serialises into memory");
    // Writing to a string cannot fail.
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    let _ = write!(text, "event: {kind}\ndata: {data}\n\n");
}

fn slow(door: &Door, again: &str) -> Problem {
    let (bytes, stalled) = (door.limits.subscriber_bytes, door.limits.subscriber_stalled);
    let detail =
        format!("{bytes} B waited for this subscriber and it took nothing for {stalled:?}: read faster, and {again}");
    Problem::new(Code::SlowSubscriber, detail)
        .with_details(json!({ "limit": bytes, "stalled_ms": stalled.as_millis() as u64 }))
}
