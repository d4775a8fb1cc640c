//! What passes through this node on its way to another: sent on at once, or lost, counted and told. Never waits, so that
//! no circle of full outboxes can lock up.
//!
//! Only the header is looked at. The lane is that of the kind. Who is told of a loss: the sender, or for the answer to a
//! question the one who asked; of signals of one pair that a batch has lost, once. A notice that is lost itself is not told
//! of.

use std::sync::atomic::{AtomicU64, Ordering};

use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Envelope, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RouteError;
use crate::link::SendError;

/// How many notices one batch has at most: it is a courtesy, and timers do the rest.
const NOTICES_MAX: usize = 64;

/// Why an envelope was lost on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Too much waited already for the next node.
    #[error("too much waits on the way")]
    Busy,
    /// No link towards the target is up.
    #[error("no link towards it is up")]
    Down,
    /// It was passed on more often than any route takes: the nodes do not agree on the way yet.
    #[error("it was passed on too often")]
    Hops,
    /// The target is no member, as far as is known there.
    #[error("it is no member")]
    Unknown,
    /// The target has a link, but its parts do not run yet.
    #[error("it is still starting")]
    Starting,
}

/// The body of [`Kind::Unreachable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// The kind of what was lost.
    pub(crate) kind: u8,
    /// Its correlation.
    pub(crate) correlation: u64,
    /// The node at the other end: whom the envelope was for, or whose answer it was.
    pub(crate) node: NodeId,
    /// Why.
    pub(crate) loss: Loss,
    /// How many.
    pub(crate) count: u64,
}

impl Notice {
    /// Whether it is of a question from agent to agent, or of its answer.
    pub(crate) fn is_of_agents(&self) -> bool {
        [Kind::Signal as u8, Kind::SignalAnswer as u8].contains(&self.kind)
    }
}

/// Counts of what passed through a node, or should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransitCounts {
    /// Envelopes passed on.
    pub forwarded: u64,
    /// Envelopes lost because too much waited for the next node.
    pub lost_busy: u64,
    /// Envelopes lost because no link towards their target was up.
    pub lost_down: u64,
    /// Envelopes lost because they were passed on too often.
    pub lost_hops: u64,
    /// Envelopes lost because their target is no member.
    pub lost_unknown: u64,
    /// Of those passed on, how many were signals.
    pub signals_forwarded: u64,
    /// Of those lost, how many were signals, questions and answers included.
    pub signals_lost: u64,
    /// Envelopes whose sender knew another epoch.
    pub other_epoch: u64,
    /// Of this node's own envelopes, how many others told it that they have lost.
    pub told_lost: u64,
    /// For how many nodes the messages of topics were that were lost.
    #[serde(default)]
    pub topics_lost: u64,
}

/// What is counted.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) forwarded: AtomicU64,
    lost: [AtomicU64; 5],
    pub(super) signals_forwarded: AtomicU64,
    signals_lost: AtomicU64,
    topics_lost: AtomicU64,
    pub(super) other_epoch: AtomicU64,
    pub(super) told_lost: AtomicU64,
}

impl Counters {
    pub(super) fn lose(&self, loss: Loss, lost: &Envelope) {
        add(&self.lost[loss as usize]);
        match lost.kind {
            Kind::Signal | Kind::SignalAnswer => add(&self.signals_lost),
            Kind::Topic => {
                self.topics_lost.fetch_add(lost.correlation, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    pub(super) fn counts(&self) -> TransitCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let lost = |loss: Loss| get(&self.lost[loss as usize]);
        TransitCounts {
            forwarded: get(&self.forwarded),
            lost_busy: lost(Loss::Busy),
            lost_down: lost(Loss::Down),
            lost_hops: lost(Loss::Hops),
            lost_unknown: lost(Loss::Unknown),
            signals_forwarded: get(&self.signals_forwarded),
            signals_lost: get(&self.signals_lost),
            other_epoch: get(&self.other_epoch),
            told_lost: get(&self.told_lost),
            topics_lost: get(&self.topics_lost),
        }
    }
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl From<RouteError> for Loss {
    fn from(error: RouteError) -> Loss {
        match error {
            RouteError::Unknown { .. } => Loss::Unknown,
            // What was too large here was taken by a link before: it cannot be.
            RouteError::Link(SendError::Busy { .. } | SendError::TooLarge { .. }) => Loss::Busy,
            RouteError::Link(SendError::Down) => Loss::Down,
        }
    }
}

/// The notices that a batch has given cause for, in the order of their causes.
#[derive(Default)]
pub(super) struct Notices(Vec<(NodeId, Notice)>);

impl Notices {
    pub(super) fn add(&mut self, lost: &Envelope, loss: Loss) {
        if lost.kind == Kind::Unreachable {
            return;
        }
        let answers = matches!(lost.kind, Kind::AppendReply | Kind::SignalAnswer);
        let (told, node) = match is_answer(lost.kind) || answers {
            true => (lost.to, lost.from),
            false => (lost.from, lost.to),
        };
        let notice = Notice {
            kind: lost.kind as u8,
            correlation: lost.correlation,
            node,
            loss,
            count: 1,
        };
        let room = self.0.len() < NOTICES_MAX;
        let same = self.0.iter_mut().find(|(to, known)| {
            let known = Notice { count: 1, ..*known };
            lost.kind == Kind::Signal && (*to, known) == (told, notice)
        });
        match same {
            Some((_, known)) => known.count += 1,
            None if room => self.0.push((told, notice)),
            None => {}
        }
    }

    /// Each notice and who is told.
    pub(super) fn take(self) -> Vec<(NodeId, Notice)> {
        self.0
    }
}

/// Whether somebody waits for it under its correlation.
pub(super) fn is_answer(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::VoteReply
            | Kind::SnapshotReply
            | Kind::SnapshotFound
            | Kind::SnapshotBlocks
            | Kind::ReadIndexReply
            | Kind::ControlReply
            | Kind::LeadReply
    )
}

/// Whether its sender waits for an answer under its correlation.
pub(super) fn is_question(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::VoteRequest
            | Kind::SnapshotRequest
            | Kind::SnapshotWanted
            | Kind::SnapshotBlocksWanted
            | Kind::ReadIndexRequest
            | Kind::Control
            | Kind::LeadRequest
    )
}
