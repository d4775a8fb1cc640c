//! The part of B13 about topics.

use std::time::{Duration, Instant};

use queenright_actors::agent::AgentStatus;
use queenright_actors::node::NodeFigures;
use queenright_actors::topic::TopicCounts;
use queenright_protocol::topic::{Index, Pattern, Topic};
use serde_json::{Value, json};

use super::{BYTES, DONE_WITHIN, ID, POLL, SILENCE_MAX};
use crate::report::{Counts, Row};
use crate::rig::{RigNode, door, for_all, late, reported};
use crate::timing::Timing;
use crate::workloads::spread::Spread;
use crate::{BenchError, Options};

/// FreeAgentics' own amounts: agents, topics, topics of each agent, look-ups.
const AGENTS: u64 = 100;
const TOPICS: u64 = 20;
const TOPICS_OF_EACH: u64 = 5;
const LOOK_UPS: usize = 10_000;
/// How long subscribers may take to subscribe.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(30);

/// What is said in the configuration of the report.
pub(super) fn config() -> Value {
    json!({
        "agents": AGENTS, "topics": TOPICS, "topics_of_each": TOPICS_OF_EACH, "look_ups": LOOK_UPS,
        "way": "from n1 to subscribers of n2; a third node gets every message too and has no subscriber",
    })
}

fn name_of(topic: u64) -> String {
    format!("b13.topic.{topic}")
}

/// The topics of an agent: every topic has as many agents.
fn topics_of(agent: u64) -> impl Iterator<Item = String> {
    (0..TOPICS_OF_EACH).map(move |place| name_of((agent + place * TOPICS / TOPICS_OF_EACH) % TOPICS))
}

/// Look-ups of who has subscribed to a topic: by the index, and by all patterns one after the other.
///
/// # Errors
/// [`BenchError::Mismatch`] when both find different agents.
pub(super) fn look_ups(options: &Options) -> Result<Vec<Row>, BenchError> {
    let no_topic = |error: queenright_protocol::topic::TopicError| BenchError::Mismatch {
        workload: ID,
        what: "the names of topics".to_owned(),
        found: error.to_string(),
        expected: "topics".to_owned(),
    };
    let (mut index, mut all) = (Index::default(), Vec::new());
    for agent in 0..AGENTS {
        for topic in topics_of(agent) {
            let pattern = Pattern::new(&topic).map_err(no_topic)?;
            index.insert(&pattern, agent);
            all.push((pattern, agent));
        }
    }
    let topics: Vec<Topic> = (0..TOPICS)
        .map(|topic| Topic::new(&name_of(topic)))
        .collect::<Result<_, _>>()
        .map_err(no_topic)?;
    let one_by_one = |topic: &Topic| -> Vec<u64> {
        let found = all.iter().filter(|(pattern, _)| pattern.matches(topic));
        found.map(|(_, agent)| *agent).collect()
    };
    for topic in &topics {
        BenchError::unless_equal(
            ID,
            format!("agents that have subscribed to {topic}"),
            index.matching(topic),
            one_by_one(topic),
        )?;
    }
    let time = |look_up: &dyn Fn(&Topic) -> Vec<u64>| {
        Timing::of(options.repeats, LOOK_UPS, || {
            let asked = topics.iter().cycle().take(LOOK_UPS);
            asked.map(|topic| look_up(topic).len()).sum::<usize>()
        })
    };
    let row = |name: String, timing: &Timing| {
        let (least, greatest) = timing.spread();
        timing.row(name, "ns", 1.0).note(format!(
            "of {LOOK_UPS} look-ups, each finds 25 agents; {least:.0} to {greatest:.0}"
        ))
    };
    let name = format!("look-up among {AGENTS} agents with {TOPICS_OF_EACH} of {TOPICS} topics each");
    Ok(vec![
        row(name.clone(), &time(&|topic| index.matching(topic))),
        row(format!("{name}, pattern by pattern"), &time(&one_by_one)),
    ])
}

/// Messages of topics as fast as they go.
pub(super) struct Load {
    name: String,
    /// The patterns of each subscriber.
    subscribers: Vec<Vec<String>>,
    topics: Vec<String>,
    /// Messages that are published.
    count: u64,
    /// How often each of them is handed over.
    each: u64,
}

/// What one run gave.
pub(super) struct Run {
    messages_per_second: f64,
    handed_per_second: f64,
    counts: Counts,
}

pub(super) fn loads(options: &Options) -> Vec<Load> {
    let each = AGENTS * TOPICS_OF_EACH / TOPICS;
    // A whole number of turns through the topics, so that each agent gets as many.
    let turns = |messages: u64| (messages / TOPICS).max(1) * TOPICS;
    vec![
        Load {
            name: "topics, 1 subscriber".to_owned(),
            subscribers: vec![vec!["b13.#".to_owned()]],
            topics: (0..TOPICS).map(name_of).collect(),
            count: turns(options.signals / 4),
            each: 1,
        },
        Load {
            name: format!("topics, {AGENTS} subscribers of {TOPICS_OF_EACH} of {TOPICS} each"),
            subscribers: (0..AGENTS).map(|agent| topics_of(agent).collect()).collect(),
            topics: (0..TOPICS).map(name_of).collect(),
            count: turns(options.signals / each),
            each,
        },
    ]
}

impl Load {
    pub(super) async fn run(&self, from: &RigNode, to: &RigNode, repeat: u32) -> Result<Run, BenchError> {
        let label = self.name.replace([' ', ','], "-");
        let subscriber = |place: usize| format!("b13.{label}.{repeat}.subscriber.{place}");
        let publisher = format!("b13.{label}.{repeat}.publisher");
        let places = 0..self.subscribers.len();
        for_all(places.clone(), async |place| {
            let arguments = json!({ "patterns": self.subscribers[place] });
            to.spawn(&subscriber(place), "load-subscriber", arguments).await
        })
        .await?;
        for_all(places.clone(), async |place| subscribed(to, &subscriber(place)).await).await?;
        let before = (from.figures().await?, to.figures().await?);
        let arguments = json!({ "topics": self.topics, "count": self.count, "bytes": BYTES });
        from.spawn(&publisher, "load-publisher", arguments).await?;
        let subscribers = self.arrived(to, &before.1, &subscriber).await?;
        let published = from.done(&publisher, DONE_WITHIN).await?;
        let after = (from.figures().await?, to.figures().await?);
        for_all(places, async |place| {
            let stopped = to.client.stop_agent(&subscriber(place)).await;
            stopped.map_err(|error| door("stop a subscriber", error))
        })
        .await?;
        self.check(&subscribers, &published, &before, &after)
    }

    /// Waits until all messages are handed over or dropped, and those that were handed over are reported.
    async fn arrived(
        &self,
        to: &RigNode,
        before: &NodeFigures,
        subscriber: &impl Fn(usize) -> String,
    ) -> Result<Vec<AgentStatus>, BenchError> {
        let expected = self.count * self.each;
        let mut progress = (0, Instant::now());
        loop {
            let places = 0..self.subscribers.len();
            let subscribers = for_all(places, async |place| to.agent(&subscriber(place)).await).await?;
            let received = sum(&subscribers, "received")?;
            let counts = to.figures().await?.topics;
            let dropped = counts.dropped - before.topics.dropped;
            if received + dropped >= expected {
                return Ok(subscribers);
            }
            if received > progress.0 {
                progress = (received, Instant::now());
            }
            if progress.1.elapsed() > SILENCE_MAX {
                return Err(BenchError::Mismatch {
                    workload: ID,
                    what: format!("messages, {}, reported by those who have subscribed", self.name),
                    found: format!("{received}; counts of the receiving node {counts:?}"),
                    expected: expected.to_string(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn check(
        &self,
        subscribers: &[AgentStatus],
        publisher: &AgentStatus,
        before: &(NodeFigures, NodeFigures),
        after: &(NodeFigures, NodeFigures),
    ) -> Result<Run, BenchError> {
        let equal = |what: &str, found: u64, expected: u64| {
            BenchError::unless_equal(ID, format!("{what}, {}", self.name), found, expected)
        };
        let since = |of: fn(&TopicCounts) -> u64| {
            (
                of(&after.0.topics) - of(&before.0.topics),
                of(&after.1.topics) - of(&before.1.topics),
            )
        };
        let (received, busy) = (sum(subscribers, "received")?, reported(publisher, "busy")?);
        equal("messages published", reported(publisher, "published")?, self.count)?;
        equal(
            "messages that the node has taken",
            since(|counts| counts.published).0,
            self.count,
        )?;
        equal(
            "messages that the node has refused",
            since(|counts| counts.refused).0,
            busy,
        )?;
        equal(
            "copies for the two other nodes",
            since(|counts| counts.copies).0,
            2 * self.count,
        )?;
        equal(
            "messages lost at once",
            reported(publisher, "lost")? + since(|counts| counts.lost).0,
            0,
        )?;
        equal("messages that came", since(|counts| counts.arrived).1, self.count)?;
        equal("messages handed over", since(|counts| counts.delivered).1, received)?;
        let dropped = since(|counts| counts.dropped).1;
        equal(
            "messages handed over or dropped",
            received + dropped,
            self.count * self.each,
        )?;
        equal("messages out of order", sum(subscribers, "out_of_order")?, 0)?;
        let first = reported(publisher, "started_at_us")?;
        let lasts = subscribers.iter().map(|subscriber| reported(subscriber, "last_at_us"));
        let last = lasts
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .max()
            .unwrap_or_default();
        let seconds = last.saturating_sub(first).max(1) as f64 / 1e6;
        Ok(Run {
            messages_per_second: self.count as f64 / seconds,
            handed_per_second: received as f64 / seconds,
            counts: Counts {
                sent: self.count * self.each + busy,
                delivered: received,
                refused: busy,
                lost: dropped,
            },
        })
    }

    pub(super) fn rows(&self, runs: &[Run]) -> Vec<Row> {
        let mut counts = Counts::default();
        for run in runs {
            counts.sent += run.counts.sent;
            counts.delivered += run.counts.delivered;
            counts.refused += run.counts.refused;
            counts.lost += run.counts.lost;
        }
        let messages = Spread::of(runs.iter().map(|run| run.messages_per_second));
        let note = format!(
            "{}; {} messages of {BYTES} B, each to two other nodes and handed over {} times; a refused one is published \
             again when there is room",
            messages.note(),
            self.count,
            self.each
        );
        let mut rows = vec![messages.row(self.name.clone(), "messages/s").counts(counts).note(note)];
        if self.each > 1 {
            let handed = Spread::of(runs.iter().map(|run| run.handed_per_second));
            let name = format!("{}, handed over", self.name);
            rows.push(handed.row(name, "messages/s").note(handed.note()));
        }
        rows
    }
}

fn sum(agents: &[AgentStatus], name: &str) -> Result<u64, BenchError> {
    // One without a message has reported none.
    let counted = agents.iter().filter(|agent| agent.report.contains_key(name));
    counted.map(|agent| reported(agent, name)).sum()
}

async fn subscribed(node: &RigNode, name: &str) -> Result<(), BenchError> {
    let started = Instant::now();
    while started.elapsed() < SUBSCRIBED_WITHIN {
        if node.agent(name).await?.report.contains_key("subscribed") {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    Err(late(format!("agent {name} has not subscribed"), started))
}
