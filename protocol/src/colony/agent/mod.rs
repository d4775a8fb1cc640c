//! Who owns: the hosted agents that the colony knows to live, the sessions of external ones ([`super::session`]), and what
//! they hold. A queen tells the colony of each start and end of an agent; the lease of a task holds while its owner lives.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`AgentCommand::Started`] | queen | colony | [`Outcome::AgentStarted`] | an agent of her node lives under this generation |
//! | [`AgentCommand::Ended`] | queen | colony | [`Outcome::AgentsEnded`] | it lives no more: its tasks return |
//! | [`AgentCommand::NodeStarted`] | queen | colony | [`Outcome::AgentsEnded`] | her node was started: what lived in earlier starts has ended |
//! | [`AgentCommand::NodeLost`] | leader's queen | colony | [`Outcome::AgentsEnded`] | a node does not answer: its agents have ended, its sessions have a grace |
//! | [`AgentCommand::SessionsSilent`] | queen | colony | [`Outcome::SessionsTold`] | sessions that live on her node have ended |
//! | [`AgentCommand::SessionsAlive`] | queen | colony | [`Outcome::SessionsTold`] | sessions live on her node, which was only away |
//!
//! The node and the incarnation of an agent are those of the round that brings the command. Ending all agents of a node
//! takes one step, whatever their number: those that started before it have ended. What they held returns a few at a
//! time, see [`super::sweep`].
//!
//! [`Outcome::AgentStarted`]: super::Outcome::AgentStarted
//! [`Outcome::AgentsEnded`]: super::Outcome::AgentsEnded
//! [`Outcome::SessionsTold`]: super::Outcome::SessionsTold

mod links;
mod lives;

use std::fmt;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::reservation::ReservationId;
use super::session::{SessionDue, SessionId, Sessions};
use super::task::{TaskId, WaitId};
use crate::id::NodeId;

/// How many agents of one node the colony knows, those included whose tasks are still to be returned. As many as a node
/// hosts.
pub const AGENTS_PER_NODE_MAX: usize = 100_000;
/// The longest reason of an agent's end, in bytes.
pub const AGENT_REASON_BYTES_MAX: usize = 256;

/// The reasons of those ends that nothing went wrong with: the agent's work was over, or somebody stopped it.
pub const AGENT_DONE: &str = "was done";
/// See [`AGENT_DONE`].
pub const AGENT_STOPPED: &str = "was stopped";

/// What a queen tells the colony of agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AgentCommand {
    /// An agent of this node was started. An earlier generation of it that lived has ended with that.
    Started {
        /// Its name, unique on its node.
        name: Arc<str>,
        /// Its generation: greater than every earlier one of that name in this start of the node.
        generation: u64,
    },
    /// An agent of this node has ended.
    Ended {
        /// Its name.
        name: Arc<str>,
        /// Its generation.
        generation: u64,
        /// Why, for people: done, stopped, or what it failed with.
        reason: Arc<str>,
    },
    /// This node was started; the first command of its queen. Any command of a new start ends the agents of earlier ones:
    /// this one is for a node that has nothing else to say.
    NodeStarted,
    /// A node has not answered for so long that its agents are taken for dead.
    NodeLost {
        /// The node.
        node: NodeId,
        /// The start of it that is lost: nothing happens to the agents of a later one.
        incarnation: u64,
    },
    /// These sessions live on this node and gave no sign of life for their time; each with the position of the command
    /// by which it came to live there: one that was re-opened since then is not meant.
    SessionsSilent(Vec<(SessionId, u64)>),
    /// This node was taken for lost and was only away: these sessions live on it.
    SessionsAlive(Vec<SessionId>),
}

/// One life of a hosted agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AgentId {
    /// The node that hosts it.
    pub node: NodeId,
    /// Which start of that node.
    pub incarnation: u64,
    /// Its name there.
    pub name: Arc<str>,
    /// Its generation: a restarted agent is a new one.
    pub generation: u64,
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AgentId {
            node, name, generation, ..
        } = self;
        write!(f, "agent {name} of node {node}, generation {generation}")
    }
}

/// Why an agent lives no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentEnd {
    /// Its queen said so, with this reason.
    Ended(Arc<str>),
    /// A later generation of it was started.
    Replaced,
    /// Its node was started anew.
    NodeRestarted,
    /// Its node does not answer.
    NodeLost,
}

impl fmt::Display for AgentEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AgentEnd::Ended(reason) => write!(f, "its agent ended: {reason}"),
            AgentEnd::Replaced => write!(f, "its agent was started anew"),
            AgentEnd::NodeRestarted => write!(f, "its node was started anew"),
            AgentEnd::NodeLost => write!(f, "its node does not answer"),
        }
    }
}

/// By what the colony tells lives of agents apart: the node, and the position of the command that told of the start. In
/// this order all lives of a node stand as they began.
pub type LifeKey = (NodeId, u64);

/// A life that the colony knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Whose.
    pub id: AgentId,
    /// Why it has ended, if its queen or a later generation ended it alone; its tasks are being returned.
    pub end: Option<AgentEnd>,
    /// What it holds, with its projects.
    pub held: OrdSet<(Arc<str>, Held)>,
}

/// What an owner may hold: it is given back when the owner ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// The lease of a task.
    Task(TaskId),
    /// A place among the claims that wait.
    Wait(WaitId),
    /// A reservation, or the place of one who waits.
    Reservation(ReservationId),
}

/// What the passing of a time ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The lease of a task.
    Lease(TaskId),
    /// The hold on the keys of a proposal that lost at this position.
    Hold(u64),
    /// The wait of a pending task.
    Wake(TaskId),
    /// Nothing: a task is finished in some way, and those that need it are told one by one.
    Release(TaskId),
    /// The wait of a claim, or the offer that was made to it.
    Wait(WaitId),
    /// A reservation, or the patience of one who waits.
    Reservation(ReservationId),
    /// The rest of one who waits and is to be looked at again: at once.
    Look(ReservationId),
}

/// How all agents of a node ended at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sinking {
    /// Every life that began at this position or before has ended.
    pub(crate) floor: u64,
    pub(crate) end: AgentEnd,
}

/// The agents of all nodes, the sessions, and what ends by time although no owner does.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    lives: OrdMap<LifeKey, Life>,
    /// The newest life of each name.
    by_name: OrdMap<(NodeId, Arc<str>), u64>,
    counts: OrdMap<NodeId, usize>,
    /// Lives that ended alone and are not cleared away yet.
    ending: OrdSet<LifeKey>,
    /// Nodes whose agents ended together and are not cleared away yet.
    pub(crate) sinking: OrdMap<NodeId, Sinking>,
    /// What time ends, earliest first, with its project.
    timers: OrdSet<(u64, Arc<str>, Timer)>,
    /// The queues that may owe tasks to claims that wait, with their projects, by when they are looked at.
    owed: OrdSet<(u64, Arc<str>, Arc<str>)>,
    /// The claims that wait at each node, with their projects.
    waits: OrdSet<(NodeId, WaitId, Arc<str>)>,
    /// The lives that hold something of each project, with how many things.
    working: OrdMap<Arc<str>, OrdMap<LifeKey, usize>>,
    pub(crate) sessions: Sessions,
    pub(crate) digest: Digest,
}

/// What is to be done next of what time or the end of agents has brought.
#[derive(Debug)]
pub(crate) enum Due {
    /// The time of this is over.
    Expired(Arc<str>, Timer),
    /// This queue may owe tasks to claims that wait.
    Owed(Arc<str>, Arc<str>),
    /// The owner of this lives no more.
    Orphan(Arc<str>, Held, AgentEnd),
    /// This life holds nothing any more.
    Gone(LifeKey),
    /// Something of sessions.
    Session(SessionDue),
}
