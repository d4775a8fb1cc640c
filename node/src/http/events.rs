//! Events after a cursor: what there is, or what comes while the caller waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use queenright_actors::node::Consistency;
use queenright_actors::replica::Snapshot;
use queenright_bench::client::wire::{Code, EventCursor, EventPage, Problem, WireEvent};
use queenright_bench::client::{EVENTS_LIMIT_MAX, EVENTS_WAIT_MAX};
use queenright_protocol::colony::{CursorError, Event, What};
use serde_json::json;
use tokio::time::Instant;

use super::Door;
use super::call::{Call, Caller, names};
use super::memory::consistency;
use super::problem::{Refused, busy};

/// How many events a page has unless the caller says otherwise.
const LIMIT_DEFAULT: u64 = 1_000;
/// How many events one look goes through: those that the filter leaves out cost time too.
const LOOKED_AT_MAX: usize = 65_536;
/// How long a follower rests after commands that were none of its business, at first and at most: it is not woken for
/// each one of a busy cluster.
const REST: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

const TYPES: [&str; 15] = [
    "changed",
    "committed",
    "lost",
    "judged",
    "task_added",
    "task_claimed",
    "task_finished",
    "task_returned",
    "session_opened",
    "session_ended",
    "task_moved",
    "task_cancel_wanted",
    "task_handed_off",
    "task_dropped",
    "queue_changed",
];

/// `GET /v1/events`
pub(super) async fn events(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let arrived = Instant::now();
    let consistency = consistency(&mut call)?;
    let filter = Filter {
        prefix: call.take("prefix").unwrap_or_default(),
        types: call
            .take("types")
            .map(|types| names("types", &types, &TYPES))
            .transpose()?,
        limit: call.number("limit", 1..=EVENTS_LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT) as usize,
        bytes: door.limits.body_bytes as u64,
    };
    let wait_ms = call.number("wait_ms", 0..=EVENTS_WAIT_MAX.as_millis() as u64)?;
    let after = call.parse::<EventCursor>("after")?;
    let caller = call.caller()?;
    let Ok(_permit) = door.followers.try_acquire() else {
        return Err(busy("callers who wait for events", door.limits.followers));
    };
    let mut snapshot = door.backend.read(consistency, caller.left()).await?;
    if let Some(after) = after
        && is_ahead(&snapshot, after)
    {
        // This node may be behind the one that the cursor is from; the cluster is not.
        snapshot = door.backend.read(Consistency::Linearizable, caller.left()).await?;
        if is_ahead(&snapshot, after) {
            return Err(ahead(after, snapshot.colony.seq()));
        }
    }
    let wait_until = arrived + Duration::from_millis(wait_ms.unwrap_or_default());
    let page = door.follow(&caller, &filter, after, snapshot, wait_until).await?;
    Ok(Json(page).into_response())
}

impl Door {
    async fn follow(
        &self,
        caller: &Caller,
        filter: &Filter,
        after: Option<EventCursor>,
        snapshot: Arc<Snapshot>,
        wait_until: Instant,
    ) -> Result<EventPage, Refused> {
        let mut seq = self.backend.follow_seq();
        let mut closing = self.closing.clone();
        let mut page = filter.page(&snapshot, &caller.project, after)?;
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
            page = filter.page(&snapshot, &caller.project, Some(page.next_cursor))?;
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
    let detail = format!("the cursor {after} lies ahead of the last command, {tail}: it is from another cluster");
    Problem::new(Code::CursorAhead, detail)
        .with_details(json!({ "after": after, "tail": tail }))
        .into()
}

/// Which events a page has, and how many.
struct Filter {
    prefix: String,
    types: Option<BTreeSet<&'static str>>,
    limit: usize,
    /// How many bytes of events a page has.
    bytes: u64,
}

impl Filter {
    fn wants(&self, event: &Event) -> bool {
        let (name, key) = match &event.what {
            What::Changed { key, .. } => ("changed", Some(key)),
            What::Committed { .. } => ("committed", None),
            What::Lost { .. } => ("lost", None),
            What::Judged { .. } => ("judged", None),
            What::TaskAdded { .. } => ("task_added", None),
            What::TaskClaimed { .. } => ("task_claimed", None),
            What::TaskFinished { .. } => ("task_finished", None),
            What::TaskReturned { .. } => ("task_returned", None),
            What::SessionOpened { .. } => ("session_opened", None),
            What::SessionEnded { .. } => ("session_ended", None),
            What::TaskMoved { .. } => ("task_moved", None),
            What::TaskCancelWanted { .. } => ("task_cancel_wanted", None),
            What::TaskHandedOff { .. } => ("task_handed_off", None),
            What::TaskDropped { .. } => ("task_dropped", None),
            What::QueueChanged { .. } => ("queue_changed", None),
        };
        self.types.as_ref().is_none_or(|types| types.contains(name))
            && (self.prefix.is_empty() || key.is_some_and(|key| key.starts_with(self.prefix.as_str())))
    }

    /// The events after `after`, or from the oldest one kept.
    fn page(&self, snapshot: &Snapshot, project: &str, after: Option<EventCursor>) -> Result<EventPage, CursorError> {
        // Everything up to here has been looked at, unless the page fills before.
        let tail = EventCursor::behind(snapshot.colony.seq());
        let mut page = EventPage {
            events: Vec::new(),
            next_cursor: tail,
            has_more: false,
            oldest: None,
            tail,
        };
        let Some(events) = snapshot.colony.project(project).map(|project| project.events()) else {
            return Ok(page);
        };
        let dropped = events.dropped().unwrap_or_default();
        page.oldest = events.after(dropped)?.next().map(|event| EventCursor(event.cursor));
        let mut bytes = 0;
        let mut last = after.map_or(dropped, |after| after.0);
        for (looked_at, event) in events.after(last)?.enumerate() {
            if page.events.len() == self.limit || bytes > self.bytes || looked_at == LOOKED_AT_MAX {
                page.next_cursor = EventCursor(last);
                page.has_more = true;
                break;
            }
            last = event.cursor;
            if self.wants(event) {
                bytes += event.bytes();
                page.events.push(WireEvent::from(&**event));
            }
        }
        Ok(page)
    }
}
