//! The actor around a behaviour. The queen supervises it: a panic ends the agent, not the node.

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::AgentState;
use super::behaviour::{AgentContext, Behaviour, BehaviourError, Step};
use super::signal::Signal;

/// What an agent is told. Local only: signals from other nodes come through the gateway.
pub(crate) enum AgentMessage {
    /// From itself: go on.
    Step,
    /// From the gateways or an agent of this node.
    Signals(Vec<Signal>),
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
            AgentMessage::Signals(signals) => {
                at_work.context.entry.taken(signals.len());
                at_work.behaviour.signals(signals, &at_work.context)
            }
        };
        at_work.follow(next, &me);
        Ok(())
    }
}

impl AtWork {
    fn follow(&mut self, next: Result<Step, BehaviourError>, me: &ActorRef<AgentMessage>) {
        match next {
            Ok(Step::Again) if !self.stepping => self.stepping = me.cast(AgentMessage::Step).is_ok(),
            Ok(Step::Again | Step::Wait) => {}
            Ok(Step::Done) => {
                self.context.entry.end(AgentState::Done, None);
                me.stop(None);
            }
            Err(BehaviourError(reason)) => {
                tracing::warn!(agent = self.context.name(), %reason, "agent failed");
                self.context.entry.end(AgentState::Failed, Some(reason));
                me.stop(None);
            }
        }
    }
}
