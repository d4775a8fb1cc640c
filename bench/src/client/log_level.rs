//! The route of what a node logs.

use reqwest::Method;

use super::wire::{LogLevel, SetLogLevel};
use super::{Client, ClientError};

const PATH: &str = "/v1/log-level";

impl Client {
    /// What the node that is asked logs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn log_level(&self) -> Result<LogLevel, ClientError> {
        self.fetch(self.request(Method::GET, PATH)?).await
    }

    /// Lets the node that is asked log more or less until it ends; as at its start if there is no filter.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_log_level(&self, filter: Option<String>) -> Result<LogLevel, ClientError> {
        let request = self.request(Method::PUT, PATH)?;
        self.fetch(request.json(&SetLogLevel { filter })).await
    }
}
