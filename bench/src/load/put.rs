//! An agent that puts values, one after the other, and measures how long each takes until a majority has it on disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentContext, Behaviour, BehaviourError, Step};
use queenright_actors::queen::Request;
use queenright_protocol::colony::{Body, Change, Condition, Content, Op, Outcome};
use serde::Deserialize;

/// How long one put may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the agent is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutArguments {
    /// What its keys begin with.
    prefix: String,
    /// How many keys it writes, in turn.
    keys: u64,
    /// Bytes of each value.
    value_bytes: usize,
    /// How long it works, in milliseconds; the first part is not measured.
    work_ms: u64,
    /// How long it warms up, in milliseconds.
    warm_up_ms: u64,
}

/// The behaviour.
pub struct Put {
    arguments: PutArguments,
    value: Bytes,
    done: u64,
    measured: u64,
    started: Option<Instant>,
    latency: Histogram<u64>,
}

impl Put {
    pub(super) fn new(arguments: PutArguments) -> Put {
        let value = Bytes::from(vec![b'x'; arguments.value_bytes]);
        Put {
            arguments,
            value,
            done: 0,
            measured: 0,
            started: None,
            latency: super::histogram(),
        }
    }

    async fn put(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let started = *self.started.get_or_insert_with(Instant::now);
        let Self { arguments, .. } = self;
        let warm_up = Duration::from_millis(arguments.warm_up_ms);
        if started.elapsed() >= warm_up + Duration::from_millis(arguments.work_ms) {
            context.report("puts", self.measured);
            context.report("measured_ms", arguments.work_ms);
            context.report("latency_ns", super::to_report(&self.latency));
            return Ok(Step::Done);
        }
        let key = format!("{}/{}", arguments.prefix, self.done % arguments.keys.max(1));
        let op = Op::Put(Content::Inline(self.value.clone()));
        let change = Change {
            key: key.into(),
            op,
            tags: Vec::new(),
            condition: Condition::None,
        };
        let request = Request {
            project: Arc::from("default"),
            author: context.name().into(),
            idempotency_key: None,
            body: Body::Change(change),
        };
        let asked = Instant::now();
        let outcome = context.submit(request, DEADLINE).await;
        self.done += 1;
        match outcome {
            Ok(Outcome::Changed { .. }) => {
                if started.elapsed() >= warm_up {
                    self.measured += 1;
                    self.latency.saturating_record(asked.elapsed().as_nanos() as u64);
                }
                Ok(Step::Again)
            }
            Ok(other) => Err(BehaviourError(format!("a put was answered by {other:?}"))),
            Err(error) => Err(BehaviourError(error.to_string())),
        }
    }
}

impl Behaviour for Put {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.put(context))
    }
}
