//! The agent of kind `replay`: claims the oldest commit that waits and proposes it until it is committed. Reads no git.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentContext, AgentSpec, Behaviour, BehaviourError, Kinds, Step};
use queenright_actors::queen::{Request, SubmitError};
use queenright_actors::replica::Snapshot;
use queenright_bench::load;
use queenright_protocol::colony::{
    self, Body, Claim, Conflict, Content, Ending, Expected, Fence, Finish, FinishWith, KEPT_BYTES_MIN, Key, Op,
    Outcome, Proposal, Read, Refusal, State, TaskCommand, TaskId, Tasks, Wants, Which, Write,
};
use queenright_protocol::conflict::Kind;
use serde::Deserialize;

use super::keys;
use super::task::{After, Done, Payload, Task, TaskChange};
use crate::git::Mode;

/// How long one attempt may take until it has an outcome.
const ATTEMPT: Duration = Duration::from_secs(30);
/// How long to wait for the change that an attempt lost against: for everything before it to be committed.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long to wait before handing a command to a queen that holds too many.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// How long it waits for a change before it looks whether older work has come back: that of an agent that ended.
const LOOK: Duration = Duration::from_secs(1);

/// Adds the kind to those that a node hosts.
pub fn add_kind(kinds: &mut Kinds) {
    kinds.add("replay", |spec| Ok(Box::new(Replay::new(spec)?) as Box<dyn Behaviour>));
}

/// What the agent is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    project: Arc<str>,
    /// How many commits there are in all.
    commits: u64,
    /// For tests of what follows from it: panics, the task in hand, at the first attempt of every so-many-th commit.
    #[serde(default)]
    panic_every: Option<NonZeroU64>,
}

/// The behaviour.
struct Replay {
    arguments: Arguments,
    /// Every commit before this place is known to be committed.
    committed_to: u64,
    committed: u64,
    /// From the first proposal of a commit to its outcome, in nanoseconds.
    latency: Histogram<u64>,
}

/// A task that this agent holds.
#[derive(Clone, Copy)]
struct Held {
    id: TaskId,
    fence: Fence,
}

/// One commit under way.
struct Attempt<'a> {
    context: &'a AgentContext,
    project: &'a Arc<str>,
    held: Held,
    task: &'a Task,
    done: Done,
}

/// What became of a task that was held.
enum End {
    /// It is committed.
    Committed,
    /// Older work has come back, and whatever this one waits for may be it.
    GiveWay,
}

impl Replay {
    fn new(spec: &AgentSpec) -> Result<Replay, BehaviourError> {
        let arguments: Arguments =
            serde_json::from_value(spec.arguments.clone()).map_err(|error| failed(error.to_string()))?;
        Ok(Replay {
            arguments,
            committed_to: 0,
            committed: 0,
            latency: load::histogram(),
        })
    }

    async fn one_commit(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let project = self.arguments.project.clone();
        let Some(held) = self.next(context).await? else {
            context.report("committed", self.committed);
            context.report("latency_ns", load::to_report(&self.latency));
            return Ok(Step::Done);
        };
        let task = task(context, &project, held.id).await?;
        if let Some(every) = self.arguments.panic_every
            && (task.place + 1).is_multiple_of(every.get())
            && is_first_attempt(context, &project, held.id)
        {
            panic!("as panic_every says, with task {} in hand", held.id);
        }
        if task.place >= self.arguments.commits {
            // Left by a longer replay: not wanted now. Given back once nothing else is to be done, lest it is claimed again.
            self.until_others_are_done(context, held).await?;
            give_back(context, &project, held).await?;
            return Ok(Step::Again);
        }
        let done = Done {
            commit: task.commit.clone(),
            agent: context.name().to_string(),
            ..Done::default()
        };
        let started = Instant::now();
        let attempt = Attempt {
            context,
            project: &project,
            held,
            task: &task,
            done,
        };
        match attempt.until_committed().await? {
            End::Committed => {
                self.latency.saturating_record(started.elapsed().as_nanos() as u64);
                self.committed += 1;
                context.report("committed", self.committed);
            }
            End::GiveWay => give_back(context, &project, held).await?,
        }
        Ok(Step::Again)
    }

    /// Claims the oldest task that waits; waits while others hold all of them. `None` when all commits are committed.
    async fn next(&mut self, context: &AgentContext) -> Result<Option<Held>, BehaviourError> {
        let mut seq = context.replica().follow_seq();
        loop {
            seq.borrow_and_update();
            let (ready, held) = {
                let snapshot = context.replica().snapshot();
                if self.is_over(&snapshot) {
                    return Ok(None);
                }
                let tasks = tasks(&snapshot, &self.arguments.project);
                let ready = tasks.and_then(|tasks| tasks.oldest_ready(&[keys::TASK_KIND.into()]));
                (ready, holds(context, &snapshot, &self.arguments.project))
            };
            // A claim whose outcome was lost.
            if let Some(held) = held {
                return Ok(Some(held));
            }
            if ready.is_some()
                && let Some(held) = claim(context, &self.arguments.project).await?
            {
                return Ok(Some(held));
            }
            // Nothing is ready: it may come back, or all is done. An error says that the node stops.
            let _ = tokio::time::timeout(LOOK, seq.changed()).await;
        }
    }

    /// Whether every commit is committed, as far as this node knows.
    fn is_over(&mut self, snapshot: &Snapshot) -> bool {
        let Some(tasks) = tasks(snapshot, &self.arguments.project) else {
            return self.arguments.commits == 0;
        };
        while self.committed_to < self.arguments.commits {
            let id = tasks.named(&keys::task(self.committed_to));
            let task = id.and_then(|id| tasks.get(id));
            if !task.is_some_and(|task| matches!(task.state, State::Finished(_))) {
                return false;
            }
            self.committed_to += 1;
        }
        true
    }

    /// Returns when every commit is committed, or older work has come back.
    async fn until_others_are_done(&mut self, context: &AgentContext, held: Held) -> Result<(), BehaviourError> {
        let mut seq = context.replica().follow_seq();
        let started = Instant::now();
        loop {
            seq.borrow_and_update();
            if self.is_over(&context.replica().snapshot()) || older(context, &self.arguments.project, held.id) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(failed(format!("others were not done within {PATIENCE:?}")));
            }
            let _ = tokio::time::timeout(LOOK, seq.changed()).await;
        }
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

fn tasks<'a>(snapshot: &'a Snapshot, project: &str) -> Option<&'a Tasks> {
    snapshot.colony.project(project).map(|project| project.tasks())
}

/// What this agent holds, as far as its node knows.
fn holds(context: &AgentContext, snapshot: &Snapshot, project: &str) -> Option<Held> {
    let life = snapshot
        .colony
        .agents()
        .live(context.address().node, &context.name().into())?;
    if life.id.generation != context.generation() {
        return None;
    }
    let id = life.held.iter().find_map(|(held_in, held)| match held {
        colony::Held::Task(id) if &**held_in == project => Some(*id),
        colony::Held::Task(_) | colony::Held::Reservation(_) => None,
    })?;
    match &tasks(snapshot, project)?.get(id)?.state {
        State::Leased(lease) => Some(Held { id, fence: lease.fence }),
        _ => None,
    }
}

fn is_first_attempt(context: &AgentContext, project: &str, id: TaskId) -> bool {
    let snapshot = context.replica().snapshot();
    let task = tasks(&snapshot, project).and_then(|tasks| tasks.get(id));
    task.is_some_and(|task| task.attempts == 1)
}

/// Whether a task waits that is older than this one.
fn older(context: &AgentContext, project: &str, than: TaskId) -> bool {
    let snapshot = context.replica().snapshot();
    let oldest = tasks(&snapshot, project).and_then(|tasks| tasks.oldest_ready(&[keys::TASK_KIND.into()]));
    oldest.is_some_and(|oldest| oldest < than)
}

async fn submit(context: &AgentContext, project: &Arc<str>, command: TaskCommand) -> Result<Outcome, SubmitError> {
    let request = Request {
        project: project.clone(),
        author: context.name().into(),
        idempotency_key: None,
        body: Body::Task(command),
    };
    context.submit(request, ATTEMPT).await
}

/// Claims the oldest task that waits, if any does when the claim is carried out.
async fn claim(context: &AgentContext, project: &Arc<str>) -> Result<Option<Held>, BehaviourError> {
    let claim = Claim {
        which: Which::Ready {
            kinds: vec![keys::TASK_KIND.into()],
            limit: 1,
        },
        caller: context.caller(),
        wants: Wants::default(),
    };
    match submit(context, project, TaskCommand::Claim(claim)).await {
        Ok(Outcome::Claimed { tasks, .. }) => Ok(tasks.first().map(|claimed| Held {
            id: claimed.task,
            fence: claimed.fence,
        })),
        Err(SubmitError::Busy { .. }) => {
            tokio::time::sleep(BUSY_PAUSE).await;
            Ok(None)
        }
        // What it has claimed, if it has, is found when it is applied here.
        Err(SubmitError::Unknown { .. }) => Ok(None),
        other => Err(failed(format!("claim: {other:?}"))),
    }
}

/// Gives a task back for others.
async fn give_back(context: &AgentContext, project: &Arc<str>, held: Held) -> Result<(), BehaviourError> {
    let finish = Finish {
        task: held.id,
        fence: held.fence,
        caller: context.caller(),
        ending: Ending::Released,
        result: Bytes::new(),
        proposal: None,
        with: FinishWith::default(),
    };
    loop {
        match submit(context, project, TaskCommand::Finish(finish.clone())).await {
            Ok(Outcome::Finished { .. }) => return Ok(()),
            Err(SubmitError::Busy { .. }) => tokio::time::sleep(BUSY_PAUSE).await,
            Err(SubmitError::Unknown { .. }) => {}
            // An attempt whose outcome was lost has given it back.
            Ok(Outcome::Refused(Refusal::Fenced { .. })) => return Ok(()),
            other => return Err(failed(format!("give back: {other:?}"))),
        }
    }
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

/// What a task says. This node has applied its claim, and so the task.
async fn task(context: &AgentContext, project: &Arc<str>, id: TaskId) -> Result<Task, BehaviourError> {
    let payload = {
        let snapshot = context.replica().snapshot();
        let task = tasks(&snapshot, project).and_then(|tasks| tasks.get(id));
        task.map(|task| task.payload.clone()).unwrap_or_default()
    };
    let malformed = |error: serde_json::Error| failed(format!("task {id}: {error}"));
    match serde_json::from_slice(&payload).map_err(malformed)? {
        Payload::Inline(task) => Ok(task),
        Payload::Kept { key } => {
            let bytes = awaited(context, project, &key).await?;
            serde_json::from_slice(&bytes).map_err(|error| failed(format!("{key}: {error}")))
        }
    }
}

impl Attempt<'_> {
    /// Proposes until the commit is committed, or gives way.
    async fn until_committed(mut self) -> Result<End, BehaviourError> {
        let failure = |problem: String| failed(format!("commit {}: {problem}", self.task.commit));
        loop {
            self.done.attempts += 1;
            let result = serde_json::to_vec(&self.done).expect("plain data is JSON");
            let finish = Finish {
                task: self.held.id,
                fence: self.held.fence,
                caller: self.context.caller(),
                ending: Ending::Done,
                result: result.into(),
                proposal: Some(self.proposal().await?),
                with: FinishWith::default(),
            };
            let command = TaskCommand::Finish(finish);
            let bytes = Body::Task(command.clone()).encoded_bytes() as u64;
            match submit(self.context, self.project, command).await {
                Ok(Outcome::Finished { .. }) => return Ok(End::Committed),
                // An attempt whose outcome was lost has committed it: the fence is this agent's.
                Ok(Outcome::Refused(Refusal::TaskFinished { .. })) => return Ok(End::Committed),
                Ok(Outcome::Lost { seq, conflicts, .. }) => {
                    // A proposal that its node refused before the log has no place in the order.
                    self.done.lost_bytes += if seq > 0 { bytes } else { 0 };
                    if let Some(end) = self.wait_for_its_turn(&conflicts).await? {
                        return Ok(end);
                    }
                }
                Err(SubmitError::Busy { .. }) => {
                    self.done.attempts -= 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                // It may have been committed: proposing it again tells.
                Err(SubmitError::Unknown { .. }) => {}
                Ok(other) => return Err(failure(format!("{other:?}"))),
                Err(error) => return Err(failure(error.to_string())),
            }
        }
    }

    /// Waits until every path has the revision that this commit read, or it is better to give way.
    async fn wait_for_its_turn(&mut self, conflicts: &[Conflict]) -> Result<Option<End>, BehaviourError> {
        if let Some(stale) = conflicts.iter().find(|conflict| conflict.kind != Kind::FutureRead) {
            let Conflict {
                kind,
                key,
                expected,
                revision,
                ..
            } = stale;
            // An attempt whose outcome was lost may be what has changed it.
            if self.is_finished() {
                return Ok(Some(End::Committed));
            }
            return Err(failed(format!(
                "commit {}: {kind} of {key}: revision {revision} instead of {expected}: somebody else writes there",
                self.task.commit
            )));
        }
        if self.done.attempts == 1 {
            self.done.first_conflict = conflicts.first().map(|conflict| conflict.kind);
        }
        let started = Instant::now();
        for change in &self.task.changes {
            let key: Key = change.key.as_str().into();
            while let Err(error) = self
                .context
                .wait_revision(self.project, &key, change.revision, LOOK)
                .await
            {
                if older(self.context, self.project, self.held.id) {
                    return Ok(Some(End::GiveWay));
                }
                if started.elapsed() > PATIENCE {
                    return Err(failed(format!("commit {}: {error}", self.task.commit)));
                }
            }
        }
        Ok(None)
    }

    /// Whether this task is finished under this agent's fence, as far as its node knows.
    fn is_finished(&self) -> bool {
        let snapshot = self.context.replica().snapshot();
        let task = tasks(&snapshot, self.project).and_then(|tasks| tasks.get(self.held.id));
        task.is_some_and(|task| matches!(&task.state, State::Finished(finished) if finished.fence == self.held.fence))
    }

    async fn proposal(&self) -> Result<Proposal, BehaviourError> {
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
