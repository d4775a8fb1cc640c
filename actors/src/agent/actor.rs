//! The actor around a behaviour: one generation of an agent, or what of it lies between two times of being passive. The
//! queen supervises it: a panic ends the generation, not the node, and she starts the next one if the agent's policy says
//! so.

use std::collections::VecDeque;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::OptionFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef, MessagingErr};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::behaviour::{AgentContext, Behaviour, BehaviourError, Step};
use super::entry::Said;
use super::kin::ChildEnded;
use super::mailbox::Delivery;
use super::passive::PASSIVE_BYTES_MAX;
use super::signal::Signal;
use crate::topic::Heard;

/// After how long an agent takes a step that takes tasks and could not become passive.
const NOT_PASSIVE_PAUSE: Duration = Duration::from_secs(1);

/// What an agent is told. Local only: signals from other nodes come through the gateway.
pub(crate) enum AgentMessage {
    /// From itself: go on.
    Step,
    /// From the gateways or an agent of this node.
    Signals(Delivery<Signal>),
    /// Messages of topics that it has subscribed to.
    Topics(Delivery<Heard>),
    /// From the queen: take a step.
    Nudge,
    /// From the queen: a child has ended for good.
    ChildEnded(Box<ChildEnded>),
    /// From its timer: it may have had nothing to do for long.
    Idle,
    /// From the queen, and from itself while more is left: take up what came while it was paused.
    Resume,
}

impl ractor::Message for AgentMessage {}

/// The actor.
pub(super) struct Agent;

/// How an actor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With a step.
    First,
    /// With what waits for it.
    Woken,
}

/// An agent at work.
pub(super) struct AtWork {
    pub(super) behaviour: Box<dyn Behaviour>,
    pub(super) context: AgentContext,
    pub(super) start: Start,
    /// Whether a step is in the mailbox already.
    stepping: bool,
    /// What came while it was paused, first come first.
    kept_back: VecDeque<AgentMessage>,
    /// When it last had something to do.
    active_at: Instant,
    idle: Option<IdleTimer>,
}

/// A timer that does not outlive its agent.
struct IdleTimer(JoinHandle<Result<(), MessagingErr<AgentMessage>>>);

impl Drop for IdleTimer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Actor for Agent {
    type Msg = AgentMessage;
    // Boxed: the runtime keeps room for it in several places of each actor.
    type State = Box<AtWork>;
    type Arguments = Box<AtWork>;

    async fn pre_start(
        &self,
        me: ActorRef<AgentMessage>,
        mut at_work: Box<AtWork>,
    ) -> Result<Box<AtWork>, ActorProcessingErr> {
        // Here already: whoever the first step speaks to may answer.
        at_work.context.generation.open(me.clone());
        if at_work.start == Start::First {
            at_work.stepping = me.cast(AgentMessage::Step).is_ok();
        }
        Ok(at_work)
    }

    // No `async fn`, and a step in a box: the runtime keeps room for this future in several places of each actor, whether
    // it does anything or not.
    fn handle(
        &self,
        me: ActorRef<AgentMessage>,
        message: AgentMessage,
        at_work: &mut Box<AtWork>,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        let steps = match at_work.in_turn(message) {
            Some(message) => at_work.take(message, &me),
            None => false,
        };
        let step = steps.then(|| async move { at_work.step(&me).await }.boxed());
        OptionFuture::from(step).map(|_| Ok(()))
    }
}

impl AtWork {
    pub(super) fn new((behaviour, start): (Box<dyn Behaviour>, Start), context: AgentContext) -> Box<AtWork> {
        Box::new(AtWork {
            behaviour,
            start,
            context,
            stepping: false,
            kept_back: VecDeque::new(),
            active_at: Instant::now(),
            idle: None,
        })
    }

    /// After how long without anything to do it becomes passive.
    fn passivate_after(&self) -> Option<Duration> {
        self.context.entry.plan.passivate_after_ms.map(Duration::from_millis)
    }

    /// The message whose turn it is, if any is: while it is paused all are kept back, and afterwards those that came first
    /// go first.
    fn in_turn(&mut self, message: AgentMessage) -> Option<AgentMessage> {
        let paused = self.context.generation.is_paused();
        match message {
            AgentMessage::Resume if paused => None,
            AgentMessage::Resume => self.kept_back.pop_front(),
            message if paused || !self.kept_back.is_empty() => {
                self.kept_back.push_back(message);
                None
            }
            message => Some(message),
        }
    }

    /// Takes a message. Says whether a step is to be taken for it.
    fn take(&mut self, message: AgentMessage, me: &ActorRef<AgentMessage>) -> bool {
        let generation = self.context.generation.clone();
        let timer = matches!(message, AgentMessage::Idle);
        match message {
            AgentMessage::Step => self.stepping = false,
            AgentMessage::Nudge => generation.taken(1),
            _ => {}
        }
        let busy = generation.busy();
        let next = match message {
            AgentMessage::Step | AgentMessage::Nudge => return true,
            AgentMessage::Signals(delivery) => self.behaviour.signals(delivery.take(), &self.context),
            AgentMessage::Topics(delivery) => self.behaviour.topics(delivery.take(), &self.context),
            AgentMessage::ChildEnded(child) => {
                generation.taken(1);
                self.behaviour.child_ended(*child, &self.context)
            }
            AgentMessage::Idle => self.idle_for_long(),
            AgentMessage::Resume => Ok(Step::Wait),
        };
        drop(busy);
        if !timer {
            self.active_at = Instant::now();
        }
        self.follow(next, me);
        false
    }

    async fn step(&mut self, me: &ActorRef<AgentMessage>) {
        let generation = self.context.generation.clone();
        let busy = generation.busy();
        let next = self.behaviour.step(&self.context).await;
        drop(busy);
        self.active_at = Instant::now();
        self.follow(next, me);
    }

    fn follow(&mut self, next: Result<Step, BehaviourError>, me: &ActorRef<AgentMessage>) {
        let said = match next {
            Ok(Step::Again) => {
                if !self.stepping {
                    self.stepping = me.cast(AgentMessage::Step).is_ok();
                }
                None
            }
            Ok(Step::Wait) => None,
            Ok(Step::Passivate) => {
                let said = self.rest();
                if said.is_none() && !self.stepping && self.behaviour.serves().is_some() {
                    // No task wakes one that is not passive: it looks itself.
                    self.stepping = true;
                    me.send_after(NOT_PASSIVE_PAUSE, || AgentMessage::Step);
                }
                said
            }
            Ok(Step::Done) => Some(Said::Done),
            Err(BehaviourError(reason)) => Some(Said::Failed(reason)),
        };
        if let Some(said) = said {
            // The queen hears of the end from the runtime, after this.
            self.context.entry.say(said);
            me.stop(None);
            return;
        }
        if !self.kept_back.is_empty() {
            // An actor that has ended keeps nothing back.
            let _ = me.cast(AgentMessage::Resume);
        }
        if let Some(after) = self.passivate_after().filter(|_| self.idle.is_none()) {
            let left = after.saturating_sub(self.active_at.elapsed());
            // One that could not become passive when it was time tries again as much later.
            let left = if left.is_zero() { after } else { left };
            self.idle = Some(IdleTimer(me.send_after(left, || AgentMessage::Idle)));
        }
    }

    /// Its timer has fired.
    fn idle_for_long(&mut self) -> Result<Step, BehaviourError> {
        self.idle = None;
        let after = self.passivate_after().expect("only such an agent has a timer");
        match self.active_at.elapsed() >= after {
            true => Ok(Step::Passivate),
            false => Ok(Step::Wait),
        }
    }

    /// Becomes passive, if its behaviour can and nothing waits for it.
    fn rest(&mut self) -> Option<Said> {
        if self.stepping || !self.kept_back.is_empty() || !self.context.home.population.has_room_for_passive() {
            return None;
        }
        let serves = match self.behaviour.serves() {
            Some(serves) => Some(self.context.home.servants.admit(serves)?),
            None => None,
        };
        let state = self.behaviour.passivate()?;
        if state.len() > PASSIVE_BYTES_MAX {
            let bytes = state.len();
            let reason =
                format!("its state of {bytes} B is over the limit of {PASSIVE_BYTES_MAX} B of a passive agent");
            return Some(Said::Failed(reason));
        }
        let generation = &self.context.generation;
        generation
            .hold()
            .then(|| Said::Passive(state.into_boxed_slice(), serves))
    }
}
