//! The queen.

mod request;

pub use self::request::{Request, SubmitError};
