//! The behaviour of an agent that works through tasks. The queen supervises the agent; the worker itself is a task beside
//! it, since it outlives the agent until what that had in hand is ended.
//!
//! An agent that is to become passive lets its worker end once that has had nothing to do for as long as its specification
//! says: the session is closed, and what the worker has counted is kept. A task that is ready wakes the agent, which starts
//! another worker.

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Arc;

use futures::future::BoxFuture;
use queenright_actors::agent::{AgentContext, Behaviour, BehaviourError, ChildEnded, Serves, Signal, Step};
use queenright_actors::topic::Heard;
use queenright_protocol::colony::QUEUE_DEFAULT;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{AtWork, Hosted};
use crate::worker::{Doors, Happening, Plan, Summary, Worker, WorkerError};

/// How much of the last trouble a passive agent keeps, in bytes.
const TROUBLE_BYTES_KEPT: usize = 1_024;

/// An agent that works through tasks.
pub(super) struct WorkerAgent {
    hosted: Arc<Hosted>,
    plan: Plan,
    /// Tells its worker that the agent has ended.
    gone: CancellationToken,
    /// What its workers have told that have ended.
    told: Told,
}

/// What a worker tells of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Told {
    #[serde(skip)]
    running: u64,
    summary: Summary,
    /// The last thing that went wrong with a task.
    trouble: Option<String>,
    /// The most memory that a command was seen to use.
    memory_bytes: Option<u64>,
}

type Ended = Result<Summary, WorkerError>;

impl WorkerAgent {
    pub(super) fn new(hosted: Arc<Hosted>, plan: Plan) -> WorkerAgent {
        let gone = CancellationToken::new();
        let told = Told::default();
        WorkerAgent {
            hosted,
            plan,
            gone,
            told,
        }
    }

    /// Starts the worker. It ends by itself if its work is over, else after the agent or the node.
    fn start(
        &self,
        tell: watch::Sender<Told>,
        pauses: watch::Receiver<bool>,
    ) -> Result<JoinHandle<Ended>, BehaviourError> {
        let doors = Doors::new(vec![self.hosted.client(&self.plan)?]);
        let listener = move |happening: &Happening<'_>| tell.send_modify(|told| told.note(happening));
        let worker = Worker::new(self.plan.clone(), doors, Box::new(listener));
        let (at_work, gone, stop) = (self.hosted.begin(), self.gone.clone(), self.hosted.stop.clone());
        Ok(tokio::spawn(until_told(worker, pauses, at_work, gone, stop)))
    }
}

impl Drop for WorkerAgent {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

/// Lets a worker work until its agent is gone, then end what it has within its grace, and at once when the node stops.
async fn until_told(
    worker: Worker,
    pauses: watch::Receiver<bool>,
    at_work: AtWork,
    gone: CancellationToken,
    stop: CancellationToken,
) -> Ended {
    let (signal, signals) = mpsc::channel(2);
    let mut ended = std::pin::pin!(worker.run(signals, pauses));
    let mut told = 0;
    let ended = loop {
        tokio::select! {
            ended = &mut ended => break ended,
            () = stop.cancelled(), if told < 2 => {
                while told < 2 {
                    // There is room for two.
                    let _ = signal.try_send(());
                    told += 1;
                }
            }
            () = gone.cancelled(), if told == 0 => {
                let _ = signal.try_send(());
                told = 1;
            }
        }
    };
    drop(at_work);
    ended
}

impl Behaviour for WorkerAgent {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async move {
            let (tell, mut told) = watch::channel(self.told.clone());
            let prepared = self.plan.prepare().await;
            prepared.map_err(|error| BehaviourError(with_causes(&error)))?;
            if let Some(trees) = &self.plan.commands.worktrees {
                context.report("worktrees", trees.folder.display().to_string());
            }
            if !self.plan.commands.warm.is_empty() {
                context.report("warm", false);
                let warmed = self.plan.commands.warm_up().await;
                warmed.map_err(|error| BehaviourError(with_causes(&error)))?;
                context.report("warm", true);
            }
            let mut worker = self.start(tell, context.pauses())?;
            let ended = loop {
                report(context, &told.borrow_and_update());
                let running = told.borrow().running;
                let next = async {
                    tokio::select! {
                        ended = &mut worker => Some(ended),
                        Ok(()) = told.changed() => None,
                    }
                };
                let next = match running {
                    0 => context.waiting(next).await,
                    _ => next.await,
                };
                if let Some(ended) = next {
                    break ended;
                }
            };
            self.told = told.borrow().clone();
            report(context, &self.told);
            match ended {
                // Nothing else ends one whose agent and node go on.
                Ok(Ok(_)) if self.plan.idle_for.is_some() && !self.hosted.stop.is_cancelled() => Ok(Step::Passivate),
                Ok(Ok(_)) => Ok(Step::Done),
                Ok(Err(error)) => Err(BehaviourError(with_causes(&error))),
                Err(error) => Err(BehaviourError(format!("the worker ended: {error}"))),
            }
        })
    }

    // Between its steps it has no worker: whatever wakes it, it looks for tasks.

    fn signals(&mut self, _: Vec<Signal>, _: &AgentContext) -> Result<Step, BehaviourError> {
        Ok(Step::Again)
    }

    fn topics(&mut self, _: Vec<Heard>, _: &AgentContext) -> Result<Step, BehaviourError> {
        Ok(Step::Again)
    }

    fn child_ended(&mut self, _: ChildEnded, _: &AgentContext) -> Result<Step, BehaviourError> {
        Ok(Step::Again)
    }

    fn passivate(&mut self) -> Option<Vec<u8>> {
        let mut told = self.told.clone();
        if let Some(trouble) = &mut told.trouble {
            trouble.truncate(trouble.floor_char_boundary(TROUBLE_BYTES_KEPT));
        }
        serde_json::to_vec(&told).ok()
    }

    fn serves(&self) -> Option<Serves> {
        let wanted = &self.plan.wanted;
        Some(Serves {
            project: self.plan.project.as_str().into(),
            queue: wanted.queue.clone().unwrap_or_else(|| QUEUE_DEFAULT.into()),
            kinds: wanted.kinds.clone(),
            capabilities: wanted.capabilities.clone(),
        })
    }

    fn wake(&mut self, state: &[u8]) -> Result<(), BehaviourError> {
        let told =
            serde_json::from_slice(state).map_err(|error| BehaviourError(format!("what it has kept: {error}")))?;
        self.told = told;
        Ok(())
    }
}

fn report(context: &AgentContext, told: &Told) {
    let Told {
        running,
        summary,
        trouble,
        memory_bytes,
    } = told;
    context.report("running", *running);
    context.report("done", summary.done);
    context.report("failed", summary.failed);
    context.report("given_back", summary.released);
    context.report("lost", summary.lost);
    if let Some(memory_bytes) = memory_bytes {
        context.report("memory_peak_bytes", *memory_bytes);
    }
    if let Some(trouble) = trouble {
        context.report("last_trouble", trouble.as_str());
    }
}

impl Told {
    fn note(&mut self, happening: &Happening<'_>) {
        self.summary.note(&mut self.running, happening);
        match happening {
            Happening::GivenBack { task, reason, .. } => {
                self.trouble = Some(format!("{task} was given back: {reason}"));
            }
            Happening::Finished { memory_bytes, .. } => self.memory_bytes = self.memory_bytes.max(*memory_bytes),
            Happening::Lost { task, reason, .. } => self.trouble = Some(format!("{task} was lost: {reason}")),
            _ => {}
        }
    }
}

fn with_causes(error: &WorkerError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
