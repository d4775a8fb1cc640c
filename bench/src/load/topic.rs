//! Agents that measure topics: one publishes as fast as it may, others subscribe and count.

use futures::future::BoxFuture;
use queenright_actors::agent::{AgentContext, Behaviour, BehaviourError, Step};
use queenright_actors::topic::{Heard, PublishError};
use queenright_protocol::topic::{Pattern, Topic};
use serde::Deserialize;

use super::unix_us;

/// The project whose topics are used.
const PROJECT: &str = "default";
/// How many messages a publisher publishes before it lets others have a turn.
const MESSAGES_PER_STEP: u64 = 1024;
/// After how many messages a subscriber reports.
const MESSAGES_PER_REPORT: u64 = 8192;

/// What a publisher is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublisherArguments {
    /// The topics, taken in turn.
    topics: Vec<String>,
    /// How many messages.
    count: u64,
    /// Bytes of each payload.
    bytes: usize,
}

/// Publishes a number of messages, each with its place in front of the payload; a full lane makes it wait. Reports how many
/// it has `published`, how often it was refused at first (`busy`), for how many nodes messages were `lost` at once, and when
/// it started.
pub struct Publisher {
    topics: Vec<Topic>,
    count: u64,
    payload: Vec<u8>,
    published: u64,
    busy: u64,
    lost: u64,
    started_at_us: Option<u64>,
}

impl Publisher {
    pub(super) fn new(arguments: PublisherArguments) -> Result<Publisher, BehaviourError> {
        let topics = arguments.topics.iter().map(|text| Topic::new(text));
        let topics: Vec<Topic> = topics.collect::<Result<_, _>>().map_err(failed)?;
        if topics.is_empty() {
            return Err(BehaviourError("topics: there must be one at least".to_owned()));
        }
        Ok(Publisher {
            topics,
            count: arguments.count,
            payload: vec![7; arguments.bytes.max(8)],
            published: 0,
            busy: 0,
            lost: 0,
            started_at_us: None,
        })
    }

    async fn publish(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let started_at_us = *self.started_at_us.get_or_insert_with(unix_us);
        let until = self.count.min(self.published + MESSAGES_PER_STEP);
        while self.published < until {
            let topic = &self.topics[(self.published % self.topics.len() as u64) as usize];
            self.payload[..8].copy_from_slice(&self.published.to_le_bytes());
            let published = match context.publish(PROJECT, topic, &self.payload) {
                Err(PublishError::Busy { .. }) => {
                    self.busy += 1;
                    context.publish_waiting(PROJECT, topic, &self.payload).await
                }
                published => published,
            };
            self.lost += published.map_err(failed)?.lost;
            self.published += 1;
        }
        if self.published < self.count {
            return Ok(Step::Again);
        }
        context.report("published", self.published);
        context.report("busy", self.busy);
        context.report("lost", self.lost);
        context.report("started_at_us", started_at_us);
        Ok(Step::Done)
    }
}

impl Behaviour for Publisher {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.publish(context))
    }
}

/// What a subscriber is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriberArguments {
    /// Its patterns.
    patterns: Vec<String>,
}

/// Counts the messages of one publisher. Reports the patterns that it has `subscribed`, how many messages it has `received`,
/// those out of the order in which they were published (`out_of_order`), and when the last one came.
pub struct Subscriber {
    patterns: Vec<Pattern>,
    received: u64,
    reported: u64,
    out_of_order: u64,
    next: u64,
}

impl Subscriber {
    pub(super) fn new(arguments: SubscriberArguments) -> Result<Subscriber, BehaviourError> {
        let patterns = arguments.patterns.iter().map(|text| Pattern::new(text));
        Ok(Subscriber {
            patterns: patterns.collect::<Result<_, _>>().map_err(failed)?,
            received: 0,
            reported: 0,
            out_of_order: 0,
            next: 0,
        })
    }

    fn subscribe(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        for pattern in &self.patterns {
            context.subscribe(PROJECT, pattern).map_err(failed)?;
        }
        context.report("received", 0);
        context.report("subscribed", self.patterns.len());
        Ok(Step::Wait)
    }
}

impl Behaviour for Subscriber {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async {
            // The step that it has asked for behind what it heard: all of that is reported now.
            if self.received > 0 {
                self.report(context);
                return Ok(Step::Wait);
            }
            self.subscribe(context)
        })
    }

    fn topics(&mut self, messages: Vec<Heard>, context: &AgentContext) -> Result<Step, BehaviourError> {
        for message in &messages {
            let place = message.payload.first_chunk();
            let place = place.map_or(0, |place| u64::from_le_bytes(*place));
            self.out_of_order += u64::from(place < self.next);
            self.next = place + 1;
        }
        self.received += messages.len() as u64;
        if self.received - self.reported >= MESSAGES_PER_REPORT {
            self.report(context);
            return Ok(Step::Wait);
        }
        // Reported when nothing more lies in the mailbox.
        Ok(Step::Again)
    }
}

impl Subscriber {
    fn report(&mut self, context: &AgentContext) {
        if self.reported == self.received {
            return;
        }
        self.reported = self.received;
        context.report("out_of_order", self.out_of_order);
        context.report("last_at_us", unix_us());
        // The last of them: who sees it complete sees the others of the same moment or later.
        context.report("received", self.received);
    }
}

fn failed(error: impl std::error::Error) -> BehaviourError {
    BehaviourError(error.to_string())
}
