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
    /// What came while it was paused, if it was.
    kept_back: Option<Box<KeptBack>>,
    /// If it becomes passive when it has had nothing to do for long.
    idleness: Option<Box<Idleness>>,
}

/// Messages, first come first. Boxed: most agents are never paused.
#[derive(Default)]
struct KeptBack(VecDeque<AgentMessage>);

/// How long an agent has had nothing to do. Boxed: many agents have none.
struct Idleness {
    /// After how long it becomes passive.
    after: Duration,
    /// When it last had something to do.
    active_at: Instant,
    timer: Option<IdleTimer>,
}

/// A timer that does not outlive its agent.
struct IdleTimer(JoinHandle<Result<(), MessagingErr<AgentMessage>>>);

impl Drop for IdleTimer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Idleness {
    fn new(after_ms: u64) -> Box<Idleness> {
        Box::new(Idleness {
            after: Duration::from_millis(after_ms),
            active_at: Instant::now(),
            timer: None,
        })
    }

    /// Looks again when it may have been long enough, unless it will anyway.
    fn watch(&mut self, me: &ActorRef<AgentMessage>) {
        if self.timer.is_none() {
            let left = self.after.saturating_sub(self.active_at.elapsed());
            // One that could not become passive when it was time tries again as much later.
            let left = if left.is_zero() { self.after } else { left };
            self.timer = Some(IdleTimer(me.send_after(left, || AgentMessage::Idle)));
        }
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
        let idleness = context.entry.plan.passivate_after_ms.map(Idleness::new);
        Box::new(AtWork {
            behaviour,
            start,
            context,
            stepping: false,
            kept_back: None,
            idleness,
        })
    }

    /// It has had something to do.
    fn was_active(&mut self) {
        if let Some(idleness) = &mut self.idleness {
            idleness.active_at = Instant::now();
        }
    }

    fn keeps_back(&self) -> bool {
        self.kept_back.as_ref().is_some_and(|kept| !kept.0.is_empty())
    }

    /// The message whose turn it is, if any is: while it is paused all are kept back, and afterwards those that came first
    /// go first.
    fn in_turn(&mut self, message: AgentMessage) -> Option<AgentMessage> {
        let paused = self.context.generation.is_paused();
        match message {
            AgentMessage::Resume if paused => None,
            AgentMessage::Resume => self.kept_back.as_mut()?.0.pop_front(),
            message if paused || self.keeps_back() => {
                self.kept_back.get_or_insert_default().0.push_back(message);
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
            self.was_active();
        }
        self.follow(next, me);
        false
    }

    async fn step(&mut self, me: &ActorRef<AgentMessage>) {
        let generation = self.context.generation.clone();
        let busy = generation.busy();
        let next = self.behaviour.step(&self.context).await;
        drop(busy);
        self.was_active();
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
        if self.keeps_back() {
            // An actor that has ended keeps nothing back.
            let _ = me.cast(AgentMessage::Resume);
        }
        if let Some(idleness) = &mut self.idleness {
            idleness.watch(me);
        }
    }

    /// Its timer has fired.
    fn idle_for_long(&mut self) -> Result<Step, BehaviourError> {
        let idleness = self.idleness.as_mut().expect("only such an agent has a timer");
        idleness.timer = None;
        match idleness.active_at.elapsed() >= idleness.after {
            true => Ok(Step::Passivate),
            false => Ok(Step::Wait),
        }
    }

    /// Becomes passive, if its behaviour can and nothing waits for it.
    fn rest(&mut self) -> Option<Said> {
        if self.stepping || self.keeps_back() || !self.context.home.population.has_room_for_passive() {
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
