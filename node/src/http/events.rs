//! Events after a cursor: what there is, what comes while the caller waits, or a stream of them; and the present state
//! together with the cursor behind it, so that nothing falls between a list and what follows.
//!
//! | part | what |
//! |---|---|
//! | `filter` | which events are wanted, and a page of them |
//! | `state` | the present state, in pages that all show one position |
//! | `stream` | server-sent events, to subscribers whose buffers are bounded |

mod filter;
mod state;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_actors::node::Consistency;
use queenright_actors::replica::Snapshot;
use queenright_bench::client::wire::{Code, EventCursor, EventPage, Problem};
use queenright_bench::client::{EVENTS_LIMIT_MAX, EVENTS_WAIT_MAX};
use serde_json::json;
use tokio::time::Instant;

use self::filter::Filter;
pub(super) use self::state::KINDS as SNAPSHOT_KINDS;
use self::state::StateQuery;
use super::Door;
use super::call::{Call, Caller};
use super::memory::consistency;
use super::problem::{Refused, invalid};

/// How many events a page has unless the caller says otherwise.
const LIMIT_DEFAULT: u64 = 1_000;
/// How many events, keys or tasks one look goes through: those that the filter leaves out cost time too.
pub(super) const LOOKED_AT_MAX: usize = 65_536;
/// How long a follower rests after commands that were none of its business, at first and at most: it is not woken for
/// each one of a busy cluster.
const REST: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// `GET /v1/events`
pub(super) async fn events(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let arrived = Instant::now();
    let consistency = consistency(&mut call)?;
    let filter = Filter::take(&mut call)?;
    let state = StateQuery::take(&mut call, &filter)?;
    let limit = call.number("limit", 1..=EVENTS_LIMIT_MAX)?;
    let wait_ms = call.number("wait_ms", 0..=EVENTS_WAIT_MAX.as_millis() as u64)?;
    let mut after = call.parse::<EventCursor>("after")?;
    let streams = call.accepts("text/event-stream");
    if streams && let Some(last) = call.header("last-event-id")?.filter(|last| !last.is_empty()) {
        // Who reconnects sends its first query again.
        after = Some(last.parse().map_err(|error| invalid("last-event-id", error))?);
    }
    for (field, given) in [("limit", limit.is_some()), ("wait_ms", wait_ms.is_some())] {
        if streams && given {
            return Err(invalid(field, "does not go together with a stream"));
        }
    }
    if wait_ms.is_some() && state.is_some() {
        return Err(invalid("wait_ms", "does not go together with snapshot"));
    }
    if let Some(state) = &state
        && !streams
    {
        state.check_page(after)?;
    }
    let caller = call.caller()?;
    let permit = match streams || wait_ms > Some(0) {
        true => door.place_to_follow(),
        false => door.place_to_wait(),
    }?;
    let snapshot = door.look(consistency, &caller, after).await?;
    if streams {
        let subscriber = stream::Subscriber::new(&door, &caller, filter, state, permit, call.switch());
        return subscriber.begin(snapshot, after);
    }
    let room = filter::Room {
        items: limit.unwrap_or(LIMIT_DEFAULT) as usize,
        bytes: door.limits.body_bytes as u64,
    };
    if let Some(state) = state {
        let page = state.page(&filter, room, &snapshot, &caller.project, after)?;
        return Ok(Json(page).into_response());
    }
    let wait_until = arrived + Duration::from_millis(wait_ms.unwrap_or_default());
    let page = door.follow(&caller, &filter, room, after, snapshot, wait_until).await?;
    Ok(Json(page).into_response())
}

impl Door {
    /// The state as a read finds it, which a cursor must not be ahead of.
    pub(super) async fn look(
        &self,
        consistency: Consistency,
        caller: &Caller,
        after: Option<EventCursor>,
    ) -> Result<Arc<Snapshot>, Refused> {
        let mut snapshot = self.read(consistency, caller).await?;
        if let Some(after) = after
            && is_ahead(&snapshot, after)
        {
            // This node may be behind the one that the cursor is from; the cluster is not.
            snapshot = self.read(Consistency::Linearizable, caller).await?;
            if is_ahead(&snapshot, after) {
                return Err(ahead(after, snapshot.colony.seq()));
            }
        }
        if let Some(after) = after {
            snapshot.colony.check_cursor(after.0)?;
        }
        Ok(snapshot)
    }

    async fn follow(
        &self,
        caller: &Caller,
        filter: &Filter,
        room: filter::Room,
        after: Option<EventCursor>,
        snapshot: Arc<Snapshot>,
        wait_until: Instant,
    ) -> Result<EventPage, Refused> {
        let mut seq = self.backend.follow_seq();
        let mut closing = self.closing.clone();
        let mut page = filter.page(room, &snapshot, &caller.project, after)?;
        let mut seen = snapshot.colony.seq();
        drop(snapshot);
        let mut rest = REST.0;
        while page.events.is_empty() && !page.has_more {
            tokio::select! {
                // The sender lives as long as the node; if it goes, so does the wait.
                changed = seq.wait_for(|seq| *seq > seen) => if changed.is_err() { break },
                _ = closing.wait_for(|closing| *closing) => break,
                () = tokio::time::sleep_until(wait_until) => break,
            }
            let snapshot = self.backend.snapshot();
            page = filter.page(room, &snapshot, &caller.project, Some(page.next_cursor))?;
            seen = snapshot.colony.seq();
            drop(snapshot);
            if page.events.is_empty() {
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(REST.1);
            }
        }
        Ok(page)
    }
}

fn is_ahead(snapshot: &Snapshot, after: EventCursor) -> bool {
    after.0.seq > snapshot.colony.seq()
}

fn ahead(after: EventCursor, seq: u64) -> Refused {
    let tail = EventCursor::behind(seq);
    let detail = format!(
        "the cursor {after} lies ahead of the last command, {tail}: it is from another cluster; begin with a snapshot"
    );
    Problem::new(Code::CursorAhead, detail)
        .with_details(json!({ "after": after, "tail": tail }))
        .into()
}
