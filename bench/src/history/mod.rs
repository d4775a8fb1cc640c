//! Histories: what clients asked a cluster for and what they were told, and whether one order of it all explains that.
//!
//! | file | what |
//! |---|---|
//! | `operation` | what is asked for and answered |
//! | `record` | the recording of a run, as JSON lines |
//! | `client` | a client that records what it does |
//! | `tasks` | what it asks for of tasks and sessions |
//! | `spec` | the sequential specification of keys, tasks and sessions |
//! | `check` | the search for an order of one partition |
//! | `partition` | a whole history: its partitions, its judgement, and what is shown of one that has no order |
//!
//! For tests: nothing of the program uses it.

mod check;
mod client;
mod operation;
mod partition;
mod record;
mod spec;
mod tasks;
#[cfg(test)]
mod tests;

pub use self::check::{Budget, Verdict, check};
pub use self::client::{Recorded, RecordingClient};
pub use self::operation::{Answer, End, Guard, Object, Operation, Outcome, Refusal, TaskStage, Write};
pub use self::partition::{Fault, Judgement, judge, partitions};
pub use self::record::{Call, RecordError, Recorder, read, write};
pub use self::spec::{Spec, State};
