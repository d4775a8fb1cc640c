//! Events as server-sent events.
//!
//! | message | meaning |
//! |---|---|
//! | `event: state` | a part of the present state, if a snapshot was asked for |
//! | `event: current`, `id: CURSOR` | all of the state was sent; it is that at this cursor |
//! | `event: TYPE`, `id: CURSOR` | something happened |
//! | `id: CURSOR` and a comment | nothing to tell for a while; everything up to here has been looked at |
//! | `event: error` | problem details; the last message. Follow again from the last cursor if the code lets you |

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::Response;
use queenright_actors::replica::Snapshot;
use queenright_bench::client::wire::EventCursor;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::filter::{Filter, Room};
use super::state::StateQuery;
use super::{LIMIT_DEFAULT, REST};
use crate::http::Door;
use crate::http::call::Caller;
use crate::http::connection::Switch;
use crate::http::problem::Refused;
use crate::http::sse::{End, Feed, KEEP_ALIVE, Outlet, respond};

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
        let nothing = Room { items: 0, bytes: 0 };
        self.filter.page(nothing, &snapshot, &self.project, after)?;
        let feeder = Feeder {
            door: self.door.clone(),
            project: self.project,
            filter: self.filter,
            state: self.state,
            snapshot: Some(snapshot),
            after,
        };
        Ok(respond(&self.door, self.permit, self.switch, feeder))
    }
}

/// Why a feeder goes on.
enum Woken {
    Changed,
    /// It has sent nothing for long.
    Quiet,
    Over,
}

/// Feeds one subscriber.
struct Feeder {
    door: Door,
    project: Arc<str>,
    filter: Filter,
    state: Option<StateQuery>,
    /// What it begins with. Not kept: a snapshot that is held makes writing dearer.
    snapshot: Option<Arc<Snapshot>>,
    after: Option<EventCursor>,
}

impl Feed for Feeder {
    const AGAIN: &'static str = "follow again from the last cursor";

    async fn feed(&mut self, outlet: &mut Outlet) -> Result<Infallible, End> {
        let backend = self.door.backend.clone();
        let mut closing = self.door.closing.clone();
        let mut seq = backend.follow_seq();
        let mut snapshot = self.snapshot.take().unwrap_or_else(|| backend.snapshot());
        let mut after = self.after;
        if let Some(state) = self.state.take().filter(|_| after.is_none()) {
            let position = EventCursor::behind(snapshot.colony.seq());
            self.tell_state(outlet, state, snapshot, position).await?;
            after = Some(position);
            snapshot = backend.snapshot();
        }
        let room = Room {
            items: LIMIT_DEFAULT as usize,
            bytes: outlet.piece_bytes() as u64,
        };
        let (mut rest, mut quiet_until) = (REST.0, Instant::now() + KEEP_ALIVE);
        loop {
            let page = self.filter.page(room, &snapshot, &self.project, after)?;
            let seen = snapshot.colony.seq();
            drop(snapshot);
            for event in &page.events {
                let kind = event.what.type_name();
                outlet.message(kind, Some(event.cursor), event).await?;
            }
            after = Some(page.next_cursor);
            if !page.has_more {
                if outlet.flush().await? {
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
                    () = outlet.closed() => Woken::Over,
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
                        outlet.keep_alive(Some(page.next_cursor)).await?;
                    }
                }
            }
            snapshot = backend.snapshot();
        }
    }
}

impl Feeder {
    async fn tell_state(
        &self,
        outlet: &mut Outlet,
        mut state: StateQuery,
        mut snapshot: Arc<Snapshot>,
        position: EventCursor,
    ) -> Result<(), End> {
        let room = Room {
            items: LIMIT_DEFAULT as usize,
            bytes: outlet.piece_bytes() as u64,
        };
        loop {
            let page = state.page(&self.filter, room, &snapshot, &self.project, Some(position))?;
            drop(snapshot);
            for item in &page.state {
                outlet.message("state", None, item).await?;
            }
            let Some(next) = page.state_next else {
                let current = json!({ "cursor": position });
                return outlet.message("current", Some(position), &current).await;
            };
            state.go_on(&next);
            snapshot = self.door.backend.snapshot();
        }
    }
}
