//! `queenright replay`: the commits of a git repository as the work of a swarm.
//!
//! The process that replays is a client: it alone reads git (`job`). It puts the contents into the memory, adds one task
//! for each commit, named `replay/N` in the order of the history, and starts agents of kind `replay` on the nodes ([`agent`]), which need only the cluster. At the end
//! each node recomputes the blob id of every path from the bytes that its store holds ([`tree`]), and the client compares
//! ([`compare`]).
//!
//! | key | value |
//! |---|---|
//! | `replay/blob/ID` | the bytes of the blob ID |
//! | `replay/commit/N` | [`task::Task`] as JSON: what the N-th commit changes, if that is too large for its task's payload |
//! | `replay/tree/PATH` | the bytes at PATH, tagged `mode:MODE`; a submodule entry holds the id of its commit as text |
//!
//! An agent claims the oldest task that waits and finishes it with a proposal in one step. The proposal reads each path
//! that the commit touches, with the revision that the path has in git's history, and writes the new states. So a commit
//! is committed once, and after all earlier changes of its paths, whoever proposes it and however often. The result of
//! the task, [`task::Done`], says what it needed.

pub mod agent;
pub mod compare;
mod error;
mod job;
mod keys;
mod load;
pub mod report;
pub mod task;
pub mod tree;
mod watch;

pub use self::agent::add_kind;
pub use self::error::ReplayError;
pub use self::job::{Job, JobOptions, Phase, Progress};
pub use self::report::Report;
