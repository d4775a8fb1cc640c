//! Agents that claim tasks, work on them and finish them, and measure how long each command takes until a majority has
//! it on disk; and those that prepare tasks and look at what became of them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use queenright_actors::agent::{AgentContext, Behaviour, BehaviourError, Step};
use queenright_actors::queen::{Request, SubmitError};
use queenright_protocol::colony::{
    ADD_TASKS_MAX, Body, Claim, Claimed, Ending, Fence, Finish, FinishWith, NewTask, Outcome, Refusal, StateName,
    TaskCommand, TaskId, Update, Wants, Which,
};
use serde::Deserialize;

use super::unix_us;

/// How long one command may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait after a command that the queen had no room for.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);
/// The id that no task has: the order of commands begins at 1.
const NO_TASK: TaskId = TaskId { seq: 0, ordinal: 0 };

/// What becomes of a command.
struct Counts {
    sent: u64,
    /// With the outcome that was wanted.
    delivered: u64,
    /// By the queen, for want of room, or by the colony.
    refused: u64,
    /// Without an outcome in time.
    unknown: u64,
}

impl Counts {
    fn new() -> Counts {
        Counts {
            sent: 0,
            delivered: 0,
            refused: 0,
            unknown: 0,
        }
    }

    fn report(&self, context: &AgentContext) {
        context.report("sent", self.sent);
        context.report("delivered", self.delivered);
        context.report("refused", self.refused);
        context.report("unknown", self.unknown);
    }
}

async fn submit(context: &AgentContext, project: &Arc<str>, command: TaskCommand) -> Result<Outcome, SubmitError> {
    let request = Request {
        project: project.clone(),
        author: context.name().into(),
        idempotency_key: None,
        body: Body::Task(command),
    };
    context.submit(request, DEADLINE).await
}

/// Hands a command over until the queen has room for it.
async fn until_taken(context: &AgentContext, project: &Arc<str>, command: TaskCommand) -> Result<Outcome, SubmitError> {
    loop {
        match submit(context, project, command.clone()).await {
            Err(SubmitError::Busy { .. }) => tokio::time::sleep(REFUSED_PAUSE).await,
            answer => return answer,
        }
    }
}

fn unexpected(what: &str, answer: &Result<Outcome, SubmitError>) -> BehaviourError {
    BehaviourError(format!("{what} was answered by {answer:?}"))
}

/// Any one of the tasks that are ready, or some of them.
pub(super) fn ready(limit: u32) -> Which {
    Which::Ready {
        kinds: Vec::new(),
        limit,
    }
}

/// A claim by this agent.
pub(super) fn claim(context: &AgentContext, which: Which) -> TaskCommand {
    TaskCommand::Claim(Claim {
        which,
        caller: context.caller(),
        wants: Wants::default(),
    })
}

/// That a task of this agent is done, with this result.
pub(super) fn finish(context: &AgentContext, task: TaskId, fence: Fence, result: Bytes) -> TaskCommand {
    TaskCommand::Finish(Finish {
        task,
        fence,
        caller: context.caller(),
        ending: Ending::Done,
        result,
        proposal: None,
        with: FinishWith::default(),
    })
}

/// What an agent that adds tasks is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddArguments {
    project: Arc<str>,
    /// How many.
    tasks: u64,
    /// Bytes of each payload.
    payload_bytes: usize,
}

/// Adds tasks. Reports how many it `added`, and the ids of the first thousand.
pub struct TaskAdd {
    arguments: AddArguments,
    added: u64,
    ids: Vec<String>,
}

impl TaskAdd {
    pub(super) fn new(arguments: AddArguments) -> TaskAdd {
        TaskAdd {
            arguments,
            added: 0,
            ids: Vec::new(),
        }
    }

    async fn add(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let Self { arguments, .. } = self;
        let now = (arguments.tasks - self.added).min(ADD_TASKS_MAX as u64);
        if now == 0 {
            context.report("ids", self.ids.clone());
            context.report("added", self.added);
            return Ok(Step::Done);
        }
        let task = NewTask {
            title: "a task of a load".into(),
            payload: Bytes::from(vec![b'x'; arguments.payload_bytes]),
            ..NewTask::default()
        };
        let command = TaskCommand::Add(vec![task; now as usize]);
        match until_taken(context, &arguments.project, command).await {
            Ok(Outcome::Added { tasks, .. }) => {
                let room = ADD_TASKS_MAX - self.ids.len();
                self.ids
                    .extend(tasks.iter().take(room).map(|added| added.task.to_string()));
                self.added += now;
                Ok(Step::Again)
            }
            answer => Err(unexpected("an addition of tasks", &answer)),
        }
    }
}

impl Behaviour for TaskAdd {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.add(context))
    }
}

/// How far a worker takes each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Extent {
    /// It claims it, and keeps it.
    Claim,
    /// It claims and finishes it.
    Finish,
    /// It claims it, says that half of it is done, and finishes it.
    Progress,
}

/// What a worker is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkArguments {
    project: Arc<str>,
    extent: Extent,
    /// How long it works and is measured, in milliseconds. Without it: until no task is ready, and all is measured.
    #[serde(default)]
    work_ms: Option<u64>,
    /// How long it works before that, in milliseconds.
    #[serde(default)]
    warm_up_ms: u64,
    /// How long it works after that, in milliseconds, so that no worker is measured while others have ended.
    #[serde(default)]
    cool_down_ms: u64,
    /// When it begins, in microseconds of Unix time: workers that were started one after the other begin together.
    #[serde(default)]
    start_at_us: u64,
    /// How long it waits when no task is ready before it asks again, in milliseconds: it works until it is stopped.
    #[serde(default)]
    idle_ms: Option<u64>,
    /// For tests of what follows from it: panics, the task in hand, at the first attempt of every so-many-th task of the
    /// command that added it.
    #[serde(default)]
    panic_every: Option<NonZeroU32>,
}

/// Takes the oldest ready task, one after the other. Reports `tasks` of the measured span with `claim_ns` and `task_ns`,
/// all `claimed` and `finished`, and what became of all commands.
pub struct TaskWork {
    arguments: WorkArguments,
    started: Option<(Instant, u64)>,
    counts: Counts,
    measured: u64,
    claimed: u64,
    finished: u64,
    claim: Histogram<u64>,
    task: Histogram<u64>,
}

impl TaskWork {
    pub(super) fn new(arguments: WorkArguments) -> TaskWork {
        TaskWork {
            arguments,
            started: None,
            counts: Counts::new(),
            measured: 0,
            claimed: 0,
            finished: 0,
            claim: super::histogram(),
            task: super::histogram(),
        }
    }

    async fn work(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let started = self.started().await;
        let asked = Instant::now();
        let measured = self.arguments.work_ms.map(|work_ms| {
            let from = Duration::from_millis(self.arguments.warm_up_ms);
            from..from + Duration::from_millis(work_ms)
        });
        let cool_down = Duration::from_millis(self.arguments.cool_down_ms);
        if measured
            .as_ref()
            .is_some_and(|span| asked - started >= span.end + cool_down)
        {
            return Ok(self.done(context));
        }
        let which = Which::Ready {
            kinds: Vec::new(),
            limit: 1,
        };
        let claimed = match self.command(context, claim(context, which)).await? {
            Some(Outcome::Claimed { tasks, .. }) => tasks.first().copied(),
            Some(other) => return Err(unexpected("a claim", &Ok(other))),
            None => return Ok(Step::Again),
        };
        let claimed_after = asked.elapsed();
        let Some(Claimed { task, attempt, fence }) = claimed else {
            if let Some(idle_ms) = self.arguments.idle_ms {
                tokio::time::sleep(Duration::from_millis(idle_ms)).await;
                return Ok(Step::Again);
            }
            return match measured {
                None => Ok(self.done(context)),
                Some(_) => Err(BehaviourError("all tasks were used up before the end".to_owned())),
            };
        };
        self.claimed += 1;
        let number = task.ordinal + 1;
        if attempt == 1 && self.arguments.panic_every.is_some_and(|every| number % every == 0) {
            panic!("as panic_every says, with task {task} in hand");
        }
        if self.arguments.extent == Extent::Progress {
            let update = TaskCommand::Update(Update {
                task,
                fence,
                caller: context.caller(),
                progress: Some(50),
                note: Some("half of it".into()),
                checkpoint: None,
                stealable: None,
                usage: None,
            });
            self.until_taken(context, update).await?;
        }
        if self.arguments.extent >= Extent::Finish
            && self
                .until_taken(context, finish(context, task, fence, Bytes::new()))
                .await?
        {
            self.finished += 1;
        }
        // By its end: a task belongs to the span in which its last command was acknowledged.
        if measured.is_none_or(|span| span.contains(&started.elapsed())) {
            self.measured += 1;
            self.claim.saturating_record(claimed_after.as_nanos() as u64);
            self.task.saturating_record(asked.elapsed().as_nanos() as u64);
        }
        Ok(Step::Again)
    }

    /// When it began; waits for that moment the first time.
    async fn started(&mut self) -> Instant {
        if let Some((started, _)) = self.started {
            return started;
        }
        let wait_us = self.arguments.start_at_us.saturating_sub(unix_us());
        tokio::time::sleep(Duration::from_micros(wait_us)).await;
        let started = Instant::now();
        self.started = Some((started, unix_us()));
        started
    }

    /// Sends a command; `None` when its outcome is unknown or the queen has no room for it.
    async fn command(
        &mut self,
        context: &AgentContext,
        command: TaskCommand,
    ) -> Result<Option<Outcome>, BehaviourError> {
        self.counts.sent += 1;
        match submit(context, &self.arguments.project, command).await {
            Ok(Outcome::Refused(refusal)) => Err(BehaviourError(format!("refused: {refusal}"))),
            Ok(outcome) => {
                self.counts.delivered += 1;
                Ok(Some(outcome))
            }
            Err(SubmitError::Busy { .. }) => {
                self.counts.refused += 1;
                tokio::time::sleep(REFUSED_PAUSE).await;
                Ok(None)
            }
            Err(SubmitError::Unknown { .. }) => {
                self.counts.unknown += 1;
                Ok(None)
            }
            Err(error) => Err(BehaviourError(error.to_string())),
        }
    }

    /// Sends a command about a task that it holds until it has an outcome. `false` when one is unknown.
    async fn until_taken(&mut self, context: &AgentContext, command: TaskCommand) -> Result<bool, BehaviourError> {
        let unknown = self.counts.unknown;
        while self.counts.unknown == unknown {
            if self.command(context, command.clone()).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn done(&self, context: &AgentContext) -> Step {
        context.report("last_at_us", unix_us());
        context.report("first_at_us", self.started.map_or(0, |started| started.1));
        context.report("tasks", self.measured);
        context.report("claimed", self.claimed);
        context.report("finished", self.finished);
        context.report("claim_ns", super::to_report(&self.claim));
        context.report("task_ns", super::to_report(&self.task));
        self.counts.report(context);
        Step::Done
    }
}

impl Behaviour for TaskWork {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.work(context))
    }
}

/// What a racer is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RaceArguments {
    project: Arc<str>,
    /// The tasks, in the order in which they are raced for.
    ids: Vec<String>,
    /// When the first race begins, in microseconds of Unix time.
    start_at_us: u64,
    /// From the start of one race to that of the next, in microseconds.
    every_us: u64,
}

/// Claims each of a list of tasks by its id, at the moment when all others do; finishes those that it has won after the
/// last. Reports how many it `won`, how many it `lost` to somebody who holds the task or has finished it, `claim_ns`, and
/// how often it came `late`: when the next race had begun.
pub struct TaskRace {
    project: Arc<str>,
    ids: Vec<TaskId>,
    start_at_us: u64,
    every_us: u64,
    next: usize,
    won: Vec<(TaskId, Fence)>,
    finished: usize,
    lost: u64,
    late: u64,
    claim: Histogram<u64>,
}

impl TaskRace {
    pub(super) fn new(arguments: RaceArguments) -> Result<TaskRace, BehaviourError> {
        let ids: Result<_, _> = arguments.ids.iter().map(|id| id.parse()).collect();
        Ok(TaskRace {
            project: arguments.project,
            ids: ids.map_err(|error: queenright_protocol::colony::TaskIdError| BehaviourError(error.to_string()))?,
            start_at_us: arguments.start_at_us,
            every_us: arguments.every_us,
            next: 0,
            won: Vec::new(),
            finished: 0,
            lost: 0,
            late: 0,
            claim: super::histogram(),
        })
    }

    async fn race(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let Some(id) = self.ids.get(self.next).copied() else {
            return self.finish(context).await;
        };
        let at_us = self.start_at_us + self.every_us * self.next as u64;
        self.next += 1;
        let now_us = unix_us();
        // One who comes when the next race has begun met no other in this one.
        self.late += u64::from(now_us > at_us + self.every_us);
        tokio::time::sleep(Duration::from_micros(at_us.saturating_sub(now_us))).await;
        let asked = Instant::now();
        let answer = until_taken(context, &self.project, claim(context, Which::Ids(vec![id]))).await;
        self.claim.saturating_record(asked.elapsed().as_nanos() as u64);
        match answer {
            Ok(Outcome::Claimed { tasks, .. }) if tasks.len() == 1 => self.won.push((id, tasks[0].fence)),
            Ok(Outcome::Refused(Refusal::TaskHeld { .. } | Refusal::TaskFinished { .. })) => self.lost += 1,
            answer => return Err(unexpected("a claim of one task", &answer)),
        }
        Ok(Step::Again)
    }

    /// Finishes the next task that it has won.
    async fn finish(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let Some((task, fence)) = self.won.get(self.finished).copied() else {
            context.report("late", self.late);
            context.report("lost", self.lost);
            context.report("claim_ns", super::to_report(&self.claim));
            context.report("won", self.won.len() as u64);
            return Ok(Step::Done);
        };
        self.finished += 1;
        match until_taken(context, &self.project, finish(context, task, fence, Bytes::new())).await {
            Ok(Outcome::Finished { .. }) => Ok(Step::Again),
            answer => Err(unexpected("a finish", &answer)),
        }
    }
}

impl Behaviour for TaskRace {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.race(context))
    }
}

/// What an agent that looks at tasks is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LookArguments {
    project: Arc<str>,
}

/// Looks at the tasks of a project once everything is applied on its node that had an outcome before. Reports how many
/// are `pending`, `leased`, `done` and `failed`, and how many `attempts` they had.
pub struct TaskLook {
    arguments: LookArguments,
}

impl TaskLook {
    pub(super) fn new(arguments: LookArguments) -> TaskLook {
        TaskLook { arguments }
    }

    async fn look(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let Self { arguments } = self;
        // Its place in the order is behind all of them, and its outcome is known here when it was applied here.
        let barrier = submit(context, &arguments.project, TaskCommand::Add(Vec::new())).await;
        if !matches!(barrier, Ok(Outcome::Added { .. })) {
            return Err(unexpected("an addition of nothing", &barrier));
        }
        let snapshot = context.replica().snapshot();
        let project = snapshot.colony.project(&arguments.project);
        let tasks = project
            .ok_or_else(|| BehaviourError(format!("there is no project {}", arguments.project)))?
            .tasks();
        for state in [
            StateName::Pending,
            StateName::Leased,
            StateName::Done,
            StateName::Failed,
        ] {
            context.report(&state.to_string(), tasks.count(state) as u64);
        }
        context.report(
            "attempts",
            tasks.after(None).map(|task| u64::from(task.attempts)).sum::<u64>(),
        );
        Ok(Step::Done)
    }
}

impl Behaviour for TaskLook {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.look(context))
    }
}

/// Does what must be refused, to as many tasks as there are ready. Reports how many tasks it finished (`tasks`), and of
/// each kind of wrong call how many were refused as they must be: a second finish (`finished_twice`), a finish under
/// another fence (`fenced`), a claim and a finish of an id that no task has (`unknown_claims`, `unknown_finishes`).
#[derive(Default)]
pub struct TaskWrong {
    tasks: u64,
    finished_twice: u64,
    fenced: u64,
    unknown_claims: u64,
    unknown_finishes: u64,
    project: Arc<str>,
}

impl TaskWrong {
    pub(super) fn new(arguments: LookArguments) -> TaskWrong {
        TaskWrong {
            project: arguments.project,
            ..TaskWrong::default()
        }
    }

    async fn refusal(
        &self,
        context: &AgentContext,
        what: &str,
        command: TaskCommand,
    ) -> Result<Refusal, BehaviourError> {
        match submit(context, &self.project, command).await {
            Ok(Outcome::Refused(refusal)) => Ok(refusal),
            answer => Err(unexpected(what, &answer)),
        }
    }

    async fn one_task(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let which = Which::Ready {
            kinds: Vec::new(),
            limit: 1,
        };
        let answer = submit(context, &self.project, claim(context, which)).await;
        let Ok(Outcome::Claimed { tasks, .. }) = &answer else {
            return Err(unexpected("a claim", &answer));
        };
        let Some(Claimed { task, fence, .. }) = tasks.first().copied() else {
            self.report(context);
            return Ok(Step::Done);
        };
        let stale = finish(context, task, Fence(fence.0 - 1), Bytes::new());
        let refusal = self.refusal(context, "a finish under another fence", stale).await?;
        self.fenced += u64::from(matches!(refusal, Refusal::Fenced { .. }));
        let answer = submit(context, &self.project, finish(context, task, fence, Bytes::new())).await;
        if !matches!(answer, Ok(Outcome::Finished { .. })) {
            return Err(unexpected("a finish", &answer));
        }
        self.tasks += 1;
        let refusal = self
            .refusal(context, "a second finish", finish(context, task, fence, Bytes::new()))
            .await?;
        self.finished_twice += u64::from(matches!(refusal, Refusal::TaskFinished { .. }));
        let unknown = claim(context, Which::Ids(vec![NO_TASK]));
        let refusal = self.refusal(context, "a claim of no task", unknown).await?;
        self.unknown_claims += u64::from(matches!(refusal, Refusal::UnknownTask { .. }));
        let unknown = finish(context, NO_TASK, fence, Bytes::new());
        let refusal = self.refusal(context, "a finish of no task", unknown).await?;
        self.unknown_finishes += u64::from(matches!(refusal, Refusal::UnknownTask { .. }));
        Ok(Step::Again)
    }

    fn report(&self, context: &AgentContext) {
        context.report("finished_twice", self.finished_twice);
        context.report("fenced", self.fenced);
        context.report("unknown_claims", self.unknown_claims);
        context.report("unknown_finishes", self.unknown_finishes);
        context.report("tasks", self.tasks);
    }
}

impl Behaviour for TaskWrong {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.one_task(context))
    }
}
