//! Who has subscribed to what on this node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use queenright_protocol::topic::{Index, Pattern};

use super::follower::Queue;
use super::message::Heard;
use super::{AGENT_PATTERNS_MAX, NODE_PATTERNS_MAX, SubscribeError};
use crate::agent::Generation;

/// One who has subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SubscriberId {
    /// A generation of an agent: its number and that of the generation.
    Agent(u64, u64),
    /// A caller of the door.
    Follower(u64),
}

/// Where its messages go.
pub(super) enum Target {
    Agent(Arc<Generation>),
    Follower(Arc<Queue>),
}

struct Subscriber {
    target: Target,
    /// Never empty. By project.
    patterns: BTreeSet<(Arc<str>, Pattern)>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Subscriptions {
    projects: BTreeMap<Arc<str>, Index<SubscriberId>>,
    subscribers: BTreeMap<SubscriberId, Subscriber>,
    len: usize,
}

impl Subscriptions {
    /// How many pairs of a subscriber and a pattern there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn has(&self, who: SubscriberId) -> bool {
        self.subscribers.contains_key(&who)
    }

    /// Adds a pattern of a subscriber. `false` if it has it already.
    pub(super) fn add(
        &mut self,
        who: SubscriberId,
        target: impl FnOnce() -> Target,
        project: &str,
        pattern: &Pattern,
    ) -> Result<bool, SubscribeError> {
        let project: Arc<str> = match self.projects.get_key_value(project) {
            Some((known, _)) => known.clone(),
            None => project.into(),
        };
        let of_subscriber = (project, pattern.clone());
        if let Some(subscriber) = self.subscribers.get(&who) {
            if subscriber.patterns.contains(&of_subscriber) {
                return Ok(false);
            }
            if subscriber.patterns.len() >= AGENT_PATTERNS_MAX {
                let (whose, limit) = ("this agent", AGENT_PATTERNS_MAX);
                return Err(SubscribeError::TooMany { whose, limit });
            }
        }
        if self.len >= NODE_PATTERNS_MAX {
            let (whose, limit) = ("this node", NODE_PATTERNS_MAX);
            return Err(SubscribeError::TooMany { whose, limit });
        }
        let index = self.projects.entry(of_subscriber.0.clone()).or_default();
        self.len += usize::from(index.insert(pattern, who));
        let subscriber = self.subscribers.entry(who).or_insert_with(|| Subscriber {
            target: target(),
            patterns: BTreeSet::new(),
        });
        Ok(subscriber.patterns.insert(of_subscriber))
    }

    /// Removes a pattern of a subscriber. `false` if it has none.
    pub(super) fn remove(&mut self, who: SubscriberId, project: &str, pattern: &Pattern) -> bool {
        let Some(subscriber) = self.subscribers.get_mut(&who) else {
            return false;
        };
        let of_subscriber: (Arc<str>, Pattern) = (project.into(), pattern.clone());
        let gone = subscriber.patterns.remove(&of_subscriber);
        if subscriber.patterns.is_empty() {
            self.subscribers.remove(&who);
        }
        if gone {
            self.take_out(who, project, pattern);
        }
        gone
    }

    /// Removes all patterns of a subscriber.
    pub(super) fn remove_all(&mut self, who: SubscriberId) {
        let Some(subscriber) = self.subscribers.remove(&who) else {
            return;
        };
        for (project, pattern) in &subscriber.patterns {
            self.take_out(who, project, pattern);
        }
    }

    fn take_out(&mut self, who: SubscriberId, project: &str, pattern: &Pattern) {
        let Some(index) = self.projects.get_mut(project) else {
            return;
        };
        self.len -= usize::from(index.remove(pattern, who));
        if index.is_empty() {
            self.projects.remove(project);
        }
    }

    /// Which messages go to whom, in their order.
    pub(super) fn sort_out(&self, messages: Vec<Heard>) -> Vec<(&Target, Vec<Heard>)> {
        let mut sorted: BTreeMap<SubscriberId, Vec<Heard>> = BTreeMap::new();
        for message in messages {
            let Some(index) = self.projects.get(&message.project) else {
                continue;
            };
            for who in index.matching(&message.topic) {
                sorted.entry(who).or_default().push(message.clone());
            }
        }
        let known = sorted.into_iter().filter_map(|(who, messages)| {
            let subscriber = self.subscribers.get(&who)?;
            Some((&subscriber.target, messages))
        });
        known.collect()
    }
}
