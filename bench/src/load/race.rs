//! Agents that race for tasks: all are released at once by a barrier, and each claims the same task by its id.
//!
//! | signal | from | to | meaning |
//! |---|---|---|---|
//! | empty | racer | starter | ready for the next task |
//! | place (8 bytes, little-endian) | starter | racer | claim the task at this place |
//! | `u64::MAX` | starter | racer | it is over |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use queenright_actors::agent::{AgentAddress, AgentContext, Behaviour, BehaviourError, Signal, Step};
use queenright_actors::queen::{Request, SubmitError};
use queenright_protocol::colony::{
    Body, Claim, Ending, Fence, Finish, FinishWith, Outcome, Refusal, TaskCommand, TaskId, Wants, Which,
};
use serde::Deserialize;

/// How long a claim may take: longer than an election.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long the starter waits for racers that do not come back before it goes on without them: those of a node that was
/// killed. Longer than an election and the repeats of a round.
const MISSING: Duration = Duration::from_secs(10);
/// How often it looks whether that time is over: it takes no signals meanwhile.
const LOOK: Duration = Duration::from_millis(2);
/// The place that stands for the end.
const OVER: u64 = u64::MAX;

/// What the starter is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StarterArguments {
    /// How many racers there are.
    racers: usize,
    /// How many tasks they race for.
    tasks: u64,
}

/// Releases all racers for one task after the other, each time when all of them are ready. Reports `released` tasks, how
/// many racers were `missing` at the end, and `millis` from the first release to the end.
pub struct Starter {
    arguments: StarterArguments,
    ready: BTreeSet<AgentAddress>,
    /// Who was released last; at first nobody knows who there is.
    racing: BTreeSet<AgentAddress>,
    released: u64,
    started: Option<Instant>,
    /// When the last racer became ready.
    last_ready: Instant,
}

impl Starter {
    pub(super) fn new(arguments: StarterArguments) -> Starter {
        Starter {
            arguments,
            ready: BTreeSet::new(),
            racing: BTreeSet::new(),
            released: 0,
            started: None,
            last_ready: Instant::now(),
        }
    }

    /// Whether all are ready, or have been waited for long enough.
    fn is_full(&self) -> bool {
        let expected = match self.released {
            0 => self.arguments.racers,
            _ => self.racing.len(),
        };
        let given_up = self.released > 0 && !self.ready.is_empty() && self.last_ready.elapsed() > MISSING;
        self.ready.len() >= expected || given_up
    }

    fn release(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        if !self.is_full() {
            return Ok(Step::Wait);
        }
        let started = *self.started.get_or_insert_with(Instant::now);
        let place = match self.released < self.arguments.tasks {
            true => self.released,
            false => OVER,
        };
        self.racing = std::mem::take(&mut self.ready);
        for racer in &self.racing {
            // A racer whose node has gone is missed at the next barrier.
            if let Err(error) = context.tell(*racer, &place.to_le_bytes()) {
                tracing::debug!(%error, "a racer was not released");
            }
        }
        if place == OVER {
            context.report("missing", (self.arguments.racers - self.racing.len()) as u64);
            context.report("millis", started.elapsed().as_millis() as u64);
            return Ok(Step::Done);
        }
        self.released += 1;
        context.report("released", self.released);
        Ok(Step::Wait)
    }
}

impl Behaviour for Starter {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async {
            // Signals come between two steps; the time of those who do not come has to be looked at.
            tokio::time::sleep(LOOK).await;
            match self.release(context)? {
                Step::Wait => Ok(Step::Again),
                step => Ok(step),
            }
        })
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        self.ready.extend(signals.iter().map(|signal| signal.from));
        self.last_ready = Instant::now();
        self.release(context)
    }
}

/// What a racer is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RacerArguments {
    /// Who starts the races.
    starter: AgentAddress,
    /// The position of the command that added the tasks, all at once.
    tasks_seq: u64,
}

/// Claims the task of each race, and finishes what it has won when the next race starts, or at the end. Reports, each by
/// the place of the task: `won`, the fence of each claim that it won; `lost`, who was named by each refusal; and
/// `failed`, what else became of claims and finishes. At the end also `over`.
pub struct Racer {
    arguments: RacerArguments,
    /// The race that was started and not run yet.
    next: Option<u64>,
    said_ready: bool,
    holds: Option<(u64, Fence)>,
    won: BTreeMap<u64, u64>,
    lost: BTreeMap<u64, String>,
    failed: BTreeMap<u64, String>,
}

impl Racer {
    pub(super) fn new(arguments: RacerArguments) -> Racer {
        Racer {
            arguments,
            next: None,
            said_ready: false,
            holds: None,
            won: BTreeMap::new(),
            lost: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    async fn race(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        if let Some(place) = self.next.take() {
            self.finish_what_it_holds(context).await?;
            if place == OVER {
                self.report(context)?;
                return Ok(Step::Done);
            }
            self.claim(context, place).await?;
        } else if self.said_ready {
            return Ok(Step::Wait);
        }
        self.said_ready = true;
        let told = context.tell_waiting(self.arguments.starter, &[]).await;
        told.map_err(|error| BehaviourError(error.to_string()))?;
        Ok(Step::Wait)
    }

    async fn claim(&mut self, context: &AgentContext, place: u64) -> Result<(), BehaviourError> {
        let claim = Claim {
            which: Which::Ids(vec![self.task(place)]),
            caller: context.caller(),
            wants: Wants::default(),
        };
        match submit(context, TaskCommand::Claim(claim)).await? {
            Ok(Outcome::Claimed { tasks, .. }) => {
                let fence = tasks
                    .first()
                    .ok_or_else(|| BehaviourError("a claim won nothing".to_owned()))?
                    .fence;
                self.holds = Some((place, fence));
                self.won.insert(place, fence.0);
            }
            Ok(Outcome::Refused(Refusal::TaskHeld { holder, .. } | Refusal::TaskFinished { holder, .. })) => {
                self.lost.insert(place, holder.to_string());
            }
            other => {
                self.failed.insert(place, format!("{other:?}"));
            }
        }
        Ok(())
    }

    async fn finish_what_it_holds(&mut self, context: &AgentContext) -> Result<(), BehaviourError> {
        let Some((place, fence)) = self.holds.take() else {
            return Ok(());
        };
        let finish = Finish {
            task: self.task(place),
            fence,
            caller: context.caller(),
            ending: Ending::Done,
            result: Bytes::new(),
            proposal: None,
            with: FinishWith::default(),
        };
        let outcome = submit(context, TaskCommand::Finish(finish)).await?;
        if !matches!(outcome, Ok(Outcome::Finished { .. })) {
            self.failed.insert(place, format!("{outcome:?}"));
        }
        Ok(())
    }

    fn task(&self, place: u64) -> TaskId {
        TaskId {
            seq: self.arguments.tasks_seq,
            ordinal: place as u32,
        }
    }

    fn report(&self, context: &AgentContext) -> Result<(), BehaviourError> {
        let json = |value: Result<serde_json::Value, serde_json::Error>| {
            value.map_err(|error| BehaviourError(error.to_string()))
        };
        context.report("won", json(serde_json::to_value(&self.won))?);
        context.report("lost", json(serde_json::to_value(&self.lost))?);
        context.report("failed", json(serde_json::to_value(&self.failed))?);
        context.report("over", true);
        Ok(())
    }
}

async fn submit(context: &AgentContext, command: TaskCommand) -> Result<Result<Outcome, SubmitError>, BehaviourError> {
    let request = Request {
        project: Arc::from("default"),
        author: context.name().into(),
        idempotency_key: None,
        body: Body::Task(command),
    };
    match context.submit(request, DEADLINE).await {
        Err(SubmitError::Stopping) => Err(BehaviourError("the node is stopping".to_owned())),
        outcome => Ok(outcome),
    }
}

impl Behaviour for Racer {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.race(context))
    }

    fn signals(&mut self, signals: Vec<Signal>, _: &AgentContext) -> Result<Step, BehaviourError> {
        let place = signals.last().and_then(|signal| signal.payload.first_chunk());
        self.next = place.map(|place| u64::from_le_bytes(*place));
        Ok(Step::Again)
    }
}
