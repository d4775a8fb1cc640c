//! Topics: messages from one to all who have subscribed to what they are about, on all nodes. Volatile like signals: at most
//! once, in order for each publisher and subscriber while the epoch stands, kept for nobody who comes later. A topic belongs
//! to a project; names and patterns are `queenright_protocol::topic`'s.
//!
//! # The way of a message
//!
//! One envelope goes along the tree of the broadcast, and each node hands it to its own subscribers: agents through their
//! mailboxes, callers of the door through a [`Follower`]. The tree is that of the topology of those who are believed to live;
//! members that are suspected, or have just joined, have branches of their own. **The publisher's node writes the tree
//! down, and each envelope carries the branch behind it**, so that a node on the way needs no view of its own: nodes with
//! different epochs or suspects never send a message to one node twice, and none is dropped because they differ. Where
//! the first node of a branch cannot be reached, its branch is handed to those behind it at once.
//!
//! **Nothing is pruned.** Every node gets every message, also one without subscribers. Interest would have to be flooded
//! ahead of it, kept for each link and made anew at each change of epoch, and a subscription would be in effect only when
//! the last node knows of it. Here it is in effect when the call returns, and no node knows the subscriptions of others.
//! What that costs is an envelope for each node and message; a cluster has 64 nodes at most.
//!
//! # What is counted
//!
//! | count | where | what |
//! |---|---|---|
//! | published, refused | the publisher's node | messages taken; not taken, and the publisher told |
//! | copies | the publisher's node | for each message taken one for each other member |
//! | arrived | each node | copies that came here |
//! | lost | each node | copies that this node could not send on, or could not read |
//! | `topics_lost` in transit | a node on the way between two of the tree | copies that were dropped there |
//! | delivered, dropped | each node | handed to a subscriber here; not, or never taken by it |
//!
//! At rest copies = arrived + lost + lost in transit, but for those in envelopes that links have lost, which they count.

mod follower;
mod message;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use queenright_protocol::colony::{Refusal, check_name};
use queenright_protocol::id::NodeId;
use queenright_protocol::topic::{Pattern, Topic};
use queenright_protocol::topology::{Branch, branches};
use queenright_protocol::wire::{Envelope, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::follower::Queue;
pub use self::follower::{Followed, Follower};
use self::message::Packet;
pub use self::message::{Heard, Publication, TopicMessage};
use self::subscriptions::{SubscriberId, Subscriptions, Target};
use crate::agent::{Generation, Handed};
use crate::router::{RouteError, Router};

/// The most bytes of a message: more belongs into the memory, and its key into a message.
pub const TOPIC_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// How many patterns one agent may have.
pub const AGENT_PATTERNS_MAX: usize = 256;
/// How many patterns all subscribers of a node may have: two and a half for each agent that it may host.
pub const NODE_PATTERNS_MAX: usize = 262_144;

/// Why a message was not published: nobody gets it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PublishError {
    /// Too much waits already on a link of this node.
    #[error("too many messages wait on the way to other nodes for one about {topic}")]
    Busy {
        /// What it was about.
        topic: Topic,
    },
    /// Something about it cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why a subscription was not made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SubscribeError {
    /// There are too many.
    #[error("{whose} has {limit} patterns of topics, which is its limit")]
    TooMany {
        /// Whose.
        whose: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The project cannot be one.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What became of a message when it was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// How many other nodes it is for.
    pub nodes: u64,
    /// Of these, for how many it was lost at once.
    pub lost: u64,
    /// How many subscribers of this node it was handed to.
    pub delivered: u64,
}

/// Counts of messages on this node; the documentation of the module has the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopicCounts {
    /// Messages taken from agents of this node and callers of its door.
    pub published: u64,
    /// Messages not taken: the publisher was told.
    pub refused: u64,
    /// Copies for other nodes of those taken.
    pub copies: u64,
    /// Copies that came to this node.
    pub arrived: u64,
    /// Copies that this node could not send on, for each node that they were for.
    pub lost: u64,
    /// How often a message was handed to a subscriber of this node.
    pub delivered: u64,
    /// How often it was not, or was never taken: too much waited for that subscriber, or it had ended.
    pub dropped: u64,
    /// Patterns that subscribers of this node have now.
    pub patterns: u64,
}

/// What is counted.
#[derive(Default)]
struct Counters {
    published: AtomicU64,
    refused: AtomicU64,
    copies: AtomicU64,
    arrived: AtomicU64,
    lost: AtomicU64,
    next_follower: AtomicU64,
}

/// The topics as a node has them: who has subscribed here, and the way to the other nodes.
pub struct Topics {
    /// None for a node that has no others.
    router: Option<Arc<Router>>,
    // A lock: looked into by whoever publishes and by gateways, changed by those who subscribe. Held for one look-up, and
    // for handing over, which never waits.
    subscriptions: RwLock<Subscriptions>,
    counters: Counters,
    handed: Arc<Handed>,
}

impl Topics {
    pub(crate) fn new(router: Option<Arc<Router>>) -> Topics {
        Topics {
            router,
            subscriptions: RwLock::default(),
            counters: Counters::default(),
            handed: Arc::default(),
        }
    }

    /// The topics of a node without others.
    pub fn alone() -> Topics {
        Topics::new(None)
    }

    fn subscriptions(&self) -> RwLockReadGuard<'_, Subscriptions> {
        // Nothing under this lock panics half-way.
        self.subscriptions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Subscriptions> {
        self.subscriptions.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a message. Never waits: the links take it, or it is refused before any of them has.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn publish(&self, publication: &Publication<'_>) -> Result<Published, PublishError> {
        let refused = |error: PublishError| {
            add(&self.counters.refused, 1);
            error
        };
        publication.check().map_err(|refusal| refused(refusal.into()))?;
        let Some(router) = &self.router else {
            return Ok(self.published(publication, NodeId::NONE, 0, 0));
        };
        let (tree, packet) = (router.broadcast_tree(), publication.packet(router.me()));
        let full = branches(&tree).any(|(node, behind)| !router.has_room(node, Kind::Topic, packet.bytes(behind)));
        if full {
            let topic = publication.topic.clone();
            return Err(refused(PublishError::Busy { topic }));
        }
        let lost = self.send_on(router, &packet, &tree);
        Ok(self.published(publication, router.me(), tree.len() as u64, lost))
    }

    /// Like [`Topics::publish`], but waits while too much waits already on a link of this node.
    ///
    /// # Errors
    /// [`PublishError::Refused`].
    pub async fn publish_waiting(&self, publication: &Publication<'_>) -> Result<Published, PublishError> {
        match self.publish(publication) {
            Err(PublishError::Busy { .. }) => {}
            published => return published,
        }
        // Taken after all: it does not count as refused.
        self.counters.refused.fetch_sub(1, Ordering::Relaxed);
        let router = self.router.as_ref().expect("only a link is busy");
        let (tree, packet) = (router.broadcast_tree(), publication.packet(router.me()));
        let (mut left, mut lost) = (vec![&*tree], 0);
        while let Some(tree) = left.pop() {
            for (node, behind) in branches(tree) {
                let (kind, nodes, body) = (Kind::Topic, 1 + behind.len() as u64, packet.body(behind));
                let sent = router.send_waiting(node, kind.lane(), kind, nodes, body).await;
                if sent.is_err() {
                    lost += 1;
                    left.push(behind);
                }
            }
        }
        add(&self.counters.lost, lost);
        Ok(self.published(publication, router.me(), tree.len() as u64, lost))
    }

    /// Counts a message that the links have taken, and hands it to the subscribers of this node.
    fn published(&self, publication: &Publication<'_>, me: NodeId, nodes: u64, lost: u64) -> Published {
        add(&self.counters.published, 1);
        add(&self.counters.copies, nodes);
        let delivered = self.hand_out(vec![Arc::new(publication.message(me))]);
        Published { nodes, lost, delivered }
    }

    /// Sends a message to the branches of a tree. Says for how many nodes it was lost.
    fn send_on(&self, router: &Router, packet: &Packet, tree: &[Branch]) -> u64 {
        let (mut left, mut lost) = (vec![tree], 0);
        while let Some(tree) = left.pop() {
            for (node, behind) in branches(tree) {
                let nodes = 1 + behind.len() as u64;
                let kind = Kind::Topic;
                match router.send(node, kind.lane(), kind, nodes, packet.body(behind)) {
                    Ok(()) => {}
                    // Those behind would take the room that there is not.
                    Err(error) if error.is_busy() => lost += nodes,
                    Err(RouteError::Unknown { .. } | RouteError::Link(_)) => {
                        lost += 1;
                        left.push(behind);
                    }
                }
            }
        }
        add(&self.counters.lost, lost);
        lost
    }

    /// Takes the messages of one frame from a link: each goes on at once, and all of them to the subscribers of this node.
    pub(crate) fn arrived(&self, me: NodeId, envelopes: Vec<Envelope>) {
        let mut messages = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            let nodes = envelope.correlation;
            let packet = Packet::read(envelope.body).filter(|_| envelope.to == me);
            let Some((packet, behind)) = packet else {
                // For a number that this place had before, or unreadable: nobody behind gets it either.
                add(&self.counters.lost, nodes);
                continue;
            };
            add(&self.counters.arrived, 1);
            if let Some(router) = self.router.as_ref().filter(|_| !behind.is_empty()) {
                self.send_on(router, &packet, &behind);
            }
            messages.extend(packet.message().map(Arc::new));
        }
        self.hand_out(messages);
    }

    /// Hands messages to the subscribers of this node; those for one subscriber together. Says how often it did.
    fn hand_out(&self, messages: Vec<Heard>) -> u64 {
        let subscriptions = self.subscriptions();
        let mut delivered = 0;
        for (target, messages) in subscriptions.sort_out(messages) {
            delivered += match target {
                Target::Agent(generation) => self.hand_to(generation, messages),
                Target::Follower(queue) => queue.put(messages, &self.handed),
            };
        }
        delivered
    }

    fn hand_to(&self, generation: &Arc<Generation>, messages: Vec<Heard>) -> u64 {
        let handing = crate::agent::hand(generation, messages, &self.handed);
        add(&self.handed.lost, handing.missed.len() as u64);
        handing.taken as u64
    }

    pub(crate) fn subscribe(
        &self,
        (number, generation): (u64, &Arc<Generation>),
        project: &str,
        pattern: &Pattern,
    ) -> Result<bool, SubscribeError> {
        check_name("project", project)?;
        let agent = SubscriberId::Agent(number, generation.number);
        let target = || Target::Agent(generation.clone());
        self.change().add(agent, target, project, pattern)
    }

    pub(crate) fn unsubscribe(&self, (number, generation): (u64, u64), project: &str, pattern: &Pattern) -> bool {
        let agent = SubscriberId::Agent(number, generation);
        self.change().remove(agent, project, pattern)
    }

    /// A generation of an agent has ended, and its subscriptions with it.
    pub(crate) fn forget(&self, number: u64, generation: u64) {
        let agent = SubscriberId::Agent(number, generation);
        // Most agents have none: they need not wait for each other.
        if self.subscriptions().has(agent) {
            self.change().remove_all(agent);
        }
    }

    /// Follows the topics of a project that a pattern chooses, until the follower is dropped. `bytes_max` bounds what waits
    /// for it.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn follow(
        self: &Arc<Self>,
        project: &str,
        pattern: &Pattern,
        bytes_max: usize,
    ) -> Result<Follower, SubscribeError> {
        check_name("project", project)?;
        let id = SubscriberId::Follower(self.counters.next_follower.fetch_add(1, Ordering::Relaxed));
        let queue = Arc::new(Queue::new(bytes_max));
        let target = || Target::Follower(queue.clone());
        self.change().add(id, target, project, pattern)?;
        Ok(Follower::new(self.clone(), id, queue))
    }

    fn unfollow(&self, id: SubscriberId, queue: &Queue) {
        self.change().remove_all(id);
        // Nobody puts anything into it any more.
        let left = queue.close();
        self.handed.delivered.fetch_sub(left, Ordering::Relaxed);
        add(&self.handed.lost, left);
    }

    /// What was counted so far.
    pub fn counts(&self) -> TopicCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TopicCounts {
            published: get(&self.counters.published),
            refused: get(&self.counters.refused),
            copies: get(&self.counters.copies),
            arrived: get(&self.counters.arrived),
            lost: get(&self.counters.lost),
            delivered: get(&self.handed.delivered),
            dropped: get(&self.handed.lost),
            patterns: self.subscriptions().len() as u64,
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
