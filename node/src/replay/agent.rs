//! The agent of kind `replay`: proposes every n-th commit, each until it is committed. Reads no git.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentContext, AgentSpec, Behaviour, BehaviourError, Kinds, Step};
use queenright_actors::queen::{Request, SubmitError};
use queenright_bench::load;
use queenright_protocol::colony::{
    Body, Conflict, Content, Expected, KEPT_BYTES_MIN, Key, Op, Outcome, Proposal, Read, Write,
};
use queenright_protocol::conflict::Kind;
use serde::Deserialize;

use super::keys;
use super::task::{After, Done, Task, TaskChange};
use crate::git::Mode;

/// How long one attempt may take until it has an outcome.
const ATTEMPT: Duration = Duration::from_secs(30);
/// How long to wait for the change that an attempt lost against: for everything before it to be committed.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long to wait before handing a command to a queen that holds too many.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Adds the kind to those that a node hosts.
pub fn add_kind(kinds: &mut Kinds) {
    kinds.add("replay", |spec| Ok(Box::new(Replay::new(spec)?) as Box<dyn Behaviour>));
}

/// What the agent is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    project: Arc<str>,
    /// The place of its first commit.
    first: u64,
    /// How many places lie between its commits: the number of agents.
    step: u64,
    /// How many commits there are in all.
    commits: u64,
}

/// The behaviour.
struct Replay {
    arguments: Arguments,
    /// The place of the next commit.
    next: u64,
    committed: u64,
    /// From the first proposal of a commit to its outcome, in nanoseconds.
    latency: Histogram<u64>,
}

/// One commit under way.
struct Attempt<'a> {
    context: &'a AgentContext,
    project: &'a Arc<str>,
    task: &'a Task,
    done: Done,
}

impl Replay {
    fn new(spec: &AgentSpec) -> Result<Replay, BehaviourError> {
        let arguments: Arguments =
            serde_json::from_value(spec.arguments.clone()).map_err(|error| failed(error.to_string()))?;
        if arguments.step == 0 {
            return Err(failed("step: 0 is below 1".into()));
        }
        Ok(Replay {
            next: arguments.first,
            arguments,
            committed: 0,
            latency: load::histogram(),
        })
    }

    async fn one_commit(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        if self.next >= self.arguments.commits {
            context.report("committed", self.committed);
            context.report("latency_ns", load::to_report(&self.latency));
            return Ok(Step::Done);
        }
        let place = self.next;
        self.next += self.arguments.step;
        let project = &self.arguments.project;
        if revision(context, project, &keys::done(place)) > 0 {
            return Ok(Step::Again);
        }
        let task = task(context, project, place).await?;
        let done = Done {
            commit: task.commit.clone(),
            agent: context.name().to_string(),
            ..Done::default()
        };
        let started = Instant::now();
        if (Attempt {
            context,
            project,
            task: &task,
            done,
        })
        .until_committed()
        .await?
        {
            self.latency.saturating_record(started.elapsed().as_nanos() as u64);
            self.committed += 1;
            context.report("committed", self.committed);
        }
        Ok(Step::Again)
    }
}

impl Behaviour for Replay {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.one_commit(context))
    }
}

fn failed(reason: String) -> BehaviourError {
    BehaviourError(reason)
}

fn revision(context: &AgentContext, project: &str, key: &str) -> u64 {
    let snapshot = context.replica().snapshot();
    snapshot
        .colony
        .project(project)
        .map_or(0, |project| project.memory().revision(key))
}

fn value(context: &AgentContext, project: &str, key: &str) -> Option<Bytes> {
    let snapshot = context.replica().snapshot();
    let record = snapshot.colony.project(project)?.memory().record(key)?.clone();
    Some(record.value.as_ref()?.bytes.clone())
}

/// The value of a key that was put before this agent was started, but may not have been applied on its node yet.
async fn awaited(context: &AgentContext, project: &Arc<str>, key: &str) -> Result<Bytes, BehaviourError> {
    let name: Key = key.into();
    context
        .wait_revision(project, &name, 1, PATIENCE)
        .await
        .map_err(|error| failed(error.to_string()))?;
    value(context, project, key).ok_or_else(|| failed(format!("{key} was deleted")))
}

async fn task(context: &AgentContext, project: &Arc<str>, place: u64) -> Result<Task, BehaviourError> {
    let key = keys::task(place);
    let bytes = awaited(context, project, &key).await?;
    serde_json::from_slice(&bytes).map_err(|error| failed(format!("{key}: {error}")))
}

impl Attempt<'_> {
    /// Proposes until the commit is committed: by this agent, or (then `false`) by another one.
    async fn until_committed(mut self) -> Result<bool, BehaviourError> {
        loop {
            self.done.attempts += 1;
            let body = Body::Propose(self.proposal().await?);
            let bytes = body.encoded_bytes() as u64;
            let request = Request {
                project: self.project.clone(),
                author: self.context.name().into(),
                idempotency_key: None,
                body,
            };
            match self.context.submit(request, ATTEMPT).await {
                Ok(Outcome::Committed { .. }) => return Ok(true),
                Ok(Outcome::Lost { seq, conflicts, .. }) => {
                    // A proposal that its node refused before the log has no place in the order.
                    self.done.lost_bytes += if seq > 0 { bytes } else { 0 };
                    if !self.wait_for_its_turn(&conflicts).await? {
                        return Ok(false);
                    }
                }
                Ok(other) => return Err(failed(format!("commit {}: {other:?}", self.task.commit))),
                Err(SubmitError::Busy { .. }) => {
                    self.done.attempts -= 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                // It may have been committed: proposing it again tells.
                Err(SubmitError::Unknown { .. }) => {}
                Err(error) => return Err(failed(format!("commit {}: {error}", self.task.commit))),
            }
        }
    }

    /// Waits until every path has the revision that this commit read. `false` when the commit is committed already.
    async fn wait_for_its_turn(&mut self, conflicts: &[Conflict]) -> Result<bool, BehaviourError> {
        let done = keys::done(self.task.place);
        if conflicts.iter().any(|conflict| *conflict.key == *done) || revision(self.context, self.project, &done) > 0 {
            return Ok(false);
        }
        if let Some(stale) = conflicts.iter().find(|conflict| conflict.kind != Kind::FutureRead) {
            let Conflict {
                kind,
                key,
                expected,
                revision,
                ..
            } = stale;
            return Err(failed(format!(
                "commit {}: {kind} of {key}: revision {revision} instead of {expected}: somebody else writes there",
                self.task.commit
            )));
        }
        if self.done.attempts == 1 {
            self.done.first_conflict = conflicts.first().map(|conflict| conflict.kind);
        }
        for change in &self.task.changes {
            let key: Key = change.key.as_str().into();
            let reached = self
                .context
                .wait_revision(self.project, &key, change.revision, PATIENCE)
                .await;
            reached.map_err(|error| failed(format!("commit {}: {error}", self.task.commit)))?;
        }
        Ok(true)
    }

    async fn proposal(&self) -> Result<Proposal, BehaviourError> {
        let done: Key = keys::done(self.task.place).into();
        let mut proposal = Proposal::default();
        for change in &self.task.changes {
            let TaskChange {
                key,
                revision,
                before,
                after,
            } = change;
            let key: Key = key.as_str().into();
            let content = before.map_or(Expected::Absent, |before| Expected::Hash(before.0));
            proposal.reads.push(Read {
                key: key.clone(),
                revision: *revision,
                content,
            });
            let (op, tags) = match after {
                None => (Op::Delete, Vec::new()),
                Some(after) => {
                    let mode: Arc<str> = format!("{}{}", keys::MODE_TAG, after.mode).into();
                    (Op::Put(self.content(after).await?), vec![mode])
                }
            };
            proposal.writes.push(Write {
                key,
                op,
                tags,
                before: None,
            });
        }
        proposal.reads.push(Read {
            key: done.clone(),
            revision: 0,
            content: Expected::Absent,
        });
        let record = serde_json::to_vec(&self.done).expect("plain data is JSON");
        let op = Op::Put(Content::Inline(record.into()));
        proposal.writes.push(Write {
            key: done,
            op,
            tags: Vec::new(),
            before: None,
        });
        Ok(proposal)
    }

    /// Contents that the colony keeps by hash are named, smaller ones are brought along.
    async fn content(&self, after: &After) -> Result<Content, BehaviourError> {
        if after.mode == Mode::Submodule {
            return Ok(Content::Inline(Bytes::from(after.id.to_string())));
        }
        if after.bytes >= KEPT_BYTES_MIN as u64 {
            return Ok(Content::Kept(after.hash.0));
        }
        Ok(Content::Inline(
            awaited(self.context, self.project, &keys::blob(&after.id)).await?,
        ))
    }
}
