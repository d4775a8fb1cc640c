//! The actor around a behaviour: one generation of an agent. The queen supervises it: a panic ends the generation, not
//! the node, and she starts the next one if the agent's policy says so.

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::behaviour::{AgentContext, Behaviour, BehaviourError, Step};
use super::entry::Said;
use super::mailbox::Delivery;
use super::signal::Signal;
use crate::topic::Heard;

/// What an agent is told. Local only: signals from other nodes come through the gateway.
pub(crate) enum AgentMessage {
    /// From itself: go on.
    Step,
    /// From the gateways or an agent of this node.
    Signals(Delivery<Signal>),
    /// Messages of topics that it has subscribed to.
    Topics(Delivery<Heard>),
}

impl ractor::Message for AgentMessage {}

/// The actor.
pub(super) struct Agent;

/// An agent at work.
pub(super) struct AtWork {
    pub(super) behaviour: Box<dyn Behaviour>,
    pub(super) context: AgentContext,
    /// Whether a step is in the mailbox already.
    pub(super) stepping: bool,
}

impl Actor for Agent {
    type Msg = AgentMessage;
    type State = AtWork;
    type Arguments = AtWork;

    async fn pre_start(&self, me: ActorRef<AgentMessage>, mut at_work: AtWork) -> Result<AtWork, ActorProcessingErr> {
        // Here already: whoever the first step speaks to may answer.
        at_work.context.generation.set_actor(me.clone());
        at_work.stepping = me.cast(AgentMessage::Step).is_ok();
        Ok(at_work)
    }

    async fn handle(
        &self,
        me: ActorRef<AgentMessage>,
        message: AgentMessage,
        at_work: &mut AtWork,
    ) -> Result<(), ActorProcessingErr> {
        let next = match message {
            AgentMessage::Step => {
                at_work.stepping = false;
                at_work.behaviour.step(&at_work.context).await
            }
            AgentMessage::Signals(delivery) => at_work.behaviour.signals(delivery.take(), &at_work.context),
            AgentMessage::Topics(delivery) => at_work.behaviour.topics(delivery.take(), &at_work.context),
        };
        at_work.follow(next, &me);
        Ok(())
    }
}

impl AtWork {
    fn follow(&mut self, next: Result<Step, BehaviourError>, me: &ActorRef<AgentMessage>) {
        let said = match next {
            Ok(Step::Again) => {
                if !self.stepping {
                    self.stepping = me.cast(AgentMessage::Step).is_ok();
                }
                return;
            }
            Ok(Step::Wait) => return,
            Ok(Step::Done) => Said::Done,
            Err(BehaviourError(reason)) => Said::Failed(reason),
        };
        // The queen hears of the end from the runtime, after this.
        self.context.entry.say(said);
        me.stop(None);
    }
}
