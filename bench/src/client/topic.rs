//! The routes of topics.

use bytes::Bytes;
use futures::stream::BoxStream;
use queenright_actors::topic::Published;
use reqwest::Method;
use serde::Deserialize;

use super::request::path_of;
use super::stream::{Message, NoMessage};
use super::wire::WireMessage;
use super::{Client, ClientError};

/// What one who follows topics is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicNews {
    /// A message.
    Message(Box<WireMessage>),
    /// So many messages were dropped here: they came faster than they were read.
    Dropped(u64),
}

impl Client {
    /// Publishes a message to all who follow or have subscribed to its topic.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `BUSY` when too much waits on the way to other nodes.
    pub async fn publish(&self, topic: &str, payload: Bytes) -> Result<Published, ClientError> {
        let request = self.project_request(Method::POST, &path_of("/v1/topics", "the topic", topic)?)?;
        self.fetch(request.body(payload)).await
    }

    /// Follows the topics of the project that a pattern chooses; in effect when this returns. The stream ends with its first
    /// error, or when the node closes its door. What is published while nobody follows is not kept.
    ///
    /// # Errors
    /// [`ClientError`] when the door refuses.
    pub async fn follow_topics(
        &self,
        pattern: &str,
    ) -> Result<BoxStream<'static, Result<TopicNews, ClientError>>, ClientError> {
        let request = self.stream_request("/v1/topics").query(&[("pattern", pattern)]);
        self.open_stream(request, news).await
    }
}

#[derive(Deserialize)]
struct Dropped {
    messages: u64,
}

fn news(message: &Message) -> Result<TopicNews, NoMessage> {
    match message.kind.as_str() {
        "dropped" => message.data().map(|Dropped { messages }| TopicNews::Dropped(messages)),
        _ => message.data().map(TopicNews::Message),
    }
}
