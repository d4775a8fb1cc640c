//! Messages of topics over a door.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use queenright_actors::agent::AgentAddress;
use queenright_actors::topic::TopicMessage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A message of a topic. Its payload is one of `payload`, if it is UTF-8, and `payload_base64`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireMessage {
    /// What it is about.
    pub topic: String,
    /// Who published it.
    pub author: String,
    /// The number of the node where it was published.
    pub node: u64,
    /// Where signals reach the publisher, if it is an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<AgentAddress>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

impl From<&TopicMessage> for WireMessage {
    fn from(message: &TopicMessage) -> WireMessage {
        let text = str::from_utf8(&message.payload).ok();
        WireMessage {
            topic: message.topic.to_string(),
            author: message.author.to_string(),
            node: message.node.0,
            from: message.from,
            payload: text.map(str::to_owned),
            payload_base64: text.is_none().then(|| BASE64.encode(&message.payload)),
        }
    }
}
