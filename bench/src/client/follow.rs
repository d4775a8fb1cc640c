//! Events, one page at a time and as a stream.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use queenright_actors::node::Consistency;
use reqwest::Method;

use super::wire::{EventCursor, EventPage, WireEvent};
use super::{Client, ClientError, EVENTS_WAIT_MAX, TIMEOUT_GRACE};

/// How long one long poll of a stream waits.
const POLL: Duration = Duration::from_secs(20);
/// How many events a page of a stream has at most.
const PAGE: u64 = 1_000;
/// How long a stream goes on trying while the node does not answer.
const RECONNECT: Duration = Duration::from_secs(30);
/// How long a stream waits before it tries again, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Changes of keys that begin with this; events without a key are left out unless it is empty.
    pub prefix: String,
    /// Types, such as `changed`; all if empty.
    pub types: Vec<String>,
}

impl Client {
    /// The events after a cursor, or the oldest ones that are kept; waits up to `wait`, at most [`EVENTS_WAIT_MAX`],
    /// while there are none.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `CURSOR_EXPIRED`.
    pub async fn events(
        &self,
        after: Option<EventCursor>,
        limit: u64,
        wait: Duration,
        filter: &Filter,
        consistency: Consistency,
    ) -> Result<EventPage, ClientError> {
        let wait = wait.min(EVENTS_WAIT_MAX);
        let mut request = self
            .project_request(Method::GET, "/v1/events")?
            .query(&[("limit", limit), ("wait_ms", wait.as_millis() as u64)])
            .query(&[("consistency", consistency)]);
        if let Some(after) = after {
            request = request.query(&[("after", after.to_string())]);
        }
        if !filter.prefix.is_empty() {
            request = request.query(&[("prefix", &filter.prefix)]);
        }
        if !filter.types.is_empty() {
            request = request.query(&[("types", filter.types.join(","))]);
        }
        // The wait comes on top of the time that the request itself may take.
        let timeout = wait + self.options.timeout + TIMEOUT_GRACE;
        self.fetch(request.timeout(timeout)).await
    }

    /// Follows events from a cursor on, or from the oldest one that is kept. While the node does not answer, or has no
    /// quorum, it tries again for half a minute and goes on where it was. The stream ends with its first error.
    pub fn events_follow(
        &self,
        after: Option<EventCursor>,
        filter: Filter,
    ) -> BoxStream<'static, Result<WireEvent, ClientError>> {
        let follow = Follow {
            client: self.clone(),
            filter,
            after,
            events: VecDeque::new(),
        };
        let events = stream::try_unfold(follow, |mut follow| async move {
            let event = follow.next().await?;
            Ok(Some((event, follow)))
        });
        events.boxed()
    }
}

/// Where a stream of events is.
struct Follow {
    client: Client,
    filter: Filter,
    after: Option<EventCursor>,
    /// Received and not yet handed out.
    events: VecDeque<WireEvent>,
}

impl Follow {
    async fn next(&mut self) -> Result<WireEvent, ClientError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let page = self.page().await?;
            self.after = Some(page.next_cursor);
            self.events = page.events.into();
        }
    }

    async fn page(&self) -> Result<EventPage, ClientError> {
        let started = Instant::now();
        let mut pause = BACK_OFF.0;
        loop {
            // What this node has applied is in the order of all nodes, only later: a stream needs no more.
            let answer = self
                .client
                .events(self.after, PAGE, POLL, &self.filter, Consistency::Local)
                .await;
            match answer {
                Err(error) if error.is_temporary() && started.elapsed() < RECONNECT => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
                answer => return answer,
            }
        }
    }
}
