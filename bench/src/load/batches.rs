//! An agent that adds tasks, claims and finishes them, so many with each command.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::future::{BoxFuture, try_join_all};
use queenright_actors::agent::{AgentContext, Behaviour, BehaviourError, Step};
use queenright_protocol::colony::{ADD_TASKS_MAX, Claimed, NewTask, Outcome, TaskCommand};
use serde::Deserialize;

use super::hash::submit;
use super::task::{claim, finish, ready};

/// What the agent is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchArguments {
    project: Arc<str>,
    /// How many tasks.
    tasks: u64,
    /// How many at a time, 1 to 1,000.
    batch: u64,
    /// Bytes of each payload.
    payload_bytes: usize,
}

/// Adds all tasks, then claims all and finishes those of a claim at the same time. Reports `finished`, and how many microseconds
/// it took to add (`add_us`) and to claim and finish (`work_us`).
pub struct Batches {
    arguments: BatchArguments,
}

impl Batches {
    pub(super) fn new(arguments: BatchArguments) -> Result<Batches, BehaviourError> {
        match arguments.batch {
            1..=1_000 => Ok(Batches { arguments }),
            batch => Err(BehaviourError(format!(
                "batch: {batch} is out of range (1 to {ADD_TASKS_MAX})"
            ))),
        }
    }

    async fn work(&self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let BatchArguments {
            project,
            tasks,
            batch,
            payload_bytes,
        } = &self.arguments;
        let began = Instant::now();
        let mut left = *tasks;
        while left > 0 {
            let now = left.min(*batch);
            let task = NewTask {
                title: "a task of a batch".into(),
                payload: Bytes::from(vec![b'x'; *payload_bytes]),
                ..NewTask::default()
            };
            match submit(context, project, TaskCommand::Add(vec![task; now as usize])).await? {
                Outcome::Added { .. } => left -= now,
                other => return Err(BehaviourError(format!("an addition was answered by {other:?}"))),
            }
        }
        context.report("add_us", began.elapsed().as_micros() as u64);
        let began = Instant::now();
        let mut finished = 0;
        loop {
            let claim = claim(context, ready(*batch as u32));
            let claimed = match submit(context, project, claim).await? {
                Outcome::Claimed { tasks, .. } if tasks.is_empty() => break,
                Outcome::Claimed { tasks, .. } => tasks,
                other => return Err(BehaviourError(format!("a claim was answered by {other:?}"))),
            };
            try_join_all(claimed.iter().map(|claimed| self.finish(context, *claimed))).await?;
            finished += claimed.len() as u64;
        }
        context.report("work_us", began.elapsed().as_micros() as u64);
        context.report("finished", finished);
        Ok(Step::Done)
    }

    async fn finish(&self, context: &AgentContext, claimed: Claimed) -> Result<(), BehaviourError> {
        let finish = finish(context, claimed.task, claimed.fence, Bytes::new());
        match submit(context, &self.arguments.project, finish).await? {
            Outcome::Refused(refusal) => Err(BehaviourError(format!("a finish was refused: {refusal}"))),
            _ => Ok(()),
        }
    }
}

impl Behaviour for Batches {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.work(context))
    }
}
