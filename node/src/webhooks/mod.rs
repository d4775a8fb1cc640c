//! Webhooks: what happens in a project is posted to whoever wants to know, signed, one event at a time and in order.
//!
//! | header | what it says |
//! |---|---|
//! | `webhook-id` | which event it is: the same at each try |
//! | `webhook-timestamp` | the seconds since 1970, at this try |
//! | `webhook-signature` | `v1,` and the HMAC-SHA256 of id, timestamp and body with points between them, in Base64 |
//!
//! The form is that of the [Standard Webhooks](https://www.standardwebhooks.com), whose libraries verify it. The body is
//! `{"type", "timestamp", "data"}`; `data` is the event as `GET /v1/events` has it, and its project.
//!
//! | answer | what follows |
//! |---|---|
//! | 2xx | the next event |
//! | any other, or none | the same event again, after a pause that doubles up to [`BACK_OFF`], or as long as `Retry-After` says |
//!
//! **Who sends.** Each node whose cluster file has the webhook opens a session and asks for the key `webhooks/NAME` of the
//! project, exclusively: one has it and sends, the others wait in line. It stops as soon as its node has no contact to a
//! quorum; when its session has ended the next one goes on.
//!
//! **Where it goes on.** At the cursor that stands under the key, which only the holder can write. It is written after
//! [`SAVED_EVERY`] events and when there is nothing more to send, so that an event may be sent again after a change of the sender, and
//! none is left out: delivery is at least once. Changes of keys below `webhooks/` are not sent. Events that are no longer
//! kept when the receiver is back are told of by one message of type [`LOST`].

mod hold;
mod message;
mod post;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{Code, EventCursor, Problem, WireEvent, WireWhat};
use queenright_bench::client::{Client, ClientError, Filter, Lookup, PutOptions};
use queenright_protocol::colony::Cursor;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use self::hold::Hold;
use self::message::Message;
pub use self::message::{Secret, SecretError};
use self::post::Poster;
use crate::config::WebhookConfig;
use crate::metrics::webhooks::{Posted, Webhooks};
use crate::worker::{PostError, jittered, with_causes};

/// Below which keys the cursors stand.
pub const KEYS: &str = "webhooks/";
/// The type of the message that tells of events that were not kept.
pub const LOST: &str = "events_lost";
/// The pause before the second try of an event, and the longest one.
pub const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));
/// After how many events the cursor is written at the latest.
pub const SAVED_EVERY: u64 = 100;
/// After how many commands without an event to send it is written.
const SAVED_EVERY_COMMANDS: u64 = 10_000;
/// How many events are fetched at a time, and for how long to wait for one.
const PAGE: u64 = 100;
const WAIT: Duration = Duration::from_secs(30);
/// From which try on the failure stands under the key.
const TOLD_AFTER: u32 = 3;
/// How long to wait before a sender that failed begins again.
const AGAIN: Duration = Duration::from_secs(2);

/// What stands under the key of a webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What was acknowledged last, or looked at.
    pub cursor: Option<EventCursor>,
    /// How many messages were acknowledged.
    pub sent: u64,
    /// The name of the node that sends.
    pub node: String,
    /// What keeps the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
}

/// What keeps a message from being acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Its id.
    pub message: String,
    /// How often it was sent when this was written.
    pub tries: u32,
    /// What came of the last try.
    pub error: String,
}

/// Why a sender begins again.
#[derive(Debug, thiserror::Error)]
enum Turned {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Post(#[from] PostError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the session has no contact to a quorum")]
    Uncertain,
    #[error("the state under {key} is none of a webhook: {problem}")]
    State { key: String, problem: String },
}

/// Sends what a webhook wants, for ever: while this node is the one that does. What is posted is counted.
pub async fn run(webhook: WebhookConfig, node: String, client: Client, counted: Arc<Webhooks>) {
    counted.add(&webhook.name);
    let client = client
        .in_project(&webhook.project)
        .as_agent(&format!("webhook:{}", webhook.name));
    loop {
        let turned = match turn(&webhook, &node, &client, &counted).await {
            Ok(never) => match never {},
            Err(turned) => turned,
        };
        let problem = with_causes(&turned);
        tracing::warn!(webhook = %webhook.name, problem, "a webhook is not sent from this node for a while");
        sleep(jittered(AGAIN)).await;
    }
}

/// One turn: waits to be the one that sends, and sends.
async fn turn(
    webhook: &WebhookConfig,
    node: &str,
    client: &Client,
    counted: &Arc<Webhooks>,
) -> Result<Infallible, Turned> {
    // Before anybody waits for it: a node that cannot sign must not keep others from sending.
    let opened = webhook.clone();
    let poster = spawn_blocking(move || Poster::open(&opened)).await;
    let poster = poster.expect("reading files does not panic")?;
    let hold = Hold::open(client, &webhook.name).await?;
    tokio::select! {
        beaten = hold.beat() => Err(beaten),
        sent = send(webhook, node, &hold, (poster, counted)) => sent,
    }
}

/// Waits for the key, and sends while it is held.
async fn send(
    webhook: &WebhookConfig,
    node: &str,
    hold: &Hold<'_>,
    (poster, counted): (Poster, &Arc<Webhooks>),
) -> Result<Infallible, Turned> {
    hold.granted().await?;
    let _sends = counted.sends(&webhook.name);
    tracing::info!(webhook = %webhook.name, "this node sends a webhook");
    let mut sender = Sender::begin(webhook, node, hold.writer(), (poster, counted)).await?;
    loop {
        sender.page().await?;
    }
}

/// The node that sends.
struct Sender<'a> {
    webhook: &'a WebhookConfig,
    client: Client,
    poster: Poster,
    counted: &'a Webhooks,
    key: String,
    filter: Filter,
    state: State,
    /// What is acknowledged and not written yet.
    unsaved: u64,
    /// Up to where the cursor is written, and the position of that write itself.
    saved_seq: u64,
}

impl Sender<'_> {
    async fn begin<'a>(
        webhook: &'a WebhookConfig,
        node: &str,
        client: Client,
        (poster, counted): (Poster, &'a Webhooks),
    ) -> Result<Sender<'a>, Turned> {
        let key = format!("{KEYS}{}", webhook.name);
        let state = match client.get(&key, Consistency::Linearizable).await? {
            Lookup::Absent { .. } => State::default(),
            Lookup::Found(found) => serde_json::from_slice(&found.value).map_err(|error| Turned::State {
                key: key.clone(),
                problem: error.to_string(),
            })?,
        };
        let mut sender = Sender {
            filter: Filter {
                types: webhook.types.clone(),
                subject: webhook.subject.clone(),
                ..Filter::default()
            },
            state: State {
                node: node.to_owned(),
                ..state
            },
            webhook,
            client,
            poster,
            counted,
            key,
            unsaved: 0,
            saved_seq: 0,
        };
        if sender.state.cursor.is_none() {
            // What happened before there was this webhook is nobody's news.
            sender.state.cursor = Some(sender.tail().await?);
        }
        sender.save().await?;
        Ok(sender)
    }

    /// Behind all that has happened.
    async fn tail(&self) -> Result<EventCursor, ClientError> {
        let now = self
            .client
            .events(None, 1, Duration::ZERO, &self.filter, Consistency::Linearizable);
        Ok(now.await?.tail)
    }

    /// Fetches what has happened since, and sends it.
    async fn page(&mut self) -> Result<(), Turned> {
        let page = self
            .client
            .events(self.state.cursor, PAGE, WAIT, &self.filter, Consistency::Local)
            .await;
        let page = match page {
            Ok(page) => page,
            Err(ClientError::Problem(problem)) => return self.resume(*problem).await,
            Err(error) => return Err(error.into()),
        };
        for event in page.events.iter().filter(|event| !is_own(event)) {
            let message = Message::of(event, &self.webhook.project);
            self.deliver(&message).await?;
            self.state.cursor = Some(event.cursor);
            if self.unsaved >= SAVED_EVERY {
                self.save().await?;
            }
        }
        self.state.cursor = Some(page.next_cursor);
        let behind = page.next_cursor.0.seq.saturating_sub(self.saved_seq);
        if !page.has_more && self.unsaved > 0 || behind >= SAVED_EVERY_COMMANDS {
            self.save().await?;
        }
        Ok(())
    }

    /// Goes on behind a gap, and says so.
    async fn resume(&mut self, problem: Problem) -> Result<(), Turned> {
        let told = |field: &str| problem.details[field].as_str().and_then(|text| text.parse().ok());
        let next = match problem.code {
            Code::CursorExpired => told("oldest").map(before),
            Code::CursorAhead => match told("resumed") {
                Some(resumed) => Some(resumed),
                // It is from another cluster, or from what was lost with a majority.
                None => Some(self.tail().await?),
            },
            _ => None,
        };
        let Some(next) = next else {
            return Err(ClientError::Problem(Box::new(problem)).into());
        };
        let message = Message::lost(self.state.cursor, next, &self.webhook.project);
        self.deliver(&message).await?;
        self.state.cursor = Some(next);
        Ok(self.save().await?)
    }

    /// Sends a message until it is acknowledged.
    async fn deliver(&mut self, message: &Message) -> Result<(), Turned> {
        let (mut pause, mut tries) = (BACK_OFF.0, 0);
        loop {
            tries += 1;
            let failed = match self.poster.post(message).await {
                Ok(()) => break,
                Err(failed) => failed,
            };
            self.counted.note(&self.webhook.name, failed.posted);
            tracing::debug!(webhook = %self.webhook.name, tries, error = %failed.error, "not acknowledged");
            let known = self.state.failing.as_ref().map(|failing| &failing.error);
            if tries >= TOLD_AFTER && known != Some(&failed.error) {
                tracing::warn!(webhook = %self.webhook.name, tries, error = %failed.error, "a webhook fails");
                self.state.failing = Some(Failing {
                    message: message.id.clone(),
                    tries,
                    error: failed.error,
                });
                self.save().await?;
            }
            let wake = Instant::now() + jittered(pause).max(failed.pause);
            tokio::time::sleep_until(wake).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
        self.counted.note(&self.webhook.name, Posted::Acknowledged);
        self.state.sent += 1;
        self.unsaved += 1;
        if self.state.failing.take().is_some() {
            self.unsaved = self.unsaved.max(SAVED_EVERY);
        }
        Ok(())
    }

    /// Writes the state, which only the holder of its key can.
    async fn save(&mut self) -> Result<(), ClientError> {
        let state = serde_json::to_vec(&self.state).expect("text and numbers are always JSON");
        let changed = self.client.put(&self.key, state.into(), &PutOptions::default()).await?;
        self.saved_seq = changed.seq;
        self.unsaved = 0;
        Ok(())
    }
}

/// Whether an event is only the note of a sender.
fn is_own(event: &WireEvent) -> bool {
    matches!(&event.what, WireWhat::Changed { key, .. } if key.starts_with(KEYS))
}

/// The place before an event.
fn before(EventCursor(cursor): EventCursor) -> EventCursor {
    EventCursor(match cursor.ordinal.checked_sub(1) {
        Some(ordinal) => Cursor { ordinal, ..cursor },
        None => Cursor {
            seq: cursor.seq.saturating_sub(1),
            ordinal: u32::MAX,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_the_place_before_an_event_comes_that_event() {
        let check = |cursor: &str, expected: &str| {
            let place: EventCursor = cursor.parse().unwrap();
            assert_eq!(before(place).to_string(), expected);
            assert!(before(place) < place);
        };
        check("17.2", "17.1");
        check("17.0", "16");
    }

    #[test]
    fn what_stands_under_the_key_is_read_by_later_versions() {
        let text = r#"{"cursor":"17.2","sent":3,"node":"n1","later":true}"#;
        let state: State = serde_json::from_str(text).unwrap();
        assert_eq!((state.sent, state.failing), (3, None));
    }
}
