//! An agent that puts values, one after the other, and measures how long each takes until a majority has it on disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentContext, Behaviour, BehaviourError, Step};
use queenright_actors::queen::{Request, SubmitError};
use queenright_protocol::colony::{Body, Change, Condition, Content, Op, Outcome};
use serde::Deserialize;

/// How long one put may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long it waits after a put that the queen had no room for.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);

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
    /// How long it works and is measured, in milliseconds.
    work_ms: u64,
    /// How long it works before that, in milliseconds.
    warm_up_ms: u64,
    /// How long it works after that, in milliseconds: agents that were started later are still measured then, and
    /// should not have the cluster to themselves.
    #[serde(default)]
    cool_down_ms: u64,
    /// The project that they are in.
    #[serde(default = "default_project")]
    project: Arc<str>,
}

fn default_project() -> Arc<str> {
    Arc::from("default")
}

/// The behaviour. Reports `puts` and `latency_ns` of the `measured_ms`, and what became of all puts, those before and
/// after included: `sent` = `delivered` + `refused` + `unknown`.
pub struct Put {
    arguments: PutArguments,
    value: Bytes,
    sent: u64,
    delivered: u64,
    refused: u64,
    unknown: u64,
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
            sent: 0,
            delivered: 0,
            refused: 0,
            unknown: 0,
            measured: 0,
            started: None,
            latency: super::histogram(),
        }
    }

    async fn put(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let asked = Instant::now();
        let started = *self.started.get_or_insert(asked);
        let Self { arguments, .. } = self;
        let measured_from = Duration::from_millis(arguments.warm_up_ms);
        let measured_until = measured_from + Duration::from_millis(arguments.work_ms);
        if asked - started >= measured_until + Duration::from_millis(arguments.cool_down_ms) {
            self.report(context);
            return Ok(Step::Done);
        }
        let outcome = context.submit(self.request(context), DEADLINE).await;
        self.sent += 1;
        match outcome {
            Ok(Outcome::Changed { .. }) => {
                self.delivered += 1;
                // By its end: a put belongs to the span in which it was acknowledged.
                if (measured_from..measured_until).contains(&started.elapsed()) {
                    self.measured += 1;
                    self.latency.saturating_record(asked.elapsed().as_nanos() as u64);
                }
            }
            Ok(other) => return Err(BehaviourError(format!("a put was answered by {other:?}"))),
            Err(SubmitError::Busy { .. }) => {
                self.refused += 1;
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
            Err(SubmitError::Unknown { .. }) => self.unknown += 1,
            Err(error) => return Err(BehaviourError(error.to_string())),
        }
        Ok(Step::Again)
    }

    fn request(&self, context: &AgentContext) -> Request {
        let Self { arguments, .. } = self;
        let key = format!("{}/{}", arguments.prefix, self.sent % arguments.keys.max(1));
        let change = Change {
            key: key.into(),
            op: Op::Put(Content::Inline(self.value.clone())),
            tags: Vec::new(),
            condition: Condition::None,
            caller: None,
        };
        Request {
            project: arguments.project.clone(),
            author: context.name().into(),
            idempotency_key: None,
            body: Body::Change(change),
        }
    }

    fn report(&self, context: &AgentContext) {
        context.report("puts", self.measured);
        context.report("measured_ms", self.arguments.work_ms);
        context.report("latency_ns", super::to_report(&self.latency));
        context.report("sent", self.sent);
        context.report("delivered", self.delivered);
        context.report("refused", self.refused);
        context.report("unknown", self.unknown);
    }
}

impl Behaviour for Put {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.put(context))
    }
}
