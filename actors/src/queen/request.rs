//! What agents and doors hand to the queen, and why she may not take it.

use std::sync::Arc;

use queenright_protocol::colony::{Body, DiskLow};

use crate::memory::MemoryLow;

/// A command on its way to the queen; she gives it its number and its time to live.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The project it belongs to.
    pub project: Arc<str>,
    /// Who wants it: the name of an agent, or of a door's caller.
    pub author: Arc<str>,
    /// The caller's own identity of this command: a repeat is answered with the first outcome.
    pub idempotency_key: Option<Arc<str>>,
    /// What is wanted.
    pub body: Body,
}

/// Why a command has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queen holds as many commands as she may; nothing was changed. Try again later.
    #[error("the queen holds {held} {unit} of commands, the limit is {limit}")]
    Busy {
        /// How much she holds.
        held: u64,
        /// Of what: commands or bytes.
        unit: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The command alone is larger than a command may be; nothing was changed.
    #[error("the command has {bytes} B, the limit is {limit} B")]
    TooLarge {
        /// Its encoded size.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// The outcome of the command alone could be larger than what all nodes keep for this one; nothing was changed. Name
    /// fewer keys, or make several commands of it.
    #[error("the outcome of the command could have {bytes} B, the limit is {limit} B")]
    OutcomeTooLarge {
        /// The most that it could have.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// The command makes the state grow, and a majority of the nodes has no room for that; nothing was changed by this
    /// call. Deletions and reads go on. Try again when there is room.
    #[error("{0}")]
    DiskLow(DiskLow),
    /// The command makes the state grow, and this node has no memory left for that; nothing was changed. Deletions and
    /// reads go on. Try again later, or at another node.
    #[error("{0}")]
    MemoryLow(MemoryLow),
    /// The state of this node differs from what the leader logged; nothing was changed. Ask another node.
    #[error(
        "the state of this node is not the leader's after log entry {index}: it takes nothing until that is settled"
    )]
    Diverged {
        /// Where the two were compared.
        index: u64,
    },
    /// No outcome came in time. The command may still be carried out: repeat it with the same idempotency key to learn
    /// its outcome.
    #[error("no outcome after {waited_ms} ms: unknown whether the command was carried out")]
    Unknown {
        /// How long the caller waited.
        waited_ms: u64,
    },
    /// The node is stopping; the command may still be carried out.
    #[error("the node is stopping: unknown whether the command was carried out")]
    Stopping,
    /// Nobody whom a quorum follows was there to order the command; nothing was changed.
    #[error("no quorum answered this node within {waited_ms} ms: nothing was changed")]
    NoQuorum {
        /// How long was waited.
        waited_ms: u64,
    },
}
