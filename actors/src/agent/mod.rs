//! Hosted agents: behaviours that run in the node, each as an actor of its own, supervised by the queen.
//!
//! An agent lives from its spawn until it is done, failed or stopped. In between it may have several *generations*: when
//! one ends by an error or a panic, the queen starts the next one after a back-off, as its [`RestartPolicy`] says; and
//! somebody may ask for the next one. A generation that is idle may be *passive*: a record without an actor, which becomes
//! one again when something comes for it (see `generation`), or when a task is ready that it takes (see `rouse`).
//!
//! ```text
//! starting ─▶ at work ─┬▶ done                    it did what it was to do
//!     ▲  ▲    │    ▲   ├▶ failed                  past the limit of restarts, or never to be restarted
//!     │  │    ▼    │   └▶ recovering ─┐           its back-off runs
//!     │  └─ passive┘                  │           paused: any that lives, until it is resumed
//!     └───────────────────────────────┘           stopped: any that lives, when somebody asks
//! ```
//!
//! At work is idle, busy or waiting ([`AgentState`]). An agent with a parent lives no longer than the generation of its
//! parent in which it was started (see `kin`).
//!
//! | message of an agent's actor | from | meaning |
//! |---|---|---|
//! | step | itself | go on |
//! | signals, topics | gateways, agents of this node, publishers | letters |
//! | nudge | the queen | a step although nobody sent anything |
//! | child ended | the queen | an agent whose parent it is has ended for good |
//! | idle | its timer | become passive if nothing has come since |
//! | resume | the queen, itself | take up what came while it was paused |

mod actor;
mod ask;
mod behaviour;
mod entry;
mod error;
mod filter;
mod generation;
mod home;
mod kin;
mod mailbox;
mod names;
mod order;
mod pairs;
mod passive;
mod plan;
mod population;
mod registration;
mod registry;
mod restart;
mod rouse;
mod servants;
mod signal;
mod spec;
mod status;
#[cfg(test)]
mod tests;

pub(crate) use self::actor::AgentMessage;
pub use self::ask::{ASKS_MAX, AskError};
pub use self::behaviour::{AgentContext, Behaviour, BehaviourError, Kinds, Make, Step, WaitError};
pub(crate) use self::behaviour::{submit, submit_followed};
pub use self::error::AgentError;
pub use self::filter::{AgentFilter, AgentPage, LIST_MAX};
pub(crate) use self::generation::Generation;
pub use self::kin::ChildEnded;
pub(crate) use self::mailbox::{Delivery, Handed, Letter, hand};
pub use self::order::AgentOrder;
pub use self::pairs::{AgentAccounts, AgentPair, PAIRS_MAX, PairCounts};
pub use self::passive::PASSIVE_BYTES_MAX;
pub use self::population::{AGENTS_ACTIVE_MAX, AGENTS_ENDED_MAX, AGENTS_PASSIVE_MAX, AgentCounts};
pub(crate) use self::registry::Agents;
pub use self::restart::{
    BACKOFF_MS_MAX, RESTART_SPAN_MS_MAX, RESTARTS_MAX, RestartKind, RestartPolicy, RestartPolicyError,
};
pub use self::servants::SERVED_MAX;
pub use self::signal::{AgentAddress, Signal, SignalCounts, Signals, TellError};
pub use self::spec::{AgentSpec, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, PASSIVATE_AFTER_MS_MAX};
pub use self::status::{AgentChildren, AgentState, AgentStatus, AgentSummary, CHILDREN_SHOWN_MAX, TroubledAgent};
pub use crate::router::RouteError;
pub use queenright_protocol::colony::Serves;
