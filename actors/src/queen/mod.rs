//! The queen of a node: her rounds as a plain machine, and the actor that drives it.

mod actor;
mod request;
mod rounds;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use self::actor::NOT_TAKEN_PAUSE;
pub(crate) use self::actor::{Queen, QueenArguments, QueenCounts, QueenMessage};
pub use self::request::{Request, SubmitError};
pub use self::rounds::RoundLimits;
#[cfg(test)]
pub(crate) use self::rounds::{Effect, Input, Rounds};
