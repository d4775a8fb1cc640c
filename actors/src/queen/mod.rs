//! The queen.

mod request;
mod rounds;

pub use self::request::{Request, SubmitError};
pub use self::rounds::{Effect, Input, RoundLimits, Rounds};
