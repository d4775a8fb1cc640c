//! Events, one page at a time and as a stream.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use queenright_actors::node::Consistency;
use reqwest::Method;

use super::request::header_value;
use super::wire::{EventCursor, EventPage, Prime, WireEvent, WireState};
use super::{Client, ClientError, EVENTS_WAIT_MAX, TIMEOUT_GRACE, TOKEN_HEADER};

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
    /// What they are about, such as `task:17-0`; a star at the end stands for anything.
    pub subject: Option<String>,
    /// Who caused them.
    pub author: Option<String>,
    /// Who caused them, or is named by them.
    pub agent: Option<String>,
    /// From this wall time on, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Before this wall time, in milliseconds since 1970.
    pub until_ms: Option<u64>,
}

impl Filter {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("prefix", Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty())),
            ("types", Some(self.types.join(",")).filter(|types| !types.is_empty())),
            ("subject", self.subject.clone()),
            ("author", self.author.clone()),
            ("agent", self.agent.clone()),
            ("since_ms", self.since_ms.map(|time| time.to_string())),
            ("until_ms", self.until_ms.map(|time| time.to_string())),
        ];
        let given = texts.into_iter();
        given.filter_map(|(name, text)| Some((name, text?))).collect()
    }
}

/// What a watch gives: first the present state, then what happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Watched {
    /// A part of the present state.
    State(Box<WireState>),
    /// All of the state was given; it is that at this cursor.
    Current(EventCursor),
    /// What happened since.
    Event(Box<WireEvent>),
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
        request = request.query(&filter.query());
        // The wait comes on top of the time that the request itself may take.
        let timeout = wait + self.options.timeout + TIMEOUT_GRACE;
        self.fetch(request.timeout(timeout)).await
    }

    /// A part of the present state, of the kinds `memory` and `tasks` that are named: the beginning, or what follows on a
    /// page of it. [`EventPage::next_cursor`] is the cursor from which to follow, so that nothing falls between.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `CURSOR_EXPIRED` when the pages were read too slowly.
    pub async fn state(
        &self,
        kinds: &str,
        filter: &Filter,
        page: Option<&EventPage>,
        consistency: Consistency,
    ) -> Result<EventPage, ClientError> {
        let mut request = self
            .project_request(Method::GET, "/v1/events")?
            .query(&[("snapshot", kinds)])
            .query(&[("consistency", consistency)])
            .query(&filter.query());
        if let Some(EventPage {
            next_cursor,
            state_next: Some(next),
            ..
        }) = page
        {
            request = request.query(&[("after", next_cursor.to_string()), ("snapshot_after", next.clone())]);
        }
        self.fetch(request).await
    }

    /// What an agent needs to know when it starts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn prime(
        &self,
        agent: Option<&str>,
        token: Option<&str>,
        after: Option<EventCursor>,
        bytes: u64,
    ) -> Result<Prime, ClientError> {
        let mut request = self
            .project_request(Method::GET, "/v1/prime")?
            .query(&[("bytes", bytes)]);
        if let Some(agent) = agent {
            request = request.query(&[("agent", agent)]);
        }
        if let Some(after) = after {
            request = request.query(&[("after", after.to_string())]);
        }
        if let Some(token) = token {
            request = request.header(TOKEN_HEADER, header_value("the token", token)?);
        }
        self.fetch(request).await
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
