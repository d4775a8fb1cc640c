//! The routes of traces.

use reqwest::Method;

use super::request::path_of;
use super::wire::{TraceFound, TraceList};
use super::{Client, ClientError};

impl Client {
    /// The last requests that were followed, on all nodes, the newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn traces(&self, limit: u64) -> Result<TraceList, ClientError> {
        let request = self.request(Method::GET, "/v1/traces")?;
        self.fetch(request.query(&[("limit", limit)])).await
    }

    /// What all nodes have of a trace.
    ///
    /// # Errors
    /// [`ClientError`], such as a problem with code `NOT_FOUND` when none has anything.
    pub async fn trace(&self, trace: &str) -> Result<TraceFound, ClientError> {
        let path = path_of("/v1/traces", "the trace", trace)?;
        self.fetch(self.request(Method::GET, &path)?).await
    }
}
