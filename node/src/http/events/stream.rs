//! Events as server-sent events (the HTML standard's `text/event-stream`).
//!
//! | message | meaning |
//! |---|---|
//! | `event: state` | a part of the present state, if a snapshot was asked for |
//! | `event: current`, `id: CURSOR` | all of the state was sent; it is that at this cursor |
//! | `event: TYPE`, `id: CURSOR` | something happened |
//! | `id: CURSOR` and a comment | nothing to tell for a while; everything up to here has been looked at |
//! | `event: error` | problem details; the last message. Follow again from the last cursor if the code lets you |
//!
//! A task of its own feeds each subscriber through a buffer of bounded bytes. A subscriber whose buffer is full, and who
//! takes nothing from it for a time, is dropped: an error is the last message behind the buffer, and if that is not read
//! either, the connection is ended. So nobody waits for a subscriber but its own task.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use queenright_actors::node::Subscription;
use queenright_actors::replica::Snapshot;
use queenright_bench::client::wire::{Code, EventCursor, Problem};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::filter::{Filter, Room};
use super::state::StateQuery;
use super::{LIMIT_DEFAULT, REST};
use crate::http::Door;
use crate::http::call::Caller;
use crate::http::connection::Switch;
use crate::http::problem::Refused;

/// After how long without a message a comment is sent: proxies and callers take silence for death after half a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// In how many pieces the buffer of a subscriber is filled: one is made while the others wait.
const PIECES: usize = 4;

/// A subscriber that is about to be fed.
pub(super) struct Subscriber {
    door: Door,
    project: Arc<str>,
    filter: Filter,
    state: Option<StateQuery>,
    permit: OwnedSemaphorePermit,
    switch: Option<Switch>,
}

impl Subscriber {
    pub(super) fn new(
        door: &Door,
        caller: &Caller,
        filter: Filter,
        state: Option<StateQuery>,
        permit: OwnedSemaphorePermit,
        switch: Option<Switch>,
    ) -> Subscriber {
        Subscriber {
            door: door.clone(),
            project: caller.project.clone(),
            filter,
            state,
            permit,
            switch,
        }
    }

    /// Begins to feed it. A cursor that cannot be followed is refused as for a page.
    pub(super) fn begin(self, snapshot: Arc<Snapshot>, after: Option<EventCursor>) -> Result<Response, Refused> {
        let limits = self.door.limits;
        let nothing = Room { items: 0, bytes: 0 };
        self.filter.page(nothing, &snapshot, &self.project, after)?;
        let (sender, receiver) = mpsc::channel(PIECES - 1);
        let (parting, gone) = (Arc::new(OnceLock::new()), CancellationToken::new());
        let outlet = Outlet {
            sender,
            pending: ": queenright\n\n".to_owned(),
            piece_bytes: limits.subscriber_bytes / PIECES,
            stalled: limits.subscriber_stalled,
        };
        let buffer = Buffer {
            receiver,
            parting: Some(parting.clone()),
            _subscription: self.door.backend.subscribers().open(),
            _permit: self.permit,
            _gone: gone.clone().drop_guard(),
        };
        let feeder = Feeder {
            door: self.door,
            project: self.project,
            filter: self.filter,
            outlet,
        };
        tokio::spawn(feeder.run(self.state, snapshot, after, parting, gone, self.switch));
        let pieces = stream::unfold(buffer, |mut buffer| async move {
            let piece = buffer.next().await?;
            Some((Ok::<Bytes, std::convert::Infallible>(piece), buffer))
        });
        let kind = HeaderValue::from_static("text/event-stream");
        Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response())
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

/// Why a subscriber is no longer fed.
enum End {
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

/// Why a feeder goes on.
enum Woken {
    Changed,
    /// It has sent nothing for long.
    Quiet,
    Over,
}

/// The way into the buffer.
struct Outlet {
    sender: mpsc::Sender<Bytes>,
    /// Messages that are not in the buffer yet.
    pending: String,
    piece_bytes: usize,
    stalled: Duration,
}

impl Outlet {
    async fn message(&mut self, kind: &str, id: Option<EventCursor>, data: &impl Serialize) -> Result<(), End> {
        write_message(&mut self.pending, kind, id, data);
        match self.pending.len() >= self.piece_bytes {
            true => self.flush().await.map(drop),
            false => Ok(()),
        }
    }

    /// Says whether there was anything to send.
    async fn flush(&mut self) -> Result<bool, End> {
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
}

fn write_message(text: &mut String, kind: &str, id: Option<EventCursor>, data: &impl Serialize) {
    let data = serde_json::to_string(data).expect("plain data serialises into memory");
    // Writing to a string cannot fail.
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    let _ = write!(text, "event: {kind}\ndata: {data}\n\n");
}

/// The task that feeds one subscriber.
struct Feeder {
    door: Door,
    project: Arc<str>,
    filter: Filter,
    outlet: Outlet,
}

impl Feeder {
    async fn run(
        mut self,
        state: Option<StateQuery>,
        snapshot: Arc<Snapshot>,
        after: Option<EventCursor>,
        parting: Arc<OnceLock<Bytes>>,
        gone: CancellationToken,
        switch: Option<Switch>,
    ) {
        let end = match self.feed(state, snapshot, after).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let Feeder { door, outlet, .. } = self;
        let (problem, stalled) = match end {
            End::Over => return,
            End::Slow => {
                door.backend.subscribers().slow();
                (slow(&door), outlet.stalled)
            }
            End::Refused(Refused(problem)) => {
                if problem.code == Code::CursorExpired {
                    door.backend.subscribers().expired();
                }
                (*problem, outlet.stalled)
            }
        };
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

    async fn feed(
        &mut self,
        state: Option<StateQuery>,
        mut snapshot: Arc<Snapshot>,
        mut after: Option<EventCursor>,
    ) -> Result<std::convert::Infallible, End> {
        let backend = self.door.backend.clone();
        let mut closing = self.door.closing.clone();
        let mut seq = backend.follow_seq();
        if let Some(state) = state.filter(|_| after.is_none()) {
            let position = EventCursor::behind(snapshot.colony.seq());
            self.tell_state(state, snapshot, position).await?;
            after = Some(position);
            snapshot = backend.snapshot();
        }
        let room = Room {
            items: LIMIT_DEFAULT as usize,
            bytes: self.outlet.piece_bytes as u64,
        };
        let (mut rest, mut quiet_until) = (REST.0, Instant::now() + KEEP_ALIVE);
        loop {
            let page = self.filter.page(room, &snapshot, &self.project, after)?;
            let seen = snapshot.colony.seq();
            drop(snapshot);
            for event in &page.events {
                let kind = event.what.type_name();
                self.outlet.message(kind, Some(event.cursor), event).await?;
            }
            after = Some(page.next_cursor);
            if !page.has_more {
                if self.outlet.flush().await? {
                    (rest, quiet_until) = (REST.0, Instant::now() + KEEP_ALIVE);
                }
                // What the channels lend must not be held while this rests or sends.
                let woken = tokio::select! {
                    // The sender lives as long as the node; if it goes, so do its subscribers.
                    changed = seq.wait_for(|seq| *seq > seen) => match changed {
                        Ok(_) => Woken::Changed,
                        Err(_) => Woken::Over,
                    },
                    _ = closing.wait_for(|closing| *closing) => Woken::Over,
                    () = self.outlet.sender.closed() => Woken::Over,
                    () = tokio::time::sleep_until(quiet_until) => Woken::Quiet,
                };
                match woken {
                    Woken::Over => return Err(End::Over),
                    Woken::Changed if page.events.is_empty() => {
                        tokio::time::sleep(rest).await;
                        rest = (rest * 2).min(REST.1);
                    }
                    Woken::Changed => {}
                    Woken::Quiet => {
                        quiet_until += KEEP_ALIVE;
                        let _ = write!(self.outlet.pending, "id: {}\n: keep-alive\n\n", page.next_cursor);
                        self.outlet.flush().await?;
                    }
                }
            }
            snapshot = backend.snapshot();
        }
    }

    async fn tell_state(
        &mut self,
        mut state: StateQuery,
        mut snapshot: Arc<Snapshot>,
        position: EventCursor,
    ) -> Result<(), End> {
        let room = Room {
            items: LIMIT_DEFAULT as usize,
            bytes: self.outlet.piece_bytes as u64,
        };
        loop {
            let page = state.page(&self.filter, room, &snapshot, &self.project, Some(position))?;
            drop(snapshot);
            for item in &page.state {
                self.outlet.message("state", None, item).await?;
            }
            let Some(next) = page.state_next else {
                let current = json!({ "cursor": position });
                return self.outlet.message("current", Some(position), &current).await;
            };
            state.go_on(&next);
            snapshot = self.door.backend.snapshot();
        }
    }
}

fn slow(door: &Door) -> Problem {
    let (bytes, stalled) = (door.limits.subscriber_bytes, door.limits.subscriber_stalled);
    let detail = format!(
        "{bytes} B waited for this subscriber and it took nothing for {stalled:?}: read faster, and follow again from the last cursor"
    );
    Problem::new(Code::SlowSubscriber, detail)
        .with_details(json!({ "limit": bytes, "stalled_ms": stalled.as_millis() as u64 }))
}
