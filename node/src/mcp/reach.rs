//! How a call reaches the door of a node.

use std::fmt;

use axum::http::request::Parts;
use queenright_bench::client::Client;

use super::Failure;

/// How a call reaches the door of a node. Two ways exist: from a process of its own to the node of this host, and from the
/// door of a node to itself.
pub trait Reach: fmt::Debug + Send + Sync + 'static {
    /// A client for one call, which came with this request if it came over HTTP.
    ///
    /// # Errors
    /// When no door is known.
    fn client(&self, request: Option<&Parts>) -> Result<Client, Failure>;

    /// The door of the last client did not answer: another one may be known by now.
    fn lost(&self) {}
}
