//! Agents that work together on one task after the other: a foreman hands each to several workers, by what they can do and
//! how much they have to do, and commits what they have found.
//!
//! | signal | from | to | meaning |
//! |---|---|---|---|
//! | question: a skill (1 byte), then the input | foreman | worker | do this |
//! | answer (32 bytes) | worker | foreman | the result |

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::{BoxFuture, join_all};
use futures::stream;
use hdrhistogram::Histogram;
use queenright_actors::agent::{
    AgentAddress, AgentContext, AgentSpec, Behaviour, BehaviourError, RestartPolicy, Signal, Step,
};
use queenright_actors::queen::Request;
use queenright_protocol::colony::{Body, Change, Condition, Content, ContentHash, Op, Outcome};
use serde::Deserialize;

/// How long a worker, or a commit, may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// To how many workers each task is handed, if there are as many with the skill.
const HANDS: usize = 5;
/// How many different skills there are. A worker among ten or more has one of them, else all.
const SKILLS: u8 = 2;

/// What a foreman is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForemanArguments {
    project: Arc<str>,
    /// How many workers it starts, as its children.
    workers: usize,
    /// How many tasks it hands out.
    tasks: u64,
    /// How many of them are under way at the same time.
    at_once: usize,
    /// Bytes of the input of a task.
    input_bytes: usize,
}

/// Hands out tasks. Reports `tasks`, `handled` (how often a worker has done one), `micros` and `task_ns`: from choosing
/// the workers of a task to the acknowledged commit of its result.
pub struct Foreman {
    arguments: ForemanArguments,
}

struct Worker {
    address: AgentAddress,
    skills: Vec<u8>,
    /// Tasks that it has in hand.
    load: std::sync::atomic::AtomicU64,
}

impl Foreman {
    pub(super) fn new(arguments: ForemanArguments) -> Foreman {
        Foreman { arguments }
    }

    async fn work(&self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let Self { arguments } = self;
        let workers = self.hire(context).await?;
        let started = Instant::now();
        let mut latency: Histogram<u64> = super::histogram();
        let mut handled = 0;
        let tasks = stream::iter((0..arguments.tasks).map(|task| self.task(context, &workers, task)));
        let mut tasks = tasks.buffer_unordered(arguments.at_once.max(1));
        while let Some(done) = tasks.next().await {
            let (took, hands) = done?;
            latency.saturating_record(took.as_nanos() as u64);
            handled += hands;
        }
        context.report("tasks", arguments.tasks);
        context.report("handled", handled);
        context.report("micros", started.elapsed().as_micros() as u64);
        context.report("task_ns", super::to_report(&latency));
        Ok(Step::Done)
    }

    async fn hire(&self, context: &AgentContext) -> Result<Vec<Worker>, BehaviourError> {
        let mut workers = Vec::new();
        for number in 0..self.arguments.workers {
            let spec = AgentSpec {
                name: format!("{}.worker-{number}", context.name()),
                kind: "load-worker".to_owned(),
                restart: RestartPolicy::never(),
                parent: Some(context.name().to_owned()),
                ..AgentSpec::default()
            };
            let status = context.spawn(spec).await.map_err(failed)?;
            let skills = match self.arguments.workers < 2 * HANDS {
                true => (0..SKILLS).collect(),
                false => vec![number as u8 % SKILLS],
            };
            workers.push(Worker {
                address: AgentAddress {
                    node: context.address().node,
                    number: status.number,
                    generation: status.generation,
                },
                skills,
                load: Default::default(),
            });
        }
        Ok(workers)
    }

    /// Has a task done by some workers, who must agree, and commits their result. Says how long that took and how many
    /// they were.
    async fn task(
        &self,
        context: &AgentContext,
        workers: &[Worker],
        task: u64,
    ) -> Result<(Duration, u64), BehaviourError> {
        use std::sync::atomic::Ordering::Relaxed;
        let begun = Instant::now();
        let skill = (task % u64::from(SKILLS)) as u8;
        let mut able: Vec<&Worker> = workers.iter().filter(|worker| worker.skills.contains(&skill)).collect();
        able.sort_by_key(|worker| worker.load.load(Relaxed));
        able.truncate(HANDS);
        let mut question = vec![skill];
        question.extend((0..self.arguments.input_bytes).map(|place| (task as usize + place) as u8));
        for worker in &able {
            worker.load.fetch_add(1, Relaxed);
        }
        let asked = able
            .iter()
            .map(|worker| context.ask(worker.address, &question, DEADLINE));
        let answers = join_all(asked).await;
        for worker in &able {
            worker.load.fetch_sub(1, Relaxed);
        }
        let answers: Vec<_> = answers.into_iter().collect::<Result<_, _>>().map_err(failed)?;
        if answers.is_empty() || answers.windows(2).any(|two| two[0] != two[1]) {
            return Err(BehaviourError(format!(
                "the workers of task {task} do not agree: {answers:?}"
            )));
        }
        let change = Change {
            key: format!("{}/{task}", context.name()).into(),
            op: Op::Put(Content::Inline(answers[0].clone())),
            tags: Vec::new(),
            condition: Condition::None,
            caller: None,
        };
        let request = Request {
            project: self.arguments.project.clone(),
            author: context.name().into(),
            idempotency_key: None,
            body: Body::Change(change),
        };
        match context.submit(request, DEADLINE).await {
            Ok(Outcome::Changed { .. }) => Ok((begun.elapsed(), answers.len() as u64)),
            other => Err(BehaviourError(format!(
                "the result of task {task} was answered by {other:?}"
            ))),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> BehaviourError {
    BehaviourError(error.to_string())
}

impl Behaviour for Foreman {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.work(context))
    }
}

/// Does what it is asked: hashes the input, or counts its bytes and hashes the counts.
pub struct Hand;

impl Hand {
    fn handle(task: &[u8]) -> Option<ContentHash> {
        let (skill, input) = task.split_first()?;
        match skill {
            0 => Some(ContentHash::of(input)),
            _ => {
                let mut counts = [0_u8; 256];
                for byte in input {
                    counts[usize::from(*byte)] = counts[usize::from(*byte)].wrapping_add(1);
                }
                Some(ContentHash::of(&counts))
            }
        }
    }
}

impl Behaviour for Hand {
    fn step<'a>(&'a mut self, _: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async { Ok(Step::Wait) })
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        for signal in signals {
            let hash = Hand::handle(&signal.payload).ok_or_else(|| BehaviourError("a task is empty".to_owned()))?;
            context.answer(&signal, &hash.0).map_err(failed)?;
        }
        Ok(Step::Wait)
    }
}
