//! Events as the door pushes them: server-sent events over one connection.

use std::collections::VecDeque;
use std::str::FromStr;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use queenright_actors::node::Consistency;
use reqwest::{Method, RequestBuilder, header};
use serde::de::DeserializeOwned;

use super::follow::{Filter, Watched};
use super::wire::{EventCursor, Problem};
use super::{Client, ClientError};

/// How many bytes one message may have: an event is far smaller, and what is not a message must not fill the memory.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

impl Client {
    /// Subscribes to events from a cursor on, or from the oldest one that is kept; with `snapshot`, such as `memory`, to
    /// the present state first. The stream ends with its first error, or when the node closes its door: a caller goes on
    /// from the last cursor.
    ///
    /// # Errors
    /// [`ClientError`] when the door refuses, such as a problem with code `CURSOR_EXPIRED`.
    pub async fn subscribe(
        &self,
        after: Option<EventCursor>,
        filter: &Filter,
        snapshot: Option<&str>,
        consistency: Consistency,
    ) -> Result<BoxStream<'static, Result<Watched, ClientError>>, ClientError> {
        let mut request = self
            .stream_request("/v1/events")
            .query(&[("consistency", consistency)])
            .query(&filter.query());
        if let Some(after) = after {
            request = request.query(&[("after", after.to_string())]);
        }
        if let Some(snapshot) = snapshot {
            request = request.query(&[("snapshot", snapshot)]);
        }
        self.open_stream(request, watched).await
    }

    /// A request for a stream about the project: it may take for ever.
    pub(super) fn stream_request(&self, path: &str) -> RequestBuilder {
        self.http
            .request(Method::GET, format!("{}{path}", self.base))
            .header(header::ACCEPT, "text/event-stream")
            .query(&[("project", self.options.project.as_str())])
    }

    /// Begins a stream of what `read` makes of its messages. It ends with its first error, or with the door.
    pub(super) async fn open_stream<T: Send + 'static>(
        &self,
        request: RequestBuilder,
        read: Read<T>,
    ) -> Result<BoxStream<'static, Result<T, ClientError>>, ClientError> {
        let response = self.send(request).await?;
        let subscribed = Subscribed {
            client: self.clone(),
            pieces: response.bytes_stream().boxed(),
            messages: Messages::default(),
            ready: VecDeque::new(),
            read,
        };
        let items = stream::try_unfold(subscribed, |mut subscribed| async move {
            let next = subscribed.next().await?;
            Ok(next.map(|item| (item, subscribed)))
        });
        Ok(items.boxed())
    }
}

/// What becomes of a message that is no error.
pub(super) type Read<T> = fn(&Message) -> Result<T, NoMessage>;

fn watched(message: &Message) -> Result<Watched, NoMessage> {
    match message.kind.as_str() {
        "state" => message.data().map(Watched::State),
        "current" => Ok(Watched::Current(message.id.parse()?)),
        _ => message.data().map(Watched::Event),
    }
}

/// Where a subscription is.
struct Subscribed<T> {
    client: Client,
    pieces: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    messages: Messages,
    ready: VecDeque<Message>,
    read: Read<T>,
}

impl<T> Subscribed<T> {
    async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return self.read(&message).map(Some);
            }
            let Some(piece) = self.pieces.next().await else {
                return Ok(None);
            };
            let piece = piece.map_err(|error| self.client.failure(&error))?;
            let taken = self.messages.take(&piece, &mut self.ready);
            taken.map_err(|error| self.client.bad_response(error.to_string()))?;
        }
    }

    fn read(&self, message: &Message) -> Result<T, ClientError> {
        let malformed = |error: NoMessage| self.client.bad_response(error.to_string());
        if message.kind == "error" {
            let problem: Problem = message.data().map_err(malformed)?;
            return Err(ClientError::Problem(Box::new(problem)));
        }
        (self.read)(message).map_err(malformed)
    }
}

/// One message of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    id: String,
    pub(super) kind: String,
    data: String,
}

impl Message {
    /// What its JSON holds.
    pub(super) fn data<T: DeserializeOwned>(&self) -> Result<T, NoMessage> {
        Ok(serde_json::from_str(&self.data)?)
    }
}

/// What makes a stream none of messages that are known.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoMessage {
    #[error("a message is longer than {MESSAGE_BYTES_MAX} B")]
    TooLong,
    #[error("a line is not UTF-8")]
    NotText,
    #[error(transparent)]
    Data(#[from] serde_json::Error),
    #[error(transparent)]
    Cursor(#[from] <EventCursor as FromStr>::Err),
}

/// Takes a stream of bytes apart, as the HTML standard says of `text/event-stream`; lines end with a line feed.
#[derive(Debug, Default)]
struct Messages {
    /// What has come of a line.
    line: Vec<u8>,
    message: Message,
}

impl Messages {
    fn take(&mut self, piece: &[u8], ready: &mut VecDeque<Message>) -> Result<(), NoMessage> {
        for &byte in piece {
            if byte != b'\n' {
                self.line.push(byte);
                if self.line.len() + self.message.data.len() > MESSAGE_BYTES_MAX {
                    return Err(NoMessage::TooLong);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8(line).map_err(|_| NoMessage::NotText)?;
            self.line_ends(&line, ready);
        }
        Ok(())
    }

    fn line_ends(&mut self, line: &str, ready: &mut VecDeque<Message>) {
        if line.is_empty() {
            // A message without data only moves the cursor.
            let message = std::mem::take(&mut self.message);
            if !message.data.is_empty() {
                ready.push_back(message);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.message.id),
            "event" => value.clone_into(&mut self.message.kind),
            "data" => {
                if !self.message.data.is_empty() {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            // A comment, or a field that may come.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_same_however_the_bytes_are_cut() {
        let text =
            "id: 1.0\nevent: changed\ndata: {\"a\":\ndata: 1}\n\n: a comment\n\nid: 9\n: only a cursor\n\ndata:ü\n\n";
        let expected = [
            Message {
                id: "1.0".to_owned(),
                kind: "changed".to_owned(),
                data: "{\"a\":\n1}".to_owned(),
            },
            Message {
                data: "ü".to_owned(),
                ..Message::default()
            },
        ];
        for size in 1..text.len() {
            let (mut messages, mut ready) = (Messages::default(), VecDeque::new());
            for piece in text.as_bytes().chunks(size) {
                messages.take(piece, &mut ready).unwrap();
            }
            assert_eq!(ready, expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let (mut messages, mut ready) = (Messages::default(), VecDeque::new());
        let piece = vec![b'x'; MESSAGE_BYTES_MAX + 1];
        assert!(matches!(messages.take(&piece, &mut ready), Err(NoMessage::TooLong)));
        let mut messages = Messages::default();
        assert!(matches!(
            messages.take(b"data: \xff\n", &mut ready),
            Err(NoMessage::NotText)
        ));
    }
}
