//! What comes from other nodes, to which part it goes, and what is answered.

use std::sync::{Arc, OnceLock};

use queenright_protocol::colony::RULES;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Envelope, Kind, Lane};
use ractor::ActorRef;
use serde::{Deserialize, Serialize};

use super::Node;
use super::comparison::Compare;
use super::leaving::Change;
use super::status::STATUS_TIMEOUT;
use super::traces::by_names;
use crate::agent::Signals;
use crate::body::{decode, encode};
use crate::consensus::Consensus;
use crate::cuts::CutReport;
use crate::disk::DiskReport;
use crate::founding::Join;
use crate::queen::QueenMessage;
use crate::router::{Notice, Services};
use crate::topic::Topics;
use crate::trace::{CommandId, TraceId};

/// What one node asks of another.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Control {
    /// How are you?
    Status,
    /// This is the room on my disk; and on yours?
    Disk(DiskReport),
    /// What is your digest after this entry?
    Compare(Compare),
    /// May an empty node of this place join?
    Allow(u16),
    /// Let this node in.
    Join(Join),
    /// Which rules does your build know?
    Rules,
    /// These of my links are cut, or up again.
    Cuts(CutReport),
    /// Drain a member, or let it go.
    Change(Change),
    /// How are you, and your agents of pools?
    Pools,
    /// How are you besides? One of an earlier build does not answer this, nor any that follows.
    Health,
    /// When did you have these commands?
    Times(Vec<CommandId>),
    /// What do you have of this trace?
    Trace(TraceId),
    /// Which were your last traces, so many of them?
    Traces(u64),
}

/// The parts that envelopes from other nodes reach; complete once the node is.
pub(super) struct Inbox {
    pub(super) me: NodeId,
    pub(super) consensus: Arc<Consensus>,
    pub(super) queen: ActorRef<QueenMessage>,
    pub(super) signals: Arc<Signals>,
    pub(super) topics: Arc<Topics>,
    pub(super) node: OnceLock<std::sync::Weak<Node>>,
}

impl Services for Inbox {
    fn receive(&self, envelope: Envelope) {
        if envelope.to != self.me {
            // For a number that this place had before.
            tracing::debug!(to = %envelope.to, kind = %envelope.kind, "an envelope for another node was dropped");
            return;
        }
        match envelope.kind {
            Kind::Round => {
                // A queen that has stopped takes nothing; the sender repeats the round to the next leader.
                let _ = self.queen.cast(QueenMessage::Round {
                    from: envelope.from,
                    bytes: envelope.body,
                });
            }
            Kind::RoundRefused => {
                tracing::debug!(from = %envelope.from, "a round was refused");
                // The timer repeats what a leader has no room for.
                if let Ok(false) = decode(&envelope.body) {
                    let _ = self.queen.cast(QueenMessage::RoundRefused(envelope.from));
                }
            }
            Kind::Unstored => match decode(&envelope.body) {
                Ok(records) => drop(self.queen.cast(QueenMessage::Unstored {
                    from: envelope.from,
                    records,
                })),
                Err(error) => tracing::debug!(from = %envelope.from, %error, "what is said of a store cannot be read"),
            },
            Kind::SignalAnswer | Kind::SignalRefused => self.signals.answered(envelope),
            Kind::Unreachable => self.lost(envelope),
            Kind::Control => {
                let node = self.node.get().and_then(std::sync::Weak::upgrade);
                if let Some(node) = node {
                    tokio::spawn(async move { node.answer_control(envelope).await });
                }
            }
            _ => self.consensus.receive(envelope),
        }
    }

    fn signals(&self, mut signals: Vec<Envelope>) {
        let count = signals.len();
        signals.retain(|signal| signal.to == self.me);
        self.signals.misaddressed(count - signals.len());
        self.signals.arrived(signals);
    }

    fn topics(&self, messages: Vec<Envelope>) {
        self.topics.arrived(self.me, messages);
    }
}

impl Inbox {
    /// Something that this node has sent was lost on the way.
    fn lost(&self, envelope: Envelope) {
        match decode::<Notice>(&envelope.body) {
            Ok(notice) if notice.is_of_agents() => self.signals.lost_on_the_way(&notice),
            _ => self.consensus.receive(envelope),
        }
    }
}

impl Node {
    async fn answer_control(&self, envelope: Envelope) {
        let body = match decode(&envelope.body) {
            Ok(Control::Status) => encode(&self.own_status()),
            Ok(Control::Compare(asked)) => encode(&self.judge.answer(asked)),
            Ok(Control::Allow(place)) => encode(&self.steward.allow(place, |node| self.answers(node)).await),
            Ok(Control::Join(join)) => encode(&self.steward.admit(join).await),
            Ok(Control::Rules) => encode(&RULES),
            Ok(Control::Cuts(report)) => encode(&self.detours.hear(envelope.from, report)),
            Ok(Control::Change(change)) => encode(&self.steward.carry_out(change, |node| self.answers(node)).await),
            Ok(Control::Pools) => encode(&self.hosting.report()),
            Ok(Control::Health) => self.health().encode(),
            Ok(Control::Times(commands)) => by_names(&self.times_of(&commands)),
            Ok(Control::Trace(trace)) => by_names(&self.own_trace(trace).await),
            Ok(Control::Traces(limit)) => by_names(&self.own_traces(limit)),
            Ok(Control::Disk(report)) => encode(&self.disk.hear(envelope.from, report)),
            Err(_) => return,
        };
        // The one who asked gives up after a second.
        let _ = self.router.answer(&envelope, Lane::Command, Kind::ControlReply, body);
    }
    /// Whether a node is there.
    pub(super) async fn answers(&self, node: NodeId) -> bool {
        let question = encode(&Control::Status);
        let asked = self
            .router
            .ask(node, Lane::Command, Kind::Control, question, STATUS_TIMEOUT);
        node == self.router.me() || asked.await.is_ok()
    }
}
