//! A message of a topic, and the bytes that carry it from node to node.
//!
//! | bytes | field, numbers little-endian |
//! |---|---|
//! | 8 | the publisher's node |
//! | 8, 8 | number and generation of the agent that published it; 0 for a caller of a door |
//! | 2 | how many nodes lie behind the one that this is for |
//! | 12 each | these: number of the node (8), and how many nodes its branch has (4), as `topology::Branch` |
//! | 1, 1, 1 | bytes of project, author and topic |
//! | | project, author, topic, payload |
//!
//! Whoever sends it on looks at the tree alone.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use queenright_protocol::colony::{Refusal, check_name};
use queenright_protocol::id::NodeId;
use queenright_protocol::topic::Topic;
use queenright_protocol::topology::Branch;

use super::TOPIC_PAYLOAD_BYTES_MAX;
use crate::agent::{AgentAddress, AgentMessage, Delivery, Generation, Letter};

/// Bytes in front of the tree.
const ORIGIN_BYTES: usize = 24;
/// Bytes of a branch.
const BRANCH_BYTES: usize = 12;
/// How many nodes may lie behind one: more than a cluster may have.
const BRANCHES_MAX: usize = 1_024;

/// A message as its publisher has it.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The project whose topic it is about.
    pub project: &'a str,
    /// What it is about.
    pub topic: &'a Topic,
    /// Who publishes it.
    pub author: &'a str,
    /// Where signals reach the publisher, if it is an agent.
    pub from: Option<AgentAddress>,
    /// What it says.
    pub payload: &'a [u8],
}

/// A message as its subscribers get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMessage {
    /// The project whose topic it is about.
    pub project: Arc<str>,
    /// What it is about.
    pub topic: Topic,
    /// Who published it.
    pub author: Arc<str>,
    /// The node where it was published; none for a node without others.
    pub node: NodeId,
    /// Where signals reach the publisher, if it is an agent.
    pub from: Option<AgentAddress>,
    /// What it says.
    pub payload: Bytes,
}

/// A message in the hands of one of its subscribers, shared by all of them on this node.
pub type Heard = Arc<TopicMessage>;

impl Letter for Heard {
    fn message(delivery: Delivery<Heard>) -> AgentMessage {
        AgentMessage::Topics(delivery)
    }

    fn delivery(message: AgentMessage) -> Option<Delivery<Heard>> {
        match message {
            AgentMessage::Topics(delivery) => Some(delivery),
            _ => None,
        }
    }

    // The accounts of agents are of signals.
    fn taken(_: &[Heard], _: &Generation) {}

    fn unread(_: &[Heard], _: &Generation) {}
}

impl Publication<'_> {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        check_name("project", self.project)?;
        check_name("author", self.author)?;
        let (value, limit) = (self.payload.len() as u64, TOPIC_PAYLOAD_BYTES_MAX as u64);
        if value > limit {
            let field = "payload".into();
            return Err(Refusal::OverLimit { field, value, limit });
        }
        Ok(())
    }

    pub(super) fn message(&self, me: NodeId) -> TopicMessage {
        TopicMessage {
            project: self.project.into(),
            topic: self.topic.clone(),
            author: self.author.into(),
            node: me,
            from: self.from,
            payload: Bytes::copy_from_slice(self.payload),
        }
    }

    /// The bytes of one that was checked.
    pub(super) fn packet(&self, me: NodeId) -> Packet {
        let texts = [self.project, self.author, self.topic.as_str()];
        let mut origin = [0; ORIGIN_BYTES];
        let mut words = &mut origin[..];
        words.put_u64_le(me.0);
        words.put_u64_le(self.from.map_or(0, |from| from.number));
        words.put_u64_le(self.from.map_or(0, |from| from.generation));
        let bytes: usize = texts.iter().map(|text| text.len() + 1).sum();
        let mut content = BytesMut::with_capacity(bytes + self.payload.len());
        for text in texts {
            content.put_u8(u8::try_from(text.len()).expect("its length was checked"));
        }
        texts.iter().for_each(|text| content.put_slice(text.as_bytes()));
        content.put_slice(self.payload);
        Packet {
            origin,
            content: content.freeze(),
        }
    }
}

/// The bytes of a message, without the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    origin: [u8; ORIGIN_BYTES],
    /// What follows the tree.
    content: Bytes,
}

impl Packet {
    /// How many bytes the body has for a node with these behind it.
    pub(super) fn bytes(&self, behind: &[Branch]) -> usize {
        ORIGIN_BYTES + 2 + behind.len() * BRANCH_BYTES + self.content.len()
    }

    /// The body for a node with these behind it.
    pub(super) fn body(&self, behind: &[Branch]) -> Bytes {
        let mut body = BytesMut::with_capacity(self.bytes(behind));
        body.put_slice(&self.origin);
        // A cluster has far fewer nodes.
        let nodes = &behind[..behind.len().min(BRANCHES_MAX)];
        body.put_u16_le(nodes.len() as u16);
        for branch in nodes {
            body.put_u64_le(branch.node.0);
            body.put_u32_le(branch.nodes);
        }
        body.put_slice(&self.content);
        body.freeze()
    }

    /// A message and the nodes behind the one that it was for; `None` when the bytes are none.
    pub(super) fn read(mut body: Bytes) -> Option<(Packet, Vec<Branch>)> {
        let mut origin = [0; ORIGIN_BYTES];
        body.try_copy_to_slice(&mut origin).ok()?;
        let nodes = usize::from(body.try_get_u16_le().ok()?);
        if nodes > BRANCHES_MAX || body.len() < nodes * BRANCH_BYTES {
            return None;
        }
        let behind = (0..nodes).map(|_| Branch {
            node: NodeId(body.get_u64_le()),
            nodes: body.get_u32_le(),
        });
        let behind = behind.collect();
        let packet = Packet { origin, content: body };
        packet.parts()?;
        Some((packet, behind))
    }

    /// Project, author, topic and payload.
    fn parts(&self) -> Option<(&str, &str, Topic, &[u8])> {
        let (lengths, mut rest) = self.content.split_at_checked(3)?;
        let mut text = |place: usize| {
            let (text, others) = rest.split_at_checked(usize::from(lengths[place]))?;
            rest = others;
            str::from_utf8(text).ok()
        };
        let (project, author, topic) = (text(0)?, text(1)?, text(2)?);
        Some((project, author, Topic::new(topic).ok()?, rest))
    }

    /// The message.
    pub(super) fn message(&self) -> Option<TopicMessage> {
        let (project, author, topic, payload) = self.parts()?;
        let mut words = &self.origin[..];
        let node = NodeId(words.get_u64_le());
        let (number, generation) = (words.get_u64_le(), words.get_u64_le());
        Some(TopicMessage {
            project: project.into(),
            topic,
            author: author.into(),
            node,
            from: (number != 0).then_some(AgentAddress {
                node,
                number,
                generation,
            }),
            // Not a slice of the frame, which would be kept as long as the message waits.
            payload: Bytes::copy_from_slice(payload),
        })
    }
}
