//! Work that only takes a processor: hashing. By agents that take tasks, and by threads without any cluster around them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use queenright_actors::agent::{AgentContext, Behaviour, BehaviourError, Step};
use queenright_actors::queen::{Request, SubmitError};
use queenright_protocol::colony::{Body, ContentHash, Outcome, TaskCommand};
use serde::Deserialize;

use super::task::{claim, finish, ready};
use super::unix_us;

/// What is hashed at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// How long one command may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait after a command that the queen had no room for.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);

/// One task: hashes 64 KiB so many times, each time with the hash before in them.
pub fn hash(number: u64, times: u64) -> ContentHash {
    let mut block = vec![7; BLOCK_BYTES];
    block[..8].copy_from_slice(&number.to_le_bytes());
    let mut hash = ContentHash::of(&block);
    for _ in 1..times {
        block[..hash.0.len()].copy_from_slice(&hash.0);
        hash = ContentHash::of(&block);
    }
    hash
}

/// What the agent is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HashArguments {
    project: Arc<str>,
    /// How often each task hashes.
    times: u64,
    /// When it begins, in microseconds of Unix time.
    start_at_us: u64,
}

/// Takes the oldest ready task, hashes and finishes it, until none is ready. Reports how many `tasks` it did, the
/// microseconds that it was `hashing`, those from claims to finishes (`busy`), and from when to when.
pub struct Hasher {
    arguments: HashArguments,
    tasks: u64,
    hashing: Duration,
    busy: Duration,
    first_at_us: Option<u64>,
    last_at_us: u64,
}

impl Hasher {
    pub(super) fn new(arguments: HashArguments) -> Hasher {
        Hasher {
            arguments,
            tasks: 0,
            hashing: Duration::ZERO,
            busy: Duration::ZERO,
            first_at_us: None,
            last_at_us: 0,
        }
    }

    async fn work(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        if self.first_at_us.is_none() {
            let wait_us = self.arguments.start_at_us.saturating_sub(unix_us());
            tokio::time::sleep(Duration::from_micros(wait_us)).await;
            self.first_at_us = Some(unix_us());
        }
        let asked = Instant::now();
        let claim = claim(context, ready(1));
        let claimed = match self.submit(context, claim).await? {
            Outcome::Claimed { tasks, .. } => tasks.first().copied(),
            other => return Err(BehaviourError(format!("a claim was answered by {other:?}"))),
        };
        let Some(claimed) = claimed else {
            context.report("first_at_us", self.first_at_us);
            context.report("last_at_us", self.last_at_us);
            context.report("hashing", self.hashing.as_micros() as u64);
            context.report("busy", self.busy.as_micros() as u64);
            context.report("tasks", self.tasks);
            return Ok(Step::Done);
        };
        let (number, times) = (u64::from(claimed.task.ordinal), self.arguments.times);
        let hashed = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let hash = hash(number, times);
            (hash, began.elapsed())
        })
        .await;
        let (hash, took) = hashed.map_err(|error| BehaviourError(error.to_string()))?;
        self.hashing += took;
        let finish = finish(context, claimed.task, claimed.fence, Bytes::copy_from_slice(&hash.0));
        if let Outcome::Refused(refusal) = self.submit(context, finish).await? {
            return Err(BehaviourError(format!("a finish was refused: {refusal}")));
        }
        self.tasks += 1;
        self.busy += asked.elapsed();
        self.last_at_us = unix_us();
        Ok(Step::Again)
    }

    async fn submit(&self, context: &AgentContext, command: TaskCommand) -> Result<Outcome, BehaviourError> {
        submit(context, &self.arguments.project, command).await
    }
}

/// Hands a command over until the queen has room for it.
pub(super) async fn submit(
    context: &AgentContext,
    project: &Arc<str>,
    command: TaskCommand,
) -> Result<Outcome, BehaviourError> {
    loop {
        let request = Request {
            project: project.clone(),
            author: context.name().into(),
            idempotency_key: None,
            body: Body::Task(command.clone()),
        };
        match context.submit(request, DEADLINE).await {
            Err(SubmitError::Busy { .. }) => tokio::time::sleep(REFUSED_PAUSE).await,
            answer => return answer.map_err(|error| BehaviourError(error.to_string())),
        }
    }
}

impl Behaviour for Hasher {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.work(context))
    }
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn a_task_is_its_number_and_how_often_it_hashes() {
        assert_eq!(hash(1, 3), hash(1, 3));
        assert_ne!(hash(1, 3), hash(2, 3));
        assert_ne!(hash(1, 3), hash(1, 2));
    }
}
