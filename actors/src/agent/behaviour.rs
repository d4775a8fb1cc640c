//! What an agent does, and what it can do it with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use queenright_protocol::colony::{Caller, Key, Outcome, Serves};
use queenright_protocol::topic::{Pattern, Topic};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use super::ask::AskError;
use super::entry::Entry;
use super::generation::Generation;
use super::home::Home;
use super::kin::ChildEnded;
use super::registration::{Whose, claims_for_agent};
use super::signal::{AgentAddress, Signal, TellError};
use super::{AgentError, AgentSpec, AgentStatus};
use crate::queen::{QueenMessage, Request, SubmitError};
use crate::replica::Replica;
use crate::topic::{Heard, Publication, PublishError, Published, SubscribeError};
use crate::trace::CommandTrace;

/// What an agent does after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has more to do at once.
    Again,
    /// It waits for signals.
    Wait,
    /// It has nothing to do, and becomes passive if its [`Behaviour::passivate`] gives its state; else, or when something
    /// waits for it already, as [`Step::Wait`].
    Passivate,
    /// It has done what it was to do.
    Done,
}

/// Why an agent cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BehaviourError(pub String);

/// What an agent does. Each call runs alone: an agent is an actor.
pub trait Behaviour: Send + 'static {
    /// Does one piece of work. Called at the start, as long as it says [`Step::Again`], and when somebody nudges it. An agent
    /// that is woken is not at its start.
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>>;

    /// Takes signals, in the order in which each sender sent them.
    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        let _ = (signals, context);
        Ok(Step::Wait)
    }

    /// Takes messages of topics that it has subscribed to, in the order in which each publisher published them.
    fn topics(&mut self, messages: Vec<Heard>, context: &AgentContext) -> Result<Step, BehaviourError> {
        let _ = (messages, context);
        Ok(Step::Wait)
    }

    /// Hears that an agent whose parent it is has ended for good.
    fn child_ended(&mut self, child: ChildEnded, context: &AgentContext) -> Result<Step, BehaviourError> {
        let _ = (child, context);
        Ok(Step::Wait)
    }

    /// Its state, in up to [`super::PASSIVE_BYTES_MAX`] bytes from which [`Behaviour::wake`] makes it again, or none if it
    /// cannot become passive now. It may go on as it is afterwards: something may have come meanwhile.
    fn passivate(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// Which tasks wake it while it is passive: it is nudged for one that is ready and that nobody who is awake waits for, and
    /// claims it in that step, or finds that it is another's. Asked each time it becomes passive. If it cannot be then, it
    /// takes a step soon.
    fn serves(&self) -> Option<Serves> {
        None
    }

    /// Takes up the state that an earlier actor of the same generation gave. Called once, on a behaviour just made, before
    /// anything else.
    ///
    /// # Errors
    /// When it cannot go on: the generation fails, and what waits for it is lost.
    fn wake(&mut self, state: &[u8]) -> Result<(), BehaviourError> {
        let _ = state;
        Ok(())
    }
}

/// Makes the behaviour of an agent, or says what is wrong with its arguments.
pub type Make = Box<dyn Fn(&AgentSpec) -> Result<Box<dyn Behaviour>, BehaviourError> + Send + Sync>;

/// The kinds of agents that a node hosts.
#[derive(Default)]
pub struct Kinds {
    by_name: BTreeMap<&'static str, Make>,
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}

impl Kinds {
    /// Adds a kind.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn add(
        &mut self,
        name: &'static str,
        make: impl Fn(&AgentSpec) -> Result<Box<dyn Behaviour>, BehaviourError> + Send + Sync + 'static,
    ) {
        assert!(
            self.by_name.insert(name, Box::new(make)).is_none(),
            "kind {name} stands twice"
        );
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Make> {
        self.by_name.get(name)
    }

    pub(crate) fn names(&self) -> String {
        self.by_name.keys().copied().collect::<Vec<_>>().join(", ")
    }
}

/// Why waiting ended without the change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed.
    #[error("{key} did not reach revision {revision} within {waited_ms} ms")]
    Deadline {
        /// The key.
        key: Key,
        /// The revision waited for.
        revision: u64,
        /// How long.
        waited_ms: u64,
    },
}

/// What an agent can do: hand commands to its queen, read this node's state, send signals.
pub struct AgentContext {
    pub(super) entry: Arc<Entry>,
    pub(super) generation: Arc<Generation>,
    pub(super) home: Arc<Home>,
}

impl AgentContext {
    /// The agent's name.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// Where signals reach this agent.
    pub fn address(&self) -> AgentAddress {
        AgentAddress {
            node: self.home.signals.me(),
            number: self.entry.number,
            generation: self.generation.number,
        }
    }

    /// Which generation of the agent this is: grows with each start.
    pub fn generation(&self) -> u64 {
        self.generation.number
    }

    /// Who this agent is when it claims a task and when it says that it holds one.
    pub fn caller(&self) -> Caller {
        Caller::Agent {
            name: self.name().into(),
            generation: self.generation(),
        }
    }

    /// Hands a command to the queen and waits for its outcome. Before the first claim of a generation the colony is told
    /// that it lives; when it ends, however it does, what it holds returns.
    ///
    /// # Errors
    /// When she does not take it, or no outcome came before the deadline: then it is unknown.
    pub async fn submit(&self, request: Request, deadline: Duration) -> Result<Outcome, SubmitError> {
        let _waits = self.generation.waits();
        let mut left = deadline;
        if claims_for_agent(&request.body) {
            let asked = Instant::now();
            let whose = || Whose::of(&self.entry, &self.generation);
            let begun = self.generation.registration.begin(whose);
            let begun = tokio::time::timeout(deadline, begun).await;
            let waited_ms = deadline.as_millis() as u64;
            if let Err(refusal) = begun.map_err(|_| SubmitError::Unknown { waited_ms })?? {
                return Ok(Outcome::Refused(refusal));
            }
            left = deadline.saturating_sub(asked.elapsed());
        }
        submit(&self.generation.queen, request, left).await
    }

    /// Whether somebody has paused the agent, now and from now on. A step that goes on for long follows it: while its agent
    /// is paused it begins nothing new.
    pub fn pauses(&self) -> watch::Receiver<bool> {
        self.generation.pauses()
    }

    /// Awaits something within a step; meanwhile the agent is shown as waiting, not as busy.
    pub async fn waiting<T>(&self, awaited: impl Future<Output = T>) -> T {
        let _waits = self.generation.waits();
        awaited.await
    }

    /// This node's copy of the colony.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.home.replica
    }

    /// Waits for the event that brings `key` to `revision` here.
    ///
    /// # Errors
    /// When it did not come before the deadline.
    pub async fn wait_revision(
        &self,
        project: &str,
        key: &Key,
        revision: u64,
        deadline: Duration,
    ) -> Result<u64, WaitError> {
        let _waits = self.generation.waits();
        let reached = self.home.replica.wait_revision(project, key, revision);
        let waited_ms = deadline.as_millis() as u64;
        match tokio::time::timeout(deadline, reached).await {
            Ok(Ok(found)) => Ok(found),
            _ => Err(WaitError::Deadline {
                key: key.clone(),
                revision,
                waited_ms,
            }),
        }
    }

    /// Sends a signal. At most once; in order for each pair of agents.
    ///
    /// # Errors
    /// When it was not taken: nothing was sent.
    pub fn tell(&self, to: AgentAddress, payload: &[u8]) -> Result<(), TellError> {
        let told = self.home.signals.tell(self.address(), to, payload);
        self.told(to, told)
    }

    /// Counts a signal in the accounts of this agent.
    fn told(&self, to: AgentAddress, told: Result<(), TellError>) -> Result<(), TellError> {
        self.entry.pairs.with(to).told(told.is_ok());
        told
    }

    /// Like [`AgentContext::tell`], but waits while too many signals wait already.
    ///
    /// # Errors
    /// When there is no such agent, or no way to its node: nothing was sent.
    pub async fn tell_waiting(&self, to: AgentAddress, payload: &[u8]) -> Result<(), TellError> {
        let told = self.home.signals.tell_waiting(self.address(), to, payload).await;
        self.told(to, told)
    }

    /// Sends a question and waits for its answer. It may be awaited in a step: the answer does not come through the
    /// mailbox.
    ///
    /// # Errors
    /// When it was not delivered, such as to an agent that does not exist, was lost on the way, or has no answer before the
    /// deadline. In the last two cases it may have been read.
    pub async fn ask(&self, to: AgentAddress, payload: &[u8], deadline: Duration) -> Result<Bytes, AskError> {
        let asker = (self.address(), &self.generation);
        let _waits = self.generation.waits();
        self.home.signals.ask(asker, to, payload, deadline).await
    }

    /// Answers a question: a signal whose number of a question is not 0. Once: the second answer is nobody's.
    ///
    /// # Errors
    /// When it was not taken, or the signal was no question.
    pub fn answer(&self, question: &Signal, payload: &[u8]) -> Result<(), TellError> {
        let told = self.home.signals.answer(self.address(), question, payload);
        match told {
            Err(TellError::NotAsked { .. }) => told,
            told => self.told(question.from, told),
        }
    }

    /// Subscribes this generation of the agent to the topics of a project that a pattern chooses; it is in effect when this
    /// returns. `false` if it had subscribed before.
    ///
    /// # Errors
    /// When the agent, or its node, has as many subscriptions as it may, or the project cannot be one.
    pub fn subscribe(&self, project: &str, pattern: &Pattern) -> Result<bool, SubscribeError> {
        let agent = (self.entry.number, &self.generation);
        self.home.topics.subscribe(agent, project, pattern)
    }

    /// Ends a subscription. `false` if there was none. What lies in the mailbox already still comes.
    pub fn unsubscribe(&self, project: &str, pattern: &Pattern) -> bool {
        let agent = (self.entry.number, self.generation.number);
        self.home.topics.unsubscribe(agent, project, pattern)
    }

    /// Publishes a message to all who have subscribed to its topic, on all nodes. At most once; in order for each publisher
    /// and subscriber while the epoch stands.
    ///
    /// # Errors
    /// When too much waits on a link of this node already, or the message is too large: nobody gets it.
    pub fn publish(&self, project: &str, topic: &Topic, payload: &[u8]) -> Result<Published, PublishError> {
        self.home.topics.publish(&self.publication(project, topic, payload))
    }

    /// Like [`AgentContext::publish`], but waits while too much waits already.
    ///
    /// # Errors
    /// When the message is too large.
    pub async fn publish_waiting(
        &self,
        project: &str,
        topic: &Topic,
        payload: &[u8],
    ) -> Result<Published, PublishError> {
        let publication = self.publication(project, topic, payload);
        self.home.topics.publish_waiting(&publication).await
    }

    fn publication<'a>(&'a self, project: &'a str, topic: &'a Topic, payload: &'a [u8]) -> Publication<'a> {
        Publication {
            project,
            topic,
            author: self.name(),
            from: Some(self.address()),
            payload,
        }
    }

    /// Starts an agent on this node. It is a child of this one if its specification says so.
    ///
    /// # Errors
    /// When its kind is unknown, its name is taken, its arguments do not fit or the node has no room for it.
    pub async fn spawn(&self, spec: AgentSpec) -> Result<AgentStatus, AgentError> {
        let (reply, answer) = oneshot::channel();
        self.generation
            .queen
            .cast(QueenMessage::SpawnAgent(spec, reply))
            .map_err(|_| AgentError::Stopping)?;
        answer.await.unwrap_or(Err(AgentError::Stopping))
    }

    /// Puts a figure into the agent's report, for those who look at it from outside.
    pub fn report(&self, name: &str, value: impl Into<Value>) {
        self.entry.report(name, value.into());
    }
}

/// Hands a command to the queen and waits for its outcome.
pub(crate) async fn submit(
    queen: &ractor::ActorRef<QueenMessage>,
    request: Request,
    deadline: Duration,
) -> Result<Outcome, SubmitError> {
    submit_followed(queen, request, None, deadline).await
}

/// The same, for a request that may be followed.
pub(crate) async fn submit_followed(
    queen: &ractor::ActorRef<QueenMessage>,
    request: Request,
    followed: Option<Arc<CommandTrace>>,
    deadline: Duration,
) -> Result<Outcome, SubmitError> {
    let (ticket, outcome) = oneshot::channel();
    let asked = Instant::now();
    queen
        .cast(match followed {
            None => QueenMessage::Submit(request, ticket),
            Some(followed) => QueenMessage::SubmitFollowed(request, ticket, followed),
        })
        .map_err(|_| SubmitError::Stopping)?;
    match tokio::time::timeout(deadline, outcome).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(SubmitError::Stopping),
        Err(_) => Err(SubmitError::Unknown {
            waited_ms: asked.elapsed().as_millis() as u64,
        }),
    }
}
